"""Check that a job costs the same among 100,000 as among 1,000, on the command line.

    python -m benchmarks --only scale        (about a quarter of an hour)

`indigo-async run` and a lite sandbox run in separate processes, and the sandbox counts the requests. The command uses a
journal and its own garbage collection settings. Each customer has 100 jobs, and at most 10,000 jobs are in progress.
The sandbox runs four times faster than real time, and the poll interval is a quarter of the default. The CPU time of a
job excludes the start of the command, which is measured with a run that has nothing to do. Memory is the process's
resident size. It may grow while jobs are admitted, but shouldn't grow afterwards.
"""

from __future__ import annotations

import statistics
import tempfile
from pathlib import Path

from benchmarks.support.figures import Figure
from benchmarks.support.run_command import CommandRun, run_command, write_manifest
from benchmarks.support.sandbox_process import sandbox_process

__all__ = ["measure"]

_SPEED = 4.0
_JOBS_OF_A_CUSTOMER = 100


def run_jobs(jobs: int) -> tuple[CommandRun, float]:
    """Run jobs with a new sandbox. Also returns the CPU seconds of a job, without those of the command's start."""
    with tempfile.TemporaryDirectory() as folder, sandbox_process("--lite", "--speed", str(_SPEED)) as sandbox:
        one, all_jobs = Path(folder, "one.jsonl"), Path(folder, "jobs.jsonl")
        write_manifest(one, 1, jobs_of_a_customer=1)
        write_manifest(all_jobs, jobs, jobs_of_a_customer=_JOBS_OF_A_CUSTOMER)
        options = "--poll-interval", str(5 / _SPEED)
        run = run_command(all_jobs, sandbox, *options)
        start = run_command(one, sandbox, *options)  # which finds the audience of the first run
        return run, (run.cpu_seconds - start.cpu_seconds) / jobs


def measure(*, quick: bool) -> list[Figure]:
    small, large = (200, 1_000) if quick else (1_000, 100_000)
    few = [run_jobs(small) for _ in range(1 if quick else 4)]
    many, cpu_among_many = run_jobs(large)
    few += [] if quick else [run_jobs(small) for _ in range(4)]  # before and after, in case the machine changes
    cpu_among_few = statistics.median(cpu for _, cpu in few)
    half, end = many.memory_at(0.5), many.memory_at(0.95)
    return [
        Figure(
            measure=f"CPU of a job among {large:,} ÷ among {small:,}, through all stages, on the command line",
            value=cpu_among_many / cpu_among_few,
            low=cpu_among_many / max(cpu for _, cpu in few),
            high=cpu_among_many / min(cpu for _, cpu in few),
            at_most=1.1,
            notes={
                f"ms among {small:,}": cpu_among_few * 1e3,
                f"ms among {large:,}": cpu_among_many * 1e3,
                "jobs done": float(many.done),
                "jobs that failed": float(large - many.done),
                "requests a job": many.requests / large,
                "seconds": many.seconds,
            },
        ),
        Figure(
            measure=f"memory at the end of {large:,} jobs ÷ at half of the time",
            value=end / half,
            at_most=1.05,
            notes={"MiB at half": half, "MiB at the end": end, "most MiB": max(many.memory_mib)},
        ),
    ]
