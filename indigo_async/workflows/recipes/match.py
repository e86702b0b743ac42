"""The first recipe: upload a CSV and match it to the voter file."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import TypeGuard
from urllib.parse import urlsplit

import attrs

from indigo_async._redaction import sanitize_text, secret
from indigo_async._transport.cancellation import run_in_thread
from indigo_async._transport.shared_timeout import SharedTimeout
from indigo_async._validation import InputCheck, is_loopback_host
from indigo_async.client import IndigoClient
from indigo_async.errors import ApiError, AudienceExistsError, AudienceFailedError, NotFoundError, PublishError
from indigo_async.events import Listener, Stage
from indigo_async.files.csv.check import CsvInspection, find_csv_problems, inspect_csv
from indigo_async.files.csv.urls import find_url_warnings
from indigo_async.files.csv.warnings import find_name_warnings
from indigo_async.files.publishing.publisher import Publisher, content_name
from indigo_async.inputs import ColumnSelection, ColumnSelections, ColumnSelectionsInput
from indigo_async.models import Audience, RecordId, same_id
from indigo_async.workflows.recipes.context import DEFAULT_TIMEOUT, JobLog, RecipeContext, check_client, recipe_scope
from indigo_async.workflows.recipes.existing_audiences import (
    Evidence,
    NotReusable,
    ReusableAudience,
    StubState,
    cancel_intents,
    compare_matched,
    find_reusable,
    get_audience_if_exists,
    report_audience_reuse,
    reuse_audience,
    warn_if_unread,
    was_matched,
    was_never_exported,
)
from indigo_async.workflows.recipes.name_index import NameMatch, NameSimilarity, compare_names
from indigo_async.workflows.recipes.next_step import Requested
from indigo_async.workflows.recipes.reconcile import is_final_refusal, says_already_done, says_name_taken
from indigo_async.workflows.recipes.waits import is_active, wait_active, wait_ready_for_columns, wait_recorded

__all__ = ["check_csv", "ensure_matched", "inspect_input", "is_local_path", "is_url", "upload_and_match"]

_NEEDS_PUBLISHER = (
    "is a local file, and the server fetches CSVs from URLs: pass publisher=..., which puts the file at a URL for as "
    "long as the match needs it, such as publisher=indigo_async.files.ObjectStorePublisher('s3://bucket/lists') (extra "
    "`publish`; on the command line, --publish s3://bucket/lists), or upload it and pass the (presigned) URL. For the "
    "sandbox, use publisher=indigo_async.files.LocalPublisher()"
)

_UNKNOWN_OUTCOME_SECONDS = 15 * 60.0
"""How long to wait for a refused match that may have been made anyway. The next run finds one that takes longer."""

_LOW_MATCH_RATE = 0.1
"""Below this share of matched rows, a column or the file is probably wrong.

Lists of up to ten rows can't fall below it, unless nobody matched.
"""


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

    Called again with the same arguments, it reuses the existing audience. If the server shows that fewer than 10% of
    the rows matched, the recipe warns (`RecipeWarning`).

    Args:
        client: an open client.
        csv: a URL that the server can fetch, or a local path, which needs a `publisher`.
        customer_id: any text that identifies your customer.
        audience_name: unique among this customer's audiences.
        column_selections: which CSV column holds which field, and whether a match must agree on it.
        publisher: puts a local file at a URL for as long as the match needs it.
        timeout: seconds for the whole recipe.
        on_event: called with each event; see `indigo_async.events`.

    Raises:
        InvalidInputError: before anything is sent, with all problems.
        AudienceExistsError: the customer has another audience with this name.
        AudienceFailedError: the server could not read or match the CSV.
        WaitTimeoutError: it took longer than `timeout`.
        ApiError, TransportError, ResponseDecodeError, CustomerMismatchError: see `indigo_async.errors`.

    API reference: "Cookbook: Upload a CSV and match it to the voter file".
    """
    csv = secret(csv)
    check = InputCheck()
    check_client(check, client, on_event)
    customer_id = check.customer_id(customer_id)
    audience_name = check.text("audience_name", audience_name)
    selections = check.column_selections(column_selections)
    await run_in_thread(
        partial(check_csv, check, csv, ColumnSelections(**selections), can_publish=publisher is not None)
    )
    timeout = check.seconds("timeout", timeout)
    check.raise_if_invalid()
    context = RecipeContext(client, customer_id, audience_name, publisher=publisher)
    with recipe_scope(context, "upload_and_match", SharedTimeout(timeout), on_event=on_event):
        return await ensure_matched(context, csv, selections)


