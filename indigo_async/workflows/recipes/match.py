"""The first recipe: upload a CSV and match it to the voter file."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, nullcontext
from functools import partial
from pathlib import Path

import attrs

from indigo_async._redaction import redact, secret
from indigo_async._transport.cancellation import run_in_thread
from indigo_async._transport.shared_timeout import SharedTimeout
from indigo_async._transport.transport import SendState
from indigo_async._validation import InputCheck
from indigo_async.client import IndigoClient
from indigo_async.errors import ApiError, AudienceExistsError, AudienceFailedError, NotFoundError
from indigo_async.events import Listener, Stage
from indigo_async.files.csv.check import find_csv_problems
from indigo_async.files.publishing.publisher import Publisher, content_name
from indigo_async.inputs import ColumnSelection, ColumnSelectionsInput
from indigo_async.models import Audience, RecordId
from indigo_async.workflows.recipes.adoption import (
    Evidence,
    NameSimilarity,
    StubState,
    compare_matched,
    compare_names,
    is_final_refusal,
    people_count,
    same_id,
    says_already_done,
    says_name_taken,
    was_matched,
    was_never_exported,
)
from indigo_async.workflows.recipes.context import DEFAULT_TIMEOUT, JobLog, RecipeContext, recipe_scope
from indigo_async.workflows.recipes.existing_audiences import (
    CONFLICT,
    NotReusable,
    ReusableAudience,
    cancel_intents,
    find_reusable,
    read_if_exists,
    reuse_audience,
)
from indigo_async.workflows.recipes.name_index import NameIndex, NameMatch
from indigo_async.workflows.recipes.waits import is_active, wait_active, wait_ready_for_columns, wait_recorded

__all__ = ["check_csv", "ensure_matched", "is_url", "upload_and_match"]

_NEEDS_PUBLISHER = (
    "is a local file, and the server fetches CSVs from URLs: pass publisher=..., which puts the file at a URL for as "
    "long as the match needs it, such as publisher=indigo_async.files.ObjectStorePublisher('s3://bucket/lists') (extra "
    "`publish`; to the command, --publish s3://bucket/lists), or upload it and pass the (presigned) URL"
)

# A match that takes longer than this is found by the next run.
_UNKNOWN_OUTCOME_SECONDS = 15 * 60.0


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
    csv = secret(csv)
    check = InputCheck()
    check.customer_id(customer_id)
    check.text("audience_name", audience_name)
    selections = check.column_selections(column_selections)
    await run_in_thread(partial(check_csv, check, csv, publisher, selections))
    check.seconds("timeout", timeout)
    check.raise_if_invalid()
    run = RecipeContext(client, customer_id, audience_name, NameIndex(client), publisher=publisher)
    with recipe_scope(run, "upload_and_match", SharedTimeout(timeout), on_event=on_event):
        return await ensure_matched(run, csv, selections)


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
        check.add(
            "csv", _NEEDS_PUBLISHER
        )  # nothing is told of the disk: the path may be a stranger's who wants to know
    elif not Path(csv).is_file():
        check.add("csv", f"there is no file {redact(str(csv))!r}")
    else:
        check.problems += find_csv_problems(Path(csv), selections or {})


@attrs.frozen
class _Stub:
    """The audience that a CSV was uploaded to, and what it looked like `state_before` it was matched.

    `match_requested`: an earlier run may have matched it. `is_new`: it was uploaded in this run, so nobody has.
    """

    id: RecordId
    state_before: StubState
    match_requested: bool = False
    is_new: bool = False


async def ensure_matched(context: RecipeContext, csv: str | Path, selections: ColumnSelectionsInput) -> Audience:
    """The audience matched from a CSV, active: recorded, reused or made."""
    csv = secret(csv)
    if context.customer_id is None:
        raise ValueError("a matched audience needs a customer")
    known = context.job_log.result(Stage.MATCH)
    if known is not None:
        with context.stage(Stage.MATCH):
            return _warn_if_empty(context, await wait_recorded(context, known["audience_id"]))
    stub = _recorded_stub(context.job_log)
    existing = await _find_existing(context, stub, csv)
    if existing is not None:
        with context.stage(Stage.MATCH):
            return _warn_if_empty(context, await existing)
    async with _published_url(context, csv) as url:
        url = secret(url)  # noqa: PLW2901 - the plain one is not needed
        with context.stage(Stage.UPLOAD):
            ready = None if stub is None else await _resume_upload(context, stub)
            if stub is None or ready is None:
                stub = await _upload(context, url, csv)
                ready = await wait_ready_for_columns(context, stub.id)
        with context.stage(Stage.MATCH):
            end = await _match_stub(context, stub, ready, csv, selections)
            del stub, ready  # which 10,000 jobs need not hold while they wait
            return _warn_if_empty(context, await end)


def _warn_if_empty(context: RecipeContext, audience: Audience) -> Audience:
    """The same audience; a warning where it is empty."""
    if people_count(audience) == 0:
        context.warn(f"audience {audience.id} has 0 people: no row of the CSV was matched; check its columns")
    return audience


def _published_url(context: RecipeContext, csv: str | Path) -> AbstractAsyncContextManager[str]:
    """Where the server finds the CSV, in the time of the block."""
    if isinstance(csv, str) and (context.publisher is None or is_url(csv)):
        return nullcontext(csv)
    if context.publisher is None:
        raise ValueError("a local file needs a publisher")
    return context.publisher.publish(Path(csv))


async def _find_existing(context: RecipeContext, stub: _Stub | None, csv: str | Path) -> Awaitable[Audience] | None:
    """The audience that this job need not make: its own, by the stub's ID, or another of its name that fits."""
    namesakes = await context.name_index.find(context.customer_id or "", context.audience_name)
    if stub is not None and any(same_id(namesake.id, stub.id) for namesake in namesakes):
        own = await read_if_exists(context, stub.id)
        if own is not None and was_matched(
            own, context.audience_name, stub.state_before, match_requested=stub.match_requested
        ):
            return _finish_match(context, own.id)
    fit = await _find_reusable(context, stub, namesakes, csv)
    return None if fit is None else reuse_audience(context, Stage.MATCH, fit)


