"""The command with the extra `cli` alone: what needs another library says so, and nothing else does."""

from __future__ import annotations

import subprocess
import sys

import pytest

WITHOUT = """
import sys
for name in ("temporalio", "obstore", "duckdb", "opentelemetry"):
    sys.modules[name] = None
from indigo_async.cli import main
main()
"""


def run(*arguments: str) -> tuple[int, str]:
    command = [sys.executable, "-c", WITHOUT, *arguments]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert "Traceback" not in ended.stdout + ended.stderr
    return ended.returncode, ended.stdout + ended.stderr


def test_a_mistyped_command_is_told_as_one():
    code, told = run("matc", "donors.csv")
    assert code == 2
    assert '"match"' in told


@pytest.mark.parametrize("command", ["worker", "run", "match", "sandbox", "report"])
def test_every_command_has_its_help(command: str):
    code, told = run(command, "--help")
    assert code == 0
    assert f"indigo-async {command}" in told


def test_a_command_that_needs_a_library_names_it():
    code, told = run("worker", "--exports", "exports", "--temporal", "127.0.0.1:1")
    assert code == 1
    assert "temporalio is not installed" in told
