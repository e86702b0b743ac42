"""Pytest fixtures for testing code that uses this SDK against the sandbox.

Enable them with `pytest_plugins = ["indigo_async.testing"]` in your top-level `conftest.py`. They need pytest and the
extra `sandbox`. Run async tests with AnyIO's pytest plugin, which is installed with this SDK (`anyio_mode = "auto"` or
`@pytest.mark.anyio`; a fixture `anyio_backend` must return `"asyncio"`), or with pytest-asyncio in auto mode.

`indigo_sandbox.log` lists the requests (`log.count("POST /purchase_csv_export")`, `log.find(customer_id="42")`).
`indigo_sandbox.counts()` counts what was created and purchased. `indigo_sandbox.faults` injects faults.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator
from typing import TYPE_CHECKING

from indigo_async._extras import require_extra, require_packages

try:
    import pytest
except ImportError:
    require_packages("indigo_async.testing", "pytest", "pytest")
    raise

from indigo_async.client import IndigoClient
from indigo_async.sandbox import Sandbox, StageTimes

if TYPE_CHECKING:
    from indigo_async.sandbox.people import VoterFile

__all__ = ["indigo_client", "indigo_sandbox", "indigo_voters"]

_VOTER_COUNT = 10_000
_SPEED = 10_000.0
_POLLS_PER_STAGE = 4
_MIN_POLL_INTERVAL = 0.001


@pytest.fixture(scope="session")
def indigo_voters() -> Generator[VoterFile]:
    """A voter file of 10,000 synthetic people, created once per session. It never changes."""
    require_extra("sandbox", "the fixture indigo_voters")
    from indigo_async.sandbox.people import VoterFile  # noqa: PLC0415 - slow to import

    voters = VoterFile.synthetic(_VOTER_COUNT)
    yield voters
    voters.close()


@pytest.fixture
async def indigo_sandbox(indigo_voters: VoterFile) -> AsyncGenerator[Sandbox]:
    """A new sandbox for each test, with the shared voter file and a clock that runs 10,000 times as fast."""
    async with Sandbox(indigo_voters, speed=_SPEED) as sandbox:
        yield sandbox


@pytest.fixture
async def indigo_client(indigo_sandbox: Sandbox) -> AsyncGenerator[IndigoClient]:
    """An open client for the test's sandbox, with a poll interval to match its clock."""
    interval = max(StageTimes().upload / _SPEED / _POLLS_PER_STAGE, _MIN_POLL_INTERVAL)
    async with IndigoClient(indigo_sandbox.token, base_url=indigo_sandbox.base_url, poll_interval=interval) as client:
        yield client
