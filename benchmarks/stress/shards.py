"""Run the shards of a manifest as schedulers do, divided in two ways at once, and kill, stop and retry them.

    python -m benchmarks.stress.shards [--jobs 600] [--shards 3] [--kill-every 15] [--stop-every 15]

Every job belongs to two runs: one of `--shards` parts, and one of two. All of them share a fence with a budget that is
exactly the price of all jobs. A killed or failed run is started again with the same journal, as a scheduler retries a
task, until all have succeeded. Exits with 1 unless each job was purchased once.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import attrs

from benchmarks.support.controlled_sandbox import ControlledSandbox, controlled_sandbox

CUSTOMERS = 20
PRICE_CENTS = 8_000
RETRIED = {1, 4}
SECONDS_STOPPED = 75.0
"""Longer than the lease of a run."""


@attrs.define
class Task:
    """A shard as a scheduler's task, which is retried until it succeeds."""

    command: list[str]
    environment: dict[str, str] = attrs.field(repr=False)
    log: Path
    process: asyncio.subprocess.Process | None = None
    exit_codes: Counter[int] = attrs.Factory(Counter[int])

    async def run(self) -> None:
        while True:
            with self.log.open("ab") as log:
                self.process = await asyncio.create_subprocess_exec(
                    *self.command, env=os.environ | self.environment, stdout=log, stderr=log
                )
            code = await self.process.wait()
            self.process = None
            self.exit_codes[code] += 1
            if code == 0:
                return
            if code > 0 and code not in RETRIED:
                raise SystemExit(f"a run ended with {code}: {self.log.read_text()[-1_000:]}")
            await asyncio.sleep(1)

    def send_signal(self, number: signal.Signals) -> None:
        if self.process is not None and self.process.returncode is None:
            self.process.send_signal(number)


def write_manifest(path: Path, jobs: int) -> None:
    """Write a manifest of jobs, as JSON, which is also YAML."""
    export = {"optional_field_types": ["phone"], "max_cost_cents": PRICE_CENTS}
    records = [
        {
            "customer_id": f"customer-{number % CUSTOMERS}",
            "audience_name": f"List {number}",
            "csv": f"https://files.example.org/{number}.csv",
            "lookalike": {"audience_name": f"List {number}, grown", "size": 2_000},
            "export": {"destination": f"exports/{number}.csv", **export},
        }
        for number in range(jobs)
    ]
    columns = {"first_name": {"column_name": "First", "is_required": True}}
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"defaults": {"column_selections": columns}, "jobs": records}))


def build_tasks(arguments: argparse.Namespace, sandbox: ControlledSandbox, folder: Path) -> list[Task]:
    variables = {"INDIGO_BASE_URL": sandbox.base_url, "INDIGO_API_TOKEN": sandbox.token}
    tasks: list[Task] = []
    for parts in (arguments.shards, 2):
        manifest = folder / f"in-{parts}" / "jobs.yaml"
        write_manifest(manifest, arguments.jobs)
        for number in range(1, parts + 1):
            command = [sys.executable, "-m", "indigo_async", "run", str(manifest), "--shard", f"{number}/{parts}"]
            command += ["--fence", str(folder / "fence"), "--budget-cents", str(arguments.jobs * PRICE_CENTS)]
            command += ["--poll-interval", "1"]
            tasks.append(Task(command, variables, folder / f"{number}-of-{parts}.log"))
    return tasks


async def kill(tasks: list[Task], every: float, counts: Counter[str]) -> None:
    while True:
        await asyncio.sleep(every * random.uniform(0.5, 1.5))
        random.choice(tasks).send_signal(signal.SIGKILL)
        counts["killed"] += 1


async def stop(tasks: list[Task], every: float, counts: Counter[str]) -> None:
    while True:
        await asyncio.sleep(every * random.uniform(0.5, 1.5))
        task = random.choice(tasks)
        task.send_signal(signal.SIGSTOP)
        counts["stopped"] += 1
        await asyncio.sleep(SECONDS_STOPPED)
        task.send_signal(signal.SIGCONT)


async def run_all(arguments: argparse.Namespace, tasks: list[Task]) -> Counter[str]:
    counts: Counter[str] = Counter()
    faults = [
        asyncio.create_task(cause(tasks, every, counts))
        for cause, every in ((kill, arguments.kill_every), (stop, arguments.stop_every))
        if every
    ]
    try:
        async with asyncio.timeout(arguments.minutes * 60), asyncio.TaskGroup() as group:
            for task in tasks:
                group.create_task(task.run())
    finally:
        for fault in faults:
            fault.cancel()
        for task in tasks:
            task.send_signal(signal.SIGKILL)
    return counts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=600)
    parser.add_argument("--shards", type=int, default=3)
    parser.add_argument("--kill-every", type=float, default=15.0, help="seconds, on average; 0 never kills a run")
    parser.add_argument("--stop-every", type=float, default=15.0, help="seconds between stops; 0 never stops a run")
    parser.add_argument("--minutes", type=float, default=15.0, help="give up after this time")
    parser.add_argument("--speed", type=float, default=20.0, help="sandbox seconds in a second")
    parser.add_argument("--keep", type=Path, help="a folder that keeps manifests, journals, the fence and logs")
    parser.add_argument("--seed", type=int, default=random.randrange(1_000_000))
    arguments = parser.parse_args()
    random.seed(arguments.seed)
    print(f"seed {arguments.seed}", flush=True)
    started_at = time.monotonic()
    with tempfile.TemporaryDirectory() as name, controlled_sandbox(speed=arguments.speed) as sandbox:
        folder = arguments.keep or Path(name)
        (folder / "fence").mkdir(parents=True)
        tasks = build_tasks(arguments, sandbox, folder)
        counts = asyncio.run(run_all(arguments, tasks))
        seen = sandbox.counts()
        tracebacks = sum(task.log.read_bytes().count(b"Traceback") for task in tasks)
    exit_codes = sum((task.exit_codes for task in tasks), Counter[int]())
    print(f"{arguments.jobs} jobs in {len(tasks)} runs, {time.monotonic() - started_at:.0f} s", end="; ")
    print(f"{counts['killed']} killed, {counts['stopped']} stopped; exit codes {dict(exit_codes)}")
    print(f"  purchases {seen.purchases}, at most {seen.most_purchases} of an audience,", end=" ")
    print(f"at most {seen.most_made} audiences of a name; charged {seen.charged_cents} cents")
    print(f"  requests per job without downloads {seen.total / arguments.jobs:.2f}; {tracebacks} tracebacks in logs")
    if (seen.purchases, seen.most_purchases, seen.charged_cents) != (
        arguments.jobs,
        1,
        arguments.jobs * PRICE_CENTS,
    ):
        sys.exit("FAILED")


if __name__ == "__main__":
    main()
