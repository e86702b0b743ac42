"""The second recipe: grow a lookalike from a matched audience."""

from __future__ import annotations

from collections.abc import Awaitable

from indigo_async.client import IndigoClient
from indigo_async.errors import ApiError
from indigo_async.inputs import InputCheck, LookalikeFilters, LookalikeFiltersInput
from indigo_async.models import Audience, RecordId
from indigo_async.polling import Needs
from indigo_async.transport.events import Listener, emit
from indigo_async.transport.time_limit import TimeLimit
from indigo_async.workflows.directory import Directory
from indigo_async.workflows.events import AudienceAdopted, Stage
from indigo_async.workflows.rules import adopt_lookalike
from indigo_async.workflows.run import DEFAULT_TIMEOUT, Run, running
from indigo_async.workflows.waits import active, current, is_active, remembered

__all__ = ["begin_lookalike", "check_lookalike", "create_lookalike"]


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
    with running(run, "create_lookalike", TimeLimit(timeout), on_event=on_event), run.at(Stage.LOOKALIKE):
        end = await begin_lookalike(
            run,
            base_id,
            name=audience_name,
            size=size,
            include_original_audience=include_original_audience,
            filters=wanted,
        )
        return await end


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
    """Remember, adopt or make the lookalike of that name, at its stage of a recipe.

    Returns the wait until it is active, which holds nothing of this.
    """
    if run.customer_id is None:
        raise ValueError("a lookalike needs a customer")
    customer_id = run.customer_id
    known = run.memory.recall(Stage.LOOKALIKE)
    if known is not None:
        return remembered(run, known["audience_id"])

    async def send() -> RecordId:
        audience = await run.client.create_lookalike_audience(
            base_audience_id=base_id,
            customer_id=customer_id,
            size=size,
            audience_name=name,
            include_original_audience=include_original_audience,
            filters=filters,
        )
        run.made += (str(audience.id),)
        return audience.id

    async def look() -> RecordId | None:
        return await run.directory.find_now(customer_id, name)

    found_id = await run.directory.find(customer_id, name)
    if found_id is None:
        await run.memory.intend(Stage.LOOKALIKE, {"base_audience_id": base_id})
        try:
            found_id = await run.post(send, look)
        except ApiError:
            # Perhaps because the name is taken, by an attempt whose answer was lost or by another audience.
            found_id = await look()
            if found_id is None:
                raise
    if str(found_id) not in run.made:
        return _adopted(run, found_id, base_id)
    await run.memory.remember(Stage.LOOKALIKE, {"audience_id": found_id})
    return active(run, found_id)


async def _adopted(run: Run, found_id: RecordId, base_id: RecordId) -> Audience:
    found = await current(run, found_id, Needs.STATUS)
    if found.base_audience_id is None:
        found = await run.client.get_audience(found_id, run.customer_id)  # a list may show less than the record does
    evidence = adopt_lookalike(found, base_id=base_id)
    emit(
        AudienceAdopted(
            customer_id=run.customer_id, audience_name=run.audience_name, audience_id=found.id, evidence=evidence
        )
    )
    await run.memory.remember(Stage.LOOKALIKE, {"audience_id": found.id})
    run.audience = found
    return found if is_active(found) else await active(run, found.id)
