"""What a batch tells its journal for reports: how each job ended, and what the run did so far."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Any

from indigo_async.hidden import hide_secrets
from indigo_async.models import Audience, CsvExport
from indigo_async.workflows.journal import EntryKind, JobMemory
from indigo_async.workflows.report import BatchReport, JobOutcome, failure_of
from indigo_async.workflows.rules import people_count
from indigo_async.workflows.run import Run

__all__ = ["Teller", "match_counts", "outcome_facts", "progress_facts"]

_MESSAGE_CHARACTERS = 2_000
_PROGRESS_SECONDS = 10.0


class Teller:
    """Tells a batch's journal how each job ended, and every few seconds what the run did so far.

    `memory` is the batch's own; a job's outcome stands in the job's memory where it has one.
    """

    def __init__(self, memory: JobMemory, report: Callable[[], BatchReport]) -> None:
        self._memory = memory
        self._report = report
        self._run_number = time.time_ns() // 1_000_000
        self._timer: asyncio.TimerHandle | None = None

    def begin(self) -> None:
        """Tell of progress now and every few seconds."""
        self._tell_progress(ended=False)
        self._timer = asyncio.get_running_loop().call_later(_PROGRESS_SECONDS, self.begin)

    def end(self) -> None:
        """Tell of progress for the last time."""
        if self._timer is not None:
            self._timer.cancel()
        self._tell_progress(ended=True)

    def tell(self, outcome: JobOutcome, run: Run, seconds: float) -> None:
        """Tell how a job ended. What was refused before the journal knew it is told with its names."""
        facts = outcome_facts(outcome, audience=run.audience, quote=run.quote, seconds=seconds)
        memory = run.memory
        if not isinstance(memory, JobMemory):
            memory = self._memory
            facts |= {"customer_id": _kept(outcome.job.customer_id), "audience_name": _kept(outcome.job.audience_name)}
        memory.mention(EntryKind.OUTCOME, facts)

    def _tell_progress(self, *, ended: bool) -> None:
        facts = progress_facts(self._report(), run=self._run_number, ended=ended)
        self._memory.mention(EntryKind.PROGRESS, facts)


def outcome_facts(
    outcome: JobOutcome, *, audience: Audience | None, quote: CsvExport | None, seconds: float
) -> dict[str, Any]:
    """How a job ended. `audience` is its last known record, `quote` the export that it priced, if it came so far."""
    result = outcome.result
    lookalike = result.lookalike if result is not None else None
    facts: dict[str, Any] = {
        "stage": outcome.stage.value,
        "seconds": round(seconds, 3),
        "timings": {stage.value: round(spent, 3) for stage, spent in outcome.timings.items()},
        "audience_id": outcome.audience_id,
        "error": None,
        "warnings": [_kept(message) for message in outcome.warnings],
        "quoted_cents": quote.cost_cents if quote is not None else None,
        "match": match_counts(result.matched if result is not None else audience),
        "lookalike_size": people_count(lookalike) if lookalike is not None else None,
    }
    if outcome.error is not None:
        failure = failure_of(outcome, outcome.error)
        facts["error"] = {"type": failure.error_type, "message": _kept(failure.message)}
    return facts


def progress_facts(report: BatchReport, *, run: int, ended: bool) -> dict[str, Any]:
    """A run so far; `run` tells it from the others with its journal."""
    return {
        "run": run,
        "ended": ended,
        "seconds": round(report.seconds, 3),
        "done": report.done,
        "failed": report.failed,
        "stopped": None if report.stopped is None else _kept(report.stopped),
        "budget_cents": report.budget_cents,
        "lost_uploads": report.lost_uploads,
        "requests": dict(report.requests),
        "setbacks": dict(report.setbacks),
        "reads_saved": report.reads_saved,
    }


def _kept(text: object) -> str:
    """Text from anywhere as a journal can keep it: without secrets, bounded, and such as UTF-8 can spell."""
    return hide_secrets(str(text))[:_MESSAGE_CHARACTERS].encode(errors="replace").decode()


def match_counts(audience: Audience | None) -> tuple[int, int] | None:
    """How many people were matched, of how many rows; None where the server does not show it."""
    if audience is None or audience.uploaded_audience_csv is None:
        return None
    extra = audience.uploaded_audience_csv.extra
    matched, rows = _count(extra, "matchedCount"), _count(extra, "rowCount")
    return (matched, rows) if matched is not None and rows is not None and matched <= rows else None


def _count(extra: Mapping[str, Any], key: str) -> int | None:
    value = extra.get(key)
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None
