"""Measure how many requests per second a lite sandbox serves, in a separate process on one core.

Run: python benchmarks/sandbox_throughput.py [--seconds 3] [--connections 16] [--audiences 10000]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection

import attrs

from indigo_async.sandbox import Sandbox


@attrs.frozen
class Target:
    port: int
    token: str
    audience_id: str
    pid: int


async def serve(pipe: Connection, audiences: int) -> None:
    async with Sandbox(lite=True) as sandbox:
        ids = await sandbox.seed_audiences(audiences, "big")
        port = int(sandbox.base_url.split(":")[2].split("/")[0])
        pipe.send(Target(port, sandbox.token, str(ids[0]), os.getpid()))
        await asyncio.get_running_loop().run_in_executor(None, pipe.recv)


def serve_on_one_core(pipe: Connection, audiences: int) -> None:
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    asyncio.run(serve(pipe, audiences))


@contextmanager
def target_process(audiences: int) -> Iterator[Target]:
    here, there = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=serve_on_one_core, args=(there, audiences))
    process.start()
    try:
        yield here.recv()
    finally:
        here.send("end")
        process.join()


def cpu_seconds(pid: int) -> float:
    with open(f"/proc/{pid}/stat") as file:  # noqa: PTH123 - a file of the kernel
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def request_bytes(target: Target, method: str, path: str, body: object = None) -> bytes:
    content = b"" if body is None else json.dumps(body).encode()
    head = (
        f"{method} /api/v1{path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {target.token}\r\n"
        f"Content-Length: {len(content)}\r\n\r\n"
    )
    return head.encode() + content


async def exchange(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes) -> int:
    """Send a request, read the response and return the size of its body."""
    writer.write(request)
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200"), head
    size = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
    await reader.readexactly(size)
    return size


async def load(target: Target, request: bytes, *, seconds: float, connections: int) -> tuple[int, float, int]:
    """Send requests on every connection. Returns the number of responses, the seconds and the last size."""
    responses = size = 0
    deadline = time.perf_counter() + seconds

    async def one_connection() -> None:
        nonlocal responses, size
        reader, writer = await asyncio.open_connection("127.0.0.1", target.port, limit=1 << 26)
        while time.perf_counter() < deadline:
            size = await exchange(reader, writer, request)
            responses += 1
        writer.close()
        await writer.wait_closed()

    started_at = time.perf_counter()
    async with asyncio.TaskGroup() as tasks:
        for _ in range(connections):
            tasks.create_task(one_connection())
    return responses, time.perf_counter() - started_at, size


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--audiences", type=int, default=10_000)
    options = parser.parse_args()
    with target_process(options.audiences) as target:
        upload = {"customerId": "new", "url": "http://127.0.0.1/donors.csv"}
        requests = {
            "GET /audience": request_bytes(target, "GET", f"/audience?audienceId={target.audience_id}&customerId=big"),
            f"GET /audiences ({options.audiences:,} rows)": request_bytes(target, "GET", "/audiences?customerId=big"),
            "POST /upload_csv": request_bytes(target, "POST", "/upload_csv", upload),
        }
        print(f"{'request':36}{'requests/s':>12}{'per CPU second':>16}{'bytes':>12}")
        for name, request in requests.items():
            before = cpu_seconds(target.pid)
            responses, seconds, size = asyncio.run(
                load(target, request, seconds=options.seconds, connections=options.connections)
            )
            cpu = cpu_seconds(target.pid) - before
            print(f"{name:36}{responses / seconds:12,.0f}{responses / cpu:16,.0f}{size:12,}")


if __name__ == "__main__":
    main()
