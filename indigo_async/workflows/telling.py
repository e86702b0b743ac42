"""What a batch tells its journal for reports: how each job ended, and what the run did so far."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from indigo_async.hidden import hide_secrets
from indigo_async.models import Audience, CsvExport
from indigo_async.workflows.report import BatchReport, JobOutcome, failure_of

__all__ = ["match_counts", "outcome_facts", "progress_facts"]

_MESSAGE_CHARACTERS = 2_000


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
        "quoted_cents": quote.cost_cents if quote is not None else None,
        "match": match_counts(result.matched if result is not None else audience),
        "lookalike_size": _count(lookalike.extra, "size") if lookalike is not None else None,
    }
    if outcome.error is not None:
        failure = failure_of(outcome, outcome.error)
        message = hide_secrets(failure.message)[:_MESSAGE_CHARACTERS].encode(errors="replace").decode()
        facts["error"] = {"type": failure.error_type, "message": message}
    return facts


def progress_facts(report: BatchReport, *, run: int, ended: bool) -> dict[str, Any]:
    """A run so far; `run` tells it from the others with its journal."""
    return {
        "run": run,
        "ended": ended,
        "seconds": round(report.seconds, 3),
        "done": report.done,
        "failed": report.failed,
        "stopped": None if report.stopped is None else hide_secrets(report.stopped)[:_MESSAGE_CHARACTERS],
        "budget_cents": report.budget_cents,
        "lost_uploads": report.lost_uploads,
        "requests": dict(report.requests),
        "setbacks": dict(report.setbacks),
        "reads_saved": report.reads_saved,
    }


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
