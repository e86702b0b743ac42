"""The second recipe: grow a lookalike from a matched audience."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from typing import Protocol, TypeGuard

from indigo_async.client import CREATE_LOOKALIKE, IndigoClient, check_id
from indigo_async.errors import ApiError, AudienceExistsError
from indigo_async.inputs import InputCheck, LookalikeFilters, LookalikeFiltersInput
from indigo_async.models import Audience, RecordId
from indigo_async.transport.events import Listener
from indigo_async.transport.session import Flight
from indigo_async.transport.time_limit import TimeLimit
from indigo_async.workflows.directory import Directory, Namesake
from indigo_async.workflows.events import Stage
from indigo_async.workflows.reuse import CONFLICT, Fit, Misfit, cancel_intents, fitting, reused
from indigo_async.workflows.rules import (
    Likeness,
    adopt_lookalike,
    is_certain_refusal,
    is_unexported,
    people_count,
    same_id,
    says_already,
    says_taken,
)
from indigo_async.workflows.run import DEFAULT_TIMEOUT, Run, running
from indigo_async.workflows.waits import active, is_active, remembered

__all__ = ["begin_lookalike", "check_lookalike", "create_lookalike", "warn_of_size"]

_FEWEST_BASE_PEOPLE = 1_000
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
    check.done()
    run = Run(client, customer_id, audience_name, Directory(client))
    run.audience = base if isinstance(base, Audience) else None
    with running(run, "create_lookalike", TimeLimit(timeout), on_event=on_event), run.at(Stage.LOOKALIKE):
        end = await begin_lookalike(
            run,
            base_id,
            name=audience_name,
            size=size,
            include_original_audience=include_original_audience,
            filters=wanted,
        )
        lookalike = await end
        warn_of_size(run, lookalike, size)
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
    check.size("size", size)
    if include_original_audience is not None:
        check.flag("include_original_audience", include_original_audience)
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


async def begin_lookalike(
    run: Run,
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
    if run.customer_id is None:
        raise ValueError("a lookalike needs a customer")
    customer_id = run.customer_id
    known = run.memory.recall(Stage.LOOKALIKE)
    if known is not None:
        return remembered(run, known["audience_id"])
    begun = run.memory.intended(Stage.LOOKALIKE) is not None
    base_people = _people_of(run, base_id)
    adopt = partial(
        adopt_lookalike,
        base_id=base_id,
        most_people=_most_people(size, base_people, include_original_audience=include_original_audience),
    )

    async def fit(
        namesakes: Iterable[Namesake], *, may_be_cut: bool = False, is_taken: bool = False
    ) -> Fit | Misfit | None:
        others = [namesake for namesake in namesakes if not same_id(namesake.id, base_id)]
        return await fitting(run, name, others, adopt, may_be_cut=may_be_cut, is_taken=is_taken)

    async def send() -> Audience:
        return await run.client.create_lookalike_audience(
            base_audience_id=base_id,
            customer_id=customer_id,
            size=size,
            audience_name=name,
            include_original_audience=include_original_audience,
            filters=filters,
        )

    existing = await fit(await run.directory.find(customer_id, name))
    if existing is not None:
        return reused(run, Stage.LOOKALIKE, existing, is_own=begun and _is_certain(existing))
    _warn_of_base(run, base_id, base_people)
    await run.memory.intend(Stage.LOOKALIKE, {"base_audience_id": base_id})
    made, doubted = await _made(run, customer_id, name, send, fit, begun=begun)
    if not isinstance(made, Audience):
        is_own = doubted and _is_certain(made) and not run.directory.knows_id(customer_id, made.audience.id)
        return reused(run, Stage.LOOKALIKE, made, is_own=is_own)
    if run.directory.knows_id(customer_id, made.id):  # a server that answers with what it had already
        answered = await fit([Namesake(made.id, Likeness.EXACT)], may_be_cut=True, is_taken=True)
        return reused(run, Stage.LOOKALIKE, answered or _another(made.id, name))
    check_id(CREATE_LOOKALIKE, "base audience", asked=base_id, answered=made.base_audience_id)
    if is_unexported(made):
        run.made += (str(made.id),)
    await run.memory.remember(Stage.LOOKALIKE, {"audience_id": made.id})
    return active(run, made.id)


class _Fitting(Protocol):
    async def __call__(
        self, namesakes: Iterable[Namesake], *, may_be_cut: bool = False, is_taken: bool = False
    ) -> Fit | Misfit | None: ...


async def _made(
    run: Run, customer_id: str, name: str, send: Callable[[], Awaitable[Audience]], fit: _Fitting, *, begun: bool
) -> tuple[Audience | Fit | Misfit, bool]:
    """What the server made, or has under that name; and whether an attempt whose response was lost may have made it."""

    async def look() -> Fit | Misfit | None:
        namesakes = await run.directory.find_now(customer_id, name)
        cut_before = {
            namesake
            for namesake in namesakes
            if namesake.likeness is Likeness.TRUNCATED and run.directory.knows_id(customer_id, namesake.id)
        }
        return await fit((one for one in namesakes if one not in cut_before), may_be_cut=True)

    flight = Flight()
    try:
        made = await run.post(send, look, flight)
    except ApiError as refusal:
        # Perhaps because the name is taken, by an attempt whose response was lost or by another audience.
        is_taken = says_taken(refusal)
        namesakes = await run.directory.find_refused(
            customer_id, name, is_taken=is_taken, pause=run.client.poll_interval
        )
        existing = await fit(namesakes, may_be_cut=is_taken, is_taken=is_taken)
        doubted = begun or flight.doubts > 0
        if existing is not None:
            return existing, doubted
        is_conflict = refusal.status == CONFLICT and not doubted and run.directory.shows_names(customer_id)
        if is_conflict or (is_certain_refusal(refusal) and not (doubted and says_already(refusal))):
            await cancel_intents(run, Stage.LOOKALIKE)
        raise
    return made, begun or flight.doubts > 0


def _warn_of_base(run: Run, base_id: RecordId, people: int | None) -> None:
    if people is not None and people < _FEWEST_BASE_PEOPLE:
        run.warn(
            f"audience {base_id} has {people:,} people; a lookalike needs a base of at least {_FEWEST_BASE_PEOPLE:,}, "
            "so the server may refuse it"
        )


def _people_of(run: Run, audience_id: RecordId) -> int | None:
    """How many people an audience has, where the run has its record and that shows it."""
    known = run.audience
    return people_count(known) if known is not None and same_id(known.id, audience_id) else None


def _most_people(size: int, base_people: int | None, *, include_original_audience: bool | None) -> int | None:
    """The most people that a lookalike can have: those requested, and those of its base unless they are left out."""
    if include_original_audience is False:
        return size
    return None if base_people is None else size + base_people


def _is_certain(found: Fit | Misfit) -> TypeGuard[Fit]:
    return isinstance(found, Fit) and found.evidence.is_certain


def _another(audience_id: RecordId, name: str) -> AudienceExistsError:
    return AudienceExistsError(
        f"the server answered with audience {audience_id}, which existed before and does not have the name {name!r}; "
        "it was left as it is. Choose another name",
        stage=Stage.LOOKALIKE,
    )


def warn_of_size(run: Run, lookalike: Audience, size: int) -> None:
    """Warn where a lookalike has fewer people than were requested."""
    people = people_count(lookalike)
    if people is not None and people < size:
        run.warn(f"audience {lookalike.id} has {people:,} people; {size:,} were requested")
