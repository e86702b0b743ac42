"""The report of real batches, and of journals with chosen times."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import pytest

from indigo_async import ColumnSelection, ColumnSelections, IndigoClient, RetryPolicy
from indigo_async.cli.render.advice import advice_for
from indigo_async.cli.report.charts import build_occupancy_chart
from indigo_async.cli.report.formatting import format_duration, format_percent
from indigo_async.cli.report.history import BatchHistory, build_history
from indigo_async.cli.report.html import render_page
from indigo_async.cli.report.statistics import BatchStatistics, compute_statistics
from indigo_async.cli.report.timeline import build_time_series, measure_active_time
from indigo_async.sandbox import Fault, FaultKind, Sandbox
from indigo_async.workflows import AudienceJob, ExportStep, LookalikeStep, Stage, run_batch
from indigo_async.workflows.journal import Journal
from tests.support.command_line import RunCommand
from tests.support.journals import (
    STARTED_AT,
    hostile_journal,
    open_job_log,
    record_intent,
    record_outcome,
    record_progress,
    record_result,
    spent_cents,
)

COLUMNS = ColumnSelections(first_name=ColumnSelection("First", required=True))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run.sqlite"


async def read(path: Path, *, in_use: bool = False) -> tuple[BatchHistory, BatchStatistics]:
    history = await asyncio.to_thread(lambda: build_history(path))
    return history, compute_statistics(history, in_use=in_use)


async def run_some(folder: Path, path: Path, *, count: int = 12, budget_cents: int = 10**9) -> dict[str, Any]:
    """Run a real batch in which one match fails, and return the batch's own report."""
    async with Sandbox(lite=True, speed=2_000.0) as sandbox:
        sandbox.faults.add(Fault(kind=FaultKind.STAGE_FAILS, endpoint="POST /match_uploaded_csv", times=1))
        retry = RetryPolicy(attempts=6, wait_initial=0.001, wait_max=0.01)
        options = {"base_url": sandbox.base_url, "retry": retry, "poll_interval": 0.02}
        async with IndigoClient(sandbox.token, **options) as client:
            jobs = [
                AudienceJob(
                    customer_id=f"customer-{number % 3}",
                    audience_name=f"List {number}",
                    csv=f"https://files.example.org/{number}.csv",
                    column_selections=COLUMNS,
                    lookalike=LookalikeStep(audience_name=f"List {number}, grown", size=2_000),
                    export=ExportStep(
                        destination=folder / f"{number}.csv", optional_field_types=["phone"], max_cost_cents=10**6
                    ),
                )
                for number in range(count)
            ]
            done = await run_batch(client, jobs, journal=path, budget_cents=budget_cents)
            return done.to_json()


