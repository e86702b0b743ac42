"""Run thousands of jobs against a sandbox with random faults, in a worker that is killed every few seconds.

    python -m benchmarks.stress.soak [--jobs 5000] [--faults 0.1] [--kill-every 5] [--minutes 20] [--seed N]

The worker is restarted with the same journal until all jobs are done. Prints what the sandbox created and charged, what
the journal says was spent, and the workers' open files and memory over time. With `--kill-every 0` one worker runs to
the end, which shows whether these stay flat.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path
from typing import Any

from indigo_async._text import format_dollars

PRICE_OF_LOOKALIKE, PRICE_OF_MATCHED = 8_000, 6_000
STEPS = 8


@contextmanager
def run_module(module: str, *arguments: object) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", f"benchmarks.stress.{module}", *map(str, arguments)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def run_until_killed(worker: subprocess.Popen[str], seconds: float) -> bool:
    """Wait for the worker, and kill it after some seconds. Returns whether it was killed."""
    try:
        worker.wait(seconds)
    except subprocess.TimeoutExpired:
        worker.kill()
        worker.wait()
        return True
    if worker.returncode != 0:
        raise SystemExit(f"the worker failed: {worker.returncode}")
    return False


def read_log(folder: Path) -> list[dict[str, Any]]:
    """Read the log of all workers; a killed one may have left half a line."""
    lines = []
    for line in (folder / "worker.jsonl").read_text().splitlines():
        try:
            lines.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return lines


def print_over_time(lines: list[dict[str, Any]]) -> None:
    """Print medians of open files and memory, in equal parts of the longest life of a worker."""
    samples = [line for line in lines if "pid" in line]
    lives = [list(life) for _, life in groupby(samples, key=lambda line: line["pid"])]
    print(f"  worker, {len(lives)} lives; most open files {max(line['files'] for line in samples)}", end=", ")
    print(f"most memory {max(line['memory_kib'] for line in samples) / 1024:.0f} MiB")
    by_time = max(lives, key=len) if len(lives) == 1 or len(max(lives, key=len)) > STEPS * 4 else samples
    size = max(1, -(-len(by_time) // STEPS))
    parts = [by_time[start : start + size] for start in range(0, len(by_time), size)]
    for what, unit in (("files", 1), ("memory_kib", 1024), ("tasks", 1)):
        medians = (statistics.median(line[what] for line in part) / unit for part in parts)
        print(f"    {what.replace('_kib', ', MiB'):<12}", *(f"{median:>7.0f}" for median in medians))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=5_000)
    parser.add_argument("--faults", type=float, default=0.1, help="the probability that a request meets a fault")
    parser.add_argument("--kill-every", type=float, default=5.0, help="seconds, on average; 0 never kills")
    parser.add_argument("--minutes", type=float, default=20.0, help="give up after this time")
    parser.add_argument("--seed", type=int, default=random.randrange(1_000_000))
    arguments = parser.parse_args()
    print(f"seed {arguments.seed}", flush=True)
    rng = random.Random(arguments.seed)
    lookalikes = arguments.jobs - len(range(0, arguments.jobs, 3))
    budget = lookalikes * PRICE_OF_LOOKALIKE + (arguments.jobs - lookalikes) * PRICE_OF_MATCHED
    kills, runs, started_at = 0, 0, time.monotonic()
    with (
        tempfile.TemporaryDirectory() as name,
        run_module("soak_sandbox", arguments.faults, arguments.seed) as sandbox,
    ):
        folder = Path(name)
        assert sandbox.stdout is not None
        where = json.loads(sandbox.stdout.readline())
        failed = arguments.jobs
        while failed and time.monotonic() - started_at < arguments.minutes * 60:
            life = arguments.kill_every * rng.uniform(0.5, 1.5) or arguments.minutes * 60
            with run_module("soak_worker", where["base_url"], where["token"], arguments.jobs, budget, folder) as worker:
                runs += 1
                if run_until_killed(worker, life):
                    kills += 1
                    continue
            report = read_log(folder)[-1]["report"]
            failed = report["failed"]
            print(f"  a run finished: {report['done']} done, {report['failed_by_error']}", flush=True)
        seconds = time.monotonic() - started_at
        sandbox.terminate()
        truth = json.loads(sandbox.stdout.readline())
        lines = read_log(folder)
        files = sum(1 for path in (folder / "exports").iterdir() if path.suffix == ".csv")
        part_files = sum(1 for path in (folder / "exports").iterdir() if ".part" in path.suffixes)
    print(f"{arguments.jobs - failed} of {arguments.jobs} jobs done in {seconds:.0f} s, {runs} runs, {kills} SIGKILLs")
    print(f"  purchases {truth['purchases']}, exports purchased twice {truth['purchased_twice']}", end=", ")
    print(f"audiences created twice {truth['made_twice']}; files {files}, part files left {part_files}")
    spent = [line["report"]["spent_cents"] for line in lines if "report" in line]
    charged, recorded = format_dollars(truth["charged_cents"]), format_dollars(spent[-1] if spent else 0)
    print(f"  charged {charged}, journal {recorded}, budget {format_dollars(budget)}")
    print(
        f"  requests per job {truth['requests'] / arguments.jobs:.1f}, over the rate {truth['over_the_rate']}", end=", "
    )
    print(f"faults {sum(truth['faults'].values()):,}:")
    print("   ", ", ".join(f"{kind} {count}" for kind, count in truth["faults"].items()))
    print_over_time(lines)
    if failed or truth["purchased_twice"] or truth["made_twice"] or truth["charged_cents"] > budget:
        raise SystemExit("FAILED")


if __name__ == "__main__":
    main()
