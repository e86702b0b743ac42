from __future__ import annotations

import json
import os
import re
import shlex
from pathlib import Path

import anyio

from indigo_async.cli.exit_codes import EXIT_CODES_HELP
from indigo_async.cli.render.advice import advice_for
from indigo_async.sandbox import Fault, FaultKind, Sandbox
from indigo_async.workflows.journal import Journal
from tests.support.command_line import RunCommand
from tests.support.manifests import write_examples
from tests.support.processes.commands import command, environment_for, json_lines, run_command, write_manifest

FAST = ("--poll-interval", "0.02")


def lite() -> Sandbox:
    return Sandbox(lite=True, speed=2_000.0)


async def test_run_downloads_all_exports_and_a_second_run_purchases_nothing(tmp_path: Path):
    manifest = write_manifest(tmp_path, 6)
    async with lite() as sandbox:
        first = await run_command(sandbox, "run", manifest, *FAST)
        bought = sandbox.counts()
        second = await run_command(sandbox, "run", manifest, *FAST)
        counts = sandbox.counts()
    assert first.returncode == 0, first.stderr
    assert "6 of 6 jobs done, in 0:00:" in first.stdout
    assert f"{manifest}.journal; run the same command again to resume" in first.stderr
    assert "6 jobs for 2 customers. They may spend up to $600,000.00" in first.stderr
    files = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.glob("exports/*/*.csv"))
    assert files == [f"exports/c{number % 2}/List {number}.csv" for number in (0, 2, 4, 1, 3, 5)]
    assert all((tmp_path / file).stat().st_mode & 0o777 == 0o600 for file in files)
    assert bought.purchases == 6
    assert second.returncode == 0, second.stderr
    assert counts.purchases == 6
    assert "by this run" not in first.stdout
    assert "6 of 6 jobs done (6 of them by earlier runs), in 0:00:" in second.stdout
    assert "cost    $0.00 spent by this run" in second.stdout
    assert f"${bought.charged_cents / 100:,.2f} spent by all runs with this journal" in second.stdout
    assert "longest" in first.stdout
    assert "longest" not in second.stdout


async def test_documented_manifest_runs_with_local_files(command_line: RunCommand, tmp_path: Path):
    write_examples(tmp_path)
    out = tmp_path / "elsewhere"
    async with lite() as sandbox:
        result = await command_line(
            sandbox, "run", tmp_path / "jobs.csv", "--defaults", tmp_path / "defaults.yaml", "--out", out, *FAST
        )
    assert result.exit_code == 0, result.stderr + result.stdout
    assert (out / "exports" / "42" / "Donors.csv").stat().st_size > 0
    assert (out / "exports" / "43" / "Volunteers.csv").stat().st_size > 0


async def test_json_has_a_line_per_outcome_and_a_final_summary(command_line: RunCommand, tmp_path: Path):
    manifest = write_manifest(tmp_path, 4)
    async with lite() as sandbox:
        result = await command_line(sandbox, "run", manifest, "--json", *FAST)
        counts = sandbox.counts()
    *outcomes, summary = json_lines(result.stdout)
    assert result.exit_code == 0, result.stderr
    assert {outcome["type"] for outcome in outcomes} == {"outcome"}
    assert {outcome["key"] for outcome in outcomes} == {f"c{number % 2}/List {number}" for number in range(4)}
    for outcome in outcomes:
        assert outcome["ok"] is True
        assert outcome["error"] is None
        assert outcome["stage"] == "download"
        assert outcome["audience_id"] == outcome["lookalike_id"] != outcome["matched_id"]
        assert Path(outcome["path"]).stat().st_size == outcome["size_bytes"]
    assert summary["type"] == "summary"
    assert (summary["jobs"], summary["done"], summary["failed"], summary["exit_code"]) == (4, 4, 0, 0)
    assert summary["spent_cents"] == counts.charged_cents == sum(outcome["cost_cents"] for outcome in outcomes)
    assert (summary["recalled"], summary["spent_this_run_cents"]) == (0, counts.charged_cents)
    assert {outcome["recalled"] for outcome in outcomes} == {False}
    assert summary["interrupted"] is False


