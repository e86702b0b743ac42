"""Random histories of a journal, compared with a simple model."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, TypeVar

import attrs
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from indigo_async.events import Stage
from indigo_async.workflows.journal import EntryKind, Journal, JournalJobLog
from tests.support.journals import spent_cents

T = TypeVar("T")

JOBS = [("42", "Donors"), ("42", "Voters"), ("7", "Donors"), ('"', "\0é\U0001f5f3")]
EXPORTS = ["a", 1, "1é"]

jobs = st.sampled_from(JOBS)
stages = st.sampled_from(list(Stage))
text = st.text(st.characters(codec="utf-8"), max_size=8)
numbers = st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False)
facts = st.dictionaries(
    text,
    st.recursive(st.none() | st.booleans() | numbers | text, lambda inner: st.lists(inner, max_size=3)),
    max_size=3,
)
purchases = st.fixed_dictionaries({"export_id": st.sampled_from(EXPORTS), "cost_cents": st.integers(0, 10**12)})


@attrs.define
class Row:
    job: tuple[str, str]
    kind: EntryKind
    stage: Stage
    facts: dict[str, Any]


def last_result(rows: list[Row]) -> dict[str, Any] | None:
    results = [row.facts for row in rows if row.kind is EntryKind.RESULT]
    return results[-1] if results else None


def open_intents(rows: list[Row]) -> list[dict[str, Any]]:
    """The intents since the last result that were not canceled."""
    ends = [index for index, row in enumerate(rows) if row.kind is EntryKind.RESULT]
    intents: list[dict[str, Any]] = []
    for row in rows[ends[-1] + 1 if ends else 0 :]:
        intents = [*intents, row.facts] if row.kind is EntryKind.INTENT else intents[:-1]
    return intents


class JournalHistory(RuleBasedStateMachine):
    """Single and simultaneous writes, with the journal closed properly or its process killed in between."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.path = self.folder / "0.sqlite"
        self.crashes = 0
        self.rows: list[Row] = []
        self.job_logs: dict[tuple[str, str], JournalJobLog] = {}
        self.runner = asyncio.Runner()
        self.stack = AsyncExitStack()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(work)

    async def open(self) -> None:
        self.journal = await self.stack.enter_async_context(Journal.open(self.path))
        self.job_logs = {job: await self.journal.job_log(*job, "fingerprint") for job in JOBS}

    def rows_of(self, job: tuple[str, str], stage: Stage) -> list[Row]:
        return [row for row in self.rows if (row.job, row.stage) == (job, stage)]

    @initialize()
    def begin(self) -> None:
        self.run(self.open())

    @rule(job=jobs, stage=stages, data=st.data())
    def record_intent(self, job: tuple[str, str], stage: Stage, data: st.DataObject) -> None:
        drawn = data.draw(purchases if stage is Stage.PURCHASE else facts)
        self.run(self.job_logs[job].record_intent(stage, drawn))
        self.rows.append(Row(job, EntryKind.INTENT, stage, drawn))

    @rule(job=jobs, stage=stages, data=st.data())
    def record_result(self, job: tuple[str, str], stage: Stage, data: st.DataObject) -> None:
        drawn = data.draw(purchases if stage is Stage.PURCHASE else facts)
        self.run(self.job_logs[job].record_result(stage, drawn))
        self.rows.append(Row(job, EntryKind.RESULT, stage, drawn))

    @rule(job=jobs, stage=stages)
    def cancel_intent(self, job: tuple[str, str], stage: Stage) -> None:
        intents = open_intents(self.rows_of(job, stage))
        self.run(self.job_logs[job].cancel_intent(stage))
        if intents:
            self.rows.append(Row(job, EntryKind.WITHDRAWAL, stage, intents[-1]))

    @rule(batch=st.lists(facts, min_size=2, max_size=20))
    def write_at_once(self, batch: list[dict[str, Any]]) -> None:
        async def write() -> None:
            async with asyncio.TaskGroup() as group:
                for number, each in enumerate(batch):
                    group.create_task(self.job_logs[JOBS[number % len(JOBS)]].record_result(Stage.UPLOAD, each))

        self.run(write())
        self.rows += [
            Row(JOBS[number % len(JOBS)], EntryKind.RESULT, Stage.UPLOAD, each) for number, each in enumerate(batch)
        ]

    @rule()
    def close_and_open(self) -> None:
        self.run(self.stack.aclose())
        self.run(self.open())

    @rule()
    def crash_and_open(self) -> None:
        """Continue with copies of the files, including the write-ahead log, as a killed process leaves them."""
        self.crashes += 1
        left = self.folder / f"{self.crashes}.sqlite"
        for suffix in ("", "-wal", ".rows"):
            shutil.copy(f"{self.path}{suffix}", f"{left}{suffix}")
        self.run(self.stack.aclose())
        self.path = left
        self.run(self.open())

    @invariant()
    def each_job_knows_its_state(self) -> None:
        for job, memory in self.job_logs.items():
            for stage in Stage:
                rows = self.rows_of(job, stage)
                intents = open_intents(rows)
                assert memory.result(stage) == last_result(rows)
                assert memory.open_intent(stage) == (intents[-1] if intents else None)

    @invariant()
    def every_row_is_read_in_order(self) -> None:
        if not self.job_logs:
            return

        async def read() -> list[Row]:
            return [
                Row((record.customer_id, record.audience_name), record.kind, Stage(record.stage), dict(record.facts))
                async for record in self.journal.records()
            ]

        assert self.run(read()) == self.rows

    @invariant()
    def spending_is_known(self) -> None:
        if not self.job_logs:
            return
        expected = 0
        for job in JOBS:
            for export in EXPORTS:
                rows = [row for row in self.rows_of(job, Stage.PURCHASE) if row.facts["export_id"] == export]
                maybe = [facts["cost_cents"] for facts in open_intents(rows)]
                purchased = last_result(rows)
                expected += max([*maybe, purchased["cost_cents"] if purchased else 0])
        assert self.run(spent_cents(self.journal)) == expected

    def teardown(self) -> None:
        self.run(self.stack.aclose())
        self.runner.close()
        shutil.rmtree(self.folder)


TestJournalHistory = JournalHistory.TestCase
TestJournalHistory.settings = settings(
    max_examples=25, stateful_step_count=25, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
