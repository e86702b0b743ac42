"""The report of a batch that ran several times."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import anyio
import pytest

from indigo_async import ColumnSelection, ColumnSelections, IndigoClient
from indigo_async.cli.report.history import BatchHistory, build_history
from indigo_async.cli.report.statistics import BatchStatistics, compute_statistics
from indigo_async.cli.report.timeline import build_time_series, measure_active_time
from indigo_async.sandbox import Fault, FaultKind, Sandbox
from indigo_async.workflows import AudienceJob, ExportStep, LookalikeStep, Stage, run_batch
from indigo_async.workflows.journal import Journal
from tests.support.command_line import RunCommand
from tests.support.journals import (
    STARTED_AT,
    open_job_log,
    record_intent,
    record_outcome,
    record_progress,
    record_result,
)
from tests.support.processes.commands import command, environment_for, write_manifest

FAILED = {"type": "WaitTimeoutError", "message": "not done"}
CHECKS = {"match": 1.5, "lookalike": 1.5}
"""The timings of a run that only checks finished stages."""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run.sqlite"


async def read(path: Path) -> tuple[BatchHistory, BatchStatistics]:
    history = await asyncio.to_thread(lambda: build_history(path))
    return history, compute_statistics(history, in_use=False)


def longest(statistics: BatchStatistics) -> dict[str, float]:
    return {stage.stage: pytest.approx(stage.longest_seconds) for stage in statistics.stages}


async def spans_of(path: Path) -> list[tuple[str, float, float]]:
    """The spans of a journal's only job, in seconds since `STARTED_AT`."""
    history, _ = await read(path)
    return [(span.stage, span.started_at - STARTED_AT, span.ended_at - STARTED_AT) for span in history.jobs[0].spans]


