from __future__ import annotations

import sys
from collections.abc import AsyncGenerator

import pytest

from indigo_async import IndigoClient
from indigo_async.sandbox import Sandbox
from indigo_async.sandbox.people import VoterFile, generate_messy_csv
from tests.support.processes.examples import EXAMPLES, ExampleEnvironment


@pytest.fixture
async def example_environment(voters: VoterFile, monkeypatch: pytest.MonkeyPatch) -> AsyncGenerator[ExampleEnvironment]:
    async with Sandbox(voters, speed=1_000.0) as sandbox:
        content = generate_messy_csv(voters, 3_000, seed=1)
        example_environment = ExampleEnvironment(sandbox, sandbox.file_host.put(content))
        for name, value in example_environment.environment.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setitem(IndigoClient.__init__.__kwdefaults__, "poll_interval", 0.01)
        monkeypatch.syspath_prepend(str(EXAMPLES))
        yield example_environment
        for name in ("matches", "fastapi_service", "aiohttp_service"):
            sys.modules.pop(name, None)