async def test_jobs_over_their_limit_fail_with_advice_and_an_exit_code(command_line: RunCommand, tmp_path: Path):
    cheap = "- {customer_id: c9, audience_name: Free, csv: 'https://files.example.org/9.csv', export: null}\n"
    manifest = write_manifest(tmp_path, 3, max_cost_cents=1, more=cheap)
    async with lite() as sandbox:
        result = await command_line(sandbox, "run", manifest, *FAST)
        counts = sandbox.counts()
    assert result.exit_code == 3
    assert counts.purchases == 0
    assert "1 of 4 jobs done, 3 failed" in result.stdout
    assert "Raise export.max_cost_cents or --budget-cents" in result.stdout
    assert result.stdout.count("BudgetExceededError") == 1
    assert "3 x BudgetExceededError at purchase" in result.stdout
    assert "3 of 4 jobs failed. After fixing this, resume with:" in result.stderr


async def test_budget_applies_to_all_runs_with_the_same_journal(command_line: RunCommand, tmp_path: Path):
    manifest = write_manifest(tmp_path, 4)
    async with lite() as sandbox:
        priced = await command_line(sandbox, "quote", manifest, "--json", *FAST)
        price = json_lines(priced.stdout)[-1]["price_cents"]
        budget = price // 2
        first = await command_line(sandbox, "run", manifest, "--budget-cents", str(budget), *FAST)
        second = await command_line(sandbox, "run", manifest, "--budget-cents", str(budget), *FAST)
        counts = sandbox.counts()
        suggested = re.search(r"--budget-cents (\d+)$", second.stderr.strip())
        assert suggested is not None, second.stderr
        third = await command_line(sandbox, "run", manifest, "--budget-cents", suggested[1], *FAST)
        purchases = sandbox.counts().purchases
    assert first.exit_code == second.exit_code == 3
    assert counts.purchases == 2
    assert (int(suggested[1]), third.exit_code, purchases) == (price, 0, 4)
    assert "3 over a price limit or budget, nothing above it was purchased;" in EXIT_CODES_HELP
    assert "This export was not purchased." in first.stdout
    assert counts.charged_cents <= budget
    assert f"of ${budget / 100:,.2f} spent" in second.stdout


async def test_spending_of_earlier_runs_counts_against_the_budget(command_line: RunCommand, tmp_path: Path):
    manifest = write_manifest(tmp_path, 2)
    async with lite() as sandbox:
        first = await command_line(sandbox, "run", manifest, *FAST)
        cents = sandbox.counts().charged_cents
        more = "- {customer_id: c9, audience_name: More, csv: 'https://files.example.org/9.csv'}\n"
        write_manifest(tmp_path, 2, more=more)
        over = await command_line(sandbox, "run", manifest, "--budget-cents", "100", *FAST)
        some = await command_line(sandbox, "run", manifest, "--budget-cents", str(cents + 100), *FAST)
        free = await command_line(sandbox, "run", manifest, *FAST)
    assert "They may spend up to $200,000.00.\n" in first.stderr
    spent = f"${cents / 100:,.2f}"
    assert (
        f"The budget of all runs is $1.00; earlier runs spent {spent}, so this run will spend nothing: "
        "only free exports are purchased." in over.stderr
    )
    assert f"{spent} spent by all runs with this journal, above the budget of $1.00" in over.stdout
    assert f"earlier runs spent {spent}, so this run may spend up to $1.00." in some.stderr
    assert f"They may spend up to $300,000.00; earlier runs with this journal spent {spent}." in free.stderr
    assert (over.exit_code, some.exit_code, free.exit_code) == (3, 3, 0)