class TestRealBatch:
    async def test_it_agrees_with_the_batchs_own_report(self, tmp_path: Path, path: Path):
        batch = await run_some(tmp_path, path)
        history, statistics = await read(path)
        assert (statistics.state, statistics.runs) == ("finished", 1)
        assert (statistics.jobs, statistics.done, statistics.failed, statistics.unfinished) == (12, 11, 1, 0)
        assert statistics.spent_cents == batch["spent_cents"] > 0
        assert statistics.quoted_cents == batch["quoted_cents"]
        assert statistics.budget_cents == 10**9
        assert statistics.requests is not None
        assert statistics.requests.by_endpoint == batch["requests"]
        assert statistics.requests.reads_saved == batch["reads_saved"]
        assert statistics.requests.posts + statistics.requests.reads == sum(batch["requests"].values())
        assert {stage.stage for stage in statistics.stages} == set(Stage)
        assert statistics.matches is not None
        assert statistics.matches.matched / statistics.matches.rows == 0.75
        assert sum(statistics.matches.rate_histogram) == statistics.matches.lists
        assert sum(totals.jobs for _, totals in statistics.customers) == 12
        assert sum(totals.spent_cents for _, totals in statistics.customers) == batch["spent_cents"]
        assert [(failed.kind.error_type, failed.kind.stage, len(failed.jobs)) for failed in statistics.failures] == [
            ("AudienceFailedError", "match", 1)
        ]
        assert all(job.ended_at is not None for job in history.jobs)

    async def test_the_command_prints_text_or_json_or_writes_a_page(
        self, command_line: RunCommand, tmp_path: Path, path: Path
    ):
        batch = await run_some(tmp_path, path)
        result = await command_line(None, "report", path)
        assert result.exit_code == 0, result.stderr
        assert "11 done, 1 failed" in result.stdout
        assert f"${batch['spent_cents'] / 100:,.2f} spent" in result.stdout
        assert "1 x AudienceFailedError at match" in result.stdout
        assert advice_for("AudienceFailedError")[:40] in result.stdout
        as_json = await command_line(None, "report", path, "--json")
        document = json.loads(as_json.stdout)
        assert (document["done"], document["failed"]) == (11, 1)
        assert document["failures"][0]["advice"] == advice_for("AudienceFailedError")
        html = tmp_path / "report.html"
        paged = await command_line(None, "report", path, "--html", html)
        assert paged.exit_code == 0, paged.stderr
        assert html.stat().st_mode & 0o777 == 0o600
        assert "List 11" in html.read_text()
        assert str(html) in paged.stderr

    async def test_a_missing_journal_is_an_error(self, command_line: RunCommand, tmp_path: Path):
        result = await command_line(None, "report", str(tmp_path / "none.sqlite"))
        assert result.exit_code == 2
        assert "does not exist" in result.stderr
        assert "Traceback" not in result.stderr
        assert list(tmp_path.iterdir()) == []

    async def test_a_manifest_given_by_mistake_suggests_its_journal(self, command_line: RunCommand, tmp_path: Path):
        manifest = tmp_path / "jobs.yaml"
        for exists in (False, True):
            if exists:
                manifest.write_text("jobs: []\n")
                async with Journal.open(tmp_path / "jobs.yaml.journal"):
                    pass
            result = await command_line(None, "report", manifest)
            assert result.exit_code == 2
            assert (f"did you mean {manifest}.journal?" in result.stderr) == exists
            assert "damaged" not in result.stderr

    async def test_a_page_that_cannot_be_written_leaves_nothing(
        self, command_line: RunCommand, tmp_path: Path, path: Path
    ):
        async with Journal.open(path):
            pass
        result = await command_line(None, "report", path, "--html", str(tmp_path / "nowhere" / "report.html"))
        assert result.exit_code == 2
        assert "nowhere" in result.stderr
        assert {file.name for file in tmp_path.iterdir()} == {"run.sqlite", "run.sqlite.lock", "run.sqlite.rows"}

    @pytest.mark.parametrize("suffix", ["", ".lock", ".rows", "-wal", "-shm"])
    async def test_the_journals_files_are_never_replaced(self, command_line: RunCommand, path: Path, suffix: str):
        async with Journal.open(path) as journal:
            await record_result(await open_job_log(journal, "42", "Donors"), Stage.MATCH, 1.0, audience_id="a")
        link = path.with_name("link.html")
        link.symlink_to(path.name + suffix)
        before = {file.name: file.read_bytes() for file in path.parent.iterdir() if file.is_file()}
        for place in (path.with_name(path.name + suffix), link):
            result = await command_line(None, "report", path, "--html", place)
            assert result.exit_code == 2
            assert f"--html: {place} belongs to the journal" in result.stderr
        assert {file.name: file.read_bytes() for file in path.parent.iterdir() if file.is_file()} == before

    async def test_only_an_older_page_is_replaced(self, command_line: RunCommand, tmp_path: Path, path: Path):
        async with Journal.open(path):
            pass
        page_before, other = tmp_path / "report.html", tmp_path / "jobs.yaml"
        page_before.write_text("<!DOCTYPE HTML>\n<p>an older page</p>")
        other.write_text("jobs: []\n")
        for place in (other, tmp_path):
            result = await command_line(None, "report", path, "--html", place)
            assert result.exit_code == 2
            assert f"{place} exists and is not an HTML page, so it is not overwritten" in result.stderr
        assert other.read_text() == "jobs: []\n"
        for _ in range(2):
            assert (await command_line(None, "report", path, "--html", page_before)).exit_code == 0
        assert "no jobs yet" in page_before.read_text()


