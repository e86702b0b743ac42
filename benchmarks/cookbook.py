"""Compare one batch for many audiences of one customer with a hand-written loop for each audience.

    python -m benchmarks --only cookbook

The hand-written loops follow the API reference: send, poll every interval until done, send the next. They use aiohttp,
httpx, and requests in threads. Each peer runs in a separate process, all at the same time, against one lite sandbox
whose stages take 10, 20 and 30 intervals. Measured are the requests and CPU per job, and the time from done on the
server until the client knows.
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

from benchmarks.support.figures import Figure
from benchmarks.support.jobs import make_jobs
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
    """The steps of the API reference over any HTTP client. Counts requests and the delay after each stage."""

    def __init__(self, customer: str) -> None:
        self.customer = customer
        self.requests = 0
        self.lags: list[float] = []

    async def job(self, call: Call, number: int) -> None:
        await asyncio.sleep(random.random() * 2 * _INTERVAL)  # lists don't all arrive at the same instant
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
            await asyncio.sleep(_INTERVAL)
            self.requests += 1
            if is_done(await call("GET", "/audience", {"audienceId": audience_id, "customerId": self.customer})):
                self.lags.append(time.monotonic() - started_at - stage / _SPEED)
                return

    @staticmethod
    def _is_ready(record: Any) -> bool:
        return record["uploadedAudienceCsv"]["status"] == "READY_FOR_COLUMN_SELECTION"

    @staticmethod
    def _is_active(record: Any) -> bool:
        return record["status"] == "ACTIVE"


async def run_hand_written(peer: str, base_url: str, token: str) -> dict[str, float]:
    hand_written = HandWrittenClient(peer)
    headers = {"Authorization": f"Bearer {token}"}

    async def all_jobs(call: Call) -> None:
        async with asyncio.TaskGroup() as group:
            for number in range(_HAND_WRITTEN_LOOPS):
                group.create_task(hand_written.job(call, number))

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
        with requests.Session() as shared, ThreadPoolExecutor(_HAND_WRITTEN_LOOPS) as threads:
            shared.headers.update(headers)
            shared.mount("http://", requests.adapters.HTTPAdapter(pool_maxsize=_HAND_WRITTEN_LOOPS))

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
        "requests": hand_written.requests / _HAND_WRITTEN_LOOPS,
        "cpu_ms": cpu / _HAND_WRITTEN_LOOPS * 1e3,
        "lag": statistics.mean(hand_written.lags) / _INTERVAL,
    }


async def run_sdk(base_url: str, token: str, count: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        async with IndigoClient(token, base_url=base_url, poll_interval=_INTERVAL) as client:
            before = time.process_time()
            report = await run_batch(client, make_jobs(count, Path(folder)), max_in_flight=count)
            cpu = time.process_time() - before
            assert report.done == count, report
            return {"requests": client.transport.requests.total() / count, "cpu_ms": cpu / count * 1e3}


async def sdk_lag(base_url: str, token: str) -> dict[str, float]:
    """Time from done on the server until the client knows, for uploads that start at random times."""
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
    sdk = found["indigo_async"]
    hand_written = {f"hand-written with {peer}": found[peer] for peer in peers}
    return [
        Figure(
            measure=f"requests a job, whole cookbook, {count:,} jobs of one customer (the POSTs alone are 5)",
            value=sdk["requests"],
            at_most=5.2,
            notes={name: peer["requests"] for name, peer in hand_written.items()},
        ),
        Figure(
            measure="CPU of a job, whole cookbook ÷ hand-written with aiohttp",
            value=sdk["cpu_ms"] / found["aiohttp"]["cpu_ms"],
            notes={"ms of indigo_async": sdk["cpu_ms"]}
            | {f"ms {name}": peer["cpu_ms"] for name, peer in hand_written.items()},
        ),
        Figure(
            measure="time from done on the server until the client knows, mean, in poll intervals",
            value=found["lag"]["lag"],
            at_most=0.6,
            notes={"the longest": found["lag"]["most"]} | {name: peer["lag"] for name, peer in hand_written.items()},
        ),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("base_url")
    parser.add_argument("token")
    parser.add_argument("count", type=int)
    parser.add_argument("peer")
    arguments = parser.parse_args()
    if arguments.peer == "indigo_async":
        found = asyncio.run(run_sdk(arguments.base_url, arguments.token, arguments.count))
    elif arguments.peer == "lag":
        found = asyncio.run(sdk_lag(arguments.base_url, arguments.token))
    else:
        found = asyncio.run(run_hand_written(arguments.peer, arguments.base_url, arguments.token))
    print(json.dumps(found))


if __name__ == "__main__":
    main()
