"""Measure the cost of a journal: 10,000 jobs that write at the same time, and a batch with and without a journal.

    python -m benchmarks.journal [--writers 10000] [--jobs 1000] [--rounds 3]

The first part prints writes per second, commits and their sizes, and the CPU time of a write in the event loop and in
the journal's thread. The second part runs the same batch alternately with and without a journal, against a lite sandbox
in a separate process. It prints jobs per second and CPU time per job, with their spread and ratios.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import tempfile
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import attrs

from benchmarks.support.figures import Figure, ratios, spread
from benchmarks.support.jobs import make_jobs
from benchmarks.support.sandbox_process import SandboxProcess, sandbox_process
from indigo_async import IndigoClient
from indigo_async.events import Stage
from indigo_async.workflows import AudienceJob, run_batch
from indigo_async.workflows.journal import Journal
from indigo_async.workflows.journal.rows import Entry
from indigo_async.workflows.journal.store import JournalStore

POSTS = (Stage.UPLOAD, Stage.MATCH, Stage.LOOKALIKE, Stage.PREVIEW, Stage.PURCHASE)
SPEED = 100.0


@contextmanager
def counted_commits() -> Generator[list[int]]:
    """Collect the sizes of all commits inside the block."""
    sizes: list[int] = []
    append = JournalStore.append

    def counting(store: JournalStore, entries: Sequence[Entry]) -> Sequence[int]:
        sizes.append(len(entries))
        return append(store, entries)

    JournalStore.append = counting
    try:
        yield sizes
    finally:
        JournalStore.append = append


async def write_all(path: Path, writers: int) -> None:
    """Write what the jobs of a batch write, with nothing in between."""

    async def one_job(journal: Journal, number: int) -> None:
        job_log = await journal.job_log(f"customer-{number % 7}", f"List {number}", "0" * 64)
        for stage in POSTS:
            facts = {"export_id": f"export-{number}", "cost_cents": 500}
            await job_log.record_intent(stage, facts)
            await job_log.record_result(stage, facts)

    async with Journal.open(path) as journal, asyncio.TaskGroup() as group:
        for number in range(writers):
            group.create_task(one_job(journal, number))


def measure_writes(path: Path, writers: int) -> None:
    writes = 2 * len(POSTS) * writers
    with counted_commits() as sizes:
        wall, loop, cpu = time.perf_counter(), time.thread_time(), time.process_time()
        asyncio.run(write_all(path, writers))
        wall, loop, cpu = time.perf_counter() - wall, time.thread_time() - loop, time.process_time() - cpu
    in_loop, in_thread = loop / writes * 1e6, (cpu - loop) / writes * 1e6
    print(f"{writers} jobs, {writes} writes: {writes / wall:,.0f} writes a second, from opening to closing")
    print(f"{len(sizes)} commits of {statistics.mean(sizes):,.0f} rows on average")
    print(f"CPU of a write: {in_loop:.1f} us in the event loop, {in_thread:.1f} us in the journal's thread")
    started_at = time.perf_counter()
    asyncio.run(open_and_close(path))
    print(
        f"opening and checking it again ({path.stat().st_size / 1e6:.1f} MB): {time.perf_counter() - started_at:.2f} s"
    )


async def open_and_close(path: Path) -> None:
    async with Journal.open(path):
        pass


@attrs.frozen
class Cost:
    """The wall-clock and CPU seconds of one batch."""

    wall: float
    cpu: float


async def one_batch(sandbox: SandboxProcess, jobs: Iterator[AudienceJob], count: int, journal: Path | None) -> Cost:
    async with IndigoClient(sandbox.token, base_url=sandbox.base_url, poll_interval=0.2) as client:
        await client.list_audiences("warm-up")
        wall, cpu = time.perf_counter(), time.process_time()
        report = await run_batch(client, jobs, max_in_flight=count, journal=journal)
        assert report.done == count, report
        return Cost(time.perf_counter() - wall, time.process_time() - cpu)


def measure_batch_pairs(folder: Path, count: int, rounds: int) -> dict[bool, list[Cost]]:
    """Run batches alternately without and with a journal."""
    costs: dict[bool, list[Cost]] = {False: [], True: []}
    with sandbox_process("--lite", "--speed", str(SPEED)) as sandbox:
        for turn in range(2 * rounds + 1):
            with_journal = bool(turn % 2)
            customer = f"customer-{turn}"
            journal = folder / f"{customer}.sqlite" if with_journal else None
            cost = asyncio.run(
                one_batch(sandbox, make_jobs(count, folder / customer, customer=customer), count, journal)
            )
            if turn:  # the first one warms up
                costs[with_journal].append(cost)
    return costs


def measure_batches(folder: Path, count: int, rounds: int) -> None:
    with counted_commits() as sizes:
        costs = measure_batch_pairs(folder, count, rounds)
    print(f"{count} jobs through all stages, {rounds} rounds by turns, {len(sizes)} commits of", end=" ")
    print(f"{statistics.mean(sizes):.1f} rows on average")
    print_costs("jobs a second", costs, lambda cost: count / cost.wall, better="more")
    print_costs("CPU ms a job", costs, lambda cost: cost.cpu / count * 1e3, better="less")


def measure(*, quick: bool) -> list[Figure]:
    count, turns = (200, 2) if quick else (1_000, 5)
    with tempfile.TemporaryDirectory() as folder:
        costs = measure_batch_pairs(Path(folder), count, turns)
    without, with_one = costs[False], costs[True]
    return [
        Figure(
            measure=f"jobs per second with a journal ÷ without, {count:,} jobs",
            **spread(ratios([cost.wall for cost in without], [cost.wall for cost in with_one])),
            at_least=0.9,
        ),
        Figure(
            measure=f"CPU of a job with a journal ÷ without, {count:,} jobs",
            **spread(ratios([cost.cpu for cost in with_one], [cost.cpu for cost in without])),
            notes={"ms without": statistics.median(cost.cpu for cost in without) / count * 1e3},
        ),
    ]


def print_costs(what: str, costs: dict[bool, list[Cost]], figure: Callable[[Cost], float], *, better: str) -> None:
    without, with_one = ([figure(cost) for cost in costs[kind]] for kind in (False, True))
    for kind, values in (("without", without), ("with", with_one)):
        print(f"  {what}, {kind}: {statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})")
    print(
        f"  {what}, with / without: {statistics.median(with_one) / statistics.median(without):.3f} ({better} is better)"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--writers", type=int, default=10_000)
    parser.add_argument("--jobs", type=int, default=1_000)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        measure_writes(Path(folder) / "writes.sqlite", arguments.writers)
        measure_batches(Path(folder), arguments.jobs, arguments.rounds)


if __name__ == "__main__":
    main()
