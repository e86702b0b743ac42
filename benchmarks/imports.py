"""Compare the cost of importing the SDK, and of starting the command, with the cost of the libraries they use.

    python -m benchmarks --only imports

Each import and each command runs in a new process. The CPU time of a command is that of the whole process, including
the start of Python. The CPU time of an import excludes it. The import names `IndigoClient`, because the package's name
alone imports almost nothing.
"""

from __future__ import annotations

import os
import pkgutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from benchmarks.support.figures import Figure, ratios, spread
from indigo_async.cli import commands

__all__ = ["measure"]

T = TypeVar("T")

_IMPORTS = {
    "indigo_async": "from indigo_async import IndigoClient",
    "aiohttp": "import aiohttp",
    "the name indigo_async alone": "import indigo_async",
    "openai": "from openai import AsyncOpenAI",
}
_LIBRARIES = "import rich, cyclopts"
_SMALLEST_APP = "help of the smallest cyclopts app"
_SMALLEST_HELP = """\
from cyclopts import App
app = App(help_format="plaintext")
@app.command
def greet(name: str, *, loudly: bool = False) -> None: ...
app(["greet", "--help"])
"""
_CSV = "First Name,Last Name,Zip Code,Phone\n" + "Ada,Okafor,19103,215-555-0101\nBo,Lind,15213,412-555-0102\n" * 10


def measure(*, quick: bool) -> list[Figure]:
    rounds = 2 if quick else 15
    return [_measure_imports(rounds), *_measure_commands(rounds)]


def _measure_imports(rounds: int) -> Figure:
    taken = _measure(_IMPORTS, _cpu_of_statement, rounds)
    return Figure(
        measure="CPU of `from indigo_async import IndigoClient` ÷ `import aiohttp`",
        **spread(ratios(taken["indigo_async"], taken["aiohttp"])),
        at_most=1.3,
        notes=_milliseconds(taken, _IMPORTS),
    )


def _measure_commands(rounds: int) -> list[Figure]:
    with tempfile.TemporaryDirectory() as folder:
        csv = Path(folder) / "some.csv"
        csv.write_text(_CSV)
        helps = {f"{name} --help": ["-m", "indigo_async", name, "--help"] for name in _command_names()}
        helps["--help"] = ["-m", "indigo_async", "--help"]
        programs = {
            _LIBRARIES: ["-c", _LIBRARIES],
            _SMALLEST_APP: ["-c", _SMALLEST_HELP],
            "columns some.csv": ["-m", "indigo_async", "columns", str(csv)],
            "--version": ["-m", "indigo_async", "--version"],
            **helps,
        }
        taken = _measure(programs, _cpu_of_process, rounds)
    slowest = max(helps, key=lambda name: statistics.median(taken[name]))
    smallest = statistics.median(ratios(taken[_SMALLEST_APP], taken[_LIBRARIES]))
    return [
        Figure(
            measure=f"CPU of `indigo-async columns some.csv` ÷ `{_LIBRARIES}`",
            **spread(ratios(taken["columns some.csv"], taken[_LIBRARIES])),
            at_most=2.5,
            notes=_milliseconds(taken, ["columns some.csv", _LIBRARIES]),
        ),
        Figure(
            measure=f"CPU of `--help` of the slowest command ÷ `{_LIBRARIES}`",
            **spread(ratios(taken[slowest], taken[_LIBRARIES])),
            at_most=1.5,
            notes={
                "slowest": slowest,
                f"{_SMALLEST_APP} ÷ {_LIBRARIES}": smallest,
                **_milliseconds(taken, [_SMALLEST_APP, "--version", *helps]),
            },
        ),
    ]


def _command_names() -> list[str]:
    return [module.name for module in pkgutil.iter_modules(commands.__path__)]


def _milliseconds(taken: Mapping[str, Sequence[float]], names: Iterable[str]) -> dict[str, float]:
    return {f"ms of {name}": statistics.median(taken[name]) * 1e3 for name in names}


def _measure(programs: Mapping[str, T], cpu_of: Callable[[T], float], rounds: int) -> dict[str, list[float]]:
    """The CPU seconds of each program in each round, without the first, which writes bytecode and fills file caches."""
    taken: dict[str, list[float]] = {name: [] for name in programs}
    for turn in range(rounds + 1):
        for name, program in programs.items():
            seconds = cpu_of(program)
            if turn:
                taken[name].append(seconds)
    return taken


def _cpu_of_statement(statement: str) -> float:
    code = f"import time; before = time.process_time(); {statement}; print(time.process_time() - before)"
    done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, check=True)
    return float(done.stdout)


def _cpu_of_process(arguments: Sequence[str]) -> float:
    process = subprocess.Popen([sys.executable, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, arguments)
    return usage.ru_utime + usage.ru_stime
