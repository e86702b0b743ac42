from __future__ import annotations

import asyncio
import heapq
import io
import xml.etree.ElementTree as ET
from collections import Counter
from itertools import accumulate
from pathlib import Path

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from indigo_async.cli.progress.display import format_progress, render_progress, render_svg, show_progress
from indigo_async.cli.progress.tracker import ProgressSnapshot, ProgressTracker, StageCount, planned_stages
from indigo_async.cli.render.output import Output
from indigo_async.errors import BudgetExceededError
from indigo_async.events import Event
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

ALL_STAGES = tuple(Stage)


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
    """Emit events: a job finished some stages and started another."""
    names = {"customer_id": "42", "audience_name": f"List {number}"}
    for stage in stages:
        progress.on_event(StageStarted(**names, stage=stage))
        progress.on_event(StageFinished(**names, stage=stage, seconds=1.0))
    if then is not None:
        progress.on_event(StageStarted(**names, stage=then))


def counts(snapshot: ProgressSnapshot) -> dict[Stage, tuple[int, int]]:
    return {count.stage: (count.completed, count.in_progress) for count in snapshot.stages}


@pytest.mark.parametrize(
    ("lookalike", "export", "purchase", "plan"),
    [
        (True, True, True, ALL_STAGES),
        (True, True, False, ALL_STAGES[:4]),
        (False, True, True, tuple(stage for stage in ALL_STAGES if stage is not Stage.LOOKALIKE)),
        (True, False, True, ALL_STAGES[:3]),
        (False, False, True, ALL_STAGES[:2]),
    ],
)
def test_planned_stages_depend_on_the_job(lookalike: bool, export: bool, purchase: bool, plan: tuple[Stage, ...]):
    assert planned_stages(job(lookalike=lookalike, export=export), purchase=purchase) == plan


def test_an_export_without_a_destination_has_no_download():
    step = ExportStep(destination=None)
    assert planned_stages(attrs.evolve(job(), export=step), purchase=True) == ALL_STAGES[:-1]


def test_jobs_are_counted_per_stage():
    progress = progress_of(4)
    emit_to(progress, 0, Stage.UPLOAD, then=Stage.MATCH)
    emit_to(progress, 1, Stage.UPLOAD, Stage.MATCH, then=Stage.LOOKALIKE)
    emit_to(progress, 2, then=Stage.UPLOAD)
    snapshot = progress.snapshot(report())
    assert counts(snapshot)[Stage.UPLOAD] == (2, 1)
    assert counts(snapshot)[Stage.MATCH] == (1, 1)
    assert counts(snapshot)[Stage.LOOKALIKE] == (0, 1)
    assert counts(snapshot)[Stage.DOWNLOAD] == (0, 0)


def test_stages_completed_by_an_earlier_run_count_as_completed():
    progress = progress_of(2)
    emit_to(progress, 0, Stage.MATCH, Stage.LOOKALIKE, then=Stage.PREVIEW)
    snapshot = progress.snapshot(report())
    assert counts(snapshot)[Stage.UPLOAD] == (1, 0)
    progress.on_outcome(JobOutcome(job=job(), stage=Stage.DOWNLOAD, timings={Stage.DOWNLOAD: 1.0}))
    assert counts(progress.snapshot(report(done=1)))[Stage.PURCHASE] == (1, 0)


def test_failed_job_leaves_its_stage_and_is_shown():
    progress = progress_of(1)
    emit_to(progress, 0, then=Stage.UPLOAD)
    names = {"customer_id": "42", "audience_name": "List 0"}
    progress.on_event(StageFailed(**names, stage=Stage.UPLOAD, seconds=1.0, error_type="BudgetExceededError"))
    error = BudgetExceededError("it costs too much", stage=Stage.PURCHASE, limit_cents=5)
    progress.on_outcome(JobOutcome(job=job(), stage=Stage.UPLOAD, error=error))
    snapshot = progress.snapshot(report(failed=1, failed_by_stage={"upload": 1}))
    assert counts(snapshot)[Stage.UPLOAD] == (0, 0)
    assert snapshot.stages[0].failed == 1
    assert snapshot.failures == ("42/List 0: purchase: it costs too much",)


def test_rate_comes_from_the_last_30_seconds():
    progress = progress_of(10)
    assert progress.snapshot(report(seconds=0.0)).jobs_per_minute is None
    for number in range(2):
        emit_to(progress, number, *ALL_STAGES)
        progress.on_outcome(JobOutcome(job=job(number), stage=Stage.DOWNLOAD, timings=dict.fromkeys(Stage, 1.0)))
    assert progress.snapshot(report(done=2, seconds=10.0)).jobs_per_minute == pytest.approx(12.0)
    assert progress.snapshot(report(done=2, seconds=60.0)).jobs_per_minute is None


