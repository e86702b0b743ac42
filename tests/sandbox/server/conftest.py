from __future__ import annotations

from collections.abc import AsyncGenerator

import pytest
from sandbox_api import Api, open_api


@pytest.fixture
async def api() -> AsyncGenerator[Api]:
    async with open_api() as api:
        yield api
