"""The first recipe: upload a CSV and match it to the voter file."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, nullcontext
from functools import partial
from pathlib import Path

import attrs

from indigo_async.client import IndigoClient
from indigo_async.errors import ApiError, AudienceExistsError, AudienceFailedError, NotFoundError
from indigo_async.files.csv_check import csv_problems
from indigo_async.files.publish import Publisher, content_name
from indigo_async.hidden import hidden, hide_secrets
from indigo_async.inputs import ColumnSelection, ColumnSelectionsInput, InputCheck
from indigo_async.models import Audience, RecordId
from indigo_async.transport.events import Listener
from indigo_async.transport.session import Flight
from indigo_async.transport.shield import in_thread
from indigo_async.transport.time_limit import TimeLimit
from indigo_async.workflows.directory import Directory, Namesake
from indigo_async.workflows.events import Stage
from indigo_async.workflows.reuse import CONFLICT, Fit, Misfit, cancel_intents, fitting, own_record, reused
from indigo_async.workflows.rules import (
    Evidence,
    Likeness,
    StubState,
    adopt_matched,
    is_certain_refusal,
    is_unexported,
    likeness,
    people_count,
    same_id,
    says_already,
    says_taken,
    was_matched,
)
from indigo_async.workflows.run import DEFAULT_TIMEOUT, Memory, Run, running
from indigo_async.workflows.waits import active, is_active, ready_for_columns, remembered

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


@attrs.frozen
class _Stub:
    """The audience that a CSV was uploaded to, and what it looked like `before` it was matched.

    `requested`: an earlier run may have matched it. `is_new`: it was uploaded in this run, so nobody has.
    """

    id: RecordId
    before: StubState
    requested: bool = False
    is_new: bool = False


async def matched_audience(run: Run, csv: str | Path, selections: ColumnSelectionsInput) -> Audience:
    """The audience matched from a CSV, active: recorded, reused or made."""
    csv = hidden(csv)
    if run.customer_id is None:
        raise ValueError("a matched audience needs a customer")
    known = run.memory.recall(Stage.MATCH)
    if known is not None:
        with run.at(Stage.MATCH):
            return _counted(run, await remembered(run, known["audience_id"]))
    stub = _recorded_stub(run.memory)
    existing = await _existing(run, stub, csv)
    if existing is not None:
        with run.at(Stage.MATCH):
            return _counted(run, await existing)
    async with _at_url(run, csv) as url:
        url = hidden(url)  # noqa: PLW2901 - the plain one is not needed
        with run.at(Stage.UPLOAD):
            ready = None if stub is None else await _uploaded_before(run, stub)
            if stub is None or ready is None:
                stub = await _upload(run, url, csv)
                ready = await ready_for_columns(run, stub.id)
        with run.at(Stage.MATCH):
            end = await _begin_match(run, stub, ready, csv, selections)
            del stub, ready  # which 10,000 jobs need not hold while they wait
            return _counted(run, await end)


def _counted(run: Run, audience: Audience) -> Audience:
    """The same audience; a warning where it is empty."""
    if people_count(audience) == 0:
        run.warn(f"audience {audience.id} has 0 people: no row of the CSV was matched; check its columns")
    return audience


def _at_url(run: Run, csv: str | Path) -> AbstractAsyncContextManager[str]:
    """Where the server finds the CSV, in the time of the block."""
    if isinstance(csv, str) and (run.publisher is None or is_url(csv)):
        return nullcontext(csv)
    if run.publisher is None:
        raise ValueError("a local file needs a publisher")
    return run.publisher.publish(Path(csv))


async def _existing(run: Run, stub: _Stub | None, csv: str | Path) -> Awaitable[Audience] | None:
    """The audience that this job need not make: its own, by the stub's ID, or another of its name that fits."""
    namesakes = await run.directory.find(run.customer_id or "", run.audience_name)
    if stub is not None and any(same_id(namesake.id, stub.id) for namesake in namesakes):
        own = await own_record(run, stub.id)
        if own is not None and was_matched(own, run.audience_name, stub.before, requested=stub.requested):
            return _carried_out(run, own.id)
    fit = await _fit(run, stub, namesakes, csv)
    return None if fit is None else reused(run, Stage.MATCH, fit)


