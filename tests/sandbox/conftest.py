from __future__ import annotations

from collections.abc import AsyncGenerator

import pytest

from tests.support.sandbox_http import SandboxApi, open_api


@pytest.fixture
async def api() -> AsyncGenerator[SandboxApi]:
    async with open_api() as api:
        yield api
