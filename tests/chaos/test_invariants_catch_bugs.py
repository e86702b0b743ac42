"""The checks notice a program that breaks its promises: each test breaks one on purpose."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from indigo_async.sandbox import Fault, FaultKind
from indigo_async.workflows.journal import JournalJobLog
from indigo_async.workflows.recipes import preview
from indigo_async.workflows.recipes.budget import Budget
from tests.chaos.histories import Histories
from tests.chaos.world import EntryPoint, JobSpec, WorldSpec

ONE_JOB = WorldSpec(jobs=(JobSpec(),), journal=False)
WITH_JOURNAL = WorldSpec(jobs=(JobSpec(), JobSpec()), journal=True)


@pytest.fixture
def history() -> Iterator[Histories]:
    history = Histories()
    yield history
    history.close()


async def do_nothing(*_: object) -> None: ...


def test_an_export_that_is_purchased_twice(history: Histories, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(preview, "_find_existing", do_nothing)
    history.begin(ONE_JOB)
    history.run_single_jobs([], EntryPoint.JOBS, purchase=True, trouble=None)
    with pytest.raises(AssertionError):
        history.run_single_jobs([], EntryPoint.JOBS, purchase=True, trouble=None)


def test_a_purchase_without_an_intent(history: Histories, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(JournalJobLog, "record_intent", do_nothing)
    history.begin(WITH_JOURNAL)
    with pytest.raises(AssertionError, match="an intent is on disk"):
        history.run_batch([], purchase=True, trouble=None)


def test_a_result_that_is_not_true(history: Histories, monkeypatch: pytest.MonkeyPatch):
    history.begin(WITH_JOURNAL)
    intend = JournalJobLog.record_intent

    async def intend_and_boast(memory: JournalJobLog, stage: object, facts: object) -> None:
        await intend(memory, stage, facts)
        if "cost_cents" in facts:
            await memory.record_result(stage, facts)

    monkeypatch.setattr(JournalJobLog, "record_intent", intend_and_boast)
    refused = Fault(kind=FaultKind.ERROR_BEFORE, endpoint="POST /purchase_csv_export", times=None)
    with pytest.raises(AssertionError, match="recorded purchases were made"):
        history.run_batch([refused], purchase=True, trouble=None)


def test_more_spent_than_the_budget(history: Histories, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Budget, "left_cents", None)
    history.begin(WorldSpec(jobs=(JobSpec(), JobSpec()), budget_cents=10_000))
    with pytest.raises(AssertionError, match="budget"):
        history.run_batch([], purchase=True, trouble=None)


def test_a_task_that_is_left(history: Histories, monkeypatch: pytest.MonkeyPatch):
    left: list[asyncio.Task[None]] = []

    async def leave(*_: object) -> None:
        left.append(asyncio.create_task(asyncio.sleep(1e9)))

    monkeypatch.setattr(JournalJobLog, "cancel_intent", leave)
    history.begin(WITH_JOURNAL)
    refused = Fault(kind=FaultKind.ERROR_BEFORE, endpoint="POST /purchase_csv_export", status=499)
    with pytest.raises(AssertionError, match="task"):
        history.run_batch([refused], purchase=True, trouble=None)


def test_a_job_that_does_not_end_well_although_all_is_well(history: Histories, monkeypatch: pytest.MonkeyPatch):
    history.begin(ONE_JOB)
    history.add_faults([Fault(kind=FaultKind.HTML_BEFORE, endpoint="GET /audiences", times=None)])
    monkeypatch.setattr(history, "clear_faults", lambda: None)
    with pytest.raises(AssertionError, match="ResponseDecodeError"):
        history.finish_without_faults()
