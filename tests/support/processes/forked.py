"""Processes that are killed and paused often. They are forked from one that has imported the package: that takes longer
than what they do.
"""

from __future__ import annotations

import json
import multiprocessing
import os
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import anyio.to_thread
import attrs

__all__ = ["ForkedProcess", "fork"]

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(["tests.support.processes.batch", "tests.support.processes.sharded"])


@attrs.frozen
class ForkedProcess:
    process: BaseProcess
    report_path: Path

    def send_signal(self, number: int) -> None:
        assert self.process.pid is not None
        os.kill(self.process.pid, number)

    async def report(self) -> Any:
        """What the program has written at its end."""
        await anyio.to_thread.run_sync(self.process.join, abandon_on_cancel=True)
        assert self.process.exitcode == 0
        return json.loads(self.report_path.read_text())


@asynccontextmanager
async def fork(program: Callable[..., None], report_path: Path, *arguments: object) -> AsyncGenerator[ForkedProcess]:
    """Run a function in a process, which is killed at the end of the block. It writes a report to a file."""
    process = _context.Process(target=program, args=(report_path, *arguments))
    process.start()
    try:
        yield ForkedProcess(process, report_path)
    finally:
        process.kill()
        process.join()