def is_url(csv: str | Path) -> bool:
    return isinstance(csv, str) and "://" in csv


def is_local_path(csv: object) -> TypeGuard[str | Path]:
    return isinstance(csv, Path) or (isinstance(csv, str) and not is_url(csv))


def check_csv(
    check: InputCheck, csv: str | Path, selections: ColumnSelections | None = None, *, can_publish: bool
) -> None:
    """Check that a CSV is a URL, or a local file with the selected columns that can be published."""
    if is_url(csv):
        check.url("csv", csv)
    elif not isinstance(csv, (str, Path)):  # pyright: ignore[reportUnnecessaryIsInstance] - callers without a type checker
        check.add("csv", f"must be a URL or a path, not {type(csv).__name__}")
    elif not can_publish:
        check.add("csv", _NEEDS_PUBLISHER)  # says nothing about the disk: the path may come from a stranger
    else:
        check.problems += find_csv_problems(Path(csv), {} if selections is None else selections.by_field())


async def inspect_input(
    client: IndigoClient, csv: str | Path, selections: Mapping[str, ColumnSelection]
) -> CsvInspection:
    """Find the exact column names of a local CSV, and what to warn about before a CSV is uploaded.

    Raises:
        InvalidInputError: the file has changed since it was checked, and can't be matched any more.
    """
    if is_url(csv):
        columns = {field: selection.column_name for field, selection in selections.items()}
        url_warnings = find_url_warnings(str(csv), api_is_local=client.settings.is_loopback)
        return CsvInspection(selections, (*url_warnings, *find_name_warnings(columns)))
    return await run_in_thread(partial(inspect_csv, Path(csv), selections))


async def ensure_matched(context: RecipeContext, csv: str | Path, selections: ColumnSelectionsInput) -> Audience:
    """Return the audience matched from a CSV, active: recorded in the journal, reused, or matched now."""
    csv = secret(csv)
    audience = await _Match(context, csv, selections).run()
    if audience.people_count == 0:
        context.warn(
            f"audience {audience.id} has 0 people: no row of the CSV was matched; check its columns, then "
            "match it under another name"
        )
    elif context.job_log.result(Stage.PURCHASE) is None:  # no earlier run purchased an export
        _warn_if_few_matched(context, audience)
    return audience


def _warn_if_few_matched(context: RecipeContext, audience: Audience) -> None:
    """Warn if the server shows that few rows matched."""
    rate = audience.match_rate
    if rate is not None and rate < _LOW_MATCH_RATE:
        context.warn(
            f"only {audience.describe_match()} matched: check the CSV and its columns before you pay for an export; "
            "match a corrected list under another name"
        )


@asynccontextmanager
async def _publish(client: IndigoClient, publisher: Publisher, path: Path) -> AsyncGenerator[str]:
    """Publish a local CSV at a URL that the server can reach. No traceback shows the URL's signature.

    Raises:
        PublishError: the file can't be published, or only for this machine, where the server isn't.
    """
    async with publisher.publish(path) as url:
        url = secret(url)  # noqa: PLW2901 - no variable may hold the plain URL
        if is_loopback_host(urlsplit(url).hostname) and not client.settings.is_loopback:
            raise PublishError(
                f"{path} was published for this machine only, and {client.settings.base_url} can't fetch it from here; "
                "use a bucket, such as publisher=indigo_async.files.ObjectStorePublisher('s3://bucket/lists')"
            )
        yield url


@attrs.frozen
class _Stub:
    """The audience that a CSV was uploaded to, and what it showed before it was matched (`state_before`).

    `match_requested`: an earlier request may have matched it. `is_new`: it was uploaded in this run, so nothing has.
    """

    id: RecordId
    state_before: StubState
    match_requested: bool = False
    is_new: bool = False


