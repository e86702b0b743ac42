"""Downloading an export that was bought before, and buying nothing."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from indigo_async._transport.cancellation import run_in_thread
from indigo_async._transport.shared_timeout import SharedTimeout
from indigo_async._validation import InputCheck
from indigo_async.client import IndigoClient
from indigo_async.errors import ExportExistsError, WorkflowError
from indigo_async.events import ExportReused, Listener, Stage, emit
from indigo_async.models import Audience, CsvExport, RecordId
from indigo_async.workflows.recipes.adoption import same_id
from indigo_async.workflows.recipes.context import DEFAULT_TIMEOUT, RecipeContext, recipe_scope
from indigo_async.workflows.recipes.csv_download import download_csv, emit_downloaded
from indigo_async.workflows.recipes.existing_exports import (
    ExportState,
    FieldMatch,
    export_state,
    find_export,
    known_fields,
    match_fields,
    needs_wait,
)
from indigo_async.workflows.recipes.export_options import check_destination
from indigo_async.workflows.recipes.name_index import NameIndex
from indigo_async.workflows.recipes.receipt import ExportReceipt
from indigo_async.workflows.recipes.reconcile import retry_rate_limited
from indigo_async.workflows.recipes.waits import wait_export

__all__ = ["choose_purchased", "download_export"]


async def download_export(
    client: IndigoClient,
    audience: Audience | RecordId,
    *,
    customer_id: str | None,
    destination: Path | str,
    export_id: RecordId | None = None,
    optional_field_types: Sequence[str] | None = None,
    timeout: float = DEFAULT_TIMEOUT,  # noqa: ASYNC109 - the recipe's own deadline
    on_event: Listener | None = None,
) -> ExportReceipt:
    """Download an export of an audience that was bought before, under a fresh URL. Nothing is priced or bought.

    One that is in progress, since it may have been bought, is waited for where no other is meant that is there.

    Args:
        client: an open client.
        audience: the audience, or its ID.
        customer_id: the audience's customer; None for an audience made in the app.
        destination: where the CSV goes, with mode 0600; a file there is replaced when the download is whole.
        export_id: which export. Without it, the one that was bought, where no other can be meant.
        optional_field_types: the paid fields that the export is to hold, and no others, instead of `export_id`; of
            several such exports the newest is downloaded. None means any.
        timeout: seconds for the whole recipe.
        on_event: told what happens, as values of `indigo_async.events`.

    Raises:
        InvalidInputError: before anything is sent, with all problems.
        ExportExistsError: several exports could be meant, or the server does not show which fields they hold: say
            which by `export_id`.
        AudienceFailedError: the export in progress failed at the server.
        WorkflowError: no such export was bought.
        DownloadError: the CSV could not be fetched whole or written; the same call goes on with it.
        WaitTimeoutError: not done within `timeout`.
        ApiError, TransportError, ResponseDecodeError, CustomerMismatchError: see `indigo_async.errors`.

    Source: reference, "GET /audience".
    """
    check = InputCheck()
    check.customer_id(customer_id, optional=True)
    audience_id = audience.id if isinstance(audience, Audience) else audience
    check.record_id("audience", audience_id)
    wanted = None if optional_field_types is None else frozenset(check.optional_field_types(optional_field_types))
    if export_id is not None:
        check.record_id("export_id", export_id)
        if optional_field_types is not None:
            check.add("optional_field_types", "says nothing further beside export_id: give one of them")
    path = await run_in_thread(partial(check_destination, check, "destination", destination))
    check.seconds("timeout", timeout)
    check.raise_if_invalid()
    name = audience.name if isinstance(audience, Audience) and audience.name else str(audience_id)
    run = RecipeContext(client, customer_id, name, NameIndex(client), current_stage=Stage.DOWNLOAD)
    with recipe_scope(run, "download_export", SharedTimeout(timeout), on_event=on_event):
        now = await _read_audience(run, audience_id)
        while (awaited := _find_in_progress(now, export_id=export_id, wanted=wanted)) is not None:
            await wait_export(run, audience_id, awaited.id, purchased=False)
            now = await _read_audience(run, audience_id)
        export = choose_purchased(now, export_id=export_id, wanted=wanted)
        evidence = "it was purchased before"
        emit(ExportReused(customer_id=customer_id, audience_name=name, export_id=export.id, evidence=evidence))
        receipt = await download_csv(run, audience_id, export, path)
        emit_downloaded(run, receipt)
        return receipt


async def _read_audience(context: RecipeContext, audience_id: RecordId) -> Audience:
    client = context.client
    now = await retry_rate_limited(
        lambda: client.get_audience(audience_id, context.customer_id), retry=client.transport.retry
    )
    context.audience = now
    return now


def _find_in_progress(
    audience: Audience, *, export_id: RecordId | None, wanted: frozenset[str] | None
) -> CsvExport | None:
    """The newest export without a URL yet that may be the one meant, if none of those can be downloaded."""
    if export_id is not None:
        meant = [export for export in audience.csv_exports if same_id(export.id, export_id)]
    else:
        meant = [
            export
            for export in audience.csv_exports
            if wanted is None or match_fields(export, wanted) is not FieldMatch.OTHER
        ]
    if any(export_state(export) is ExportState.DOWNLOADABLE for export in meant):
        return None
    return next(filter(needs_wait, reversed(meant)), None)


def choose_purchased(audience: Audience, *, export_id: RecordId | None, wanted: frozenset[str] | None) -> CsvExport:
    """The export of an audience that was bought and is meant: by its ID, else by its paid fields, else the only one.

    Raises:
        ExportExistsError: that is in doubt.
        WorkflowError: there is none.
    """
    bought = [export for export in audience.csv_exports if export_state(export) is ExportState.DOWNLOADABLE]
    if export_id is not None:
        export = find_export(bought, export_id)
        if export is None:
            raise _not_purchased_error(audience, f"export {export_id} {_why_unavailable(audience, export_id)}")
        return export
    if not bought:
        raise _not_purchased_error(audience, "no export of it was bought")
    if wanted is None:
        kinds = {known_fields(export) for export in bought}
        if len(bought) == 1 or (len(kinds) == 1 and None not in kinds):
            return bought[-1]
        doubt = bought
    else:
        ours = [export for export in bought if match_fields(export, wanted) is FieldMatch.SAME]
        if ours:
            return ours[-1]
        doubt = [export for export in bought if match_fields(export, wanted) is FieldMatch.UNKNOWN]
        if not doubt:
            raise _not_purchased_error(
                audience,
                f"no export of it with {_describe_fields(wanted)} was bought, only {_describe_exports(bought)}",
            )
    raise ExportExistsError(
        f"of audience {audience.id} were bought {_describe_exports(doubt)}; pass export_id= to say which one to download",
        stage=Stage.DOWNLOAD,
        audience=audience,
    )


def _not_purchased_error(audience: Audience, what: str) -> WorkflowError:
    unclear = [export.id for export in audience.csv_exports if export_state(export) is ExportState.UNCLEAR]
    if unclear:
        named = ", ".join(map(str, unclear))
        advice = f"export {named} may have been purchased: check that at the server before you buy another"
    else:
        advice = "export_audience prices and buys exports"
    message = f"audience {audience.id}: {what}; {advice}"
    return WorkflowError(message, stage=Stage.DOWNLOAD, audience=audience)


def _why_unavailable(audience: Audience, export_id: RecordId) -> str:
    export = find_export(audience.csv_exports, export_id)
    return "is not one of its exports" if export is None else f"cannot be downloaded, its status is {export.status!r}"


def _describe_exports(exports: Sequence[CsvExport]) -> str:
    return ", ".join(f"export {export.id} with {_describe_fields(known_fields(export))}" for export in exports)


def _describe_fields(kind: frozenset[str] | None) -> str:
    if kind is None:
        return "fields that the server does not show"
    return " and ".join(sorted(kind)) or "no paid fields"
