"""The fixture that runs tests of I/O in asyncio's debug mode."""

from __future__ import annotations

from typing import Any

import pytest


@pytest.fixture(scope="session")
def anyio_backend() -> tuple[str, dict[str, Any]]:
    """Report coroutines without an await, calls from the wrong thread, and transports that are never closed."""
    return "asyncio", {"debug": True}
