"""Compare downloads with what people use instead: a large file with `curl -o`, small files with aiohttp.

    python -m benchmarks --only downloads

The SDK writes a private part file, hashes it, syncs it and then renames it. nginx serves the files over loopback.

Large: a file of 500 MB, to a disk. The peers are plain aiohttp without a hash, curl, and curl followed by `sha256sum`,
which gives the same certainty. The figures compare wall-clock time, because threads and the kernel share the work. The
notes have the CPU time.

Small: many files of 1 KB, ten at once, to memory, because a disk costs both peers the same CPU time. The peer is
aiohttp with a hash, `fsync` and a rename (`download` in `benchmarks/support/thoughtful.py`). The figure compares CPU
time.
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
from functools import partial
from pathlib import Path

import aiohttp

from benchmarks.support import thoughtful
from benchmarks.support.figures import Figure, measure_interleaved, ratios, spread
from benchmarks.support.memory_folder import memory_folder
from benchmarks.support.static_server import static_server
from indigo_async import IndigoClient, RetryPolicy
from indigo_async.files.downloads.download import download

__all__ = ["measure"]

_CHUNK_BYTES = 256 * 1024
_SMALL_BYTES = 1_024
_SMALL_AT_ONCE = 10


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


async def _compare_small(count: int, rounds: int) -> dict[str, list[float]]:
    """CPU seconds of `count` small downloads, by peer and round."""
    content = os.urandom(_SMALL_BYTES // 2).hex().encode()
    with memory_folder() as folder, static_server({"/donors.csv": content}) as origin:
        url, retry = f"{origin}/donors.csv", RetryPolicy()
        async with IndigoClient("benchmark-token", base_url=origin) as client, aiohttp.ClientSession() as session:

            async def all_files(save: Callable[[Path], Awaitable[object]]) -> None:
                slots = asyncio.Semaphore(_SMALL_AT_ONCE)

                async def one(number: int) -> None:
                    async with slots:
                        await save(folder / f"{number}.csv")

                await asyncio.gather(*map(one, range(count)))

            peers: dict[str, Callable[[Path], Awaitable[object]]] = {
                "indigo_async": lambda path: download(client.transport, url, path, retry=retry),
                "aiohttp": lambda path: thoughtful.download(session, url, path),
            }
            return await measure_interleaved(
                {name: partial(all_files, save) for name, save in peers.items()}, rounds=rounds
            )


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
    small_count = 100 if quick else 500
    small = asyncio.run(_compare_small(small_count, 5 if quick else 15))
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
            measure=f"MB/s of a {megabytes} MB download with SHA-256 ÷ `curl -o` without a hash",
            **spread(ratios(wall["curl"], wall["indigo_async"])),
            at_least=0.5,
            notes=notes,
        ),
        Figure(
            measure=f"MB/s of a {megabytes} MB download with SHA-256 ÷ `curl -o`, then `sha256sum`",
            **spread(ratios(wall["curl and sha256sum"], wall["indigo_async"])),
            at_least=1.0,
        ),
        Figure(
            measure="CPU of a 1 KB download with SHA-256 ÷ aiohttp with SHA-256, fsync and rename",
            **spread(ratios(small["indigo_async"], small["aiohttp"])),
            at_most=1.5,
            notes={f"µs of {name}": statistics.median(times) / small_count * 1e6 for name, times in small.items()},
        ),
    ]
