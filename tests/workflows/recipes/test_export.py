"""The third recipe: price an export, purchase it once and within the limit, download it."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import stat
import tracemalloc
from pathlib import Path

import pytest

from indigo_async.errors import (
    AudienceFailedError,
    BudgetExceededError,
    DownloadError,
    ExportExistsError,
    InvalidInputError,
    NotFoundError,
    WaitTimeoutError,
)
from indigo_async.events import Event
from indigo_async.sandbox import Dialect, Fault, FaultKind, ManualClock
from indigo_async.workflows import ExportPurchased, ExportReused, RecipeFailed, Stage, StageStarted, download_export
from tests.support.recipes import (
    CUSTOMER,
    PREVIEW,
    PURCHASE,
    UNKNOWN_OUTCOMES,
    count_posts,
    export_csv,
    lost_response,
    seed_audience,
)
from tests.support.servers.scripted import open_client, sandbox_and_client

PHONES = 1_500 * 4
DOWNLOAD = "GET download"
once_and_twice = pytest.mark.parametrize("times", [1, 2], ids=["once", "twice in a row"])
every_loss = pytest.mark.parametrize("kind", UNKNOWN_OUTCOMES.values(), ids=UNKNOWN_OUTCOMES.keys())
both_flows = pytest.mark.parametrize("flow", ["synchronous", "asynchronous"])
UNSHOWN = Dialect(shows_field_types=False)


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "donors.csv"


def facts(path: Path) -> tuple[int, str, int]:
    data = path.read_bytes()
    return len(data), hashlib.sha256(data).hexdigest(), stat.S_IMODE(path.stat().st_mode)


@both_flows
async def test_an_export_is_priced_purchased_and_downloaded(flow, target: Path):
    async with sandbox_and_client(export_flow=flow) as (sandbox, client):
        receipt = await export_csv(client, await seed_audience(sandbox), target)
        assert count_posts(sandbox) == {PREVIEW: 1, PURCHASE: 1}
        assert sandbox.counts().charged_cents == receipt.export.cost_cents == PHONES
    assert receipt.path == target
    assert facts(target) == (receipt.size_bytes, receipt.sha256, 0o600)


@both_flows
async def test_a_free_export_needs_no_limit(flow, target: Path):
    async with sandbox_and_client(export_flow=flow) as (sandbox, client):
        await export_csv(client, await seed_audience(sandbox), target, optional_field_types=[], max_cost_cents=0)
        assert sandbox.counts().charged_cents == 0
    assert target.exists()


async def test_what_the_client_has_purchased_before_costs_nothing(target: Path):
    async with sandbox_and_client() as (sandbox, client):
        audience_id = await seed_audience(sandbox)
        client.purchased_exports.update((f"earlier {number}", None) for number in range(100_000))
        tracemalloc.start()
        try:
            await export_csv(client, audience_id, target)
            _, most_bytes = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert most_bytes < 2_000_000


async def test_an_audience_made_in_the_app_is_exported_without_a_customer(target: Path):
    async with sandbox_and_client() as (sandbox, client):
        audience_id = await sandbox.seed_app_audience()
        await export_csv(client, audience_id, target, customer_id=None)
        assert sandbox.counts().purchases == 1


@both_flows
async def test_run_again_it_downloads_the_purchased_export_and_posts_nothing(flow, tmp_path: Path):
    events: list[Event] = []
    async with sandbox_and_client(export_flow=flow) as (sandbox, client):
        audience_id = await seed_audience(sandbox)
        first = await export_csv(client, audience_id, tmp_path / "one.csv")
        sandbox.log.clear()
        second = await export_csv(client, audience_id, tmp_path / "two.csv", max_cost_cents=0, on_event=events.append)
        assert count_posts(sandbox) == {}
        assert sandbox.counts().purchases == 1
    assert (second.export.id, second.sha256) == (first.export.id, first.sha256)
    assert [event.evidence for event in events if isinstance(event, ExportReused)] == [
        "already purchased by this job or this process"
    ]


async def test_other_fields_are_another_export(tmp_path: Path):
    async with sandbox_and_client() as (sandbox, client):
        audience_id = await seed_audience(sandbox)
        first = await export_csv(client, audience_id, tmp_path / "one.csv")
        second = await export_csv(client, audience_id, tmp_path / "two.csv", optional_field_types=["address"])
        assert second.export.id != first.export.id
        assert sandbox.counts().charged_cents == PHONES + 1_500 * 2


@both_flows
async def test_an_existing_preview_with_the_same_fields_is_purchased(flow, target: Path):
    async with sandbox_and_client(export_flow=flow) as (sandbox, client):
        audience_id = await seed_audience(sandbox)
        preview = await client.create_preview_csv_export(
            audience_id=audience_id, customer_id=CUSTOMER, optional_field_types=["phone"]
        )
        receipt = await export_csv(client, audience_id, target)
        assert receipt.export.id == preview.id
        assert count_posts(sandbox) == {PREVIEW: 1, PURCHASE: 1}


async def test_a_preview_with_unknown_fields_is_not_purchased(target: Path):
    async with sandbox_and_client(dialect=UNSHOWN) as (sandbox, client):
        audience_id = await seed_audience(sandbox)
        preview = await client.create_preview_csv_export(
            audience_id=audience_id, customer_id=CUSTOMER, optional_field_types=["phone"]
        )
        receipt = await export_csv(client, audience_id, target)
        assert receipt.export.id != preview.id
        assert sandbox.counts().purchases == 1


async def test_a_purchase_with_unknown_fields_stops_before_another(target: Path):
    async with sandbox_and_client(dialect=UNSHOWN) as (sandbox, client):
        audience_id = await seed_audience(sandbox)
        await export_csv(client, audience_id, target)
        sandbox.log.clear()
        async with open_client(sandbox) as other:
            with pytest.raises(ExportExistsError, match=r"^preview: export .* was purchased before") as caught:
                await export_csv(other, audience_id, target)
        assert caught.value.audience.id == audience_id
        assert count_posts(sandbox) == {}


async def test_a_purchase_of_unknown_fields_is_downloaded_if_the_caller_says_so(target: Path):
    async with sandbox_and_client(dialect=UNSHOWN) as (sandbox, client):
        audience_id = await seed_audience(sandbox)
        first = await export_csv(client, audience_id, target)
        async with open_client(sandbox) as other:
            second = await export_csv(other, audience_id, target, reuse_purchased=True)
        assert second.export.id == first.export.id
        assert sandbox.counts().purchases == 1


async def test_another_is_purchased_with_reuse_purchased_false(target: Path):
    async with sandbox_and_client(dialect=UNSHOWN) as (sandbox, client):
        audience_id = await seed_audience(sandbox)
        first = await export_csv(client, audience_id, target)
        async with open_client(sandbox) as other:
            second = await export_csv(other, audience_id, target, reuse_purchased=False)
        assert second.export.id != first.export.id
        assert sandbox.counts().purchases == 2


@both_flows
@pytest.mark.parametrize("limit", [0, PHONES - 1])
async def test_nothing_is_purchased_above_the_limit(flow, target: Path, limit: int):
    async with sandbox_and_client(export_flow=flow) as (sandbox, client):
        too_expensive = re.escape(
            f"costs $60.00, above the limit of ${limit / 100:.2f}; nothing was purchased. To purchase"
        )
        with pytest.raises(BudgetExceededError, match=too_expensive) as caught:
            await export_csv(client, await seed_audience(sandbox), target, max_cost_cents=limit)
        assert count_posts(sandbox) == {PREVIEW: 1}
    assert (caught.value.limit_cents, caught.value.export.cost_cents) == (limit, PHONES)
    assert caught.value.stage is Stage.PURCHASE
    assert not target.exists()


async def test_above_the_limit_the_purchase_stage_does_not_start(target: Path):
    events: list[Event] = []
    async with sandbox_and_client() as (sandbox, client):
        with pytest.raises(BudgetExceededError):
            await export_csv(
                client, await seed_audience(sandbox), target, max_cost_cents=PHONES - 1, on_event=events.append
            )
    assert [event.stage for event in events if isinstance(event, StageStarted)] == [Stage.PREVIEW]
    assert [event.stage for event in events if isinstance(event, RecipeFailed)] == [Stage.PURCHASE]


async def test_the_limit_itself_may_be_spent(target: Path):
    async with sandbox_and_client() as (sandbox, client):
        await export_csv(client, await seed_audience(sandbox), target, max_cost_cents=PHONES)
        assert sandbox.counts().charged_cents == PHONES


async def test_without_a_limit_only_free_exports_are_purchased(target: Path):
    async with sandbox_and_client() as (sandbox, client):
        audience_id = await seed_audience(sandbox)
        with pytest.raises(BudgetExceededError):
            await export_csv(client, audience_id, target, max_cost_cents=0)
        await export_csv(client, audience_id, target, optional_field_types=[], max_cost_cents=0)
        assert sandbox.counts().charged_cents == 0


async def test_a_preview_with_an_unreadable_price_is_not_purchased(target: Path):
    async with sandbox_and_client() as (sandbox, client):
        sandbox.faults.add(Fault(kind=FaultKind.FIELD_MISSING, endpoint=PREVIEW, field="cost"))
        with pytest.raises(BudgetExceededError, match=r"the price of export .* cannot be read .* fields: createdAt\)"):
            await export_csv(client, await seed_audience(sandbox), target)
        assert sandbox.counts().purchases == 0


async def test_a_preview_above_the_limit_can_be_purchased_later_with_a_higher_limit(target: Path):
    async with sandbox_and_client() as (sandbox, client):
        audience_id = await seed_audience(sandbox)
        with pytest.raises(BudgetExceededError) as caught:
            await export_csv(client, audience_id, target, max_cost_cents=5)
        receipt = await export_csv(client, audience_id, target)
        assert receipt.export.id == caught.value.export.id
        assert count_posts(sandbox) == {PREVIEW: 1, PURCHASE: 1}


@both_flows
async def test_a_failed_free_export_is_reported_and_replaced_by_the_next_call(flow, target: Path):
    failing = PURCHASE if flow == "synchronous" else PREVIEW
    async with sandbox_and_client(export_flow=flow) as (sandbox, client):
        audience_id = await seed_audience(sandbox)
        sandbox.faults.add(Fault(kind=FaultKind.STAGE_FAILS, endpoint=failing))
        with pytest.raises(AudienceFailedError, match="its status is 'FAILED'"):
            await export_csv(client, audience_id, target, optional_field_types=[])
        await export_csv(client, audience_id, target, optional_field_types=[])
    assert target.exists()


@both_flows
async def test_an_export_that_failed_after_its_purchase_is_purchased_again_only_with_permission(flow, target: Path):
    async with sandbox_and_client(export_flow=flow) as (sandbox, client):
        audience_id = await seed_audience(sandbox)
        sandbox.faults.add(Fault(kind=FaultKind.STAGE_FAILS, endpoint=PURCHASE))
        with pytest.raises(AudienceFailedError, match="its status is 'FAILED'"):
            await export_csv(client, audience_id, target)
        for _ in range(3):
            with pytest.raises(ExportExistsError, match="may have been purchased before"):
                await export_csv(client, audience_id, target)
        assert sandbox.counts().purchases == 1
        await export_csv(client, audience_id, target, reuse_purchased=False)
        assert sandbox.counts().purchases == 2
    assert target.exists()


async def test_an_audience_of_another_customer_is_not_found(target: Path):
    async with sandbox_and_client() as (sandbox, client):
        with pytest.raises(NotFoundError):
            await export_csv(client, await seed_audience(sandbox), target, customer_id="43")
        assert count_posts(sandbox) == {}


@every_loss
@once_and_twice
@both_flows
async def test_a_preview_with_an_unknown_outcome_is_found_and_one_is_purchased(
    flow, kind: FaultKind, times: int, target: Path
):
    async with sandbox_and_client(export_flow=flow) as (sandbox, client):
        sandbox.faults.add(lost_response(PREVIEW, kind, times))
        await export_csv(client, await seed_audience(sandbox), target)
        assert sandbox.log.count(PREVIEW, carried_out=True) == 1
        assert sandbox.counts().purchases == 1
    assert target.exists()


@pytest.mark.parametrize("kind", [FaultKind.DISCONNECT_BEFORE, FaultKind.DISCONNECT_AFTER])
async def test_an_earlier_export_with_the_same_fields_is_not_taken_for_a_lost_preview(kind: FaultKind, target: Path):
    free = {"optional_field_types": [], "max_cost_cents": 0}
    async with sandbox_and_client(export_flow="asynchronous") as (sandbox, client):
        audience_id = await seed_audience(sandbox)
        sandbox.faults.add(Fault(kind=FaultKind.STAGE_FAILS, endpoint=PREVIEW))
        with pytest.raises(AudienceFailedError):
            await export_csv(client, audience_id, target, **free)
        sandbox.faults.add(lost_response(PREVIEW, kind, 1))
        await export_csv(client, audience_id, target, **free)
        assert sandbox.log.count(PREVIEW, carried_out=True) == 2
    assert target.exists()


@every_loss
@once_and_twice
async def test_a_preview_of_unknown_outcome_and_fields_is_made_again_which_costs_nothing(
    kind: FaultKind, times: int, target: Path
):
    async with sandbox_and_client(dialect=UNSHOWN) as (sandbox, client):
        sandbox.faults.add(lost_response(PREVIEW, kind, times))
        await export_csv(client, await seed_audience(sandbox), target)
        assert sandbox.log.count(PREVIEW) == 1 + times
        assert sandbox.counts().purchases == 1


@every_loss
@once_and_twice
@both_flows
async def test_a_purchase_with_an_unknown_outcome_is_found_and_charged_once(
    flow, kind: FaultKind, times: int, target: Path
):
    events: list[Event] = []
    async with sandbox_and_client(export_flow=flow) as (sandbox, client):
        sandbox.faults.add(lost_response(PURCHASE, kind, times))
        await export_csv(client, await seed_audience(sandbox), target, on_event=events.append)
        assert sandbox.counts().charged_cents == PHONES
        assert sandbox.log.count(PURCHASE, carried_out=True) == 1
    assert len([event for event in events if isinstance(event, ExportPurchased)]) == 1
    assert target.exists()


@every_loss
async def test_a_purchase_with_an_unknown_outcome_is_sent_again_if_the_record_shows_nothing(
    kind: FaultKind, target: Path
):
    async with sandbox_and_client() as (sandbox, client):
        audience_id = await seed_audience(sandbox)
        sandbox.faults.add(
            lost_response(PURCHASE, kind, 1),
            Fault(kind=FaultKind.FIELD_MISSING, endpoint="GET /audience", field="csvExports", skip_first=1),
        )
        await export_csv(client, audience_id, target)
        assert sandbox.counts().charged_cents == PHONES
    assert target.exists()


@pytest.mark.parametrize(
    "kind",
    [FaultKind.TRUNCATED_BODY, FaultKind.ETAG_CHANGED, FaultKind.CONTENT_LENGTH_WRONG, FaultKind.DISCONNECT_BEFORE],
)
async def test_a_download_that_breaks_is_taken_up_again(kind: FaultKind, target: Path):
    async with sandbox_and_client() as (sandbox, client):
        sandbox.faults.add(Fault(kind=kind, endpoint=DOWNLOAD))
        receipt = await export_csv(client, await seed_audience(sandbox), target)
        assert sandbox.counts().purchases == 1
    assert facts(target) == (receipt.size_bytes, receipt.sha256, 0o600)


@pytest.mark.parametrize("kind", [FaultKind.RANGE_IGNORED, FaultKind.RANGE_SHIFTED, FaultKind.ETAG_CHANGED])
async def test_a_download_taken_up_again_is_never_patched_together(kind: FaultKind, target: Path):
    async with sandbox_and_client() as (sandbox, client):
        audience_id = await seed_audience(sandbox)
        whole = await export_csv(client, audience_id, target)
        sandbox.faults.add(Fault(kind=FaultKind.TRUNCATED_BODY, endpoint=DOWNLOAD), Fault(kind=kind, endpoint=DOWNLOAD))
        again = await export_csv(client, audience_id, target)
    assert (again.size_bytes, again.sha256) == (whole.size_bytes, whole.sha256)
    assert facts(target)[1] == whole.sha256


async def test_a_url_that_expired_is_asked_for_once_more(target: Path):
    async with sandbox_and_client() as (sandbox, client):
        sandbox.faults.add(Fault(kind=FaultKind.ERROR_BEFORE, endpoint=DOWNLOAD, status=403))
        receipt = await export_csv(client, await seed_audience(sandbox), target)
        assert sandbox.log.count(DOWNLOAD) == 2
        assert sandbox.counts().purchases == 1
    assert facts(target)[1] == receipt.sha256


async def test_a_download_that_is_refused_for_good_keeps_the_purchase_and_what_was_there(target: Path):
    target.write_bytes(b"what was there")
    async with sandbox_and_client() as (sandbox, client):
        audience_id = await seed_audience(sandbox)
        sandbox.faults.add(Fault(kind=FaultKind.ERROR_BEFORE, endpoint=DOWNLOAD, status=403, times=2))
        with pytest.raises(DownloadError, match="returned 403"):
            await export_csv(client, audience_id, target)
        assert target.read_bytes() == b"what was there"
        await export_csv(client, audience_id, target)
        assert sandbox.counts().purchases == 1
    assert target.read_bytes() != b"what was there"


@pytest.mark.parametrize("why", ["the server refuses", "the disk does"])
async def test_a_failed_download_says_how_to_download_without_another_purchase(
    why: str, target: Path, monkeypatch: pytest.MonkeyPatch
):
    def broken(*_: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    async with sandbox_and_client(dialect=UNSHOWN) as (sandbox, client):
        audience_id = await seed_audience(sandbox)
        if why == "the disk does":
            monkeypatch.setattr("os.fchmod", broken)
        else:
            sandbox.faults.add(Fault(kind=FaultKind.ERROR_BEFORE, endpoint=DOWNLOAD, status=403, times=2))
        with pytest.raises(DownloadError) as caught:
            await export_csv(client, audience_id, target, reuse_purchased=False)
        assert caught.value.expired == (why == "the server refuses")
        (purchased,) = (await client.get_audience(audience_id, CUSTOMER)).csv_exports
        assert str(caught.value).endswith(
            f"; export {purchased.id} of audience {audience_id} is purchased: workflows.download_export(..., "
            f"export_id={purchased.id!r}) downloads it without purchasing another"
        )
        if why == "the disk does":
            monkeypatch.undo()
        receipt = await download_export(
            client, audience_id, customer_id=CUSTOMER, destination=target, export_id=purchased.id
        )
        assert sandbox.counts().purchases == 1
    assert facts(target) == (receipt.size_bytes, receipt.sha256, 0o600)


async def test_a_deadline_before_the_price_is_known_purchases_nothing(target: Path):
    async with sandbox_and_client(export_flow="asynchronous", clock=ManualClock()) as (sandbox, client):
        audience_id = await seed_audience(sandbox)
        with pytest.raises(WaitTimeoutError, match=r"^preview: not done after 0\.2 s") as caught:
            await export_csv(client, audience_id, target, timeout=0.2)
        assert count_posts(sandbox) == {PREVIEW: 1}
    assert caught.value.audience.id == audience_id


async def test_a_deadline_after_the_purchase_says_so_and_the_next_call_only_downloads(target: Path):
    clock = ManualClock()
    async with sandbox_and_client(export_flow="asynchronous", clock=clock) as (sandbox, client):
        audience_id = await seed_audience(sandbox)
        await client.create_preview_csv_export(
            audience_id=audience_id, customer_id=CUSTOMER, optional_field_types=["phone"]
        )
        clock.advance(1_000)
        with pytest.raises(WaitTimeoutError, match=r"^purchase: not done after 1 s"):
            await export_csv(client, audience_id, target, timeout=1.0)
        assert sandbox.counts().purchases == 1
        clock.advance(1_000)
        await sandbox.wait_until_idle()
        await export_csv(client, audience_id, target)
        assert count_posts(sandbox) == {PREVIEW: 1, PURCHASE: 1}
    assert target.exists()


@pytest.mark.parametrize(
    ("arguments", "place"),
    [
        ({"destination": 5}, "destination"),
        ({"destination": ""}, "destination"),
        ({"destination": "/"}, "destination"),
        ({"max_cost_cents": -1}, "max_cost_cents"),
        ({"max_cost_cents": True}, "max_cost_cents"),
        ({"max_cost_cents": 10.5}, "max_cost_cents"),
        ({"optional_field_types": ["fax"]}, "optional_field_types[0]"),
        ({"reuse_purchased": "no"}, "reuse_purchased"),
        ({"customer_id": ""}, "customer_id"),
        ({"audience": True}, "audience"),
        ({"timeout": 0}, "timeout"),
    ],
)
async def test_an_invalid_argument_sends_nothing(arguments: dict[str, object], place: str, target: Path):
    async with sandbox_and_client() as (sandbox, client):
        with pytest.raises(InvalidInputError) as caught:
            await export_csv(client, **{"audience": "aud-1", "destination": target} | arguments)
        assert [problem.where for problem in caught.value.problems] == [place]
        assert len(sandbox.log.entries) == 0


@pytest.mark.parametrize("letter", ["x", "\xe9"])
async def test_a_name_too_long_for_the_files_of_a_download_is_refused_before_anything_is_sent(
    letter: str, tmp_path: Path
):
    longest = os.pathconf(tmp_path, "PC_NAME_MAX") - len("..part.json")
    width = len(letter.encode())
    name = letter * (longest // width) + "x" * (longest % width)
    async with sandbox_and_client() as (sandbox, client):
        audience_id = await seed_audience(sandbox)
        for folder in (tmp_path, tmp_path / "not there yet"):
            sandbox.log.clear()
            with pytest.raises(InvalidInputError, match=f"its name must be at most {longest} bytes long there"):
                await export_csv(client, audience_id, folder / f"{name}x")
            assert not sandbox.log.entries
            sandbox.faults.add(Fault(kind=FaultKind.TRUNCATED_BODY, endpoint=DOWNLOAD))
            receipt = await export_csv(client, audience_id, folder / name)
            assert facts(folder / name) == (receipt.size_bytes, receipt.sha256, 0o600)


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("x" * 300, "cannot be written: File name too long"),
        ("x" * 300 + "/x.csv", "cannot be written: File name too long"),
        ("a\0b.csv", "contains a null byte or invalid Unicode"),
        ("\udce9.csv", "contains a null byte or invalid Unicode"),
        ("a file/x.csv", "cannot be written"),
    ],
)
async def test_a_destination_that_no_disk_takes_is_refused_before_anything_is_sent(name: str, why: str, tmp_path: Path):
    (tmp_path / "a file").touch()
    async with sandbox_and_client() as (sandbox, client):
        with pytest.raises(InvalidInputError, match=why) as caught:
            await export_csv(client, "aud-1", tmp_path / name)
        assert not sandbox.log.entries
    assert [problem.where for problem in caught.value.problems] == ["destination"]


async def test_a_folder_is_no_destination(tmp_path: Path):
    async with sandbox_and_client() as (sandbox, client):
        with pytest.raises(InvalidInputError, match="is a folder; name a file"):
            await export_csv(client, "aud-1", tmp_path)
        assert len(sandbox.log.entries) == 0
