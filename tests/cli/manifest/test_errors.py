from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.support.command_line import RunCommand
from tests.support.manifests import errors_in, write, write_examples

URL = "https://files.example.org/people.csv"
COLUMNS = "column_selections: {first_name: {column_name: First, is_required: true}}"
DEFAULTS = f"{COLUMNS}\ncsv: {URL}\n"


def test_all_errors_of_a_yaml_manifest_are_reported_with_their_lines(tmp_path: Path):
    write(
        tmp_path,
        {
            "jobs.yaml": f"""\
defaults:
  {COLUMNS}
  export:
    destination: "{{audience_name}}.csv"
    optional_field_types: [phone, phne]
    max_cost_cents: 800.00
job_defaults: 1
jobs:
  - customer_id: 42
    audience_name: A
    csv: missing.csv
  - customer_id: 42
    audience_nam: B
    csv: {URL}
    lookalike:
      sze: 5
      size: many
  - customer_id: 42
    audience_name: A
    csv: {URL}
    column_selections:
      frist_name: First
      id: Member
    export: {{max_cost_cents: 5, optional_field_types: []}}
"""
        },
    )
    assert errors_in(tmp_path / "jobs.yaml") == [
        (
            "jobs.yaml:5: export.optional_field_types: 'phne' is not a field type; the types are phone, address, "
            "vote_history, issue_scores, media_scores, support_scores, turnout_scores, lookalike_scores; did you mean "
            "'phone'?"
        ),
        "jobs.yaml:6: export.max_cost_cents: must be a whole number, digits only, such as 20000, not '800.00'",
        "jobs.yaml:7: job_defaults: is neither 'defaults' nor 'jobs'; did you mean 'defaults'?",
        "jobs.yaml:11: csv: there is no file 'missing.csv'",
        "jobs.yaml:12: audience_name: is missing",
        "jobs.yaml:12: lookalike.audience_name: is missing",
        "jobs.yaml:13: audience_nam: unknown field; did you mean 'audience_name'?",
        "jobs.yaml:16: lookalike.sze: unknown field; did you mean 'lookalike.size'?",
        "jobs.yaml:17: lookalike.size: must be a whole number, digits only, such as 20000, not 'many'",
        "jobs.yaml:18: export.destination: 'A.csv' is written by another job (42/A, line 9); choose another file",
        (
            "jobs.yaml:19: audience_name: another job makes an audience named 'A' for customer '42'; names are unique "
            "(42/A, line 9)"
        ),
        ("jobs.yaml:22: column_selections.frist_name: unknown field; did you mean 'column_selections.first_name'?"),
        "jobs.yaml:23: column_selections.id: must be required",
    ]


def test_jobs_cannot_share_an_audience_name_or_a_destination(tmp_path: Path):
    write(tmp_path, {"defaults.yaml": f'{DEFAULTS}export: {{destination: "{{audience_name}}.csv"}}\n'})
    write(tmp_path, {"jobs.csv": "customer_id,audience_name\n1,A\n2,B\n\n1,C\n1,A\n"})
    duplicate, file = errors_in(tmp_path / "jobs.csv", defaults=tmp_path / "defaults.yaml")
    assert duplicate == (
        "jobs.csv:6: audience_name: another job makes an audience named 'A' for customer '1'; names are unique "
        "(1/A, line 2)"
    )
    assert file.startswith("jobs.csv:6: export.destination: '")
    assert file.endswith("A.csv' is written by another job (1/A, line 2); choose another file")


def test_a_destination_that_ends_with_a_slash_names_a_folder(tmp_path: Path):
    write(tmp_path, {"defaults.yaml": f'{DEFAULTS}export: {{destination: "exports/{{customer_id}}/"}}\n'})
    write(tmp_path, {"jobs.csv": "customer_id,audience_name\n1,A\n"})
    (error,) = errors_in(tmp_path / "jobs.csv", defaults=tmp_path / "defaults.yaml")
    assert error.startswith("jobs.csv:2: export.destination: ")
    assert error.endswith("exports/1/' is a folder; name a file")


def test_csv_line_numbers_are_exact_after_quoted_line_breaks(tmp_path: Path):
    write(tmp_path, {"defaults.yaml": DEFAULTS})
    rows = 'customer_id,audience_name\n1,"A\nlong\nname"\n\n2,\n3,"x\ny"\n,B\n'
    write(tmp_path, {"jobs.csv": "\ufeff" + rows})
    assert errors_in(tmp_path / "jobs.csv", defaults=tmp_path / "defaults.yaml") == [
        "jobs.csv:6: audience_name: is missing",
        "jobs.csv:9: customer_id: is missing",
    ]


