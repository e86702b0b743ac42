"""Compare a download with `curl -o`: 500 MB over loopback from nginx, to the same disk.

    python -m benchmarks --only downloads

The SDK writes a private part file, hashes it, and syncs it before it is renamed. The peers are plain aiohttp without a
hash, curl, and curl followed by `sha256sum`, which gives the same certainty. Wall-clock seconds are compared, because
threads and the kernel share the work. The notes hold the CPU time.
"""

from __future__ import annotations

import asyncio
import os
import resource
import statistics
import subprocess
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import aiohttp

from benchmarks.support.figures import Figure, ratios, spread
from benchmarks.support.static_server import static_server
from indigo_async import IndigoClient, RetryPolicy
from indigo_async.files.downloads.download import download

__all__ = ["measure"]

_CHUNK_BYTES = 256 * 1024


async def _compare(size: int, rounds: int) -> dict[str, list[tuple[float, float]]]:
    """Wall-clock and CPU seconds, by peer and round."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        source, target = folder / "source.csv", folder / "target.csv"
        with source.open("wb") as file:
            for _ in range(size // 1_000_000):
                file.write(os.urandom(500_000) * 2)
        with static_server({"/donors.csv": source}) as origin:
            url = f"{origin}/donors.csv"
            async with IndigoClient("benchmark-token", base_url=origin) as client, aiohttp.ClientSession() as session:

                async def sdk() -> None:
                    await download(client.transport, url, target, retry=RetryPolicy())

                async def bare() -> None:
                    async with session.get(url) as response:
                        with target.open("wb") as file:
                            async for chunk in response.content.iter_chunked(_CHUNK_BYTES):
                                file.write(chunk)

                async def curl() -> None:
                    await _run("curl", "-s", "-o", str(target), url)

                async def curl_and_hash() -> None:
                    await curl()
                    await _run("sha256sum", str(target))

                peers = {"indigo_async": sdk, "aiohttp": bare, "curl": curl, "curl and sha256sum": curl_and_hash}
                taken: dict[str, list[tuple[float, float]]] = {name: [] for name in peers}
                for turn in range(rounds + 1):
                    for name, peer in peers.items():
                        target.unlink(missing_ok=True)
                        seconds = await _timed(peer)
                        if turn:
                            taken[name].append(seconds)
                return taken


async def _run(*command: str) -> None:
    process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.DEVNULL)
    assert await process.wait() == 0, command


async def _timed(peer: Callable[[], Awaitable[None]]) -> tuple[float, float]:
    started_at, before = time.perf_counter(), _cpu()
    await peer()
    return time.perf_counter() - started_at, _cpu() - before


def _cpu() -> float:
    used = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in used)


def measure(*, quick: bool) -> list[Figure]:
    size = 50_000_000 if quick else 500_000_000
    taken = asyncio.run(_compare(size, 3 if quick else 9))
    wall = {name: [seconds for seconds, _ in times] for name, times in taken.items()}
    notes: dict[str, float | str] = {}
    for name, times in taken.items():
        notes[f"MB/s of {name}"] = size / 1e6 / statistics.median(wall[name])
        notes[f"CPU s of {name}"] = statistics.median(cpu for _, cpu in times)
    megabytes = size // 1_000_000
    return [
        Figure(
            measure=f"MB/s of a download with SHA-256, {megabytes} MB ÷ curl -o without",
            **spread(ratios(wall["curl"], wall["indigo_async"])),
            at_least=0.5,
            notes=notes,
        ),
        Figure(
            measure=f"MB/s of a download with SHA-256, {megabytes} MB ÷ curl -o, then sha256sum",
            **spread(ratios(wall["curl and sha256sum"], wall["indigo_async"])),
            at_least=1.0,
        ),
    ]
