"""Measure what it costs to run finished jobs again: `indigo-async run` with the journal of the first run.

    python -m benchmarks --only resume

The command and a lite sandbox run in separate processes, and the sandbox counts the requests. The first run does all
the work, and isn't measured. In one case, each customer has 100 jobs. In the other, one customer has all jobs.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from benchmarks.support.figures import Figure, spread
from benchmarks.support.run_command import CommandRun, run_command, write_manifest
from benchmarks.support.sandbox_process import sandbox_process

__all__ = ["measure"]

_JOBS_OF_A_CUSTOMER = 100


def run_again(folder: Path, jobs: int, *, jobs_of_a_customer: int, rounds: int) -> list[CommandRun]:
    """Finish jobs, then run them again."""
    manifest = folder / "jobs.jsonl"
    write_manifest(manifest, jobs, jobs_of_a_customer=jobs_of_a_customer)
    with sandbox_process("--lite", "--speed", "100") as sandbox:
        first = run_command(manifest, sandbox, "--poll-interval", "0.5")
        assert first.done == jobs, first
        runs = [run_command(manifest, sandbox) for _ in range(rounds)]
    assert all(run.done == jobs for run in runs), runs
    return runs


def measure(*, quick: bool) -> list[Figure]:
    jobs, rounds = (500, 1) if quick else (30_000, 3)
    figures: list[Figure] = []
    for customers, jobs_of_a_customer in (
        (f"{jobs // _JOBS_OF_A_CUSTOMER:,} customers", _JOBS_OF_A_CUSTOMER),
        ("one customer", jobs),
    ):
        with tempfile.TemporaryDirectory() as folder:
            runs = run_again(Path(folder), jobs, jobs_of_a_customer=jobs_of_a_customer, rounds=rounds)
        figures += [
            Figure(
                measure=f"CPU to run a finished job again, including the command's start, {jobs:,} jobs of {customers}",
                **spread([run.cpu_seconds / jobs * 1e3 for run in runs]),
                unit="ms",
                at_most=0.2,
                notes={"seconds": min(run.seconds for run in runs), "most MiB": max(map(_most_memory, runs))},
            ),
            Figure(
                measure=f"requests to run {jobs:,} finished jobs of {customers} again",
                value=max(run.requests for run in runs),
                at_most=100,
            ),
        ]
    return figures


def _most_memory(run: CommandRun) -> float:
    return max(run.memory_mib)
