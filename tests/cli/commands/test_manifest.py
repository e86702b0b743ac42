"""`manifest`: a manifest for local CSVs that `run` accepts as it is, or refuses until it is edited."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import anyio
import pytest

from indigo_async.cli.manifest import read_manifest
from indigo_async.sandbox import Sandbox
from indigo_async.workflows import AudienceJob
from indigo_async.workflows.batches.jobs import normalized_inputs
from tests.support.command_line import CommandResult, RunCommand
from tests.support.manifests import write

FAST = ("--poll-interval", "0.02")
LOCAL = {"INDIGO_BASE_URL": "http://127.0.0.1:1/api/v1"}
PEOPLE = "First Name,Last Name,Zip Code\nAda,Lovelace,19103\nMary,Shelley,15213\n"
OTHERS = "Given,Surname,Contact 1\n" + "".join(f"Ann,Lee,412-555-010{number}\n" for number in range(1, 6))
UNKNOWN = "foo,bar\nx,y\n"


async def jobs_in(path: Path) -> list[AudienceJob]:
    return await anyio.to_thread.run_sync(lambda: list(read_manifest(path, can_publish=True)))


@pytest.fixture
def lists(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with lists of two customers."""
    write(tmp_path, {f"lists/{name}.csv": PEOPLE for name in ("42/donors", "42/members", "43/donors")})
    monkeypatch.chdir(tmp_path)
    return tmp_path


async def generate(command_line: RunCommand, *arguments: str, **variables: str) -> CommandResult:
    return await command_line(None, "manifest", *arguments, **variables)


async def test_a_generated_manifest_passes_the_check_and_runs(command_line: RunCommand, lists: Path):
    (lists / "lists/43/volunteers.csv").write_text(OTHERS)
    more = ("--lookalike-size", "2000", "--exports", "exports", "--output", "jobs.yaml")
    made = await generate(command_line, "lists/*/*.csv", "--customer", "{folder}", *more)
    assert (made.exit_code, made.stdout) == (0, ""), made.stderr
    assert "4 jobs in jobs.yaml; 1 with something to check" in made.stderr
    checked = await command_line(None, "run", "jobs.yaml", "--check", **LOCAL)
    assert checked.exit_code == 0, checked.stderr
    assert "nothing: only free exports are purchased" in checked.stdout
    async with Sandbox(lite=True, speed=2_000.0) as sandbox:
        run = await command_line(sandbox, "run", "jobs.yaml", *FAST)
        assert (run.exit_code, sandbox.counts().charged_cents) == (0, 0), run.stderr + run.stdout
    exported = sorted(path.relative_to(lists).as_posix() for path in lists.glob("exports/*/*.csv"))
    assert exported == [f"exports/{name}.csv" for name in ("42/donors", "42/members", "43/donors", "43/volunteers")]


@pytest.mark.parametrize("variables", [{}, {"INDIGO_BASE_URL": "not a URL"}, LOCAL])
@pytest.mark.usefixtures("lists")
async def test_the_suggested_next_command_works(command_line: RunCommand, variables: dict[str, str]):
    made = await generate(
        command_line, "lists/42", "--customer", "42", "--output", "my jobs.yaml", "--exports", "exports", **variables
    )
    hint = made.stderr.splitlines()[-1]
    assert hint.startswith("Next: " if variables == LOCAL else "Next, with your bucket: ")
    program, *arguments = shlex.split(hint.partition(": ")[2])
    assert program == "indigo-async"
    usable = variables if variables == LOCAL else {}
    checked = await command_line(None, *arguments, **usable)
    assert (checked.exit_code, checked.stderr) == (0, "")
    assert "2 jobs for 1 customer" in " ".join(checked.stdout.split())


async def test_shared_columns_are_defaults_and_comments_say_what_to_check(command_line: RunCommand, lists: Path):
    (lists / "lists/43/volunteers.csv").write_text(OTHERS)
    made = await generate(command_line, "lists/43", "lists/42", "--customer", "{folder}")
    assert made.exit_code == 0
    assert made.stdout.splitlines()[1:] == [
        "defaults:",
        "  column_selections:",
        '    first_name: {column_name: "First Name", is_required: true}',
        '    last_name: {column_name: "Last Name", is_required: true}',
        '    zip: {column_name: "Zip Code", is_required: false}',
        "jobs:",
        '  - customer_id: "43"',
        '    audience_name: "donors"',
        '    csv: "lists/43/donors.csv"',
        "  # CHECK: phone: 'Contact 1' is not named like phone, but 100% of its values are US phone numbers, and",
        "  # 100% of the rows have one; check that it is the right column",
        '  - customer_id: "43"',
        '    audience_name: "volunteers"',
        '    csv: "lists/43/volunteers.csv"',
        "    column_selections:",
        '      first_name: {column_name: "Given", is_required: true}',
        '      last_name: {column_name: "Surname", is_required: true}',
        '      phone: {column_name: "Contact 1", is_required: false}',
        "      zip: null",
        '  - customer_id: "42"',
        '    audience_name: "donors"',
        '    csv: "lists/42/donors.csv"',
        '  - customer_id: "42"',
        '    audience_name: "members"',
        '    csv: "lists/42/members.csv"',
    ]
    (lists / "jobs.yaml").write_text(made.stdout)
    columns = {job.key: normalized_inputs(job)[0].by_field().keys() for job in await jobs_in(lists / "jobs.yaml")}
    assert columns["43/volunteers"] == {"first_name", "last_name", "phone"}
    assert columns["42/donors"] == {"first_name", "last_name", "zip"}


