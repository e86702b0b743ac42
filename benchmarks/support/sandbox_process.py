"""A sandbox in a separate process, so that the measured client does not share its interpreter."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import attrs


@attrs.frozen
class SandboxProcess:
    base_url: str
    token: str = attrs.field(repr=False)
    pid: int

    def counts(self) -> dict[str, Any]:
        """The sandbox's counts: requests by endpoint and status, purchases and cents."""
        origin = self.base_url.partition("/api/")[0]
        with urllib.request.urlopen(f"{origin}/_sandbox/counts", timeout=30) as response:
            return json.load(response)


@contextmanager
def sandbox_process(*options: str) -> Iterator[SandboxProcess]:
    """Run `indigo-async sandbox` with these options on a free port until the end of the block."""
    command = [sys.executable, "-m", "indigo_async", "sandbox", "--port", "0", *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        values = dict(process.stdout.readline().split(" ", 1)[1].strip().split("=", 1) for _ in range(2))
        yield SandboxProcess(values["INDIGO_BASE_URL"], values["INDIGO_API_TOKEN"], process.pid)
    finally:
        process.terminate()
        process.wait(timeout=30)