class TestHistory:
    async def test_stages_follow_each_other_and_the_failed_one_gets_the_remaining_time(self, path: Path):
        async with Journal.open(path) as journal:
            job_log = await open_job_log(journal, "42", "Donors")
            error = {"type": "WaitTimeoutError", "message": "not done"}
            record_outcome(job_log, 20.0, 15.0, timings={"upload": 3.0, "match": 4.0}, stage="lookalike", error=error)
        history, statistics = await read(path)
        spans = [
            (span.stage, span.started_at - STARTED_AT, span.ended_at - STARTED_AT) for span in history.jobs[0].spans
        ]
        assert spans == [("upload", 5.0, 8.0), ("match", 8.0, 12.0), ("lookalike", 12.0, 20.0)]
        assert history.jobs[0].state == "failed"
        assert statistics.failures[0].kind.advice == advice_for("WaitTimeoutError")

    async def test_the_last_outcome_counts_and_earlier_facts_stay_known(self, path: Path):
        async with Journal.open(path) as journal:
            job_log = await open_job_log(journal, "42", "Donors")
            error = {"type": "ServerError", "message": "500"}
            record_outcome(job_log, 10.0, 10.0, error=error, stage="preview", match=[5, 10], lookalike_size=300)
            record_outcome(job_log, 500.0, 1.0)
        history, statistics = await read(path)
        assert (statistics.done, statistics.failed) == (1, 0)
        assert (history.jobs[0].matched, history.jobs[0].rows, history.jobs[0].lookalike_size) == (5, 10, 300)

    async def test_a_job_of_a_killed_run_is_unfinished_with_the_stages_in_its_rows(self, path: Path):
        async with Journal.open(path) as journal:
            batch_log = await journal.batch_log()
            record_progress(batch_log, 0.0, 0.0, ended=False)
            job_log = await open_job_log(journal, "42", "Donors")
            await record_intent(job_log, Stage.UPLOAD, 1.0)
            await record_result(job_log, Stage.UPLOAD, 2.0, audience_id="a")
            await record_intent(job_log, Stage.MATCH, 5.0)
            record_progress(batch_log, 0.0, 20.0, ended=False)
        history, statistics = await read(path)
        assert (statistics.state, statistics.unfinished) == ("killed", 1)
        spans = [
            (span.stage, span.started_at - STARTED_AT, span.ended_at - STARTED_AT) for span in history.jobs[0].spans
        ]
        assert spans == [("upload", 1.0, 5.0), ("match", 5.0, 20.0)]
        _, statistics = await read(path, in_use=True)
        assert statistics.state == "running"

    async def test_stages_of_a_killed_run_stay_beside_the_next_run(self, path: Path):
        async with Journal.open(path) as journal:
            job_log = await open_job_log(journal, "42", "Donors")
            await record_intent(job_log, Stage.UPLOAD, 1.0)
            await record_result(job_log, Stage.UPLOAD, 2.0, audience_id="a")
            record_outcome(job_log, 1_000.0, 10.0, timings={"match": 10.0})
        history, _ = await read(path)
        spans = [
            (span.stage, span.started_at - STARTED_AT, span.ended_at - STARTED_AT) for span in history.jobs[0].spans
        ]
        assert spans == [("upload", 1.0, 2.0), ("match", 990.0, 1_000.0)]

    async def test_purchases_are_counted_as_the_budget_counts_them(self, path: Path):
        async with Journal.open(path) as journal:
            purchased = await open_job_log(journal, "42", "Purchased")
            await record_intent(purchased, Stage.PURCHASE, 1.0, export_id="a", cost_cents=500)
            await record_result(purchased, Stage.PURCHASE, 2.0, export_id="a", cost_cents=500)
            unknown = await open_job_log(journal, "42", "Unknown")
            await record_intent(unknown, Stage.PURCHASE, 1.0, export_id="b", cost_cents=70)
            spent = await spent_cents(journal)
        _, statistics = await read(path)
        assert (statistics.spent_cents, statistics.unresolved_cents) == (500, 70)
        assert spent == 570

    async def test_a_downloaded_export_was_purchased_by_the_killed_run(self, path: Path):
        async with Journal.open(path) as journal:
            for name in ("Downloaded", "Unknown"):
                job_log = await open_job_log(journal, "42", name)
                await record_intent(job_log, Stage.PURCHASE, 1.0, export_id=name, cost_cents=500)
            job_log = await open_job_log(journal, "42", "Downloaded")
            await record_result(job_log, Stage.DOWNLOAD, 9.0, export_id="Downloaded", cost_cents=None)
            record_outcome(job_log, 9.0, 2.0)
        history, statistics = await read(path)
        assert (statistics.spent_cents, statistics.unresolved_cents) == (500, 500)
        assert [totals.spent_cents for _, totals in statistics.customers] == [500]
        text = await asyncio.to_thread(render_page, "run.sqlite", history, statistics)
        assert "$5.00 more in purchases that the next run will check" in text

    async def test_killed_runs_and_changed_budgets_are_shown(self, command_line: RunCommand, path: Path):
        async with Journal.open(path) as journal:
            batch_log = await journal.batch_log()
            record_progress(batch_log, 0.0, 10.0, ended=False, requests={"GET /audience": 3})
            record_progress(batch_log, 100.0, 110.0, ended=True, requests={"GET /audience": 4}, budget_cents=700)
        history, statistics = await read(path)
        assert (statistics.killed_runs, statistics.budget_cents, statistics.budget_changed) == (1, 700, True)
        summary = " ".join((await command_line(None, "report", path)).stdout.split())
        assert "the last run's budget $7.00" in summary
        assert "at least 0 POSTs, 7 reads" in summary
        text = await asyncio.to_thread(render_page, "run.sqlite", history, statistics)
        assert "of the last run&#39;s budget of $7.00" in text
        assert "The last requests of 1 killed run were not counted" in text

    async def test_a_rejected_job_counts_once_and_not_once_a_later_run_accepts_it(self, path: Path):
        error = {"type": "JournalMismatchError", "message": "other inputs"}
        async with Journal.open(path) as journal:
            batch_log = await journal.batch_log()
            for run in (0.0, 100.0):
                for name in ("Still", "Fixed", "Twice"):
                    names = {"customer_id": "42", "audience_name": name}
                    record_outcome(batch_log, run + 1.0, 1.0, error=error, stage="upload", **names)
                record_progress(batch_log, run, run + 50.0, ended=True)
            record_outcome(
                await open_job_log(journal, "42", "Twice"), 140.0, 1.0
            )  # in the run that rejected it the second time
            record_outcome(await open_job_log(journal, "42", "Fixed"), 205.0, 1.0)
            record_progress(batch_log, 200.0, 250.0, ended=True)
        history, statistics = await read(path)
        assert [job.audience_name for job in history.rejected] == ["Still", "Twice"]
        assert [job.ended_at for job in history.rejected] == [STARTED_AT + 101.0] * 2
        assert (statistics.jobs, statistics.done, statistics.failed) == (4, 2, 2)

    async def test_a_journal_without_outcomes_is_summarized_from_its_rows(self, path: Path):
        async with Journal.open(path) as journal:
            job_log = await open_job_log(journal, "42", "Donors")
            await record_result(job_log, Stage.MATCH, 1.0, audience_id="a")
            await record_result(job_log, Stage.DOWNLOAD, 9.0, export_id="a", cost_cents=30)
            await record_result(await open_job_log(journal, "42", "Voters"), Stage.MATCH, 2.0, audience_id="b")
        _, statistics = await read(path)
        assert (statistics.state, statistics.done, statistics.unfinished) == ("unknown", 1, 1)
        assert statistics.requests is None

    async def test_an_empty_journal_makes_an_empty_report(self, command_line: RunCommand, path: Path):
        async with Journal.open(path):
            pass
        history, statistics = await read(path)
        assert (statistics.jobs, statistics.runs) == (0, 0)
        assert "no jobs yet" in await asyncio.to_thread(render_page, "run.sqlite", history, statistics)
        assert (await command_line(None, "report", path)).exit_code == 0


