from __future__ import annotations

from html.parser import HTMLParser

import attrs
import pytest

from indigo_async import Audience, CsvExport, UploadedAudienceCsv, notebook
from indigo_async.workflows import BatchReport, JobFailure

SIGNED = "https://files.example.org/people.csv?X-Signature=secret"
HOSTILE = "<img src=x onerror=alert(1)>"

EXPORT = CsvExport(
    id="e-1",
    status="ACTIVE",
    cost_cents=123_456,
    optional_field_types=("phone",),
    download_url=SIGNED,
    extra={"a": SIGNED},
)
AUDIENCE = Audience(
    id=7,
    name=HOSTILE,
    status="ACTIVE",
    customer_id="42",
    uploaded_audience_csv=UploadedAudienceCsv(status="DONE", url=SIGNED),
    csv_exports=(EXPORT,),
    extra={"link": SIGNED},
)
REPORT = BatchReport(
    done=9_999,
    failed=1_001,
    failed_by_stage={"match": 1_001},
    failed_by_error={"ServerError": 1_001},
    failures=tuple(
        JobFailure(key=f"{HOSTILE}/{number}", stage="match", audience_id=1, error_type="ServerError", message=SIGNED)
        for number in range(1_000)
    ),
    stopped="Bearer abc-token was refused",
    quoted_cents=1,
    spent_cents=250_000,
    unresolved_cents=0,
    budget_cents=300_000,
    lost_uploads=0,
    requests={"GET /audience": 5},
    failed_requests={},
    reads_saved=1_234,
    stages={},
    seconds=12.34,
)


@attrs.define
class _Reader(HTMLParser):
    """The tags and the words of some HTML."""

    tags: set[str] = attrs.Factory(set)
    words: list[str] = attrs.Factory(list)

    def __attrs_pre_init__(self) -> None:
        super().__init__()

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        assert {name for name, _ in attributes} <= {"style"}

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def read(html: str) -> _Reader:
    reader = _Reader()
    reader.feed(html)
    reader.close()
    return reader


@pytest.mark.parametrize("shown", [AUDIENCE, EXPORT, REPORT, notebook.table([AUDIENCE, EXPORT])], ids=type)
def test_names_are_escaped_and_no_secret_is_shown(shown: Audience | CsvExport | BatchReport | notebook.Table):
    html = shown._repr_html_()
    assert read(html).tags <= {"table", "caption", "b", "thead", "tbody", "tr", "th", "td", "bdi", "p"}
    assert "secret" not in html
    assert "abc-token" not in html


def test_an_audience_shows_its_fields_and_exports():
    words = read(AUDIENCE._repr_html_()).words
    for word in ("7", HOSTILE, "ACTIVE", "42", "DONE", "e-1", "$1,234.56", "phone", "yes"):
        assert word in words
    assert "base audience" not in words


def test_a_report_shows_its_numbers_and_its_first_failures():
    words = read(REPORT._repr_html_()).words
    for word in ("9,999", "1,001", "$2,500.00 of a budget of $3,000.00", "1,234", "12.3", f"{HOSTILE}/0"):
        assert word in words
    assert f"{HOSTILE}/20" not in words
    assert "and 981 more" in words


def test_a_table_has_a_row_per_record_and_counts_the_rest():
    html = notebook.table(Audience(id=number) for number in range(250))._repr_html_()
    assert html.count("<tr>") == 201
    assert "and 50 more" in html
