"""Waiting for one audience or export. All waits of a client share one polling loop."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from indigo_async._polling import PollFailures, RecordPart
from indigo_async._redaction import sanitize_text
from indigo_async._transport.shared_timeout import SharedTimeout
from indigo_async._validation import InputCheck
from indigo_async.client import IndigoClient, get_poller
from indigo_async.errors import AudienceFailedError, NotFoundError
from indigo_async.events import Stage, StatusChanged
from indigo_async.models import (
    Audience,
    AudienceStatus,
    CsvExport,
    RecordId,
    UploadStatus,
    is_failure_status,
)
from indigo_async.workflows.recipes.context import DEFAULT_TIMEOUT, RecipeContext, check_client, recipe_scope
from indigo_async.workflows.recipes.existing_exports import ExportState, export_state, find_export
from indigo_async.workflows.recipes.next_step import Requested

__all__ = [
    "is_active",
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
    """Wait until an uploaded CSV is `READY_FOR_COLUMN_SELECTION`, or has already been matched.

    Raises:
        AudienceFailedError: the server could not read the CSV.
        WaitTimeoutError: it took longer than `timeout` seconds.
        ApiError: the server refuses to show the audience.

    API reference: "Cookbook: Upload a CSV and match it to the voter file".
    """
    context = _check_wait(client, audience, customer_id, timeout)
    with recipe_scope(context, "wait_for_column_selection", SharedTimeout(timeout)):
        return await wait_ready_for_columns(context, _id_of(audience))


async def wait_until_active(
    client: IndigoClient,
    audience: Audience | RecordId,
    *,
    customer_id: str | None,
    timeout: float = DEFAULT_TIMEOUT,  # noqa: ASYNC109 - the wait's own deadline
) -> Audience:
    """Wait until a matched or lookalike audience is `ACTIVE`.

    Raises:
        AudienceFailedError: the audience failed on the server.
        WaitTimeoutError: it took longer than `timeout` seconds.
        ApiError: the server refuses to show the audience.

    API reference: "Cookbook".
    """
    context = _check_wait(client, audience, customer_id, timeout)
    with recipe_scope(context, "wait_until_active", SharedTimeout(timeout)):
        return await wait_active(context, _id_of(audience))


async def wait_for_export(
    client: IndigoClient,
    export: CsvExport | RecordId,
    *,
    audience: Audience | RecordId,
    customer_id: str | None,
    purchased: bool = False,
    timeout: float = DEFAULT_TIMEOUT,  # noqa: ASYNC109 - the wait's own deadline
) -> CsvExport:
    """Wait until an export is no longer in progress. With `purchased`, wait until it can be downloaded.

    Raises:
        AudienceFailedError: the export failed on the server.
        WaitTimeoutError: it took longer than `timeout` seconds.
        ApiError: the server refuses to show the audience.

    That exports can be in progress is inferred from the server's behavior.
    """
    export_id = export.id if isinstance(export, CsvExport) else export
    context = _check_wait(client, audience, customer_id, timeout)
    with recipe_scope(context, "wait_for_export", SharedTimeout(timeout)):
        context.current_stage = Stage.PURCHASE if purchased else Stage.PREVIEW
        return await wait_export(context, _id_of(audience), export_id, purchased=purchased)


def _id_of(audience: Audience | RecordId) -> RecordId:
    return audience.id if isinstance(audience, Audience) else audience


def _check_wait(
    client: IndigoClient, audience: Audience | RecordId, customer_id: str | None, timeout: float
) -> RecipeContext:
    check = InputCheck()
    check_client(check, client)
    audience_id = check.record_id("audience", _id_of(audience))
    customer_id = check.optional_customer_id(customer_id)
    check.seconds("timeout", timeout)
    check.raise_if_invalid()
    return RecipeContext(client, customer_id, str(audience_id))


def is_active(audience: Audience) -> bool:
    return audience.status.upper() == AudienceStatus.ACTIVE


def wait_ready_for_columns(context: RecipeContext, audience_id: RecordId) -> Awaitable[Audience]:
    """Wait until the uploaded CSV can be matched, or was."""

    def find_ready(audience: Audience) -> Audience | None:
        status = _upload_status(audience)
        if is_failure_status(status) or is_failure_status(audience.status):
            raise AudienceFailedError(
                f"the server could not read the CSV of audience {audience.id} (status {sanitize_text(status)!r}); "
                "check that it is a CSV with a header row, at a URL that the server can fetch",
                stage=context.current_stage,
                audience=audience,
            )
        is_ready = status.upper() == UploadStatus.READY_FOR_COLUMN_SELECTION
        was_matched = is_active(audience) and status.upper() != UploadStatus.PROCESSING
        return audience if is_ready or was_matched else None

    return _wait(context, audience_id, find_ready, _upload_status, RecordPart.UPLOAD)


def _upload_status(audience: Audience) -> str:
    return audience.uploaded_audience_csv.status if audience.uploaded_audience_csv else ""


def wait_active(context: RecipeContext, audience_id: RecordId) -> Awaitable[Audience]:
    """Wait until the audience is active."""

    def find_active(audience: Audience) -> Audience | None:
        if is_failure_status(audience.status):
            raise AudienceFailedError(
                f"audience {audience.id} failed: its status is {sanitize_text(audience.status)!r}",
                stage=context.current_stage,
                audience=audience,
            )
        return audience if is_active(audience) else None

    return _wait(context, audience_id, find_active, lambda audience: audience.status, RecordPart.STATUS)


async def wait_recorded(context: RecipeContext, audience_id: RecordId) -> Audience:
    """Wait until an audience that the journal recorded is active.

    Raises:
        NotFoundError: this server doesn't know it.
    """
    context.requested = Requested.ACCEPTED
    try:
        return await wait_active(context, audience_id)
    except NotFoundError as error:
        message = (
            f"{error.message}; the journal recorded audience {audience_id} ({context.audience_name!r}) in an earlier "
            "run, but this server doesn't know it. Check that the server (base_url) and the token are that run's. If "
            "its audiences are gone for good, ask Indigo which exports were purchased before you create the "
            "audiences again"
        )
        raise NotFoundError(error.status, message, error.error_type, error.endpoint) from None


def wait_export(
    context: RecipeContext, audience_id: RecordId, export_id: RecordId, *, purchased: bool
) -> Awaitable[CsvExport]:
    """Wait until the export is no longer in progress. With `purchased`, wait until it shows its download URL."""

    def status_of(audience: Audience) -> str:
        export = find_export(audience.csv_exports, export_id)
        return export.status if export is not None else ""

    def find_done(audience: Audience) -> CsvExport | None:
        export = find_export(audience.csv_exports, export_id)
        if export is None:
            return None
        state = export_state(export)
        if state is ExportState.FAILED:
            raise AudienceFailedError(
                f"export {export.id} of audience {audience.id} failed: its status is {sanitize_text(export.status)!r}",
                stage=context.current_stage,
                audience=audience,
            )
        if purchased:
            return export if export.download_url is not None else None
        return export if state in {ExportState.DOWNLOADABLE, ExportState.FOR_SALE} else None

    return _wait(context, audience_id, find_done, status_of, RecordPart.EXPORTS)


def _wait(
    context: RecipeContext,
    audience_id: RecordId,
    find: Callable[[Audience], T | None],
    status_of: Callable[[Audience], str],
    part: RecordPart,
) -> Awaitable[T]:
    """Wait on the client's polling loop until `find` returns something.

    Keeps the context's audience current, and reports each new status.
    """
    last_status: str | None = None

    def check(audience: Audience) -> T | None:
        nonlocal last_status
        context.audience = audience
        status = status_of(audience)
        if status != last_status:
            last_status = status
            context.emit(StatusChanged, audience_id=audience.id, status=sanitize_text(status))
        return find(audience)

    def note_last_poll(failures: PollFailures | None) -> None:
        status = last_status
        if status is not None:
            status = sanitize_text(status, context.client.transport.secrets(context.client.options), max_length=100)
        context.last_poll = _describe_last_poll(status, failures)

    context.last_poll = None
    return get_poller(context.client).wait_until(
        audience_id,
        context.customer_id,
        check,
        part=part,
        kind=(context.current_stage, part),
        deadline=context.deadline,
        on_cancel=note_last_poll,
    )


def _describe_last_poll(status: str | None, failures: PollFailures | None) -> str:
    """What the last status checks showed. `status`: the last one, empty if not shown, None before any."""
    if status is None:
        seen = "no status check got a response"
    else:
        seen = f"the last status was {status!r}" if status else "the server showed no status"
    if failures is None:
        return seen
    if failures.count == 1:
        failed = f"the last status check failed with {failures.last_error}"
    else:
        failed = f"the last {failures.count} status checks failed, the last with {failures.last_error}"
    return f"{failed}; before that, {seen}" if status is not None else failed