class TestTime:
    async def test_pauses_are_left_out(self, path: Path):
        async with Journal.open(path) as journal:
            record_outcome(await open_job_log(journal, "42", "Donors"), 100.0, 100.0, timings={"upload": 100.0})
            record_outcome(await open_job_log(journal, "42", "Voters"), 100_000.0, 50.0, timings={"upload": 50.0})
        history, statistics = await read(path)
        active_time = measure_active_time(history)
        assert statistics.active_seconds == pytest.approx(150.0)
        assert [(pause.active_seconds, pause.seconds) for pause in active_time.pauses] == [
            (pytest.approx(100.0), pytest.approx(99_850.0))
        ]
        assert active_time.seconds_until(STARTED_AT + 99_975.0) == pytest.approx(125.0)

    async def test_time_between_runs_is_not_counted_and_a_job_counts_once_per_stage(self, path: Path):
        async with Journal.open(path) as journal:
            batch_log = await journal.batch_log()
            job_log = await open_job_log(journal, "42", "Donors")
            record_progress(batch_log, 0.0, 0.0, ended=False)
            await record_intent(job_log, Stage.UPLOAD, 1.0)
            await record_intent(job_log, Stage.MATCH, 4.0)
            record_progress(batch_log, 0.0, 10.0, ended=True)  # interrupted
            await record_result(
                job_log, Stage.MATCH, 163.0, audience_id="a"
            )  # progress may be recorded after such rows
            record_progress(batch_log, 160.0, 160.0, ended=False)
            await record_intent(job_log, Stage.LOOKALIKE, 165.0)  # and then killed
            record_outcome(job_log, 505.0, 5.0, timings={"match": 1.0, "lookalike": 4.0})
            record_progress(batch_log, 500.0, 505.0, ended=True)
        history, statistics = await read(path)
        assert [(run.started_at - STARTED_AT, run.last_written_at - STARTED_AT) for run in history.runs] == [
            (0.0, 10.0),
            (160.0, 165.0),
            (500.0, 505.0),
        ]
        assert statistics.active_seconds == pytest.approx(20.0)
        stages = {stage.stage: (stage.jobs, stage.longest_seconds) for stage in statistics.stages}
        assert stages == {
            "upload": (1, pytest.approx(3.0)),
            "match": (1, pytest.approx(6.0 + 5.0)),  # until the lookalike started; after that it was only checked
            "lookalike": (1, pytest.approx(4.0)),
        }
        active_time = measure_active_time(history)
        assert [(pause.active_seconds, pause.seconds) for pause in active_time.pauses] == [
            (pytest.approx(10.0), pytest.approx(150.0)),
            (pytest.approx(15.0), pytest.approx(335.0)),
        ]
        series = build_time_series(history, active_time)
        width = series.seconds / len(series.occupancy["match"])
        assert sum(series.occupancy["match"]) * width == pytest.approx(11.0)

    async def test_the_areas_equal_the_time_that_jobs_spent(self, path: Path):
        async with Journal.open(path) as journal:
            for number in range(7):
                job_log = await open_job_log(journal, "42", f"List {number}")
                timings = {"upload": 3.0 + number, "match": 0.01, "preview": 11.0}
                record_outcome(job_log, 30.0 + number, 14.01 + number, timings=timings)
        history, _ = await read(path)
        series = build_time_series(history, measure_active_time(history))
        width = series.seconds / len(series.occupancy["upload"])
        spent = {stage: sum(counts) * width for stage, counts in series.occupancy.items()}
        assert spent["upload"] == pytest.approx(sum(3.0 + number for number in range(7)))
        assert spent["match"] == pytest.approx(0.07)
        assert spent["preview"] == pytest.approx(77.0)
        assert sum(series.done) == 7
        chart = build_occupancy_chart(series, ())
        assert [area.kind for area in chart.areas] == ["upload", "match", "preview"]
        heights = [float(y) for area in chart.areas for y in re.findall(r" (-?[\d.]+)", area.path)]
        assert chart.top <= min(heights) <= max(heights) <= chart.bottom

    @pytest.mark.parametrize(
        ("seconds", "expected"),
        [
            (0.0, "0 s"),
            (0.123, "0.12 s"),
            (9.96, "10 s"),
            (59.6, "1 min"),
            (72, "1 min 12 s"),
            (3_600, "1 h"),
            (7_500, "2 h 5 min"),
            (273_600, "3 d 4 h"),
        ],
    )
    def test_format_duration(self, seconds: float, expected: str):
        assert format_duration(seconds) == expected

    @pytest.mark.parametrize(
        ("part", "expected"),
        [
            (0.0, "0%"),
            (1.0, "100%"),
            (0.9999, "over 99.9%"),
            (0.0001, "under 0.1%"),
            (0.45, "45%"),
            (0.958, "95.8%"),
        ],
    )
    def test_format_percent(self, part: float, expected: str):
        assert format_percent(part) == expected


