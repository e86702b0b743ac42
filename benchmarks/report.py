"""Measure the CPU time of `indigo-async report`: per row of a journal, and in total.

    python -m benchmarks --only report

The command runs alternately on a small and a large journal, each time in a new process. The cost of a row is the
difference in CPU time divided by the difference in rows, so it excludes the start of the command.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.support.figures import Figure, spread
from benchmarks.support.journals import write_journal

__all__ = ["measure"]


def measure(*, quick: bool) -> list[Figure]:
    small, large, rounds = (500, 3_000, 2) if quick else (5_000, 30_000, 7)
    with tempfile.TemporaryDirectory() as folder:
        journals = {jobs: Path(folder) / f"{jobs}.sqlite" for jobs in (small, large)}
        rows = {jobs: write_journal(path, jobs) for jobs, path in journals.items()}
        taken: dict[int, list[float]] = {jobs: [] for jobs in journals}
        for turn in range(rounds + 1):
            for jobs, path in journals.items():
                seconds = _cpu_of_report(path)
                if turn:  # the first one fills the file cache
                    taken[jobs].append(seconds)
    added = rows[large] - rows[small]
    costs = [(more - less) / added * 1e6 for less, more in zip(taken[small], taken[large], strict=True)]
    return [
        Figure(
            measure="CPU of `report` per row of a journal",
            **spread(costs),
            unit="µs",
            at_most=6.0,
            notes={
                f"s for {jobs:,} jobs ({rows[jobs]:,} rows)": statistics.median(seconds)
                for jobs, seconds in taken.items()
            },
        )
    ]


def _cpu_of_report(journal: Path) -> float:
    arguments = ["-m", "indigo_async", "report", str(journal)]
    process = subprocess.Popen([sys.executable, *arguments], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, arguments)
    return usage.ru_utime + usage.ru_stime
