"""`BatchReport.by_customer`: whose jobs are done, and who pays."""

from __future__ import annotations

import asyncio
from pathlib import Path

import attrs
import pytest

from indigo_async.events import Event, Stage, StageStarted
from indigo_async.models import Audience, UploadedAudienceCsv
from indigo_async.sandbox import Dialect, Fault, FaultKind
from indigo_async.workflows import (
    AudienceJob,
    BatchReport,
    CustomerTotals,
    JobOutcome,
    JobResult,
    run_batch,
    start_batch,
)
from indigo_async.workflows.batches.report import BatchCounters
from indigo_async.workflows.recipes.context import RecipeContext
from tests.support.jobs import lite_sandbox, make_client, make_job
from tests.support.servers.scripted import sandbox_and_client

PRICE_CENTS = 8_000


def make_jobs(folder: Path) -> list[AudienceJob]:
    """Two jobs of customer A and one of customer B."""
    return [make_job(number, folder, customer=customer) for number, customer in enumerate("AAB")]


def sums(report: BatchReport) -> CustomerTotals:
    return sum(report.by_customer.values(), start=CustomerTotals())


async def test_each_customers_jobs_and_costs_are_counted(tmp_path: Path):
    async with lite_sandbox() as sandbox, make_client(sandbox) as client:
        report = await run_batch(client, make_jobs(tmp_path))
    one = CustomerTotals(
        jobs=1, done=1, spent_cents=PRICE_CENTS, spent_this_run_cents=PRICE_CENTS, quoted_cents=PRICE_CENTS
    )
    counts = [attrs.evolve(totals, matched=0, rows=0) for totals in report.by_customer.values()]
    assert dict(zip(report.by_customer, counts, strict=True)) == {"A": one + one, "B": one}
    assert all(totals.matched <= totals.rows and totals.rows for totals in report.by_customer.values())
    assert report.to_json()["by_customer"]["B"]["spent_cents"] == PRICE_CENTS


async def test_failed_jobs_and_prices_above_the_limit_are_counted(tmp_path: Path):
    jobs = [*make_jobs(tmp_path), make_job(7, tmp_path, customer="B", max_cost_cents=5)]
    async with lite_sandbox(dialect=Dialect(shows_counts=False)) as sandbox, make_client(sandbox) as client:
        report = await run_batch(client, jobs)
    assert report.by_customer["B"] == CustomerTotals(
        jobs=2,
        done=1,
        failed=1,
        spent_cents=PRICE_CENTS,
        spent_this_run_cents=PRICE_CENTS,
        quoted_cents=2 * PRICE_CENTS,
    )


async def test_a_later_run_counts_what_earlier_runs_spent_for_each_customer(tmp_path: Path):
    jobs, journal = make_jobs(tmp_path), tmp_path / "journal"
    async with lite_sandbox() as sandbox, make_client(sandbox) as client:
        first = await run_batch(client, jobs[:2], journal=journal)
        second = await run_batch(client, jobs[1:], journal=journal, budget_cents=3 * PRICE_CENTS)
    assert {name: totals.spent_cents for name, totals in first.by_customer.items()} == {"A": 2 * PRICE_CENTS}
    assert {
        name: (totals.jobs, totals.spent_cents, totals.spent_this_run_cents)
        for name, totals in second.by_customer.items()
    } == {"A": (1, 2 * PRICE_CENTS, 0), "B": (1, PRICE_CENTS, PRICE_CENTS)}
    assert (first.spent_this_run_cents, second.spent_this_run_cents) == (2 * PRICE_CENTS, PRICE_CENTS)
    assert (first.recalled, second.recalled) == (0, 1)
    assert sums(second).spent_cents == second.spent_cents == sums(second).quoted_cents == second.quoted_cents


async def test_a_purchase_in_doubt_stays_with_its_customer(tmp_path: Path):
    async with sandbox_and_client() as (sandbox, client):
        lost = Fault(kind=FaultKind.DISCONNECT_BEFORE, endpoint="POST /purchase_csv_export", times=None)
        sandbox.faults.add(lost)
        report = await run_batch(client, make_jobs(tmp_path)[1:], journal=tmp_path / "journal")
        sandbox.faults.clear()
        async with make_client(sandbox) as other:
            again = await run_batch(other, make_jobs(tmp_path)[1:], journal=tmp_path / "journal")
    assert (report.failed_by_error, report.unresolved_cents) == ({"PurchaseInDoubtError": 2}, 2 * PRICE_CENTS)
    assert {name: totals.unresolved_cents for name, totals in report.by_customer.items()} == {
        "A": PRICE_CENTS,
        "B": PRICE_CENTS,
    }
    assert again.spent_this_run_cents == sums(again).spent_this_run_cents == 0  # the earlier run purchased them
    assert {name: (totals.spent_cents, totals.unresolved_cents) for name, totals in again.by_customer.items()} == {
        "A": (PRICE_CENTS, 0),
        "B": (PRICE_CENTS, 0),
    }


async def test_jobs_that_were_interrupted_are_unfinished(tmp_path: Path):
    started = asyncio.Event()

    def listen(event: Event) -> None:
        if isinstance(event, StageStarted):
            started.set()

    async with sandbox_and_client(speed=0.001) as (_, client):
        async with start_batch(client, make_jobs(tmp_path), on_event=listen) as batch:
            await started.wait()
        report = batch.report()
    assert sums(report) == CustomerTotals(jobs=report.canceled, unfinished=report.canceled)
    assert report.canceled > 0


def outcome(job: AudienceJob) -> JobOutcome:
    csv = UploadedAudienceCsv(row_count=10, matched_count=5)
    result = JobResult(matched=Audience(id=1, matched_count=5, uploaded_audience_csv=csv))
    return JobOutcome(job=job, result=result, stage=Stage.MATCH)


@pytest.mark.parametrize("customers", [1, 250])
async def test_the_counters_hold_one_record_for_each_customer_however_many_jobs_there_are(customers: int):
    counters = BatchCounters()
    async with sandbox_and_client() as (_, client):
        contexts = [RecipeContext(client, str(number), "Donors") for number in range(customers)]
        ended = outcome(make_job(1, Path()))
        for number in range(5_000):
            counters.add(ended, contexts[number % customers])
    share = 5_000 // customers
    totals = CustomerTotals(jobs=share, done=share, matched=5 * share, rows=10 * share)
    assert counters.by_customer == dict.fromkeys(map(str, range(customers)), totals)


def test_a_notebook_shows_customers_if_there_are_several_the_most_expensive_first():
    report = BatchReport(
        done=30,
        failed=0,
        failed_by_stage={},
        failed_by_error={},
        failures=(),
        stopped=None,
        quoted_cents=0,
        spent_cents=0,
        unresolved_cents=0,
        budget_cents=None,
        lost_uploads=0,
        requests={},
        failed_requests={},
        reads_saved=0,
        stages={},
        seconds=1.0,
        by_customer={f"<{number}>": CustomerTotals(jobs=1, spent_cents=number * 100) for number in range(30)},
    )
    html = report._repr_html_()
    assert html.index("&lt;29&gt;") < html.index("$29.00") < html.index("&lt;28&gt;")
    assert "<29>" not in html
    assert "and 10 more" in html
    alone = attrs.evolve(report, by_customer={"42": CustomerTotals(jobs=30)})
    assert "customer" not in alone._repr_html_()
