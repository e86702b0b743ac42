"""`run --check`: all problems at once, or what the run would do. It sends nothing."""

from __future__ import annotations

import json
import re
from itertools import islice
from pathlib import Path

import pytest

from indigo_async.cli.manifest import read_manifest
from indigo_async.sandbox import Sandbox
from tests.support.command_line import RunCommand
from tests.support.manifests import write, write_examples
from tests.support.processes.commands import COLUMNS, write_manifest

LOCAL = {"INDIGO_BASE_URL": "http://127.0.0.1:1/api/v1"}
ROW = "- {customer_id: 1, audience_name: %s, csv: https://files.example.org/%s.csv}\n"


@pytest.mark.parametrize("name", ["jobs.yaml", "jobs.csv", "jobs.jsonl"])
async def test_a_valid_manifest_is_summarized_without_a_token_or_a_trace(
    command_line: RunCommand, tmp_path: Path, name: str
):
    write_examples(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    defaults = () if name == "jobs.yaml" else ("--defaults", tmp_path / "defaults.yaml")
    result = await command_line(None, "run", tmp_path / name, "--check", *defaults, **LOCAL)
    assert (result.exit_code, result.stderr) == (0, "")
    shown = [" ".join(line.split()) for line in result.stdout.splitlines()]
    assert shown[:7] == [
        f"{tmp_path / name}: no problems found. Nothing was sent.",
        "",
        "jobs 2 jobs for 2 customers",
        "creates 2 matched audiences, 1 lookalike",
        "exports 2",
        "spends at most $1,000.00, the sum of export.max_cost_cents",
        f"journal {tmp_path / name}.journal is new",
    ]
    assert sorted(tmp_path.rglob("*")) == before


async def test_json_says_what_the_run_may_spend(command_line: RunCommand, tmp_path: Path):
    manifest = write_manifest(tmp_path, 3, max_cost_cents=200)
    write_manifest(tmp_path, 3, max_cost_cents=200).with_name("jobs.yaml.journal").touch()
    plans = []
    async with Sandbox(lite=True) as sandbox:
        for options in ((), ("--budget-cents", "250"), ("--budget-cents", "900"), ("--no-purchase",)):
            result = await command_line(sandbox, "run", manifest, "--check", "--json", *options)
            assert (result.exit_code, result.stderr) == (0, "")
            plans += result.records
        assert sandbox.log.count() == 0
    assert [plan["max_spend_cents"] for plan in plans] == [600, 250, 600, 0]
    assert plans[1] == {
        "type": "check",
        "manifest": str(manifest),
        "shard": None,
        "fence": None,
        "jobs": 3,
        "customers": 2,
        "lookalikes": 3,
        "exports": 3,
        "limit_cents": 600,
        "budget_cents": 250,
        "max_spend_cents": 250,
        "journal": f"{manifest}.journal",
        "journal_exists": True,
        "batch": None,
    }


async def test_all_problems_are_reported_at_once_with_their_lines_and_fields(command_line: RunCommand, tmp_path: Path):
    lists = {"latin.csv": b"First\nJos\xe9\n", "list.xlsx": b"PK\x03\x04", "headless.csv": b"Ada,19103\nBob,19104\n"}
    write(tmp_path, {**lists, "taken.csv": "First\nAda\n"})
    manifest = tmp_path / "jobs.yaml"
    manifest.write_text(
        f"defaults: {{{COLUMNS}}}\njobs:\n"
        + ROW % ("A", "a")
        + ROW % ("A", "b")
        + "- {customer_id: 1, audience_name: B, csv: list.xlsx, export: {destination: taken.csv}}\n"
        + "- {customer_id: 1, audience_name: C, csv: taken.csv, export: {destination: out.csv}}\n"
        + "- {customer_id: 1, audience_name: D, csv: headless.csv, export: {destination: out.csv, max_cost_cents: x}}\n"
        + "- {customer_id: 1, audience_name: E, csv: http://example.org/x.csv, export: {destination: ./out.csv}}\n"
        + "- {customer_id: 1, audience_name: F, csv: gone.csv, export: {destination: jobs.yaml.journal}}\n"
        + "- {customer_id: 1, csv: latin.csv, colour: red}\n"
    )
    wrong = ("--budget-cents", "-1", "--publish", "ftp://example.org", "--base-url", "http://example.org")
    result = await command_line(None, "run", manifest, "--check", "--json", *wrong)
    error = json.loads(result.stderr)["error"]
    assert (result.exit_code, result.stdout) == (2, "")
    assert [problem["where"] for problem in error["problems"] if "lines" not in problem] == [
        "--base-url or INDIGO_BASE_URL",
        "--publish",
        "--budget-cents",
    ]
    found = {(tuple(each["lines"]), each["field"]) for each in error["problems"] if "lines" in each}
    assert found == {
        ((4,), "audience_name"),
        ((5,), "csv"),
        ((6,), "csv"),
        ((1,), "column_selections.first_name.column_name"),
        ((7,), "export.max_cost_cents"),
        ((8,), "csv"),
        ((8,), "export.destination"),
        ((9,), "csv"),
        ((9,), "export.destination"),
        ((10,), "audience_name"),
        ((10,), "colour"),
    }, error["message"]


async def test_run_refuses_what_check_refuses_and_neither_sends_anything(command_line: RunCommand, tmp_path: Path):
    manifest = tmp_path / "jobs.yaml"
    for destination in ("jobs.yaml", "jobs.yaml.journal", "jobs.yaml.journal.rows"):
        manifest.write_text(
            f"defaults: {{{COLUMNS}, export: {{destination: {destination}}}}}\njobs:\n" + ROW % ("A", "a")
        )
        async with Sandbox(lite=True) as sandbox:
            checked = await command_line(sandbox, "run", manifest, "--check")
            run = await command_line(sandbox, "run", manifest)
            assert sandbox.log.count() == 0
        assert (checked.exit_code, run.exit_code) == (2, 2)
        assert checked.stderr == run.stderr
        assert "is the batch's own journal or manifest; choose another file" in run.stderr


async def test_warnings_about_lists_are_shown_and_are_no_problems(command_line: RunCommand, tmp_path: Path):
    write(tmp_path, {"a.csv": b"First\nJos\xe9\n", "b.csv": b"First\nAda\n"})
    rows = [("A", "a.csv"), ("B", "b.csv"), ("C", "https://docs.google.com/spreadsheets/d/1/edit")]
    jobs = [f"- {{customer_id: 1, audience_name: {name}, csv: '{csv}'}}\n" for name, csv in rows]
    (tmp_path / "jobs.yaml").write_text(f"defaults: {{{COLUMNS}}}\njobs:\n{''.join(jobs)}")
    shown = await command_line(None, "run", tmp_path / "jobs.yaml", "--check", **LOCAL)
    listed = await command_line(None, "run", tmp_path / "jobs.yaml", "--check", "--json", **LOCAL)
    assert (shown.exit_code, listed.exit_code) == (0, 0)
    assert "2 jobs have warnings" in shown.stdout
    assert "1/A: the file is not UTF-8" in shown.stdout
    assert "1/C: the CSV's URL is a Google" in shown.stdout
    *warnings, plan = listed.records
    assert [(warning["type"], warning["key"]) for warning in warnings] == [("warning", "1/A"), ("warning", "1/C")]
    assert plan["type"] == "check"


async def test_swapped_columns_are_warned_about_at_a_path_and_at_a_url(command_line: RunCommand, tmp_path: Path):
    columns = "first_name: {column_name: Last Name, is_required: true}, last_name: {column_name: First Name}"
    write(tmp_path, {"a.csv": "First Name,Last Name\nAda,Lovelace\n"})
    (tmp_path / "jobs.yaml").write_text(
        f"defaults: {{column_selections: {{{columns}}}}}\njobs:\n"
        "- {customer_id: 1, audience_name: A, csv: a.csv}\n" + ROW % ("B", "b")
    )
    result = await command_line(None, "run", tmp_path / "jobs.yaml", "--check", **LOCAL)
    assert result.exit_code == 0, result.stderr
    assert "2 jobs have warnings" in result.stdout
    shown = " ".join(result.stdout.split())
    assert "1/A and 1 more: first_name: the column 'Last Name' is named like last_name; check that" in shown
    assert "1/A and 1 more: last_name: the column 'First Name' is named like first_name; check that" in shown


async def test_a_local_csv_needs_a_publisher_unless_the_server_is_local(command_line: RunCommand, tmp_path: Path):
    write_examples(tmp_path)
    refused = await command_line(None, "run", tmp_path / "jobs.yaml", "--check")
    run = await command_line(None, "run", tmp_path / "jobs.yaml", INDIGO_API_TOKEN="token-123")
    published = await command_line(None, "run", tmp_path / "jobs.yaml", "--check", "--publish", "s3://bucket/lists")
    assert (refused.exit_code, run.exit_code, published.exit_code) == (2, 2, 0), published.stderr
    assert "jobs.yaml:16: csv: 2 lists are local files, such as " in refused.stderr
    assert "and the server fetches CSVs from URLs: use --publish s3://bucket/prefix, or " in refused.stderr
    assert refused.stderr == run.stderr


@pytest.mark.parametrize("where", [(), ("--publish", "s3://bucket/lists"), ("--base-url", LOCAL["INDIGO_BASE_URL"])])
async def test_the_lists_are_checked_whether_they_can_be_published_or_not(
    command_line: RunCommand, tmp_path: Path, where: tuple[str, ...]
):
    write_examples(tmp_path)
    (tmp_path / "lists/volunteers.csv").write_text("First Name,Surname,Zip Code\nAda,Lovelace,19103\n")
    result = await command_line(None, "run", tmp_path / "jobs.yaml", "--check", *where)
    assert result.exit_code == 2
    assert f"'{tmp_path}/lists/volunteers.csv' has no column 'Last Name'; did you mean 'Surname'?" in result.stderr
    assert len(result.stderr.splitlines()) == (1 if where else 3)


async def test_jobs_for_workers_are_checked_as_workers_need_them(command_line: RunCommand, tmp_path: Path):
    pytest.importorskip("temporalio")
    manifest = write_manifest(tmp_path, 1, destination="/exports/x.csv")
    result = await command_line(None, "run", manifest, "--check", "--temporal", "127.0.0.1:1")
    assert result.exit_code == 2
    assert (
        "jobs.yaml:4: export.destination: '/exports/x.csv' must be relative to the workers' exports folder or store"
        in result.stderr
    )
    manifest = write_manifest(tmp_path, 1)
    result = await command_line(None, "run", manifest, "--check", "--temporal", "127.0.0.1:1")
    assert (result.exit_code, result.stderr) == (0, "")
    assert "journal" not in result.stdout


async def test_the_check_shows_the_batch_of_a_manifest_on_temporal(command_line: RunCommand, tmp_path: Path):
    pytest.importorskip("temporalio")
    names: list[str] = []
    for folder in ("monday", "tuesday"):
        (tmp_path / folder).mkdir()
        manifest = write_manifest(tmp_path / folder, 1)
        for same in (manifest, tmp_path / folder / ".." / folder / manifest.name):
            result = await command_line(None, "run", same, "--check", "--json", "--temporal", "127.0.0.1:1")
            names.append(result.records[-1]["batch"])
    assert names[0] == names[1] != names[2] == names[3]
    assert all(re.fullmatch(r"jobs\.yaml-[0-9a-f]{6}", name) for name in names)
    named = await command_line(None, "run", manifest, "--check", "--temporal", "127.0.0.1:1", "--name", "march")
    assert "march on Temporal" in named.stdout


def test_jobs_are_read_one_by_one(tmp_path: Path):
    path = tmp_path / "jobs.csv"
    rows = "".join(f"1,List {number},https://files.example.org/{number}.csv,First\n" for number in range(3))
    path.write_text(f"customer_id,audience_name,csv,column_selections.first_name\n{rows}not,a,job\n")
    path.with_name("defaults.yaml").write_text(COLUMNS)
    jobs = islice(read_manifest(path, defaults=path.with_name("defaults.yaml")), 3)
    assert [job.audience_name for job in jobs] == ["List 0", "List 1", "List 2"]


@pytest.mark.parametrize(("rows", "is_small"), [(3, True), (999, True), (1_000, False)])
async def test_a_list_with_too_few_rows_for_a_lookalike_is_warned_about(
    command_line: RunCommand, tmp_path: Path, rows: int, *, is_small: bool
):
    (tmp_path / "list.csv").write_text("First,Last\n" + "Ada,Lovelace\n" * rows)
    row = "- {customer_id: 1, audience_name: %s, csv: list.csv%s}\n"
    lookalike = ", lookalike: {audience_name: Wider, size: 2000}"
    manifest = tmp_path / "jobs.yaml"
    manifest.write_text(f"defaults: {{{COLUMNS}}}\njobs:\n{row % ('A', lookalike)}{row % ('B', '')}")
    result = await command_line(None, "run", manifest, "--check", "--json", **LOCAL)
    *warnings, plan = result.records
    assert plan["type"] == "check"
    assert [warning["key"] for warning in warnings] == ["1/A"] * is_small
    assert all("has fewer than 1,000 rows; a lookalike needs" in warning["message"] for warning in warnings)


async def test_a_list_of_people_or_a_folder_in_place_of_a_manifest(command_line: RunCommand, tmp_path: Path):
    people = tmp_path / "people.csv"
    people.write_text("First Name,Last Name\n" + "Ada,Lovelace\n" * 3)
    for options in (("--check",), ()):
        listed = await command_line(None, "run", people, *options, **LOCAL, INDIGO_API_TOKEN="token-123")
        folder = await command_line(None, "run", tmp_path, *options, **LOCAL, INDIGO_API_TOKEN="token-123")
        assert (listed.exit_code, folder.exit_code) == (2, 2)
        assert "make a manifest for it with `indigo-async manifest`" in listed.stderr
        assert "Lovelace" not in listed.stderr
        assert len(listed.stderr.splitlines()) == 1
        assert "is a folder; name a file" in folder.stderr
