"""The command with only the extra `cli`: commands that need another extra say so, the others work."""

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
    result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert "Traceback" not in result.stdout + result.stderr
    return result.returncode, result.stdout + result.stderr


def test_mistyped_command_suggests_the_right_one():
    code, output = run("matc", "donors.csv")
    assert code == 2
    assert '"match"' in output


@pytest.mark.parametrize("command", ["worker", "run", "match", "sandbox", "report"])
def test_help_works_without_the_extras(command: str):
    code, output = run(command, "--help")
    assert code == 0
    assert f"indigo-async {command}" in output


@pytest.mark.parametrize(
    ("arguments", "module", "extra"),
    [
        (["demo"], "duckdb", "sandbox"),
        (["sandbox"], "duckdb", "sandbox"),
        (["upload", __file__, "--customer", "42", "--publish", "s3://bucket/x"], "obstore", "publish"),
    ],
)
def test_command_names_the_missing_extra(
    arguments: list[str], module: str, extra: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("INDIGO_API_TOKEN", "token")
    monkeypatch.setenv("INDIGO_BASE_URL", "http://127.0.0.1:1/api/v1")
    code, output = run(*arguments)
    assert code == 1
    assert f"needs {module}, which is not installed: pip install 'indigo-async[{extra}]'" in output


def test_command_names_the_missing_package():
    code, output = run("worker", "--exports", "exports", "--temporal", "127.0.0.1:1")
    assert code == 1
    assert "needs temporalio, which is not installed: pip install 'indigo-async[temporal]'" in output