async def test_no_purchase_stops_after_pricing(command_line: RunCommand, tmp_path: Path):
    manifest = write_manifest(tmp_path, 2)
    async with lite() as sandbox:
        result = await command_line(sandbox, "run", manifest, "--no-purchase", *FAST)
        assert sandbox.counts().purchases == 0
    assert result.exit_code == 0
    assert "They will spend nothing" in result.stderr
    assert not list(tmp_path.glob("exports/*/*.csv"))


async def test_manifest_errors_are_usage_errors_and_nothing_is_sent(command_line: RunCommand, tmp_path: Path):
    manifest = write_manifest(tmp_path, 2, more="- {customer_id: c0, audience_nam: X}\n")
    async with lite() as sandbox:
        result = await command_line(sandbox, "run", manifest, *FAST)
        assert sandbox.log.count() == 0
    assert result.exit_code == 2
    assert result.stdout == ""
    assert f"{manifest}:8: audience_nam: unknown field; did you mean 'audience_name'?" in result.stderr
    assert f"{manifest}:8: csv: is missing" in result.stderr
    assert "Traceback" not in result.stderr
    assert not manifest.with_name("jobs.yaml.journal").exists()


async def test_wrong_token_stops_the_batch_with_its_own_exit_code(command_line: RunCommand, tmp_path: Path):
    manifest = write_manifest(tmp_path, 5)
    async with lite() as sandbox:
        result = await command_line(sandbox, "run", manifest, *FAST, INDIGO_API_TOKEN="wrong-token")
        report = await command_line(sandbox, "report", f"{manifest}.journal", "--json")
    assert result.exit_code == 5
    assert "Check the token and its permissions" in result.stdout
    assert result.stdout.count("A valid API token is required") == 1
    assert "Stopped: GET /audience" in result.stdout
    assert "check the token: INDIGO_API_TOKEN, the file that INDIGO_API_TOKEN_FILE names" in result.stdout
    assert "token=" not in result.stdout + report.stdout
    assert "check the token: INDIGO_API_TOKEN, the file" in report.stdout
    assert "wrong-token" not in result.stdout + result.stderr


async def test_common_failure_is_shown_once(command_line: RunCommand, tmp_path: Path):
    manifest = write_manifest(tmp_path, 12)
    async with lite() as sandbox:
        sandbox.faults.add(Fault(kind=FaultKind.ERROR_BEFORE, endpoint="POST /upload_csv", times=12, status=400))
        result = await command_line(sandbox, "run", manifest, *FAST)
    assert result.exit_code == 1
    assert len(re.findall(r"^ +c\d/List \d+ and 11 more: POST /upload_csv: ", result.stdout, re.MULTILINE)) == 1
    assert result.stdout.count("POST /upload_csv: ") == 1
    assert "--json shows all" not in result.stdout


async def test_quiet_shows_results_only(command_line: RunCommand, tmp_path: Path):
    manifest = write_manifest(tmp_path, 1)
    async with lite() as sandbox:
        result = await command_line(sandbox, "run", manifest, "--quiet", *FAST)
    assert result.exit_code == 0
    assert result.stderr == ""
    assert "1 of 1 jobs done" in result.stdout


async def test_printed_command_resumes_after_failures(tmp_path: Path):
    manifest = write_manifest(tmp_path, 5)
    async with lite() as sandbox:
        sandbox.faults.add(
            Fault(kind=FaultKind.ERROR_BEFORE, endpoint="POST /create_preview_csv_export", times=2, status=400)
        )
        failed = await run_command(sandbox, "run", manifest, *FAST)
        report = await run_command(sandbox, "report", f"{manifest}.journal", "--json")
        resume = shlex.split(failed.stderr.splitlines()[-1])
        result = await run_command(sandbox, *resume[3:])
        counts = sandbox.counts()
    assert failed.returncode == 1
    (advice,) = {failure["advice"] for failure in json.loads(report.stdout)["failures"]}
    assert advice == advice_for("ApiError")
    assert "helps only after fixing that" in advice
    assert advice in failed.stdout
    assert resume[1:4] == ["-m", "indigo_async", "run"]
    assert result.returncode == 0, result.stderr
    assert counts.purchases == 5
    assert set(counts.purchases_by_export.values()) == {1}


