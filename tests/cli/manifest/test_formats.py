from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest

from indigo_async import ColumnSelection, ColumnSelections, LookalikeFilters
from indigo_async.workflows import ExportStep, LookalikeStep
from tests.support.manifests import errors_in, examples, read, write, write_examples

URL = "https://files.example.org/people.csv"
COLUMNS = ColumnSelections(first_name=ColumnSelection("First", required=True))


def test_the_documented_examples_describe_the_same_jobs(tmp_path: Path):
    write_examples(tmp_path)
    from_yaml = read(tmp_path / "jobs.yaml")
    defaults = tmp_path / "defaults.yaml"
    assert read(tmp_path / "jobs.csv", defaults=defaults) == from_yaml
    assert read(tmp_path / "jobs.jsonl", defaults=defaults) == from_yaml
    donors, volunteers = from_yaml
    assert (donors.customer_id, donors.audience_name, donors.key) == ("42", "Donors", "42/Donors")
    assert donors.csv == tmp_path / "lists" / "donors.csv"
    assert donors.column_selections == ColumnSelections(
        first_name=ColumnSelection("First Name", required=True),
        last_name=ColumnSelection("Last Name", required=True),
        zip=ColumnSelection("Zip Code"),
    )
    assert donors.lookalike == LookalikeStep(
        audience_name="Donors lookalike", size=20_000, filters=LookalikeFilters(states=("PA", "NJ"))
    )
    assert donors.export == ExportStep(
        destination=tmp_path / "exports" / "42" / "Donors.csv",
        optional_field_types=("phone",),
        max_cost_cents=80_000,
    )
    assert volunteers.lookalike is None
    assert volunteers.export is not None
    assert volunteers.export.max_cost_cents == 20_000


def test_the_documentation_has_an_example_of_every_file():
    assert set(examples()) == {"jobs.yaml", "jobs.csv", "defaults.yaml", "jobs.jsonl"}


def test_equal_column_selections_are_shared(tmp_path: Path):
    write_examples(tmp_path)
    first, second = read(tmp_path / "jobs.yaml")
    assert first.column_selections is second.column_selections


def row(number: int) -> dict[str, Any]:
    return {
        "customer_id": f"c{number % 7}",
        "audience_name": f"List {number}",
        "csv": URL,
        "column_selections": {"first_name": "First", "last_name": "Last"},
        "lookalike": {"audience_name": f"List {number}, lookalike", "size": number + 1},
    }


@pytest.mark.parametrize("suffix", ["yaml", "csv", "jsonl"])
def test_5000_rows(tmp_path: Path, suffix: str):
    write(tmp_path, {"defaults.yaml": "column_selections: {first_name: {is_required: true}}\n"})
    rows = [row(number) for number in range(5_000)]
    if suffix == "csv":
        table = io.StringIO()
        writer = csv.writer(table)
        writer.writerow(
            [
                "customer_id",
                "audience_name",
                "csv",
                "column_selections.first_name",
                "column_selections.last_name",
                "lookalike.audience_name",
                "lookalike.size",
            ]
        )
        for item in rows:
            columns, lookalike = item["column_selections"], item["lookalike"]
            cells = [item["customer_id"], item["audience_name"], item["csv"], *columns.values(), *lookalike.values()]
            writer.writerow(cells)
        content = table.getvalue()
    else:
        lines = [json.dumps(item) for item in rows]
        content = "\n".join(lines) if suffix == "jsonl" else "jobs:\n" + "".join(f"- {line}\n" for line in lines)
    write(tmp_path, {f"jobs.{suffix}": content})
    jobs = read(tmp_path / f"jobs.{suffix}", defaults=tmp_path / "defaults.yaml")
    assert len(jobs) == 5_000
    assert jobs[4_999].customer_id == "c1"
    assert jobs[4_999].lookalike == LookalikeStep(audience_name="List 4999, lookalike", size=5_000)
    assert jobs[0].column_selections == ColumnSelections(
        first_name=ColumnSelection("First", required=True), last_name=ColumnSelection("Last")
    )


