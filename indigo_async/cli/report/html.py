"""The report as one page that needs nothing else: no server, no network, no other file."""

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
from indigo_async.cli.report.charts import (
    build_completion_chart,
    build_duration_chart,
    build_match_rate_chart,
    build_occupancy_chart,
)
from indigo_async.cli.report.formatting import (
    KILLED_RUN_MESSAGE,
    format_count,
    format_duration,
    format_percent,
    format_time,
)
from indigo_async.cli.report.history import BatchHistory
from indigo_async.cli.report.job_history import JobHistory
from indigo_async.cli.report.series import build_time_series
from indigo_async.cli.report.statistics import BatchStatistics
from indigo_async.cli.report.timescale import ActiveTime, measure_active_time
from indigo_async.events import Stage

__all__ = ["render_page", "write_page"]

_PAGE_FOLDER = Path(__file__).with_name("page")
_JOBS_SHOWN = 20_000
_FAILURES_SHOWN = 500
_CUSTOMERS_SHOWN = 200
_STATES = ("done", "failed", "open")
_STAGES = [stage.value for stage in Stage]
_TIME_UNITS = 100_000
"""Times are kept as whole parts of the whole, which is finer than any screen."""


def render_page(name: str, history: BatchHistory, figures: BatchStatistics) -> str:
    """The page for the journal of a name. Whatever servers and customers wrote in it is escaped."""
    timescale = measure_active_time(history)
    series = build_time_series(history, timescale)
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
    }
    return environment.get_template("report.html.j2").render(
        clock=format_time,
        cut_off=KILLED_RUN_MESSAGE,
        count=format_count,
        name=name,
        figures=figures,
        series=series,
        stages=_STAGES,
        areas=build_occupancy_chart(series, timescale.pauses),
        ends=build_completion_chart(series, timescale.pauses),
        waits=[(waits, build_duration_chart(waits, series.seconds)) for waits in series.durations],
        classes=build_match_rate_chart(figures.matches.rate_histogram) if figures.matches is not None else None,
        customers_shown=_CUSTOMERS_SHOWN,
        failures_shown=_FAILURES_SHOWN,
        jobs=_script_data(history, timescale),
        style=(_PAGE_FOLDER / "report.css").read_text(encoding="utf-8"),
        script=script,
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )


def write_page(path: Path, text: str) -> None:
    """Write the page whole or not at all. Only its owner can read it: it names customers and their lists."""
    descriptor, part = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # with mode 0600
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8", errors="replace") as file:
            file.write(text)
        Path(part).replace(path)
    except BaseException:
        Path(part).unlink(missing_ok=True)
        raise


def _without_line_breaks(words_for: Callable[[float], str]) -> Callable[[float], str]:
    """The same words, which no line ends within."""
    return lambda number: words_for(number).replace(" ", "\N{NO-BREAK SPACE}")


def _script_data(history: BatchHistory, timescale: ActiveTime) -> dict[str, Any]:
    """The jobs as the page's script draws them, in the order of their beginnings, as short as they can be told.

    A job is [customer's number, name, state's number, cents, audience ID, error's number, begin, then stage's number,
    gap and length of each span], times in grains.
    """
    shown = _choose_jobs(history.jobs)
    customers = sorted({job.customer_id for job in shown})
    errors = sorted({f"{job.failure.stage}: {job.failure.error_type}" for job in shown if job.failure is not None})
    customer_numbers = {customer_id: number for number, customer_id in enumerate(customers)}
    error_numbers = {error: number for number, error in enumerate(errors)}
    seconds = max(timescale.total_seconds, 0.001)

    def grain(at: float) -> int:
        return round(timescale.seconds_until(at) / seconds * _TIME_UNITS)

    rows: list[list[Any]] = []
    for job in shown:
        failure = error_numbers[f"{job.failure.stage}: {job.failure.error_type}"] if job.failure is not None else -1
        cents = job.bill.charged_cents + job.bill.unresolved_cents
        begin = at = grain(job.spans[0].began) if job.spans else 0
        row = [customer_numbers[job.customer_id], job.audience_name, _STATES.index(job.state), cents]
        row += [str(job.audience_id or ""), failure, begin]
        for span in job.spans:
            if span.stage in _STAGES:
                began, ended = grain(span.began), grain(span.ended)
                row += [_STAGES.index(span.stage), began - at, ended - began]
                at = ended
        rows.append(row)
    rows.sort(key=lambda row: row[6])
    return {
        "seconds": seconds,
        "grains": _TIME_UNITS,
        "stages": _STAGES,
        "states": _STATES,
        "customers": customers,
        "errors": errors,
        "jobs": rows,
        "of": len(history.jobs),
    }


def _choose_jobs(jobs: Sequence[JobHistory]) -> Sequence[JobHistory]:
    """All jobs; of too many, first those that need somebody, then an even choice of the others."""
    if len(jobs) <= _JOBS_SHOWN:
        return jobs
    pressing = [job for job in jobs if job.state != "done"][:_JOBS_SHOWN]
    done = [job for job in jobs if job.state == "done"]
    room = _JOBS_SHOWN - len(pressing)
    return [*pressing, *(done[number * len(done) // room] for number in range(min(room, len(done))))]
