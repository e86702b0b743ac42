"""`indigo-async columns`: the suggestion as a table, as code and as JSON."""

from __future__ import annotations

import json
from pathlib import Path

from indigo_async._validation import InputCheck
from indigo_async.cli.commands.columns import columns as columns_command
from indigo_async.cli.options.columns import ColumnOptions
from indigo_async.cli.options.common import OutputOptions
from indigo_async.files import ColumnSuggestion
from indigo_async.files.csv.suggest import _suggest, to_python, to_yaml


def write_and_suggest(path: Path, content: str) -> ColumnSuggestion:
    path.write_text(content)
    return _suggest(path)


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
        read = check.column_selections(ColumnOptions(columns=tmp_path / name).load_selections())
        check.raise_if_invalid()
        assert read == selections.by_field()