async def _find_reusable(
    context: RecipeContext,
    stub: _Stub | None,
    candidates: Iterable[NameMatch],
    csv: str | Path,
    *,
    is_name_taken: bool = False,
) -> ReusableAudience | NotReusable | None:
    """The audience of our name that is not this stub, and that fits. `is_name_taken`: the server refused the name."""
    others = [one for one in candidates if stub is None or not same_id(one.id, stub.id)]
    if not others:
        return None
    return await find_reusable(
        context,
        context.audience_name,
        others,
        await _comparison_for(csv),
        allow_truncated=is_name_taken,
        is_name_taken=is_name_taken,
    )


async def _comparison_for(csv: str | Path) -> Callable[[Audience], Evidence]:
    """What tells whether an audience was matched from this CSV."""
    return partial(compare_matched, csv=secret(str(csv)) if is_url(csv) else await content_name(Path(csv)))


def _recorded_stub(job_log: JobLog) -> _Stub | None:
    """The stub that an earlier run uploaded, unless its match was refused: the CSV may have been corrected since."""
    intent = job_log.open_intent(Stage.MATCH)
    known = intent or job_log.result(Stage.UPLOAD)
    if known is None or known.get("refused"):
        return None
    return _Stub(known["audience_id"], StubState(**known.get("before", {})), match_requested=intent is not None)


async def _resume_upload(context: RecipeContext, stub: _Stub) -> Audience | None:
    """What an earlier run uploaded, ready to be matched, or matched.

    Raises:
        AudienceFailedError: it was matched, and that failed.
    """
    try:
        return await wait_ready_for_columns(context, stub.id)
    except NotFoundError:
        return None
    except AudienceFailedError as error:
        failed = error.audience
    if failed is not None and was_matched(
        failed, context.audience_name, stub.state_before, match_requested=stub.match_requested
    ):
        raise AudienceFailedError(
            f"audience {failed.id} failed: its status is {failed.status!r}", stage=Stage.MATCH, audience=failed
        )
    return None  # the earlier run may have ended, and taken its CSV away, before the server had read it