async def _fit(
    run: Run, stub: _Stub | None, namesakes: Iterable[Namesake], csv: str | Path, *, is_taken: bool = False
) -> Fit | Misfit | None:
    """The audience of our name that is not this stub, and that fits. `is_taken`: the server refused the name."""
    others = [one for one in namesakes if stub is None or not same_id(one.id, stub.id)]
    if not others:
        return None
    return await fitting(run, run.audience_name, others, await _rule(csv), may_be_cut=is_taken, is_taken=is_taken)


async def _rule(csv: str | Path) -> Callable[[Audience], Evidence]:
    """What tells whether an audience was matched from this CSV."""
    return partial(adopt_matched, csv=hidden(str(csv)) if is_url(csv) else await content_name(Path(csv)))


def _recorded_stub(memory: Memory) -> _Stub | None:
    """The stub that an earlier run uploaded, unless its match was refused: the CSV may have been corrected since."""
    intent = memory.intended(Stage.MATCH)
    known = intent or memory.recall(Stage.UPLOAD)
    if known is None or known.get("refused"):
        return None
    return _Stub(known["audience_id"], StubState(**known.get("before", {})), requested=intent is not None)


async def _uploaded_before(run: Run, stub: _Stub) -> Audience | None:
    """What an earlier run uploaded, ready to be matched, or matched.

    Raises:
        AudienceFailedError: it was matched, and that failed.
    """
    try:
        return await ready_for_columns(run, stub.id)
    except NotFoundError:
        return None
    except AudienceFailedError as error:
        failed = error.audience
    if failed is not None and was_matched(failed, run.audience_name, stub.before, requested=stub.requested):
        raise AudienceFailedError(
            f"audience {failed.id} failed: its status is {failed.status!r}", stage=Stage.MATCH, audience=failed
        )
    return None  # the earlier run may have ended, and taken its CSV away, before the server had read it


async def _upload(run: Run, url: str, csv: str | Path) -> _Stub:
    """Make a stub audience.

    Raises:
        AudienceExistsError: the server answered with an audience that it had already, and that is not ours.
    """
    customer_id = run.customer_id or ""
    await run.memory.intend(Stage.UPLOAD, {})

    async def look() -> None:
        """A stub without a name cannot be told from others. Lost ones are harmless and free: upload again."""

    flight = Flight()
    try:
        response = await run.post(lambda: run.client.upload_csv(customer_id=customer_id, url=url), look, flight)
    finally:
        run.lost_uploads += flight.doubts
    if run.directory.knows_id(customer_id, response.id):
        found = await own_record(run, response.id)
        if found is not None and found.name is not None and is_active(found):
            return await _uploaded_by_others(run, found, csv)
    run.audience = response
    before = StubState.of(response, run.audience_name)
    await run.memory.remember(Stage.UPLOAD, {"audience_id": response.id, "before": attrs.asdict(before)})
    return _Stub(response.id, before, is_new=True)


async def _uploaded_by_others(run: Run, found: Audience, csv: str | Path) -> _Stub:
    """The stub where the server answers an upload with an audience that was matched before: it must be ours."""
    evidence = (await _rule(csv))(found)
    if found.name is None or likeness(found.name, run.audience_name) is None:
        raise AudienceExistsError(
            f"the server answered the upload with audience {found.id}, which exists and has the name {found.name!r}; "
            "it was left as it is. Upload this CSV from another URL, or use that audience",
            stage=Stage.UPLOAD,
            audience=found,
        )
    run.warn(f"reusing audience {found.id} ({evidence.found}); {evidence.not_compared}")
    return _Stub(found.id, StubState())


async def _begin_match(
    run: Run, stub: _Stub, ready: Audience, csv: str | Path, selections: ColumnSelectionsInput
) -> Awaitable[Audience]:
    """Have the stub matched. Returns the wait until it is active, which holds nothing of this."""
    customer_id = run.customer_id or ""
    if not stub.is_new:
        ready = await own_record(run, stub.id) or ready  # a list may show less than the record does
        if was_matched(ready, run.audience_name, stub.before, requested=stub.requested):
            return _carried_out(run, stub.id)
    before = stub.before | StubState.of(ready, run.audience_name)

    async def send() -> Audience:
        return await run.client.match_uploaded_csv(
            audience_id=stub.id,
            customer_id=customer_id,
            audience_name=run.audience_name,
            column_selections=selections,
        )

    async def look() -> Audience | None:
        audience = await run.client.get_audience(stub.id, customer_id)
        return audience if was_matched(audience, run.audience_name, before, requested=True) else None

    await run.memory.intend(Stage.MATCH, {"audience_id": stub.id, "before": attrs.asdict(before)})
    flight = Flight()
    try:
        matched = await run.post(send, look, flight)
    except ApiError as refusal:
        doubted = stub.requested or flight.doubts > 0
        end = await _in_spite_of(refusal, run, attrs.evolve(stub, before=before, requested=doubted), csv)
        if end is None:
            raise
        return end
    if not same_id(matched.id, stub.id):
        return reused(run, Stage.MATCH, await _answered_with(run, stub, matched.id, csv))
    if is_unexported(matched) and not run.directory.knows_id(customer_id, stub.id):
        run.made += (str(stub.id),)
    run.audience = matched
    await run.memory.remember(Stage.MATCH, {"audience_id": stub.id})
    return _active_again(run, stub.id) if before.ended and not is_active(matched) else active(run, stub.id)


