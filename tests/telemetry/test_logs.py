"""Each event is one log record with its fields as attributes, at a suitable level, without secrets."""

from __future__ import annotations

import logging
import string
from pathlib import Path

import attrs
import pytest

from indigo_async import events, workflows
from indigo_async.errors import AudienceFailedError
from indigo_async.events import Event, ExportPriced, Listener, RequestStarted, Stage, StageFinished, WorkflowEvent
from indigo_async.logs import _FORMATS, log_events
from indigo_async.sandbox import Fault, FaultKind
from tests.support.observed_recipes import CUSTOMER, MATCH, UPLOAD, export_csv, match_csv
from tests.support.servers.scripted import SPEED, sandbox_and_client

LOGGED = {"on_event": log_events}


def event_names_at(caplog: pytest.LogCaptureFixture, level: int) -> list[str]:
    return [
        record.__dict__["indigo.event"]
        for record in caplog.records
        if record.name == "indigo_async" and record.levelno == level
    ]


async def test_results_and_purchases_are_logged_as_info(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.DEBUG, "indigo_async")
    async with sandbox_and_client(client=LOGGED) as (_, client):
        audience = await match_csv(client)
        await export_csv(client, audience, tmp_path)
    assert event_names_at(caplog, logging.INFO) == [
        "RecipeStarted",
        "StageFinished",
        "StageFinished",
        "RecipeFinished",
        "RecipeStarted",
        "ExportPriced",
        "StageFinished",
        "ExportPurchased",
        "StageFinished",
        "StageFinished",
        "ExportDownloaded",
        "RecipeFinished",
    ]
    assert {"RequestEnded", "StatusChanged", "StageStarted"} <= set(event_names_at(caplog, logging.DEBUG))
    assert event_names_at(caplog, logging.WARNING) == []


async def test_a_listener_that_is_passed_twice_is_called_once(caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.INFO, "indigo_async")
    async with sandbox_and_client(client=LOGGED) as (_, client):
        await match_csv(client, on_event=log_events)
    assert event_names_at(caplog, logging.INFO) == ["RecipeStarted", "StageFinished", "StageFinished", "RecipeFinished"]


async def test_a_log_record_has_the_fields_of_its_event(caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.INFO, "indigo_async")
    async with sandbox_and_client(client=LOGGED) as (_, client):
        await match_csv(client)
    (record,) = [record for record in caplog.records if record.__dict__.get("indigo.stage") == "upload"]
    fields = {name: value for name, value in record.__dict__.items() if name.startswith("indigo.")}
    seconds = fields.pop("indigo.seconds")
    assert fields == {
        "indigo.event": "StageFinished",
        "indigo.stage": "upload",
        "indigo.customer_id": CUSTOMER,
        "indigo.audience_name": "Donors",
    }
    assert record.getMessage() == f"customer '42', audience 'Donors': upload finished in {seconds:.1f} s"


async def test_retries_and_failed_recipes_are_warnings(caplog: pytest.LogCaptureFixture):
    async with sandbox_and_client(client=LOGGED) as (sandbox, client):
        sandbox.faults.add(Fault(kind=FaultKind.ERROR_BEFORE, endpoint=UPLOAD, status=429))
        sandbox.faults.add(Fault(kind=FaultKind.STAGE_FAILS, endpoint=MATCH))
        with pytest.raises(AudienceFailedError):
            await match_csv(client)
    assert event_names_at(caplog, logging.WARNING) == ["RequestRetried", "RecipeFailed"]
    assert "failed at match with AudienceFailedError" in caplog.messages[-1]


async def test_retries_outside_of_recipes_are_logged_too(caplog: pytest.LogCaptureFixture):
    async with sandbox_and_client(client=LOGGED) as (sandbox, client):
        sandbox.faults.add(Fault(kind=FaultKind.ERROR_BEFORE, endpoint="GET /audiences", status=503))
        await client.list_audiences()
    assert event_names_at(caplog, logging.WARNING) == ["RequestRetried"]


