"""What recipes tell their listeners: everything that happens, once, in its order, and never a failure of theirs."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import pytest

from indigo_async.errors import AudienceFailedError
from indigo_async.events import Event, emit, listen
from indigo_async.sandbox import Fault, FaultKind
from indigo_async.workflows import (
    ExportDownloaded,
    ExportPriced,
    ExportPurchased,
    Stage,
    StageFinished,
    StageStarted,
    StatusChanged,
    WorkflowEvent,
)
from tests.support.recipes import CUSTOMER, MATCH, create_lookalike, export_csv, match_csv, seed_audience
from tests.support.servers.scripted import sandbox_and_client


def stages(events: list[Event]) -> list[tuple[type[Event], Stage]]:
    return [(type(event), event.stage) for event in events if isinstance(event, (StageStarted, StageFinished))]


async def test_a_whole_job_is_told_stage_by_stage(tmp_path: Path):
    events: list[Event] = []
    async with sandbox_and_client() as (sandbox, client):
        matched = await match_csv(client, on_event=events.append)
        wider = await create_lookalike(client, matched, on_event=events.append)
        receipt = await export_csv(client, wider, tmp_path / "x.csv", on_event=events.append)
        charged = sandbox.counts().charged_cents
    assert stages(events) == [
        (kind, stage)
        for stage in (Stage.UPLOAD, Stage.MATCH, Stage.LOOKALIKE, Stage.PREVIEW, Stage.PURCHASE, Stage.DOWNLOAD)
        for kind in (StageStarted, StageFinished)
    ]
    assert all(event.customer_id == CUSTOMER for event in events if isinstance(event, WorkflowEvent))
    assert {event.audience_name for event in events if isinstance(event, WorkflowEvent)} == {"Donors", "Donors+"}
    facts = {type(event): event for event in events}
    assert facts[ExportPriced].cost_cents == facts[ExportPurchased].cost_cents == charged == 8_000
    assert facts[ExportPurchased].export_id == facts[ExportPriced].export_id == receipt.export.id
    assert (facts[ExportDownloaded].path, facts[ExportDownloaded].size_bytes) == (receipt.path, receipt.size_bytes)


async def test_each_new_status_is_told_once():
    events: list[Event] = []
    async with sandbox_and_client(speed=400.0) as (_, client):
        audience = await match_csv(client, on_event=events.append)
    changes = [event for event in events if isinstance(event, StatusChanged)]
    assert {event.audience_id for event in changes} == {audience.id}
    assert [event.status for event in changes] == ["PROCESSING", "READY_FOR_COLUMN_SELECTION", "PROCESSING", "ACTIVE"]


async def test_a_stage_that_fails_is_started_and_never_finished():
    events: list[Event] = []
    async with sandbox_and_client() as (sandbox, client):
        sandbox.faults.add(Fault(kind=FaultKind.STAGE_FAILS, endpoint=MATCH))
        with pytest.raises(AudienceFailedError):
            await match_csv(client, on_event=events.append)
    assert stages(events)[-1] == (StageStarted, Stage.MATCH)


async def test_a_listener_that_fails_changes_nothing_and_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    def broken(event: Event) -> None:
        raise RuntimeError(f"a broken progress bar at {type(event).__name__}")

    async with sandbox_and_client() as (sandbox, client):
        await export_csv(client, await seed_audience(sandbox), tmp_path / "x.csv", on_event=broken)
        assert sandbox.counts().purchases == 1
    told = [record for record in caplog.records if record.name == "indigo_async" and record.levelno == logging.ERROR]
    assert "the event listener failed on ExportPurchased" in [record.getMessage() for record in told]


async def test_two_recipes_at_once_are_told_apart():
    one: list[Event] = []
    other: list[Event] = []
    async with sandbox_and_client() as (_, client):
        await asyncio.gather(
            match_csv(client, name="One", on_event=one.append), match_csv(client, name="Other", on_event=other.append)
        )
    assert {event.audience_name for event in one if isinstance(event, WorkflowEvent)} == {"One"}
    assert {event.audience_name for event in other if isinstance(event, WorkflowEvent)} == {"Other"}


def test_an_inner_listener_replaces_the_outer_one_for_its_block():
    outer: list[Event] = []
    inner: list[Event] = []
    with listen(outer.append):
        with listen(inner.append):
            emit(Event())
        emit(Event())
        with listen(None):
            emit(Event())
    emit(Event())
    assert (len(outer), len(inner)) == (2, 1)