@pytest.mark.parametrize("name", ["jobs.yaml", "jobs.jsonl"])
async def test_run_refuses_csvs_without_suggested_columns_until_they_are_edited(
    command_line: RunCommand, lists: Path, name: str
):
    write(lists, {"lists/42/odd.csv": UNKNOWN, "lists/42/report.csv": b"%PDF-1.7\n"})
    made = await generate(command_line, "lists/42", "--customer", "42", "--output", name, "--json")
    (summary,) = made.records
    assert (made.exit_code, summary["jobs"], summary["to_edit"]) == (1, 4, 2)
    error = json.loads(made.stderr.splitlines()[-1])["error"]
    assert error["type"] == "ManifestIncomplete"
    assert [problem["where"] for problem in error["problems"]] == ["lists/42/odd.csv", "lists/42/report.csv"]
    assert "PDF" in error["problems"][1]["message"]
    text = (lists / name).read_text()
    assert text.count("# EDIT: no columns could be suggested.") == (2 if name == "jobs.yaml" else 0)
    for command in (("run", name, "--check"), ("run", name)):
        async with Sandbox(lite=True) as sandbox:
            refused = await command_line(sandbox, *command)
            assert sandbox.log.count() == 0
        assert refused.exit_code == 2
        assert f"{name}:" in refused.stderr
        assert "column_selections: is missing (also in line" in refused.stderr
    (lists / "lists/42/report.csv").write_text(PEOPLE)
    (lists / "lists/42/odd.csv").write_text(PEOPLE)
    columns = '{"first_name": {"column_name": "First Name", "is_required": true}}'
    (lists / name).write_text(
        text.replace('"column_selections": null', f'"column_selections": {columns}').replace(
            "column_selections: null", f"column_selections: {columns}"
        )
    )
    checked = await command_line(None, "run", name, "--check", **LOCAL)
    assert checked.exit_code == 0, checked.stderr


@pytest.mark.parametrize("options", [(), ("--max-cost-cents", "0"), ("--max-cost-cents", "7500")])
async def test_only_the_given_limit_permits_spending(command_line: RunCommand, lists: Path, options: tuple[str, ...]):
    arguments = ("lists/42", "--customer", "42", "--exports", "exports", *options)
    made = await generate(command_line, *arguments)
    listed = await generate(command_line, *arguments, "--json")
    write(lists, {"jobs.yaml": made.stdout, "jobs.jsonl": listed.stdout})
    limit = int(options[1]) if options else 0
    for name in ("jobs.yaml", "jobs.jsonl"):
        jobs = await jobs_in(lists / name)
        assert [job.export.max_cost_cents for job in jobs if job.export is not None] == [limit] * 2
    assert limit or "max_cost_cents: 0  # only free exports are purchased" in made.stdout


async def test_json_lines_and_yaml_describe_the_same_jobs(command_line: RunCommand, lists: Path):
    write(lists, {"lists/42/R&D: {x}/y.csv": OTHERS, "lists/42/100%.csv": PEOPLE})
    arguments = (
        *("lists/*/*.csv", "lists/*/*/*.csv", "--customer", "c {folder}", "--name", "{folder}, {file}"),
        *("--lookalike-size", "2000", "--exports", "ex {y}"),
    )
    made = await generate(command_line, *arguments)
    listed = await generate(command_line, *arguments, "--json", "--quiet")
    assert (made.exit_code, listed.exit_code, listed.stderr) == (0, 0, "")
    write(lists, {"jobs.yaml": made.stdout, "jobs.jsonl": listed.stdout})
    jobs = await jobs_in(lists / "jobs.yaml")
    assert jobs == await jobs_in(lists / "jobs.jsonl")
    assert {job.key for job in jobs} >= {"c R&D: {x}/R&D: {x}, y", "c 42/42, 100%"}