@pytest.mark.parametrize("options", [{}, LOGGED], ids=["without a listener", "log_events"])
async def test_a_reuse_that_should_be_checked_is_one_warning(
    options: dict[str, Listener], caplog: pytest.LogCaptureFixture
):
    caplog.set_level(logging.DEBUG, "indigo_async")
    async with sandbox_and_client(client=options) as (_, client):
        audience = await match_csv(client)
        await match_csv(client)
    (record,) = reuses(caplog)
    assert (record.name, record.levelno) == ("indigo_async.recipes.reuse", logging.WARNING)
    assert record.getMessage() == (
        f"customer '42', audience 'Donors': match: reusing audience {audience.id} (same name, same CSV URL); "
        "columns are not compared"
    )
    assert record.__dict__["indigo.customer_id"] == CUSTOMER
    assert record.__dict__["indigo.stage"] == "match"


async def test_a_reuse_without_anything_to_check_is_one_info_record(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.DEBUG, "indigo_async")
    async with sandbox_and_client(client=LOGGED) as (_, client):
        audience = await match_csv(client)
        receipt = await export_csv(client, audience, tmp_path)
        await workflows.download_export(client, audience, customer_id=CUSTOMER, destination=tmp_path / "copy.csv")
    (record,) = reuses(caplog)
    assert (record.name, record.levelno) == ("indigo_async.recipes.reuse", logging.INFO)
    assert record.getMessage() == (
        f"customer '42', audience 'Donors': reusing export {receipt.export.id!r}: it was purchased before"
    )


async def test_reuse_can_be_silenced_without_other_warnings(caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.ERROR, "indigo_async.recipes.reuse")
    caplog.set_level(logging.WARNING, "indigo_async")
    async with sandbox_and_client(client=LOGGED) as (sandbox, client):
        sandbox.faults.add(Fault(kind=FaultKind.ERROR_BEFORE, endpoint=UPLOAD, status=429))
        await match_csv(client)
        await match_csv(client)
    assert event_names_at(caplog, logging.WARNING) == ["RequestRetried"]
    assert reuses(caplog) == []


def reuses(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    return [record for record in caplog.records if "reusing" in record.getMessage()]


async def test_a_recipes_listener_gets_the_same_events_except_requests():
    recipe_events: list[Event] = []
    client_events: list[Event] = []
    async with sandbox_and_client(client={"on_event": client_events.append}) as (_, client):
        await match_csv(client, on_event=recipe_events.append)
    assert recipe_events
    assert recipe_events == [event for event in client_events if not type(event).__name__.startswith("Request")]


async def test_no_record_shows_a_token_a_url_or_a_signature(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.DEBUG, "indigo_async")
    async with sandbox_and_client(client=LOGGED, token="canary-token-88d1") as (_, client):
        audience = await match_csv(client)
        await export_csv(client, audience, tmp_path)
    seen = "\n".join(f"{record.getMessage()} {record.__dict__}" for record in caplog.records if _is_sdk_record(record))
    assert "ExportPurchased" in seen
    assert "canary" not in seen
    assert "http" not in seen


def _is_sdk_record(record: logging.LogRecord) -> bool:
    return record.name == "indigo_async"


def test_a_name_cannot_fake_a_log_line(caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.DEBUG, "indigo_async")
    log_events(ExportPriced(customer_id="4\n2", audience_name="A\nB {seconds}", export_id="e\n1", cost_cents=None))
    assert caplog.messages == ["customer '4\\n2', audience 'A\\nB {seconds}': export 'e\\n1' costs unknown"]


def test_every_event_class_has_a_message():
    kinds = {kind for kind in vars(events).values() if isinstance(kind, type) and issubclass(kind, Event)}
    assert kinds - set(_FORMATS) == {Event, WorkflowEvent, RequestStarted}  # a request is logged when it has ended
    for kind, (_, template) in _FORMATS.items():
        named = {name for _, name, _, _ in string.Formatter().parse(template) if name}
        assert named <= {field.name for field in attrs.fields(kind)} | {"outcome"}


def test_a_disabled_level_formats_nothing(caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.ERROR, "indigo_async")
    log_events(StageFinished(customer_id="42", audience_name="Donors", stage=Stage.UPLOAD, seconds=SPEED))
    assert caplog.records == []
