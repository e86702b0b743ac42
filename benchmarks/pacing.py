"""Measure how a client adapts to a server's 429s, whether they come from a rate limit or are random.

    python -m benchmarks.pacing [--limit 50 200] [--seconds 25] [--clients 1]
    python -m benchmarks.pacing --random 0.005 0.02 [--seconds 5] [--rounds 5]

300 coroutines per client send GETs without pause to a lite sandbox. It responds to requests above its limit with 429
and a `Retry-After` in whole seconds. One more coroutine sends a POST now and then. If there are several clients, they
share the limit without knowing about each other, as separate processes would.

With --random, 100 coroutines send GETs to a server without a rate limit. It takes 20 ms for each request, and responds
to the given share of requests with 429. Each round compares the throughput with that of a server without 429s.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import time

from benchmarks.support.figures import Figure, ratios
from benchmarks.support.sandbox_process import sandbox_process
from benchmarks.support.unlucky_server import unlucky_server
from indigo_async import IndigoClient, RetryPolicy

CUSTOMER = "42"
READERS = 300
POSTS = 10
UNLUCKY_READERS = 100
UNLUCKY_LATENCY_MS = 20.0


async def saturate(client: IndigoClient, seconds: float) -> tuple[int, list[float]]:
    """Send GETs without pause. Returns the number of responses, and how long each POST took."""
    stub = await client.upload_csv(customer_id=CUSTOMER, url="https://files.example.org/donors.csv")
    end = time.perf_counter() + seconds
    responses = 0
    posts: list[float] = []

    async def read() -> None:
        nonlocal responses
        while time.perf_counter() < end:
            await client.get_audience(stub.id, customer_id=CUSTOMER)
            responses += 1

    async def send_posts() -> None:
        for _ in range(POSTS):
            await asyncio.sleep(seconds / (POSTS + 1))
            before = time.perf_counter()
            await client.upload_csv(customer_id=CUSTOMER, url="https://files.example.org/donors.csv")
            posts.append(time.perf_counter() - before)

    readers = [asyncio.create_task(read()) for _ in range(READERS)]
    await send_posts()
    await asyncio.sleep(max(0.0, end - time.perf_counter()))
    for reader in readers:
        reader.cancel()
    await asyncio.wait(readers)
    return responses, posts


async def measure_under_limit(limit: float, seconds: float, *, clients: int = 1) -> list[Figure]:
    patient = RetryPolicy(attempts=1_000, timeout=10 * seconds)
    with sandbox_process("--lite", "--requests-per-second", str(limit)) as sandbox:

        async def one() -> tuple[int, list[float]]:
            async with IndigoClient(sandbox.token, base_url=sandbox.base_url, retry=patient) as client:
                return await saturate(client, seconds)

        each = await asyncio.gather(*(one() for _ in range(clients)))
        responses = sum(count for count, _ in each)
        posts = [took for _, times in each for took in times]
        by_status: dict[str, int] = {}
        for statuses in sandbox.counts()["requests"].values():
            for status, count in statuses.items():
                by_status[status] = by_status.get(status, 0) + count
    refused = by_status.get("429", 0)
    total = sum(by_status.values())
    return [
        Figure(
            measure=f"share of the rate limit used, limit of {limit:g} requests per second",
            value=responses / seconds / limit,
            at_least=0.95,
            notes={
                "ms of a POST among the polls": statistics.median(posts) * 1e3,
                "the smallest client's share": min(count for count, _ in each) / responses,
            },
        ),
        Figure(
            measure=f"share of requests refused, limit of {limit:g} requests per second",
            value=refused / total,
            at_most=0.01,
        ),
    ]


async def measure_throughput(share: float, seconds: float) -> float:
    """Return the requests per second that succeed while this share of them gets a 429."""
    succeeded = 0
    with unlucky_server(latency_ms=UNLUCKY_LATENCY_MS, share=share) as origin:
        async with IndigoClient("token", base_url=f"{origin}/api/v1") as client:

            async def read() -> None:
                nonlocal succeeded
                while True:
                    await client.get_audience("aud_1", customer_id=CUSTOMER)
                    succeeded += 1

            readers = [asyncio.create_task(read()) for _ in range(UNLUCKY_READERS)]
            done, _ = await asyncio.wait(readers, timeout=seconds)
            for reader in readers:
                reader.cancel()
            await asyncio.wait(readers)
            for reader in done:
                reader.result()
    return succeeded / seconds


async def measure_random_refusals(shares: list[float], seconds: float, *, rounds: int) -> list[Figure]:
    """Compare the throughput with and without random 429s, round by round. A figure is the worst round's ratio."""
    undisturbed: list[float] = []
    disturbed: dict[float, list[float]] = {share: [] for share in shares}
    for _ in range(rounds):
        undisturbed.append(await measure_throughput(0.0, seconds))
        for share in shares:
            disturbed[share].append(await measure_throughput(share, seconds))
    return [
        Figure(
            measure=f"throughput with {share:.1%} random 429s ÷ without, worst of {rounds} rounds",
            value=min(ratios(throughputs, undisturbed)),
            low=min(ratios(throughputs, undisturbed)),
            high=max(ratios(throughputs, undisturbed)),
            at_least=0.8,
            notes={
                "median requests a second": statistics.median(throughputs),
                "without": statistics.median(undisturbed),
            },
        )
        for share, throughputs in disturbed.items()
    ]


def measure(*, quick: bool) -> list[Figure]:
    return [
        *asyncio.run(measure_under_limit(200.0, 10.0 if quick else 50.0)),
        *asyncio.run(measure_random_refusals([0.005, 0.02], 2.0 if quick else 5.0, rounds=2 if quick else 5)),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--limit", type=float, nargs="+", default=[50.0, 200.0])
    parser.add_argument("--seconds", type=float)
    parser.add_argument("--clients", type=int, default=1)
    parser.add_argument("--random", type=float, nargs="+", metavar="SHARE")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    if options.random:
        for figure in asyncio.run(
            measure_random_refusals(options.random, options.seconds or 5.0, rounds=options.rounds)
        ):
            print(f"{figure.measure}: {figure.value:.3f} {figure.notes}")
        return
    for limit in options.limit:
        for figure in asyncio.run(measure_under_limit(limit, options.seconds or 25.0, clients=options.clients)):
            print(f"{figure.measure}: {figure.value:.4f} {figure.notes}")


if __name__ == "__main__":
    main()
