"""With --json, errors are JSON objects on stderr, with the same keys in every command."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from indigo_async import IndigoClient
from indigo_async.sandbox import Fault, FaultKind, ManualClock, Sandbox
from tests.support.command_line import CommandResult, RunCommand
from tests.support.processes.commands import write_manifest

KEYS = {"type", "message", "advice", "request_id", "stage", "customer_id", "audience_name", "audience_id", "problems"}
FAST = ("--poll-interval", "0.02")
MATCH = ("--customer", "42", "--name", "Donors", "--required", "first_name=First")
URL = "https://files.example.org/donors.csv"


def error_of(result: CommandResult) -> dict[str, Any]:
    """The error of a command: the last line of stderr."""
    lines = [json.loads(line) for line in result.stderr.splitlines() if line.startswith("{")]
    assert [line["type"] for line in lines[-1:]] == ["error"]
    assert lines[-1]["error"].keys() == KEYS
    assert json.loads(result.stderr.splitlines()[-1]) == lines[-1]
    return lines[-1]["error"]


@pytest.mark.parametrize(
    "arguments",
    [
        ("audience",),
        ("audiences", "--customers", "42"),
        ("columns",),
        ("doctor", "--journals", "x"),
        ("export", "aud-1"),
        ("lookalike", "aud-1", *MATCH[:4]),
        ("match", URL),
        ("quote",),
        ("report",),
        ("run", "jobs.yaml", "--budget-cents", "5,000"),
        ("upload",),
        ("watch",),
        ("worker",),
    ],
    ids=lambda arguments: arguments[0],
)
async def test_usage_errors(command_line: RunCommand, arguments: tuple[str, ...]):
    result = await command_line(None, *arguments, "--json")
    error = error_of(result)
    assert (result.exit_code, result.stdout, error["type"]) == (2, "", "UsageError")
    assert error["advice"] == f"See indigo-async {arguments[0]} --help"
    assert "See" not in error["message"]


async def test_invalid_input_lists_each_problem(command_line: RunCommand, tmp_path: Path):
    export = (
        "export",
        "aud-1",
        "--customer",
        "42",
        "--out",
        tmp_path,
        "--field",
        "phon",
        "--max-cost-cents",
        "-1",
        "--json",
    )
    async with Sandbox(lite=True) as sandbox:
        await sandbox.seed_audiences(1, "42")
        error = error_of(await command_line(sandbox, *export))
    assert [problem["where"] for problem in error["problems"]] == ["--field", "--max-cost-cents", "--out"]
    assert error["problems"][1]["message"] == "must be at least $0.00"


async def test_errors_of_the_server_and_of_the_network(command_line: RunCommand):
    async with Sandbox(lite=True) as sandbox:
        missing = await command_line(sandbox, "audience", "aud-9", "--json")
        refused = await command_line(sandbox, "audiences", "--json", INDIGO_API_TOKEN="canary-1")
    assert (missing.exit_code, error_of(missing)["type"]) == (1, "NotFoundError")
    assert "Check --customer, the API's address and the token" in error_of(missing)["advice"]
    assert (refused.exit_code, error_of(refused)["type"]) == (5, "AuthenticationError")
    assert "canary-1" not in refused.stderr


async def test_timeouts_and_failures_name_the_stage_and_the_audience(command_line: RunCommand):
    async with Sandbox(lite=True, clock=ManualClock()) as sandbox:
        waiting = await command_line(sandbox, "match", URL, *MATCH, *FAST, "--timeout", "0.2", "--json")
        watched = await command_line(sandbox, "watch", "aud-1", "--customer", "42", *FAST, "--timeout", "0.2", "--json")
    error = error_of(waiting)
    assert (waiting.exit_code, error["type"], error["stage"]) == (4, "WaitTimeoutError", "upload")
    assert (error["customer_id"], error["audience_id"]) == ("42", "aud-1")
    assert (watched.exit_code, error_of(watched)["type"]) == (4, "WaitTimeoutError")


async def test_price_above_the_limit(command_line: RunCommand, tmp_path: Path):
    async with Sandbox(lite=True, speed=2_000.0) as sandbox:
        (audience_id,) = await sandbox.seed_audiences(1, "42")
        export = (
            "export",
            audience_id,
            "--customer",
            "42",
            "--out",
            tmp_path / "x.csv",
            "--field",
            "phone",
            *FAST,
            "--json",
        )
        result = await command_line(sandbox, *export)
    error = error_of(result)
    assert (result.exit_code, error["type"], error["stage"]) == (3, "BudgetExceededError", "purchase")
    assert error["audience_id"] == audience_id
    assert "costs $60.00 and the limit is $0.00: nothing was purchased" in error["message"]
    assert error["advice"].endswith("--max-cost-cents 6000")
    assert result.records[0]["cost_cents"] == 6_000


async def test_failed_jobs_are_results_and_the_batch_is_an_error(command_line: RunCommand, tmp_path: Path):
    manifest = write_manifest(tmp_path, 3)
    async with Sandbox(lite=True, speed=2_000.0) as sandbox:
        sandbox.faults.add(Fault(kind=FaultKind.STAGE_FAILS, endpoint="POST /match_uploaded_csv", times=1))
        result = await command_line(sandbox, "run", manifest, *FAST, "--json")
        quoted = await command_line(sandbox, "quote", tmp_path / "none.yaml", "--json")
    (failed,) = [record["error"] for record in result.records if record["type"] == "outcome" and not record["ok"]]
    assert failed.keys() == KEYS
    assert (failed["type"], failed["stage"]) == ("AudienceFailedError", "match")
    assert failed["customer_id"] in {"c0", "c1"}
    assert failed["audience_name"].startswith("List ")
    assert failed["audience_id"].startswith("aud-")
    error = error_of(result)
    assert (result.exit_code, error["type"]) == (1, "JobsFailed")
    assert error["message"] == "1 of 3 jobs failed"
    assert error["advice"].startswith("After fixing this, resume with: ")
    assert result.records[-1] | {"unfinished": 0, "done": 2, "failed": 1, "jobs": 3} == result.records[-1]
    assert error_of(quoted)["type"] in {"InvalidInputError", "FileNotFoundError"}


@pytest.mark.parametrize(
    ("cause", "kind", "code"), [(KeyboardInterrupt, "Interrupted", 130), (KeyError, "KeyError", 1)]
)
async def test_interrupts_and_bugs(
    command_line: RunCommand,
    monkeypatch: pytest.MonkeyPatch,
    cause: type[BaseException],
    kind: str,
    code: int,
):
    async def broken(_: IndigoClient, customer_id: str | None = None) -> None:
        raise BaseExceptionGroup("", [cause(customer_id)])

    monkeypatch.setattr(IndigoClient, "list_audiences", broken)
    async with Sandbox(lite=True) as sandbox:
        result = await command_line(sandbox, "audiences", "--json")
    assert (result.exit_code, result.stdout, error_of(result)["type"]) == (code, "", kind)


async def test_reports_of_damaged_journals(command_line: RunCommand, tmp_path: Path):
    missing = await command_line(None, "report", tmp_path / "none.journal", "--json")
    (tmp_path / "bad.journal").write_bytes(b"SQLite format 3\0 and then nothing")
    damaged = await command_line(None, "report", tmp_path / "bad.journal", "--json")
    assert (missing.exit_code, error_of(missing)["type"]) == (2, "InvalidInputError")
    assert (damaged.exit_code, error_of(damaged)["type"]) == (1, "JournalDamagedError")
    assert "Restore the journal" in error_of(damaged)["advice"]


async def test_a_failed_request_has_its_id(command_line: RunCommand):
    async with Sandbox(lite=True) as sandbox:
        error = error_of(await command_line(sandbox, "audience", "aud-none", "--customer", "42", "--json"))
        assert error["request_id"] == sandbox.log.entries[-1].request_id
        assert error["message"].endswith(f"(request ID: {error['request_id']})")
        assert error_of(await command_line(sandbox, "audience", "--json"))["request_id"] is None
