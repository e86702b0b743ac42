"""Reusing audiences that exist: which of several namesakes fits, by its own record, and what a person should know."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeAlias

import attrs

from indigo_async.errors import AudienceExistsError, AudienceFailedError, CustomerMismatchError, NotFoundError
from indigo_async.models import Audience, RecordId
from indigo_async.transport.events import emit
from indigo_async.workflows.directory import Namesake
from indigo_async.workflows.events import AudienceAdopted, Stage
from indigo_async.workflows.rules import Evidence, Likeness, is_gone, likeness
from indigo_async.workflows.run import Run
from indigo_async.workflows.settle import patiently
from indigo_async.workflows.waits import active, is_active

__all__ = ["CONFLICT", "Fit", "Misfit", "cancel_intents", "fitting", "own_record", "reused"]

CONFLICT = 409
"""Some servers refuse a taken name with this status, others say so while an earlier request is carried out."""

_MOST_NAMESAKES = 20


@attrs.frozen
class Fit:
    """An existing audience that serves, and on what evidence."""

    audience: Audience
    evidence: Evidence


Misfit: TypeAlias = AudienceExistsError | AudienceFailedError
"""Why an existing audience with our name stops the job."""


async def own_record(run: Run, audience_id: RecordId) -> Audience | None:
    """The audience as a single GET shows it, however long a rate limit lasts; None where the customer has none.

    Raises:
        ApiError, TransportError, ResponseDecodeError: it could not be read.
    """
    try:
        return await patiently(
            lambda: run.client.get_audience(audience_id, run.customer_id), retry=run.client.transport.retry
        )
    except (NotFoundError, CustomerMismatchError):
        return None


async def fitting(
    run: Run,
    name: str,
    namesakes: Iterable[Namesake],
    adopt: Callable[[Audience], Evidence],
    *,
    may_be_cut: bool = False,
    is_taken: bool = False,
) -> Fit | Misfit | None:
    """The first of the namesakes that fits, by its own record; else why the best one stops the job.

    A name that is only similar counts where the CSV or the base is the same, and it never stops a job: most servers
    tell such names apart. The beginning of a name counts only when it `may_be_cut`: it is new since our own request,
    or the server refused the name. `is_taken` says that it refused the name, so that a normalized one counts as the
    name itself. `adopt` judges a record.
    """
    misfit: Misfit | None = None
    try:
        for namesake in list(namesakes)[:_MOST_NAMESAKES]:
            if namesake.likeness is Likeness.TRUNCATED and not may_be_cut:
                continue
            found = await own_record(run, namesake.id)
            if found is None or is_gone(found.status):
                continue
            like = namesake.likeness if found.name is None else likeness(found.name, name)
            if like is None or (like is Likeness.TRUNCATED and not may_be_cut):
                continue
            is_named = like is Likeness.EXACT or (is_taken and like is Likeness.NORMALIZED)
            try:
                evidence = adopt(found)
            except (AudienceExistsError, AudienceFailedError) as error:
                if is_named and misfit is None:
                    misfit = error.with_traceback(None)
                continue
            if is_named or evidence.is_certain:
                return Fit(found, evidence)
        return misfit
    finally:
        del misfit  # raised later, it would refer to this frame


async def reused(run: Run, stage: Stage, fit: Fit | Misfit, *, is_own: bool = False) -> Audience:
    """Use an existing audience for a stage, and say so. Returns it when it is active.

    `is_own` says that this job made it, so that a person need not be warned.

    Raises:
        AudienceExistsError, AudienceFailedError: it does not fit.
    """
    if not isinstance(fit, Fit):
        try:
            raise fit
        finally:
            del fit  # its traceback refers to this frame
    found, evidence = fit.audience, fit.evidence
    emit(
        AudienceAdopted(
            customer_id=run.customer_id,
            audience_name=run.audience_name,
            audience_id=found.id,
            evidence=evidence.found,
        )
    )
    if not is_own:
        run.warn(f"reusing audience {found.id} ({evidence.found}); {evidence.not_compared}")
    await run.memory.remember(stage, {"audience_id": found.id})
    run.audience = found
    return found if is_active(found) else await active(run, found.id)


async def cancel_intents(run: Run, stage: Stage) -> None:
    """Write down that no request of a stage was carried out: the server refused the last one for good."""
    while run.memory.intended(stage) is not None:
        await run.memory.withdraw(stage)