def test_an_error_in_every_row_is_reported_once(tmp_path: Path):
    write(tmp_path, {"defaults.yaml": DEFAULTS})
    write(tmp_path, {"jobs.csv": "customer_id,audience_name\n" + "1,\n" * 5_000})
    assert errors_in(tmp_path / "jobs.csv", defaults=tmp_path / "defaults.yaml") == [
        "jobs.csv:2: audience_name: is missing (also in lines 3, 4, 5, 6, 7, 8, 9, 10, 11, 12 and 4,989 more)"
    ]


async def test_text_shows_200_errors_and_json_shows_all_with_their_lines(tmp_path: Path, command_line: RunCommand):
    write(tmp_path, {"jobs.jsonl": "".join(f'{{"field_{number}": 1}}\n' for number in range(1_000))})
    as_text = await command_line(None, "run", tmp_path / "jobs.jsonl", INDIGO_API_TOKEN="t")
    assert as_text.exit_code == 2
    assert as_text.stderr.splitlines()[0] == "indigo-async: 1004 problems:"
    assert len(as_text.stderr.splitlines()) == 202
    assert as_text.stderr.splitlines()[-1] == "and 804 more; --json shows all"
    as_json = await command_line(None, "run", tmp_path / "jobs.jsonl", "--json", INDIGO_API_TOKEN="t")
    assert (as_json.exit_code, as_json.stdout) == (2, "")
    error = json.loads(as_json.stderr)["error"]
    assert error["type"] == "InvalidInputError"
    assert len(error["problems"]) == 1_004
    assert {problem["field"]: problem["lines"] for problem in error["problems"]}["field_7"] == [8]
    assert {problem["file"] for problem in error["problems"]} == {str(tmp_path / "jobs.jsonl")}
    everywhere = next(problem for problem in error["problems"] if problem["field"] == "customer_id")
    assert everywhere["lines"] == list(range(1, 1_001))


async def test_the_same_problem_of_many_lists_is_one_line_and_json_names_each_list(
    tmp_path: Path, command_line: RunCommand
):
    jobs = [f"- {{customer_id: 1, audience_name: L{number}, csv: many/l{number}.csv}}\n" for number in range(300)]
    write(tmp_path, {f"many/l{number}.csv": "Given,Last Name\nAda,Lovelace\n" for number in range(300)})
    jobs += [
        f"- {{customer_id: 1, audience_name: A, csv: '{URL}', color: red}}\n",
        "- {customer_id: 1, audience_name: B, csv: gone.csv}\n",
        f"- {{customer_id: 1, audience_name: C, csv: '{URL}', export: {{destination: exports/}}}}\n",
        f"- {{customer_id: 1, audience_name: D, csv: '{URL}', export: {{destination: d, max_cost_cents: $200}}}}\n",
    ]
    write(tmp_path, {"jobs.yaml": f"defaults: {{{COLUMNS}}}\njobs:\n{''.join(jobs)}"})
    as_text = await command_line(None, "run", tmp_path / "jobs.yaml", "--check")
    headline, *lines = as_text.stderr.replace(f"{tmp_path}/", "").splitlines()
    assert (as_text.exit_code, headline) == (2, "indigo-async: 305 problems:")
    assert lines == [
        (
            "jobs.yaml:1: column_selections.first_name.column_name: 'many/l0.csv' has no column 'First'; did you mean "
            "'Given'? The CSV's columns: 'Given', 'Last Name' (also 'many/l1.csv', 'many/l2.csv', 'many/l3.csv' and "
            "296 more)"
        ),
        (
            "jobs.yaml:3: csv: 301 lists are local files, such as 'many/l0.csv', and the server fetches CSVs from "
            "URLs: use --publish s3://bucket/prefix, or upload them and set csv to their (presigned) URLs (also in "
            "lines 4, 5, 6, 7, 8, 9, 10, 11, 12, 13 and 290 more)"
        ),
        "jobs.yaml:303: color: unknown field",
        "jobs.yaml:304: csv: there is no file 'gone.csv'",
        "jobs.yaml:305: export.destination: 'exports/' is a folder; name a file",
        "jobs.yaml:306: export.max_cost_cents: must be a whole number, digits only, such as 20000, not '$200'",
    ]
    as_json = await command_line(None, "run", tmp_path / "jobs.yaml", "--check", "--json")
    problems = json.loads(as_json.stderr)["error"]["problems"]
    assert len(problems) == 305
    assert all(any(f"/many/l{number}.csv' has no" in each["message"] for each in problems) for number in (0, 7, 299))