async def test_paths_start_from_the_folder_of_the_output(command_line: RunCommand, lists: Path):
    (lists / "batches").mkdir()
    where = ("--exports", "exports", "--output", "batches/jobs.yaml")
    made = await generate(
        command_line, "lists/42/donors.csv", str(lists / "lists/43/donors.csv"), *where, "--customer", "{folder}"
    )
    assert made.exit_code == 0, made.stderr
    text = (lists / "batches/jobs.yaml").read_text()
    assert 'csv: "../lists/42/donors.csv"' in text
    assert f'csv: "{lists}/lists/43/donors.csv"' in text
    assert 'destination: "../exports/{customer_id}/{audience_name}.csv"' in text
    checked = await command_line(None, "run", "batches/jobs.yaml", "--check", **LOCAL)
    assert checked.exit_code == 0, checked.stderr


async def test_files_in_folders_that_are_not_csvs_are_named(command_line: RunCommand, lists: Path):
    write(lists, {"lists/42/old.xlsx": b"PK\x03\x04", "lists/42/notes.md": "x", "lists/42/.DS_Store": "x"})
    write(lists, {"lists/42/tabs.TSV": PEOPLE.replace(",", "\t")})
    made = await generate(command_line, "lists/42", "lists/42/donors.csv", "lists/../lists/42", "--customer", "42")
    assert made.exit_code == 0
    assert made.stdout.count("audience_name:") == 3
    left_out = "lists/42/notes.md, lists/42/old.xlsx (an Excel workbook: save it as CSV (UTF-8) first)"
    assert f"Left out 2 files that are not CSVs: {left_out}" in made.stderr
    assert "# Left out (not CSVs): lists/42/notes.md," in made.stdout
    assert "DS_Store" not in made.stdout + made.stderr


async def test_an_existing_file_is_never_overwritten(command_line: RunCommand, lists: Path):
    (lists / "jobs.yaml").write_text("edited")
    (lists / "link.yaml").symlink_to("nowhere.yaml")
    for name in ("jobs.yaml", "link.yaml"):
        made = await generate(command_line, "lists/42", "--customer", "42", "--output", name)
        assert (made.exit_code, made.stdout) == (2, "")
        assert f"--output: {name} exists and is not overwritten; choose another file, or delete it first" in made.stderr
    assert (lists / "jobs.yaml").read_text() == "edited"
    assert not (lists / "nowhere.yaml").exists()


async def test_all_problems_of_the_options_are_reported_at_once(command_line: RunCommand, lists: Path):
    (lists / "empty").mkdir()
    made = await generate(
        command_line,
        *("lists/*/donors.csv", "no*.csv", "gone.csv", "empty"),
        *("--customer", "42", "--name", "{file}", "--output", "no/jobs.txt", "--max-cost-cents", "-1"),
    )
    assert (made.exit_code, made.stdout) == (2, "")
    for message in (
        "--max-cost-cents: must be at least $0.00",
        "--max-cost-cents: needs --exports",
        "--output: must end in .yaml, .yml, .jsonl, .ndjson",
        "--output: the folder no does not exist",
        "no*.csv: no file matches this pattern",
        "csv: there is no file 'gone.csv'",
        "empty: the folder has no files that end in .csv, .tsv, .txt",
        "--name: lists/42/donors.csv and lists/43/donors.csv would both create an audience named 'donors' for customer",
    ):
        assert message in made.stderr
    wrong = await generate(command_line, "lists/*/*.csv", "--customer", "{customer}", "--name", "{0.__class__}")
    assert wrong.exit_code == 2
    assert wrong.stderr.count("--customer: unknown placeholder {customer}; use {folder}") == 1
    assert wrong.stderr.count("--name: unknown placeholder {0.__class__}; use {file}, {folder}") == 1


async def test_a_name_of_a_lookalike_is_unique_too(command_line: RunCommand, lists: Path):
    (lists / "lists/42/donors lookalike.csv").write_text(PEOPLE)
    made = await generate(command_line, "lists/42", "--customer", "42", "--lookalike-size", "2000")
    assert made.exit_code == 2
    assert "would both create an audience named 'donors lookalike'" in made.stderr


async def test_json_lines_have_no_comments_so_warnings_are_shown(command_line: RunCommand, lists: Path):
    write(lists, {"lists/42/spaces.csv": OTHERS})
    made = await generate(command_line, "lists/42", "--customer", "42", "--output", "jobs.jsonl")
    assert made.exit_code == 0
    assert "1 with something to check, see below." in made.stderr
    assert "  lists/42/spaces.csv: phone: 'Contact 1' is not named " in made.stderr
    assert "CHECK" not in made.stderr + (lists / "jobs.jsonl").read_text()
    quiet = await generate(command_line, "lists/42", "--customer", "42", "--json", "--quiet")
    assert quiet.stderr == ""
