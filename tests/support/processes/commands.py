"""The commands `run` and `quote` in separate processes, using a sandbox in this one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import anyio

from indigo_async.sandbox import Sandbox

COLUMNS = "column_selections: {first_name: {column_name: First, is_required: true}}"


def environment_for(sandbox: Sandbox) -> dict[str, str]:
    own = {"INDIGO_BASE_URL": sandbox.base_url, "INDIGO_API_TOKEN": sandbox.token, "COLUMNS": "200"}
    return {name: value for name, value in os.environ.items() if not name.startswith("INDIGO_")} | own


def command(*arguments: str | Path) -> list[str]:
    return [sys.executable, "-m", "indigo_async", *map(str, arguments)]


async def run_command(
    sandbox: Sandbox, *arguments: str | Path, token: str | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    with anyio.fail_after(120):
        variables = environment_for(sandbox) | ({} if token is None else {"INDIGO_API_TOKEN": token})
        ended = await anyio.run_process(command(*arguments), env=variables, check=False)
    return subprocess.CompletedProcess(ended.args, ended.returncode, ended.stdout.decode(), ended.stderr.decode())


def json_lines(output: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in output.splitlines()]


def write_manifest(folder: Path, count: int, *, customers: int = 2, more: str = "", **export: object) -> Path:
    """A manifest of jobs that match, create a lookalike and purchase a phone export; `export` overrides fields."""
    fields = {"optional_field_types": ["phone"], "max_cost_cents": 10_000_000} | export
    path = folder / "jobs.yaml"
    jobs = [
        f"- {{customer_id: c{number % customers}, audience_name: List {number}, csv: https://files.example.org/{number}.csv}}"
        for number in range(count)
    ]
    path.write_text(
        f"""defaults:
  {COLUMNS}
  lookalike: {{audience_name: "{{audience_name}}, grown", size: 2000}}
  export: {json.dumps({"destination": "exports/{customer_id}/{audience_name}.csv"} | fields)}
jobs:
"""
        + "\n".join(jobs)
        + "\n"
        + more
    )
    return path
