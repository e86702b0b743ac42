from tests.support.debug_mode import anyio_backend

__all__ = ["anyio_backend"]