async def _upload(context: RecipeContext, url: str, csv: str | Path) -> _Stub:
    """Make a stub audience.

    Raises:
        AudienceExistsError: the server answered with an audience that it had already, and that is not ours.
    """
    customer_id = context.customer_id or ""
    await context.job_log.record_intent(Stage.UPLOAD, {})

    async def look() -> None:
        """A stub without a name cannot be told from others. Lost ones are harmless and free: upload again."""

    flight = SendState()
    try:
        response = await context.post(lambda: context.client.upload_csv(customer_id=customer_id, url=url), look, flight)
    finally:
        context.lost_uploads += flight.unknown_outcomes
    if context.name_index.existed_before(customer_id, response.id):
        found = await read_if_exists(context, response.id)
        if found is not None and found.name is not None and is_active(found):
            return await _adopt_uploaded(context, found, csv)
    context.audience = response
    before = StubState.of(response, context.audience_name)
    await context.job_log.record_result(Stage.UPLOAD, {"audience_id": response.id, "before": attrs.asdict(before)})
    return _Stub(response.id, before, is_new=True)


async def _adopt_uploaded(context: RecipeContext, found: Audience, csv: str | Path) -> _Stub:
    """The stub where the server answers an upload with an audience that was matched before: it must be ours."""
    evidence = (await _comparison_for(csv))(found)
    if found.name is None or compare_names(found.name, context.audience_name) is None:
        raise AudienceExistsError(
            f"the server answered the upload with audience {found.id}, which exists and has the name {found.name!r}; "
            "it was left as it is. Upload this CSV from another URL, or use that audience",
            stage=Stage.UPLOAD,
            audience=found,
        )
    context.warn(f"reusing audience {found.id} ({evidence.reason}); {evidence.not_compared}")
    return _Stub(found.id, StubState())


async def _match_stub(
    context: RecipeContext, stub: _Stub, ready: Audience, csv: str | Path, selections: ColumnSelectionsInput
) -> Awaitable[Audience]:
    """Have the stub matched. Returns the wait until it is active, which holds nothing of this."""
    customer_id = context.customer_id or ""
    if not stub.is_new:
        ready = await read_if_exists(context, stub.id) or ready  # a list may show less than the record does
        if was_matched(ready, context.audience_name, stub.state_before, match_requested=stub.match_requested):
            return _finish_match(context, stub.id)
    before = stub.state_before | StubState.of(ready, context.audience_name)

    async def send() -> Audience:
        return await context.client.match_uploaded_csv(
            audience_id=stub.id,
            customer_id=customer_id,
            audience_name=context.audience_name,
            column_selections=selections,
        )

    async def look() -> Audience | None:
        audience = await context.client.get_audience(stub.id, customer_id)
        return audience if was_matched(audience, context.audience_name, before, match_requested=True) else None

    await context.job_log.record_intent(Stage.MATCH, {"audience_id": stub.id, "before": attrs.asdict(before)})
    flight = SendState()
    try:
        matched = await context.post(send, look, flight)
    except ApiError as refusal:
        doubted = stub.match_requested or flight.unknown_outcomes > 0
        seen = attrs.evolve(stub, state_before=before, match_requested=doubted)
        end = await _recover_refused_match(refusal, context, seen, csv)
        if end is None:
            raise
        return end
    if not same_id(matched.id, stub.id):
        return reuse_audience(context, Stage.MATCH, await _adopt_matched(context, stub, matched.id, csv))
    if was_never_exported(matched) and not context.name_index.existed_before(customer_id, stub.id):
        context.created_ids += (str(stub.id),)
    context.audience = matched
    await context.job_log.record_result(Stage.MATCH, {"audience_id": stub.id})
    return (
        _wait_active_again(context, stub.id)
        if before.ended and not is_active(matched)
        else wait_active(context, stub.id)
    )


