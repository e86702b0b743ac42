"""Measure the checks before the first request: manifests in each format, and the local lists of jobs.

    python -m benchmarks --only manifests

`run` checks the whole manifest before it sends anything. It runs in a separate process against a socket on loopback.
When the first request arrives, the benchmark reads the process's CPU time and peak resident size, and kills it.
`run --check` runs to its end.

The benchmark checks each list twice in its own process. The list doesn't change in between.
"""

from __future__ import annotations

import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import attrs

from benchmarks.support.figures import Figure, ratios, spread
from indigo_async import ColumnSelection
from indigo_async.files.csv.check import inspect_csv

__all__ = ["measure"]

_DEFAULTS = """\
  column_selections:
    first_name: {column_name: First Name, is_required: true}
    last_name: {column_name: Last Name, is_required: true}
    zip: Zip Code
  lookalike:
    audience_name: "{audience_name}, grown"
    size: 20000
  export:
    destination: "exports/{customer_id}/{audience_name}.csv"
    optional_field_types: [phone]
"""
_JOBS_OF_A_CUSTOMER = 100
_SECONDS = 300
_LIST_TIME = 1_700_000_000
"""When the lists were changed: a file that has just changed is read again each time."""


@attrs.frozen
class _Cost:
    """CPU seconds, and the largest resident size in MiB."""

    cpu: float
    memory: float


def _fields(number: int) -> dict[str, str | int]:
    return {
        "customer_id": f"customer-{number // _JOBS_OF_A_CUSTOMER}",
        "audience_name": f"List {number}",
        "csv": f"https://files.example.org/lists/{number}.csv",
        "export.max_cost_cents": 20_000 + number,
    }


def _write_csv(path: Path, count: int) -> None:
    with path.open("w") as file:
        file.write(",".join(_fields(0)) + "\n")
        file.writelines(",".join(map(str, _fields(number).values())) + "\n" for number in range(count))


def _write_jsonl(path: Path, count: int) -> None:
    with path.open("w") as file:
        file.writelines(json.dumps(_fields(number)) + "\n" for number in range(count))


def _write_yaml(path: Path, count: int) -> None:
    with path.open("w") as file:
        file.write(f"defaults:\n{_DEFAULTS}jobs:\n")
        for number in range(count):
            *texts, (_, cents) = _fields(number).items()
            job = "\n    ".join(f"{name}: {value}" for name, value in texts)
            file.write(f"  - {job}\n    export: {{max_cost_cents: {cents}}}\n")


_WRITERS: Mapping[str, Callable[[Path, int], None]] = {
    "csv": _write_csv,
    "jsonl": _write_jsonl,
    "yaml": _write_yaml,
}


def _command(folder: Path, suffix: str, count: int, *options: str) -> list[str]:
    """The command that runs a manifest, which is written unless an earlier call did."""
    manifest, defaults = folder / f"{count}.{suffix}", folder / "defaults.yaml"
    if not manifest.exists():
        _WRITERS[suffix](manifest, count)
        defaults.write_text("".join(line.removeprefix("  ") for line in _DEFAULTS.splitlines(keepends=True)))
    given = () if suffix == "yaml" else ("--defaults", str(defaults))
    return [sys.executable, "-m", "indigo_async", "run", str(manifest), *given, *options]


def _cost_until_first_request(folder: Path, suffix: str, count: int) -> _Cost:
    with tempfile.TemporaryDirectory(dir=folder) as journals, socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(_SECONDS)
        command = _command(folder, suffix, count, "--journal", f"{journals}/run.sqlite")
        environment = os.environ | {
            "INDIGO_BASE_URL": f"http://127.0.0.1:{server.getsockname()[1]}/api/audiences/v1",
            "INDIGO_API_TOKEN": "token",
        }
        process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            connection, _ = server.accept()
            with connection:
                connection.settimeout(_SECONDS)
                assert connection.recv(1)
                return _cost_so_far(process.pid)
        finally:
            process.kill()
            process.wait()


def _cost_so_far(pid: int) -> _Cost:
    folder = Path(f"/proc/{pid}")
    user, system = (folder / "stat").read_text().rpartition(")")[2].split()[11:13]
    peak_kib = (folder / "status").read_text().partition("VmHWM:")[2].split()[0]
    return _Cost((int(user) + int(system)) / os.sysconf("SC_CLK_TCK"), int(peak_kib) / 1024)


