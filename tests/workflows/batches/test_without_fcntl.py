"""Windows has no `fcntl`: the SDK imports and runs without it."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import anyio

from indigo_async.workflows.journal import EntryKind, read_records
from tests.support.jobs import lite_sandbox
from tests.support.processes import ROOT

PROGRAM = """
import runpy, sys
sys.modules["fcntl"] = None
runpy.run_module("tests.support.processes.batch", run_name="__main__", alter_sys=True)
"""


async def test_a_batch_with_a_journal_runs_without_fcntl(tmp_path: Path):
    journal = tmp_path / "run.sqlite"
    async with lite_sandbox() as sandbox:
        arguments = [sandbox.base_url, sandbox.token, "3", str(tmp_path), str(journal)]
        for _ in range(2):
            with anyio.fail_after(60):
                ended = await anyio.run_process(
                    [sys.executable, "-c", PROGRAM, *arguments], cwd=ROOT, stderr=sys.stderr
                )
            report = json.loads(ended.stdout)
            assert (report["done"], report["failed"]) == (3, 0)
        assert sandbox.counts().purchases == 3
    records = await anyio.to_thread.run_sync(lambda: list(read_records(journal)))
    assert sum(record.kind is EntryKind.OUTCOME for record in records) == 6
