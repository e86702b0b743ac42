"""Jobs that an earlier run with the same journal finished."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from indigo_async import IndigoClient
from indigo_async.events import Event, RecipeFinished, RecipeStarted, Stage
from indigo_async.sandbox import Sandbox
from indigo_async.workflows import AudienceJob, BatchReport, JobResult, run_batch, start_batch
from indigo_async.workflows.batches.jobs import compute_identity
from indigo_async.workflows.journal import Journal
from tests.support.jobs import count_posts, lite_sandbox, make_client, make_job, make_jobs

JOBS = 5


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    async with lite_sandbox() as sandbox:
        yield sandbox


@pytest.fixture
async def client(sandbox: Sandbox) -> AsyncIterator[IndigoClient]:
    async with make_client(sandbox) as client:
        yield client


@pytest.fixture
async def finished(sandbox: Sandbox, client: IndigoClient, tmp_path: Path) -> BatchReport:
    """The report of a run that finished all jobs."""
    report = await run_batch(client, make_jobs(JOBS, tmp_path), journal=tmp_path / "run.sqlite")
    assert report.done == JOBS
    sandbox.log.clear()
    return report


async def run_again(client: IndigoClient, jobs: list[AudienceJob], folder: Path, **options: object) -> BatchReport:
    return await run_batch(client, jobs, journal=folder / "run.sqlite", **options)  # type: ignore[arg-type]


async def test_finished_jobs_need_no_request(sandbox, client, finished, tmp_path: Path):
    report = await run_again(client, make_jobs(JOBS, tmp_path), tmp_path)
    assert sandbox.log.count() == 0
    assert (report.done, report.failed, report.requests, report.stages) == (JOBS, 0, {}, {})
    assert (report.spent_cents, report.quoted_cents) == (finished.spent_cents, finished.quoted_cents)
    assert (finished.recalled, finished.spent_this_run_cents) == (0, finished.spent_cents)
    assert (report.recalled, report.spent_this_run_cents) == (JOBS, 0)
    assert report.by_customer["42"].spent_this_run_cents == 0
    assert report.by_customer["42"].matched == finished.by_customer["42"].matched > 0
    assert report.by_customer["42"].rows == finished.by_customer["42"].rows > 0


async def test_more_finished_jobs_than_may_be_in_flight(sandbox, client, finished, tmp_path: Path):
    report = await run_again(client, make_jobs(JOBS, tmp_path), tmp_path, max_in_flight=2)
    assert (report.done, finished.done, sandbox.log.count()) == (JOBS, JOBS, 0)


async def test_a_finished_job_has_the_result_that_was_recorded(sandbox, client, tmp_path: Path):
    async def run() -> tuple[JobResult, Stage, list[Event]]:
        events: list[Event] = []
        async with start_batch(
            client, [make_job(0, tmp_path)], journal=tmp_path / "run.sqlite", on_event=events.append
        ) as batch:
            (outcome,) = [outcome async for outcome in batch]
        assert outcome.result is not None
        return outcome.result, outcome.stage, events

    first, _, _ = await run()
    sandbox.log.clear()
    again, stage, events = await run()
    assert sandbox.log.count() == 0
    assert (again.matched.id, again.matched.name) == (first.matched.id, first.matched.name)
    assert again.matched.match_rate == first.matched.match_rate is not None
    assert again.lookalike is not None
    assert first.lookalike is not None
    assert (again.lookalike.id, again.lookalike.size) == (first.lookalike.id, first.lookalike.size)
    assert again.lookalike.base_audience_id == first.matched.id
    assert again.receipt is not None
    assert first.receipt is not None
    assert (again.receipt.path, again.receipt.sha256) == (first.receipt.path, first.receipt.sha256)
    assert stage is Stage.DOWNLOAD
    assert [type(event) for event in events] == [RecipeStarted, RecipeFinished]


async def test_a_file_that_is_gone_or_has_another_size_is_downloaded_again(sandbox, client, finished, tmp_path: Path):
    content = (tmp_path / "0.csv").read_bytes()
    (tmp_path / "0.csv").unlink()
    (tmp_path / "1.csv").write_bytes(b"")
    report = await run_again(client, make_jobs(JOBS, tmp_path), tmp_path)
    assert (report.done, finished.done) == (JOBS, JOBS)
    assert sandbox.log.count("GET download") == 2
    assert count_posts(sandbox) == 0
    assert (tmp_path / "0.csv").read_bytes() == content
    assert (tmp_path / "1.csv").stat().st_size > 0


async def test_another_destination_or_other_fields_are_not_finished(sandbox, client, finished, tmp_path: Path):
    jobs = [make_job(0, tmp_path / "elsewhere"), make_job(1, tmp_path, field_types=()), *make_jobs(JOBS, tmp_path)[2:]]
    report = await run_again(client, jobs, tmp_path)
    assert (report.done, finished.done) == (JOBS, JOBS)
    assert sandbox.log.count("GET download") == 2
    assert sandbox.log.count("POST /purchase_csv_export") == 1


async def test_unfinished_jobs_among_finished_ones_are_run(sandbox, client, finished, tmp_path: Path):
    report = await run_again(client, make_jobs(JOBS + 3, tmp_path), tmp_path, max_in_flight=3)
    assert (report.done, report.failed, finished.done) == (JOBS + 3, 0, JOBS)
    assert sandbox.log.count("POST /upload_csv") == 3


async def test_a_quote_of_finished_jobs_reads_their_exports(sandbox, client, finished, tmp_path: Path):
    report = await run_again(client, make_jobs(JOBS, tmp_path), tmp_path, purchase=False)
    assert (report.done, finished.done, count_posts(sandbox)) == (JOBS, JOBS, 0)
    assert sandbox.log.count("GET /audience") >= JOBS


async def test_a_journal_without_audiences_leaves_them_to_the_server(sandbox, client, finished, tmp_path: Path):
    (job,) = jobs = [make_job(0, tmp_path)]
    async with Journal.open(tmp_path / "run.sqlite") as journal:  # as earlier versions recorded a download
        identity = await compute_identity(job, base_url=client.settings.base_url)
        job_log = await journal.job_log("42", job.audience_name, identity.fingerprint, identity.input_hashes)
        recorded = job_log.result(Stage.DOWNLOAD)
        assert recorded is not None
        facts = {key: value for key, value in recorded.items() if key not in {"matched", "lookalike"}}
        await job_log.record_result(Stage.DOWNLOAD, facts)
    report = await run_again(client, jobs, tmp_path)
    assert (report.done, finished.done, count_posts(sandbox)) == (1, JOBS, 0)
    assert sandbox.log.count("GET download") == 0
    assert sandbox.log.count() > 0
