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

from indigo_async.cli.output import dollars
from indigo_async.cli.report.charts import areas_chart, classes_chart, ends_chart, waits_chart
from indigo_async.cli.report.figures import Figures
from indigo_async.cli.report.history import History
from indigo_async.cli.report.job_history import JobHistory
from indigo_async.cli.report.series import series_of
from indigo_async.cli.report.timescale import Timescale, timescale_of
from indigo_async.cli.report.wording import CUT_OFF, clock_words, count_words, duration_words, percent_words
from indigo_async.workflows.events import Stage

__all__ = ["page", "write_page"]

_PAGE = Path(__file__).with_name("page")
_JOBS_SHOWN = 20_000
_FAILURES_SHOWN = 500
_CUSTOMERS_SHOWN = 200
_STATES = ("done", "failed", "open")
_STAGES = [stage.value for stage in Stage]
_GRAINS = 100_000
"""Times are kept as whole parts of the whole, which is finer than any screen."""


def page(name: str, history: History, figures: Figures) -> str:
    """The page for the journal of a name. Whatever servers and customers wrote in it is escaped."""
    timescale = timescale_of(history)
    series = series_of(history, timescale)
    script = (_PAGE / "report.js").read_text(encoding="utf-8")
    environment = Environment(
        loader=FileSystemLoader(_PAGE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {
        "duration": _unbroken(duration_words),
        "dollars": dollars,
        "percent": _unbroken(percent_words),
    }
    return environment.get_template("report.html.j2").render(
        clock=clock_words,
        cut_off=CUT_OFF,
        count=count_words,
        name=name,
        figures=figures,
        series=series,
        stages=_STAGES,
        areas=areas_chart(series, timescale.pauses),
        ends=ends_chart(series, timescale.pauses),
        waits=[(waits, waits_chart(waits, series.seconds)) for waits in series.waits],
        classes=classes_chart(figures.matches.classes) if figures.matches is not None else None,
        customers_shown=_CUSTOMERS_SHOWN,
        failures_shown=_FAILURES_SHOWN,
        jobs=_drawn(history, timescale),
        style=(_PAGE / "report.css").read_text(encoding="utf-8"),
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


def _unbroken(words_for: Callable[[float], str]) -> Callable[[float], str]:
    """The same words, which no line ends within."""
    return lambda number: words_for(number).replace(" ", "\N{NO-BREAK SPACE}")


def _drawn(history: History, timescale: Timescale) -> dict[str, Any]:
    """The jobs as the page's script draws them, in the order of their beginnings, as short as they can be told.

    A job is [customer's number, name, state's number, cents, audience ID, error's number, begin, then stage's number,
    gap and length of each span], times in grains.
    """
    shown = _shown(history.jobs)
    customers = sorted({job.customer_id for job in shown})
    errors = sorted({f"{job.failure.stage}: {job.failure.error_type}" for job in shown if job.failure is not None})
    customer_numbers = {customer_id: number for number, customer_id in enumerate(customers)}
    error_numbers = {error: number for number, error in enumerate(errors)}
    seconds = max(timescale.seconds, 0.001)

    def grain(at: float) -> int:
        return round(timescale.active(at) / seconds * _GRAINS)

    rows: list[list[Any]] = []
    for job in shown:
        failure = error_numbers[f"{job.failure.stage}: {job.failure.error_type}"] if job.failure is not None else -1
        cents = job.bill.settled_cents + job.bill.unsettled_cents
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
        "grains": _GRAINS,
        "stages": _STAGES,
        "states": _STATES,
        "customers": customers,
        "errors": errors,
        "jobs": rows,
        "of": len(history.jobs),
    }


def _shown(jobs: Sequence[JobHistory]) -> Sequence[JobHistory]:
    """All jobs; of too many, first those that need somebody, then an even choice of the others."""
    if len(jobs) <= _JOBS_SHOWN:
        return jobs
    pressing = [job for job in jobs if job.state != "done"][:_JOBS_SHOWN]
    done = [job for job in jobs if job.state == "done"]
    room = _JOBS_SHOWN - len(pressing)
    return [*pressing, *(done[number * len(done) // room] for number in range(min(room, len(done))))]
