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

from indigo_async._polling import RecordPart, get_poller
from indigo_async.cli.exit_codes import ExitCode, exit_code_for
from indigo_async.cli.options.common import (
    CONNECTION,
    OUTPUT,
    WAITING,
    ConnectionOptions,
    OptionalCustomer,
    OutputOptions,
    WaitOptions,
    open_client,
    run_async,
)
from indigo_async.cli.render.audiences import audience_to_json, csv_status, effective_status
from indigo_async.cli.render.output import Output, format_status, make_table, use_option_names
from indigo_async.client import IndigoClient
from indigo_async.errors import IndigoError, NotFoundError
from indigo_async.models import Audience, AudienceStatus, ExportStatus, UploadStatus, is_failure_status

__all__ = ["watch"]


def watch(
    audience_ids: Annotated[tuple[str, ...], Parameter(help="The IDs of the audiences.")],
    /,
    *,
    customer: OptionalCustomer = None,
    connection: ConnectionOptions = CONNECTION,
    waiting: WaitOptions = WAITING,
    output: OutputOptions = OUTPUT,
) -> ExitCode:
    """Show audiences until each is done."""
    board = _WatchTable(output.create_output(), {audience_id: _Row() for audience_id in audience_ids})

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
    board.out.show(board.render())
    return board.exit_code(waiting.timeout)


@attrs.define
class _Row:
    """What is known of one audience: nothing yet, the record, or why there is none."""

    audience: Audience | None = None
    error: IndigoError | None = None
    done: bool = False


@attrs.define
class _WatchTable:
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
            get_renderable=self.render,
            console=self.out.stderr,
            transient=True,
            refresh_per_second=4,
            redirect_stdout=False,
        )

    def update(self, audience_id: str, row: _Row) -> None:
        """Tell of a change where no table shows it."""
        self.rows[audience_id] = row
        if row.audience is not None:
            self.out.write_json(audience_to_json(row.audience) | {"done": row.done})
        if not self.is_live:
            self.out.note(f"{audience_id} {_describe_row(row)}")

    def render(self) -> RenderableType:
        rows = ([audience_id, *_row_cells(row)] for audience_id, row in self.rows.items())
        return make_table({"id": "left", "name": "left", "status": "left", "exports": "left"}, rows)

    def exit_code(self, timeout: float) -> ExitCode:
        """The exit code, with words where something is not as it was hoped."""
        errors = {audience_id: row.error for audience_id, row in self.rows.items() if row.error is not None}
        for audience_id, error in errors.items():
            self.out.error(f"{audience_id}: {use_option_names(str(error))}")
        if errors:
            return exit_code_for(next(iter(errors.values())))
        if self.timed_out:
            self.out.error(f"not done after {timeout:g} s; the server's work goes on")
            return ExitCode.TIMED_OUT
        failed = any(row.audience is not None and _has_failed(row.audience) for row in self.rows.values())
        return ExitCode.FAILED if failed else ExitCode.SUCCESS


async def _watch_one(client: IndigoClient, audience_id: str, customer: str | None, board: _WatchTable) -> None:
    last: _Row | None = None

    def look(audience: Audience) -> Audience | None:
        nonlocal last
        row = _Row(audience, done=_is_done(audience))
        if last is None or _describe_row(row) != _describe_row(last):
            last = row
            board.update(audience_id, row)
        return audience if row.done else None

    try:
        await get_poller(client).wait_until(audience_id, customer, look, part=RecordPart.EXPORTS)
    except IndigoError as error:
        board.update(audience_id, _Row(error=error, done=True))


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
    return is_failure_status(audience.status) or is_failure_status(csv_status(audience) or "")


def _status_of(row: _Row) -> str:
    if row.error is not None:
        return "NOT FOUND" if isinstance(row.error, NotFoundError) else "ERROR"
    return "" if row.audience is None else effective_status(row.audience)


def _exports_of(row: _Row) -> str:
    exports = row.audience.csv_exports if row.audience is not None else ()
    return ", ".join(f"{export.id} {export.status or ('ACTIVE' if export.download_url else '')}" for export in exports)


def _describe_row(row: _Row) -> str:
    """A row in words; a change in them is what is told."""
    exports = _exports_of(row)
    return f"is {_status_of(row) or 'there'}{f'; exports: {exports}' if exports else ''}"


def _row_cells(row: _Row) -> list[object]:
    name = row.audience.name if row.audience is not None else None
    status = format_status(_status_of(row)) if row.error is None else Text(_status_of(row), style="red")
    return [name, status, _exports_of(row) or None]
