"""The second recipe: create a lookalike of a matched audience."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from http import HTTPStatus
from typing import TypeGuard

import attrs

from indigo_async._filters import check_filters, find_unusual_states
from indigo_async._redaction import sanitize_text
from indigo_async._text import short_repr
from indigo_async._transport.endpoints import CREATE_LOOKALIKE, check_record_id
from indigo_async._transport.shared_timeout import SharedTimeout
from indigo_async._validation import InputCheck
from indigo_async.client import IndigoClient
from indigo_async.errors import ApiError, AudienceExistsError, IndigoError, WorkflowError
from indigo_async.events import Listener, Stage
from indigo_async.inputs import LookalikeFilters, LookalikeFiltersInput
from indigo_async.models import Audience, RecordId, same_id
from indigo_async.workflows.recipes.context import DEFAULT_TIMEOUT, RecipeContext, check_client, recipe_scope
from indigo_async.workflows.recipes.existing_audiences import (
    NotReusable,
    ReusableAudience,
    cancel_intents,
    compare_lookalike,
    find_reusable,
    reuse_audience,
    warn_if_unread,
    was_never_exported,
)
from indigo_async.workflows.recipes.name_index import NameMatch, NameSimilarity
from indigo_async.workflows.recipes.next_step import Requested
from indigo_async.workflows.recipes.reconcile import is_final_refusal, says_already_done, says_name_taken
from indigo_async.workflows.recipes.waits import is_active, wait_active, wait_recorded

__all__ = ["MIN_BASE_PEOPLE", "check_lookalike", "create_lookalike", "ensure_lookalike", "warn_if_fewer"]

MIN_BASE_PEOPLE = 1_000
"""API reference: POST /create_lookalike_audience."""
_STATES_SHOWN = 3


async def create_lookalike(
    client: IndigoClient,
    base: Audience | RecordId,
    *,
    customer_id: str,
    audience_name: str,
    size: int,
    include_original_audience: bool | None = None,
    filters: LookalikeFiltersInput | None = None,
    timeout: float = DEFAULT_TIMEOUT,  # noqa: ASYNC109 - the recipe's own deadline
    on_event: Listener | None = None,
) -> Audience:
    """Create a lookalike of a matched audience, and return it when it is `ACTIVE`.

    If you call it again with the same arguments, it reuses the existing audience. If the server shows that the base has
    fewer than 1,000 matched people, the recipe warns (`RecipeWarning`) before it requests the lookalike.

    Args:
        client: an open client.
        base: an audience of at least 1,000 people matched from a CSV, or its ID.
        customer_id: the new audience's customer.
        audience_name: unique among this customer's audiences.
        size: the number of people requested.
        include_original_audience: whether the lookalike includes the base's people. None: the server decides.
        filters: where the people live; all filters must match.
        timeout: seconds for the whole recipe.
        on_event: called with each event; see `indigo_async.events`.

    Raises:
        InvalidInputError: before anything is sent, with all problems.
        AudienceExistsError: the customer has another audience with this name.
        AudienceFailedError: the server could not create the lookalike.
        WaitTimeoutError: it took longer than `timeout`.
        ApiError, TransportError, ResponseDecodeError, CustomerMismatchError: see `indigo_async.errors`.

    API reference: "Cookbook: Create a lookalike of a matched CSV audience".
    """
    check = InputCheck()
    check_client(check, client, on_event)
    customer_id = check.customer_id(customer_id)
    options = check_lookalike(
        check,
        audience_name=audience_name,
        size=size,
        include_original_audience=include_original_audience,
        filters=filters,
    )
    base_id = _check_base(check, base)
    timeout = check.seconds("timeout", timeout)
    check.raise_if_invalid()
    context = RecipeContext(client, customer_id, options.audience_name)
    context.audience = base if isinstance(base, Audience) else None
    with (
        recipe_scope(context, "create_lookalike", SharedTimeout(timeout), on_event=on_event),
        context.stage(Stage.LOOKALIKE),
    ):
        return await ensure_lookalike(
            context,
            base_id,
            name=options.audience_name,
            size=options.size,
            include_original_audience=options.include_original_audience,
            filters=options.filters,
        )


@attrs.frozen(kw_only=True)
class LookalikeOptions:
    """The checked arguments of a lookalike; see `create_lookalike`."""

    audience_name: str
    size: int
    include_original_audience: bool | None
    filters: LookalikeFilters | None


def check_lookalike(
    check: InputCheck,
    *,
    audience_name: str,
    size: int,
    include_original_audience: bool | None,
    filters: LookalikeFiltersInput | None,
    check_filters: Callable[[InputCheck, LookalikeFiltersInput | None], LookalikeFilters | None] = check_filters,
) -> LookalikeOptions:
    """Check all arguments of a lookalike."""
    if include_original_audience is not None:
        include_original_audience = check.boolean("include_original_audience", include_original_audience)
    return LookalikeOptions(
        audience_name=check.text("audience_name", audience_name),
        size=check.positive_integer("size", size),
        include_original_audience=include_original_audience,
        filters=check_filters(check, filters),
    )


def _check_base(check: InputCheck, base: Audience | RecordId) -> RecordId:
    """Check the rules for a base, as far as its record shows them. API reference: POST /create_lookalike_audience."""
    if not isinstance(base, Audience):
        return check.record_id("base", base)
    if base.base_audience_id is not None:
        check.add("base", f"audience {base.id} is a lookalike itself; a base must be matched from a CSV")
    elif not is_active(base):
        status = sanitize_text(base.status)
        check.add(
            "base", f"audience {base.id} is not ACTIVE yet (its status is {status!r}); call wait_until_active first"
        )
    return base.id


async def ensure_lookalike(
    context: RecipeContext,
    base_id: RecordId,
    *,
    name: str,
    size: int,
    include_original_audience: bool | None,
    filters: LookalikeFilters | None,
) -> Audience:
    """Return the lookalike, active: recorded in the journal, reused, or created now."""
    context.requested = Requested.NOTHING
    recorded = context.job_log.result(Stage.LOOKALIKE)
    if recorded is not None:
        lookalike = await wait_recorded(context, recorded["audience_id"])
    else:
        request = _Lookalike(context, base_id, name, size, include_original_audience, filters)
        lookalike = await request.reuse_or_create()
    warn_if_fewer(context, lookalike, size)
    return lookalike


def warn_if_fewer(context: RecipeContext, lookalike: Audience, size: int) -> None:
    """Warn if a lookalike has fewer people than were requested."""
    people = lookalike.people_count
    if people is not None and people < size:
        context.warn(f"audience {lookalike.id} has {people:,} people; {size:,} were requested")


@attrs.define(eq=False)
class _Lookalike:
    """One lookalike to reuse or create. `was_attempted`: a request whose outcome is unknown may have created it."""

    context: RecipeContext
    base_id: RecordId
    name: str
    size: int
    include_original_audience: bool | None
    filters: LookalikeFilters | None
    was_attempted: bool = False

    async def reuse_or_create(self) -> Audience:
        context, customer_id = self.context, self.context.required_customer_id
        self.was_attempted = context.job_log.open_intent(Stage.LOOKALIKE) is not None
        existing = await self._find_reusable(await context.name_index.find(customer_id, self.name))
        if existing is not None:
            is_own = self.was_attempted and _is_certain(existing)
            return await reuse_audience(context, Stage.LOOKALIKE, existing, made_by_this_job=is_own)
        warn_if_unread(context, self.name)
        await self._warn_if_base_small()
        self._warn_about_states()
        await context.job_log.record_intent(Stage.LOOKALIKE, {"base_audience_id": self.base_id})
        context.requested = Requested.AUDIENCE
        created: Audience | ReusableAudience | NotReusable
        try:
            created = await context.post(self._send, self._find_created, on_unknown_outcome=self._note_unknown_outcome)
        except ApiError as refusal:
            found = await self._find_after_refusal(refusal)
            if found is None:
                raise
            created = found
        if not isinstance(created, Audience):
            is_own = self.was_attempted and _is_certain(created) and not self._existed_before(created.audience.id)
            return await reuse_audience(context, Stage.LOOKALIKE, created, made_by_this_job=is_own)
        return await self._accept(created)

    async def _send(self) -> Audience:
        return await self.context.client.create_lookalike_audience(
            base_audience_id=self.base_id,
            customer_id=self.context.required_customer_id,
            size=self.size,
            audience_name=self.name,
            include_original_audience=self.include_original_audience,
            filters=self.filters,
        )

    def _note_unknown_outcome(self) -> None:
        self.was_attempted = True

    async def _find_created(self) -> ReusableAudience | NotReusable | None:
        """Find the lookalike after a response that left the outcome unknown."""
        listed = await self.context.name_index.find_fresh(self.context.required_customer_id, self.name)
        candidates = [
            candidate
            for candidate in listed
            if candidate.similarity is not NameSimilarity.TRUNCATED or not self._existed_before(candidate.id)
        ]
        found = await self._find_reusable(candidates, allow_truncated=True)
        unread = self.context.name_index.describe_unread(self.context.required_customer_id, self.name)
        if found is None and unread is not None:  # its absence proves nothing, so the request must not be sent again
            raise WorkflowError(
                f"{unread}; whether the lookalike was created is unknown. Look for it before you run this again",
                stage=Stage.LOOKALIKE,
            )
        return found

    async def _find_after_refusal(self, refusal: ApiError) -> ReusableAudience | NotReusable | None:
        """Find the audience that has the name, if the name is taken: by a lost attempt or by another audience.

        If there is none and the refusal is final, the journal records it.
        """
        context, customer_id = self.context, self.context.required_customer_id
        is_taken = says_name_taken(refusal)
        candidates = await context.name_index.find_after_refusal(
            customer_id, self.name, is_name_taken=is_taken, interval=context.client.poll_interval
        )
        found = await self._find_reusable(candidates, allow_truncated=is_taken, is_name_taken=is_taken)
        if found is None:
            is_conflict = (
                refusal.status == HTTPStatus.CONFLICT
                and not self.was_attempted
                and context.name_index.shows_names(customer_id)
            )
            is_final = is_final_refusal(refusal) and not (self.was_attempted and says_already_done(refusal))
            if is_conflict or is_final:
                await cancel_intents(context, Stage.LOOKALIKE)
        return found

    async def _accept(self, created: Audience) -> Audience:
        """Wait until the audience in the response is active."""
        context = self.context
        if self._existed_before(created.id):  # the server returned an audience that it already had
            match = NameMatch(created.id, NameSimilarity.EXACT)
            found = await self._find_reusable([match], allow_truncated=True, is_name_taken=True)
            return await reuse_audience(context, Stage.LOOKALIKE, found or self._wrong_audience_error(created.id))
        check_record_id(CREATE_LOOKALIKE, "base audience", requested=self.base_id, received=created.base_audience_id)
        if was_never_exported(created):
            context.created_ids += (str(created.id),)
        context.audience, context.requested = created, Requested.ACCEPTED
        await context.job_log.record_result(Stage.LOOKALIKE, {"audience_id": created.id})
        return await wait_active(context, created.id)

    async def _find_reusable(
        self, candidates: Iterable[NameMatch], *, allow_truncated: bool = False, is_name_taken: bool = False
    ) -> ReusableAudience | NotReusable | None:
        others = [candidate for candidate in candidates if not same_id(candidate.id, self.base_id)]
        compare = partial(compare_lookalike, base_id=self.base_id, max_people=self._max_people())
        return await find_reusable(
            self.context, self.name, others, compare, allow_truncated=allow_truncated, is_name_taken=is_name_taken
        )

    def _existed_before(self, audience_id: RecordId) -> bool:
        return self.context.name_index.existed_before(self.context.required_customer_id, audience_id)

    def _base_people(self) -> int | None:
        """How many people the base has, if the context holds its record and that shows it."""
        base = self.context.audience
        return base.people_count if base is not None and same_id(base.id, self.base_id) else None

    def _max_people(self) -> int | None:
        """The most people that the lookalike can have: the requested ones, and the base's unless they are left out."""
        if self.include_original_audience is False:
            return self.size
        base_people = self._base_people()
        return None if base_people is None else self.size + base_people

    async def _warn_if_base_small(self) -> None:
        """Warn if the server shows that fewer people were matched than a lookalike needs."""
        context, base = self.context, self.context.audience
        if base is None or not same_id(base.id, self.base_id):
            try:
                base = await context.get_audience(self.base_id)
            except IndigoError:  # an audience made in the app, say, which isn't shown for this customer
                return
        people = base.people_count if base.matched_count is None else base.matched_count
        if people is not None and people < MIN_BASE_PEOPLE:
            context.warn(
                f"audience {self.base_id} has {people:,} matched people; a lookalike needs a base of at least "
                f"{MIN_BASE_PEOPLE:,}, so the server may refuse it"
            )

    def _warn_about_states(self) -> None:
        states = list(find_unusual_states(self.filters or LookalikeFilters()))
        if states:
            shown = ", ".join(map(short_repr, states[:_STATES_SHOWN]))
            more = f" and {len(states) - _STATES_SHOWN:,} more" if len(states) > _STATES_SHOWN else ""
            self.context.warn(
                f"the filter states has {shown}{more}: a state is usually two capital letters, such as 'PA', or a FIPS "
                "code, such as '42'; the server may find nobody there"
            )

    def _wrong_audience_error(self, audience_id: RecordId) -> AudienceExistsError:
        return AudienceExistsError(
            f"the server responded with audience {audience_id}, which existed before and does not have the name "
            f"{self.name!r}; it was left unchanged. Choose another audience_name",
            stage=Stage.LOOKALIKE,
        )


def _is_certain(found: ReusableAudience | NotReusable) -> TypeGuard[ReusableAudience]:
    return isinstance(found, ReusableAudience) and found.evidence.is_certain
