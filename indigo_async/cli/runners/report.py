"""`indigo-async report`: summarize a batch from its journal, even while the batch is running."""

from __future__ import annotations

from pathlib import Path

from indigo_async.cli.options.batch import is_journal
from indigo_async.cli.render.output import Output
from indigo_async.cli.report.history import build_history
from indigo_async.cli.report.statistics import compute_statistics
from indigo_async.errors import InvalidInputError, Problem
from indigo_async.workflows import JournalReader, read_journal

__all__ = ["show_report"]

_HTML_MAGIC = b"<!doctype"


def show_report(journal: Path, html: Path | None, output: Output) -> None:
    """Summarize a batch as text, or as an HTML page in the file `html`."""
    _check_is_journal(journal)
    reader = read_journal(journal)
    if html is not None:
        _check_page_path(html, reader)
    in_use = reader.is_in_use()
    history = build_history(reader.path)
    in_use = in_use or reader.is_in_use()  # a run may have started or ended meanwhile
    statistics = compute_statistics(history, in_use=in_use)
    output.write_json(statistics.to_json())
    if html is not None:
        from indigo_async.cli.report.html import render_page, write_page  # noqa: PLC0415 - loads templates

        write_page(html, render_page(journal.name, history, statistics))
        output.note(f"Report written to {html}.")
    else:
        from indigo_async.cli.report.terminal import render_summary  # noqa: PLC0415 - only for terminals

        bar = "#" if output.stdout.options.ascii_only else "█"
        output.show(render_summary(journal.name, statistics, bar=bar))


def _check_is_journal(journal: Path) -> None:
    """Reject a manifest given by mistake.

    Raises:
        InvalidInputError: there is no journal at this path.
    """
    if is_journal(journal):
        return
    suggestion = journal.with_name(f"{journal.name}.journal")
    message = f"{journal} is not a journal" if journal.exists() else f"{journal} does not exist"
    if suggestion.is_file():
        message += f"; did you mean {suggestion}?"
    raise InvalidInputError([Problem("journal", message)])


def _check_page_path(html: Path, journal: JournalReader) -> None:
    """Refuse to overwrite the journal, the files next to it, or any other file that isn't an HTML page.

    Raises:
        InvalidInputError: the page can't be written there.
    """
    page = html.resolve()
    if not page.parent.is_dir():
        raise InvalidInputError([Problem("--html", f"the folder {html.parent} does not exist")])
    if page in journal.files:
        raise InvalidInputError([Problem("--html", f"{html} belongs to the journal; choose another file")])
    if page.is_file():
        with page.open("rb") as file:
            replaceable = file.read(len(_HTML_MAGIC)).lower() == _HTML_MAGIC
    else:
        replaceable = not page.exists()
    if not replaceable:
        message = f"{html} exists and is not an HTML page, so it is not overwritten; choose another file"
        raise InvalidInputError([Problem("--html", message)])
