"""What commands import before they do anything: a help text or `columns` must not wait for the HTTP library."""

from __future__ import annotations

import json
import pkgutil
import subprocess
import sys
from pathlib import Path

from indigo_async.cli import commands

PROGRAM = """
import io, json, sys
from contextlib import redirect_stdout
from indigo_async.cli.app import run

seen, loaded = set(sys.modules), {}
for arguments in json.loads(sys.argv[1]):
    with redirect_stdout(io.StringIO()) as shown:
        assert run(arguments) == 0
    assert shown.getvalue()
    loaded[" ".join(arguments)] = sorted({*sys.modules} - seen)
    seen.update(sys.modules)
print(json.dumps({"": sorted(seen)} | loaded))
"""
NETWORK = {"aiohttp", "anyio", "asyncio", "cattrs", "ssl", "indigo_async.client", "indigo_async._transport.transport"}
WORK = {"duckdb", "msgspec", "numpy", "sqlite3", "temporalio", "yaml", "indigo_async.workflows", "indigo_async.sandbox"}
RESULTS = {"rich.live", "indigo_async.cli.render.output", "indigo_async.cli.runners", "indigo_async.files"}


def modules_loaded_by(*command_lines: list[str]) -> dict[str, set[str]]:
    """The modules that each command line loads, one after the other in a new process; under "", those of all."""
    result = subprocess.run(
        [sys.executable, "-c", PROGRAM, json.dumps(command_lines)],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return {name: set(modules) for name, modules in json.loads(result.stdout).items()}


def test_help_loads_only_the_command_line():
    names = [module.name for module in pkgutil.iter_modules(commands.__path__)]
    loaded = modules_loaded_by(["--version"], ["--help"], *([name, "--help"] for name in names))
    heavy = NETWORK | WORK | RESULTS | {"cyclopts.completion", "logging"}
    assert {name: modules & heavy for name, modules in loaded.items() if modules & heavy} == {}
    for name in names:
        assert f"indigo_async.cli.commands.{name}" in loaded[f"{name} --help"]


def test_columns_needs_neither_the_network_nor_an_event_loop(tmp_path: Path):
    csv = tmp_path / "donors.csv"
    csv.write_text("First Name,Last Name,Zip\nAda,Okafor,19103\n")
    loaded = modules_loaded_by(["columns", str(csv)])[""]
    assert "indigo_async.cli.runners.columns" in loaded
    assert loaded & (NETWORK | WORK) == set()