@pytest.mark.parametrize("text", ["007", "2024-01-01", "yes", "1_000", "0x10", "1e3", "'null'"])
def test_yaml_text_is_read_as_written(tmp_path: Path, text: str):
    write(
        tmp_path,
        {
            "jobs.yaml": f"jobs:\n- customer_id: {text}\n  audience_name: {text}\n  csv: {URL}\n"
            "  column_selections: {first_name: {column_name: First, is_required: yes}}\n"
        },
    )
    (job,) = read(tmp_path / "jobs.yaml")
    assert job.customer_id == job.audience_name == text.strip("'")


def test_extra_filters_keep_their_types(tmp_path: Path):
    write(
        tmp_path,
        {
            "jobs.yaml": f"""
defaults: {{column_selections: {{first_name: {{column_name: First, is_required: true}}}}, csv: "{URL}"}}
jobs:
- customer_id: 42
  audience_name: A
  lookalike: {{audience_name: B, size: 5, filters: {{extra: {{minAge: 18, party: [D, 1.5], likely: true}}}}}}
"""
        },
    )
    (job,) = read(tmp_path / "jobs.yaml")
    assert job.lookalike is not None
    assert job.lookalike.filters == LookalikeFilters(extra={"minAge": 18, "party": ["D", 1.5], "likely": True})


def test_yaml_aliases(tmp_path: Path):
    write(
        tmp_path,
        {
            "jobs.yaml": f"""
jobs:
- customer_id: 42
  audience_name: A
  csv: &url {URL}
  column_selections: &columns {{first_name: {{column_name: First, is_required: true}}}}
- {{customer_id: 42, audience_name: B, csv: *url, column_selections: *columns}}
"""
        },
    )
    first, second = read(tmp_path / "jobs.yaml")
    assert second.csv == first.csv == URL
    assert second.column_selections == first.column_selections == COLUMNS


def test_out_changes_only_relative_destinations(tmp_path: Path):
    write_examples(tmp_path)
    elsewhere = tmp_path / "elsewhere"
    donors, _ = read(tmp_path / "jobs.yaml", out=elsewhere)
    assert donors.export is not None
    assert donors.export.destination == elsewhere / "exports" / "42" / "Donors.csv"
    assert donors.csv == tmp_path / "lists" / "donors.csv"


def test_a_manifests_defaults_override_the_defaults_file(tmp_path: Path):
    write_examples(tmp_path)
    write(tmp_path, {"team.yaml": "export: {max_cost_cents: 1, reuse_purchased: false}\n"})
    donors, _ = read(tmp_path / "jobs.yaml", defaults=tmp_path / "team.yaml")
    assert donors.export is not None
    assert donors.export.max_cost_cents == 80_000
    assert donors.export.reuse_purchased is False


def test_a_row_can_turn_off_the_download_of_the_defaults(tmp_path: Path):
    write_examples(tmp_path)
    export = "{destination: '{customer_id}/{audience_name}.csv', download: true, max_cost_cents: 5}"
    write(tmp_path, {"team.yaml": f"export: {export}\n"})
    write(
        tmp_path,
        {
            "rows.csv": "customer_id,audience_name,csv,column_selections.first_name.column_name,"
            "column_selections.first_name.is_required,export.download\n"
            "42,A,lists/donors.csv,First Name,true,false\n"
            "42,B,lists/donors.csv,First Name,true,\n"
        },
    )
    first, second = read(tmp_path / "rows.csv", defaults=tmp_path / "team.yaml")
    assert first.export is not None
    assert second.export is not None
    assert (first.export.destination, first.export.max_cost_cents) == (None, 5)
    assert second.export.destination == tmp_path / "42" / "B.csv"


@pytest.mark.parametrize(
    ("export", "problem"),
    [
        ("{download: false, destination: people.csv}", "export.download: is false, so leave out export.destination"),
        ("{download: later}", "export.download: must be true or false, not 'later'"),
        ("{download: true}", "export.destination: is missing"),
        ("{max_cost_cents: 5}", "export.destination: is missing"),
    ],
)
def test_a_job_is_downloaded_to_a_destination_or_not_at_all(tmp_path: Path, export: str, problem: str):
    write_examples(tmp_path)
    columns = "column_selections: {first_name: {column_name: First Name, is_required: true}}"
    manifest = f"jobs:\n- {{customer_id: 42, audience_name: A, csv: lists/donors.csv, {columns}, export: {export}}}\n"
    write(tmp_path, {"jobs.yaml": manifest})
    assert any(problem in error for error in errors_in(tmp_path / "jobs.yaml"))
