"""`indigo-async columns`: the suggestion as a table, as code and as JSON."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest

from indigo_async._validation import InputCheck
from indigo_async.cli.commands.columns import columns as columns_command
from indigo_async.cli.options.columns import ColumnOptions
from indigo_async.cli.options.common import OutputOptions
from indigo_async.cli.runners.column_selections import load_selections
from indigo_async.files import ColumnSuggestion
from indigo_async.files.csv.suggest import read_suggestion, to_python, to_yaml
from indigo_async.sandbox import Sandbox
from indigo_async.sandbox.people import VoterFile, generate_messy_csv
from tests.support.command_line import RunCommand


def write_and_suggest(path: Path, content: str) -> ColumnSuggestion:
    path.write_text(content)
    return read_suggestion(path)


def test_the_command_shows_columns_reasons_and_code(tmp_path: Path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "240")  # wide enough that no cell wraps
    suggestion = write_and_suggest(
        tmp_path / "donors.csv", "First Name;Last Name;Zip;Email\nAnn;Lee;15213;a@example.org\n"
    )
    columns_command(tmp_path / "donors.csv")
    shown = capsys.readouterr()
    for text in (to_python(suggestion.selections), to_yaml(suggestion.selections), *suggestion.reasons.values()):
        assert text in shown.out
    assert "email addresses" in shown.out
    assert suggestion.warnings[0] in shown.err
    columns_command(tmp_path / "donors.csv", options=OutputOptions(json=True, quiet=True))
    printed = capsys.readouterr()
    assert printed.err == ""
    record = json.loads(printed.out)
    assert record["column_selections"]["zip"] == {"column_name": "Zip", "is_required": False}
    assert record["reasons"] == suggestion.reasons
    assert record["left_out"] == suggestion.left_out
    assert (record["delimiter"], record["rows_sampled"], record["warnings"]) == (";", 1, list(suggestion.warnings))


def test_other_commands_accept_the_output_of_the_columns_command(tmp_path: Path, capsys):
    selections = write_and_suggest(tmp_path / "donors.csv", "First Name,Last Name,Zip\nAnn,Lee,15213\n").selections
    columns_command(tmp_path / "donors.csv", options=OutputOptions(json=True))
    (tmp_path / "columns.json").write_text(capsys.readouterr().out)
    (tmp_path / "columns.yaml").write_text(to_yaml(selections))
    for name in ("columns.json", "columns.yaml"):
        check = InputCheck()
        read = check.column_selections(load_selections(ColumnOptions(columns=tmp_path / name)))
        check.raise_if_invalid()
        assert read == selections.by_field()


MATCH_LAST_NAME = (
    "--customer",
    "42",
    "--name",
    "Donors",
    "--required",
    "last_name=Last Name",
    "--poll-interval",
    "0.02",
)


async def test_match_and_columns_warn_in_the_same_words_and_match_sends_the_exact_name(
    command_line: RunCommand, tmp_path: Path, voters: VoterFile
):
    rows = csv.DictReader(io.StringIO(generate_messy_csv(voters, 200, seed=1).decode(), newline=""))
    people = "".join(f"{row['First Name']};{row['Last Name']};4.2E+{number}\n" for number, row in enumerate(rows))
    path = tmp_path / "donors.csv"
    path.write_text(f"First Name;\u00a0Last Name;Member ID\n{people}")
    async with Sandbox(voters, speed=2_000.0) as sandbox:
        suggested = await command_line(None, "columns", path, "--json")
        optional = ("--optional", "first_name=First Name", "--required", "id=Member ID")
        matched = await command_line(sandbox, "match", path, *MATCH_LAST_NAME, *optional)
    assert matched.exit_code == 0, matched.stderr
    (suggestion,) = suggested.records
    assert suggestion["column_selections"]["last_name"]["column_name"] == "\u00a0Last Name"
    shared = [text for text in suggestion["warnings"] if "semicolons" in text or "scientific" in text]
    assert len(shared) == 2
    for warning in shared:
        assert matched.stderr.count(f"warning: {warning}\n") == 1
    assert "the CSV's column is named '\\xa0Last Name', not 'Last Name'; that exact name is sent" in matched.stderr


async def test_hidden_blanks_are_quoted_in_the_table(command_line: RunCommand, tmp_path: Path):
    path = tmp_path / "donors.csv"
    path.write_text("First Name ,\u00a0Last Name,E-mail\u00a0\nAnn,Lee,ann@example.org\n")
    shown = await command_line(None, "columns", path)
    for name in ("'First Name '", "'\\xa0Last Name'", "'E-mail\\xa0'"):
        assert name in shown.stdout
    assert "first_name: the column name 'First Name ' has stray spaces or invisible characters" in shown.stderr


@pytest.mark.parametrize("command", ["match", "upload"])
async def test_share_links_are_warned_about_and_not_blocked(command_line: RunCommand, command: str):
    url = "https://drive.google.com/file/d/s3cr3t/view?usp=sharing"
    async with Sandbox(lite=True, speed=2_000.0) as sandbox:
        options = MATCH_LAST_NAME if command == "match" else ("--customer", "42", "--poll-interval", "0.02")
        result = await command_line(sandbox, command, url, *options)
    assert result.exit_code == 0, result.stderr
    assert result.stderr.count("warning: the CSV's URL is a Google Drive page") == 1
    assert "s3cr3t" not in result.stdout + result.stderr
