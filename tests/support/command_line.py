"""Commands in a thread of this process, against a sandbox in it."""

from __future__ import annotations

import json
import stat
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, TypeAlias

import anyio
import attrs
import pytest

from indigo_async.cli.app import run
from indigo_async.sandbox import Sandbox


@attrs.frozen
class CommandResult:
    """How a command ended, and what it wrote."""

    exit_code: int
    stdout: str
    stderr: str

    @property
    def records(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.stdout.splitlines()]


RunCommand: TypeAlias = Callable[..., Coroutine[Any, Any, CommandResult]]


@pytest.fixture
def command_line(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> RunCommand:
    """Runs a command in a thread of this process, and sees that it neither shows the token nor a bare traceback."""

    async def run_command(sandbox: Sandbox | None, *arguments: str | Path, **variables: str) -> CommandResult:
        own = {} if sandbox is None else {"INDIGO_BASE_URL": sandbox.base_url, "INDIGO_API_TOKEN": sandbox.token}
        for name in ("INDIGO_BASE_URL", "INDIGO_API_TOKEN", "INDIGO_API_TOKEN_FILE", "INDIGO_PROFILE"):
            monkeypatch.delenv(name, raising=False)
        for name, value in (own | {"COLUMNS": "200"} | variables).items():
            monkeypatch.setenv(name, value)
        capsys.readouterr()
        code = await anyio.to_thread.run_sync(run, [str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        if sandbox is not None:
            assert sandbox.token not in out + err
        if "--debug" not in arguments:
            assert "Traceback" not in out + err
        return CommandResult(code, out, err)

    return run_command


def is_private(path: Path) -> bool:
    return stat.S_IMODE(path.stat().st_mode) == 0o600
