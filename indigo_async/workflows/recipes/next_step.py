"""Say what to do after a timeout, given the stage, what was requested, and what is recorded.

Without a journal, a later call knows only what the server shows: audiences by their names, and exports.
"""

from __future__ import annotations

import asyncio
from enum import Enum, auto
from typing import TYPE_CHECKING

from indigo_async.events import Stage

if TYPE_CHECKING:
    from indigo_async.workflows.recipes.context import RecipeContext

__all__ = ["Requested", "describe_timeout"]


class Requested(Enum):
    """How far the audience of the current stage got."""

    NOTHING = auto()
    UPLOAD = auto()
    """The upload of its CSV was sent; whether it arrived is unknown."""
    STUB = auto()
    """Its CSV is uploaded, to an audience without a name."""
    AUDIENCE = auto()
    """The match or lookalike was sent; whether it arrived is unknown."""
    ACCEPTED = auto()
    """The server is creating the audience or has created it."""


_KEEPS_WORKING = "the server keeps working"

# Not "the same call": the caller of the wait may have sent a request first.
_WAITS = {
    "wait_for_column_selection": "workflows.wait_for_column_selection continues waiting",
    "wait_until_active": "workflows.wait_until_active continues waiting",
    "wait_for_export": "workflows.wait_for_export continues waiting",
}


def describe_timeout(context: RecipeContext, recipe: str, seconds: float) -> str:
    """Say that a recipe timed out, what its last wait saw, and what to do next."""
    last_poll = "" if context.last_poll is None else f"{context.last_poll}; "
    return f"not done after {seconds:g} s; {last_poll}{_mention_outage(context, _describe_next_step(context, recipe))}"


def _mention_outage(context: RecipeContext, next_step: str) -> str:
    outage = context.client.transport.outage
    if outage is None:
        return next_step
    seconds = asyncio.get_running_loop().time() - outage.started_at
    fact = f"the server has not responded for {seconds:.0f} s ({outage.reason})"
    return next_step.replace(_KEEPS_WORKING, fact, 1) if _KEEPS_WORKING in next_step else f"{fact}; {next_step}"


def _describe_next_step(context: RecipeContext, recipe: str) -> str:
    if recipe in _WAITS:
        return f"the server keeps working; {_WAITS[recipe]} for audience {context.audience_name}"
    match context.current_stage:
        case Stage.UPLOAD | Stage.MATCH:
            return _after_match(context)
        case Stage.LOOKALIKE:
            return _after_lookalike(context)
        case Stage.PREVIEW:
            return "this call purchased nothing; the same call reuses the preview or creates another one, which is free"
        case Stage.PURCHASE:
            return _after_purchase(context)
        case Stage.DOWNLOAD:
            return _download_advice(context)


def _after_match(context: RecipeContext) -> str:
    log, audience, requested = context.job_log, _audience_label(context), context.requested
    if requested is Requested.ACCEPTED:
        return _after_acceptance(context, Stage.MATCH)
    if requested is Requested.NOTHING:
        advice = "nothing was uploaded, and the same call starts again"
    elif requested is Requested.UPLOAD:
        advice = "the upload may have arrived; the same call uploads the CSV again, which is free"
    elif requested is Requested.STUB and log.result(Stage.UPLOAD) is not None:
        advice = f"the server keeps working, and the same call continues with {audience}"
    elif requested is Requested.STUB:
        advice = f"without a journal, the same call uploads the CSV again; {audience} was not matched and costs nothing"
    elif log.open_intent(Stage.MATCH) is not None:
        advice = f"the match of {audience} may have arrived; the same call checks before it sends the match again"
    else:
        advice = (
            f"the match of {audience} may have arrived; the same call looks for the audience by name, and uploads "
            "the CSV again if there is none"
        )
    return advice


def _after_lookalike(context: RecipeContext) -> str:
    if context.requested is Requested.ACCEPTED:
        return _after_acceptance(context, Stage.LOOKALIKE)
    if context.requested is Requested.NOTHING:
        return "no lookalike was requested, and the same call continues from here"
    return "the lookalike may have been requested; the same call looks for it by name before it requests it again"


def _after_acceptance(context: RecipeContext, stage: Stage) -> str:
    """Advise after the server has accepted the request for a stage's audience."""
    audience = _audience_label(context)
    if context.job_log.result(stage) is not None:
        return f"the server keeps working, and the same call continues waiting for {audience}"
    if context.customer_id is not None and context.name_index.hides_names(context.customer_id):
        return (
            f"the server keeps working; workflows.wait_until_active waits for {audience}, which the same call cannot "
            "find, because the server shows no names"
        )
    return f"the server keeps working, and the same call finds {audience} by name"


def _after_purchase(context: RecipeContext) -> str:
    """Report a purchase only if it is certain, and never advise what may purchase twice."""
    log, quote = context.job_log, context.quote
    is_recorded = log.result(Stage.PURCHASE) is not None and log.open_intent(Stage.PURCHASE) is None
    if is_recorded or (quote is not None and str(quote.id) in context.client.purchased_exports):
        return _download_advice(context)
    if context.buys_another and log.open_intent(Stage.PURCHASE) is None:
        return (
            "the export may have been purchased; the same call might purchase another, because of "
            "reuse_purchased=False: leave that out, or call workflows.download_export"
        )
    return "the same call checks the server before it purchases anything"


def _download_advice(context: RecipeContext) -> str:
    if context.quote is None:
        return "workflows.download_export downloads the purchased export"
    return f"workflows.download_export(..., export_id={context.quote.id!r}) downloads the purchased export"


def _audience_label(context: RecipeContext) -> str:
    return "the audience" if context.audience is None else f"audience {context.audience.id}"