async def test_a_kind_of_problem_is_never_hidden_by_many_of_another(tmp_path: Path, command_line: RunCommand):
    rows = "".join(f"1,L{number},{number}.csv\n" for number in range(300))
    write(tmp_path, {f"{number}.csv": f"Given,Column {number}\nAda,x\n" for number in range(300)})
    write(tmp_path, {"defaults.yaml": COLUMNS, "jobs.csv": f"customer_id,audience_name,csv\n{rows}1,M,gone.csv\n2,,\n"})
    defaults = ("--defaults", tmp_path / "defaults.yaml")
    result = await command_line(None, "run", tmp_path / "jobs.csv", *defaults, "--check", "--publish", "ftp://x")
    _, *lines, last = result.stderr.replace(f"{tmp_path}/", "").splitlines()
    assert (len(lines), last) == (200, "and 104 more; --json shows all")
    assert lines[0].startswith("--publish: must be a URL such as s3://bucket/prefix")
    assert lines[-3:] == [
        "jobs.csv:302: csv: there is no file 'gone.csv'",
        "jobs.csv:303: audience_name: is missing",
        "jobs.csv:303: csv: is missing",
    ]


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (
            "customer_id,audiencename\n1,A\n",
            "jobs.csv:1: audiencename: unknown field; did you mean 'audience_name'?",
        ),
        (
            "customer_id,customer_id,audience_name\n1,1,A\n",
            "jobs.csv:1: customer_id: appears more than once in the header",
        ),
        ("customer_id,audience_name\n1,A,B\n", "jobs.csv:2: has 3 cells, but the header has 2"),
        ("customer_id,audience_name\n1\n", "jobs.csv:2: has 1 cell, but the header has 2"),
        ('customer_id,audience_name\n1,"A\n', "jobs.csv:2: is not valid CSV: unexpected end of data"),
        (b"customer_id,audience_name\n1,A\n2,\xff\n", "jobs.csv:3: is not UTF-8; save the file as CSV UTF-8"),
        (
            "customer_id,audience_name,lookalike\n1,A,no\n",
            "jobs.csv:2: lookalike: must be 'none' or empty; put its fields in their own columns",
        ),
        (
            "customer_id,audience_name,export.max_cost_cents,export.destination\n1,A,$5,x.csv\n",
            "jobs.csv:2: export.max_cost_cents: must be a whole number, digits only, such as 20000, not '$5'",
        ),
        (
            "customer_id,audience_name,column_selections.first_name.is_required\n1,A,maybe\n",
            "jobs.csv:2: column_selections.first_name.is_required: must be true or false, not 'maybe'",
        ),
        (
            "customer_id,audience_name,lookalike.filters.extra\n1,A,x\n",
            "jobs.csv:1: lookalike.filters.extra: unknown field; did you mean 'lookalike.filters.states'?",
        ),
        ("customer_id,audience_name\n", "jobs.csv:1: has no jobs"),
        ("", "jobs.csv:1: has no jobs"),
    ],
)
def test_invalid_csv(tmp_path: Path, content: str | bytes, error: str):
    write(tmp_path, {"defaults.yaml": DEFAULTS, "jobs.csv": content})
    assert error in errors_in(tmp_path / "jobs.csv", defaults=tmp_path / "defaults.yaml")


