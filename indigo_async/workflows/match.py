"""The first recipe: upload a CSV and match it to the voter file."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Mapping
from contextlib import AbstractAsyncContextManager, nullcontext
from functools import partial
from pathlib import Path

from indigo_async.client import IndigoClient
from indigo_async.errors import ApiError, AudienceFailedError, NotFoundError
from indigo_async.files.csv_check import csv_problems
from indigo_async.files.publish import Publisher, content_name
from indigo_async.hidden import hidden, hide_secrets
from indigo_async.inputs import ColumnSelection, ColumnSelectionsInput, InputCheck
from indigo_async.models import Audience, RecordId, means_failure
from indigo_async.polling import Needs
from indigo_async.transport.events import Listener, emit
from indigo_async.transport.session import Flight
from indigo_async.transport.shield import in_thread
from indigo_async.transport.time_limit import TimeLimit
from indigo_async.workflows.directory import Directory
from indigo_async.workflows.events import AudienceAdopted, Stage
from indigo_async.workflows.rules import adopt_matched
from indigo_async.workflows.run import DEFAULT_TIMEOUT, Run, running
from indigo_async.workflows.waits import active, current, is_active, ready_for_columns, remembered

__all__ = ["check_csv", "is_url", "matched_audience", "upload_and_match"]

_UNPUBLISHED = (
    "is a local file, and the server fetches CSVs from URLs: pass publisher=..., which puts the file at a URL for as "
    "long as the match needs it, such as publisher=indigo_async.files.ObjectStorePublisher('s3://bucket/lists') (extra "
    "`publish`; to the command, --publish s3://bucket/lists), or upload it and pass the (presigned) URL"
)

# A match that takes longer than this is found by the next run.
_DOUBT_SECONDS = 15 * 60.0


async def upload_and_match(
    client: IndigoClient,
    csv: str | Path,
    *,
    customer_id: str,
    audience_name: str,
    column_selections: ColumnSelectionsInput,
    publisher: Publisher | None = None,
    timeout: float = DEFAULT_TIMEOUT,  # noqa: ASYNC109 - the recipe's own deadline
    on_event: Listener | None = None,
) -> Audience:
    """Upload a CSV of people and match it to the voter file. Returns the audience when it is `ACTIVE`.

    Called again with the same arguments, it adopts the audience that exists instead of making another.

    Args:
        client: an open client.
        csv: a URL that the server can fetch, or a local path, which needs a `publisher`.
        customer_id: any text that identifies your customer.
        audience_name: unique among this customer's audiences.
        column_selections: which CSV column holds which field, and whether a match must agree on it.
        publisher: puts a local file at a URL for as long as the match needs it.
        timeout: seconds for the whole recipe.
        on_event: told what happens, as values of `indigo_async.events`.

    Raises:
        InvalidInputError: before anything is sent, with all problems.
        AudienceExistsError: the customer has another audience of this name.
        AudienceFailedError: the server could not read or match the CSV.
        WaitTimeoutError: not done within `timeout`.
        ApiError, TransportError, ResponseDecodeError, CustomerMismatchError: see `indigo_async.errors`.

    Source: reference, "Cookbook: Upload a CSV and match it to the voter file".
    """
    csv = hidden(csv)
    check = InputCheck()
    check.customer_id(customer_id)
    check.text("audience_name", audience_name)
    selections = check.column_selections(column_selections)
    await in_thread(partial(check_csv, check, csv, publisher, selections))
    check.seconds("timeout", timeout)
    check.done()
    run = Run(client, customer_id, audience_name, Directory(client), publisher=publisher)
    with running(run, "upload_and_match", TimeLimit(timeout), on_event=on_event):
        return await matched_audience(run, csv, selections)


def is_url(csv: str | Path) -> bool:
    return isinstance(csv, str) and "://" in csv


def check_csv(
    check: InputCheck,
    csv: str | Path,
    publisher: Publisher | None,
    selections: Mapping[str, ColumnSelection] | None = None,
) -> None:
    """Check that a CSV is a URL, or a local file that has the selected columns and that something can publish."""
    if is_url(csv):
        check.url("csv", csv)
    elif not isinstance(csv, (str, Path)):  # pyright: ignore[reportUnnecessaryIsInstance] - callers without a type checker
        check.add("csv", f"must be a URL or a path, not {type(csv).__name__}")
    elif publisher is None:
        check.add("csv", _UNPUBLISHED)  # nothing is told of the disk: the path may be a stranger's who wants to know
    elif not Path(csv).is_file():
        check.add("csv", f"there is no file {hide_secrets(str(csv))!r}")
    else:
        check.problems += csv_problems(Path(csv), selections or {})


async def matched_audience(run: Run, csv: str | Path, selections: ColumnSelectionsInput) -> Audience:
    """The audience matched from a CSV, active: remembered, adopted or made."""
    csv = hidden(csv)
    if run.customer_id is None:
        raise ValueError("a matched audience needs a customer")
    known = run.memory.recall(Stage.MATCH)
    if known is not None:
        with run.at(Stage.MATCH):
            return await remembered(run, known["audience_id"])
    found = await run.directory.find(run.customer_id, run.audience_name)
    if found is not None:
        with run.at(Stage.MATCH):
            return await _adopted(run, found, csv)
    async with _at_url(run, csv) as url:
        url = hidden(url)  # noqa: PLW2901 - the plain one is not needed
        with run.at(Stage.UPLOAD):
            ready = await _uploaded_before(run)
            if ready is None:
                ready = await (await _begin_upload(run, url))
        with run.at(Stage.MATCH):
            end = await _begin_match(run, ready, csv, selections)
            del ready  # which 10,000 jobs need not hold while they wait
            return await end


def _at_url(run: Run, csv: str | Path) -> AbstractAsyncContextManager[str]:
    """Where the server finds the CSV, in the time of the block."""
    if isinstance(csv, str) and (run.publisher is None or is_url(csv)):
        return nullcontext(csv)
    if run.publisher is None:
        raise ValueError("a local file needs a publisher")
    return run.publisher.publish(Path(csv))


async def _adopted(run: Run, found_id: RecordId, csv: str | Path) -> Audience:
    found = await current(run, found_id, Needs.UPLOAD)
    if found.uploaded_audience_csv is None or found.uploaded_audience_csv.url is None:
        found = await run.client.get_audience(found_id, run.customer_id)  # a list may show less than the record does
    evidence = adopt_matched(found, csv=str(csv) if is_url(csv) else await content_name(Path(csv)))
    emit(
        AudienceAdopted(
            customer_id=run.customer_id, audience_name=run.audience_name, audience_id=found.id, evidence=evidence
        )
    )
    await run.memory.remember(Stage.MATCH, {"audience_id": found.id})
    run.audience = found
    return found if is_active(found) else await active(run, found.id)


async def _uploaded_before(run: Run) -> Audience | None:
    """What an earlier run uploaded, ready to be matched."""
    known = run.memory.recall(Stage.UPLOAD)
    if known is None:
        return None
    try:
        return await ready_for_columns(run, known["audience_id"])
    except (AudienceFailedError, NotFoundError):
        return None  # the earlier run may have ended, and taken its CSV away, before the server had read it


async def _begin_upload(run: Run, url: str) -> Awaitable[Audience]:
    """Make a stub audience. Returns the wait until it is ready to be matched, which holds nothing of this."""
    customer_id = run.customer_id or ""
    await run.memory.intend(Stage.UPLOAD, {})

    async def look() -> None:
        """A stub without a name cannot be told from others. Lost ones are harmless and free: upload again."""

    flight = Flight()
    try:
        stub = await run.post(lambda: run.client.upload_csv(customer_id=customer_id, url=url), look, flight)
    finally:
        run.lost_uploads += flight.doubts
    run.audience = stub
    await run.memory.remember(Stage.UPLOAD, {"audience_id": stub.id})
    return ready_for_columns(run, stub.id)


async def _begin_match(
    run: Run, ready: Audience, csv: str | Path, selections: ColumnSelectionsInput
) -> Awaitable[Audience]:
    """Have the stub matched. Returns the wait until it is active, which holds nothing of this."""
    customer_id = run.customer_id or ""
    if not ready.status:  # a list may show less than the record does
        ready = await run.client.get_audience(ready.id, customer_id)

    async def send() -> Audience:
        return await run.client.match_uploaded_csv(
            audience_id=ready.id,
            customer_id=customer_id,
            audience_name=run.audience_name,
            column_selections=selections,
        )

    async def look() -> Audience | None:
        audience = await run.client.get_audience(ready.id, customer_id)
        return audience if _was_matched(audience, run.audience_name) else None

    if not _was_matched(ready, run.audience_name):
        begun = run.memory.intended(Stage.MATCH) is not None
        await run.memory.intend(Stage.MATCH, {"audience_id": ready.id})
        flight = Flight()
        try:
            run.audience = await run.post(send, look, flight)
        except ApiError as refusal:
            # Perhaps because an attempt whose answer was lost had done it, or because the name is taken.
            if await look() is None:
                found_id = await run.directory.find_now(customer_id, run.audience_name)
                if found_id is not None:
                    return _adopted(run, found_id, csv)
                if ready.name is not None or not (flight.doubts or begun):
                    raise
                return _active_in_spite_of(refusal, run, ready.id)
        run.made += (str(ready.id),)
    await run.memory.remember(Stage.MATCH, {"audience_id": ready.id})
    return active(run, ready.id)


async def _active_in_spite_of(refusal: ApiError, run: Run, audience_id: RecordId) -> Audience:
    """The audience, active, where a refusal came after a lost answer and the server shows no names.

    Perhaps it was refused because the first attempt was carried out: then it moves on. Else it never does.
    """
    try:
        async with asyncio.timeout(_DOUBT_SECONDS):
            audience = await active(run, audience_id)
    except TimeoutError:
        raise refusal from None
    run.made += (str(audience_id),)
    await run.memory.remember(Stage.MATCH, {"audience_id": audience_id})
    return audience


def _was_matched(audience: Audience, name: str) -> bool:
    """Whether the match was carried out: by its name, else by its end. Another status alone shows nothing."""
    if audience.name is not None:
        return audience.name == name
    return is_active(audience) or means_failure(audience.status)
