"""Compare the CPU of one `get_audience`, at 1, 8 and 50 concurrent calls, with the alternatives.

    python -m benchmarks --only calls

nginx responds with an audience over loopback without TLS, so most of the measured cost is the client's. The SDK runs
with its defaults: input checks, retries, pacing, the timeout, typed decoding and the customer check.
"""

from __future__ import annotations

import asyncio
import statistics
from collections.abc import Awaitable, Callable, Mapping

import msgspec
import uvloop

from benchmarks.support.figures import Figure, measure_interleaved, ratios, spread
from benchmarks.support.peers import CUSTOMER, FLOOR, SDK, TOOLKIT, Get, all_peers, sdk_variants
from benchmarks.support.static_server import static_server

__all__ = ["AUDIENCE", "measure"]

_CONCURRENCY = (1, 8, 50)
_CLOSE = (SDK, TOOLKIT, FLOOR)
"""The peers that are close, and get many more rounds."""

_AUDIENCE_ID = "aud_01JAX3T4W7"
AUDIENCE = msgspec.json.encode(
    {
        "id": _AUDIENCE_ID,
        "name": "Donors of the fall campaign",
        "status": "ACTIVE",
        "customerId": CUSTOMER,
        "createdAt": "2026-09-01T12:00:00.000+00:00",
        "size": 9_480,
        "uploadedAudienceCsv": {
            "status": "READY_FOR_COLUMN_SELECTION",
            "url": "https://files.example.org/donors.csv?signature=" + "x" * 160,
            "rowCount": 12_000,
            "matchedCount": 9_480,
        },
        "csvExports": [
            {
                "id": "exp_01JAX3T4W8",
                "status": "ACTIVE",
                "createdAt": "2026-09-01T12:30:00.000+00:00",
                "optionalFieldTypes": ["phone"],
                "cost": 18_960,
                "costBreakdown": [
                    {"optionalFieldType": "phone", "people": 9_480, "centsPerPerson": 2, "cents": 18_960}
                ],
                "downloadUrl": "https://files.example.org/exports/exp_01JAX3T4W8.csv?signature=" + "y" * 160,
            }
        ],
    }
)
"""As the sandbox sends it, with URLs as long as those that S3 signs."""


def run_concurrently(get: Get, calls: int, concurrency: int) -> Callable[[], Awaitable[None]]:
    """Make a round of calls, so many at a time."""

    async def one_round() -> None:
        remaining = iter(range(calls))

        async def worker() -> None:
            for _ in remaining:
                await get(_AUDIENCE_ID)

        async with asyncio.TaskGroup() as group:
            for _ in range(concurrency):
                group.create_task(worker())

    return one_round


async def _measure_peers(
    peers: Mapping[str, Get], concurrency: int, *, calls: int, rounds: int
) -> dict[str, list[float]]:
    """CPU µs of a call, by peer and round."""
    each = {name: run_concurrently(get, calls, concurrency) for name, get in peers.items()}
    taken = await measure_interleaved(each, rounds=rounds)
    return {name: [seconds / calls * 1e6 for seconds in times] for name, times in taken.items()}


async def _compare(*, quick: bool) -> list[Figure]:
    figures: list[Figure] = []
    others: list[Figure] = []
    calls = 50 if quick else 400
    with static_server({"/api/v1/audience": AUDIENCE}) as origin:
        async with all_peers(f"{origin}/api/v1") as peers:
            for concurrency in _CONCURRENCY:
                close = {name: peers[name] for name in _CLOSE}
                taken = await _measure_peers(close, concurrency, calls=calls, rounds=3 if quick else 61)
                every = await _measure_peers(peers, concurrency, calls=calls // 2, rounds=2 if quick else 9)
                at = f"({concurrency} at once)"
                medians = {f"µs of {name}": statistics.median(times) for name, times in every.items()}
                figures += [
                    Figure(
                        measure=f"CPU of get_audience ÷ {TOOLKIT} {at}",
                        **spread(ratios(taken[SDK], taken[TOOLKIT])),
                        at_most=1.0,
                        notes=medians,
                    ),
                    Figure(
                        measure=f"CPU of get_audience ÷ {FLOOR} {at}",
                        **spread(ratios(taken[SDK], taken[FLOOR])),
                        at_most=1.35,
                        notes={f"µs of {name}": statistics.median(times) for name, times in taken.items()},
                    ),
                ]
                others += [
                    Figure(measure=f"CPU of get_audience ÷ {name} {at}", **spread(ratios(every[SDK], every[name])))
                    for name in every
                    if name not in _CLOSE
                ]
    return figures + others


async def _compare_variants(*, quick: bool) -> list[Figure]:
    """What a listener and a view with another timeout cost a call."""
    with static_server({"/api/v1/audience": AUDIENCE}) as origin:
        async with sdk_variants(f"{origin}/api/v1") as variants:
            calls, rounds = (50, 3) if quick else (400, 31)
            taken = await _measure_peers(variants, 50, calls=calls, rounds=rounds)
    plain, *rest = taken
    return [
        Figure(measure=f"CPU of get_audience {name} ÷ without", **spread(ratios(taken[name], taken[plain])))
        for name in rest
    ]


def _compare_loops(*, quick: bool) -> Figure:
    """The same calls alternately in asyncio's event loop and in uvloop's, each time in a new loop."""
    calls, rounds = (100, 2) if quick else (1_000, 11)
    loops = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}

    async def taken(base_url: str) -> float:
        async with sdk_variants(base_url) as variants:
            one_round = run_concurrently(next(iter(variants.values())), calls, 50)
            return (await measure_interleaved({"": one_round}, rounds=1))[""][0]

    results: dict[str, list[float]] = {name: [] for name in loops}
    with static_server({"/api/v1/audience": AUDIENCE}) as origin:
        for _ in range(rounds):
            for name, factory in loops.items():
                with asyncio.Runner(loop_factory=factory) as runner:
                    results[name].append(runner.run(taken(f"{origin}/api/v1")))
    return Figure(
        measure="CPU of get_audience on uvloop ÷ on asyncio's event loop",
        **spread(ratios(results["uvloop"], results["asyncio"])),
    )


def measure(*, quick: bool) -> list[Figure]:
    compared = asyncio.run(_compare(quick=quick))
    variants = asyncio.run(_compare_variants(quick=quick))
    return [*compared, *variants, _compare_loops(quick=quick)]
