"""Explore thousands of histories with every kind of fault, and check the invariants after each run.

    python -m benchmarks.stress.chaos [--examples 3000] [--seed N]

Each history plans faults, runs batches and recipes, interrupts or kills them, and must succeed once the faults are over
(see `tests/chaos`). A failing history is shrunk and printed as code that reproduces it. Explores in rounds, each with
its own seed, and prints what was explored.
"""

from __future__ import annotations

import argparse
import logging
import random
import time

import hypothesis
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.chaos.histories import Histories

ROUND = 100


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--examples", type=int, default=3_000)
    parser.add_argument("--steps", type=int, default=10, help="the most faults and runs in a history")
    parser.add_argument("--seed", type=int, default=random.randrange(1_000_000))
    arguments = parser.parse_args()
    print(f"seed {arguments.seed}", flush=True)
    logging.getLogger("indigo_async").setLevel(logging.CRITICAL)
    started_at = time.perf_counter()
    for first in range(0, arguments.examples, ROUND):
        count = min(ROUND, arguments.examples - first)
        explore(count, arguments.steps, seed := arguments.seed + first)
        print(f"{first + count:>6,} examples in {time.perf_counter() - started_at:.0f} s, last seed {seed}", flush=True)
    for what, count in sorted(Histories.totals.items()):
        print(f"{count:>9,}  {what}")


def explore(examples: int, steps: int, seed: int) -> None:
    """Explore histories. The same seed generates the same ones."""
    explored = settings(
        max_examples=examples,
        stateful_step_count=steps,
        deadline=None,
        database=None,
        print_blob=True,
        suppress_health_check=list(HealthCheck),
    )
    hypothesis.seed(seed)(run_state_machine_as_test)(Histories, settings=explored)


if __name__ == "__main__":
    main()
