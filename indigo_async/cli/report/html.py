"""The report as one self-contained HTML page: it loads no other files."""

from __future__ import annotations

import base64
import hashlib
import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from indigo_async._text import format_dollars
from indigo_async.cli.render.advice import use_option_names
from indigo_async.cli.render.failures import EXAMPLES_SHOWN
from indigo_async.cli.report.charts import (
    NARROW,
    build_completion_chart,
    build_duration_chart,
    build_match_rate_chart,
    build_occupancy_chart,
)
from indigo_async.cli.report.formatting import format_count, format_duration, format_percent, format_time
from indigo_async.cli.report.history import BatchHistory
from indigo_async.cli.report.job_history import JobHistory
from indigo_async.cli.report.statistics import KILLED_RUN_MESSAGE, BatchStatistics
from indigo_async.cli.report.timeline import ActiveTime, build_time_series, measure_active_time
from indigo_async.events import Stage

__all__ = ["render_page", "write_page"]

_PAGE_FOLDER = Path(__file__).with_name("page")
_JOBS_SHOWN = 20_000
_FAILURES_SHOWN = 500
_CUSTOMERS_SHOWN = 200
_STATES = ("done", "failed", "unfinished")
_STAGES = [stage.value for stage in Stage]
_TIME_UNITS = 100_000
"""The script gets times as integers from 0 to this: finer than any screen, and short."""


def render_page(name: str, history: BatchHistory, statistics: BatchStatistics) -> str:
    """Render the page for the journal called `name`. All text from servers and customers is escaped."""
    active_time = measure_active_time(history)
    series = build_time_series(history, active_time)
    script = (_PAGE_FOLDER / "report.js").read_text(encoding="utf-8")
    environment = Environment(
        loader=FileSystemLoader(_PAGE_FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "duration": _without_line_breaks(format_duration),
        "dollars": format_dollars,
        "percent": _without_line_breaks(format_percent),
        "with_option_names": use_option_names,
    }
    return environment.get_template("report.html.j2").render(
        format_time=format_time,
        killed_run_message=KILLED_RUN_MESSAGE,
        count=format_count,
        name=name,
        statistics=statistics,
        series=series,
        stages=_STAGES,
        occupancy=build_occupancy_chart(series, active_time.pauses),
        narrow_occupancy=build_occupancy_chart(series, active_time.pauses, NARROW),
        completion=build_completion_chart(series, active_time.pauses),
        narrow_completion=build_completion_chart(series, active_time.pauses, NARROW),
        durations=[(stage, build_duration_chart(stage, series.seconds)) for stage in series.durations],
        match_rates=build_match_rate_chart(statistics.matches.rate_histogram) if statistics.matches else None,
        narrow_match_rates=build_match_rate_chart(statistics.matches.rate_histogram, NARROW)
        if statistics.matches
        else None,
        customers_shown=_CUSTOMERS_SHOWN,
        failures_shown=_FAILURES_SHOWN,
        examples_shown=EXAMPLES_SHOWN,
        data=_script_data(history, active_time),
        style=(_PAGE_FOLDER / "report.css").read_text(encoding="utf-8"),
        script=script,
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )


def write_page(path: Path, text: str) -> None:
    """Write the page atomically, readable only by its owner: it names customers and their lists."""
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # has mode 0600
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8", errors="replace") as file:
            file.write(text)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _without_line_breaks(format_number: Callable[[float], str]) -> Callable[[float], str]:
    """Format with spaces that don't allow line breaks."""
    return lambda number: format_number(number).replace(" ", "\N{NO-BREAK SPACE}")


def _script_data(history: BatchHistory, active_time: ActiveTime) -> dict[str, Any]:
    """Return the jobs for the page's script, sorted by start, in a compact form.

    A job is [customer index, name, state index, cents, audience ID, error index or -1, start] followed by [stage index,
    gap, length] for each span. Times are in `_TIME_UNITS`.
    """
    shown = _choose_jobs(history.jobs)
    customers = sorted({job.customer_id for job in shown})
    errors = sorted({f"{job.failure.stage}: {job.failure.error_type}" for job in shown if job.failure is not None})
    customer_indexes = {customer_id: number for number, customer_id in enumerate(customers)}
    error_indexes = {error: number for number, error in enumerate(errors)}
    seconds = max(active_time.total_seconds, 0.001)

    def to_units(at: float) -> int:
        return round(active_time.seconds_until(at) / seconds * _TIME_UNITS)

    rows: list[list[Any]] = []
    for job in shown:
        failure = error_indexes[f"{job.failure.stage}: {job.failure.error_type}"] if job.failure is not None else -1
        cents = job.purchases.charged_cents + job.purchases.unresolved_cents
        start = at = to_units(job.spans[0].started_at) if job.spans else 0
        row = [customer_indexes[job.customer_id], job.audience_name, _STATES.index(job.state), cents]
        row += [str(job.audience_id or ""), failure, start]
        for span in job.spans:
            if span.stage in _STAGES:
                started_at, ended_at = to_units(span.started_at), to_units(span.ended_at)
                row += [_STAGES.index(span.stage), started_at - at, ended_at - started_at]
                at = ended_at
        rows.append(row)
    rows.sort(key=lambda row: row[6])
    return {
        "seconds": seconds,
        "units": _TIME_UNITS,
        "stages": _STAGES,
        "states": _STATES,
        "customers": customers,
        "errors": errors,
        "jobs": rows,
        "total": len(history.jobs),
    }


def _choose_jobs(jobs: Sequence[JobHistory]) -> Sequence[JobHistory]:
    """Return all jobs, or if there are too many, those that are not done and an even sample of the others."""
    if len(jobs) <= _JOBS_SHOWN:
        return jobs
    not_done = [job for job in jobs if job.state != "done"][:_JOBS_SHOWN]
    done = [job for job in jobs if job.state == "done"]
    room = _JOBS_SHOWN - len(not_done)
    return [*not_done, *(done[number * len(done) // room] for number in range(min(room, len(done))))]
