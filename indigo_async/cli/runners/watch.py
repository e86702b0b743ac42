"""`indigo-async watch`: show audiences until the server is done with them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager, nullcontext

import attrs
from rich.console import RenderableType
from rich.text import Text

from indigo_async._polling import RecordPart
from indigo_async.cli.client import open_client
from indigo_async.cli.errors import ErrorReport, describe_error, exit_code_for
from indigo_async.cli.exit_codes import ExitCode
from indigo_async.cli.options.common import PacingOptions, WaitOptions
from indigo_async.cli.render.audiences import audience_to_json, csv_status, effective_status, format_status
from indigo_async.cli.render.live import redrawn
from indigo_async.cli.render.output import Output, make_table
from indigo_async.cli.signals import run_async
from indigo_async.client import IndigoClient, get_poller
from indigo_async.errors import IndigoError, NotFoundError
from indigo_async.models import Audience, ExportStatus, UploadStatus, is_failure_status
from indigo_async.workflows.recipes.waits import is_active

__all__ = ["watch_audiences"]

_REDRAW_INTERVAL = 0.25


def watch_audiences(
    audience_ids: Sequence[str], customer: str | None, pacing: PacingOptions, options: WaitOptions
) -> ExitCode:
    """Show audiences until each is done, or the time is up."""
    table = _WatchTable(options.create_output(), {audience_id: _Row() for audience_id in audience_ids})

    async def work() -> None:
        interval = options.poll_interval
        async with table.live(), open_client(options, table.output, pacing, poll_interval=interval) as client:
            try:
                async with asyncio.timeout(options.timeout) as limit, asyncio.TaskGroup() as watches:
                    for audience_id in table.rows:
                        watching = _watch_audience(client, audience_id, customer, table, deadline=limit.when())
                        watches.create_task(watching)
            except TimeoutError:
                table.timed_out = True

    run_async(work)
    table.output.show(table.render())
    return table.finish(options.timeout)


@attrs.define
class _Row:
    """The last known state of an audience: nothing yet, a record, or an error."""

    audience: Audience | None = None
    error: IndigoError | None = None
    done: bool = False


@attrs.define
class _WatchTable:
    """The watched audiences by ID, shown as a live table in a terminal, otherwise as a line per change."""

    output: Output
    rows: dict[str, _Row]
    timed_out: bool = False

    @property
    def is_live(self) -> bool:
        return self.output.can_redraw and not self.output.quiet

    def live(self) -> AbstractAsyncContextManager[object]:
        """Redraw the table on stderr inside the block, if it is a terminal."""
        if not self.is_live:
            return nullcontext()
        return redrawn(self.output.stderr, self.render, interval=_REDRAW_INTERVAL)

    def update(self, audience_id: str, row: _Row) -> None:
        """Store and report a change."""
        self.rows[audience_id] = row
        if row.audience is not None:
            self.output.write_json(audience_to_json(row.audience) | {"done": row.done})
        if not self.is_live:
            self.output.note(f"{audience_id} {_describe_row(row)}")

    def render(self) -> RenderableType:
        rows = ([audience_id, *_row_cells(row)] for audience_id, row in self.rows.items())
        return make_table({"id": "left", "name": "left", "status": "left", "exports": "left"}, rows)

    def finish(self, timeout: float) -> ExitCode:
        """Print errors, and return the exit code."""
        errors = {audience_id: row.error for audience_id, row in self.rows.items() if row.error is not None}
        for audience_id, error in errors.items():
            report = describe_error(error)
            self.output.error(attrs.evolve(report, audience_id=audience_id, text=f"{audience_id}: {report.text}"))
        if errors:
            return exit_code_for(next(iter(errors.values())))
        if self.timed_out:
            message, advice = f"not done after {timeout:g} s", "work already requested continues on the server"
            if missing := [audience_id for audience_id, row in self.rows.items() if row.audience is None]:
                message += f"; no response has shown {', '.join(missing)} so far"
                advice = "check the IDs, --customer and the connection"
            self.output.error(ErrorReport(type="WaitTimeoutError", message=message, advice=advice))
            return ExitCode.TIMED_OUT
        failed = any(row.audience is not None and _has_failed(row.audience) for row in self.rows.values())
        return ExitCode.FAILED if failed else ExitCode.SUCCESS


async def _watch_audience(
    client: IndigoClient, audience_id: str, customer: str | None, table: _WatchTable, *, deadline: float | None
) -> None:
    last_description: str | None = None

    def check(audience: Audience) -> Audience | None:
        nonlocal last_description
        row = _Row(audience, done=_is_done(audience))
        if (description := _describe_row(row)) != last_description:
            last_description = description
            table.update(audience_id, row)
        return audience if row.done else None

    try:
        poller = get_poller(client)
        await poller.wait_until(audience_id, customer, check, part=RecordPart.EXPORTS, deadline=deadline)
    except IndigoError as error:
        table.update(audience_id, _Row(error=error, done=True))


def _is_done(audience: Audience) -> bool:
    """Whether the server has nothing left to do: the audience failed, is active, or waits for a column selection."""
    if _has_failed(audience):
        return True
    if any(export.status.upper() == ExportStatus.IN_PROGRESS for export in audience.csv_exports):
        return False
    return is_active(audience) or _waits_for_columns(audience)


def _waits_for_columns(audience: Audience) -> bool:
    """Whether the CSV was read but isn't being matched yet. Inferred: starting a match names the audience."""
    ready = (csv_status(audience) or "").upper() == UploadStatus.READY_FOR_COLUMN_SELECTION
    return ready and audience.name is None and not is_active(audience)


def _has_failed(audience: Audience) -> bool:
    return is_failure_status(audience.status) or is_failure_status(csv_status(audience) or "")


def _row_status(row: _Row) -> str:
    if row.error is not None:
        return "NOT FOUND" if isinstance(row.error, NotFoundError) else "ERROR"
    return "" if row.audience is None else effective_status(row.audience)


def _describe_exports(row: _Row) -> str:
    exports = row.audience.csv_exports if row.audience is not None else ()
    return ", ".join(f"{export.id} {export.status or ('ACTIVE' if export.download_url else '')}" for export in exports)


def _describe_row(row: _Row) -> str:
    """The row as text. A change is reported if it changes this text."""
    exports = _describe_exports(row)
    return f"is {_row_status(row) or 'created'}{f'; exports: {exports}' if exports else ''}"


def _row_cells(row: _Row) -> list[object]:
    name = row.audience.name if row.audience is not None else None
    status = format_status(_row_status(row)) if row.error is None else Text(_row_status(row), style="red")
    return [name, status, _describe_exports(row) or None]
