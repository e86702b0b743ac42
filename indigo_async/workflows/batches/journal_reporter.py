"""What a batch records in its journal for reports: how each job ended, and what the run has done so far."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

from indigo_async._redaction import redact
from indigo_async.models import Audience, CsvExport
from indigo_async.workflows.batches.report import BatchReport, JobOutcome, match_counts
from indigo_async.workflows.fence.job_log import FencedJobLog
from indigo_async.workflows.journal import EntryKind, JournalJobLog
from indigo_async.workflows.recipes.context import RecipeContext

__all__ = ["JournalReporter", "outcome_facts", "progress_facts"]

_MAX_MESSAGE_LENGTH = 2_000
_PROGRESS_SECONDS = 10.0


class JournalReporter:
    """Records in a batch's journal how each job ended and, every few seconds, what the run has done so far.

    A job's outcome goes into the job's own log if it has one, and into `batch_log` otherwise.
    """

    def __init__(self, batch_log: JournalJobLog, report: Callable[[], BatchReport]) -> None:
        self._batch_log = batch_log
        self._report = report
        self._run_number = time.time_ns() // 1_000_000
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Record the progress now and every few seconds."""
        self._report_progress(ended=False)
        self._timer = asyncio.get_running_loop().call_later(_PROGRESS_SECONDS, self.start)

    def stop(self) -> None:
        """Record the progress for the last time."""
        if self._timer is not None:
            self._timer.cancel()
        self._report_progress(ended=True)

    def report_outcome(self, outcome: JobOutcome, context: RecipeContext, seconds: float) -> None:
        """Record how a job ended. If it failed before it had a log, the row names its customer and audience."""
        facts = outcome_facts(outcome, audience=context.audience, quote=context.quote, seconds=seconds)
        job_log = context.job_log
        if not isinstance(job_log, (JournalJobLog, FencedJobLog)):
            job_log = self._batch_log
            facts |= {
                "customer_id": _storable_text(outcome.job.customer_id),
                "audience_name": _storable_text(outcome.job.audience_name),
            }
        job_log.record_for_report(EntryKind.OUTCOME, facts)

    def _report_progress(self, *, ended: bool) -> None:
        facts = progress_facts(self._report(), run_number=self._run_number, ended=ended)
        self._batch_log.record_for_report(EntryKind.PROGRESS, facts)


def outcome_facts(
    outcome: JobOutcome, *, audience: Audience | None, quote: CsvExport | None, seconds: float
) -> dict[str, Any]:
    """How a job ended. `audience` is its last known record, `quote` the export that it priced, if it got that far."""
    result = outcome.result
    lookalike = result.lookalike if result is not None else None
    facts: dict[str, Any] = {
        "stage": outcome.stage.value,
        "seconds": round(seconds, 3),
        "timings": {stage.value: round(spent, 3) for stage, spent in outcome.timings.items()},
        "audience_id": outcome.audience_id,
        "error": None,
        "warnings": [_storable_text(message) for message in outcome.warnings],
        "export_id": str(quote.id) if quote is not None else None,
        "quoted_cents": quote.cost_cents if quote is not None else None,
        "match": match_counts(result.matched if result is not None else audience),
        "lookalike_size": lookalike.people_count if lookalike is not None else None,
    }
    failure = outcome.failure
    if failure is not None:
        facts["error"] = {"type": failure.error_type, "message": _storable_text(failure.message)}
    return facts


def progress_facts(report: BatchReport, *, run_number: int, ended: bool) -> dict[str, Any]:
    """What a run has done so far. `run` identifies it among the runs with the same journal."""
    return {
        "run": run_number,
        "ended": ended,
        "seconds": round(report.seconds, 3),
        "done": report.done,
        "failed": report.failed,
        "stopped": None if report.stopped is None else _storable_text(report.stopped),
        "budget_cents": report.budget_cents,
        "lost_uploads": report.lost_uploads,
        "requests": dict(report.requests),
        "setbacks": dict(report.failed_requests),
        "reads_saved": report.reads_saved,
    }


def _storable_text(text: object) -> str:
    """Text from any source as a journal can store it: without secrets, of limited length, and valid UTF-8."""
    return redact(str(text))[:_MAX_MESSAGE_LENGTH].encode(errors="replace").decode()
