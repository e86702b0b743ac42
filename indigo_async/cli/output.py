"""What commands write: results on stdout, for people or as JSON lines for machines; everything else on stderr."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterable, Mapping
from typing import IO, Literal, NoReturn, TypeAlias

import attrs
from rich.console import Console, RenderableType
from rich.filesize import decimal
from rich.table import Table
from rich.text import Text

from indigo_async.hidden import hide_secrets
from indigo_async.models import means_failure

__all__ = [
    "Justify",
    "Output",
    "dollars",
    "file_size",
    "for_command",
    "plain_table",
    "printable",
    "shown",
    "spent_of",
    "status_text",
]

Justify: TypeAlias = Literal["left", "right"]

_WIDTH_OF_A_PIPE = 240
_GOOD = {"ACTIVE", "READY_FOR_COLUMN_SELECTION"}


class _Console(Console):
    """A console that shows text as it is, and raises what a closed pipe raises everywhere else."""

    def __init__(self, file: IO[str]) -> None:
        width = None if file.isatty() or "COLUMNS" in os.environ else _WIDTH_OF_A_PIPE
        super().__init__(file=file, width=width, markup=False, highlight=False, emoji=False, soft_wrap=False)

    def on_broken_pipe(self) -> NoReturn:
        raise BrokenPipeError


@attrs.define
class Output:
    """Where a command's words go. `as_json` is for machines, `quiet` leaves out what is not a result or an error."""

    as_json: bool = False
    quiet: bool = False
    results: Console = attrs.field(factory=lambda: _Console(sys.stdout), init=False)
    notes: Console = attrs.field(factory=lambda: _Console(sys.stderr), init=False)

    @property
    def can_redraw(self) -> bool:
        """Whether notes have a terminal to redraw on, which no line of JSON comes in between."""
        return self.notes.is_terminal and not (self.as_json and self.results.is_terminal)

    def record(self, record: Mapping[str, object]) -> None:
        """Write one line of JSON, if that is what is wanted; at once, since a reader may be waiting for it."""
        if self.as_json:
            sys.stdout.write(json.dumps(record) + "\n")
            sys.stdout.flush()

    def show(self, view: RenderableType) -> None:
        """Show a result to people; nothing where JSON is wanted."""
        if not self.as_json:
            self.results.print(shown(view) if isinstance(view, str) else view, soft_wrap=isinstance(view, str))

    def note(self, text: str) -> None:
        """Tell of progress, unless quiet."""
        if not self.quiet:
            self.notes.print(shown(text), style="dim", soft_wrap=True)

    def error(self, text: str) -> None:
        """Say what went wrong."""
        self.notes.print(f"indigo-async: {shown(text)}", style="red", soft_wrap=True)


def shown(text: str, token: str = "") -> str:
    """Lines that others wrote, in part or whole, without secrets and without what would steer a terminal."""
    return "\n".join(printable(line) for line in hide_secrets(text, token).splitlines())


def printable(text: object) -> str:
    """A text that others wrote, without the control characters that would steer a terminal."""
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in str(text))


def dollars(cents: int | None) -> str:
    """An amount of money as people read it."""
    if cents is None:
        return "unknown"
    return f"-${-cents / 100:,.2f}" if cents < 0 else f"${cents / 100:,.2f}"


def spent_of(spent_cents: int, budget_cents: int | None, *, by: str = "") -> str:
    """What was spent, and of which budget, if there is one; it may be smaller than what earlier runs spent."""
    if budget_cents is None:
        return f"{dollars(spent_cents)} spent{by}"
    if spent_cents > budget_cents:
        return f"{dollars(spent_cents)} spent{by}, above the budget of {dollars(budget_cents)}"
    return f"{dollars(spent_cents)} of {dollars(budget_cents)} spent{by}"


def file_size(size_bytes: int) -> str:
    """A size as people read it, such as `1.4 MB`."""
    return decimal(size_bytes)


def status_text(status: str) -> Text:
    """A status in the colour of what it means: green when done, red when failed, yellow on the way."""
    if not status:
        return Text("-", style="dim")
    style = "red" if means_failure(status) else "green" if status.upper() in _GOOD else "yellow"
    return Text(printable(status), style=style)


def plain_table(columns: Mapping[str, Justify], rows: Iterable[Iterable[object]]) -> Table:
    """A table without lines, which can be read, copied and cut; `columns` are headings and where they stand."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for heading, justify in columns.items():
        table.add_column(heading, justify=justify, overflow="fold")
    for row in rows:
        table.add_row(*(cell if isinstance(cell, Text) else printable("-" if cell is None else cell) for cell in row))
    return table


def for_command(message: str) -> str:
    """An error's words, with the command's options in the place of the Python arguments."""
    message = re.sub(r"\bbase_url\b", "--base-url or INDIGO_BASE_URL", message)
    return message.replace("pass token=... or set ", "set ").replace(
        "token=..., INDIGO_API_TOKEN,", "INDIGO_API_TOKEN,"
    )