async def _answered_with(run: Run, stub: _Stub, other_id: RecordId, csv: str | Path) -> Fit | Misfit:
    """The audience that the server answered a match with in place of the stub: it must have our name and CSV."""
    other = Namesake(other_id, Likeness.EXACT)
    fit = await fitting(run, run.audience_name, [other], await _rule(csv), may_be_cut=True, is_taken=True)
    return fit or AudienceExistsError(
        f"the server answered the match of audience {stub.id} with audience {other_id}, which does not have the name "
        f"{run.audience_name!r}; it was left as it is. Choose another name",
        stage=Stage.MATCH,
    )


async def _carried_out(run: Run, audience_id: RecordId) -> Audience:
    """The audience, active, whose match was carried out by an earlier request of this job."""
    await run.memory.remember(Stage.MATCH, {"audience_id": audience_id})
    return await active(run, audience_id)


async def _active_again(run: Run, audience_id: RecordId) -> Audience:
    """Wait for an audience that was ACTIVE before it was matched, and is in progress: a list may still show the old."""
    while True:
        listed = await active(run, audience_id)
        audience = await own_record(run, audience_id)
        if audience is None or is_active(audience):
            return audience or listed
        await asyncio.sleep(run.client.poll_interval)


async def _in_spite_of(refusal: ApiError, run: Run, stub: _Stub, csv: str | Path) -> Awaitable[Audience] | None:
    """The audience, where the match was carried out although it was refused, or where the name's audience fits.

    Perhaps an attempt whose response was lost had done it. None where nothing was carried out, as far as can be told;
    after a refusal for good the journal says so.
    """
    customer_id = run.customer_id or ""
    is_certain = is_certain_refusal(refusal)
    audience = await own_record(run, stub.id)
    if audience is not None and was_matched(
        audience, run.audience_name, stub.before, requested=stub.requested or not is_certain
    ):
        return _carried_out(run, stub.id)
    is_taken = says_taken(refusal)
    namesakes = await run.directory.find_refused(
        customer_id, run.audience_name, is_taken=is_taken, pause=run.client.poll_interval
    )
    fit = await _fit(run, stub, namesakes, csv, is_taken=is_taken)
    if fit is not None:
        return reused(run, Stage.MATCH, fit)
    hides_names = not (stub.before.named or run.directory.shows_names(customer_id))
    if stub.requested and hides_names and not stub.before.ended and (says_already(refusal) or not is_certain):
        return _active_in_spite_of(refusal, run, stub)
    if is_certain or (refusal.status == CONFLICT and not hides_names):
        await _cancel(run, stub)
    return None


async def _active_in_spite_of(refusal: ApiError, run: Run, stub: _Stub) -> Audience:
    """The audience, active, where a refusal came after a lost response and the server shows no names.

    Perhaps it was refused because the first attempt was carried out: then it moves on. Else it never does.
    """
    try:
        async with asyncio.timeout(_DOUBT_SECONDS):
            audience = await active(run, stub.id)
    except TimeoutError:
        if is_certain_refusal(refusal):
            await _cancel(run, stub)
        raise refusal from None
    await run.memory.remember(Stage.MATCH, {"audience_id": stub.id})
    return audience


async def _cancel(run: Run, stub: _Stub) -> None:
    """Write down that the match was refused, so that nothing was made from these columns and this CSV."""
    await cancel_intents(run, Stage.MATCH)
    await run.memory.remember(Stage.UPLOAD, {"audience_id": stub.id, "refused": True})
