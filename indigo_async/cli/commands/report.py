"""`indigo-async report`: what a batch did, from its journal, also while the batch still writes it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from indigo_async.cli.options.common import OUTPUT, OutputOptions
from indigo_async.cli.report.history import build_history
from indigo_async.cli.report.statistics import compute_statistics
from indigo_async.errors import InvalidInputError, Problem
from indigo_async.workflows.journal import is_in_use, read_records

__all__ = ["report"]

_JOURNAL_SUFFIXES = ("", ".lock", "-wal", "-shm")
_SQLITE_MAGIC = b"SQLite format 3\0"
_HTML_MAGIC = b"<!doctype"


def report(
    journal: Annotated[Path, Parameter(help="The batch's journal. It is only read, and may be in use.")],
    *,
    html: Annotated[
        Path | None, Parameter(help="Write a page with pictures here: one file, which needs no network.")
    ] = None,
    output: OutputOptions = OUTPUT,
) -> None:
    """Show what a batch did: jobs, times, money, failures with what to do, and what waiting took."""
    out = output.create_output()
    _check_is_journal(journal)
    if html is not None:
        _check_page_path(html, journal)
    in_use = is_in_use(journal)
    history = build_history(read_records(journal))
    in_use = in_use or is_in_use(journal)  # a run may have begun, or ended, while the journal was read
    figures = compute_statistics(history, in_use=in_use)
    out.write_json(figures.to_json())
    if html is not None:
        from indigo_async.cli.report.html import render_page, write_page  # noqa: PLC0415 - words need no templates

        write_page(html, render_page(journal.name, history, figures))
        out.note(f"{html} is written.")
    else:
        from indigo_async.cli.report.terminal import render_summary  # noqa: PLC0415 - pages need no tables

        out.show(render_summary(journal.name, figures))


def _check_is_journal(journal: Path) -> None:
    """Tell a manifest, given by mistake, from a journal that is damaged: that one has its `.lock` beside it.

    Raises:
        InvalidInputError: no journal is or was there.
    """
    if journal.with_name(f"{journal.name}.lock").exists():
        return
    if journal.is_file():
        with journal.open("rb") as file:
            if file.read(len(_SQLITE_MAGIC)) == _SQLITE_MAGIC:
                return
    meant = journal.with_name(f"{journal.name}.journal")
    words = f"{journal} is no journal" if journal.exists() else f"{journal}: there is no such journal"
    raise InvalidInputError([Problem("journal", f"{words}; did you mean {meant}?" if meant.is_file() else words)])


def _check_page_path(html: Path, journal: Path) -> None:
    """Refuse to replace the journal, what stands beside it, or any other file that is no page.

    Raises:
        InvalidInputError: the page may not be written there.
    """
    place, of = html.resolve(), journal.resolve()
    if place in {of.with_name(of.name + suffix) for suffix in _JOURNAL_SUFFIXES}:
        raise InvalidInputError([Problem("--html", f"{html} belongs to the journal; name another file for the page")])
    if place.is_file():
        with place.open("rb") as file:
            is_page = file.read(len(_HTML_MAGIC)).lower() == _HTML_MAGIC
    else:
        is_page = not place.exists()
    if not is_page:
        words = f"{html} is there and is no HTML page, so it is not replaced; name another file for the page"
        raise InvalidInputError([Problem("--html", words)])
