"""The whole cookbook for many audiences of one customer: one batch, beside one loop for each audience, by hand.

    python -m benchmarks --only cookbook

By hand means as the reference tells it: send, look every interval until it is done, send the next. It is written over
aiohttp, over httpx, and over requests in threads. Each peer runs in a process of its own, all at the same time, against
one lite sandbox whose stages take 10, 20 and 30 intervals. What is counted are requests and CPU for a job, and the time
from done on the server to known here.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeAlias

import aiohttp
import httpx
import requests

from benchmarks.batch import jobs
from benchmarks.support.figures import Figure
from benchmarks.support.sandbox_process import sandbox_process
from indigo_async import IndigoClient
from indigo_async.sandbox import StageTimes
from indigo_async.workflows import run_batch, wait_for_column_selection

__all__ = ["measure"]

_SPEED = 2.0
_INTERVAL = 1.0
_STAGES = StageTimes()
_HAND_WRITTEN_LOOPS = 100
_LAG_COUNT = 300

Call: TypeAlias = Callable[[str, str, dict[str, Any]], Awaitable[Any]]


class HandWrittenClient:
    """The reference's steps over any HTTP client; counts its requests and how late it learned that a stage was done."""

    def __init__(self, customer: str) -> None:
        self.customer = customer
        self.requests = 0
        self.lags: list[float] = []

    async def job(self, call: Call, number: int) -> None:
        await asyncio.sleep(random.random() * 2 * _INTERVAL)  # lists do not come all at the same instant
        ours = {"customerId": self.customer}
        stub = await self._send(call, "/upload_csv", ours | {"url": f"https://files.example.org/{number}.csv"})
        sent = time.monotonic()
        await self._wait(call, stub["id"], sent, _STAGES.upload, self._is_ready)
        columns = {"first_name": {"column_name": "First", "is_required": True}}
        name = {"audienceName": f"List {number}"}
        match = ours | name | {"audienceID": stub["id"], "columnSelections": columns}
        await self._send(call, "/match_uploaded_csv", match)
        await self._wait(call, stub["id"], time.monotonic(), _STAGES.match, self._is_active)
        name = {"audienceName": f"List {number}, grown"}
        grown = await self._send(
            call, "/create_lookalike_audience", ours | name | {"baseAudienceId": stub["id"], "size": 5_000}
        )
        await self._wait(call, grown["id"], time.monotonic(), _STAGES.lookalike, self._is_active)
        preview = await self._send(
            call, "/create_preview_csv_export", ours | {"audienceId": grown["id"], "optionalFieldTypes": []}
        )
        await self._send(call, "/purchase_csv_export", ours | {"exportId": preview["id"]})

    async def _send(self, call: Call, path: str, body: dict[str, Any]) -> Any:
        self.requests += 1
        return await call("POST", path, body)

    async def _wait(
        self, call: Call, audience_id: str, began: float, stage: float, is_done: Callable[[Any], bool]
    ) -> None:
        while True:
            await asyncio.sleep(_INTERVAL)
            self.requests += 1
            if is_done(await call("GET", "/audience", {"audienceId": audience_id, "customerId": self.customer})):
                self.lags.append(time.monotonic() - began - stage / _SPEED)
                return

    @staticmethod
    def _is_ready(record: Any) -> bool:
        return record["uploadedAudienceCsv"]["status"] == "READY_FOR_COLUMN_SELECTION"

    @staticmethod
    def _is_active(record: Any) -> bool:
        return record["status"] == "ACTIVE"


async def run_hand_written(peer: str, base_url: str, token: str) -> dict[str, float]:
    hand = HandWrittenClient(peer)
    headers = {"Authorization": f"Bearer {token}"}

    async def all_jobs(call: Call) -> None:
        async with asyncio.TaskGroup() as group:
            for number in range(_HAND_WRITTEN_LOOPS):
                group.create_task(hand.job(call, number))

    before = time.process_time()
    if peer == "aiohttp":
        async with aiohttp.ClientSession(headers=headers) as session:

            async def call_aiohttp(method: str, path: str, values: dict[str, Any]) -> Any:
                given: Any = {"params": values} if method == "GET" else {"json": values}
                async with session.request(method, base_url + path, **given) as response:
                    response.raise_for_status()
                    return await response.json()

            await all_jobs(call_aiohttp)
    elif peer == "httpx":
        async with httpx.AsyncClient(headers=headers, timeout=60) as http:

            async def call_httpx(method: str, path: str, values: dict[str, Any]) -> Any:
                given: Any = {"params": values} if method == "GET" else {"json": values}
                response = await http.request(method, base_url + path, **given)
                response.raise_for_status()
                return response.json()

            await all_jobs(call_httpx)
    else:
        with requests.Session() as shared, ThreadPoolExecutor(_HAND_WRITTEN_LOOPS) as threads:
            shared.headers.update(headers)
            shared.mount("http://", requests.adapters.HTTPAdapter(pool_maxsize=_HAND_WRITTEN_LOOPS))

            def send(method: str, path: str, values: dict[str, Any]) -> Any:
                given: Any = {"params": values} if method == "GET" else {"json": values}
                response = shared.request(method, base_url + path, timeout=60, **given)
                response.raise_for_status()
                return response.json()

            async def call_requests(method: str, path: str, values: dict[str, Any]) -> Any:
                return await asyncio.get_running_loop().run_in_executor(threads, send, method, path, values)

            await all_jobs(call_requests)
    cpu = time.process_time() - before
    return {
        "requests": hand.requests / _HAND_WRITTEN_LOOPS,
        "cpu_ms": cpu / _HAND_WRITTEN_LOOPS * 1e3,
        "lag": statistics.mean(hand.lags) / _INTERVAL,
    }


