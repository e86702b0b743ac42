"""A process that writes to a journal as fast as it can and prints what was acknowledged, until it is killed.

Usage: python -m tests.support.processes.journal_writer hold|write|fill PATH
"""

from __future__ import annotations

import asyncio
import os
import resource
import sys
from pathlib import Path

from indigo_async.errors import JournalError
from indigo_async.events import Stage
from indigo_async.workflows.journal import Journal, JournalJobLog

WRITERS = 30


def print_line(*words: object) -> None:
    """Print a line in one write, so that a kill never leaves half of it."""
    os.write(1, (" ".join(map(str, words)) + "\n").encode())


async def purchase_repeatedly(job_log: JournalJobLog, writer: int, number: int) -> None:
    """Record one purchase after another, each with an intent and a result."""
    while True:
        facts = {"export_id": f"{writer}-{number}", "cost_cents": 1}
        await job_log.record_intent(Stage.PURCHASE, facts)
        print_line("intent", writer, number)
        await job_log.record_result(Stage.PURCHASE, facts)
        print_line("result", writer, number)
        number += 1


async def write(path: Path) -> None:
    async with Journal.open(path) as journal, asyncio.TaskGroup() as group:
        for writer in range(WRITERS):
            job_log = await journal.job_log("42", f"writer {writer}", "f")
            known = job_log.open_intent(Stage.PURCHASE) or job_log.result(Stage.PURCHASE)
            number = int(known["export_id"].partition("-")[2]) + 1 if known else 0
            group.create_task(purchase_repeatedly(job_log, writer, number))


async def fill(path: Path) -> None:
    """Write until the file may not grow anymore."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))
    async with Journal.open(path) as journal:
        job_logs = [await journal.job_log("42", f"writer {writer}", "f") for writer in range(WRITERS)]

        async def until_refused(job_log: JournalJobLog, writer: int) -> None:
            try:
                await purchase_repeatedly(job_log, writer, 0)
            except JournalError as error:
                print_line("refused", writer, type(error).__name__)

        await asyncio.gather(*(until_refused(job_log, writer) for writer, job_log in enumerate(job_logs)))
        try:
            await job_logs[0].record_intent(Stage.UPLOAD, {})
        except JournalError as error:
            print_line("still", type(error).__name__)


async def hold(path: Path) -> None:
    async with Journal.open(path):
        print_line("open")
        await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run({"hold": hold, "write": write, "fill": fill}[sys.argv[1]](Path(sys.argv[2])))
