"""A purchase by itself: a priced export, a budget and a job log, without the recipe around them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import attrs

from indigo_async.client import IndigoClient
from indigo_async.errors import IndigoError
from indigo_async.models import CsvExport, RecordId
from indigo_async.sandbox import Sandbox
from indigo_async.workflows import Stage
from indigo_async.workflows.recipes import purchase
from indigo_async.workflows.recipes.budget import Account, Budget
from indigo_async.workflows.recipes.context import NullJobLog, RecipeContext, StopFlag
from indigo_async.workflows.recipes.export_options import ExportOptions
from indigo_async.workflows.recipes.name_index import NameIndex
from indigo_async.workflows.recipes.preview import ExportRead
from indigo_async.workflows.recipes.purchase import purchase_export
from tests.support.recipes import AMPLE_CENTS, CUSTOMER, PURCHASE, seed_audience
from tests.support.servers.scripted import sandbox_and_client

PRICE = 1_500 * 4
OPTIONS = ExportOptions(
    optional_field_types=("phone",), max_cost_cents=AMPLE_CENTS, destination=Path("unused.csv"), reuse_purchased=None
)


@attrs.define
class RecordingJobLog(NullJobLog):
    """Stores what is recorded, in order. `before` and `before_result` run while an intent or a result is recorded."""

    written: list[str] = attrs.Factory(list)
    facts: list[Mapping[str, Any]] = attrs.Factory(list)
    before: Callable[[], Awaitable[object]] | None = None
    before_result: Callable[[], Awaitable[object]] | None = None

    async def record_intent(self, stage: Stage, facts: Mapping[str, Any]) -> None:
        assert stage is Stage.PURCHASE
        if self.before is not None:
            await self.before()
        self.written.append(f"intent {facts['cost_cents']}")
        self.facts.append(facts)

    async def cancel_intent(self, stage: Stage) -> None:
        assert stage is Stage.PURCHASE
        self.written.append("cancel")

    async def record_result(self, stage: Stage, facts: Mapping[str, Any]) -> None:
        assert stage is Stage.PURCHASE
        if self.before_result is not None:
            await self.before_result()
        self.written.append(f"result {facts['cost_cents']}")
        self.facts.append(facts)


@attrs.define
class PurchaseScenario:
    """A priced export, about to be purchased with a budget and a job log. Its record was read `age` seconds ago."""

    sandbox: Sandbox
    client: IndigoClient
    audience_id: RecordId
    export: CsvExport
    job_log: RecordingJobLog = attrs.Factory(RecordingJobLog)
    budget: Budget = attrs.Factory(lambda: Budget(limit_cents=2 * PRICE))
    account: Account = attrs.Factory(Account)
    stop_flag: StopFlag = attrs.Factory(StopFlag)
    options: ExportOptions = OPTIONS
    customer_id: str | None = CUSTOMER
    age: float = 0.0
    warnings: tuple[str, ...] = ()

    async def purchase(self) -> CsvExport:
        run = RecipeContext(
            self.client,
            self.customer_id,
            "Donors",
            NameIndex(self.client),
            job_log=self.job_log,
            budget=self.budget,
            account=self.account,
            stop_flag=self.stop_flag,
        )
        read = ExportRead(export=self.export, read_at=asyncio.get_running_loop().time() - self.age)
        try:
            return await purchase_export(run, self.audience_id, read, self.options)
        finally:
            self.warnings = run.warnings

    @property
    def requests(self) -> int:
        """How many purchases were sent."""
        return self.client.transport.requests[PURCHASE]

    @property
    def charged_and_reserved(self) -> tuple[int, int, int]:
        """The cents that were charged, booked as spent, and reserved."""
        return self.sandbox.counts().charged_cents, self.budget.spent_cents, self.budget.reserved_cents


@asynccontextmanager
async def purchase_scenario(**options: Any) -> AsyncGenerator[PurchaseScenario]:
    async with sandbox_and_client(**options) as (sandbox, client):
        audience_id = await seed_audience(sandbox)
        preview = await client.create_preview_csv_export(
            audience_id=audience_id, customer_id=CUSTOMER, optional_field_types=["phone"]
        )
        yield PurchaseScenario(sandbox, client, audience_id, preview)


def fail_sends(monkeypatch: Any, *errors: IndigoError | None) -> None:
    """Let purchases fail in turn, before they reach the server, as a server on loopback can't let them; None sends."""
    send, left = purchase.send_purchase, list(errors)

    async def fail_or_send(*arguments: Any) -> CsvExport:
        error = left.pop(0) if left else None
        if error is not None:
            raise error
        return await send(*arguments)

    monkeypatch.setattr(purchase, "send_purchase", fail_or_send)
