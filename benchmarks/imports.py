"""Compare the cost of importing the package with that of its HTTP library.

    python -m benchmarks --only imports

Each import runs in a new interpreter that reports its CPU time. It imports `IndigoClient`, because the name of the
package alone imports almost nothing.
"""

from __future__ import annotations

import statistics
import subprocess
import sys

from benchmarks.support.figures import Figure, ratios, spread

__all__ = ["measure"]

_STATEMENTS = {
    "indigo_async": "from indigo_async import IndigoClient",
    "aiohttp": "import aiohttp",
    "the name indigo_async alone": "import indigo_async",
    "openai": "from openai import AsyncOpenAI",
}


def measure(*, quick: bool) -> list[Figure]:
    taken: dict[str, list[float]] = {name: [] for name in _STATEMENTS}
    for turn in range(3 if quick else 16):
        for name, statement in _STATEMENTS.items():
            seconds = _cpu_of(statement)
            if turn:  # the first one writes bytecode and fills the file cache
                taken[name].append(seconds)
    notes = {f"ms of {name}": statistics.median(times) * 1e3 for name, times in taken.items()}
    return [
        Figure(
            measure="from indigo_async import IndigoClient ÷ import aiohttp",
            **spread(ratios(taken["indigo_async"], taken["aiohttp"])),
            at_most=1.3,
            notes=notes,
        )
    ]


def _cpu_of(statement: str) -> float:
    code = f"import time; before = time.process_time(); {statement}; print(time.process_time() - before)"
    done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, check=True)
    return float(done.stdout)
