"""The progress of a batch that workers run, as they report it through Temporal."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping

import attrs
from rich.console import Group, RenderableType

from indigo_async._text import format_dollars
from indigo_async.cli.progress.display import render_bars, render_details, render_failures, render_heading
from indigo_async.cli.progress.tracker import StageCount
from indigo_async.cli.render.advice import use_option_names
from indigo_async.cli.render.output import format_elapsed, format_spending
from indigo_async.events import Stage
from indigo_async.temporal import BatchProgress, BatchSummary

__all__ = ["WorkersProgress"]

_FAILURES_SHOWN = 3
_NOTHING = BatchProgress(pages=0, pages_under_way=0, jobs_under_way=0, complete=False, so_far=BatchSummary())


@attrs.define(kw_only=True)
class WorkersProgress:
    """What is known of a batch. `planned` is the number of jobs that go through each stage."""

    name: str
    total: int
    purchase: bool
    planned: Mapping[Stage, int]
    latest: BatchProgress = _NOTHING
    _started_at: float = attrs.field(factory=time.monotonic, init=False)

    def update(self, progress: BatchProgress) -> None:
        self.latest = progress

    def render(self) -> RenderableType:
        """The progress for a terminal."""
        so_far = self.latest.so_far
        details = render_details(time=self._elapsed(), cost=self._cost())
        failures = [f"{failure.key}: {use_option_names(failure.message)}" for failure in so_far.failures]
        render_failures(details, failures[-_FAILURES_SHOWN:])
        heading = render_heading(self.name, done=so_far.done, total=self.total, failed=so_far.failed)
        return Group(heading, render_bars(self._count_stages()), details)

    def format_line(self) -> str:
        """The progress in one line, for logs."""
        so_far, by_stage = self.latest.so_far, self.latest.jobs_by_stage
        failed = f", {so_far.failed:,} failed" if so_far.failed else ""
        stages = ", ".join(f"{stage} {by_stage[stage]:,}" for stage in Stage if by_stage.get(stage))
        parts = [
            f"{self._elapsed()}  {so_far.done:,} of {self.total:,} jobs done{failed}",
            f"in progress: {stages}" if stages else "",
            self._cost(),
        ]
        return "; ".join(part for part in parts if part)

    def _elapsed(self) -> str:
        return format_elapsed(time.monotonic() - self._started_at)

    def _cost(self) -> str:
        so_far = self.latest.so_far
        if not self.purchase:
            return f"{format_dollars(so_far.quoted_cents)} quoted, nothing is purchased"
        return format_spending(so_far.spent_cents, None)

    def _count_stages(self) -> list[StageCount]:
        """The jobs in each stage. A job that reached a later stage has completed this one."""
        so_far = self.latest.so_far
        failed = Counter(failure.stage for failure in so_far.failures)
        counts: list[StageCount] = []
        reached_later = so_far.done
        for stage in reversed(Stage):
            planned = self.planned.get(stage, 0)
            if not planned:
                continue
            # Only some of the jobs may have this stage, and how many of those are done is not known exactly.
            completed = min(planned, round(reached_later * planned / self.total))
            in_progress = self.latest.jobs_by_stage.get(stage, 0)
            counts.append(StageCount(stage, planned, completed, in_progress, failed[stage]))
            reached_later += in_progress + failed[stage]
        return counts[::-1]
