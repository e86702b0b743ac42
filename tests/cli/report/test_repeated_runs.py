"""What the report says of a batch that was run several times."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import anyio
import pytest

from indigo_async import ColumnSelection, ColumnSelections, IndigoClient
from indigo_async.cli.report.history import BatchHistory, build_history
from indigo_async.cli.report.series import build_time_series
from indigo_async.cli.report.statistics import BatchStatistics, compute_statistics
from indigo_async.cli.report.timescale import measure_active_time
from indigo_async.sandbox import Fault, FaultKind, Sandbox
from indigo_async.workflows import AudienceJob, ExportStep, LookalikeStep, Stage, run_batch
from indigo_async.workflows.journal import Journal, read_records
from tests.support.journals import (
    STARTED_AT,
    open_job_log,
    record_intent,
    record_outcome,
    record_progress,
    record_result,
)
from tests.support.processes.commands import command, environment_for, run_command, write_manifest

FAILED = {"type": "WaitTimeoutError", "message": "not done"}
LOOKED = {"match": 1.5, "lookalike": 1.5}
"""What a run takes that finds all done."""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run.sqlite"


async def read(path: Path) -> tuple[BatchHistory, BatchStatistics]:
    history = await asyncio.to_thread(lambda: build_history(read_records(path)))
    return history, compute_statistics(history, in_use=False)


def longest(figures: BatchStatistics) -> dict[str, float]:
    return {stage.stage: pytest.approx(stage.longest_seconds) for stage in figures.stages}


async def spans_of(path: Path) -> list[tuple[str, float, float]]:
    """The spans of the one job in a journal, in seconds since the beginning."""
    history, _ = await read(path)
    return [(span.stage, span.began - STARTED_AT, span.ended - STARTED_AT) for span in history.jobs[0].spans]


class TestABatchThatIsDone:
    async def test_running_it_again_changes_no_times(self, tmp_path: Path, path: Path):
        jobs = [
            AudienceJob(
                customer_id="42",
                audience_name=f"List {number}",
                csv=f"https://files.example.org/{number}.csv",
                column_selections=ColumnSelections(first_name=ColumnSelection("First", required=True)),
                lookalike=LookalikeStep(audience_name=f"List {number}, grown", size=2_000),
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
            for purchase in (False, True, True, False):  # priced, bought, and looked at twice
                await run_batch(client, jobs, journal=path, budget_cents=10**9, purchase=purchase)
                history, figures = await read(path)
                seen.append(figures)
                ends.append([one.ended for one in history.jobs])
        priced, bought, again, last = seen
        assert [figures.done for figures in seen] == [5] * 4
        assert [stage.stage for stage in priced.stages] == ["upload", "match", "lookalike", "preview"]
        assert [stage.stage for stage in bought.stages] == list(Stage)
        assert bought.stages[:4] == priced.stages
        assert last.stages == again.stages == bought.stages
        assert last.half_done_seconds == again.half_done_seconds == bought.half_done_seconds
        assert ends[3] == ends[2] == ends[1]
        assert all(end > before for end, before in zip(ends[1], ends[0], strict=True) if end and before)
        assert last.runs == 4

    async def test_each_job_ends_with_the_run_that_did_it(self, path: Path):
        async with Journal.open(path) as journal:
            own = await journal.batch_log()
            memories = [await open_job_log(journal, "42", f"List {number}") for number in range(3)]
            for number, memory in enumerate(memories):
                record_outcome(memory, 16.0 + number, 12.0, timings={"match": 6.0, "lookalike": 5.8})
            record_progress(own, 0.0, 20.0, ended=True)
        once = await read(path)
        async with Journal.open(path) as journal:
            own = await journal.batch_log()
            memories = [await open_job_log(journal, "42", f"List {number}") for number in range(3)]
            for run in (100.0, 200.0, 300.0):
                for memory in memories:
                    record_outcome(memory, run + 4.0, 3.0, timings=LOOKED, stage="lookalike")
                record_progress(own, run, run + 5.0, ended=True)
        history, figures = await read(path)
        assert figures.stages == once[1].stages
        assert longest(figures) == {"match": 6.0, "lookalike": 5.8}
        assert figures.half_done_seconds == once[1].half_done_seconds == pytest.approx(17.0)
        assert history.jobs == once[0].jobs
        assert (figures.runs, figures.active_seconds) == (4, pytest.approx(35.0))
        series = build_time_series(history, measure_active_time(history))
        assert sum(series.done[: len(series.done) * 20 // 35]) == 3
        assert {waits.stage: pytest.approx(waits.longest_seconds) for waits in series.durations} == {
            "match": 6.0,
            "lookalike": 5.8,
        }

    async def test_a_run_that_finds_it_wanting_fails_it_and_counts_no_more_once_all_is_well(self, path: Path):
        async with Journal.open(path) as journal:
            memory = await open_job_log(journal, "42", "Donors")
            record_outcome(memory, 10.0, 10.0, timings={"match": 6.0, "lookalike": 4.0})
            record_outcome(memory, 115.0, 15.0, timings={"match": 1.0}, stage="lookalike", error=FAILED)
        failed, figures = await read(path)
        async with Journal.open(path) as journal:
            memory = await open_job_log(journal, "42", "Donors")
            record_outcome(memory, 203.0, 3.0, timings=LOOKED, stage="lookalike")
        assert (figures.failed, failed.jobs[0].ended) == (1, STARTED_AT + 115.0)
        assert failed.jobs[0].spans[-1].ended == STARTED_AT + 115.0
        history, figures = await read(path)
        assert (figures.done, history.jobs[0].ended) == (1, STARTED_AT + 10.0)
        assert await spans_of(path) == [("match", 0.0, 6.0), ("lookalike", 6.0, 10.0)]

    async def test_a_file_that_is_downloaded_anew_changes_no_times(self, path: Path):
        async with Journal.open(path) as journal:
            memory = await open_job_log(journal, "42", "Donors")
            await record_result(memory, Stage.DOWNLOAD, 9.9, export_id="a", cost_cents=30)
            record_outcome(memory, 10.0, 10.0, timings={"match": 6.0, "download": 4.0})
            await record_result(memory, Stage.DOWNLOAD, 109.0, export_id="a", cost_cents=30)
        killed = await read(path)
        async with Journal.open(path) as journal:
            memory = await open_job_log(journal, "42", "Donors")
            await record_result(memory, Stage.DOWNLOAD, 209.0, export_id="a", cost_cents=30)
            record_outcome(memory, 209.1, 5.0, timings={"match": 1.0, "download": 4.0})
        for history, figures in (killed, await read(path)):
            assert (figures.done, history.jobs[0].ended) == (1, STARTED_AT + 10.0)
            assert longest(figures) == {"match": 6.0, "download": 4.0}


class TestAJobThatALaterRunDid:
    async def test_a_stage_counts_in_all_runs_until_it_is_finished(self, path: Path):
        async with Journal.open(path) as journal:
            memory = await open_job_log(journal, "42", "Donors")
            record_outcome(memory, 10.0, 10.0, timings={"match": 6.0}, stage="lookalike", error=FAILED)
            record_outcome(memory, 105.0, 5.0, timings={"match": 1.0}, stage="lookalike", error=FAILED)
            record_outcome(memory, 209.0, 9.0, timings={"match": 1.0, "lookalike": 7.5, "preview": 0.5})
            record_outcome(memory, 303.0, 3.0, timings=LOOKED, stage="lookalike")
        history, figures = await read(path)
        assert history.jobs[0].ended == STARTED_AT + 209.0
        assert longest(figures) == {"match": 6.0, "lookalike": 4.0 + 4.0 + 7.5, "preview": 0.5}
        assert await spans_of(path) == [
            ("match", 0.0, 6.0),
            ("lookalike", 6.0, 10.0),
            ("lookalike", 101.0, 105.0),
            ("lookalike", 201.0, 208.5),
            ("preview", 208.5, 209.0),
        ]

    async def test_what_a_killed_run_finished_is_only_looked_at_again(self, path: Path):
        async with Journal.open(path) as journal:
            memory = await open_job_log(journal, "42", "Donors")
            await record_intent(memory, Stage.MATCH, 1.0)
            await record_intent(memory, Stage.LOOKALIKE, 5.0)
            await record_result(memory, Stage.LOOKALIKE, 6.0, audience_id="b")
            record_outcome(memory, 110.0, 9.0, timings={"match": 1.0, "lookalike": 8.0})
        assert await spans_of(path) == [
            ("match", 1.0, 5.0),
            ("lookalike", 5.0, 6.0),
            ("lookalike", 102.0, 110.0),
        ]

    async def test_a_job_was_done_when_its_killed_run_had_the_file(self, path: Path):
        async with Journal.open(path) as journal:
            own = await journal.batch_log()
            record_progress(own, 0.0, 0.0, ended=False)
            memory = await open_job_log(journal, "42", "Donors")
            await record_intent(memory, Stage.MATCH, 1.0)
            await record_result(memory, Stage.DOWNLOAD, 9.0, export_id="a", cost_cents=30)
            record_progress(own, 0.0, 50.0, ended=False)
            record_outcome(memory, 103.0, 2.0, timings={"match": 2.0}, stage="match")
            record_progress(own, 100.0, 104.0, ended=True)
        history, figures = await read(path)
        assert (figures.done, history.jobs[0].ended, figures.half_done_seconds) == (1, STARTED_AT + 9.0, 9.0)
        assert await spans_of(path) == [("match", 1.0, 9.0), ("download", 9.0, 9.0)]


async def test_a_run_is_under_way_for_as_long_as_its_process_lives(tmp_path: Path):
    manifest = write_manifest(tmp_path, 5)
    journal, html = tmp_path / "jobs.yaml.journal", tmp_path / "report.html"
    async with Sandbox(lite=True, speed=2_000.0) as sandbox:
        slow = Fault(
            kind=FaultKind.DELAY_AFTER, endpoint="POST /purchase_csv_export", times=None, skip_first=1, delay=60.0
        )
        sandbox.faults.add(slow)

        async def told() -> tuple[str, dict[str, object], str]:
            """The report in words, as JSON, and as a page."""
            words = await run_command(sandbox, "report", journal)
            as_json = await run_command(sandbox, "report", journal, "--json")
            await run_command(sandbox, "report", journal, "--html", html)
            return " ".join(words.stdout.split()), json.loads(as_json.stdout), await anyio.Path(html).read_text()

        run = command("run", manifest, "--poll-interval", "0.02")
        with anyio.fail_after(120):
            async with await anyio.open_process(run, env=environment_for(sandbox)) as process:
                try:
                    while sandbox.counts().purchases < 5:
                        assert process.returncode is None
                        await anyio.sleep(0.01)
                    words, document, page = await told()
                    assert process.returncode is None
                finally:
                    process.kill()
        assert (document["state"], document["cut_off_runs"], document["open"]) == ("under way", 0, 4)
        assert "jobs.yaml.journal under way" in words
        assert 'class="state under-way"' in page
        assert "cut off:" not in words + page
        words, document, page = await told()
        assert (document["state"], document["cut_off_runs"], document["open"]) == ("cut off", 1, 4)
        assert "jobs.yaml.journal cut off" in words
        assert 'class="state cut-off"' in page
        for text in (words, page):
            assert "The last run was cut off" in text
            assert "under way" not in text
        sandbox.faults.clear()
        await run_command(sandbox, "run", manifest, "--poll-interval", "0.02")
        words, document, page = await told()
    assert (document["state"], document["cut_off_runs"], document["done"]) == ("ended", 1, 5)
    assert "The last run was cut off" not in words + page
