"""Compare one batch for many audiences of one customer with what people write without the SDK.

    python -m benchmarks --only cookbook

The naive peers follow the API reference with a loop for each audience: send a request, poll every interval until it is
done, send the next one. They use aiohttp, httpx, and requests in threads. The thoughtful peer shares one list poll
among all audiences, with and without downloads; see `benchmarks/support/thoughtful.py`. Each peer runs in a separate
process. All run at the same time, against one lite sandbox whose stages take 10, 20 and 30 intervals. The benchmark
measures the requests and CPU per job, and the time from a stage's end on the server until the client notices it.
Downloads go to memory, because a disk costs all peers the same CPU time.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeAlias

import aiohttp
import httpx
import requests

from benchmarks.support import thoughtful
from benchmarks.support.figures import Figure, ratios, spread
from benchmarks.support.jobs import make_jobs
from benchmarks.support.memory_folder import memory_folder
from benchmarks.support.sandbox_process import sandbox_process
from indigo_async import IndigoClient
from indigo_async.sandbox import StageTimes
from indigo_async.workflows import run_batch, wait_for_column_selection

__all__ = ["measure"]

_SANDBOX_SECONDS_PER_INTERVAL = 2.0
_STAGES = StageTimes()
_NAIVE = ("aiohttp", "httpx", "requests")
_WITHOUT_DOWNLOADS = "thoughtful without downloads"
_WITH_DOWNLOADS = "thoughtful with downloads"

Call: TypeAlias = Callable[[str, str, dict[str, Any]], Awaitable[Any]]


class NaiveClient:
    """The steps of the API reference over any HTTP client. Counts requests and the delay after each stage."""

    def __init__(self, customer: str, interval: float) -> None:
        self.customer = customer
        self.interval = interval
        self.requests = 0
        self.lags: list[float] = []

    async def job(self, call: Call, number: int) -> None:
        await asyncio.sleep(random.random() * 2 * self.interval)  # lists don't all arrive at the same instant
        customer = {"customerId": self.customer}
        stub = await self._send(call, "/upload_csv", customer | {"url": f"https://files.example.org/{number}.csv"})
        sent = time.monotonic()
        await self._wait(call, stub["id"], sent, _STAGES.upload, self._is_ready)
        columns = {"first_name": {"column_name": "First", "is_required": True}}
        name = {"audienceName": f"List {number}"}
        match = customer | name | {"audienceID": stub["id"], "columnSelections": columns}
        await self._send(call, "/match_uploaded_csv", match)
        await self._wait(call, stub["id"], time.monotonic(), _STAGES.match, self._is_active)
        name = {"audienceName": f"List {number}, grown"}
        lookalike = await self._send(
            call, "/create_lookalike_audience", customer | name | {"baseAudienceId": stub["id"], "size": 5_000}
        )
        await self._wait(call, lookalike["id"], time.monotonic(), _STAGES.lookalike, self._is_active)
        preview = await self._send(
            call, "/create_preview_csv_export", customer | {"audienceId": lookalike["id"], "optionalFieldTypes": []}
        )
        await self._send(call, "/purchase_csv_export", customer | {"exportId": preview["id"]})

    async def _send(self, call: Call, path: str, body: dict[str, Any]) -> Any:
        self.requests += 1
        return await call("POST", path, body)

    async def _wait(
        self, call: Call, audience_id: str, started_at: float, stage: float, is_done: Callable[[Any], bool]
    ) -> None:
        while True:
            await asyncio.sleep(self.interval)
            self.requests += 1
            if is_done(await call("GET", "/audience", {"audienceId": audience_id, "customerId": self.customer})):
                self.lags.append((time.monotonic() - started_at) / self.interval - _in_intervals(stage))
                return

    @staticmethod
    def _is_ready(record: Any) -> bool:
        return record["uploadedAudienceCsv"]["status"] == "READY_FOR_COLUMN_SELECTION"

    @staticmethod
    def _is_active(record: Any) -> bool:
        return record["status"] == "ACTIVE"


async def run_naive(peer: str, base_url: str, token: str, count: int, interval: float) -> dict[str, float]:
    naive = NaiveClient(peer, interval)
    headers = {"Authorization": f"Bearer {token}"}

    async def all_jobs(call: Call) -> None:
        async with asyncio.TaskGroup() as group:
            for number in range(count):
                group.create_task(naive.job(call, number))

    before = time.process_time()
    if peer == "aiohttp":
        async with aiohttp.ClientSession(headers=headers) as session:

            async def call_aiohttp(method: str, path: str, values: dict[str, Any]) -> Any:
                options: Any = {"params": values} if method == "GET" else {"json": values}
                async with session.request(method, base_url + path, **options) as response:
                    response.raise_for_status()
                    return await response.json()

            await all_jobs(call_aiohttp)
    elif peer == "httpx":
        async with httpx.AsyncClient(headers=headers, timeout=60) as http:

            async def call_httpx(method: str, path: str, values: dict[str, Any]) -> Any:
                options: Any = {"params": values} if method == "GET" else {"json": values}
                response = await http.request(method, base_url + path, **options)
                response.raise_for_status()
                return response.json()

            await all_jobs(call_httpx)
    else:
        with requests.Session() as shared, ThreadPoolExecutor(count) as threads:
            shared.headers.update(headers)
            shared.mount("http://", requests.adapters.HTTPAdapter(pool_maxsize=count))

            def send(method: str, path: str, values: dict[str, Any]) -> Any:
                options: Any = {"params": values} if method == "GET" else {"json": values}
                response = shared.request(method, base_url + path, timeout=60, **options)
                response.raise_for_status()
                return response.json()

            async def call_requests(method: str, path: str, values: dict[str, Any]) -> Any:
                return await asyncio.get_running_loop().run_in_executor(threads, send, method, path, values)

            await all_jobs(call_requests)
    cpu = time.process_time() - before
    return {
        "requests": naive.requests / count,
        "cpu_ms": cpu / count * 1e3,
        "lag": statistics.mean(naive.lags),
    }


async def run_sdk(base_url: str, token: str, count: int, interval: float) -> dict[str, float]:
    with memory_folder() as folder:
        async with IndigoClient(token, base_url=base_url, poll_interval=interval) as client:
            before = time.process_time()
            report = await run_batch(client, make_jobs(count, folder), max_in_flight=count)
            cpu = time.process_time() - before
            assert report.done == count, report
            return {"requests": client.transport.requests.total() / count, "cpu_ms": cpu / count * 1e3}


async def run_thoughtful(peer: str, base_url: str, token: str, count: int, interval: float) -> dict[str, float]:
    with memory_folder() as folder:
        async with aiohttp.ClientSession() as session:
            before = time.process_time()
            await thoughtful.run_jobs(
                session,
                base_url,
                token,
                peer,
                count,
                interval=interval,
                folder=folder if peer == _WITH_DOWNLOADS else None,
            )
            cpu = time.process_time() - before
        assert len(list(folder.iterdir())) == (count if peer == _WITH_DOWNLOADS else 0)
        return {"cpu_ms": cpu / count * 1e3}


async def sdk_lag(base_url: str, token: str, count: int, interval: float) -> dict[str, float]:
    """Time from done on the server until the client knows, for uploads that start at random times."""
    lags: list[float] = []

    async def one(client: IndigoClient, number: int) -> None:
        await asyncio.sleep(random.random() * 20 * interval)
        stub = await client.upload_csv(customer_id="lags", url=f"https://files.example.org/{number}.csv")
        sent = time.monotonic()
        await wait_for_column_selection(client, stub, customer_id="lags")
        lags.append((time.monotonic() - sent) / interval - _in_intervals(_STAGES.upload))

    async with IndigoClient(token, base_url=base_url, poll_interval=interval) as client, asyncio.TaskGroup() as group:
        for number in range(count):
            group.create_task(one(client, number))
    return {"lag": statistics.mean(lags), "most": max(lags)}


def _in_intervals(sandbox_seconds: float) -> float:
    return sandbox_seconds / _SANDBOX_SECONDS_PER_INTERVAL


def run_round(peers: Sequence[str], count: int, interval: float) -> dict[str, dict[str, float]]:
    """Run all peers at the same time."""
    with sandbox_process("--lite", "--speed", str(_SANDBOX_SECONDS_PER_INTERVAL / interval)) as sandbox:
        options = [sandbox.base_url, sandbox.token, str(count), str(interval)]
        command = [sys.executable, "-m", "benchmarks.cookbook", *options]
        started = {peer: subprocess.Popen([*command, peer], stdout=subprocess.PIPE, text=True) for peer in peers}
        return {peer: json.loads(process.communicate()[0]) for peer, process in started.items()}


def measure(*, quick: bool) -> list[Figure]:
    count, interval, turns = (100, 0.2, 2) if quick else (1_000, 1.0, 4)
    compared = ("indigo_async", _WITH_DOWNLOADS, _WITHOUT_DOWNLOADS)
    found = run_round((*compared, "lag", *_NAIVE), count, interval)
    rounds = [found, *(run_round(compared, count, interval) for _ in range(turns - 1))]
    taken = {peer: [turn[peer]["cpu_ms"] for turn in rounds] for peer in compared}
    sdk = found["indigo_async"]
    naive = {f"naive with {peer}": found[peer] for peer in _NAIVE}
    return [
        Figure(
            measure=f"requests per job, whole cookbook, {count:,} jobs of one customer (5 of them are POSTs)",
            value=sdk["requests"],
            at_most=5.2,
            notes={name: peer["requests"] for name, peer in naive.items()},
        ),
        Figure(
            measure="CPU of a job with export and download ÷ thoughtful program (aiohttp, orjson) with downloads",
            **spread(ratios(taken["indigo_async"], taken[_WITH_DOWNLOADS])),
            at_most=1.5,
            notes={f"ms of {peer}": statistics.median(times) for peer, times in taken.items()},
        ),
        Figure(
            measure="CPU of a job with export and download ÷ naive loop (aiohttp) without downloads",
            value=sdk["cpu_ms"] / found["aiohttp"]["cpu_ms"],
            notes={"ms of indigo_async": sdk["cpu_ms"]}
            | {f"ms {name}": peer["cpu_ms"] for name, peer in naive.items()},
        ),
        Figure(
            measure="mean time from a stage's end on the server until the client notices, in poll intervals",
            value=found["lag"]["lag"],
            at_most=0.6,
            notes={"the longest": found["lag"]["most"]} | {name: peer["lag"] for name, peer in naive.items()},
        ),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("base_url")
    parser.add_argument("token")
    parser.add_argument("count", type=int)
    parser.add_argument("interval", type=float)
    parser.add_argument("peer")
    arguments = parser.parse_args()
    base_url, token, count, interval = arguments.base_url, arguments.token, arguments.count, arguments.interval
    match arguments.peer:
        case "indigo_async":
            found = asyncio.run(run_sdk(base_url, token, count, interval))
        case "lag":
            found = asyncio.run(sdk_lag(base_url, token, count // 4, interval))
        case peer if peer in _NAIVE:
            found = asyncio.run(run_naive(peer, base_url, token, count // 10, interval))
        case peer:
            found = asyncio.run(run_thoughtful(peer, base_url, token, count, interval))
    print(json.dumps(found))


if __name__ == "__main__":
    main()
