"""How a client settles under a server's limit: what of the limit it uses, and how many requests are refused.

    python -m benchmarks.pacing [--limit 50 200] [--seconds 25] [--clients 1]

Three hundred coroutines of each client ask a lite sandbox without pause, which allows so many requests a second and
answers all others with 429 and a `Retry-After` of whole seconds. Beside them one coroutine sends a POST now and then.
Several clients know nothing of each other, as in processes of their own, and share the limit.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import time

from benchmarks.support.figures import Figure
from benchmarks.support.sandbox_process import sandbox_process
from indigo_async import IndigoClient, RetryPolicy

CUSTOMER = "42"
READERS = 300
POSTS = 10


async def saturate(client: IndigoClient, seconds: float) -> tuple[int, list[float]]:
    """Ask without pause. Returns how many GETs were answered, and how long each POST took."""
    stub = await client.upload_csv(customer_id=CUSTOMER, url="https://files.example.org/people.csv")
    end = time.perf_counter() + seconds
    answered = 0
    posts: list[float] = []

    async def look() -> None:
        nonlocal answered
        while time.perf_counter() < end:
            await client.get_audience(stub.id, customer_id=CUSTOMER)
            answered += 1

    async def act() -> None:
        for _ in range(POSTS):
            await asyncio.sleep(seconds / (POSTS + 1))
            before = time.perf_counter()
            await client.upload_csv(customer_id=CUSTOMER, url="https://files.example.org/people.csv")
            posts.append(time.perf_counter() - before)

    lookers = [asyncio.create_task(look()) for _ in range(READERS)]
    await act()
    await asyncio.sleep(max(0.0, end - time.perf_counter()))
    for looker in lookers:
        looker.cancel()
    await asyncio.wait(lookers)
    return answered, posts


async def measure_under_limit(limit: float, seconds: float, *, clients: int = 1) -> list[Figure]:
    patient = RetryPolicy(attempts=1_000, timeout=10 * seconds)
    with sandbox_process("--lite", "--requests-per-second", str(limit)) as sandbox:

        async def one() -> tuple[int, list[float]]:
            async with IndigoClient(sandbox.token, base_url=sandbox.base_url, retry=patient) as client:
                return await saturate(client, seconds)

        each = await asyncio.gather(*(one() for _ in range(clients)))
        answered = sum(count for count, _ in each)
        posts = [took for _, times in each for took in times]
        by_status: dict[str, int] = {}
        for statuses in sandbox.counts()["requests"].values():
            for status, count in statuses.items():
                by_status[status] = by_status.get(status, 0) + count
    refused = by_status.get("429", 0)
    total = sum(by_status.values())
    return [
        Figure(
            measure=f"share used of a limit of {limit:g} requests a second",
            value=answered / seconds / limit,
            at_least=0.95,
            notes={
                "ms of a POST among the looks": statistics.median(posts) * 1e3,
                "the smallest client's part": min(count for count, _ in each) / answered,
            },
        ),
        Figure(measure=f"share refused under a limit of {limit:g} a second", value=refused / total, at_most=0.01),
    ]


def measure(*, quick: bool) -> list[Figure]:
    return asyncio.run(measure_under_limit(200.0, 10.0 if quick else 50.0))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--limit", type=float, nargs="+", default=[50.0, 200.0])
    parser.add_argument("--seconds", type=float, default=25.0)
    parser.add_argument("--clients", type=int, default=1)
    options = parser.parse_args()
    for limit in options.limit:
        for figure in asyncio.run(measure_under_limit(limit, options.seconds, clients=options.clients)):
            print(f"{figure.measure}: {figure.value:.4f} {figure.notes}")


if __name__ == "__main__":
    main()
