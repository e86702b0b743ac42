from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from anyio.from_thread import start_blocking_portal

from indigo_async import blocking
from indigo_async.sandbox import Sandbox
from tests.support.servers.scripted import QUICK_RETRY, SPEED


@contextmanager
def open_client(sandbox: Sandbox, **options: Any) -> Generator[blocking.IndigoClient]:
    settings = {"base_url": sandbox.base_url, "retry": QUICK_RETRY, "poll_interval": 0.005} | options
    with blocking.IndigoClient(sandbox.token, **settings) as client:
        yield client


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    """A sandbox without people, in a thread of its own."""
    options: dict[str, Any] = {"speed": SPEED, "download_lifetime": 1e12}
    with (
        start_blocking_portal("asyncio") as portal,
        portal.wrap_async_context_manager(Sandbox(lite=True, **options)) as sandbox,
    ):
        yield sandbox


@pytest.fixture
def client(sandbox: Sandbox) -> Iterator[blocking.IndigoClient]:
    with open_client(sandbox) as client:
        yield client