HOSTILE = [
    "</script><img src=x onerror=alert(1)>",
    "../../x",
    "\N{RIGHT-TO-LEFT OVERRIDE}gpj.exe",
    "{{ 7 * 7 }}",
    "\x1b[31mred\x07",
    '"><svg onload=alert(1)>',
    "<!--<script>",
]


async def test_hostile_names_are_escaped_in_the_page_and_harmless_in_a_terminal(command_line: RunCommand, path: Path):
    await hostile_journal(path, HOSTILE)
    history, statistics = await read(path)
    text = await asyncio.to_thread(render_page, HOSTILE[0], history, statistics)
    assert len(re.findall("<script", text)) == len(re.findall("</script>", text)) == 2
    assert "<img" not in text
    assert "<svg onload" not in text
    assert "<!--" not in text
    assert "49" not in re.findall(r"<bdi>(.*?)</bdi>", text)
    summary = (await command_line(None, "report", path)).stdout
    assert "\x1b" not in summary
    assert "\N{RIGHT-TO-LEFT OVERRIDE}" not in summary
    assert "{{ 7 * 7 }}" in summary


async def test_a_page_of_many_jobs_is_a_few_megabytes_and_has_all_failures(path: Path):
    async with Journal.open(path) as journal:
        job_logs = await asyncio.gather(
            *(
                open_job_log(journal, f"customer-{number % 500}", f"A list of members, number {number}")
                for number in range(21_000)
            )
        )
        for number, job_log in enumerate(job_logs):
            error = {"type": "ServerError", "message": "500"} if number % 1_000 == 0 else None
            timings = {"upload": 20.0, "match": 40.0, "lookalike": 60.0, "preview": 1.0, "purchase": 1.0}
            record_outcome(job_log, 130.0 + number / 100, 122.0, timings=timings, error=error, stage="download")
    history, statistics = await read(path)
    text = await asyncio.to_thread(render_page, "run.sqlite", history, statistics)
    assert len(text) < 5_000_000
    drawn = json.loads(re.findall(r'id="data">(.*?)</script>', text, re.DOTALL)[0])
    assert (len(drawn["jobs"]), drawn["total"]) == (20_000, 21_000)
    assert sum(row[2] == 1 for row in drawn["jobs"]) == statistics.failed == 21
    starts = [row[6] for row in drawn["jobs"]]
    assert starts == sorted(starts)
