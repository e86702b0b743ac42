from __future__ import annotations

import signal
import sys
from pathlib import Path

import anyio

from indigo_async.sandbox import Fault, FaultKind
from indigo_async.workflows.journal import Journal
from tests.support.jobs import lite_sandbox
from tests.support.journals import spent_cents
from tests.support.processes import ROOT

JOBS = 40
IN_FLIGHT = 8
"""Fewer than `JOBS`, so that not all of them are purchased before the signal arrives."""
PROGRAM = "tests.support.processes.batch"


async def test_ctrl_c_checks_purchases_in_flight_so_that_journal_and_server_agree(tmp_path: Path):
    journal = tmp_path / "run.sqlite"
    async with lite_sandbox() as sandbox:
        slow = Fault(kind=FaultKind.DELAY_AFTER, endpoint="POST /purchase_csv_export", times=None, delay=0.05)
        sandbox.faults.add(slow)
        where = [sandbox.base_url, sandbox.token, str(JOBS), str(tmp_path), str(journal)]
        child = [sys.executable, "-m", PROGRAM, *where, str(IN_FLIGHT)]
        async with await anyio.open_process(child, cwd=ROOT) as process:
            while sandbox.counts().purchases < 3:
                assert process.returncode is None
                await anyio.sleep(0.001)
            process.send_signal(signal.SIGINT)
            with anyio.fail_after(30):
                assert process.stderr is not None
                stderr = b"".join([chunk async for chunk in process.stderr]).decode()
                await process.wait()
        counts = sandbox.counts()
        async with Journal.open(journal) as opened:
            spent = await spent_cents(opened)
            written = [record async for record in opened.records()]
    assert process.returncode not in {0, -signal.SIGKILL}
    traceback = stderr[stderr.index("Traceback") :]
    assert traceback.rstrip().endswith("KeyboardInterrupt")
    assert "ExceptionGroup" not in traceback
    assert "anyio" not in traceback
    assert len(traceback.splitlines()) < 35  # most of them are Python's own
    assert 3 <= counts.purchases < JOBS
    assert spent == counts.charged_cents
    purchases = [record for record in written if record.stage == "purchase" and record.kind == "result"]
    assert {record.facts["export_id"] for record in purchases} == set(counts.purchases_by_export)
