"""Run all benchmarks. Print their figures with the goals, and save them as JSON.

    python -m benchmarks [--only calls imports ...] [--quick] [--json docs/performance.json]
    python -m benchmarks --draw

Each part runs in a separate process, so parts don't affect each other. Each part replaces its own figures in the JSON.
--draw runs nothing, and writes the tables and charts of the performance page from the JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import attrs

from benchmarks.support.figures import Figure
from benchmarks.support.results_table import write_tables

# Each is a module with `measure(quick)`.
PARTS = {
    "calls": "one typed call compared with what people would write, or generate, instead",
    "imports": "what importing the package costs, and the start of commands",
    "report": "what a report of a journal costs",
    "polling": "what 10,000 waits cost: requests, CPU, memory, event loop blocking",
    "poll_intervals": "how often waits are polled, and how late their ends are noticed",
    "memory": "the memory of a waiting job in a batch",
    "cookbook": "the whole cookbook for 1,000 jobs, compared with code that people write without the SDK",
    "pacing": "the share of a server's rate limit that is used, and the share of 429s",
    "journal": "what a journal costs a batch",
    "downloads": "500 MB compared with curl, and 1 KB compared with aiohttp",
    "sandbox_start": "how long a sandbox with 100,000 voters takes to start, its memory, and the demo",
    "matching_speed": "how many rows per minute the sandbox matches",
    "manifests": "what is checked before the first request: manifests of 100,000 jobs, and local lists",
    "scale": "100,000 jobs through all stages",
    "resume": "running finished jobs again",
}
RESULTS = Path(__file__).parent.parent / "docs" / "performance.json"
PAGE = Path(__file__).parent.parent / "docs" / "performance.md"
PICTURES = Path(__file__).parent.parent / "docs" / "pictures"


def command(part: str) -> str:
    return f"python -m benchmarks --only {part}"


def run_part(part: str, *, quick: bool) -> list[Figure]:
    return import_module(f"benchmarks.{part}").measure(quick=quick)


def run_in_subprocess(part: str, *, quick: bool) -> list[Figure]:
    """Run a part in a separate process."""
    code = (
        "import json, sys, attrs; from benchmarks.__main__ import run_part; "
        f"figures = run_part({part!r}, quick={quick}); "
        "print('\\n' + json.dumps([attrs.asdict(figure) for figure in figures]))"
    )
    done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, check=True)
    return [Figure(**figure) for figure in json.loads(done.stdout.splitlines()[-1])]


def format_table(part: str, figures: list[Figure]) -> str:
    lines = [f"{part}: {PARTS[part]}"]
    for figure in figures:
        verdict = {True: "reached", False: "NOT reached", None: ""}[figure.is_reached]
        between = f" ({figure.low:.4g} to {figure.high:.4g})" if figure.low is not None else ""
        lines.append(f"  {figure.measure}: {figure.value:.4g}{figure.unit and ' ' + figure.unit}{between}")
        if figure.goal:
            lines[-1] += f"; goal {figure.goal}: {verdict}"
        notes = (
            f"{name} {note:.4g}" if isinstance(note, float) else f"{name} {note}" for name, note in figure.notes.items()
        )
        if figure.notes:
            lines.append(f"    {', '.join(notes)}")
    return "\n".join(lines)


def save_figures(path: Path, part: str, figures: list[Figure], *, quick: bool) -> None:
    results: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {"parts": {}}
    results["machine"] = {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "cores": os.cpu_count(),
    }
    results["parts"][part] = {
        "command": command(part) + (" --quick" if quick else ""),
        "figures": [
            attrs.asdict(figure) | {"goal": figure.goal, "is_reached": figure.is_reached} for figure in figures
        ],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS), metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--quick", action="store_true", help="fewer and smaller rounds, to check that everything runs")
    parser.add_argument("--json", type=Path, default=RESULTS)
    parser.add_argument(
        "--draw", action="store_true", help="run nothing; draw the charts and write the tables from the JSON"
    )
    arguments = parser.parse_args()
    if arguments.draw:
        results = json.loads(arguments.json.read_text())
        write_tables(results, PAGE)
        import_module("benchmarks.support.charts").draw(results, PICTURES)
        return
    failed: list[str] = []
    for part in arguments.only:
        try:
            figures = run_in_subprocess(part, quick=arguments.quick)
        except subprocess.CalledProcessError:
            failed.append(part)
            continue
        print(format_table(part, figures), flush=True)
        save_figures(arguments.json, part, figures, quick=arguments.quick)
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
