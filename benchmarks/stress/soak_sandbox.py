"""Run a lite sandbox with random faults of every kind. Prints its address, and on SIGTERM its counts.

python -m benchmarks.stress.soak_sandbox PROBABILITY SEED
"""

from __future__ import annotations

import json
import random
import signal
import sys

import anyio
import attrs

from indigo_async.sandbox import Dialect, Fault, FaultKind, Sandbox

SPEED = 20.0
SLOW_SECONDS = 3.0
"""Longer than the worker's timeout."""

REQUESTS_PER_SECOND = 500.0
"""Above it the server responds with 429 and a `Retry-After`; random faults add 429s without."""

OUTAGE_EVERY = 15.0
OUTAGE_SECONDS = 0.5

STATUSES = (500, 502, 503, 504)
CLIENT_ERRORS = (400, 408, 409)
PREVIEW, PURCHASE = "POST /create_preview_csv_export", "POST /purchase_csv_export"


def dialect(seed: int) -> Dialect:
    """A random dialect; the same seed gives the same one."""
    pick = random.Random(seed).choice
    return Dialect(
        cost_format=pick(["integer", "float", "string"]),
        field_types_format=pick(["exact", "upper", "spaced", "camel", "with free fields"]),
        preview_url=pick(["absent", "empty", "null"]),
        url_delay=pick([0.0, 5.0, 60.0]),
        stub_status=pick(["PROCESSING", "ACTIVE"]),
        name_normalization=pick(["exact", "lower"]),
        list_lag=pick([0.0, 0.0, 5.0]),
    )


def faults(probability: float) -> list[Fault]:
    """All kinds of transient faults, equally likely, with a total probability of `probability`."""
    kinds = [
        Fault(kind=FaultKind.DISCONNECT_BEFORE),
        Fault(kind=FaultKind.DISCONNECT_AFTER),
        Fault(kind=FaultKind.TRUNCATED_BODY),
        Fault(kind=FaultKind.HTML_BEFORE),
        Fault(kind=FaultKind.HTML_AFTER),
        *(Fault(kind=FaultKind.ERROR_BEFORE, status=status) for status in STATUSES),
        *(Fault(kind=FaultKind.ERROR_AFTER, status=status) for status in STATUSES),
        *(Fault(kind=FaultKind.ERROR_AFTER, status=status, endpoint=PURCHASE) for status in CLIENT_ERRORS),
        *(Fault(kind=FaultKind.ERROR_BEFORE, status=status, endpoint=PURCHASE) for status in CLIENT_ERRORS),
        Fault(kind=FaultKind.ERROR_INSIDE_SUCCESS, endpoint=PURCHASE),
        Fault(kind=FaultKind.WRONG_RECORD, endpoint=PURCHASE),
        Fault(kind=FaultKind.WRONG_RECORD, endpoint=PREVIEW),
        Fault(kind=FaultKind.FIELD_REPLACED, endpoint="GET /audience", field="csvExports.cost", value="12.00"),
        Fault(kind=FaultKind.DELAY_BEFORE, delay=SLOW_SECONDS),
        Fault(kind=FaultKind.DELAY_AFTER, delay=SLOW_SECONDS),
        Fault(kind=FaultKind.RATE_LIMITED, retry_after=0),
        Fault(kind=FaultKind.UNKNOWN_STATUS),
        Fault(kind=FaultKind.STALE_CONNECTION),
        Fault(kind=FaultKind.CLOSED_AFTER_RESPONSE),
        Fault(kind=FaultKind.STAGE_FAILS, endpoint="POST /upload_csv"),
        Fault(kind=FaultKind.ROW_MISSING, endpoint="GET /audiences"),
        Fault(kind=FaultKind.FIELD_MISSING, endpoint="GET /audiences", field="status"),
    ]
    # A fault only meets requests that the ones before it let pass, so the probabilities are adjusted to add up.
    each = probability / len(kinds)
    return [attrs.evolve(kind, times=None, probability=each / (1 - index * each)) for index, kind in enumerate(kinds)]


async def outages(sandbox: Sandbox, rng: random.Random) -> None:
    while True:
        await anyio.sleep(rng.uniform(0.5, 1.5) * OUTAGE_EVERY)
        async with sandbox.refuse_connections():
            await anyio.sleep(OUTAGE_SECONDS)


def final_counts(sandbox: Sandbox) -> dict[str, object]:
    """What was really created, purchased and broken."""
    counts = sandbox.counts()
    named = {key: count for key, count in counts.audiences.items() if key[1] is not None}
    return {
        "purchases": counts.purchases,
        "purchased_twice": sum(count > 1 for count in counts.purchases_by_audience.values()),
        "charged_cents": counts.charged_cents,
        "audiences": len(named),
        "made_twice": sum(count > 1 for count in named.values()),
        "requests": sandbox.log.count(),
        "over_the_rate": sandbox.log.count(status=429),
        "faults": {kind.value: count for kind in FaultKind if (count := sandbox.log.count(fault=kind))},
    }


async def main(probability: float, seed: int) -> None:
    with anyio.open_signal_receiver(signal.SIGTERM) as signals:
        async with Sandbox(
            lite=True,
            speed=SPEED,
            seed=seed,
            requests_per_second=REQUESTS_PER_SECOND,
            log_entries=1_000,
            dialect=dialect(seed),
        ) as sandbox:
            print(json.dumps({"base_url": sandbox.base_url, "token": sandbox.token}), flush=True)
            async with anyio.create_task_group() as group:
                if probability > 0:
                    sandbox.faults.add(*faults(probability))
                    group.start_soon(outages, sandbox, random.Random(seed))
                async for _ in signals:
                    break
                group.cancel_scope.cancel()
            print(json.dumps(final_counts(sandbox)), flush=True)


if __name__ == "__main__":
    anyio.run(main, float(sys.argv[1]), int(sys.argv[2]))
