"""Pytest fixtures over the sandbox, for tests of code that uses this SDK.

Enable them with `pytest_plugins = ["indigo_async.testing"]` in the top `conftest.py`. They need the extra `sandbox` and
pytest; asynchronous ones are run by AnyIO's pytest plugin.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator
from typing import TYPE_CHECKING

import pytest

from indigo_async.sandbox import Sandbox

if TYPE_CHECKING:
    from indigo_async.sandbox.people import VoterFile

__all__ = ["indigo_sandbox", "indigo_voters"]

_VOTERS = 10_000
_SPEED = 1_000.0


@pytest.fixture(scope="session")
def indigo_voters() -> Generator[VoterFile]:
    """A voter file of 10,000 synthetic people, made once for all tests."""
    from indigo_async.sandbox.people import VoterFile  # noqa: PLC0415 - only tests that use it pay for its libraries

    voters = VoterFile.synthetic(_VOTERS)
    yield voters
    voters.close()


@pytest.fixture
async def indigo_sandbox(indigo_voters: VoterFile) -> AsyncGenerator[Sandbox]:
    """A sandbox of its own for each test, over the shared voter file, with time a thousand times as fast."""
    async with Sandbox(indigo_voters, speed=_SPEED) as sandbox:
        yield sandbox
