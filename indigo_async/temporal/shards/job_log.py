"""The log of one job in a shard: its facts travel in heartbeats, and a purchase is first reserved on the ledger.

The reservation is the intent of the purchase. It is in the ledger's history before the request can be sent, and it
stays there until the shard's history has the result. A job holds one export at a time on the ledger, so a worker that
was wrongly considered dead cannot purchase another one.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeAlias

from indigo_async._text import format_dollars
from indigo_async.errors import BudgetExceededError, ExportExistsError, WorkflowError
from indigo_async.events import Stage
from indigo_async.models import Audience, CsvExport
from indigo_async.temporal.payloads import BookingKind, ExportInput, Grant, Hold, JobSummary
from indigo_async.temporal.shards.payloads import JobEnd

__all__ = ["Book", "ShardJobLog", "build_purchase_intent", "explain_refusal"]

Book: TypeAlias = Callable[[BookingKind, str, int], Awaitable[Grant]]
"""Books an export of one job, at a price in cents, on the ledger of its batch."""


class ShardJobLog:
    """What is known about one job.

    Args:
        known: how far the job got, in earlier attempts at the shard or in another run that used the same inputs.
        hold: the export that the job holds on the ledger: an earlier attempt purchased it or may have.
        export: the export step of the job.
        book: books the job's purchases.
    """

    def __init__(self, known: JobEnd, hold: Hold | None, export: ExportInput | None, book: Book) -> None:
        self.stage: str = known.stage
        self.spent_cents: int = known.spent_cents
        self._book = book
        self._facts = dict(known.facts)
        self._intents = dict(known.intents)
        unresolved = self._intents.pop(Stage.PURCHASE.value, None)
        self._purchases: list[dict[str, Any]] = [] if unresolved is None else [unresolved]
        """The intents of purchases whose outcome is unknown, oldest first. All are about the same export."""
        self._is_booked = hold is not None
        """Whether the ledger of the batch has a reservation for the purchase."""
        self._can_cancel = False
        """Whether the last intent was recorded in this attempt."""
        if hold is None or export is None:
            return
        if str(self._facts.get(Stage.PURCHASE.value, {}).get("export_id")) == hold.export_id:
            return
        if unresolved is None or str(unresolved["export_id"]) != hold.export_id:
            self._purchases = [build_purchase_intent(hold, export)]

    def describe(
        self, summary: JobSummary | None = None, *, stage: str = "", error_type: str = "", message: str = ""
    ) -> JobEnd:
        """How the job ended, or how far it got."""
        purchases = {Stage.PURCHASE.value: self._purchases[-1]} if self._purchases else {}
        return JobEnd(
            stage=stage or self.stage,
            summary=summary,
            error_type=error_type,
            message=message,
            spent_cents=self.spent_cents,
            facts=dict(self._facts) if summary is None else _shorten_facts(self._facts),
            intents={} if summary is not None else self._intents | purchases,
        )

    def result(self, stage: Stage) -> Mapping[str, Any] | None:
        return self._facts.get(stage)

    def open_intent(self, stage: Stage) -> Mapping[str, Any] | None:
        if stage is Stage.PURCHASE:
            return self._purchases[-1] if self._purchases else None
        return self._intents.get(stage)

    async def record_intent(self, stage: Stage, facts: Mapping[str, Any]) -> None:
        """Record that a POST is about to be sent. A purchase is first reserved on the ledger.

        Raises:
            WorkflowError: the purchase is refused.
        """
        if stage is not Stage.PURCHASE:
            self._intents[stage.value] = dict(facts)
            return
        self._can_cancel = False
        grant = await self._book(BookingKind.RESERVE, str(facts["export_id"]), facts["cost_cents"])
        if not grant.granted:
            raise explain_refusal(CsvExport(id=facts["export_id"], cost_cents=facts["cost_cents"]), grant)
        self._purchases.append(dict(facts))
        self._is_booked = self._can_cancel = True

    async def cancel_intent(self, stage: Stage) -> None:
        """Record that the last intended POST was certainly not carried out.

        The reservation of a purchase is released, unless an earlier request for it may have been carried out.
        """
        if stage is not Stage.PURCHASE:
            self._intents.pop(stage.value, None)
        elif self._can_cancel:
            self._can_cancel = False
            canceled = self._purchases.pop()
            if not self._purchases:
                await self._book(BookingKind.RELEASE, str(canceled["export_id"]), 0)
                self._is_booked = False

    async def record_result(self, stage: Stage, facts: Mapping[str, Any]) -> None:
        if stage is Stage.PURCHASE:
            self._purchases.clear()
            self._can_cancel = False
            if self._is_booked:
                self.spent_cents = facts["cost_cents"]
        self._intents.pop(stage.value, None)
        self._facts[stage.value] = dict(facts)


def build_purchase_intent(hold: Hold, export: ExportInput) -> dict[str, Any]:
    """The intent of a purchase of which only the ledger knows."""
    field_types = sorted(export.optional_field_types)
    return {"field_types": field_types, "export_id": hold.export_id, "cost_cents": hold.cents}


def _shorten_facts(facts: Mapping[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The facts of a finished job without those that later ones make useless, because histories keep them all."""
    match, preview, purchase = (facts.get(stage) for stage in (Stage.MATCH, Stage.PREVIEW, Stage.PURCHASE))
    useless = {Stage.UPLOAD} if match is not None else set[Stage]()
    if preview is not None and purchase is not None and preview["export_id"] == purchase["export_id"]:
        useless.add(Stage.PREVIEW)
    return {stage: known for stage, known in facts.items() if stage not in useless}


def explain_refusal(export: CsvExport, grant: Grant, audience: Audience | None = None) -> WorkflowError:
    """Why the ledger refused to reserve the price of an export."""
    if grant.is_superseded:
        return WorkflowError("another worker runs this job now; nothing was purchased", stage=Stage.PURCHASE)
    if grant.held:
        return ExportExistsError(
            f"export {grant.held} was or may have been purchased for this job, so export {export.id} was not "
            "purchased. Ask Indigo about it",
            stage=Stage.PURCHASE,
        )
    return BudgetExceededError(
        f"export {export.id} costs {format_dollars(export.cost_cents)} and the batch has "
        f"{format_dollars(grant.left_cents)} left of its budget; nothing was purchased. Raise the budget to purchase "
        "this preview",
        stage=Stage.PURCHASE,
        audience=audience,
        export=export,
        limit_cents=grant.left_cents or 0,
    )