@pytest.mark.parametrize(
    ("line", "error"),
    [
        ("{", "jobs.jsonl:3: is not valid JSON: Input data was truncated"),
        ("[1]", "jobs.jsonl:3: must be a JSON object, not list"),
        ('{"customer_id": 1.5, "audience_name": "B"}', "jobs.jsonl:3: customer_id: must be text, not float 1.5"),
        (
            '{"customer_id": "1", "audience_name": "B", "lookalike": 5}',
            (
                "jobs.jsonl:3: lookalike: must be a mapping with the fields audience_name, size, "
                "include_original_audience, filters"
            ),
        ),
        ('{"customer_id": "1", "audience_name": "B", "key": ""}', "jobs.jsonl:3: key: must not be empty"),
        (
            '{"customer_id": "1", "audience_name": "B", "csv": {"a": 1}}',
            "jobs.jsonl:3: csv: must be a URL or a path, not dict",
        ),
        (
            (
                '{"customer_id": "1", "audience_name": "B", "lookalike": {"audience_name": "C", "size": 5, '
                '"filters": {"states": "PA"}}}'
            ),
            "jobs.jsonl:3: lookalike.filters.states: must be a list of text",
        ),
        (
            (
                '{"customer_id": "1", "audience_name": "B", "lookalike.size": 5, '
                '"lookalike": {"size": 6, "audience_name": "C"}}'
            ),
            "jobs.jsonl:3: lookalike.size: is given twice",
        ),
        (
            '{"customer_id": "1", "audience_name": "B", "audience_name": "B"}',
            "jobs.jsonl:3: audience_name: is given twice",
        ),
        (
            (
                '{"customer_id": "1", "audience_name": "B", "export": {"destination": "b.csv", '
                '"max_cost_cents": 100, "max\\u005fcost_cents": 1000000}}'
            ),
            "jobs.jsonl:3: max_cost_cents: is given twice",
        ),
        (
            (
                '{"customer_id": "1", "audience_name": "B", "lookalike": {"audience_name": "C", "size": 5, '
                '"filters": {"extra": {"a": [{"b": 1, "b": 2}]}}}}'
            ),
            "jobs.jsonl:3: b: is given twice",
        ),
        (
            '{"customer_id": "1", "audience_name": "B", "export": {"destination": 5}}',
            "jobs.jsonl:3: export.destination: must be a path, not int",
        ),
    ],
)
def test_invalid_json_lines(tmp_path: Path, line: str, error: str):
    good = '{"customer_id": "1", "audience_name": "A"}'
    write(tmp_path, {"defaults.yaml": DEFAULTS, "jobs.jsonl": f"{good}\n\n{line}\n"})
    assert errors_in(tmp_path / "jobs.jsonl", defaults=tmp_path / "defaults.yaml") == [error]


@pytest.mark.parametrize(
    ("content", "error"),
    [
        ("", "jobs.yaml:1: is empty"),
        ("# nothing\n", "jobs.yaml:1: is empty"),
        ("- a\n", "jobs.yaml:1: must be a mapping with 'defaults' and 'jobs'"),
        ("defaults: {}\n", "jobs.yaml:1: jobs: is missing"),
        ("jobs: []\n", "jobs.yaml:1: has no jobs"),
        ("jobs: 5\n", "jobs.yaml:1: jobs: must be a list of jobs, each a mapping of fields"),
        ("jobs:\n- a\n", "jobs.yaml:2: must be a mapping of fields"),
        ("jobs:\n- [a]\n", "jobs.yaml:2: must be a mapping of fields"),
        (
            "jobs:\n- a: [\n",
            "jobs.yaml:3: is not valid YAML: while parsing a flow node, did not find expected node content",
        ),
        (
            "jobs:\n- a: \x01\n",
            "jobs.yaml:2: is not valid YAML: control characters are not allowed",
        ),
        ("jobs: []\ndefaults: {}\n", "jobs.yaml:2: defaults: must come before 'jobs'"),
        ("defaults: {}\ndefaults: {csv: x}\njobs: []\n", "jobs.yaml:2: defaults: is given twice"),
        (b"jobs:\n- csv: \xff\n", "jobs.yaml:2: is not valid YAML: invalid leading UTF-8 octet"),
        (
            "jobs: []\n---\njobs: []\n",
            "jobs.yaml:2: is not valid YAML: expected a single document in the stream, but found another document",
        ),
        (
            "jobs:\n- <<: {customer_id: 1}\n",
            "jobs.yaml:2: <<: merge keys are not supported; put shared fields in 'defaults'",
        ),
        ("jobs:\n- customer_id: 1\n  customer_id: 2\n", "jobs.yaml:3: customer_id: is given twice"),
        ("jobs:\n- ? [a]\n  : 1\n", "jobs.yaml:2: a field name must be text"),
        ("jobs:\n- customer_id: *x\n", "jobs.yaml:2: is not valid YAML: found undefined alias"),
        ("jobs:\n- csv: &a [*a, *a]\n", "jobs.yaml:2: is nested too deeply (limit: 50 levels)"),
    ],
)
def test_invalid_yaml(tmp_path: Path, content: str | bytes, error: str):
    write(tmp_path, {"jobs.yaml": content})
    assert error in errors_in(tmp_path / "jobs.yaml")


