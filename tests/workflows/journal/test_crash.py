"""The journal across processes: killed while writing, refused while it is open elsewhere, on a full disk."""

from __future__ import annotations

import asyncio
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from indigo_async.errors import JournalInUseError
from indigo_async.workflows.journal import Journal
from tests.support.journals import spent_cents
from tests.support.processes import ROOT

PROGRAM = "tests.support.processes.journal_writer"
KILLS = 10
WRITERS = 30


@contextmanager
def child(what: str, path: Path) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, "-m", PROGRAM, what, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def lines_until_killed(path: Path, lines: int) -> list[str]:
    """What the child prints: this many lines, then whatever it printed before the kill took effect."""
    with child("write", path) as process:
        assert process.stdout is not None
        said = [process.stdout.readline() for _ in range(lines)]
        process.kill()
        said += process.stdout.readlines()
        assert process.wait(30) == -signal.SIGKILL
    return [line.strip() for line in said]


async def written(path: Path) -> list[str]:
    async with Journal.open(path) as journal:
        return [f"{record.kind} {record.facts['export_id'].replace('-', ' ')}" async for record in journal.records()]


async def spent(path: Path) -> int:
    async with Journal.open(path) as journal:
        return await spent_cents(journal)


def test_acknowledged_writes_survive_every_kill(tmp_path: Path):
    seed = 20261123
    print("seed", seed)
    rng = random.Random(seed)
    path = tmp_path / "run.sqlite"
    acknowledged: list[str] = []
    for _ in range(KILLS):
        acknowledged += lines_until_killed(path, rng.randrange(1, 1_500))
        rows = asyncio.run(written(path))
        assert len(rows) == len(set(rows))
        missing = set(acknowledged) - set(rows)
        assert not missing
        assert asyncio.run(spent(path)) == len({row.partition(" ")[2] for row in rows})
    unacknowledged = set(rows) - set(acknowledged)
    assert len(unacknowledged) <= WRITERS * KILLS  # the writes in flight at each kill


def test_a_full_disk_stops_all_writes_and_loses_nothing(tmp_path: Path):
    path = tmp_path / "run.sqlite"
    with child("fill", path) as process:
        said = process.communicate(timeout=60)[0].splitlines()
        assert process.returncode == 0
    refused = [line for line in said if line.startswith("refused")]
    acknowledged = {line for line in said if line.startswith(("intent", "result"))}
    assert sorted(refused) == sorted(f"refused {writer} JournalWriteError" for writer in range(WRITERS))
    assert said[-1] == "still JournalWriteError"
    assert len(acknowledged) > WRITERS
    assert acknowledged <= set(asyncio.run(written(path)))


async def test_two_processes_cannot_open_one_journal(tmp_path: Path):
    path = tmp_path / "run.sqlite"
    with child("hold", path) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "open\n"
        with pytest.raises(JournalInUseError, match="another run is using this journal"):
            async with Journal.open(path):
                pass
        process.kill()
        process.wait(30)
    async with Journal.open(path) as journal:  # the lock went with its process
        await journal.job_log("42", "Donors", "f")
