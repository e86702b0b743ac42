"""`indigo-async watch`: audiences as they get on, until each is done."""

from __future__ import annotations

import asyncio
from contextlib import AbstractContextManager, nullcontext
from typing import Annotated

import attrs
from cyclopts import Parameter
from rich.console import RenderableType
from rich.live import Live
from rich.text import Text

from indigo_async.cli.exits import Exit, exit_of
from indigo_async.cli.options import (
    CONNECTION,
    OUTPUT,
    WAITING,
    Connection,
    OptionalCustomer,
    OutputOptions,
    Waiting,
    open_client,
    run_async,
)
from indigo_async.cli.output import Output, for_command, plain_table, status_text
from indigo_async.cli.views import audience_record, csv_status, status_of
from indigo_async.client import IndigoClient
from indigo_async.errors import IndigoError, NotFoundError
from indigo_async.models import Audience, AudienceStatus, ExportStatus, UploadStatus, means_failure
from indigo_async.polling import Needs, poller_of

__all__ = ["watch"]


def watch(
    audience_ids: Annotated[tuple[str, ...], Parameter(help="The IDs of the audiences.")],
    /,
    *,
    customer: OptionalCustomer = None,
    connection: Connection = CONNECTION,
    waiting: Waiting = WAITING,
    output: OutputOptions = OUTPUT,
) -> Exit:
    """Show audiences until each is done."""
    board = _Board(output.open(), {audience_id: _Row() for audience_id in audience_ids})

    async def work() -> None:
        async with open_client(connection, board.out, poll_interval=waiting.poll_interval) as client:
            try:
                async with asyncio.timeout(waiting.timeout), asyncio.TaskGroup() as watches:
                    for audience_id in board.rows:
                        watches.create_task(_watch_one(client, audience_id, customer, board))
            except TimeoutError:
                board.timed_out = True

    with board.live():
        run_async(work)
    board.out.show(board.view())
    return board.verdict(waiting.timeout)


@attrs.define
class _Row:
    """What is known of one audience: nothing yet, the record, or why there is none."""

    audience: Audience | None = None
    error: IndigoError | None = None
    done: bool = False


@attrs.define
class _Board:
    """All that is watched, and how it is shown."""

    out: Output
    rows: dict[str, _Row]
    timed_out: bool = False

    @property
    def is_live(self) -> bool:
        """Whether a table can be drawn again and again; else each change is a line."""
        return self.out.can_redraw and not self.out.quiet

    def live(self) -> AbstractContextManager[object]:
        """A table that is drawn again and again, where there is a terminal for it."""
        if not self.is_live:
            return nullcontext()
        # Without redirect_stdout=False what is meant for stdout would be written to the table's terminal.
        return Live(
            get_renderable=self.view,
            console=self.out.notes,
            transient=True,
            refresh_per_second=4,
            redirect_stdout=False,
        )

    def changed(self, audience_id: str, row: _Row) -> None:
        """Tell of a change where no table shows it."""
        self.rows[audience_id] = row
        if row.audience is not None:
            self.out.record(audience_record(row.audience) | {"done": row.done})
        if not self.is_live:
            self.out.note(f"{audience_id} {_line(row)}")

    def view(self) -> RenderableType:
        rows = ([audience_id, *_cells(row)] for audience_id, row in self.rows.items())
        return plain_table({"id": "left", "name": "left", "status": "left", "exports": "left"}, rows)

    def verdict(self, timeout: float) -> Exit:
        """The exit code, with words where something is not as it was hoped."""
        errors = {audience_id: row.error for audience_id, row in self.rows.items() if row.error is not None}
        for audience_id, error in errors.items():
            self.out.error(f"{audience_id}: {for_command(str(error))}")
        if errors:
            return exit_of(next(iter(errors.values())))
        if self.timed_out:
            self.out.error(f"not done after {timeout:g} s; the server's work goes on")
            return Exit.TIMED_OUT
        failed = any(row.audience is not None and _has_failed(row.audience) for row in self.rows.values())
        return Exit.FAILED if failed else Exit.DONE


async def _watch_one(client: IndigoClient, audience_id: str, customer: str | None, board: _Board) -> None:
    last: _Row | None = None

    def look(audience: Audience) -> Audience | None:
        nonlocal last
        row = _Row(audience, done=_is_done(audience))
        if last is None or _line(row) != _line(last):
            last = row
            board.changed(audience_id, row)
        return audience if row.done else None

    try:
        await poller_of(client).watch(audience_id, customer, look, needs=Needs.EXPORTS)
    except IndigoError as error:
        board.changed(audience_id, _Row(error=error, done=True))


def _is_done(audience: Audience) -> bool:
    """Whether the server has nothing left to do: what comes next is somebody's choice."""
    if _has_failed(audience):
        return True
    if any(export.status.upper() == ExportStatus.IN_PROGRESS for export in audience.csv_exports):
        return False
    return _is_active(audience) or _waits_for_columns(audience)


def _is_active(audience: Audience) -> bool:
    return audience.status.upper() == AudienceStatus.ACTIVE


def _waits_for_columns(audience: Audience) -> bool:
    """Whether a CSV is read and not being matched, as far as can be told: a match gives the audience its name."""
    ready = (csv_status(audience) or "").upper() == UploadStatus.READY_FOR_COLUMN_SELECTION
    return ready and audience.name is None and not _is_active(audience)


def _has_failed(audience: Audience) -> bool:
    return means_failure(audience.status) or means_failure(csv_status(audience) or "")


def _status_of(row: _Row) -> str:
    if row.error is not None:
        return "NOT FOUND" if isinstance(row.error, NotFoundError) else "ERROR"
    return "" if row.audience is None else status_of(row.audience)


def _exports_of(row: _Row) -> str:
    exports = row.audience.csv_exports if row.audience is not None else ()
    return ", ".join(f"{export.id} {export.status or ('ACTIVE' if export.download_url else '')}" for export in exports)


def _line(row: _Row) -> str:
    """A row in words; a change in them is what is told."""
    exports = _exports_of(row)
    return f"is {_status_of(row) or 'there'}{f'; exports: {exports}' if exports else ''}"


def _cells(row: _Row) -> list[object]:
    name = row.audience.name if row.audience is not None else None
    status = status_text(_status_of(row)) if row.error is None else Text(_status_of(row), style="red")
    return [name, status, _exports_of(row) or None]