@pytest.mark.parametrize("levels", [51, 900])  # 900 levels are more than some parsers can read
def test_deep_nesting_is_an_error_in_every_format(tmp_path: Path, levels: int):
    value = "[" * levels + "]" * levels
    write(tmp_path, {"jobs.yaml": f"jobs:\n- csv: {value}\n", "jobs.jsonl": f'{{"csv": {value}}}\n'})
    message = "is nested too deeply (limit: 50 levels)"
    assert f"jobs.yaml:2: {message}" in errors_in(tmp_path / "jobs.yaml")
    assert f"jobs.jsonl:1: {message}" in errors_in(tmp_path / "jobs.jsonl")


def test_nesting_beyond_the_parsers_own_limits_is_an_error(tmp_path: Path):
    value = "[" * 5_000 + "]" * 5_000
    write(tmp_path, {"jobs.yaml": f"jobs:\n- csv: {value}\n", "jobs.jsonl": f'{{"csv": {value}}}\n'})
    assert any(error.startswith("jobs.yaml:2: ") and "nest" in error for error in errors_in(tmp_path / "jobs.yaml"))
    assert "jobs.jsonl:1: is nested too deeply (limit: 50 levels)" in errors_in(tmp_path / "jobs.jsonl")


def test_the_deepest_allowed_nesting_is_read(tmp_path: Path):
    value = "[" * 49 + "]" * 49
    write(tmp_path, {"jobs.yaml": f"jobs:\n- csv: {value}\n", "jobs.jsonl": f'{{"csv": {value}}}\n'})
    assert "jobs.yaml:2: csv: must be a URL or a path, not list" in errors_in(tmp_path / "jobs.yaml")
    assert "jobs.jsonl:1: csv: must be a URL or a path, not list" in errors_in(tmp_path / "jobs.jsonl")


@pytest.mark.parametrize(
    ("template", "error"),
    [
        (
            "{name}.csv",
            (
                "defaults.yaml:3: export.destination: unknown placeholder {name}; use {customer_id}, {audience_name}, "
                "{key}"
            ),
        ),
        (
            "{key}.csv",
            "jobs.csv:2: export.destination: the default uses {key}, but this job has no key (also in line 3)",
        ),
        (
            "a{.csv",
            "defaults.yaml:3: export.destination: has a single '{'; write '{{' for a literal brace",
        ),
        (
            "{customer_id.__class__}",
            (
                "defaults.yaml:3: export.destination: unknown placeholder {customer_id.__class__}; use "
                "{customer_id}, {audience_name}, {key}; did you mean '{customer_id}'?"
            ),
        ),
    ],
)
def test_a_bad_template_is_reported_at_its_location(tmp_path: Path, template: str, error: str):
    write(tmp_path, {"defaults.yaml": f'{DEFAULTS}export: {{destination: "{template}"}}\n'})
    write(tmp_path, {"jobs.csv": "customer_id,audience_name\n1,A\n1,B\n"})
    (found,) = errors_in(tmp_path / "jobs.csv", defaults=tmp_path / "defaults.yaml")
    assert found == error


@pytest.mark.parametrize("customer", [".", ".."])
def test_a_customer_id_cannot_change_the_folder_of_a_url(tmp_path: Path, customer: str):
    template = "https://files.example.org/lists/{customer_id}/members.csv"
    write(tmp_path, {"defaults.yaml": f'{COLUMNS}\ncsv: "{template}"\n'})
    write(tmp_path, {"jobs.csv": f"customer_id,audience_name\n{customer},A\n...,B\n.a/..,C\n"})
    assert errors_in(tmp_path / "jobs.csv", defaults=tmp_path / "defaults.yaml") == [
        "jobs.csv:2: csv: has the path segment '.' or '..', so the URL would name another folder"
    ]


def test_a_local_csv_needs_a_publisher(tmp_path: Path):
    write_examples(tmp_path)
    (found,) = errors_in(tmp_path / "jobs.yaml", can_publish=False)
    assert found == (
        "jobs.yaml:16: csv: 2 lists are local files, such as 'lists/donors.csv', and the server fetches CSVs from "
        "URLs: use --publish s3://bucket/prefix, or upload them and set csv to their (presigned) URLs (also in line 21)"
    )


