from __future__ import annotations

import contextlib
import csv
import io
import json
import tempfile
from collections.abc import Mapping
from pathlib import Path

import attrs
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from indigo_async.cli.manifest.fields import FIELDS, REQUIRED, SECTIONS
from indigo_async.cli.manifest.templates import parse_template
from indigo_async.errors import InvalidInputError
from indigo_async.inputs import CANONICAL_FIELDS, LookalikeFilters
from indigo_async.workflows import AudienceJob, ExportStep, LookalikeStep
from tests.support.manifests import read, write

TEXTS = st.text(
    st.characters(exclude_categories=["Cs", "Cc", "Zs", "Zl", "Zp"], exclude_characters=";"), min_size=1, max_size=12
)
NAMES = st.text(min_size=1, max_size=20)

ROWS = st.fixed_dictionaries(
    {
        "customer_id": TEXTS,
        "column_selections.first_name.column_name": TEXTS,
        "column_selections.first_name.is_required": st.just(True),
    },
    optional={
        "key": TEXTS,
        "lookalike.size": st.integers(1, 10**9),
        "lookalike.include_original_audience": st.booleans(),
        "lookalike.filters.states": st.lists(TEXTS, min_size=1, max_size=3, unique=True),
        "export.max_cost_cents": st.integers(0, 10**12),
        "export.optional_field_types": st.sets(st.sampled_from(["phone", "address"]), min_size=1).map(sorted),
    },
)


def nested(row: Mapping[str, object]) -> dict[str, object]:
    document: dict[str, object] = {}
    for field, value in row.items():
        *sections, name = field.split(".")
        inner = document
        for section in sections:
            inner = inner.setdefault(section, {})  # type: ignore[assignment]
        inner[name] = value
    return document


def cell(value: object) -> str:
    if isinstance(value, list):
        return ";".join(value)
    return str(value).lower() if isinstance(value, bool) else str(value)


@given(st.lists(ROWS, min_size=1, max_size=4))
def test_every_format_gives_the_same_jobs(rows: list[dict[str, object]]):
    rows = [
        {
            **row,
            "audience_name": f"List {number}",
            "csv": f"https://files.example.org/{number}.csv",
            **({"lookalike.audience_name": f"Lookalike {number}"} if "lookalike.size" in row else {}),
            **({"export.destination": f"/tmp/{number}.csv"} if "export.max_cost_cents" in row else {}),
        }
        for number, row in enumerate(rows)
    ]
    for row in rows:  # a section is left out unless it has its required fields
        for section, field in (("lookalike", "lookalike.size"), ("export", "export.max_cost_cents")):
            if field not in row:
                for name in [name for name in row if name.startswith(f"{section}.")]:
                    del row[name]
    columns = sorted({field for row in rows for field in row})
    table = io.StringIO()
    csv.writer(table).writerows([columns, *([cell(row.get(field, "")) for field in columns] for row in rows)])
    lines = [json.dumps(row) for row in rows]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write(
            folder,
            {
                "jobs.csv": table.getvalue(),
                "jobs.jsonl": "\n".join(lines),
                "jobs.yaml": yaml.safe_dump({"jobs": [nested(row) for row in rows]}),
            },
        )
        from_csv, from_lines, from_yaml = (read(folder / f"jobs.{suffix}") for suffix in ("csv", "jsonl", "yaml"))
    assert from_csv == from_lines == from_yaml
    assert [job.customer_id for job in from_csv] == [row["customer_id"] for row in rows]
    assert [job.lookalike.size if job.lookalike else None for job in from_csv] == [
        row.get("lookalike.size") for row in rows
    ]


PIECES = st.lists(
    st.sampled_from(
        [
            "jobs:",
            "defaults:",
            "\n",
            "- ",
            "  ",
            "csv: ",
            "customer_id",
            ",",
            ":",
            "{",
            "}",
            "[",
            "]",
            '"',
            "&a ",
            "*a",
            "null",
            "lookalike",
            ".size",
            "column_selections",
            "id",
            "<<",
            "\r\n",
            ";",
            "none",
            "1",
            "\x00",
            "\ufeff",
            "|",
            "---",
            "? ",
        ]
    )
    | st.text(max_size=3),
    max_size=30,
).map(lambda pieces: "".join(pieces).encode(errors="replace"))


@pytest.mark.parametrize("suffix", ["yaml", "csv", "jsonl"])
@given(content=PIECES | st.binary(max_size=60))
def test_any_content_is_read_or_raises_invalid_input_error(suffix: str, content: bytes):
    with tempfile.TemporaryDirectory() as name:
        write(Path(name), {f"jobs.{suffix}": content})
        with contextlib.suppress(InvalidInputError):
            assert read(Path(name) / f"jobs.{suffix}")
        with contextlib.suppress(InvalidInputError):
            read(Path(name) / f"jobs.{suffix}", defaults=Path(name) / f"jobs.{suffix}")


@given(NAMES, NAMES)
def test_templates_stay_in_their_folder_and_give_distinct_files(one: str, other: str):
    template = "exports/{customer_id}/{audience_name}.csv"
    path = parse_template("export.destination", template).fill({"customer_id": one, "audience_name": other})
    assert path.count("/") == 2
    folder, customer, file = path.split("/")
    assert folder == "exports"
    assert customer not in {"", ".", ".."}
    assert not file.startswith(".") or file == ".csv"
    swapped = parse_template("export.destination", template).fill({"customer_id": other, "audience_name": one})
    assert (path == swapped) == (one == other)


@given(NAMES)
def test_names_in_a_url_are_quoted(name: str):
    url = parse_template("csv", "https://files.example.org/{audience_name}.csv").fill({"audience_name": name})
    rest = url.removeprefix("https://files.example.org/").removesuffix(".csv")
    assert rest.isascii()
    assert not set(rest) & set("/?#:@ ")


@given(NAMES)
def test_doubled_braces_are_literal(name: str):
    assert parse_template("key", "{{{customer_id}}}").fill({"customer_id": name}) == f"{{{name}}}"


def test_every_job_field_has_a_manifest_field():
    names = {field.name for field in attrs.fields(AudienceJob)} - {"column_selections", "lookalike", "export"}
    names |= {f"lookalike.{field.name}" for field in attrs.fields(LookalikeStep)} - {"lookalike.filters"}
    names |= {f"lookalike.filters.{field.name}" for field in attrs.fields(LookalikeFilters)}
    names |= {f"export.{field.name}" for field in attrs.fields(ExportStep)} | {"export.download"}
    names |= {
        f"column_selections.{field}.{part}" for field in CANONICAL_FIELDS for part in ("column_name", "is_required")
    }
    assert set(FIELDS) == names
    assert {"column_selections", "column_selections.id", "lookalike", "lookalike.filters", "export"} <= SECTIONS.keys()
    assert REQUIRED == {
        "": ("customer_id", "audience_name", "csv", "column_selections"),
        "lookalike": ("lookalike.audience_name", "lookalike.size"),
        "export": ("export.destination",),
    }
