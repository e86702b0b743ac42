from __future__ import annotations

import asyncio
import io
import xml.etree.ElementTree as ET
from collections import Counter
from pathlib import Path

import attrs
import pytest
from rich.console import Console

from indigo_async.cli.progress.display import format_progress, render_progress, render_svg, show_progress
from indigo_async.cli.progress.tracker import ProgressSnapshot, ProgressTracker, StageCount, planned_stages
from indigo_async.cli.render.output import Output
from indigo_async.errors import BudgetExceededError
from indigo_async.workflows import (
    AudienceJob,
    BatchReport,
    ExportPriced,
    ExportStep,
    JobOutcome,
    LookalikeStep,
    Stage,
    StageFailed,
    StageFinished,
    StageStarted,
)

WHOLE = tuple(Stage)


def job(number: int = 0, *, lookalike: bool = True, export: bool = True) -> AudienceJob:
    return AudienceJob(
        customer_id="42",
        audience_name=f"List {number}",
        csv="https://files.example.org/people.csv",
        column_selections={},
        lookalike=LookalikeStep(audience_name="Grown", size=5) if lookalike else None,
        export=ExportStep(destination=Path("out.csv")) if export else None,
    )


def report(**numbers: object) -> BatchReport:
    values: dict[str, object] = {
        "done": 0,
        "failed": 0,
        "failed_by_stage": {},
        "failed_by_error": {},
        "failures": (),
        "stopped": None,
        "quoted_cents": 0,
        "spent_cents": 0,
        "unresolved_cents": 0,
        "budget_cents": None,
        "lost_uploads": 0,
        "requests": {},
        "failed_requests": {},
        "reads_saved": 0,
        "stages": {},
        "seconds": 0.0,
    }
    return BatchReport(**values | numbers)  # type: ignore[arg-type]


def progress_of(jobs: int) -> ProgressTracker:
    return ProgressTracker(name="jobs.yaml", total=jobs, purchase=True, planned=Counter(dict.fromkeys(Stage, jobs)))


def emit_to(progress: ProgressTracker, number: int, *stages: Stage, then: Stage | None = None) -> None:
    """Tell that a job finished some stages, and is in another."""
    names = {"customer_id": "42", "audience_name": f"List {number}"}
    for stage in stages:
        progress.on_event(StageStarted(**names, stage=stage))
        progress.on_event(StageFinished(**names, stage=stage, seconds=1.0))
    if then is not None:
        progress.on_event(StageStarted(**names, stage=then))


def counts(moment: ProgressSnapshot) -> dict[Stage, tuple[int, int]]:
    return {count.stage: (count.completed, count.in_progress) for count in moment.stages}


@pytest.mark.parametrize(
    ("lookalike", "export", "purchase", "plan"),
    [
        (True, True, True, WHOLE),
        (True, True, False, WHOLE[:4]),
        (False, True, True, tuple(stage for stage in WHOLE if stage is not Stage.LOOKALIKE)),
        (True, False, True, WHOLE[:3]),
        (False, False, True, WHOLE[:2]),
    ],
)
def test_a_job_goes_through_the_stages_that_it_has(
    lookalike: bool, export: bool, purchase: bool, plan: tuple[Stage, ...]
):
    assert planned_stages(job(lookalike=lookalike, export=export), purchase=purchase) == plan


def test_jobs_are_counted_in_each_stage_and_beyond():
    progress = progress_of(4)
    emit_to(progress, 0, Stage.UPLOAD, then=Stage.MATCH)
    emit_to(progress, 1, Stage.UPLOAD, Stage.MATCH, then=Stage.LOOKALIKE)
    emit_to(progress, 2, then=Stage.UPLOAD)
    moment = progress.snapshot(report())
    assert counts(moment)[Stage.UPLOAD] == (2, 1)
    assert counts(moment)[Stage.MATCH] == (1, 1)
    assert counts(moment)[Stage.LOOKALIKE] == (0, 1)
    assert counts(moment)[Stage.DOWNLOAD] == (0, 0)


def test_what_an_earlier_run_did_counts_as_passed():
    progress = progress_of(2)
    emit_to(progress, 0, Stage.MATCH, Stage.LOOKALIKE, then=Stage.PREVIEW)
    moment = progress.snapshot(report())
    assert counts(moment)[Stage.UPLOAD] == (1, 0)
    progress.on_outcome(JobOutcome(job=job(), stage=Stage.DOWNLOAD, timings={Stage.DOWNLOAD: 1.0}))
    assert counts(progress.snapshot(report(done=1)))[Stage.PURCHASE] == (1, 0)


def test_a_job_that_fails_is_in_no_stage_any_more_and_is_shown():
    progress = progress_of(1)
    emit_to(progress, 0, then=Stage.UPLOAD)
    names = {"customer_id": "42", "audience_name": "List 0"}
    progress.on_event(StageFailed(**names, stage=Stage.UPLOAD, seconds=1.0, error_type="BudgetExceededError"))
    error = BudgetExceededError("it costs too much", stage=Stage.PURCHASE, limit_cents=5)
    progress.on_outcome(JobOutcome(job=job(), stage=Stage.UPLOAD, error=error))
    moment = progress.snapshot(report(failed=1, failed_by_stage={"upload": 1}))
    assert counts(moment)[Stage.UPLOAD] == (0, 0)
    assert moment.stages[0].failed == 1
    assert moment.failures == ("42/List 0: purchase: it costs too much",)


