"""Compare the CPU of one `get_audience`, 50 at once, with the alternatives.

    python -m benchmarks --only calls

nginx responds with 870 bytes over loopback without TLS, so that mostly the client is measured. The SDK has all defaults
on: input checks, retry, pacing, the timeout, typed decoding and the customer check.
"""

from __future__ import annotations

import asyncio
import statistics
from collections.abc import Awaitable, Callable

import msgspec
import uvloop

from benchmarks.support.figures import Figure, measure_interleaved, ratios, spread
from benchmarks.support.peers import CUSTOMER, Get, all_peers
from benchmarks.support.static_server import static_server

__all__ = ["AUDIENCE", "measure"]

_CONCURRENCY = 50
_CLOSE = ("indigo_async", "aiohttp + orjson")

_AUDIENCE_ID = "aud_01JAX3T4W7"
AUDIENCE = msgspec.json.encode(
    {
        "id": _AUDIENCE_ID,
        "name": "Donors of the fall campaign",
        "status": "ACTIVE",
        "customerId": CUSTOMER,
        "uploadedAudienceCsv": {
            "status": "READY_FOR_COLUMN_SELECTION",
            "url": "https://files.example.org/" + "x" * 160,
        },
        "csvExports": [
            {
                "id": "exp_01JAX3T4W8",
                "status": "ACTIVE",
                "totalCostInCents": 1234,
                "downloadUrl": "https://files.example.org/" + "y" * 150,
            }
        ],
        "createdAt": "2026-09-01T12:00:00Z",
        "notes": "z" * 210,
    }
)


def run_concurrently(get: Get, count: int) -> Callable[[], Awaitable[None]]:
    """Make a round of `count` calls, 50 at a time."""

    async def one_round() -> None:
        remaining = iter(range(count))

        async def worker() -> None:
            for _ in remaining:
                await get(_AUDIENCE_ID)

        async with asyncio.TaskGroup() as group:
            for _ in range(_CONCURRENCY):
                group.create_task(worker())

    return one_round


async def _compare(*, quick: bool) -> dict[str, list[float]]:
    """CPU µs of a call for each round; the two that are close get many more rounds."""
    with static_server({"/api/v1/audience": AUDIENCE}) as origin:
        async with all_peers(f"{origin}/api/v1") as peers:
            calls = 300 if quick else 1_000
            close = {name: run_concurrently(peers[name], calls) for name in _CLOSE}
            taken = await measure_interleaved(close, rounds=9 if quick else 41, warm_up=2)
            every = {name: run_concurrently(get, calls) for name, get in peers.items()}
            all_taken = await measure_interleaved(every, rounds=3 if quick else 9)
    close_us = {name: [seconds / calls * 1e6 for seconds in times] for name, times in taken.items()}
    all_us = {name: [seconds / calls * 1e6 for seconds in times] for name, times in all_taken.items()}
    return {f"close {name}": times for name, times in close_us.items()} | all_us


def _by_loop(*, quick: bool) -> dict[str, list[float]]:
    """CPU seconds of the same calls, alternately in asyncio's event loop and in uvloop's, each time in a new loop."""
    calls, rounds = (300, 3) if quick else (1_000, 11)
    loops = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}

    async def taken(base_url: str) -> float:
        async with all_peers(base_url) as peers:
            one_round = run_concurrently(peers["indigo_async"], calls)
            return (await measure_interleaved({"": one_round}, rounds=1))[""][0]

    results: dict[str, list[float]] = {name: [] for name in loops}
    with static_server({"/api/v1/audience": AUDIENCE}) as origin:
        for _ in range(rounds):
            for name, factory in loops.items():
                with asyncio.Runner(loop_factory=factory) as runner:
                    results[name].append(runner.run(taken(f"{origin}/api/v1")))
    return results


def measure(*, quick: bool) -> list[Figure]:
    taken = asyncio.run(_compare(quick=quick))
    by_loop = _by_loop(quick=quick)
    sdk, floor = (taken[f"close {name}"] for name in _CLOSE)
    medians = {f"µs of {name}": statistics.median(times) for name, times in taken.items() if "close" not in name}
    floor_notes = {"µs of indigo_async": statistics.median(sdk), "µs of aiohttp + orjson": statistics.median(floor)}
    sdk_among_all = taken["indigo_async"]
    return [
        Figure(
            measure=f"CPU of get_audience ÷ aiohttp + orjson ({len(AUDIENCE)} bytes, 50 at once)",
            **spread(ratios(sdk, floor)),
            at_most=1.15,
            notes=floor_notes,
        ),
        Figure(
            measure="CPU of get_audience ÷ an SDK in Stainless style (openai on httpx)",
            **spread(ratios(sdk_among_all, taken["openai's SDK"])),
            at_most=0.1,
            notes=medians,
        ),
        Figure(
            measure="CPU of get_audience ÷ httpx + pydantic",
            **spread(ratios(sdk_among_all, taken["httpx + pydantic"])),
        ),
        Figure(
            measure="CPU of get_audience in uvloop ÷ in asyncio's own loop",
            **spread(ratios(by_loop["uvloop"], by_loop["asyncio"])),
        ),
    ]
