"""The command with only the extra `cli`: commands that need another extra say so, the others work."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

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
    ],
)
def test_command_names_the_missing_extra(arguments: list[str], module: str, extra: str):
    code, output = run(*arguments)
    assert code == 1
    assert f"needs {module}, which is not installed: pip install 'indigo-async[{extra}]'" in output


PUBLISH = "needs an extra that is not installed: pip install 'indigo-async[cli,publish]'"


def test_an_option_that_needs_an_extra_is_a_problem_among_the_others(tmp_path: Path):
    jobs = tmp_path / "jobs.yaml"
    jobs.write_text("jobs:\n- {customer_id: 1, csv: gone.csv, color: red}\n")
    buckets = ("--publish", "s3://bucket/lists", "--fence", "s3://bucket/fence")
    code, output = run("run", str(jobs), "--check", *buckets)
    assert code == 2
    assert f"--publish: {PUBLISH}\n" in output
    assert f"--fence: {PUBLISH}\n" in output
    for problem in ("audience_name: is missing", "color: unknown field", f"there is no file '{tmp_path}/gone.csv'"):
        assert problem in output
    assert "6 problems:" in output  # and the columns, and no other about `--publish`
    assert "ObjectStorePublisher" not in output


@pytest.mark.parametrize("command", [["upload", __file__, "--customer", "42"], ["run", __file__]])
def test_an_option_that_needs_an_extra_is_invalid_input(command: list[str], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("INDIGO_API_TOKEN", "token")
    monkeypatch.setenv("INDIGO_BASE_URL", "http://127.0.0.1:1/api/v1")
    assert run(*command, "--publish", "s3://bucket/x") == (2, f"indigo-async: --publish: {PUBLISH}\n")


def test_command_names_the_missing_package():
    code, output = run("worker", "--exports", "exports", "--temporal", "127.0.0.1:1")
    assert code == 1
    assert "needs temporalio, which is not installed: pip install 'indigo-async[temporal]'" in output