async def run_sdk(base_url: str, token: str, count: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        async with IndigoClient(token, base_url=base_url, poll_interval=_INTERVAL) as client:
            before = time.process_time()
            report = await run_batch(client, jobs(count, 1, Path(folder)), max_in_flight=count)
            cpu = time.process_time() - before
            assert report.done == count, report
            return {"requests": client.transport.requests.total() / count, "cpu_ms": cpu / count * 1e3}


async def sdk_lag(base_url: str, token: str) -> dict[str, float]:
    """From done on the server to known here, for uploads that begin at any time."""
    lags: list[float] = []

    async def one(client: IndigoClient, number: int) -> None:
        await asyncio.sleep(random.random() * 20 * _INTERVAL)
        stub = await client.upload_csv(customer_id="lags", url=f"https://files.example.org/{number}.csv")
        sent = time.monotonic()
        await wait_for_column_selection(client, stub, customer_id="lags")
        lags.append(time.monotonic() - sent - _STAGES.upload / _SPEED)

    async with IndigoClient(token, base_url=base_url, poll_interval=_INTERVAL) as client, asyncio.TaskGroup() as group:
        for number in range(_LAG_COUNT):
            group.create_task(one(client, number))
    return {"lag": statistics.mean(lags) / _INTERVAL, "most": max(lags) / _INTERVAL}


def measure(*, quick: bool) -> list[Figure]:
    count = 100 if quick else 1_000
    peers = ("aiohttp", "httpx", "requests")
    with sandbox_process("--lite", "--speed", str(_SPEED)) as sandbox:
        command = [sys.executable, "-m", "benchmarks.cookbook", sandbox.base_url, sandbox.token, str(count)]
        started = {
            peer: subprocess.Popen([*command, peer], stdout=subprocess.PIPE, text=True)
            for peer in ("indigo_async", "lag", *peers)
        }
        found: dict[str, dict[str, float]] = {
            peer: json.loads(process.communicate()[0]) for peer, process in started.items()
        }
    mine = found["indigo_async"]
    hands = {f"by hand with {peer}": found[peer] for peer in peers}
    return [
        Figure(
            measure=f"requests a job, whole cookbook, {count:,} jobs of one customer (the POSTs alone are 5)",
            value=mine["requests"],
            at_most=5.2,
            notes={name: peer["requests"] for name, peer in hands.items()},
        ),
        Figure(
            measure="CPU of a job, whole cookbook ÷ by hand with aiohttp",
            value=mine["cpu_ms"] / found["aiohttp"]["cpu_ms"],
            notes={"ms of indigo_async": mine["cpu_ms"]}
            | {f"ms {name}": peer["cpu_ms"] for name, peer in hands.items()},
        ),
        Figure(
            measure="from done on the server to known here, mean, in poll intervals",
            value=found["lag"]["lag"],
            at_most=0.6,
            notes={"the longest": found["lag"]["most"]} | {name: peer["lag"] for name, peer in hands.items()},
        ),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("base_url")
    parser.add_argument("token")
    parser.add_argument("count", type=int)
    parser.add_argument("peer")
    given = parser.parse_args()
    if given.peer == "indigo_async":
        found = asyncio.run(run_sdk(given.base_url, given.token, given.count))
    elif given.peer == "lag":
        found = asyncio.run(sdk_lag(given.base_url, given.token))
    else:
        found = asyncio.run(run_hand_written(given.peer, given.base_url, given.token))
    print(json.dumps(found))


if __name__ == "__main__":
    main()
