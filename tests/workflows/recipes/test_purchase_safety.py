"""Purchases from unexpected servers: nothing is purchased twice, above a limit, or for another audience."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import pytest

from indigo_async.client import IndigoClient
from indigo_async.errors import (
    BudgetExceededError,
    ExportExistsError,
    RecordMismatchError,
)
from indigo_async.events import Event
from indigo_async.models import Audience
from indigo_async.sandbox import Dialect, Fault, FaultKind, Sandbox
from indigo_async.workflows import (
    AudienceJob,
    BatchReport,
    ExportStep,
    LookalikeStep,
    RecipeWarning,
    run_batch,
)
from indigo_async.workflows.journal import EntryKind, Journal
from indigo_async.workflows.recipes.name_index import NameIndex
from tests.support.journals import spent_cents
from tests.support.recipes import (
    COLUMNS,
    CUSTOMER,
    PREVIEW,
    PURCHASE,
    count_posts,
    export_csv,
    match_csv,
    seed_audience,
)
from tests.support.servers.scripted import open_client, sandbox_and_client

PHONES = 1_500 * 4
READ = "GET /audience"
three_times = range(3)


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "donors.csv"


@asynccontextmanager
async def always_charging_sandbox(**dialect: Any) -> AsyncGenerator[tuple[Sandbox, IndigoClient]]:
    """A server that charges whatever purchase comes, and a client on it."""
    async with sandbox_and_client(dialect=Dialect(repeated_purchase="charge", **dialect)) as (sandbox, client):
        yield sandbox, client


def jobs(count: int, folder: Path, *, grows: bool = False, **step: Any) -> list[AudienceJob]:
    return [
        AudienceJob(
            customer_id=CUSTOMER,
            audience_name=f"List {number}",
            csv=f"https://files.example.org/{number}.csv",
            column_selections=COLUMNS,
            lookalike=LookalikeStep(audience_name=f"List {number}+", size=2_000) if grows else None,
            export=ExportStep(
                destination=folder / f"{number}.csv",
                **{"optional_field_types": ["phone"], "max_cost_cents": 10_000} | step,
            ),
        )
        for number in range(count)
    ]


class TestPricesThatChange:
    @pytest.mark.parametrize(
        "fault", [{"status": 503}, {"status": 429, "retry_after": 0}, {"disconnect": True}], ids=str
    )
    async def test_a_price_that_rises_before_the_resend_is_not_paid(self, fault: dict[str, Any], target: Path):
        async with always_charging_sandbox() as (sandbox, client):
            sandbox.faults.add(Fault(kind=FaultKind.PRICE_RAISED, endpoint=PURCHASE, cost_cents=900_000, **fault))
            with pytest.raises(BudgetExceededError, match=r"costs \$9,000\.00, above the limit of \$100\.00"):
                await export_csv(client, await seed_audience(sandbox), target, max_cost_cents=10_000)
            assert sandbox.counts().charged_cents == 0
            assert sandbox.log.count(PURCHASE) == 1

    async def test_a_price_that_rises_within_the_limit_is_what_is_reported(self, tmp_path: Path):
        async with always_charging_sandbox() as (sandbox, client):
            sandbox.faults.add(Fault(kind=FaultKind.PRICE_RAISED, endpoint=PURCHASE, cost_cents=PHONES + 1))
            journal = tmp_path / "run.sqlite"
            report = await run_batch(client, jobs(1, tmp_path), journal=journal, budget_cents=10_000)
            assert report.spent_cents == sandbox.counts().charged_cents == PHONES + 1
            assert report.unresolved_cents == 0
            assert await spent_in(journal) == PHONES + 1

    async def test_an_old_preview_is_judged_by_its_current_price(self, target: Path):
        async with always_charging_sandbox() as (sandbox, client):
            audience_id = await seed_audience(sandbox)
            with pytest.raises(BudgetExceededError):
                await export_csv(client, audience_id, target, max_cost_cents=5)
            (preview,) = (await client.get_audience(audience_id, CUSTOMER)).csv_exports
            sandbox.set_price(preview.id, 900_000)
            with pytest.raises(BudgetExceededError, match=r"costs \$9,000\.00"):
                await export_csv(client, audience_id, target, max_cost_cents=10_000)
            assert sandbox.counts().charged_cents == 0

    async def test_ten_jobs_that_are_charged_more_than_quoted_stop_after_the_first(self, tmp_path: Path):
        async with always_charging_sandbox() as (sandbox, client):
            sandbox.faults.add(Fault(kind=FaultKind.OVERCHARGED, endpoint=PURCHASE, cost_cents=50_000, times=None))
            report = await run_batch(client, jobs(10, tmp_path), journal=tmp_path / "run.sqlite", budget_cents=60_000)
            assert report.spent_cents == sandbox.counts().charged_cents == 50_000
            assert await spent_in(tmp_path / "run.sqlite") == 50_000
            assert (report.done, report.failed) == (1, 9)
            assert "charged at $500.00, above the limit of $100.00" in (report.stopped or "")
            assert any("was quoted at $60.00 and charged at $500.00" in one.message for one in report.warnings)
            again = await run_batch(client, jobs(10, tmp_path), journal=tmp_path / "run.sqlite", budget_cents=50_000)
            assert again.spent_cents == sandbox.counts().charged_cents == 50_000
            assert again.failed_by_error == {"BudgetExceededError": 9}

    async def test_a_charge_above_the_quote_and_within_the_limit_counts_against_the_budget(self, tmp_path: Path):
        async with always_charging_sandbox() as (sandbox, client):
            sandbox.faults.add(Fault(kind=FaultKind.OVERCHARGED, endpoint=PURCHASE, cost_cents=9_000, times=None))
            report = await run_batch(client, jobs(10, tmp_path), budget_cents=20_000)
            assert report.spent_cents == sandbox.counts().charged_cents == 18_000
            assert (report.done, report.failed_by_error) == (2, {"BudgetExceededError": 8})

    @pytest.mark.parametrize("second", [("price", 50_000), ("costInCents", 0), ("costBreakdown.total", 50_000)])
    async def test_prices_that_contradict_each_other_are_not_paid(self, second: tuple[str, int], target: Path):
        async with always_charging_sandbox(conflicting_cost=second) as (sandbox, client):
            with pytest.raises(BudgetExceededError, match=f"amounts disagree: .*{second[0]}") as caught:
                await export_csv(client, await seed_audience(sandbox), target)
            assert "cost $60.00" in str(caught.value)
            assert sandbox.counts().purchases == 0

    @pytest.mark.parametrize("cost_format", ["float", "string"])
    async def test_whole_cents_in_another_spelling_are_paid(self, cost_format: Any, target: Path):
        async with always_charging_sandbox(cost_format=cost_format) as (sandbox, client):
            receipt = await export_csv(client, await seed_audience(sandbox), target, max_cost_cents=PHONES)
            assert receipt.export.cost_cents == sandbox.counts().charged_cents == PHONES

    async def test_what_could_be_dollars_is_not_paid(self, target: Path):
        async with always_charging_sandbox(cost_format="dollars") as (sandbox, client):
            with pytest.raises(BudgetExceededError, match="cannot be read for certain"):
                await export_csv(client, await seed_audience(sandbox), target)
            assert sandbox.counts().purchases == 0


class TestResponsesThatLie:
    async def test_an_error_inside_a_good_status_is_no_purchase(self, tmp_path: Path):
        async with always_charging_sandbox() as (sandbox, client):
            sandbox.faults.add(Fault(kind=FaultKind.ERROR_INSIDE_SUCCESS, endpoint=PURCHASE))
            report = await run_batch(client, jobs(1, tmp_path), journal=tmp_path / "run.sqlite")
            assert (report.done, report.spent_cents, report.unresolved_cents) == (0, 0, 0)
            assert "card declined" in report.failures[0].message
            assert await spent_in(tmp_path / "run.sqlite") == 0
            again = await run_batch(client, jobs(1, tmp_path), journal=tmp_path / "run.sqlite")
            assert (again.done, again.spent_cents) == (1, PHONES)
            assert sandbox.counts().purchases == 1

    async def test_after_a_response_about_another_export_the_right_one_is_delivered(self, target: Path):
        async with always_charging_sandbox() as (sandbox, client):
            await export_csv(client, await seed_audience(sandbox), target.with_name("other.csv"))
            audience_id = await seed_audience(sandbox)
            sandbox.faults.add(Fault(kind=FaultKind.WRONG_RECORD, endpoint=PURCHASE))
            receipt = await export_csv(client, audience_id, target)
            (purchased,) = (await client.get_audience(audience_id, CUSTOMER)).csv_exports
            assert receipt.export.id == purchased.id
            assert sandbox.counts().purchases == 2

    @pytest.mark.parametrize("endpoint", [PREVIEW, READ])
    async def test_after_a_record_about_another_audience_nothing_is_purchased(self, endpoint: str, target: Path):
        async with always_charging_sandbox() as (sandbox, client):
            await seed_audience(sandbox)
            await export_csv(client, await seed_audience(sandbox), target.with_name("other.csv"))
            audience_id = await seed_audience(sandbox)
            sandbox.faults.add(Fault(kind=FaultKind.WRONG_RECORD, endpoint=endpoint, times=None))
            with pytest.raises(RecordMismatchError, match=f"requested audience '{audience_id}'"):
                await export_csv(client, audience_id, target)
            assert sandbox.counts().purchases == 1
        assert not target.exists()

    async def test_a_purchase_whose_record_goes_on_asking_for_payment_is_not_sent_again(self, target: Path):
        unpaid = Fault(
            kind=FaultKind.FIELD_REPLACED, endpoint=READ, field="csvExports.status", value="UNPAID", times=None
        )
        async with always_charging_sandbox() as (sandbox, client):
            audience_id = await seed_audience(sandbox)
            sandbox.faults.add(Fault(kind=FaultKind.DISCONNECT_AFTER, endpoint=PURCHASE), unpaid)
            await export_csv(client, audience_id, target)
            assert sandbox.counts().purchases == sandbox.log.count(PURCHASE) == 1
            async with open_client(sandbox) as other:
                with pytest.raises(ExportExistsError, match="has the status 'UNPAID' and a download URL"):
                    await export_csv(other, audience_id, target)
            assert sandbox.counts().purchases == 1


class TestPurchasedExportsThatLookUnpaid:
    @pytest.mark.parametrize("reuse_purchased", [None, True, False])
    @pytest.mark.parametrize(
        "dialect",
        [
            {"url_delay": 3_000.0},
            {"url_delay": 3_000.0, "preview_url": "null"},
            {"purchased_status": "hidden"},
            {"purchased_status": "hidden", "url_delay": 3_000.0},
            {"purchased_status": "hidden", "url_delay": 3_000.0, "preview_url": "empty", "shows_field_types": False},
        ],
        ids=str,
    )
    async def test_three_calls_charge_once(
        self, dialect: dict[str, Any], target: Path, *, reuse_purchased: bool | None
    ):
        async with always_charging_sandbox(**dialect) as (sandbox, client):
            audience_id = await seed_audience(sandbox)
            for _ in three_times:
                await export_csv(client, audience_id, target, reuse_purchased=reuse_purchased)
            assert sandbox.counts().charged_cents == PHONES

    async def test_three_clients_wait_for_a_url_that_comes_late(self, target: Path):
        async with always_charging_sandbox(url_delay=3_000.0) as (sandbox, client):
            audience_id = await seed_audience(sandbox)
            await export_csv(client, audience_id, target)
            for _ in three_times:
                async with open_client(sandbox) as other:
                    await export_csv(other, audience_id, target)
            assert sandbox.counts().charged_cents == PHONES

    @pytest.mark.parametrize("preview_url", ["empty", "null", "absent"])
    async def test_an_empty_url_is_no_purchase(self, preview_url: Any, target: Path):
        async with always_charging_sandbox(preview_url=preview_url) as (sandbox, client):
            audience_id = await seed_audience(sandbox)
            await client.create_preview_csv_export(
                audience_id=audience_id, customer_id=CUSTOMER, optional_field_types=["phone"]
            )
            await export_csv(client, audience_id, target)
            assert sandbox.counts().purchases == 1

    @pytest.mark.parametrize("reuse_purchased", [None, True, False])
    @pytest.mark.parametrize("field_types_format", ["upper", "spaced", "camel", "with free fields"])
    async def test_field_types_in_another_spelling_are_the_same(
        self, field_types_format: Any, target: Path, *, reuse_purchased: bool | None
    ):
        async with always_charging_sandbox(field_types_format=field_types_format) as (sandbox, client):
            audience_id = await seed_audience(sandbox)
            wanted = {"optional_field_types": ["vote_history", "phone"], "reuse_purchased": reuse_purchased}
            await export_csv(client, audience_id, target, **wanted)
            for _ in three_times:
                async with open_client(sandbox) as other:
                    await export_csv(other, audience_id, target, **wanted)
            assert sandbox.counts().purchases == 1

    async def test_field_types_that_the_server_does_not_echo_are_unknown(self, target: Path):
        async with always_charging_sandbox(field_types_format="empty") as (sandbox, client):
            audience_id = await seed_audience(sandbox)
            for _ in three_times:
                await export_csv(client, audience_id, target)
            async with open_client(sandbox) as other:
                with pytest.raises(ExportExistsError, match="was purchased before"):
                    await export_csv(other, audience_id, target)
                await export_csv(other, audience_id, target, reuse_purchased=True)
            assert sandbox.counts().purchases == 1

    async def test_an_odd_export_in_the_record_stops_a_purchase_and_reuses_what_is_certain(self, target: Path):
        odd = Fault(kind=FaultKind.FIELD_REPLACED, endpoint=READ, field="csvExports", value=[None], times=None)
        async with always_charging_sandbox() as (sandbox, client):
            audience_id = await seed_audience(sandbox)
            sandbox.faults.add(odd)
            with pytest.raises(ExportExistsError, match="cannot be read"):
                await export_csv(client, audience_id, target)
            assert count_posts(sandbox) == {}


async def listed(client: IndigoClient, is_shown: Callable[[Audience], bool]) -> list[Audience]:
    """Read the list until it shows something about all 24 audiences."""
    while True:
        rows = await client.list_audiences(CUSTOMER)
        if len(rows) == 24 and all(map(is_shown, rows)):
            return rows


class TestListsThatLag:
    async def test_a_name_that_a_lagging_list_does_not_show_yet_is_found_a_moment_later(self):
        async with always_charging_sandbox(list_lag=60.0) as (_, client):
            first = await match_csv(client)
            assert (await match_csv(client)).id == first.id

    async def test_nor_does_an_empty_list_end_the_search_for_a_name_that_is_taken(self):
        async with always_charging_sandbox(list_lag=60.0) as (sandbox, client):
            (audience_id,) = await sandbox.seed_audiences(1, CUSTOMER, name="Donors")
            found = await NameIndex(client).find_after_refusal(CUSTOMER, "Donors", is_name_taken=True, interval=0.1)
            assert [namesake.id for namesake in found] == [audience_id]

    @pytest.mark.parametrize("reuse_purchased", [None, False])
    @pytest.mark.parametrize("with_journal", [True, False])
    async def test_jobs_run_twice_are_charged_once_although_an_older_preview_has_other_fields(
        self, tmp_path: Path, *, with_journal: bool, reuse_purchased: bool | None
    ):
        journal = tmp_path / "run.sqlite" if with_journal else None
        given = jobs(12, tmp_path, grows=True, reuse_purchased=reuse_purchased)
        async with always_charging_sandbox(list_lag=5_000.0) as (sandbox, client):
            first = await run_batch(client, [attrs.evolve(job, export=None) for job in given])
            assert first.done == 12
            rows = await listed(client, lambda row: row.status == "ACTIVE")
            for row in rows:
                await client.create_preview_csv_export(audience_id=row.id, customer_id=CUSTOMER)
            await listed(client, lambda row: row.csv_exports != ())
            for _ in range(2):
                async with open_client(sandbox) as other:
                    report = await run_batch(other, given, journal=journal)
                    assert report.failures == ()
            assert sandbox.counts().purchases == 12

    async def test_lists_that_never_update_stop_no_job(self, tmp_path: Path):
        async with always_charging_sandbox(frozen_lists=True) as (sandbox, client):
            report = await run_batch(client, jobs(20, tmp_path, grows=True))
            assert report.failures == ()
            assert sandbox.counts().purchases == 20


class TestStubsThatAreActive:
    @pytest.mark.parametrize("with_journal", [True, False])
    async def test_an_active_stub_is_waited_for_matched_and_never_exported_unmatched(
        self, tmp_path: Path, *, with_journal: bool
    ):
        journal = tmp_path / "run.sqlite" if with_journal else None
        async with always_charging_sandbox(stub_status="ACTIVE") as (sandbox, client):
            report = await run_batch(client, jobs(3, tmp_path, grows=True), journal=journal)
            assert report.failures == ()
            assert count_posts(sandbox)["POST /match_uploaded_csv"] == 3
            assert sandbox.counts().purchases == 3


class TestServersThatUpsert:
    async def test_a_create_that_returns_an_existing_audience_purchases_nothing_again(self, tmp_path: Path):
        dialect = {"duplicate_names": "upsert", "name_key": None, "shows_base_audience": True}
        async with always_charging_sandbox(**dialect) as (sandbox, _):
            for _ in three_times:
                async with open_client(sandbox) as client:
                    await run_batch(client, jobs(3, tmp_path, grows=True))
            assert max(sandbox.counts().purchases_by_audience.values()) == 1


class TestJournals:
    async def test_an_old_copy_of_a_journal_purchases_nothing_again(self, tmp_path: Path):
        journal = tmp_path / "run.sqlite"
        given = jobs(6, tmp_path, reuse_purchased=False)
        async with always_charging_sandbox() as (sandbox, client):
            await run_batch(client, given[:3], journal=journal, purchase=False)
            for suffix in ("", ".rows"):
                shutil.copy(f"{journal}{suffix}", f"{journal}.backup{suffix}")
            await run_batch(client, given, journal=journal)
            for suffix in ("", ".rows"):
                shutil.copy(f"{journal}.backup{suffix}", f"{journal}{suffix}")
            for job in given:
                assert job.export is not None
                Path(job.export.destination).unlink()
            async with open_client(sandbox) as other:
                report = await run_batch(other, given, journal=journal)
            assert report.failures == ()
            assert sandbox.counts().purchases == 6

    @pytest.mark.parametrize("reuse_purchased", [None, True, False])
    async def test_a_recorded_purchase_that_the_server_does_not_show_blocks_another(
        self, tmp_path: Path, *, reuse_purchased: bool | None
    ):
        journal = tmp_path / "run.sqlite"
        given = jobs(1, tmp_path, reuse_purchased=reuse_purchased)
        async with always_charging_sandbox() as (sandbox, client):
            await run_batch(client, given, journal=journal)
            (tmp_path / "0.csv").unlink()
            sandbox.faults.add(
                Fault(kind=FaultKind.FIELD_REPLACED, endpoint=READ, field="csvExports", value=[], times=None)
            )
            async with open_client(sandbox) as other:
                report = await run_batch(other, given, journal=journal)
            assert report.failed_by_error == {"PurchaseInDoubtError": 1}
            assert "reuse_purchased" not in report.failures[0].message
            sandbox.faults.clear()
            async with open_client(sandbox) as other:
                assert (await run_batch(other, given, journal=journal)).done == 1
            assert sandbox.counts().purchases == 1

    async def test_the_journal_holds_what_was_charged(self, tmp_path: Path):
        journal = tmp_path / "run.sqlite"
        async with always_charging_sandbox() as (sandbox, client):
            sandbox.faults.add(Fault(kind=FaultKind.OVERCHARGED, endpoint=PURCHASE, cost_cents=7_000))
            await run_batch(client, jobs(1, tmp_path), journal=journal)
        async with Journal.open(journal) as opened:
            rows = [record async for record in opened.records() if record.stage == "purchase"]
        assert [(row.kind, row.facts["cost_cents"]) for row in rows] == [
            (EntryKind.INTENT, PHONES),
            (EntryKind.RESULT, 7_000),
        ]


async def test_a_reuse_is_a_visible_warning_in_the_outcome_and_the_report(tmp_path: Path):
    async with always_charging_sandbox() as (sandbox, client):
        await run_batch(client, jobs(2, tmp_path))
        events: list[Event] = []
        async with open_client(sandbox) as other:
            report: BatchReport = await run_batch(other, jobs(2, tmp_path), on_event=events.append)
    assert report.warned == 2
    assert sorted(warning.message for warning in report.warnings) == sorted(
        event.message for event in events if isinstance(event, RecipeWarning)
    )
    assert any("columns are not compared" in warning.message for warning in report.warnings)
    assert any("reusing export" in warning.message for warning in report.warnings)


async def spent_in(journal: Path) -> int:
    async with Journal.open(journal) as opened:
        return await spent_cents(opened)


async def test_two_concurrent_batches_on_the_same_audiences_purchase_once(tmp_path: Path):
    async with always_charging_sandbox() as (sandbox, client):
        await run_batch(client, [attrs.evolve(job, export=None) for job in jobs(5, tmp_path)])
        async with open_client(sandbox) as one, open_client(sandbox) as other:
            reports = await asyncio.gather(
                run_batch(one, jobs(5, tmp_path / "a")), run_batch(other, jobs(5, tmp_path / "b"))
            )
        assert [report.failures for report in reports] == [(), ()]
        assert sandbox.counts().purchases == 5
