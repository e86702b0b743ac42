"""Pytest fixtures over the sandbox, for tests of code that uses this SDK.

Enable them with `pytest_plugins = ["indigo_async.testing"]` in the top `conftest.py`. They need the extra `sandbox` and
pytest. Asynchronous tests are run by AnyIO's pytest plugin, which is installed with this SDK (`anyio_mode = "auto"`, or
`@pytest.mark.anyio`; a fixture `anyio_backend` must return `"asyncio"`), or by pytest-asyncio in its auto mode.

`indigo_sandbox.log` tells what was asked (`log.count("POST /purchase_csv_export")`, `log.find(customer_id="42")`),
`indigo_sandbox.counts()` what was really made and bought, and `indigo_sandbox.faults` makes trouble.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator
from typing import TYPE_CHECKING

try:
    import pytest
except ImportError as _missing:
    raise ImportError("indigo_async.testing needs pytest: pip install pytest 'indigo-async[sandbox]'") from _missing

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
    """A voter file of 10,000 synthetic people, made once for all tests; it never changes."""
    from indigo_async.sandbox.people import VoterFile  # noqa: PLC0415 - only tests that use it pay for its libraries

    voters = VoterFile.synthetic(_VOTER_COUNT)
    yield voters
    voters.close()


@pytest.fixture
async def indigo_sandbox(indigo_voters: VoterFile) -> AsyncGenerator[Sandbox]:
    """A sandbox of its own for each test, over the shared voter file, with time ten thousand times as fast."""
    async with Sandbox(indigo_voters, speed=_SPEED) as sandbox:
        yield sandbox


@pytest.fixture
async def indigo_client(indigo_sandbox: Sandbox) -> AsyncGenerator[IndigoClient]:
    """An open client of the test's sandbox, which looks as often as its time is fast."""
    interval = max(StageTimes().upload / _SPEED / _POLLS_PER_STAGE, _MIN_POLL_INTERVAL)
    async with IndigoClient(indigo_sandbox.token, base_url=indigo_sandbox.base_url, poll_interval=interval) as client:
        yield client
