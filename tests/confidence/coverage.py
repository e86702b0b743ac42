"""Branch coverage: `python -m tests.confidence.coverage`, or of some tests: `... coverage tests/core`.

The tests run as always, in two processes, and so do the commands and programs that they start. Only a run of all tests
publishes its figures.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

from tests.confidence.page import publish_table

_COLUMNS = ["folder", "lines", "covered", "branches", "covered"]
_NOT_MEASURABLE = [
    # It lists what a command imports, and coverage imports more.
    "tests/cli/test_processes.py::test_help_imports_no_heavy_library",
]


def _coverage(*arguments: str) -> int:
    return subprocess.run([sys.executable, "-m", "coverage", *arguments], check=False).returncode


def _folder(path: str) -> str:
    parts = Path(path).parts
    return "/".join(parts[:2]) if len(parts) > 2 else f"{parts[0]}/*.py"


def _share(covered: int, total: int) -> str:
    return f"{covered / total:.1%}" if total else "-"


def _rows(report: dict[str, Any]) -> list[list[object]]:
    """One row for each folder of the package, and one for all."""
    folders: dict[str, list[dict[str, int]]] = defaultdict(list)
    for path, measured in report["files"].items():
        folders[_folder(path)].append(measured["summary"])
    folders = dict(sorted(folders.items())) | {"**all**": [report["totals"]]}
    rows: list[list[object]] = []
    for name, summaries in folders.items():
        lines, covered_lines, branches, covered_branches = (
            sum(summary[key] for summary in summaries)
            for key in ("num_statements", "covered_lines", "num_branches", "covered_branches")
        )
        rows.append([name, lines, _share(covered_lines, lines), branches, _share(covered_branches, branches)])
    return rows


def main(tests: list[str]) -> int:
    """Measure, report, and return the exit status."""
    _coverage("erase")
    deselect = [f"--deselect={test}" for test in _NOT_MEASURABLE]
    status = _coverage("run", "-m", "pytest", "-n", "3", *deselect, *tests)
    _coverage("combine", "--quiet")
    if tests:
        return _coverage("report", "--skip-covered", "--show-missing", "--fail-under=0") or status
    status = _coverage("json", "--quiet", "-o", ".coverage.json") or status
    publish_table("coverage", _COLUMNS, _rows(json.loads(Path(".coverage.json").read_text("utf-8"))))
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