def test_rate_and_forecast_come_from_the_last_half_minute():
    progress = progress_of(10)
    assert progress.snapshot(report(seconds=0.0)).seconds_left is None
    for number in range(2):
        emit_to(progress, number, *WHOLE)
        progress.on_outcome(JobOutcome(job=job(number), stage=Stage.DOWNLOAD, timings=dict.fromkeys(Stage, 1.0)))
    moment = progress.snapshot(report(done=2, seconds=10.0))
    assert moment.jobs_per_minute == pytest.approx(12.0)
    assert moment.seconds_left == pytest.approx(40.0)
    still = progress.snapshot(report(done=2, seconds=60.0))
    assert still.seconds_left is None


MOMENT = ProgressSnapshot(
    name="jobs.yaml",
    total=10_000,
    done=3_214,
    failed=3,
    stages=[
        StageCount(Stage.UPLOAD, 10_000, 10_000, 0, 0),
        StageCount(Stage.MATCH, 10_000, 8_120, 1_880, 2),
        StageCount(Stage.PURCHASE, 10_000, 3_300, 12, 1),
    ],
    elapsed_seconds=130.0,
    jobs_per_minute=1_800.0,
    seconds_left=240.0,
    purchase=True,
    spent_cents=120_400,
    unresolved_cents=3_000,
    quoted_cents=320_400,
    budget_cents=500_000,
    requests=21_234,
    reads_saved=56_789,
    retries=2,
    failures=["42/List 7: match: the CSV is\nempty \x1b[31m" + " and so on" * 20],
)


@pytest.mark.parametrize("width", [80, 100, 200])
def test_the_view_fits_its_terminal_and_says_what_matters(width: int):
    console = Console(width=width, file=io.StringIO(), force_terminal=False)
    with console.capture() as capture:
        console.print(render_progress(MOMENT))
    lines = capture.get().splitlines()
    assert max(map(len, lines)) <= width
    text = "\n".join(lines)
    for words in (
        "3,214 of 10,000 jobs done, 3 failed",
        "about 0:04:00 left",
        "8,120 of 10,000",
        "1,880 in progress",
        "2 failed",
        "$1,204.00 of $5,000.00 spent",
        "21,234 requests, 2 retries, 56,789 reads saved",
        "time      0:02:10",
        "failed    42/List 7: match: the CSV is empty",
    ):
        assert words in text
    assert "\x1b[31m" not in text


def test_where_nothing_is_bought_the_prices_are_shown():
    progress = attrs.evolve(progress_of(1), purchase=False)
    names = {"customer_id": "42", "audience_name": "List 0"}
    progress.on_event(ExportPriced(**names, export_id="x", cost_cents=1_250))
    progress.on_event(ExportPriced(**names, export_id="y", cost_cents=None))
    assert progress.snapshot(report()).cost == "$12.50 quoted, nothing is purchased"


def test_a_budget_that_earlier_runs_went_beyond_is_not_said_to_hold_what_they_spent():
    money = progress_of(1).snapshot(report(spent_cents=8_000, budget_cents=100)).cost
    assert money == "$80.00 spent, above the budget of $1.00"


def test_a_line_says_it_all_in_one():
    assert format_progress(MOMENT) == (
        "0:02:10  3,214 of 10,000 jobs done, 3 failed; in progress: match 1,880, purchase 12; $1,204.00 of $5,000.00 spent, "
        "$30.00 pending; 21,234 requests; 1,800 jobs per minute, about 0:04:00 left"
    )


def test_the_picture_is_an_svg_of_the_view():
    picture = render_svg(MOMENT)
    root = ET.fromstring(picture)
    assert root.tag.endswith("svg")
    assert "font-face" not in picture
    text = "".join(root.itertext()).replace("\N{NO-BREAK SPACE}", " ")
    assert "3,214 of 10,000 jobs done" in text


@attrs.define
class Watched:
    """A source of moments that says how often it was asked."""

    asked: int = 0
    was_asked: asyncio.Event = attrs.Factory(asyncio.Event)

    def __call__(self) -> ProgressSnapshot:
        self.asked += 1
        self.was_asked.set()
        return MOMENT


def output_on(*, terminal: bool, quiet: bool = False) -> Output:
    words = Output(quiet=quiet)
    words.stderr = Console(file=io.StringIO(), force_terminal=terminal, width=100)
    return words


def stderr_text(words: Output) -> str:
    assert isinstance(words.stderr.file, io.StringIO)
    return words.stderr.file.getvalue()


async def test_a_terminal_is_redrawn_by_the_clock_and_not_by_events():
    words, moment = output_on(terminal=True), Watched()
    async with show_progress(words, moment):
        await moment.was_asked.wait()
        for _ in range(1_000):
            await asyncio.sleep(0)
    assert moment.asked == 1
    assert "3,214 of 10,000 jobs done" in stderr_text(words)
    assert stderr_text(words).rstrip().endswith("\x1b[2K")  # nothing of it is left on the screen


async def test_elsewhere_a_line_comes_every_few_seconds(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("indigo_async.cli.progress.display._LINE_INTERVAL", 0.01)
    words, moment = output_on(terminal=False), Watched()
    async with show_progress(words, moment):
        await moment.was_asked.wait()
    assert format_progress(MOMENT) in stderr_text(words).replace("\n", " ")


async def test_quiet_shows_nothing():
    words, moment = output_on(terminal=True, quiet=True), Watched()
    async with show_progress(words, moment):
        await asyncio.sleep(0)
    assert moment.asked == 0
    assert stderr_text(words) == ""
