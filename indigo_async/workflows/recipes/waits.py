"""Waiting for one audience or export. All waits of a client share one polling loop."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

import attrs

from indigo_async._polling import PollFailures, RecordPart, get_poller
from indigo_async._redaction import sanitize_text
from indigo_async._transport.shared_timeout import SharedTimeout
from indigo_async._validation import InputCheck
from indigo_async.client import IndigoClient
from indigo_async.errors import AudienceFailedError, NotFoundError
from indigo_async.events import Stage, StatusChanged, emit
from indigo_async.models import (
    Audience,
    AudienceStatus,
    CsvExport,
    RecordId,
    UploadStatus,
    is_failure_status,
)
from indigo_async.workflows.recipes.context import DEFAULT_TIMEOUT, RecipeContext, recipe_scope
from indigo_async.workflows.recipes.existing_exports import ExportState, export_state, find_export
from indigo_async.workflows.recipes.name_index import NameIndex

__all__ = [
    "is_active",
    "read_current",
    "wait_active",
    "wait_export",
    "wait_for_column_selection",
    "wait_for_export",
    "wait_ready_for_columns",
    "wait_recorded",
    "wait_until_active",
]

T = TypeVar("T")


async def wait_for_column_selection(
    client: IndigoClient,
    audience: Audience | RecordId,
    *,
    customer_id: str | None,
    timeout: float = DEFAULT_TIMEOUT,  # noqa: ASYNC109 - the wait's own deadline
) -> Audience:
    """Wait until an uploaded CSV is `READY_FOR_COLUMN_SELECTION` (or has been matched already).

    Raises:
        AudienceFailedError: the server could not read the CSV.
        WaitTimeoutError: not within `timeout` seconds.
        ApiError: the server refuses to show the audience.

    Source: reference, "Cookbook: Upload a CSV and match it to the voter file".
    """
    run = _checked_context(client, audience, customer_id, timeout)
    with recipe_scope(run, "wait_for_column_selection", SharedTimeout(timeout)):
        return await wait_ready_for_columns(run, _id_of(audience))


async def wait_until_active(
    client: IndigoClient,
    audience: Audience | RecordId,
    *,
    customer_id: str | None,
    timeout: float = DEFAULT_TIMEOUT,  # noqa: ASYNC109 - the wait's own deadline
) -> Audience:
    """Wait until a matched or lookalike audience is `ACTIVE`.

    Raises:
        AudienceFailedError: its status says failure.
        WaitTimeoutError: not within `timeout` seconds.
        ApiError: the server refuses to show the audience.

    Source: reference, "Cookbook".
    """
    run = _checked_context(client, audience, customer_id, timeout)
    with recipe_scope(run, "wait_until_active", SharedTimeout(timeout)):
        return await wait_active(run, _id_of(audience))


async def wait_for_export(
    client: IndigoClient,
    export: CsvExport | RecordId,
    *,
    audience: Audience | RecordId,
    customer_id: str | None,
    purchased: bool = False,
    timeout: float = DEFAULT_TIMEOUT,  # noqa: ASYNC109 - the wait's own deadline
) -> CsvExport:
    """Wait until an export is no longer in progress; when it is `purchased`, until it can be downloaded.

    Raises:
        AudienceFailedError: its status says failure.
        WaitTimeoutError: not within `timeout` seconds.
        ApiError: the server refuses to show the audience.

    Source: contract, "Observed".
    """
    export_id = export.id if isinstance(export, CsvExport) else export
    run = _checked_context(client, audience, customer_id, timeout)
    with recipe_scope(run, "wait_for_export", SharedTimeout(timeout)):
        run.current_stage = Stage.PURCHASE if purchased else Stage.PREVIEW
        return await wait_export(run, _id_of(audience), export_id, purchased=purchased)


def _id_of(audience: Audience | RecordId) -> RecordId:
    return audience.id if isinstance(audience, Audience) else audience


def _checked_context(
    client: IndigoClient,
    audience: Audience | RecordId,
    customer_id: str | None,
    timeout: float,
) -> RecipeContext:
    check = InputCheck()
    check.record_id("audience", _id_of(audience))
    check.customer_id(customer_id, optional=True)
    check.seconds("timeout", timeout)
    check.raise_if_invalid()
    return RecipeContext(client, customer_id, str(_id_of(audience)), NameIndex(client))


def is_active(audience: Audience) -> bool:
    return audience.status.upper() == AudienceStatus.ACTIVE


def wait_ready_for_columns(context: RecipeContext, audience_id: RecordId) -> Awaitable[Audience]:
    """Wait, as a stage of a recipe, until the CSV can be matched (or was)."""
    return _wait(context, audience_id, _check_ready, _upload_status, RecordPart.UPLOAD)


def _check_ready(context: RecipeContext, audience: Audience) -> Audience | None:
    status = _upload_status(audience)
    if is_failure_status(status) or is_failure_status(audience.status):
        raise AudienceFailedError(
            f"the server could not read the CSV of audience {audience.id}: its status is {status!r}; "
            "is it a CSV with a header, at a URL that the server can fetch?",
            stage=context.current_stage,
            audience=audience,
        )
    ready = status.upper() == UploadStatus.READY_FOR_COLUMN_SELECTION
    was_matched = is_active(audience) and status.upper() != UploadStatus.PROCESSING
    return audience if ready or was_matched else None


def wait_active(context: RecipeContext, audience_id: RecordId) -> Awaitable[Audience]:
    """Wait, as a stage of a recipe, until the audience is done."""
    return _wait(context, audience_id, _check_active, _status, RecordPart.STATUS)


def _check_active(context: RecipeContext, audience: Audience) -> Audience | None:
    if is_failure_status(audience.status):
        raise AudienceFailedError(
            f"audience {audience.id} failed: its status is {audience.status!r}",
            stage=context.current_stage,
            audience=audience,
        )
    return audience if is_active(audience) else None


async def wait_recorded(context: RecipeContext, audience_id: RecordId) -> Audience:
    """The same for an audience that an earlier run wrote into the journal.

    Raises:
        NotFoundError: this server does not know it.
    """
    try:
        return await wait_active(context, audience_id)
    except NotFoundError as error:
        message = (
            f"{error.message}; the journal knows audience {audience_id} ({context.audience_name!r}) of an earlier run, and "
            "this server does not. Check that base_url is the server of that run. If its audiences are gone for good, "
            "ask the vendor which exports were purchased before you make them again"
        )
        raise NotFoundError(error.status, message, error.error_type, error.endpoint) from None


def read_current(context: RecipeContext, audience_id: RecordId, needs: RecordPart) -> Awaitable[Audience]:
    """The audience as it is now, with the part that is needed; those who ask at one time share a read."""
    return _wait(context, audience_id, lambda _, audience: audience, _status, needs)


def wait_export(
    context: RecipeContext, audience_id: RecordId, export_id: RecordId, *, purchased: bool
) -> Awaitable[CsvExport]:
    """Wait, as a stage of a recipe, until the export is out of progress, or, when `purchased`, has its URL."""

    def status(audience: Audience) -> str:
        export = find_export(audience.csv_exports, export_id)
        return export.status if export is not None else ""

    def if_settled(run: RecipeContext, audience: Audience) -> CsvExport | None:
        export = find_export(audience.csv_exports, export_id)
        if export is None:
            return None
        state = export_state(export)
        if state is ExportState.FAILED:
            raise AudienceFailedError(
                f"export {export.id} of audience {audience.id} failed: its status is {export.status!r}",
                stage=run.current_stage,
                audience=audience,
            )
        if purchased:
            return export if export.download_url is not None else None
        return export if state in {ExportState.DOWNLOADABLE, ExportState.FOR_SALE} else None

    return _wait(context, audience_id, if_settled, status, RecordPart.EXPORTS)


def _status(audience: Audience) -> str:
    return audience.status


def _upload_status(audience: Audience) -> str:
    return audience.uploaded_audience_csv.status if audience.uploaded_audience_csv else ""


@attrs.define(eq=False)
class _StatusWatcher(Generic[T]):
    """Keeps the run's audience current and reports each new status, until `find` has something.

    A class, because each of 10,000 waiting jobs holds one: closures take 0.6 KiB more.
    """

    _context: RecipeContext
    _find: Callable[[RecipeContext, Audience], T | None]
    _status_of: Callable[[Audience], str]
    _last: str | None = None

    def __call__(self, audience: Audience) -> T | None:
        run = self._context
        run.audience = audience
        status = self._status_of(audience)
        if status != self._last:
            self._last = status
            emit(
                StatusChanged(
                    customer_id=run.customer_id,
                    audience_name=run.audience_name,
                    audience_id=audience.id,
                    status=sanitize_text(status),
                )
            )
        return self._find(run, audience)

    def wait_cancelled(self, failures: PollFailures | None) -> None:
        """Keep what the last status checks showed, for the error that follows."""
        run = self._context
        status = None if self._last is None else sanitize_text(self._last, run.client.transport.token, max_length=100)
        run.last_poll = _describe_last_poll(status, failures)


def _describe_last_poll(status: str | None, trouble: PollFailures | None) -> str:
    """What the last status checks showed. `status` is the last one seen: empty where none was shown, None before."""
    if status is None:
        seen = "no status check was answered"
    else:
        seen = f"the last status was {status!r}" if status else "the server showed no status"
    if trouble is None:
        return seen
    checks = "status check" if trouble.count == 1 else f"{trouble.count} status checks"
    failed = f"the last {checks} failed" + (", the last with " if trouble.count > 1 else " with ") + trouble.last_error
    return f"{failed}; {seen} before" if status is not None else failed


def _wait(
    context: RecipeContext,
    audience_id: RecordId,
    find: Callable[[RecipeContext, Audience], T | None],
    status_of: Callable[[Audience], str],
    needs: RecordPart,
) -> Awaitable[T]:
    """Wait through the client's poller until `find` has something."""
    context.last_poll = None
    check = _StatusWatcher(context, find, status_of)
    return get_poller(context.client).wait_until(
        audience_id, context.customer_id, check, part=needs, on_cancel=check.wait_cancelled
    )
