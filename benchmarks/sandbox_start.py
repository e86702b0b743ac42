"""Measure how long a sandbox with 100,000 voters takes to start, its memory, and the demo.

    python -m benchmarks --only sandbox_start

Each round starts a sandbox twice and a demo twice: first without cached voters, then with them. The figures are
wall-clock seconds, because users feel those. The notes have CPU seconds, which other programs affect less.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from benchmarks.support.figures import Figure, spread
from benchmarks.support.sandbox_process import SandboxProcess, sandbox_process
from indigo_async import ColumnSelection, IndigoClient
from indigo_async.files import LocalPublisher
from indigo_async.inputs import LookalikeFilters
from indigo_async.sandbox.people import VoterFile, generate_messy_csv
from indigo_async.workflows import create_lookalike, upload_and_match

__all__ = ["measure"]

_TICKS = os.sysconf("SC_CLK_TCK")
_COLUMNS = {
    "first_name": ColumnSelection("First Name", required=True),
    "last_name": ColumnSelection("Last Name", required=True),
    "zip": ColumnSelection("Zip Code"),
    "phone": ColumnSelection("Phone"),
}
_STATES = ("PA", "NJ", "OH")


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def _resident_mib(pid: int) -> float:
    return int(Path(f"/proc/{pid}/status").read_text().partition("VmRSS:")[2].split()[0]) / 1024


def _send_first_request(sandbox: SandboxProcess) -> None:
    request = urllib.request.Request(f"{sandbox.base_url}/audiences?customerId=42")
    request.add_header("Authorization", f"Bearer {sandbox.token}")
    with urllib.request.urlopen(request, timeout=60) as response:
        assert response.read() == b"[]"


async def _use(sandbox: SandboxProcess, csv: Path) -> dict[str, float]:
    """Match a list and create a lookalike. Returns the memory after each."""
    async with IndigoClient(sandbox.token, base_url=sandbox.base_url, poll_interval=0.1) as client:
        matched = await upload_and_match(
            client,
            csv,
            customer_id="42",
            audience_name="Members",
            column_selections=_COLUMNS,
            publisher=LocalPublisher(),
        )
        after_match = _resident_mib(sandbox.pid)
        await create_lookalike(
            client,
            matched,
            customer_id="42",
            audience_name="Wider",
            size=5_000,
            filters=LookalikeFilters(states=_STATES),
        )
        return {"MiB after a match": after_match, "MiB after a lookalike": _resident_mib(sandbox.pid)}


def _start(csv: Path, *options: str) -> dict[str, float]:
    started = time.perf_counter()
    with sandbox_process("--speed", "1000", *options) as sandbox:
        _send_first_request(sandbox)
        taken = {
            "seconds": time.perf_counter() - started,
            "CPU seconds": _cpu_seconds(sandbox.pid),
            "MiB": _resident_mib(sandbox.pid),
        }
        return taken if "--lite" in options else taken | asyncio.run(_use(sandbox, csv))


def _run_demo(folder: Path) -> dict[str, float]:
    started = time.perf_counter()
    command = [sys.executable, "-m", "indigo_async", "demo", "--out", str(folder / "demo")]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    assert status == 0
    return {
        "seconds": time.perf_counter() - started,
        "CPU seconds": usage.ru_utime + usage.ru_stime,
        "MB": usage.ru_maxrss * 1024 / 1e6,
    }


def _run_rounds(folder: Path, csv: Path, rounds: int) -> dict[str, list[dict[str, float]]]:
    taken: dict[str, list[dict[str, float]]] = defaultdict(list)
    for turn in range(rounds):
        taken["lite"].append(_start(csv, "--lite"))
        for part, run in (("start", lambda: _start(csv)), ("demo", lambda: _run_demo(folder))):
            os.environ["XDG_CACHE_HOME"] = str(folder / f"cache of {part} {turn}")
            taken[f"{part}, first"].append(run())
            taken[f"{part}, cached"].append(run())
    return taken


def measure(*, quick: bool) -> list[Figure]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["XDG_CACHE_HOME"] = name
        csv = folder / "members.csv"
        voters = VoterFile.synthetic()
        csv.write_bytes(generate_messy_csv(voters, 2_000, seed=1, states=_STATES))
        voters.close()
        taken = _run_rounds(folder, csv, 1 if quick else 5)

    def values(part: str, name: str) -> list[float]:
        return [one[name] for one in taken[part]]

    def medians(*parts: str, names: Sequence[str]) -> dict[str, float]:
        return {f"{name} ({part})": statistics.median(values(part, name)) for part in parts for name in names}

    starts, demos = ("start, cached", "start, first"), ("demo, cached", "demo, first")
    memory = ("MiB", "MiB after a match", "MiB after a lookalike")
    return [
        Figure(
            measure="time from the start of a sandbox with 100,000 cached voters until its first response",
            unit="s",
            **spread(values("start, cached", "seconds")),
            at_most=1.0,
            notes=medians(*starts, "lite", names=["seconds", "CPU seconds"]),
        ),
        Figure(
            measure="memory of a sandbox with 100,000 cached voters after its start",
            unit="MiB",
            **spread(values("start, cached", "MiB")),
            at_most=250.0,
            notes=medians(*starts, names=memory) | medians("lite", names=["MiB"]),
        ),
        Figure(
            measure="time of `indigo-async demo` with cached voters",
            unit="s",
            **spread(values("demo, cached", "seconds")),
            at_most=8.0,
            notes=medians(*demos, names=["seconds", "CPU seconds"]),
        ),
        Figure(
            measure="peak memory of the first `indigo-async demo`, which generates the voters",
            unit="MB",
            **spread(values("demo, first", "MB")),
            at_most=500.0,
            notes=medians(*demos, names=["MB"]),
        ),
    ]
