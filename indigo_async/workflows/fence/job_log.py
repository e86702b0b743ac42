"""The log of a job under a fence."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from indigo_async.events import Stage
from indigo_async.workflows.fence.state import PurchaseFacts
from indigo_async.workflows.journal import EntryKind, JournalJobLog
from indigo_async.workflows.recipes.context import JobLog

if TYPE_CHECKING:
    from indigo_async.workflows.fence.fence import Fence

__all__ = ["FencedJobLog"]


class FencedJobLog:
    """The log of a job under a fence. Purchases go into the fence first, and then, as everything else, into `inner`."""

    __slots__ = ("_fence", "_inner", "_intents", "_job", "_own_intents", "_purchase", "_until")

    def __init__(
        self,
        fence: Fence,
        job: str,
        inner: JobLog,
        until: float,
        *,
        purchase: PurchaseFacts | None,
        intents: tuple[PurchaseFacts, ...],
    ) -> None:
        self._fence = fence
        self._job = job
        self._inner = inner
        self._until = until
        self._purchase = purchase
        self._intents = intents
        self._own_intents = 0

    def result(self, stage: Stage) -> Mapping[str, Any] | None:
        if stage is Stage.PURCHASE and self._purchase is not None:
            return self._purchase.to_facts()
        return self._inner.result(stage)

    def open_intent(self, stage: Stage) -> Mapping[str, Any] | None:
        if stage is Stage.PURCHASE and self._intents:
            return self._intents[-1].to_facts()
        return self._inner.open_intent(stage)

    async def record_intent(self, stage: Stage, facts: Mapping[str, Any]) -> None:
        if stage is Stage.PURCHASE:
            intent = PurchaseFacts.from_facts(facts)
            await self._fence.reserve(self._job, intent, self._until)
            self._intents += (intent,)
            self._own_intents += 1
        await self._inner.record_intent(stage, facts)

    async def cancel_intent(self, stage: Stage) -> None:
        if stage is Stage.PURCHASE:
            if not self._own_intents:  # it was refused
                return
            self._own_intents -= 1
            await self._fence.withdraw(self._job, self._until)
            self._intents = self._intents[:-1]
        await self._inner.cancel_intent(stage)

    async def record_result(self, stage: Stage, facts: Mapping[str, Any]) -> None:
        try:
            if stage is Stage.PURCHASE:
                self._purchase = PurchaseFacts.from_facts(facts)
                self._intents, self._own_intents = (), 0
                await self._fence.settle(self._job, self._purchase, self._until)
        finally:
            await self._inner.record_result(stage, facts)

    def record_for_report(self, kind: EntryKind, facts: Mapping[str, Any]) -> None:
        """Record an outcome in the journal, if there is one; see `JournalJobLog.record_for_report`."""
        if isinstance(self._inner, JournalJobLog):
            self._inner.record_for_report(kind, facts)