class TestFinishedBatch:
    async def test_another_run_changes_no_times(self, tmp_path: Path, path: Path):
        jobs = [
            AudienceJob(
                customer_id="42",
                audience_name=f"List {number}",
                csv=f"https://files.example.org/{number}.csv",
                column_selections=ColumnSelections(first_name=ColumnSelection("First", required=True)),
                lookalike=LookalikeStep(audience_name=f"List {number}, lookalike", size=2_000),
                export=ExportStep(destination=tmp_path / f"{number}.csv", max_cost_cents=10**6),
            )
            for number in range(5)
        ]
        seen: list[BatchStatistics] = []
        ends: list[list[float | None]] = []
        async with (
            Sandbox(lite=True, speed=2_000.0) as sandbox,
            IndigoClient(sandbox.token, base_url=sandbox.base_url, poll_interval=0.02) as client,
        ):
            for purchase in (False, True, True, False):  # quote, purchase, and check twice
                await run_batch(client, jobs, journal=path, budget_cents=10**9, purchase=purchase)
                history, statistics = await read(path)
                seen.append(statistics)
                ends.append([job.ended_at for job in history.jobs])
        quoted, purchased, again, last = seen
        assert [statistics.done for statistics in seen] == [5] * 4
        assert [stage.stage for stage in quoted.stages] == ["upload", "match", "lookalike", "preview"]
        assert [stage.stage for stage in purchased.stages] == list(Stage)
        assert purchased.stages[:4] == quoted.stages
        assert last.stages == again.stages == purchased.stages
        assert last.half_done_seconds == again.half_done_seconds == purchased.half_done_seconds
        assert ends[3] == ends[2] == ends[1]
        assert all(end > before for end, before in zip(ends[1], ends[0], strict=True) if end and before)
        assert last.runs == 4

    async def test_each_job_ends_in_the_run_that_finished_it(self, path: Path):
        async with Journal.open(path) as journal:
            batch_log = await journal.batch_log()
            job_logs = [await open_job_log(journal, "42", f"List {number}") for number in range(3)]
            for number, job_log in enumerate(job_logs):
                record_outcome(job_log, 16.0 + number, 12.0, timings={"match": 6.0, "lookalike": 5.8})
            record_progress(batch_log, 0.0, 20.0, ended=True)
        once = await read(path)
        async with Journal.open(path) as journal:
            batch_log = await journal.batch_log()
            job_logs = [await open_job_log(journal, "42", f"List {number}") for number in range(3)]
            for run in (100.0, 200.0, 300.0):
                for job_log in job_logs:
                    record_outcome(job_log, run + 4.0, 3.0, timings=CHECKS, stage="lookalike")
                record_progress(batch_log, run, run + 5.0, ended=True)
        history, statistics = await read(path)
        assert statistics.stages == once[1].stages
        assert longest(statistics) == {"match": 6.0, "lookalike": 5.8}
        assert statistics.half_done_seconds == once[1].half_done_seconds == pytest.approx(17.0)
        assert history.jobs == once[0].jobs
        assert (statistics.runs, statistics.active_seconds) == (4, pytest.approx(35.0))
        series = build_time_series(history, measure_active_time(history))
        assert sum(series.done[: len(series.done) * 20 // 35]) == 3
        assert {waits.stage: pytest.approx(waits.longest_seconds) for waits in series.durations} == {
            "match": 6.0,
            "lookalike": 5.8,
        }

    async def test_a_failed_check_counts_until_a_later_run_succeeds(self, path: Path):
        async with Journal.open(path) as journal:
            job_log = await open_job_log(journal, "42", "Donors")
            record_outcome(job_log, 10.0, 10.0, timings={"match": 6.0, "lookalike": 4.0})
            record_outcome(job_log, 115.0, 15.0, timings={"match": 1.0}, stage="lookalike", error=FAILED)
        failed, statistics = await read(path)
        async with Journal.open(path) as journal:
            job_log = await open_job_log(journal, "42", "Donors")
            record_outcome(job_log, 203.0, 3.0, timings=CHECKS, stage="lookalike")
        assert (statistics.failed, failed.jobs[0].ended_at) == (1, STARTED_AT + 115.0)
        assert failed.jobs[0].spans[-1].ended_at == STARTED_AT + 115.0
        history, statistics = await read(path)
        assert (statistics.done, history.jobs[0].ended_at) == (1, STARTED_AT + 10.0)
        assert await spans_of(path) == [("match", 0.0, 6.0), ("lookalike", 6.0, 10.0)]

    async def test_another_download_changes_no_times(self, path: Path):
        async with Journal.open(path) as journal:
            job_log = await open_job_log(journal, "42", "Donors")
            await record_result(job_log, Stage.DOWNLOAD, 9.9, export_id="a", cost_cents=30)
            record_outcome(job_log, 10.0, 10.0, timings={"match": 6.0, "download": 4.0})
            await record_result(job_log, Stage.DOWNLOAD, 109.0, export_id="a", cost_cents=30)
        killed = await read(path)
        async with Journal.open(path) as journal:
            job_log = await open_job_log(journal, "42", "Donors")
            await record_result(job_log, Stage.DOWNLOAD, 209.0, export_id="a", cost_cents=30)
            record_outcome(job_log, 209.1, 5.0, timings={"match": 1.0, "download": 4.0})
        for history, statistics in (killed, await read(path)):
            assert (statistics.done, history.jobs[0].ended_at) == (1, STARTED_AT + 10.0)
            assert longest(statistics) == {"match": 6.0, "download": 4.0}


class TestJobsFinishedLater:
    async def test_a_stage_counts_in_all_runs_until_it_is_finished(self, path: Path):
        async with Journal.open(path) as journal:
            job_log = await open_job_log(journal, "42", "Donors")
            record_outcome(job_log, 10.0, 10.0, timings={"match": 6.0}, stage="lookalike", error=FAILED)
            record_outcome(job_log, 105.0, 5.0, timings={"match": 1.0}, stage="lookalike", error=FAILED)
            record_outcome(job_log, 209.0, 9.0, timings={"match": 1.0, "lookalike": 7.5, "preview": 0.5})
            record_outcome(job_log, 303.0, 3.0, timings=CHECKS, stage="lookalike")
        history, statistics = await read(path)
        assert history.jobs[0].ended_at == STARTED_AT + 209.0
        assert longest(statistics) == {"match": 6.0, "lookalike": 4.0 + 4.0 + 7.5, "preview": 0.5}
        assert await spans_of(path) == [
            ("match", 0.0, 6.0),
            ("lookalike", 6.0, 10.0),
            ("lookalike", 101.0, 105.0),
            ("lookalike", 201.0, 208.5),
            ("preview", 208.5, 209.0),
        ]

    async def test_stages_finished_by_a_killed_run_are_only_checked_again(self, path: Path):
        async with Journal.open(path) as journal:
            job_log = await open_job_log(journal, "42", "Donors")
            await record_intent(job_log, Stage.MATCH, 1.0)
            await record_intent(job_log, Stage.LOOKALIKE, 5.0)
            await record_result(job_log, Stage.LOOKALIKE, 6.0, audience_id="b")
            record_outcome(job_log, 110.0, 9.0, timings={"match": 1.0, "lookalike": 8.0})
        assert await spans_of(path) == [
            ("match", 1.0, 5.0),
            ("lookalike", 5.0, 6.0),
            ("lookalike", 102.0, 110.0),
        ]

    async def test_a_job_was_done_when_its_killed_run_had_downloaded_the_file(self, path: Path):
        async with Journal.open(path) as journal:
            batch_log = await journal.batch_log()
            record_progress(batch_log, 0.0, 0.0, ended=False)
            job_log = await open_job_log(journal, "42", "Donors")
            await record_intent(job_log, Stage.MATCH, 1.0)
            await record_result(job_log, Stage.DOWNLOAD, 9.0, export_id="a", cost_cents=30)
            record_progress(batch_log, 0.0, 50.0, ended=False)
            record_outcome(job_log, 103.0, 2.0, timings={"match": 2.0}, stage="match")
            record_progress(batch_log, 100.0, 104.0, ended=True)
        history, statistics = await read(path)
        assert (statistics.done, history.jobs[0].ended_at, statistics.half_done_seconds) == (1, STARTED_AT + 9.0, 9.0)
        assert await spans_of(path) == [("match", 1.0, 9.0), ("download", 9.0, 9.0)]


async def test_a_run_is_running_as_long_as_its_process_lives(command_line: RunCommand, tmp_path: Path):
    manifest = write_manifest(tmp_path, 5)
    journal, html = tmp_path / "jobs.yaml.journal", tmp_path / "report.html"
    async with Sandbox(lite=True, speed=2_000.0) as sandbox:
        slow = Fault(
            kind=FaultKind.DELAY_AFTER, endpoint="POST /purchase_csv_export", times=None, skip_first=1, delay=60.0
        )
        sandbox.faults.add(slow)

        async def read_reports() -> tuple[str, dict[str, object], str]:
            """The report as text, JSON and HTML."""
            as_text = await command_line(sandbox, "report", journal)
            as_json = await command_line(sandbox, "report", journal, "--json")
            await command_line(sandbox, "report", journal, "--html", html)
            return " ".join(as_text.stdout.split()), json.loads(as_json.stdout), await anyio.Path(html).read_text()

        run = command("run", manifest, "--poll-interval", "0.02")
        with anyio.fail_after(120):
            async with await anyio.open_process(run, env=environment_for(sandbox)) as process:
                try:
                    while sandbox.counts().purchases < 5:
                        assert process.returncode is None
                        await anyio.sleep(0.01)
                    summary, document, page = await read_reports()
                    assert process.returncode is None
                finally:
                    process.kill()
        assert (document["state"], document["killed_runs"], document["unfinished"]) == ("running", 0, 4)
        assert "jobs.yaml.journal running" in summary
        assert 'class="state running"' in page
        assert "The last run was killed" not in summary + page
        summary, document, page = await read_reports()
        assert (document["state"], document["killed_runs"], document["unfinished"]) == ("killed", 1, 4)
        assert "jobs.yaml.journal killed" in summary
        assert 'class="state killed"' in page
        for text in (summary, page):
            assert "The last run was killed" in text
            assert "in progress" not in text
        assert "running" not in summary
        assert 'class="state running"' not in page
        sandbox.faults.clear()
        await command_line(sandbox, "run", manifest, "--poll-interval", "0.02")
        summary, document, page = await read_reports()
    assert (document["state"], document["killed_runs"], document["done"]) == ("finished", 1, 5)
    assert "The last run was killed" not in summary + page