@attrs.frozen
class SimulatedBatch:
    """Jobs that start when one of the slots is free. `seconds` has the duration of each stage, for each job."""

    slots: int
    seconds: list[list[float]]

    def starts(self) -> list[float]:
        free = [0.0] * self.slots
        starts: list[float] = []
        for job_seconds in self.seconds:
            starts.append(heapq.heappop(free))
            heapq.heappush(free, list(accumulate(job_seconds, initial=starts[-1]))[-1])
        return starts

    def ends(self) -> list[float]:
        pairs = zip(self.starts(), self.seconds, strict=True)
        return [list(accumulate(seconds, initial=start))[-1] for start, seconds in pairs]

    def progress_at(self, now: float) -> ProgressSnapshot:
        """What a tracker shows after the events until `now`."""
        clock = [0.0]
        progress = attrs.evolve(progress_of(len(self.seconds)), clock=lambda: clock[0])
        events: list[tuple[float, int, int, Stage, Event | JobOutcome]] = []
        for number, (start, seconds) in enumerate(zip(self.starts(), self.seconds, strict=True)):
            names = {"customer_id": "42", "audience_name": f"List {number}"}
            at = start
            for order, (stage, spent) in enumerate(zip(Stage, seconds, strict=True)):
                events.append((at, number, 2 * order, stage, StageStarted(**names, stage=stage)))
                at += spent
                events.append((at, number, 2 * order + 1, stage, StageFinished(**names, stage=stage, seconds=spent)))
            timings = dict(zip(Stage, seconds, strict=True))
            events.append((at, number, 99, stage, JobOutcome(job=job(number), stage=stage, timings=timings)))
        for at, _, _, _, event in sorted(events, key=lambda event: event[:3]):
            if at > now:
                break
            clock[0] = at
            progress.on_outcome(event) if isinstance(event, JobOutcome) else progress.on_event(event)
        clock[0] = now
        return progress.snapshot(report(seconds=now))


@st.composite
def batches(draw: st.DrawFn) -> SimulatedBatch:
    means = draw(st.lists(st.floats(0.1, 100.0), min_size=len(Stage), max_size=len(Stage)))
    variation = draw(st.sampled_from([0.0, 0.1]))
    rng = draw(st.randoms(use_true_random=False))
    return SimulatedBatch(
        slots=draw(st.integers(1, 20)),
        seconds=[
            [mean * rng.uniform(1 - variation, 1 + variation) for mean in means]
            for _ in range(draw(st.integers(1, 60)))
        ],
    )


@given(batch=batches(), part=st.floats(0.0, 0.999))
def test_estimate_is_at_most_one_job_off(batch: SimulatedBatch, part: float):
    total = max(batch.ends())
    estimate = batch.progress_at(part * total).seconds_left
    if estimate is not None:
        longest_job = max(map(sum, batch.seconds))
        assert estimate == pytest.approx((1 - part) * total, abs=1.25 * longest_job)


@given(batch=batches(), part=st.floats(0.0, 0.999))
def test_estimate_is_shown_once_there_is_something_to_measure(batch: SimulatedBatch, part: float):
    ends = batch.ends()
    now = part * max(ends)
    snapshot = batch.progress_at(now)
    if not any(end <= now for end in ends):
        assert snapshot.seconds_left is None
    elif sum(end <= now for end in ends) > batch.slots:
        assert snapshot.seconds_left is not None


def test_half_of_the_stages_done_is_not_half_of_the_time():
    slow_end = SimulatedBatch(slots=4, seconds=[[1.0, 1.0, 1.0, 1.0, 1.0, 100.0]] * 4)
    assert slow_end.progress_at(5.0).seconds_left is None
    two_waves = attrs.evolve(slow_end, seconds=slow_end.seconds * 2)
    assert two_waves.progress_at(110.0).seconds_left == pytest.approx(100.0)


SNAPSHOT = ProgressSnapshot(
    name="jobs.yaml",
    total=10_000,
    purchase=True,
    report=report(
        done=3_214,
        failed=3,
        seconds=130.0,
        spent_cents=120_400,
        unresolved_cents=3_000,
        budget_cents=500_000,
        requests={"GET /audience": 21_234},
        reads_saved=56_789,
    ),
    stages=[
        StageCount(Stage.UPLOAD, 10_000, 10_000, 0, 0),
        StageCount(Stage.MATCH, 10_000, 8_120, 1_880, 2),
        StageCount(Stage.PURCHASE, 10_000, 3_300, 12, 1),
    ],
    jobs_per_minute=1_800.0,
    seconds_left=240.0,
    quoted_cents=320_400,
    retries=2,
    failures=["42/List 7: match: the CSV is\nempty \x1b[31m" + " and so on" * 20],
)


