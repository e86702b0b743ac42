from __future__ import annotations

from collections.abc import AsyncGenerator

import pytest

from indigo_async.client import IndigoClient
from tests.support.downloads import TOKEN
from tests.support.servers.scripted import QUICK_RETRY


@pytest.fixture
async def client() -> AsyncGenerator[IndigoClient]:
    async with IndigoClient(TOKEN, base_url="http://127.0.0.1:9", retry=QUICK_RETRY, timeout=5.0) as client:
        yield client
