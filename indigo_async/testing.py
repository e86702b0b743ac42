"""Pytest fixtures over the sandbox, for tests of code that uses this SDK.

Enable them with `pytest_plugins = ["indigo_async.testing"]` in the top `conftest.py`. They are asynchronous, run by
AnyIO's pytest plugin, and need pytest and the extra `sandbox`.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator

import pytest

from indigo_async.sandbox import Sandbox

__all__ = ["indigo_sandbox"]

_VOTERS = 10_000
_SPEED = 1_000.0


@pytest.fixture
async def indigo_sandbox() -> AsyncGenerator[Sandbox]:
    """A sandbox of its own for each test: 10,000 voters, and time a thousand times as fast."""
    async with Sandbox(_VOTERS, speed=_SPEED) as sandbox:
        yield sandbox