def _recorded_stub(job_log: JobLog) -> _Stub | None:
    """The stub that an earlier run uploaded, unless its match was refused: the CSV may have been corrected since."""
    intent = job_log.open_intent(Stage.MATCH)
    recorded = intent or job_log.result(Stage.UPLOAD)
    if recorded is None or recorded.get("refused"):
        return None
    return _Stub(recorded["audience_id"], StubState(**recorded.get("before", {})), match_requested=intent is not None)


@attrs.define(eq=False)
class _Match:
    """One CSV on its way to a matched audience."""

    context: RecipeContext
    csv: str | Path
    selections: ColumnSelectionsInput
    _match_requested: bool = attrs.field(default=False, init=False)

    async def run(self) -> Audience:
        context = self.context
        recorded = context.job_log.result(Stage.MATCH)
        if recorded is not None:
            with context.stage(Stage.MATCH):
                return await wait_recorded(context, recorded["audience_id"])
        stub = _recorded_stub(context.job_log)
        if stub is not None:
            context.requested = Requested.AUDIENCE if stub.match_requested else Requested.STUB
        namesakes = await context.name_index.find(context.required_customer_id, context.audience_name)
        if stub is not None and any(same_id(namesake.id, stub.id) for namesake in namesakes):
            audience = await get_audience_if_exists(context, stub.id)
            if audience is not None and self._was_matched(audience, stub):
                with context.stage(Stage.MATCH):
                    return await self._finish(audience.id)
        existing = await self._find_reusable(stub, namesakes)
        if existing is not None:
            with context.stage(Stage.MATCH):
                return await reuse_audience(context, Stage.MATCH, existing)
        warn_if_unread(context, context.audience_name)
        async with self._published_url() as url:
            with context.stage(Stage.UPLOAD):
                await self._inspect_csv()
                if stub is None or not await self._resume_upload(stub):
                    stub = await self._upload(url)
                    await wait_ready_for_columns(context, stub.id)
            with context.stage(Stage.MATCH):
                return await self._match(stub)

    def _was_matched(self, audience: Audience, stub: _Stub) -> bool:
        return was_matched(
            audience, self.context.audience_name, stub.state_before, match_requested=stub.match_requested
        )

    async def _find_reusable(
        self, stub: _Stub | None, candidates: Iterable[NameMatch], *, is_name_taken: bool = False
    ) -> ReusableAudience | NotReusable | None:
        """Find an audience that has the requested name, isn't the stub, and fits."""
        others = [candidate for candidate in candidates if stub is None or not same_id(candidate.id, stub.id)]
        if not others:
            return None
        return await find_reusable(
            self.context,
            self.context.audience_name,
            others,
            await self._comparison(),
            allow_truncated=is_name_taken,
            is_name_taken=is_name_taken,
        )

    async def _comparison(self) -> Callable[[Audience], Evidence]:
        """Return the function that judges whether an audience was matched from this CSV."""
        csv = secret(str(self.csv)) if is_url(self.csv) else await content_name(Path(self.csv))
        return partial(compare_matched, csv=csv)

    async def _inspect_csv(self) -> None:
        """Warn about the CSV, and select its columns by their exact names."""
        given = InputCheck().column_selections(self.selections)
        inspection = await inspect_input(self.context.client, self.csv, given)
        if inspection.selections != given:  # otherwise, jobs keep sharing one object
            self.selections = ColumnSelections(**inspection.selections)
        for warning in inspection.warnings:
            self.context.warn(warning)

    def _published_url(self) -> AbstractAsyncContextManager[str]:
        """Serve the CSV at a URL during the block."""
        csv, publisher = self.csv, self.context.publisher
        if isinstance(csv, str) and (publisher is None or is_url(csv)):
            return nullcontext(csv)
        if publisher is None:
            raise ValueError("a local file needs a publisher")
        return _publish(self.context.client, publisher, Path(csv))

    async def _resume_upload(self, stub: _Stub) -> bool:
        """Wait until what an earlier run uploaded can be matched, or was. False if it has to be uploaded again.

        Raises:
            AudienceFailedError: it was matched, and that failed.
        """
        try:
            await wait_ready_for_columns(self.context, stub.id)
        except NotFoundError:
            return False
        except AudienceFailedError as error:
            failed = error.audience
        else:
            return True
        if failed is not None and self._was_matched(failed, stub):
            raise AudienceFailedError(
                f"audience {failed.id} failed: its status is {sanitize_text(failed.status)!r}",
                stage=Stage.MATCH,
                audience=failed,
            )
        return False  # the earlier run may have ended, and removed its CSV, before the server had read it

    async def _upload(self, url: str) -> _Stub:
        """Create a stub audience.

        Raises:
            AudienceExistsError: the server returned an audience that it already had, with another name.
        """
        context = self.context
        customer_id = context.required_customer_id
        await context.job_log.record_intent(Stage.UPLOAD, {})
        context.requested = Requested.UPLOAD

        async def send() -> Audience:
            if context.client.transport.is_waiting_out_outage():  # each attempt might leave a stub, so read instead
                await context.name_index.find_fresh(customer_id, context.audience_name)
            return await context.client.upload_csv(customer_id=customer_id, url=url)

        def count_lost_upload() -> None:
            context.lost_uploads += 1

        # Stubs have no names, so a lost one can't be found. They are harmless and free: upload again.
        uploaded = await context.post(send, None, on_unknown_outcome=count_lost_upload)
        if context.name_index.may_have_existed(customer_id, uploaded):
            found = await get_audience_if_exists(context, uploaded.id)
            if found is not None and found.name is not None and is_active(found):
                return await self._reuse_uploaded(found, found.name)
        context.audience, context.requested = uploaded, Requested.STUB
        before = StubState.of(uploaded, context.audience_name)
        await context.job_log.record_result(Stage.UPLOAD, {"audience_id": uploaded.id, "before": attrs.asdict(before)})
        return _Stub(uploaded.id, before, is_new=True)

    async def _reuse_uploaded(self, found: Audience, name: str) -> _Stub:
        """Use a matched audience that the server returned for the upload, if it has the requested name and CSV."""
        evidence = (await self._comparison())(found)
        if compare_names(name, self.context.audience_name) is None:
            raise AudienceExistsError(
                f"the server responded to the upload with audience {found.id}, which already exists with the name "
                f"{sanitize_text(name)!r}; it was left unchanged. Upload this CSV from another URL, or use audience "
                f"{found.id}",
                stage=Stage.UPLOAD,
                audience=found,
            )
        report_audience_reuse(self.context, found, evidence)
        return _Stub(found.id, StubState())

    async def _match(self, stub: _Stub) -> Audience:
        """Match the stub, unless an earlier request did, and wait until it is active."""
        context = self.context
        unmatched = await self._update_state(stub)
        if unmatched is None:
            return await self._finish(stub.id)
        stub = unmatched
        self._match_requested = stub.match_requested
        try:
            matched_id, is_done = await self._send_match(stub)
        except ApiError as refusal:
            refused = attrs.evolve(stub, match_requested=self._match_requested)
            recovered = await self._recover_refused(refusal, refused)
            if recovered is None:
                raise
            return recovered
        if not same_id(matched_id, stub.id):
            return await reuse_audience(context, Stage.MATCH, await self._judge_other(stub, matched_id))
        context.requested = Requested.ACCEPTED
        await context.job_log.record_result(Stage.MATCH, {"audience_id": stub.id})
        if stub.state_before.ended and not is_done:
            return await self._wait_active_again(stub.id)
        return await wait_active(context, stub.id)

    async def _update_state(self, stub: _Stub) -> _Stub | None:
        """Add what the stub shows now to its state. None if it was matched already."""
        audience = self.context.audience  # as the wait saw it
        if not stub.is_new:
            audience = await get_audience_if_exists(self.context, stub.id) or audience  # a list may show less
            if audience is not None and self._was_matched(audience, stub):
                return None
        if audience is None:
            return stub
        return attrs.evolve(stub, state_before=stub.state_before | StubState.of(audience, self.context.audience_name))

    async def _send_match(self, stub: _Stub) -> tuple[RecordId, bool]:
        """Request the match. Returns the ID of the audience in the response, and whether it is already active."""
        context = self.context
        customer_id, before = context.required_customer_id, stub.state_before

        async def send() -> Audience:
            return await context.client.match_uploaded_csv(
                audience_id=stub.id,
                customer_id=customer_id,
                audience_name=context.audience_name,
                column_selections=self.selections,
            )

        async def find_matched() -> Audience | None:
            audience = await context.client.get_audience(stub.id, customer_id)
            return audience if was_matched(audience, context.audience_name, before, match_requested=True) else None

        def note_unknown_outcome() -> None:
            self._match_requested = True

        await context.job_log.record_intent(Stage.MATCH, {"audience_id": stub.id, "before": attrs.asdict(before)})
        context.requested = Requested.AUDIENCE
        matched = await context.post(send, find_matched, on_unknown_outcome=note_unknown_outcome)
        if same_id(matched.id, stub.id):
            context.audience = matched
            if was_never_exported(matched) and not context.name_index.existed_before(customer_id, stub.id):
                context.created_ids += (str(stub.id),)
        return matched.id, is_active(matched)

    async def _judge_other(self, stub: _Stub, other_id: RecordId) -> ReusableAudience | NotReusable:
        """Judge an audience that the server returned for the match in place of the stub."""
        name = self.context.audience_name
        other = NameMatch(other_id, NameSimilarity.EXACT)
        comparison = await self._comparison()
        found = await find_reusable(self.context, name, [other], comparison, allow_truncated=True, is_name_taken=True)
        return found or AudienceExistsError(
            f"the server responded to the match of audience {stub.id} with audience {other_id}, which does not have "
            f"the name {name!r}; it was left unchanged. Choose another audience_name",
            stage=Stage.MATCH,
        )

    async def _finish(self, audience_id: RecordId) -> Audience:
        """Record a match that an earlier request made, and wait until the audience is active."""
        self.context.requested = Requested.ACCEPTED
        await self.context.job_log.record_result(Stage.MATCH, {"audience_id": audience_id})
        return await wait_active(self.context, audience_id)

    async def _wait_active_again(self, audience_id: RecordId) -> Audience:
        """Wait for an audience that was ACTIVE before its match: a list may still show the old status."""
        while True:
            listed = await wait_active(self.context, audience_id)
            audience = await get_audience_if_exists(self.context, audience_id)
            if audience is None or is_active(audience):
                return audience or listed
            await asyncio.sleep(self.context.client.poll_interval)

    async def _recover_refused(self, refusal: ApiError, stub: _Stub) -> Audience | None:
        """Return the audience if it was matched despite the refusal, or if another one with the name fits.

        An attempt whose response was lost may have made the match. Returns None if nothing shows a match; if the
        refusal is final, the journal records it.
        """
        context = self.context
        customer_id, name_index = context.required_customer_id, context.name_index
        is_final = is_final_refusal(refusal)
        audience = await get_audience_if_exists(context, stub.id)
        seen = attrs.evolve(stub, match_requested=stub.match_requested or not is_final)
        if audience is not None and self._was_matched(audience, seen):
            return await self._finish(stub.id)
        is_taken = says_name_taken(refusal)
        namesakes = await name_index.find_after_refusal(
            customer_id, context.audience_name, is_name_taken=is_taken, interval=context.client.poll_interval
        )
        existing = await self._find_reusable(stub, namesakes, is_name_taken=is_taken)
        if existing is not None:
            return await reuse_audience(context, Stage.MATCH, existing)
        hides_names = not (stub.state_before.named or name_index.shows_names(customer_id))
        may_be_matched = stub.match_requested and (says_already_done(refusal) or not is_final)
        if may_be_matched and hides_names and not stub.state_before.ended:
            # If the first attempt was carried out, the audience becomes active.
            try:
                async with context.time_limit(_UNKNOWN_OUTCOME_SECONDS):
                    audience = await wait_active(context, stub.id)
            except TimeoutError:
                if not is_final:
                    return None
            else:
                await context.job_log.record_result(Stage.MATCH, {"audience_id": stub.id})
                return audience
        if is_final or (refusal.status == HTTPStatus.CONFLICT and not hides_names):
            # Nothing was made from these columns and this CSV.
            await cancel_intents(context, Stage.MATCH)
            await context.job_log.record_result(Stage.UPLOAD, {"audience_id": stub.id, "refused": True})
        return None
