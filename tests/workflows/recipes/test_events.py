"""The events of recipes: each happens once and in order, and a broken listener changes nothing."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import pytest

from indigo_async._listeners import emit, listen
from indigo_async.errors import AudienceFailedError
from indigo_async.events import Event
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


async def test_a_job_emits_events_for_every_stage(tmp_path: Path):
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
    last_events = {type(event): event for event in events}
    assert last_events[ExportPriced].cost_cents == last_events[ExportPurchased].cost_cents == charged == 8_000
    assert last_events[ExportPurchased].export_id == last_events[ExportPriced].export_id == receipt.export.id
    assert (last_events[ExportDownloaded].path, last_events[ExportDownloaded].size_bytes) == (
        receipt.path,
        receipt.size_bytes,
    )


async def test_each_new_status_is_reported_once():
    events: list[Event] = []
    async with sandbox_and_client(speed=400.0) as (_, client):
        audience = await match_csv(client, on_event=events.append)
    changes = [event for event in events if isinstance(event, StatusChanged)]
    assert {event.audience_id for event in changes} == {audience.id}
    assert [event.status for event in changes] == ["PROCESSING", "READY_FOR_COLUMN_SELECTION", "PROCESSING", "ACTIVE"]


async def test_a_failed_stage_never_finishes():
    events: list[Event] = []
    async with sandbox_and_client() as (sandbox, client):
        sandbox.faults.add(Fault(kind=FaultKind.STAGE_FAILS, endpoint=MATCH))
        with pytest.raises(AudienceFailedError):
            await match_csv(client, on_event=events.append)
    assert stages(events)[-1] == (StageStarted, Stage.MATCH)


async def test_a_listener_that_raises_is_logged_and_changes_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    def broken(event: Event) -> None:
        raise RuntimeError(f"a broken progress bar at {type(event).__name__}")

    async with sandbox_and_client() as (sandbox, client):
        await export_csv(client, await seed_audience(sandbox), tmp_path / "x.csv", on_event=broken)
        assert sandbox.counts().purchases == 1
    logged = [record for record in caplog.records if record.name == "indigo_async" and record.levelno == logging.ERROR]
    assert "the event listener failed on ExportPurchased" in [record.getMessage() for record in logged]


async def test_concurrent_recipes_have_separate_events():
    one: list[Event] = []
    other: list[Event] = []
    async with sandbox_and_client() as (_, client):
        await asyncio.gather(
            match_csv(client, name="One", on_event=one.append), match_csv(client, name="Other", on_event=other.append)
        )
    assert {event.audience_name for event in one if isinstance(event, WorkflowEvent)} == {"One"}
    assert {event.audience_name for event in other if isinstance(event, WorkflowEvent)} == {"Other"}


def test_an_inner_listener_is_added_to_the_outer_one_in_its_block():
    outer: list[Event] = []
    inner: list[Event] = []
    with listen(outer.append):
        with listen(inner.append):
            emit(Event())
        emit(Event())
        with listen(None):
            emit(Event())
    emit(Event())
    assert (len(outer), len(inner)) == (3, 1)
