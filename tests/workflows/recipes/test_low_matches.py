"""A match of few rows is reported before an export is paid for."""

from __future__ import annotations

from pathlib import Path

import attrs
import pytest

from indigo_async.events import Event
from indigo_async.sandbox import Dialect
from indigo_async.workflows import AudienceJob, BatchReport, RecipeWarning, run_batch
from tests.support.jobs import make_job
from tests.support.recipes import PREVIEW, PURCHASE, count_posts, match_csv, match_rows
from tests.support.servers.scripted import sandbox_and_client

ADVICE = "check the CSV and its columns before you pay for an export; match a corrected list under another name"
FEW_MATCHED = f"only 6 of 29,900 rows (0.02%) matched: {ADVICE}"


def warnings_in(events: list[Event]) -> list[str]:
    return [event.message for event in events if isinstance(event, RecipeWarning)]


@pytest.mark.parametrize(
    ("rows", "matched", "warning"),
    [
        (29_900, 6, FEW_MATCHED),
        (1_000, 99, f"only 99 of 1,000 rows (9.9%) matched: {ADVICE}"),
        (1_000, 100, None),
        (11, 1, f"only 1 of 11 rows (9.1%) matched: {ADVICE}"),
        (10, 1, None),
        (1, 1, None),
    ],
)
async def test_a_match_of_fewer_than_a_tenth_of_the_rows_is_reported(rows: int, matched: int, warning: str | None):
    events: list[Event] = []
    async with sandbox_and_client() as (sandbox, client):
        match_rows(sandbox, rows, matched)
        await match_csv(client, on_event=events.append)
    assert warnings_in(events) == ([] if warning is None else [warning])


async def test_an_empty_audience_is_reported_only_as_empty():
    events: list[Event] = []
    async with sandbox_and_client() as (sandbox, client):
        match_rows(sandbox, 29_900, 0)
        await match_csv(client, on_event=events.append)
    (warning,) = warnings_in(events)
    assert "has 0 people" in warning


async def test_without_counts_nothing_is_reported():
    events: list[Event] = []
    async with sandbox_and_client(dialect=Dialect(shows_counts=False)) as (sandbox, client):
        match_rows(sandbox, 29_900, 6)
        await match_csv(client, on_event=events.append)
    assert warnings_in(events) == []


async def test_a_reused_audience_is_reported_too_because_its_export_may_not_be_paid_for():
    events: list[Event] = []
    async with sandbox_and_client() as (sandbox, client):
        match_rows(sandbox, 29_900, 6)
        await match_csv(client)
        await match_csv(client, on_event=events.append)
    reused, few = warnings_in(events)
    assert reused.startswith("reusing audience")
    assert few == FEW_MATCHED


def plain_job(folder: Path) -> AudienceJob:
    return make_job(0, folder, lookalike=False)


def messages_in(report: BatchReport) -> list[str]:
    assert report.done == 1
    return [warning.message for warning in report.warnings]


async def test_a_batch_reports_it_once_and_before_the_export_is_priced(tmp_path: Path):
    posts_at_warning: list[dict[str, int]] = []
    async with sandbox_and_client() as (sandbox, client):

        def listen(event: Event) -> None:
            if isinstance(event, RecipeWarning):
                posts_at_warning.append(count_posts(sandbox))

        match_rows(sandbox, 29_900, 6)
        report = await run_batch(client, [plain_job(tmp_path)], on_event=listen)
        assert sandbox.counts().purchases == 1
    assert messages_in(report) == [FEW_MATCHED]
    (posts,) = posts_at_warning
    assert posts.keys().isdisjoint({PREVIEW, PURCHASE})


async def test_a_quote_reports_it_and_so_does_the_run_that_purchases(tmp_path: Path):
    journal, job = tmp_path / "run.sqlite", plain_job(tmp_path)
    async with sandbox_and_client() as (sandbox, client):
        match_rows(sandbox, 29_900, 6)
        quote = await run_batch(client, [job], journal=journal, purchase=False)
        assert sandbox.counts().purchases == 0
        run = await run_batch(client, [job], journal=journal)
    assert messages_in(quote) == messages_in(run) == [FEW_MATCHED]


@pytest.mark.parametrize("downloads", [True, False], ids=["downloaded", "only purchased"])
async def test_a_job_whose_export_was_purchased_is_not_reported_again(tmp_path: Path, *, downloads: bool):
    journal, job = tmp_path / "run.sqlite", plain_job(tmp_path)
    if not downloads:
        assert job.export is not None
        job = attrs.evolve(job, export=attrs.evolve(job.export, destination=None))
    async with sandbox_and_client() as (sandbox, client):
        match_rows(sandbox, 29_900, 6)
        first = await run_batch(client, [job], journal=journal)
        sandbox.log.clear()
        again = await run_batch(client, [job], journal=journal)
        assert (sandbox.log.count() == 0) == downloads
        assert sandbox.counts().purchases == 1
    assert messages_in(first) == [FEW_MATCHED]
    assert messages_in(again) == []
