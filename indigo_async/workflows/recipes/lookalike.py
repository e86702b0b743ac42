"""The second recipe: grow a lookalike from a matched audience."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from typing import Protocol, TypeGuard

from indigo_async._transport.shared_timeout import SharedTimeout
from indigo_async._transport.transport import SendState
from indigo_async._validation import InputCheck
from indigo_async.client import CREATE_LOOKALIKE, IndigoClient, check_record_id
from indigo_async.errors import ApiError, AudienceExistsError
from indigo_async.events import Listener, Stage
from indigo_async.inputs import LookalikeFilters, LookalikeFiltersInput
from indigo_async.models import Audience, RecordId
from indigo_async.workflows.recipes.adoption import (
    NameSimilarity,
    compare_lookalike,
    is_final_refusal,
    people_count,
    same_id,
    says_already_done,
    says_name_taken,
    was_never_exported,
)
from indigo_async.workflows.recipes.context import DEFAULT_TIMEOUT, RecipeContext, recipe_scope
from indigo_async.workflows.recipes.existing_audiences import (
    CONFLICT,
    NotReusable,
    ReusableAudience,
    cancel_intents,
    find_reusable,
    reuse_audience,
)
from indigo_async.workflows.recipes.name_index import NameIndex, NameMatch
from indigo_async.workflows.recipes.waits import is_active, wait_active, wait_recorded

__all__ = ["check_lookalike", "create_lookalike", "ensure_lookalike", "warn_if_small"]

_MIN_BASE_PEOPLE = 1_000
"""The fewest matched people that a lookalike may grow from. Source: reference, "POST /create_lookalike_audience"."""


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
    """Grow a lookalike from a matched CSV audience. Returns it when it is `ACTIVE`.

    Called again with the same arguments, it adopts the audience that exists instead of making another.

    Args:
        client: an open client.
        base: an audience of at least 1,000 people matched from a CSV, or its ID.
        customer_id: the new audience's customer.
        audience_name: unique among this customer's audiences.
        size: how many people are wanted.
        include_original_audience: whether the base's people are in it; None leaves it to the server.
        filters: where the people live; all must hold at once.
        timeout: seconds for the whole recipe.
        on_event: told what happens, as values of `indigo_async.events`.

    Raises:
        InvalidInputError: before anything is sent, with all problems.
        AudienceExistsError: the customer has another audience of this name.
        AudienceFailedError: the server could not make it.
        WaitTimeoutError: not done within `timeout`.
        ApiError, TransportError, ResponseDecodeError, CustomerMismatchError: see `indigo_async.errors`.

    Source: reference, "Cookbook: Create a lookalike of a matched CSV audience".
    """
    check = InputCheck()
    check.customer_id(customer_id)
    wanted = check_lookalike(
        check,
        audience_name=audience_name,
        size=size,
        include_original_audience=include_original_audience,
        filters=filters,
    )
    base_id = _check_base(check, base)
    check.seconds("timeout", timeout)
    check.raise_if_invalid()
    run = RecipeContext(client, customer_id, audience_name, NameIndex(client))
    run.audience = base if isinstance(base, Audience) else None
    with recipe_scope(run, "create_lookalike", SharedTimeout(timeout), on_event=on_event), run.stage(Stage.LOOKALIKE):
        end = await ensure_lookalike(
            run,
            base_id,
            name=audience_name,
            size=size,
            include_original_audience=include_original_audience,
            filters=wanted,
        )
        lookalike = await end
        warn_if_small(run, lookalike, size)
        return lookalike


def check_lookalike(
    check: InputCheck,
    *,
    audience_name: str,
    size: int,
    include_original_audience: bool | None,
    filters: LookalikeFiltersInput | None,
) -> LookalikeFilters | None:
    """Check what is asked of a lookalike. Returns the filters."""
    check.text("audience_name", audience_name)
    check.positive_integer("size", size)
    if include_original_audience is not None:
        check.boolean("include_original_audience", include_original_audience)
    return check.filters(filters)


def _check_base(check: InputCheck, base: Audience | RecordId) -> RecordId:
    """What a record shows of the rules about bases. Source: reference, "POST /create_lookalike_audience"."""
    if not isinstance(base, Audience):
        check.record_id("base", base)
        return base
    if base.base_audience_id is not None:
        check.add("base", f"audience {base.id} is a lookalike itself; a base must be matched from a CSV")
    elif not is_active(base):
        check.add("base", f"audience {base.id} is not ACTIVE yet (it is {base.status!r}): wait_until_active first")
    return base.id


async def ensure_lookalike(
    context: RecipeContext,
    base_id: RecordId,
    *,
    name: str,
    size: int,
    include_original_audience: bool | None,
    filters: LookalikeFilters | None,
) -> Awaitable[Audience]:
    """Find in the journal, reuse or make the lookalike of that name, at its stage of a recipe.

    Returns the wait until it is active, which holds nothing of this.
    """
    if context.customer_id is None:
        raise ValueError("a lookalike needs a customer")
    customer_id = context.customer_id
    known = context.job_log.result(Stage.LOOKALIKE)
    if known is not None:
        return wait_recorded(context, known["audience_id"])
    begun = context.job_log.open_intent(Stage.LOOKALIKE) is not None
    base_people = _known_people_count(context, base_id)
    compare = partial(
        compare_lookalike,
        base_id=base_id,
        max_people=_max_people(size, base_people, include_original_audience=include_original_audience),
    )

    async def fit(
        candidates: Iterable[NameMatch], *, allow_truncated: bool = False, is_name_taken: bool = False
    ) -> ReusableAudience | NotReusable | None:
        others = [candidate for candidate in candidates if not same_id(candidate.id, base_id)]
        return await find_reusable(
            context, name, others, compare, allow_truncated=allow_truncated, is_name_taken=is_name_taken
        )

    async def send() -> Audience:
        return await context.client.create_lookalike_audience(
            base_audience_id=base_id,
            customer_id=customer_id,
            size=size,
            audience_name=name,
            include_original_audience=include_original_audience,
            filters=filters,
        )

    existing = await fit(await context.name_index.find(customer_id, name))
    if existing is not None:
        return reuse_audience(
            context, Stage.LOOKALIKE, existing, made_by_this_job=begun and _is_certain_reuse(existing)
        )
    _warn_if_base_small(context, base_id, base_people)
    await context.job_log.record_intent(Stage.LOOKALIKE, {"base_audience_id": base_id})
    made, doubted = await _create_or_find(context, customer_id, name, send, fit, was_attempted=begun)
    if not isinstance(made, Audience):
        is_own = (
            doubted and _is_certain_reuse(made) and not context.name_index.existed_before(customer_id, made.audience.id)
        )
        return reuse_audience(context, Stage.LOOKALIKE, made, made_by_this_job=is_own)
    if context.name_index.existed_before(customer_id, made.id):  # a server that answers with what it had already
        answered = await fit([NameMatch(made.id, NameSimilarity.EXACT)], allow_truncated=True, is_name_taken=True)
        return reuse_audience(context, Stage.LOOKALIKE, answered or _wrong_audience_error(made.id, name))
    check_record_id(CREATE_LOOKALIKE, "base audience", requested=base_id, received=made.base_audience_id)
    if was_never_exported(made):
        context.created_ids += (str(made.id),)
    await context.job_log.record_result(Stage.LOOKALIKE, {"audience_id": made.id})
    return wait_active(context, made.id)


class _FindReusable(Protocol):
    async def __call__(
        self, candidates: Iterable[NameMatch], *, allow_truncated: bool = False, is_name_taken: bool = False
    ) -> ReusableAudience | NotReusable | None: ...


async def _create_or_find(
    context: RecipeContext,
    customer_id: str,
    name: str,
    send: Callable[[], Awaitable[Audience]],
    find: _FindReusable,
    *,
    was_attempted: bool,
) -> tuple[Audience | ReusableAudience | NotReusable, bool]:
    """What the server made, or has under that name; and whether an attempt whose response was lost may have made it."""

    async def look() -> ReusableAudience | NotReusable | None:
        namesakes = await context.name_index.find_fresh(customer_id, name)
        cut_before = {
            namesake
            for namesake in namesakes
            if namesake.similarity is NameSimilarity.TRUNCATED
            and context.name_index.existed_before(customer_id, namesake.id)
        }
        return await find((one for one in namesakes if one not in cut_before), allow_truncated=True)

    flight = SendState()
    try:
        made = await context.post(send, look, flight)
    except ApiError as refusal:
        # Perhaps because the name is taken, by an attempt whose response was lost or by another audience.
        is_taken = says_name_taken(refusal)
        namesakes = await context.name_index.find_after_refusal(
            customer_id, name, is_name_taken=is_taken, interval=context.client.poll_interval
        )
        existing = await find(namesakes, allow_truncated=is_taken, is_name_taken=is_taken)
        doubted = was_attempted or flight.unknown_outcomes > 0
        if existing is not None:
            return existing, doubted
        is_conflict = refusal.status == CONFLICT and not doubted and context.name_index.shows_names(customer_id)
        if is_conflict or (is_final_refusal(refusal) and not (doubted and says_already_done(refusal))):
            await cancel_intents(context, Stage.LOOKALIKE)
        raise
    return made, was_attempted or flight.unknown_outcomes > 0


def _warn_if_base_small(context: RecipeContext, base_id: RecordId, people: int | None) -> None:
    if people is not None and people < _MIN_BASE_PEOPLE:
        context.warn(
            f"audience {base_id} has {people:,} people; a lookalike needs a base of at least {_MIN_BASE_PEOPLE:,}, "
            "so the server may refuse it"
        )


def _known_people_count(context: RecipeContext, audience_id: RecordId) -> int | None:
    """How many people an audience has, where the run has its record and that shows it."""
    known = context.audience
    return people_count(known) if known is not None and same_id(known.id, audience_id) else None


def _max_people(size: int, base_people: int | None, *, include_original_audience: bool | None) -> int | None:
    """The most people that a lookalike can have: those requested, and those of its base unless they are left out."""
    if include_original_audience is False:
        return size
    return None if base_people is None else size + base_people


def _is_certain_reuse(found: ReusableAudience | NotReusable) -> TypeGuard[ReusableAudience]:
    return isinstance(found, ReusableAudience) and found.evidence.is_certain


def _wrong_audience_error(audience_id: RecordId, name: str) -> AudienceExistsError:
    return AudienceExistsError(
        f"the server answered with audience {audience_id}, which existed before and does not have the name {name!r}; "
        "it was left as it is. Choose another name",
        stage=Stage.LOOKALIKE,
    )


def warn_if_small(context: RecipeContext, lookalike: Audience, size: int) -> None:
    """Warn where a lookalike has fewer people than were requested."""
    people = people_count(lookalike)
    if people is not None and people < size:
        context.warn(f"audience {lookalike.id} has {people:,} people; {size:,} were requested")
