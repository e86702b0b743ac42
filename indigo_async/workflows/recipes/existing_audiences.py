"""Reusing audiences that exist: which of several namesakes fits, by its own record, and what a person should know."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeAlias

import attrs

from indigo_async.errors import AudienceExistsError, AudienceFailedError, CustomerMismatchError, NotFoundError
from indigo_async.events import AudienceReused, Stage, emit
from indigo_async.models import Audience, RecordId
from indigo_async.workflows.recipes.adoption import Evidence, NameSimilarity, compare_names, is_deleted
from indigo_async.workflows.recipes.context import RecipeContext
from indigo_async.workflows.recipes.name_index import NameMatch
from indigo_async.workflows.recipes.reconcile import retry_rate_limited
from indigo_async.workflows.recipes.waits import is_active, wait_active

__all__ = [
    "CONFLICT",
    "NotReusable",
    "ReusableAudience",
    "cancel_intents",
    "find_reusable",
    "read_if_exists",
    "reuse_audience",
]

CONFLICT = 409
"""Some servers refuse a taken name with this status, others say so while an earlier request is carried out."""

_MAX_CANDIDATES = 20


@attrs.frozen
class ReusableAudience:
    """An existing audience that serves, and on what evidence."""

    audience: Audience
    evidence: Evidence


NotReusable: TypeAlias = AudienceExistsError | AudienceFailedError
"""Why an existing audience with our name stops the job."""


async def read_if_exists(context: RecipeContext, audience_id: RecordId) -> Audience | None:
    """The audience as a single GET shows it, however long a rate limit lasts; None where the customer has none.

    Raises:
        ApiError, TransportError, ResponseDecodeError: it could not be read.
    """
    try:
        return await retry_rate_limited(
            lambda: context.client.get_audience(audience_id, context.customer_id), retry=context.client.transport.retry
        )
    except (NotFoundError, CustomerMismatchError):
        return None


async def find_reusable(
    context: RecipeContext,
    name: str,
    candidates: Iterable[NameMatch],
    compare: Callable[[Audience], Evidence],
    *,
    allow_truncated: bool = False,
    is_name_taken: bool = False,
) -> ReusableAudience | NotReusable | None:
    """The first of the namesakes that fits, by its own record; else why the best one stops the job.

    A name that is only similar counts where the CSV or the base is the same, and it never stops a job: most servers
    tell such names apart. The beginning of a name counts only when it `allow_truncated`: it is new since our own
    request, or the server refused the name. `is_name_taken` says that it refused the name, so that a normalized one
    counts as the name itself. `compare` judges a record.
    """
    misfit: NotReusable | None = None
    try:
        for namesake in list(candidates)[:_MAX_CANDIDATES]:
            if namesake.similarity is NameSimilarity.TRUNCATED and not allow_truncated:
                continue
            found = await read_if_exists(context, namesake.id)
            if found is None or is_deleted(found.status):
                continue
            like = namesake.similarity if found.name is None else compare_names(found.name, name)
            if like is None or (like is NameSimilarity.TRUNCATED and not allow_truncated):
                continue
            is_named = like is NameSimilarity.EXACT or (is_name_taken and like is NameSimilarity.NORMALIZED)
            try:
                evidence = compare(found)
            except (AudienceExistsError, AudienceFailedError) as error:
                if is_named and misfit is None:
                    misfit = error.with_traceback(None)
                continue
            if is_named or evidence.is_certain:
                return ReusableAudience(found, evidence)
        return misfit
    finally:
        del misfit  # raised later, it would refer to this frame


async def reuse_audience(
    context: RecipeContext, stage: Stage, candidate: ReusableAudience | NotReusable, *, made_by_this_job: bool = False
) -> Audience:
    """Use an existing audience for a stage, and say so. Returns it when it is active.

    `made_by_this_job` says that this job made it, so that a person need not be warned.

    Raises:
        AudienceExistsError, AudienceFailedError: it does not fit.
    """
    if not isinstance(candidate, ReusableAudience):
        try:
            raise candidate
        finally:
            del candidate  # its traceback refers to this frame
    found, evidence = candidate.audience, candidate.evidence
    emit(
        AudienceReused(
            customer_id=context.customer_id,
            audience_name=context.audience_name,
            audience_id=found.id,
            evidence=evidence.reason,
        )
    )
    if not made_by_this_job:
        context.warn(f"reusing audience {found.id} ({evidence.reason}); {evidence.not_compared}")
    await context.job_log.record_result(stage, {"audience_id": found.id})
    context.audience = found
    return found if is_active(found) else await wait_active(context, found.id)


async def cancel_intents(context: RecipeContext, stage: Stage) -> None:
    """Write down that no request of a stage was carried out: the server refused the last one for good."""
    while context.job_log.open_intent(stage) is not None:
        await context.job_log.cancel_intent(stage)