def test_outage_is_shown_instead_of_a_forecast():
    progress = ProgressTracker(name="jobs.yaml", total=2, purchase=True, planned=Counter(ALL_STAGES))
    snapshot = progress.snapshot(report(), outage="no response for 1:05 (HTTP 503)")
    assert snapshot.seconds_left is None
    assert "; no response for 1:05 (HTTP 503)" in format_progress(snapshot)
    console = Console(width=100, file=io.StringIO(), force_terminal=False)
    with console.capture() as capture:
        console.print(render_progress(snapshot))
    assert "no response for 1:05 (HTTP 503)" in capture.get()


@pytest.mark.parametrize("width", [80, 100, 200])
def test_view_fits_the_terminal_and_shows_the_key_numbers(width: int):
    console = Console(width=width, file=io.StringIO(), force_terminal=False)
    with console.capture() as capture:
        console.print(render_progress(SNAPSHOT))
    lines = capture.get().splitlines()
    assert max(map(len, lines)) <= width
    text = "\n".join(lines)
    for expected in (
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
        assert expected in text
    assert "\x1b[31m" not in text


def test_prices_are_shown_when_nothing_is_purchased():
    progress = attrs.evolve(progress_of(1), purchase=False)
    names = {"customer_id": "42", "audience_name": "List 0"}
    progress.on_event(ExportPriced(**names, export_id="x", cost_cents=1_250))
    progress.on_event(ExportPriced(**names, export_id="y", cost_cents=None))
    assert progress.snapshot(report()).cost == "$12.50 quoted, nothing is purchased"


def test_spending_above_the_budget_is_reported_as_such():
    money = progress_of(1).snapshot(report(spent_cents=8_000, budget_cents=100)).cost
    assert money == "$80.00 spent, above the budget of $1.00"


def test_progress_in_one_line():
    assert format_progress(SNAPSHOT) == (
        "0:02:10  3,214 of 10,000 jobs done, 3 failed; in progress: match 1,880, purchase 12; "
        "$1,204.00 of $5,000.00 spent, "
        "$30.00 pending; 21,234 requests; 1,800 jobs per minute, about 0:04:00 left"
    )


def test_counts_of_one_are_singular():
    snapshot = attrs.evolve(SNAPSHOT, retries=1, report=report(requests={"GET /audience": 1}, reads_saved=1))
    assert "; 1 request; " in format_progress(snapshot)
    console = Console(width=100, file=io.StringIO(), force_terminal=False)
    with console.capture() as capture:
        console.print(render_progress(snapshot))
    assert "1 request, 1 retry, 1 read saved" in capture.get()


def test_svg_shows_the_view():
    picture = render_svg(SNAPSHOT)
    root = ET.fromstring(picture)
    assert root.tag.endswith("svg")
    assert "font-face" not in picture
    text = "".join(root.itertext()).replace("\N{NO-BREAK SPACE}", " ")
    assert "3,214 of 10,000 jobs done" in text


@attrs.define
class SnapshotSource:
    """A source of snapshots that counts its calls."""

    calls: int = 0
    called: asyncio.Event = attrs.Factory(asyncio.Event)

    def __call__(self) -> ProgressSnapshot:
        self.calls += 1
        self.called.set()
        return SNAPSHOT


def output_on(*, terminal: bool, quiet: bool = False) -> Output:
    output = Output(quiet=quiet)
    output.stderr = Console(file=io.StringIO(), force_terminal=terminal, width=100)
    return output


def stderr_text(output: Output) -> str:
    assert isinstance(output.stderr.file, io.StringIO)
    return output.stderr.file.getvalue()


async def test_terminal_is_redrawn_by_the_clock_and_not_by_events():
    output, snapshot = output_on(terminal=True), SnapshotSource()
    async with show_progress(output, snapshot):
        await snapshot.called.wait()
        for _ in range(1_000):
            await asyncio.sleep(0)
    assert snapshot.calls == 1
    assert "3,214 of 10,000 jobs done" in stderr_text(output)
    assert stderr_text(output).rstrip().endswith("\x1b[2K")  # the view is erased


async def test_without_a_terminal_a_line_is_printed_every_few_seconds(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("indigo_async.cli.progress.display._LINE_INTERVAL", 0.01)
    output, snapshot = output_on(terminal=False), SnapshotSource()
    async with show_progress(output, snapshot):
        await snapshot.called.wait()
    assert format_progress(SNAPSHOT) in stderr_text(output).replace("\n", " ")


async def test_quiet_shows_nothing():
    output, snapshot = output_on(terminal=True, quiet=True), SnapshotSource()
    async with show_progress(output, snapshot):
        await asyncio.sleep(0)
    assert snapshot.calls == 0
    assert stderr_text(output) == ""
