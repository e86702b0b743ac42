"""What commands write: results on stdout, as text or JSON lines; everything else on stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, cast

import attrs
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.filesize import decimal
from rich.table import Table
from rich.text import Text

from indigo_async._redaction import redact
from indigo_async._text import format_dollars
from indigo_async.cli.render.console import CommandConsole, writing_results

if TYPE_CHECKING:
    from indigo_async.cli.errors import ErrorReport

__all__ = [
    "Justify",
    "Output",
    "format_elapsed",
    "format_file_size",
    "format_spending",
    "make_table",
    "replace_control_characters",
    "sanitize",
]

Justify: TypeAlias = Literal["left", "right"]

_MIN_TEXT_WIDTH = 12
_PADDING = 2


@attrs.define
class Output:
    """Where a command writes. `as_json` writes JSON instead of text; `quiet` omits progress and notes."""

    as_json: bool = False
    quiet: bool = False
    stdout: Console = attrs.field(factory=lambda: CommandConsole(sys.stdout), init=False)
    stderr: Console = attrs.field(factory=lambda: CommandConsole(sys.stderr), init=False)

    @property
    def can_redraw(self) -> bool:
        """Whether stderr is a terminal to redraw progress on, without JSON lines in between."""
        return self.stderr.is_interactive and not (self.as_json and self.stdout.is_interactive)

    def write_json(self, record: Mapping[str, object]) -> None:
        """Write a line of JSON if `as_json`, and flush it for the reader of a pipe."""
        if self.as_json:
            with writing_results():
                sys.stdout.write(json.dumps(record) + "\n")
                sys.stdout.flush()

    def write_lines(self, lines: Iterable[str]) -> None:
        """Write lines of a document unchanged to stdout."""
        with writing_results():
            sys.stdout.writelines(f"{line}\n" for line in lines)
            sys.stdout.flush()

    def show(self, view: RenderableType) -> None:
        """Print a result, unless `as_json`."""
        if self.as_json:
            return
        if isinstance(view, str):
            _print_text(self.stdout, view)
        else:
            self.stdout.print(view)

    def note(self, text: str) -> None:
        """Print progress or a hint, unless `quiet`."""
        if not self.quiet:
            _print_text(self.stderr, text, style="dim")

    def error(self, report: ErrorReport) -> None:
        """Print an error to stderr: as text, or as a line of JSON if `as_json`."""
        if self.as_json:
            self.stderr.file.write(json.dumps({"type": "error", "error": _redact_values(report.to_json())}) + "\n")
            self.stderr.file.flush()
        else:
            _print_text(self.stderr, f"indigo-async: {report.text}", style="red")


def _redact_values(value: Any) -> Any:
    """Redact secrets in all text of a JSON document."""
    match value:
        case str():
            return redact(value)
        case dict():
            return {key: _redact_values(item) for key, item in cast("dict[str, Any]", value).items()}
        case list() | tuple():
            return [_redact_values(item) for item in cast("Sequence[Any]", value)]
        case _:
            return value


def _print_text(console: Console, text: str, style: str | None = None) -> None:
    """Print text, wrapped at words in a terminal. Indented lines, such as commands to copy, are never wrapped."""
    for line in sanitize(text).split("\n"):
        console.print(line, style=style, soft_wrap=not console.is_interactive or line.startswith("  "))


def sanitize(text: str, *tokens: str) -> str:
    """Redact secrets and replace control characters, in text that may contain a server's."""
    for token in tokens:
        text = redact(text, token)
    return "\n".join(replace_control_characters(line) for line in redact(text).splitlines())


def replace_control_characters(text: object) -> str:
    """Replace control characters, which could manipulate the terminal."""
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in str(text))


def format_spending(spent_cents: int, budget_cents: int | None, *, by: str = "") -> str:
    """The money spent, and the budget if there is one. Earlier runs may have spent more than the budget."""
    if budget_cents is None:
        return f"{format_dollars(spent_cents)} spent{by}"
    if spent_cents > budget_cents:
        return f"{format_dollars(spent_cents)} spent{by}, above the budget of {format_dollars(budget_cents)}"
    return f"{format_dollars(spent_cents)} of {format_dollars(budget_cents)} spent{by}"


def format_elapsed(seconds: float) -> str:
    """A duration as hours, minutes and seconds, such as `0:02:10`."""
    return str(timedelta(seconds=round(seconds)))


def format_file_size(size_bytes: int) -> str:
    """A file size, such as `1.4 MB`."""
    return decimal(size_bytes)


def make_table(columns: Mapping[str, Justify], rows: Iterable[Iterable[object]]) -> RenderableType:
    """A table without borders. `columns` maps headings to alignments; None cells are shown as `-`.

    In a narrow terminal, headings and text wrap, but numbers don't. If that isn't enough, each row becomes a list.
    """
    return _Table(columns, [[_to_text(cell) for cell in row] for row in rows])


def _to_text(cell: object) -> Text:
    return cell if isinstance(cell, Text) else Text(replace_control_characters("-" if cell is None else cell))


@attrs.frozen
class _Table:
    """A table that adapts to the width of the terminal."""

    _columns: Mapping[str, Justify]
    _rows: Sequence[Sequence[Text]]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        longest = [max((row[index].cell_len for row in self._rows), default=0) for index in range(len(self._columns))]
        full = [max(width, len(heading)) for width, heading in zip(longest, self._columns, strict=True)]
        least = [
            max(width, *map(len, heading.split())) if justify == "right" else min(most, _MIN_TEXT_WIDTH)
            for width, most, (heading, justify) in zip(longest, full, self._columns.items(), strict=True)
        ]
        if _total_width(full) <= options.max_width:
            yield self._render_table([None] * len(full))
        elif _total_width(least) <= options.max_width:
            fixed = (
                width if justify == "right" else None
                for width, justify in zip(least, self._columns.values(), strict=True)
            )
            yield self._render_table(list(fixed))
        else:
            yield from self._render_lists()

    def _render_table(self, widths: Sequence[int | None]) -> Table:
        table = Table(box=None, padding=(0, _PADDING, 0, 0), header_style="bold")
        for (heading, justify), width in zip(self._columns.items(), widths, strict=True):
            table.add_column(heading, justify=justify, overflow="fold", width=width)
        for row in self._rows:
            table.add_row(*row)
        return table

    def _render_lists(self) -> Iterator[RenderableType]:
        """Each row as lines of heading and value, without empty values."""
        for number, row in enumerate(self._rows):
            if number:
                yield ""
            lines = Table.grid(padding=(0, _PADDING, 0, 0))
            lines.add_column(style="bold", width=max(map(len, self._columns)))
            lines.add_column(overflow="fold")
            for heading, cell in zip(self._columns, row, strict=True):
                if cell.plain:
                    lines.add_row(heading, cell)
            yield lines


def _total_width(widths: Iterable[int]) -> int:
    return sum(width + _PADDING for width in widths)