def _cost_of_check(folder: Path, suffix: str, count: int) -> _Cost:
    process = subprocess.Popen(_command(folder, suffix, count, "--check"), stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    return _Cost(usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def _measure_lists(rounds: int, *, count: int) -> list[Figure]:
    """Check lists of 2,000 people with eight columns, as before each upload."""
    selections = {
        "first_name": ColumnSelection("First Name", required=True),
        "last_name": ColumnSelection("Last Name", required=True),
        "zip": ColumnSelection("Zip Code"),
        "dob": ColumnSelection("Birth Date"),
    }
    header = "First Name,Last Name,Address,City,State,Zip Code,Phone,Birth Date\n"
    person = "Ada,Lovelace,{} Main St,Philadelphia,PA,{:05},215-555-{:04},1971-03-{:02}\n"
    people = "".join(person.format(n, 19100 + n % 99, n, n % 28 + 1) for n in range(2_000))
    first, again = list[float](), list[float]()
    for _ in range(rounds + 1):
        with tempfile.TemporaryDirectory() as folder:
            paths = [Path(folder) / f"{number}.csv" for number in range(count)]
            for path in paths:
                path.write_text(header + people)
                os.utime(path, (_LIST_TIME, _LIST_TIME))
            for taken in (first, again):
                before = time.process_time()
                for path in paths:
                    inspect_csv(path, selections)
                taken.append((time.process_time() - before) / count * 1e3)
    return [
        Figure(
            measure="CPU to check a local list of 2,000 rows for the first time",
            unit="ms",
            **spread(first[1:]),
            at_most=0.4,
            notes={"ms to see that it is unchanged": statistics.median(again[1:])},
        )
    ]


def measure(*, quick: bool) -> list[Figure]:
    few, many, rounds = (1_000, 5_000, 1) if quick else (10_000, 100_000, 5)
    small: dict[str, list[_Cost]] = {suffix: [] for suffix in _WRITERS}
    large: dict[str, list[_Cost]] = {suffix: [] for suffix in _WRITERS}
    checks: dict[int, list[float]] = {few: [], many: []}
    start: list[_Cost] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _cost_until_first_request(folder, "csv", 1)  # writes bytecode and fills the file cache
        for _ in range(rounds):
            start.append(_cost_until_first_request(folder, "csv", 1))
            for suffix in _WRITERS:
                small[suffix].append(_cost_until_first_request(folder, suffix, few))
                large[suffix].append(_cost_until_first_request(folder, suffix, many))
            for count, taken in checks.items():
                taken.append(_cost_of_check(folder, "csv", count).cpu)
    figures: list[Figure] = []
    for suffix in _WRITERS:
        memory = {
            count: statistics.median(cost.memory for cost in costs)
            for count, costs in ((1, start), (few, small[suffix]), (many, large[suffix]))
        }
        figures += [
            Figure(
                measure=f"CPU of `run` until the first request, {many:,} jobs, {suffix}",
                unit="s",
                **spread([cost.cpu for cost in large[suffix]]),
                at_most=4.0,
                notes={
                    f"s with {few:,} jobs": statistics.median(cost.cpu for cost in small[suffix]),
                    "s with 1 job": statistics.median(cost.cpu for cost in start),
                },
            ),
            Figure(
                measure=f"memory of `run` until the first request, {many:,} jobs ÷ {few:,}, {suffix}",
                **spread(ratios([cost.memory for cost in large[suffix]], [cost.memory for cost in small[suffix]])),
                at_most=1.25,
                notes={
                    **{f"MiB with {count:,} job{'s' if count > 1 else ''}": mib for count, mib in memory.items()},
                    "bytes a job": (memory[many] - memory[few]) * 2**20 / (many - few),
                },
            ),
        ]
    figures += _measure_lists(rounds, count=20 if quick else 200)
    per_job = [(large - small) / (many - few) * 1e6 for small, large in zip(*checks.values(), strict=True)]
    figures.append(Figure(measure="CPU of `run --check` per job, csv", unit="µs", **spread(per_job)))
    return figures
