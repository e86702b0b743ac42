"""A purchased export is downloaded again from a fresh URL; nothing is purchased."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from indigo_async import workflows
from indigo_async.client import IndigoClient
from indigo_async.errors import (
    ExportExistsError,
    InvalidInputError,
    NotFoundError,
    WaitTimeoutError,
    WorkflowError,
)
from indigo_async.events import Event, Listener
from indigo_async.models import Audience, CsvExport, RecordId
from indigo_async.sandbox import Dialect, Fault, FaultKind, ManualClock, Sandbox
from indigo_async.workflows import (
    DownloadProgressed,
    ExportDownloaded,
    ExportReceipt,
    ExportReused,
    StatusChanged,
)
from indigo_async.workflows.recipes.download import choose_purchased
from tests.support.debug_mode import anyio_backend  # noqa: F401
from tests.support.servers.scripted import sandbox_and_client

CUSTOMER = "42"
DOWNLOAD = "GET download"
POSTS = ("POST /create_preview_csv_export", "POST /purchase_csv_export")
UNSHOWN = Dialect(shows_field_types=False)


async def purchase_export(
    sandbox: Sandbox, client: IndigoClient, folder: Path, *field_types: str, audience_id: RecordId | None = None
) -> tuple[RecordId, ExportReceipt]:
    """Create an audience with a purchased export, and clear the log."""
    if audience_id is None:
        (audience_id,) = await sandbox.seed_audiences(1, CUSTOMER, size=1_500)
    receipt = await workflows.export_audience(
        client,
        audience_id,
        customer_id=CUSTOMER,
        destination=folder / "first.csv",
        optional_field_types=field_types,
        max_cost_cents=10_000_000,
        reuse_purchased=False,
    )
    sandbox.log.clear()
    return audience_id, receipt


async def download_again(
    client: IndigoClient, audience: Audience | RecordId, folder: Path, **options: Any
) -> ExportReceipt:
    wanted = {"customer_id": CUSTOMER, "destination": folder / "again.csv"} | options
    return await workflows.download_export(client, audience, **wanted)


def assert_nothing_purchased(sandbox: Sandbox) -> None:
    assert [sandbox.log.count(endpoint) for endpoint in POSTS] == [0, 0]


@pytest.mark.parametrize("flow", ["synchronous", "asynchronous"])
async def test_a_purchased_export_is_downloaded_again_and_nothing_is_purchased(flow, tmp_path: Path):
    events: list[Event] = []
    async with sandbox_and_client(export_flow=flow) as (sandbox, client):
        audience_id, first = await purchase_export(sandbox, client, tmp_path, "phone")
        second = await download_again(client, audience_id, tmp_path, on_event=events.append)
        assert_nothing_purchased(sandbox)
    assert (second.export.id, second.sha256, second.path) == (first.export.id, first.sha256, tmp_path / "again.csv")
    assert second.path.read_bytes() == first.path.read_bytes()
    reported = [event for event in events if isinstance(event, (ExportReused, DownloadProgressed, ExportDownloaded))]
    assert [type(event).__name__ for event in reported][:2] == ["ExportReused", "DownloadProgressed"]
    assert isinstance(reported[-1], ExportDownloaded)
    assert (reported[1].size_bytes, reported[1].total_bytes, reported[1].export_id) == (
        0,
        first.size_bytes,
        first.export.id,
    )


async def test_an_audience_serves_as_well_as_its_id(tmp_path: Path):
    async with sandbox_and_client() as (sandbox, client):
        audience_id, first = await purchase_export(sandbox, client, tmp_path)
        audience = await client.get_audience(audience_id, CUSTOMER)
        assert (await download_again(client, audience, tmp_path)).sha256 == first.sha256


async def test_the_url_of_an_old_record_is_not_asked_for(tmp_path: Path):
    """The record at hand may be days old; its URL has expired."""
    clock = ManualClock()
    async with sandbox_and_client(clock=clock, download_lifetime=60.0) as (sandbox, client):
        audience_id, first = await purchase_export(sandbox, client, tmp_path)
        old = await client.get_audience(audience_id, CUSTOMER)
        clock.advance(61)
        sandbox.log.clear()
        assert (await download_again(client, old, tmp_path)).sha256 == first.sha256
        assert [entry.status for entry in sandbox.log.entries if entry.endpoint == DOWNLOAD] == [200]


async def test_a_url_that_is_refused_is_asked_for_again(tmp_path: Path):
    async with sandbox_and_client() as (sandbox, client):
        audience_id, first = await purchase_export(sandbox, client, tmp_path)
        sandbox.faults.add(Fault(kind=FaultKind.ERROR_BEFORE, endpoint=DOWNLOAD, status=403))
        assert (await download_again(client, audience_id, tmp_path)).sha256 == first.sha256
        assert (sandbox.log.count("GET /audience"), sandbox.log.count(DOWNLOAD)) == (2, 2)


async def test_the_one_of_several_exports_with_the_fields_is_downloaded(tmp_path: Path):
    async with sandbox_and_client() as (sandbox, client):
        audience_id, phones = await purchase_export(sandbox, client, tmp_path, "phone")
        _, addresses = await purchase_export(sandbox, client, tmp_path, "address", audience_id=audience_id)
        for wanted in (phones, addresses):
            fields = wanted.export.optional_field_types
            got = await download_again(client, audience_id, tmp_path, optional_field_types=fields)
            assert got.export.id == wanted.export.id
        assert_nothing_purchased(sandbox)


async def test_with_several_exports_the_caller_has_to_name_one(tmp_path: Path):
    async with sandbox_and_client() as (sandbox, client):
        audience_id, phones = await purchase_export(sandbox, client, tmp_path, "phone")
        _, addresses = await purchase_export(sandbox, client, tmp_path, "address", audience_id=audience_id)
        one, other = phones.export.id, addresses.export.id
        with pytest.raises(ExportExistsError) as caught:
            await download_again(client, audience_id, tmp_path)
        assert str(caught.value) == (
            f"download: it is unclear which purchased export of audience {audience_id} to download: "
            f"export {one} with phone, export {other} with address. Pass export_id=... to choose one"
        )
        assert (await download_again(client, audience_id, tmp_path, export_id=one)).sha256 == phones.sha256
        assert sandbox.log.count(DOWNLOAD) == 1


async def test_unshown_fields_need_an_export_id(tmp_path: Path):
    async with sandbox_and_client(dialect=UNSHOWN) as (sandbox, client):
        audience_id, first = await purchase_export(sandbox, client, tmp_path, "phone")
        with pytest.raises(ExportExistsError, match=r"with fields that the server does not show\. Pass export_id="):
            await download_again(client, audience_id, tmp_path, optional_field_types=["phone"])
        assert (await download_again(client, audience_id, tmp_path)).sha256 == first.sha256
        assert (await download_again(client, audience_id, tmp_path, export_id=first.export.id)).sha256 == first.sha256
        assert_nothing_purchased(sandbox)


async def test_an_unpurchased_export_is_not_purchased(tmp_path: Path):
    async with sandbox_and_client() as (sandbox, client):
        (audience_id,) = await sandbox.seed_audiences(1, CUSTOMER, size=1_500)
        with pytest.raises(
            WorkflowError,
            match=r"none of its exports was purchased; .* call export_audience",
        ):
            await download_again(client, audience_id, tmp_path)
        preview = await client.create_preview_csv_export(
            audience_id=audience_id, customer_id=CUSTOMER, optional_field_types=["phone"]
        )
        sandbox.log.clear()
        with pytest.raises(WorkflowError, match=rf"export {preview.id} cannot be downloaded: its status is "):
            await download_again(client, audience_id, tmp_path, export_id=preview.id)
        with pytest.raises(WorkflowError, match="export 99 is not one of its exports"):
            await download_again(client, audience_id, tmp_path, export_id=99)
        assert_nothing_purchased(sandbox)
        assert sandbox.counts().purchases == 0
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("meant", ["the only one", "by its ID", "by its fields"])
async def test_a_purchased_export_in_progress_is_waited_for(meant: str, tmp_path: Path):
    clock = ManualClock()
    async with sandbox_and_client(export_flow="asynchronous", clock=clock) as (sandbox, client):
        audience_id, export_id = await pay_and_leave_in_progress(sandbox, client, clock)
        options = {
            "the only one": {},
            "by its ID": {"export_id": export_id},
            "by its fields": {"optional_field_types": ["phone"]},
        }[meant]
        with pytest.raises(WaitTimeoutError, match=r"^download: not done after 0\.2 s"):
            await download_again(client, audience_id, tmp_path, timeout=0.2, **options)
        seen: list[str] = []
        receipt = await download_again(client, audience_id, tmp_path, on_event=passing_time(clock, seen), **options)
        assert seen == ["IN_PROGRESS", "ACTIVE"]
        assert receipt.export.id == export_id
        assert_nothing_purchased(sandbox)


async def test_other_fields_than_those_in_progress_are_not_waited_for(tmp_path: Path):
    clock = ManualClock()
    async with sandbox_and_client(export_flow="asynchronous", clock=clock) as (sandbox, client):
        audience_id, _ = await pay_and_leave_in_progress(sandbox, client, clock)
        with pytest.raises(WorkflowError, match="none of its exports was purchased"):
            await download_again(client, audience_id, tmp_path, optional_field_types=["address"])


async def test_a_preview_in_progress_is_reported_as_not_purchased(tmp_path: Path):
    clock = ManualClock()
    async with sandbox_and_client(export_flow="asynchronous", clock=clock) as (sandbox, client):
        (audience_id,) = await sandbox.seed_audiences(1, CUSTOMER, size=1_500)
        await client.create_preview_csv_export(
            audience_id=audience_id, customer_id=CUSTOMER, optional_field_types=["phone"]
        )
        seen: list[str] = []
        with pytest.raises(WorkflowError, match="none of its exports was purchased"):
            await download_again(client, audience_id, tmp_path, on_event=passing_time(clock, seen))
        assert seen == ["IN_PROGRESS", "REQUIRES_PAYMENT"]
        assert sandbox.counts().purchases == 0


def passing_time(clock: ManualClock, seen: list[str]) -> Listener:
    """Keeps the statuses that were seen, each of which passes after it was."""

    def listen(event: Event) -> None:
        if isinstance(event, StatusChanged):
            seen.append(event.status)
            clock.advance(1_000)

    return listen


async def pay_and_leave_in_progress(
    sandbox: Sandbox, client: IndigoClient, clock: ManualClock
) -> tuple[RecordId, RecordId]:
    """An audience with an export that is paid and being made; from here on the log counts."""
    (audience_id,) = await sandbox.seed_audiences(1, CUSTOMER, size=1_500)
    preview = await client.create_preview_csv_export(
        audience_id=audience_id, customer_id=CUSTOMER, optional_field_types=["phone"]
    )
    clock.advance(1_000)
    purchased = await client.purchase_csv_export(export_id=preview.id, customer_id=CUSTOMER)
    assert purchased.status == "IN_PROGRESS"
    sandbox.log.clear()
    return audience_id, preview.id


async def test_the_error_lists_the_fields_that_were_purchased(tmp_path: Path):
    async with sandbox_and_client() as (sandbox, client):
        audience_id, first = await purchase_export(sandbox, client, tmp_path, "phone")
        with pytest.raises(WorkflowError) as caught:
            await download_again(client, audience_id, tmp_path, optional_field_types=[])
    assert f"no export with no paid fields was purchased, only export {first.export.id} with phone" in str(caught.value)


async def test_another_customers_audience_is_not_found(tmp_path: Path):
    async with sandbox_and_client() as (sandbox, client):
        audience_id, _ = await purchase_export(sandbox, client, tmp_path)
        with pytest.raises(NotFoundError):
            await download_again(client, audience_id, tmp_path, customer_id="43")


async def test_all_invalid_arguments_are_reported_before_anything_is_sent(tmp_path: Path):
    async with sandbox_and_client() as (sandbox, client):
        with pytest.raises(InvalidInputError) as caught:
            await download_again(
                client, "", tmp_path, export_id="", optional_field_types=["fax"], destination=tmp_path, timeout=0
            )
        assert not sandbox.log.entries
    wheres = [problem.where for problem in caught.value.problems]
    assert wheres == [
        "audience",
        "optional_field_types[0]",
        "export_id",
        "optional_field_types",
        "destination",
        "timeout",
    ]


def record(*exports: CsvExport) -> Audience:
    return Audience(id=7, csv_exports=exports)


def export_of(export_id: RecordId, *fields: str, shown: bool = True, cost_cents: int | None = None) -> CsvExport:
    return CsvExport(
        id=export_id,
        status="ACTIVE",
        cost_cents=cost_cents,
        optional_field_types=fields if shown else None,
        download_url="https://example.org/x",
    )


def test_the_newest_of_several_with_the_same_fields_is_chosen():
    audience = record(export_of(1, "phone"), export_of(2, "phone"))
    assert choose_purchased(audience, export_id=None, wanted=None).id == 2
    assert choose_purchased(audience, export_id=None, wanted=frozenset({"phone"})).id == 2


def test_shown_fields_go_before_unknown_ones():
    audience = record(export_of(1, "phone"), export_of(2, shown=False))
    assert choose_purchased(audience, export_id=None, wanted=frozenset({"phone"})).id == 1
    with pytest.raises(ExportExistsError, match="Pass export_id="):
        choose_purchased(audience, export_id=None, wanted=None)


def test_an_id_is_the_same_as_text_and_as_a_number():
    assert choose_purchased(record(export_of(1)), export_id="1", wanted=None).id == 1


@pytest.mark.parametrize("fields", [("Phone",), ("first_name", "phone", "gender"), ("phone", "phone")])
def test_fields_are_compared_by_their_meaning(fields: tuple[str, ...]):
    shown = record(
        export_of("e1", *fields, cost_cents=6000), export_of("e2", "ethnicity", "vote_history", cost_cents=6000)
    )
    assert choose_purchased(shown, export_id=None, wanted=frozenset({"phone"})).id == "e1"


def test_the_newest_of_exports_with_the_same_fields_in_other_spellings_is_chosen():
    shown = record(export_of("e1", "phone", cost_cents=6000), export_of("e2", "Phone", "first_name", cost_cents=6000))
    assert choose_purchased(shown, export_id=None, wanted=None).id == "e2"


def test_a_field_that_nobody_knows_stops_and_names_the_export():
    with pytest.raises(ExportExistsError, match="export e1"):
        choose_purchased(
            record(export_of("e1", "phone_premium", cost_cents=6000)), export_id=None, wanted=frozenset({"phone"})
        )


def test_an_export_that_may_have_been_purchased_is_named_instead_of_advice_to_purchase():
    unclear = CsvExport(
        id="e7",
        status="REQUIRES_PAYMENT",
        optional_field_types=("phone",),
        download_url="https://files.example.org/people.csv",
    )
    with pytest.raises(WorkflowError, match="export e7 may have been purchased") as caught:
        choose_purchased(record(unclear), export_id=None, wanted=frozenset({"phone"}))
    assert "call export_audience" not in str(caught.value)
