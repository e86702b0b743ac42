from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Iterator
from pathlib import Path

import pytest
from temporalio.client import Client

from indigo_async.temporal import connect
from tests.support.servers.temporal import temporal_server
from tests.support.temporal_jobs import TemporalEnvironment, lite_sandbox


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Start with the tests of this folder: they mostly wait, while other processes run the tests that don't."""
    items.sort(key=lambda item: not item.path.is_relative_to(Path(__file__).parent))


@pytest.fixture(scope="session")
def temporal_address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real Temporal server, shared by all tests of a process."""
    with temporal_server(tmp_path_factory.mktemp("temporal")) as address:
        yield address


@pytest.fixture
async def temporal(temporal_address: str) -> Client:
    return await connect(temporal_address)


@pytest.fixture
def customer(request: pytest.FixtureRequest) -> str:
    """A separate customer for each test, because their workflows are on one server and two files may share a name."""
    return re.sub(r"\W+", "-", f"{request.node.name} {request.path.stem.removeprefix('test_')}")


@pytest.fixture
async def temporal_environment(
    temporal: Client, temporal_address: str, customer: str, tmp_path: Path
) -> AsyncGenerator[TemporalEnvironment]:
    async with lite_sandbox() as sandbox:
        yield TemporalEnvironment(
            sandbox, temporal, temporal_address, task_queue=customer, exports=tmp_path / "exports"
        )