async def _adopt_matched(
    context: RecipeContext, stub: _Stub, other_id: RecordId, csv: str | Path
) -> ReusableAudience | NotReusable:
    """The audience that the server answered a match with in place of the stub: it must have our name and CSV."""
    other = NameMatch(other_id, NameSimilarity.EXACT)
    fit = await find_reusable(
        context, context.audience_name, [other], await _comparison_for(csv), allow_truncated=True, is_name_taken=True
    )
    return fit or AudienceExistsError(
        f"the server answered the match of audience {stub.id} with audience {other_id}, which does not have the name "
        f"{context.audience_name!r}; it was left as it is. Choose another name",
        stage=Stage.MATCH,
    )


async def _finish_match(context: RecipeContext, audience_id: RecordId) -> Audience:
    """The audience, active, whose match was carried out by an earlier request of this job."""
    await context.job_log.record_result(Stage.MATCH, {"audience_id": audience_id})
    return await wait_active(context, audience_id)


async def _wait_active_again(context: RecipeContext, audience_id: RecordId) -> Audience:
    """Wait for an audience that was ACTIVE before it was matched, and is in progress: a list may still show the old."""
    while True:
        listed = await wait_active(context, audience_id)
        audience = await read_if_exists(context, audience_id)
        if audience is None or is_active(audience):
            return audience or listed
        await asyncio.sleep(context.client.poll_interval)


async def _recover_refused_match(
    refusal: ApiError, context: RecipeContext, stub: _Stub, csv: str | Path
) -> Awaitable[Audience] | None:
    """The audience, where the match was carried out although it was refused, or where the name's audience fits.

    Perhaps an attempt whose response was lost had done it. None where nothing was carried out, as far as can be told;
    after a refusal for good the journal says so.
    """
    customer_id = context.customer_id or ""
    is_certain = is_final_refusal(refusal)
    audience = await read_if_exists(context, stub.id)
    if audience is not None and was_matched(
        audience, context.audience_name, stub.state_before, match_requested=stub.match_requested or not is_certain
    ):
        return _finish_match(context, stub.id)
    is_taken = says_name_taken(refusal)
    namesakes = await context.name_index.find_after_refusal(
        customer_id, context.audience_name, is_name_taken=is_taken, interval=context.client.poll_interval
    )
    fit = await _find_reusable(context, stub, namesakes, csv, is_name_taken=is_taken)
    if fit is not None:
        return reuse_audience(context, Stage.MATCH, fit)
    hides_names = not (stub.state_before.named or context.name_index.shows_names(customer_id))
    if (
        stub.match_requested
        and hides_names
        and not stub.state_before.ended
        and (says_already_done(refusal) or not is_certain)
    ):
        return _wait_despite_refusal(refusal, context, stub)
    if is_certain or (refusal.status == CONFLICT and not hides_names):
        await _record_refusal(context, stub)
    return None


async def _wait_despite_refusal(refusal: ApiError, context: RecipeContext, stub: _Stub) -> Audience:
    """The audience, active, where a refusal came after a lost response and the server shows no names.

    Perhaps it was refused because the first attempt was carried out: then it moves on. Else it never does.
    """
    try:
        async with asyncio.timeout(_UNKNOWN_OUTCOME_SECONDS):
            audience = await wait_active(context, stub.id)
    except TimeoutError:
        if is_final_refusal(refusal):
            await _record_refusal(context, stub)
        raise refusal from None
    await context.job_log.record_result(Stage.MATCH, {"audience_id": stub.id})
    return audience


async def _record_refusal(context: RecipeContext, stub: _Stub) -> None:
    """Write down that the match was refused, so that nothing was made from these columns and this CSV."""
    await cancel_intents(context, Stage.MATCH)
    await context.job_log.record_result(Stage.UPLOAD, {"audience_id": stub.id, "refused": True})