def test_local_csvs_are_checked_even_if_they_cannot_be_published(tmp_path: Path):
    write_examples(tmp_path)
    write(tmp_path, {"lists/donors.csv": "Given,Last Name,Zip Code\nAda,Lovelace,19103\n"})
    (tmp_path / "lists/volunteers.csv").unlink()
    problems, *others = errors_in(tmp_path / "jobs.yaml", can_publish=False)
    assert problems == (
        "jobs.yaml:3: column_selections.first_name.column_name: 'lists/donors.csv' has no column 'First Name'; did you "
        "mean 'Given'? The CSV's columns: 'Given', 'Last Name', 'Zip Code'"
    )
    assert [other.partition(", and the server")[0] for other in others] == [
        "jobs.yaml:16: csv: 2 lists are local files, such as 'lists/donors.csv'",
        "jobs.yaml:21: csv: there is no file 'lists/volunteers.csv'",
    ]


def test_one_local_csv_needs_a_publisher_as_well(tmp_path: Path):
    rows = f"customer_id,audience_name,csv\n1,A,a.csv\n1,B,{URL}\n"
    write(tmp_path, {"defaults.yaml": COLUMNS, "jobs.csv": rows, "a.csv": "First\nAda\n"})
    (found,) = errors_in(tmp_path / "jobs.csv", can_publish=False, defaults=tmp_path / "defaults.yaml")
    assert found == (
        "jobs.csv:2: csv: 'a.csv' is a local file, and the server fetches CSVs from URLs: use --publish "
        "s3://bucket/prefix, or upload it and set csv to its (presigned) URL"
    )


def test_a_file_name_that_is_too_long_is_an_error(tmp_path: Path):
    write(tmp_path, {"defaults.yaml": f'{DEFAULTS}export: {{destination: "{{audience_name}}.csv"}}\n'})
    write(tmp_path, {"jobs.csv": f"customer_id,audience_name\n1,{'A' * 300}\n"})
    (found,) = errors_in(tmp_path / "jobs.csv", defaults=tmp_path / "defaults.yaml")
    assert found.startswith("jobs.csv:2: export.destination: ")
    assert found.endswith(os.strerror(36))


def test_an_unknown_file_type_is_an_error(tmp_path: Path):
    write(tmp_path, {"jobs.xlsx": "x"})
    (found,) = errors_in(tmp_path / "jobs.xlsx")
    assert found.startswith("jobs.xlsx: must end in .yaml, .yml, .csv, .jsonl, .ndjson")


def test_errors_never_show_a_signed_url(tmp_path: Path):
    write(tmp_path, {"jobs.csv": "customer_id,audience_name,csv\n1,A,ftp://files.example.org/a.csv?sig=s3cret\n"})
    assert "s3cret" not in "\n".join(errors_in(tmp_path / "jobs.csv"))


def test_an_unreadable_file_is_an_error_with_a_suggestion(tmp_path: Path):
    write(tmp_path, {"jobs.yaml": "jobs: []\n", "jobs.csv": "customer_id\n"})
    (tmp_path / "folder.yaml").mkdir()
    no_file = "cannot be read: No such file or directory"
    assert errors_in(tmp_path / "job.yaml") == [f"job.yaml: {no_file}; did you mean 'jobs.yaml'?"]
    assert errors_in(tmp_path / "no" / "jobs.yaml") == [f"jobs.yaml: {no_file}"]
    assert errors_in(tmp_path / "folder.yaml") == ["folder.yaml: cannot be read: Is a directory"]
    (found,) = errors_in(tmp_path / "jobs.csv", defaults=tmp_path / "none.yaml")
    assert found == f"none.yaml: {no_file}"


def test_every_invalid_item_of_a_list_is_reported(tmp_path: Path):
    write(tmp_path, {"defaults.yaml": DEFAULTS})
    write(
        tmp_path,
        {
            "jobs.csv": "customer_id,audience_name,export.destination,export.optional_field_types\n"
            "1,A,a.csv,phon;adress;vote_history\n"
        },
    )
    found = errors_in(tmp_path / "jobs.csv", defaults=tmp_path / "defaults.yaml")
    assert [error.rpartition("; ")[2] for error in found] == ["did you mean 'phone'?", "did you mean 'address'?"]