async def test_stop_after_failures_starts_no_more_jobs(command_line: RunCommand, tmp_path: Path):
    manifest = write_manifest(tmp_path, 6, max_cost_cents=1)
    async with lite() as sandbox:
        result = await command_line(
            sandbox, "run", manifest, "--max-in-flight", "1", "--stop-after-failures", "2", *FAST
        )
        assert sandbox.log.count("POST /upload_csv") == 2
    assert result.exit_code == 3
    assert "0 of 6 jobs done, 2 failed, 4 unfinished" in result.stdout
    assert "Stopped: 2 jobs failed" in result.stdout
    assert "the batch stopped early. After fixing the cause, resume with:" in result.stderr


async def test_closed_output_pipe_ends_the_run_cleanly(tmp_path: Path):
    manifest = write_manifest(tmp_path, 3)
    async with lite() as sandbox:
        reader, writer = os.pipe()
        os.close(reader)
        try:
            with anyio.fail_after(60):
                result = await anyio.run_process(
                    command("run", manifest, "--json", *FAST),
                    env=environment_for(sandbox),
                    stdout=writer,
                    check=False,
                )
        finally:
            os.close(writer)
        second = await run_command(sandbox, "run", manifest, *FAST)
        counts = sandbox.counts()
    assert result.returncode == 141
    assert b"Traceback" not in result.stderr
    assert second.returncode == 0
    assert counts.purchases == 3
    assert set(counts.purchases_by_export.values()) == {1}


async def test_journal_in_use_and_missing_manifest_are_explained(command_line: RunCommand, tmp_path: Path):
    manifest = write_manifest(tmp_path, 1)
    async with lite() as sandbox:
        async with Journal.open(tmp_path / "jobs.yaml.journal"):
            in_use = await command_line(sandbox, "run", manifest, *FAST)
        missing = await command_line(sandbox, "run", tmp_path / "none.yaml", *FAST)
        assert sandbox.log.count() == 0
    assert in_use.exit_code == 1
    assert in_use.stderr.splitlines()[-1].endswith(
        "jobs.yaml.journal: another run is using this journal; wait for it to end, then run again"
    )
    assert missing.exit_code == 2
    assert (
        missing.stderr
        == f"indigo-async: {tmp_path}/none.yaml: cannot be read: No such file or directory; did you mean 'jobs.yaml'?\n"
    )


async def test_run_shows_warnings_about_csvs_with_their_jobs(command_line: RunCommand, tmp_path: Path):
    manifest = tmp_path / "jobs.yaml"
    manifest.write_text(
        """defaults:
  customer_id: "42"
  column_selections: {last_name: {column_name: Last, is_required: true}}
jobs:
- {audience_name: Good, csv: "https://files.example.org/donors.csv"}
- {audience_name: Shared, csv: "https://www.dropbox.com/s/abc/donors.csv?dl=0"}
- {audience_name: Zipped, csv: "https://files.example.org/donors.csv.gz"}
"""
    )
    async with lite() as sandbox:
        result = await command_line(sandbox, "run", manifest, "--json", *FAST)
        again = await command_line(sandbox, "run", manifest, *FAST)
    assert result.exit_code == 0, result.stderr
    outcomes = {record["audience_name"]: record["warnings"] for record in json_lines(result.stdout)[:-1]}
    assert outcomes["Good"] == []
    assert "Dropbox page" in outcomes["Shared"][0]
    assert "ends in .gz, so it probably is a gzip archive" in outcomes["Zipped"][0]
    assert again.exit_code == 0
    assert "Dropbox" not in again.stdout  # nothing is uploaded again
