from __future__ import annotations

import asyncio
import json
import logging
import time
from collections import UserDict, deque
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import pandas as pd
import pytest

from indigo_async import ColumnSelection, IndigoClient, LookalikeFilters
from indigo_async.errors import (
    AuthenticationError,
    BudgetExceededError,
    InvalidInputError,
    JournalMismatchError,
    JournalWriteError,
)
from indigo_async.events import Event
from indigo_async.sandbox import Fault, FaultKind, Sandbox
from indigo_async.workflows import (
    AudienceJob,
    ExportDownloaded,
    ExportPurchased,
    ExportStep,
    LookalikeStep,
    Stage,
    StageStarted,
    read_journal,
    run_batch,
    run_job,
    start_batch,
)
from indigo_async.workflows.batches import preparation
from indigo_async.workflows.journal import EntryKind, Journal
from tests.support.jobs import count_posts, endless_jobs, lite_sandbox, make_client, make_job, make_jobs
from tests.support.journals import spent_cents


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    async with lite_sandbox() as sandbox:
        yield sandbox


@pytest.fixture
async def client(sandbox: Sandbox) -> AsyncIterator[IndigoClient]:
    async with make_client(sandbox) as client:
        yield client


async def test_every_job_is_matched_expanded_purchased_and_downloaded(sandbox, client, tmp_path: Path):
    report = await run_batch(client, make_jobs(20, tmp_path), journal=tmp_path / "run.sqlite")
    assert (report.done, report.failed, report.stopped) == (20, 0, None)
    counts = sandbox.counts()
    assert len(counts.audiences) == 40
    assert set(counts.audiences.values()) == {1}
    assert set(counts.purchases_by_audience.values()) == {1}
    assert report.spent_cents == counts.charged_cents == report.quoted_cents > 0
    assert all((tmp_path / f"{number}.csv").stat().st_size > 0 for number in range(20))
    assert count_posts(sandbox) == 20 * 5
    assert sum(report.requests.values()) == sandbox.log.count() - sandbox.log.count("GET download")
    assert set(report.stages) == {stage.value for stage in Stage}
    assert report.stages["match"].jobs == 20


async def test_sporadic_429s_fail_no_job_and_repeat_nothing(sandbox, client, tmp_path: Path):
    sandbox.faults.add(Fault(kind=FaultKind.ERROR_BEFORE, status=429, probability=0.02, times=None))
    report = await run_batch(client, make_jobs(50, tmp_path), journal=tmp_path / "run.sqlite")
    assert (report.done, report.failed, report.stopped) == (50, 0, None)
    assert set(sandbox.counts().purchases_by_audience.values()) == {1}
    assert sandbox.log.count(status=429) > 0


async def test_outcomes_hold_the_records_and_the_time_of_each_stage(client, tmp_path: Path):
    async with start_batch(client, make_jobs(3, tmp_path), journal=tmp_path / "run.sqlite") as batch:
        outcomes = [outcome async for outcome in batch]
    assert sorted(outcome.job.key for outcome in outcomes) == ["42/List 0", "42/List 1", "42/List 2"]
    for outcome in outcomes:
        assert outcome.ok
        assert outcome.result is not None
        assert outcome.result.matched.name == outcome.job.audience_name
        assert outcome.result.lookalike is not None
        assert outcome.result.lookalike.base_audience_id == outcome.result.matched.id
        assert outcome.result.receipt is not None
        assert set(outcome.timings) == set(Stage)


async def test_a_report_is_plain_json(client, tmp_path: Path):
    report = await run_batch(client, make_jobs(2, tmp_path), journal=tmp_path / "run.sqlite")
    document = json.loads(json.dumps(report.to_json()))
    assert document["done"] == 2
    assert document["stages"]["upload"]["jobs"] == 2


async def test_jobs_are_read_lazily(client, tmp_path: Path):
    read = downloaded = most_in_flight = 0

    def counted() -> Iterator[AudienceJob]:
        nonlocal read, most_in_flight
        for one in make_jobs(30, tmp_path):
            read += 1
            most_in_flight = max(most_in_flight, read - downloaded)
            yield one

    def note(event: object) -> None:
        nonlocal downloaded
        downloaded += isinstance(event, ExportDownloaded)

    report = await run_batch(client, counted(), max_in_flight=4, journal=tmp_path / "run.sqlite", on_event=note)
    assert report.done == read == 30
    assert most_in_flight == 4


async def test_jobs_may_come_from_an_async_iterable(client, tmp_path: Path):
    async def slowly() -> AsyncIterator[AudienceJob]:
        for one in make_jobs(3, tmp_path):
            await asyncio.sleep(0)
            yield one

    report = await run_batch(client, slowly(), journal=tmp_path / "run.sqlite")
    assert report.done == 3


async def test_a_failed_job_reports_its_stage_and_stops_no_other(sandbox, client, tmp_path: Path):
    sandbox.faults.add(Fault(kind=FaultKind.STAGE_FAILS, endpoint="POST /match_uploaded_csv", times=1))
    async with start_batch(client, make_jobs(5, tmp_path), journal=tmp_path / "run.sqlite") as batch:
        failed = [outcome async for outcome in batch if not outcome.ok]
        report = batch.report()
    assert len(failed) == 1
    assert failed[0].stage is Stage.MATCH
    assert failed[0].audience_id is not None
    assert type(failed[0].error).__name__ == "AudienceFailedError"
    assert (report.done, report.failed) == (4, 1)
    assert report.failed_by_stage == {"match": 1}
    assert report.failures[0].key == failed[0].job.key
    assert str(failed[0].audience_id) in report.failures[0].message


async def test_stop_after_failures(sandbox, client, tmp_path: Path):
    sandbox.faults.add(Fault(kind=FaultKind.STAGE_FAILS, endpoint="POST /match_uploaded_csv", times=None))
    report = await run_batch(
        client, endless_jobs(tmp_path), max_in_flight=3, stop_after_failures=5, journal=tmp_path / "run.sqlite"
    )
    assert report.stopped == "5 jobs failed"
    assert 5 <= report.failed <= 5 + 3


async def test_a_wrong_token_stops_the_batch_after_a_handful_of_requests(sandbox, tmp_path: Path):
    async with IndigoClient("wrong-token", base_url=sandbox.base_url) as client:
        report = await run_batch(client, endless_jobs(tmp_path), journal=tmp_path / "run.sqlite")
    assert report.done == 0
    assert report.failed_by_error == {AuthenticationError.__name__: report.failed}
    assert report.stopped is not None
    assert sandbox.log.count() <= 4  # as many jobs as are admitted before anything has worked


async def test_a_wrong_token_stops_a_batch_whose_jobs_start_slowly(sandbox, tmp_path: Path, monkeypatch):
    check_job = preparation.check_job

    def slow_check(*arguments: object, **options: object):
        time.sleep(0.01)  # in its thread, as a slow disk would
        return check_job(*arguments, **options)

    monkeypatch.setattr(preparation, "check_job", slow_check)
    async with IndigoClient("wrong-token", base_url=sandbox.base_url) as client:
        report = await run_batch(client, endless_jobs(tmp_path), max_in_flight=100, journal=tmp_path / "run.sqlite")
    assert report.stopped is not None
    assert sandbox.log.count() <= 4


async def test_jobs_of_a_queue_are_taken_only_when_they_start(sandbox, tmp_path: Path):
    queue = deque(make_jobs(50, tmp_path))

    def jobs():
        while queue:
            yield queue.popleft()

    async with IndigoClient("wrong-token", base_url=sandbox.base_url) as client:
        async with start_batch(client, jobs(), journal=tmp_path / "run.sqlite") as batch:
            outcomes = [outcome async for outcome in batch]
        assert batch.report().stopped is not None
    assert len(outcomes) + batch.report().canceled == 50 - len(queue)


async def test_an_iterator_is_read_while_earlier_jobs_run(sandbox, client, tmp_path: Path):
    uploads_seen: list[int] = []

    def jobs():
        for job in make_jobs(20, tmp_path):
            uploads_seen.append(sandbox.log.count("POST /upload_csv"))
            yield job

    report = await run_batch(client, jobs())
    assert report.done == 20
    assert uploads_seen[-1] > 0


async def test_an_iterator_may_change_what_it_has_yielded(client, tmp_path: Path, monkeypatch):
    states: list[str] = []
    columns: UserDict[str, ColumnSelection] = UserDict()
    sent: list[tuple[Any, ...]] = []
    match, create_lookalike = IndigoClient.match_uploaded_csv, IndigoClient.create_lookalike_audience

    async def observe_match(self: IndigoClient, **arguments: Any) -> Any:
        sent.append((arguments["audience_name"], arguments["column_selections"].first_name.column_name))
        return await match(self, **arguments)

    async def observe_lookalike(self: IndigoClient, **arguments: Any) -> Any:
        sent.append((arguments["audience_name"], *arguments["filters"].states))
        return await create_lookalike(self, **arguments)

    monkeypatch.setattr(IndigoClient, "match_uploaded_csv", observe_match)
    monkeypatch.setattr(IndigoClient, "create_lookalike_audience", observe_lookalike)

    def jobs():
        for number, state in enumerate(["PA", "OH", "MI"]):
            states[:] = [state]
            columns["first_name"] = ColumnSelection(f"First {state}", required=True)
            job = make_job(number, tmp_path)
            lookalike = attrs.evolve(job.lookalike, filters=LookalikeFilters(states=states))
            yield attrs.evolve(job, column_selections=columns, lookalike=lookalike)

    report = await run_batch(client, jobs())
    assert report.done == 3
    assert sorted(sent) == [
        ("List 0", "First PA"),
        ("List 0, grown", "PA"),
        ("List 1", "First OH"),
        ("List 1, grown", "OH"),
        ("List 2", "First MI"),
        ("List 2, grown", "MI"),
    ]


async def test_a_stopped_batch_does_not_wait_for_the_next_job(sandbox, tmp_path: Path):
    never = asyncio.Event()

    async def queue() -> AsyncIterator[AudienceJob]:
        yield make_job(0, tmp_path)
        await never.wait()

    async with IndigoClient("wrong-token", base_url=sandbox.base_url) as client, asyncio.timeout(20):
        report = await run_batch(client, queue(), journal=tmp_path / "run.sqlite")
    assert (report.done, report.failed) == (0, 1)


async def test_jobs_after_too_many_failures_are_not_started(sandbox, client, tmp_path: Path):
    for number in range(3):
        sandbox.faults.add(
            Fault(kind=FaultKind.ERROR_BEFORE, status=400, endpoint="POST /upload_csv", customer_id=f"bad-{number}")
        )
    head = [make_job(number, tmp_path / "head", customer=f"bad-{number}") for number in range(3)]
    report = await run_batch(
        client, head + make_jobs(300, tmp_path), stop_after_failures=1, max_in_flight=5, journal=tmp_path / "run.sqlite"
    )
    assert report.stopped == "1 jobs failed"
    assert report.done + report.failed <= 10


async def test_a_cancellation_within_a_job_fails_only_that_job(client, tmp_path: Path):
    class Cancelled:
        @asynccontextmanager
        async def publish(self, path: Path) -> AsyncIterator[str]:  # noqa: ARG002 - the protocol's parameter
            raise asyncio.CancelledError
            yield ""

    people = tmp_path / "people.csv"
    people.write_text("First\nAda\n")
    local = attrs.evolve(make_job(0, tmp_path), csv=people)
    report = await run_batch(
        client, [local, *make_jobs(3, tmp_path)[1:]], publisher=Cancelled(), journal=tmp_path / "run.sqlite"
    )
    assert (report.done, report.failed) == (2, 1)
    assert "something that the job waited for was canceled" in report.failures[0].message


async def test_two_jobs_never_write_one_file(sandbox, client, tmp_path: Path):
    two = [make_job(0, tmp_path, customer="1"), make_job(0, tmp_path, customer="2")]
    with pytest.raises(InvalidInputError, match=r"jobs\[1\].export.destination: '.*0.csv' is written by another job"):
        await run_batch(client, two)
    assert sandbox.log.count() == 0
    report = await run_batch(client, iter(two), max_in_flight=1, journal=tmp_path / "run.sqlite")
    assert (report.done, report.failed) == (1, 1)
    assert sandbox.counts().purchases == 1


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ([{"customer_id": "42"}], r"jobs\[0\]: must be an AudienceJob, not dict"),
        (iter([{"customer_id": "42"}]), r"jobs\[0\]: must be an AudienceJob, not dict"),
        (42, "jobs: must be an iterable of AudienceJobs, not int"),
    ],
    ids=["in a list", "from an iterator", "no iterable"],
)
async def test_a_value_that_is_not_a_job_is_refused(client, wrong, message: str):
    with pytest.raises(InvalidInputError, match=message):
        await run_batch(client, wrong)


async def test_a_single_job_is_not_a_batch(client, tmp_path: Path):
    with pytest.raises(InvalidInputError, match="must be an iterable of AudienceJobs, not AudienceJob"):
        await run_batch(client, make_job(0, tmp_path))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (5, "journal: must be a path, not int"),
        (b"run.sqlite", "journal: must be a path, not bytes"),
        ("", "journal: must not be empty or contain a null byte"),
        ("run\0.sqlite", "journal: must not be empty or contain a null byte"),
    ],
    ids=["number", "bytes", "empty", "null byte"],
)
async def test_a_journal_must_be_a_path(client, wrong, message: str):
    with pytest.raises(InvalidInputError, match=message):
        await run_batch(client, [], journal=wrong)
    with pytest.raises(InvalidInputError, match=message.replace("journal", "path")):
        read_journal(wrong)


async def test_a_folder_or_a_loop_of_links_is_no_journal(client, tmp_path: Path):
    loop = tmp_path / "loop.sqlite"
    loop.symlink_to(loop)
    for path, problem in [(tmp_path, "this is a folder; name a file"), (loop, "cannot be read or written")]:
        with pytest.raises(JournalWriteError, match=problem):
            await run_batch(client, [], journal=path)


async def test_purchases_of_jobs_that_failed_later_are_counted(sandbox, client, tmp_path: Path):
    broken = Fault(kind=FaultKind.ERROR_BEFORE, status=400, endpoint="GET download", times=None)
    sandbox.faults.add(broken)
    report = await run_batch(client, make_jobs(3, tmp_path), journal=tmp_path / "run.sqlite")
    assert (report.done, report.failed_by_stage) == (0, {"download": 3})
    assert report.quoted_cents == report.spent_cents == sandbox.counts().charged_cents > 0


async def test_uploads_with_a_lost_response_are_counted(sandbox, client, tmp_path: Path):
    sandbox.faults.add(Fault(kind=FaultKind.DISCONNECT_AFTER, endpoint="POST /upload_csv", times=2))
    report = await run_batch(client, make_jobs(3, tmp_path), journal=str(tmp_path / "run.sqlite"))
    assert (report.done, report.lost_uploads) == (3, 2)
    assert sandbox.counts().audiences["42", None] == 2


def test_the_repr_of_a_job_shows_no_signature(tmp_path: Path):
    signed = attrs.evolve(make_job(0, tmp_path), csv="https://files.example.org/0.csv?signature=canary")
    assert "canary" not in repr(signed)
    assert "files.example.org/0.csv" in repr(signed)


async def test_jobs_in_a_list_are_all_checked_before_anything_is_sent(sandbox, client, tmp_path: Path):
    bad = [
        make_job(0, tmp_path),
        attrs.evolve(make_job(1, tmp_path), audience_name=" List"),
        attrs.evolve(make_job(2, tmp_path), column_selections={"adress": {"column_name": "A"}}),
        attrs.evolve(make_job(3, tmp_path), audience_name="List 0, grown"),
    ]
    with pytest.raises(InvalidInputError) as caught:
        await run_batch(client, bad)
    places = [problem.where for problem in caught.value.problems]
    assert places == [
        "jobs[1].audience_name",
        "jobs[2].column_selections.adress",
        "jobs[2].column_selections",
        "jobs[3].audience_name",
    ]
    assert sandbox.log.count() == 0


async def test_changing_a_mapping_after_it_was_passed_changes_no_job(client, tmp_path, monkeypatch):
    columns: dict[str, dict[str, object]] = {}
    sent = {}
    match = client.match_uploaded_csv

    def one_by_one():
        for number in range(3):
            columns.clear()
            columns["first_name"] = {"column_name": f"First {number}", "is_required": True}
            yield attrs.evolve(make_job(number, tmp_path), column_selections=columns)

    async def noted(*, audience_name, column_selections, **arguments):
        sent[audience_name] = column_selections.by_field()["first_name"].column_name
        return await match(audience_name=audience_name, column_selections=column_selections, **arguments)

    monkeypatch.setattr(client, "match_uploaded_csv", noted)
    report = await run_batch(client, one_by_one())
    assert report.done == 3
    assert sent == {f"List {number}": f"First {number}" for number in range(3)}


def test_a_job_stores_its_arguments(tmp_path: Path):
    filters, field_types = {"states": ["PA"]}, ["phone"]
    lookalike = LookalikeStep(audience_name="List 0, grown", size=2_000, filters=filters)
    export = ExportStep(destination=tmp_path / "0.csv", optional_field_types=field_types)
    filters["states"].append("NJ")
    field_types.append("address")
    assert (lookalike.filters, export.optional_field_types) == ({"states": ["PA"]}, ["phone"])


def test_a_job_keeps_what_an_iterator_yields_and_nested_lists():
    extra = {"ages": [{"min": 18}]}
    filters = {"states": iter(["PA"]), "counties": {"42003"}, "extra": extra}
    lookalike = LookalikeStep(audience_name="List 0, grown", size=2_000, filters=filters)
    extra["ages"][0]["min"] = 30
    assert lookalike.filters == {"states": ["PA"], "counties": ["42003"], "extra": {"ages": [{"min": 18}]}}


async def test_jobs_can_be_made_from_the_rows_of_a_data_frame(sandbox, client, tmp_path: Path):
    frame = pd.DataFrame(
        {"customer": [7, 8], "name": ["A", "B"], "size": [2_000.0, 2_000.0], "cents": [500_000, 500_000]}
    )
    jobs = [
        AudienceJob(
            customer_id=row.customer,
            audience_name=row.name,
            csv=f"https://files.example.org/{row.name}.csv",
            column_selections={"first_name": {"column_name": "First", "is_required": np.bool_(True)}},
            lookalike=LookalikeStep(
                audience_name=f"{row.name}+", size=row.size, filters={"states": (state for state in ["PA"])}
            ),
            export=ExportStep(
                destination=tmp_path / f"{row.name}.csv", max_cost_cents=row.cents, allow_empty=np.False_
            ),
        )
        for row in frame.itertuples()
    ]
    for _ in range(2):
        report = await run_batch(client, jobs, journal=tmp_path / "run.sqlite", budget_cents=np.float64(1_000_000))
        assert (report.done, report.failed) == (2, 0)
    assert set(sandbox.counts().audiences) == {("7", "A"), ("7", "A+"), ("8", "B"), ("8", "B+")}


async def test_a_missing_value_in_a_row_is_refused_with_its_place(client, tmp_path: Path):
    job = AudienceJob(
        customer_id=pd.NA,
        audience_name="A",
        csv="https://files.example.org/a.csv",
        column_selections={"first_name": {"column_name": float("nan"), "is_required": True}},
        lookalike=LookalikeStep(audience_name="A+", size=pd.NA, filters={"states": ["PA", float("nan")]}),
        export=ExportStep(destination=tmp_path / "a.csv", max_cost_cents=float("nan"), reuse_purchased=pd.NA),
    )
    assert (await run_batch(client, iter([job]))).failed == 1
    with pytest.raises(InvalidInputError) as caught:
        await run_batch(client, [job])
    assert {problem.where.removeprefix("jobs[0].") for problem in caught.value.problems} == {
        "customer_id",
        "column_selections.first_name.column_name",
        "lookalike.size",
        "lookalike.filters.states[1]",
        "export.max_cost_cents",
        "export.reuse_purchased",
    }


async def test_a_customer_as_a_number_and_as_text_is_one_customer(client, tmp_path: Path):
    jobs = [make_job(0, tmp_path, customer=customer) for customer in ("42", np.int64(42))]
    with pytest.raises(InvalidInputError, match="another job makes an audience named 'List 0'"):
        await run_batch(client, jobs)


async def test_a_step_of_the_wrong_type_is_reported_with_its_field(client, tmp_path: Path):
    step = {"audience_name": "List 0, grown", "size": 2_000}
    bad = [
        attrs.evolve(make_job(0, tmp_path), lookalike=step, export=step),
        attrs.evolve(make_job(1, tmp_path), lookalike=attrs.evolve(make_job(1, tmp_path).lookalike, size=0)),
        attrs.evolve(make_job(2, tmp_path), export=attrs.evolve(make_job(2, tmp_path).export, max_cost_cents=-1)),
    ]
    with pytest.raises(InvalidInputError) as caught:
        await run_batch(client, bad)
    assert [str(problem) for problem in caught.value.problems] == [
        "jobs[0].lookalike: must be LookalikeStep(...), not dict",
        "jobs[0].export: must be ExportStep(...), not dict",
        "jobs[1].lookalike.size: must be at least 1, not 0",
        "jobs[2].export.max_cost_cents: must be at least $0.00",
    ]
    report = await run_batch(client, iter(bad))
    assert [failure.error_type for failure in report.failures] == ["InvalidInputError"] * 3


async def test_a_duplicate_name_from_an_iterator_fails_alone(sandbox, client, tmp_path: Path):
    three = [make_job(0, tmp_path), make_job(1, tmp_path), attrs.evolve(make_job(2, tmp_path), audience_name="List 0")]
    report = await run_batch(client, iter(three), max_in_flight=1, journal=tmp_path / "run.sqlite")
    assert (report.done, report.failed) == (2, 1)
    assert "names are unique" in report.failures[0].message
    assert count_posts(sandbox) == 10


@pytest.mark.parametrize("name", ["half a pair \ud800", "x" * 10_000_000, 7])
async def test_an_invalid_job_from_an_iterator_fails_alone(client, tmp_path: Path, name: object):
    bad = attrs.evolve(make_job(0, tmp_path), audience_name=name)
    report = await run_batch(client, iter([bad, make_job(1, tmp_path)]), journal=tmp_path / "run.sqlite")
    assert (report.done, report.failed) == (1, 1)
    assert report.failed_by_error == {"InvalidInputError": 1} or len(str(name)) > 1_000


async def test_a_later_run_records_the_outcome_of_an_unresolved_purchase(sandbox, client, tmp_path: Path):
    journal = tmp_path / "run.sqlite"

    def blind(event: Event) -> None:
        if isinstance(event, StageStarted) and event.stage is Stage.PURCHASE:
            sandbox.faults.add(Fault(kind=FaultKind.DISCONNECT_AFTER, endpoint="POST /purchase_csv_export"))
            sandbox.faults.add(Fault(kind=FaultKind.ERROR_BEFORE, endpoint="GET /audience", times=None, status=400))

    first = await run_batch(client, [make_job(0, tmp_path, lookalike=False)], journal=journal, on_event=blind)
    assert (first.done, sandbox.counts().purchases) == (0, 1)
    sandbox.faults.clear()
    report = await run_batch(client, [make_job(0, tmp_path, lookalike=False)], journal=journal)
    assert (report.done, report.unresolved_cents) == (1, 0)
    async with Journal.open(journal) as opened:
        purchases = [record.kind async for record in opened.records() if record.stage == Stage.PURCHASE]
        assert await spent_cents(opened) == sandbox.counts().charged_cents
    assert purchases == [EntryKind.INTENT, EntryKind.RESULT]


async def test_two_customers_may_use_the_same_name(client, tmp_path: Path):
    two = [make_job(0, tmp_path / "a", customer="1"), make_job(0, tmp_path / "b", customer="2")]
    report = await run_batch(client, two, journal=tmp_path / "run.sqlite")
    assert report.done == 2


@pytest.mark.parametrize("with_journal", [True, False])
async def test_running_a_finished_batch_again_sends_no_post(sandbox, client, tmp_path: Path, with_journal: bool):
    journal = tmp_path / "run.sqlite" if with_journal else None
    await run_batch(client, make_jobs(10, tmp_path), journal=journal)
    before = sandbox.counts()
    sandbox.log.clear()
    report = await run_batch(client, make_jobs(10, tmp_path), journal=journal)
    assert report.done == 10
    assert count_posts(sandbox) == 0
    assert sandbox.counts() == before
    if with_journal:
        assert sandbox.log.count("GET download") == 0


async def test_a_later_run_purchases_the_same_previews(sandbox, client, tmp_path: Path):
    journal = tmp_path / "run.sqlite"
    async with start_batch(client, make_jobs(4, tmp_path), purchase=False, journal=journal) as batch:
        quotes = {outcome.result.quote.id async for outcome in batch}
        priced = batch.report()
    assert sandbox.counts().purchases == 0
    assert priced.spent_cents == 0
    assert priced.quoted_cents > 0
    report = await run_batch(client, make_jobs(4, tmp_path), journal=journal)
    assert report.spent_cents == priced.quoted_cents
    assert set(sandbox.counts().purchases_by_export) == quotes


async def _price_of_one(client: IndigoClient, tmp_path: Path) -> int:
    report = await run_batch(client, [make_job(99, tmp_path)], purchase=False)
    return report.quoted_cents


async def test_a_budget_is_exact_under_concurrency(sandbox, client, tmp_path: Path):
    price = await _price_of_one(client, tmp_path)
    report = await run_batch(
        client, make_jobs(10, tmp_path), budget_cents=5 * price + price // 2, journal=tmp_path / "run.sqlite"
    )
    assert (report.done, report.failed) == (5, 5)
    assert report.failed_by_error == {BudgetExceededError.__name__: 5}
    assert report.spent_cents == sandbox.counts().charged_cents == 5 * price
    assert report.unresolved_cents == 0
    assert report.quoted_cents == 10 * price


async def test_a_budget_holds_for_all_runs_of_a_journal(sandbox, client, tmp_path: Path):
    price = await _price_of_one(client, tmp_path)
    journal = tmp_path / "run.sqlite"
    await run_batch(client, make_jobs(3, tmp_path), budget_cents=4 * price, journal=journal)
    report = await run_batch(client, make_jobs(8, tmp_path), budget_cents=4 * price, journal=journal)
    assert (report.done, report.failed) == (4, 4)
    assert report.spent_cents == sandbox.counts().charged_cents == 4 * price
    again = await run_batch(client, make_jobs(8, tmp_path), budget_cents=8 * price, journal=journal)
    assert again.done == 8
    assert sandbox.counts().charged_cents == 8 * price


async def test_an_export_above_the_jobs_limit_is_not_purchased(sandbox, client, tmp_path: Path):
    report = await run_batch(client, make_jobs(2, tmp_path, max_cost_cents=1), journal=tmp_path / "run.sqlite")
    assert report.failed_by_error == {BudgetExceededError.__name__: 2}
    assert sandbox.counts().purchases == 0


async def test_leaving_the_block_early_ends_the_batch(sandbox, client, tmp_path: Path):
    async with start_batch(client, endless_jobs(tmp_path), max_in_flight=20, journal=tmp_path / "run.sqlite") as batch:
        async for outcome in batch:
            assert outcome.ok
            break
    assert not [task for task in asyncio.all_tasks() if "workflows" in task.get_coro().cr_code.co_filename]
    assert max(sandbox.counts().purchases_by_audience.values()) == 1


async def test_a_canceled_batch_checks_purchases_in_flight_and_sends_no_more(sandbox, client, tmp_path: Path):
    sandbox.faults.add(Fault(kind=FaultKind.DELAY_AFTER, endpoint="POST /purchase_csv_export", times=None, delay=0.05))
    purchased: list[object] = []

    def note(event: object) -> None:
        if isinstance(event, ExportPurchased):
            purchased.append(event.export_id)

    journal = tmp_path / "run.sqlite"
    batch = asyncio.create_task(run_batch(client, make_jobs(10, tmp_path), journal=journal, on_event=note))
    while sandbox.counts().purchases == 0:
        await asyncio.sleep(0.001)
    batch.cancel()
    with pytest.raises(asyncio.CancelledError):
        await batch
    assert set(purchased) == set(sandbox.counts().purchases_by_export)
    sandbox.faults.clear()
    report = await run_batch(client, make_jobs(10, tmp_path), journal=journal)
    assert report.done == 10
    assert set(sandbox.counts().purchases_by_audience.values()) == {1}
    assert report.spent_cents == sandbox.counts().charged_cents


async def test_a_journal_of_other_jobs_is_refused(client, tmp_path: Path):
    journal = tmp_path / "run.sqlite"
    await run_batch(client, make_jobs(1, tmp_path), journal=journal)
    other = [attrs.evolve(make_job(0, tmp_path), csv="https://files.example.org/other.csv")]
    report = await run_batch(client, other, journal=journal)
    assert report.failed_by_error == {JournalMismatchError.__name__: 1}


async def test_a_changed_job_does_not_stop_the_others(client, tmp_path: Path):
    journal = tmp_path / "run.sqlite"
    await run_batch(client, make_jobs(1, tmp_path), journal=journal)
    changed = [
        attrs.evolve(make_job(0, tmp_path), csv="https://files.example.org/other.csv"),
        *make_jobs(5, tmp_path)[1:],
    ]
    report = await run_batch(client, changed, journal=journal, max_in_flight=1)
    assert (report.done, report.failed, report.stopped) == (4, 1, None)


async def test_a_signed_url_may_differ_between_runs(sandbox, client, tmp_path: Path):
    journal = tmp_path / "run.sqlite"
    first = attrs.evolve(make_job(0, tmp_path), csv="https://files.example.org/0.csv?signature=one")
    second = attrs.evolve(first, csv="https://files.example.org/0.csv?signature=two")
    await run_batch(client, [first], journal=journal)
    sandbox.log.clear()
    report = await run_batch(client, [second], journal=journal)
    assert report.done == 1
    assert count_posts(sandbox) == 0
    assert b"signature" not in journal.read_bytes()


async def test_an_error_while_reading_jobs_ends_the_batch_after_jobs_in_flight(client, tmp_path: Path):
    def broken() -> Iterator[AudienceJob]:
        yield from make_jobs(2, tmp_path)
        raise OSError("the manifest is gone")

    outcomes = []
    with pytest.raises(OSError, match="the manifest is gone"):
        async with start_batch(client, broken(), journal=tmp_path / "run.sqlite") as batch:
            outcomes = [outcome async for outcome in batch]
    assert len(outcomes) == 2
    assert all(outcome.ok for outcome in outcomes)


async def test_a_batch_that_may_buy_without_a_journal_warns_once(client, tmp_path: Path, caplog):
    with caplog.at_level(logging.WARNING, "indigo_async"):
        await run_batch(client, make_jobs(3, tmp_path))
    assert [record.message for record in caplog.records if "no journal" in record.message] == [
        record.message for record in caplog.records
    ]
    assert len(caplog.records) == 1


async def test_arguments_of_a_batch_are_checked(client):
    with pytest.raises(InvalidInputError) as caught:
        await run_batch(client, [], max_in_flight=0, budget_cents=-1, stop_after_failures=True, job_timeout=0)
    places = [problem.where for problem in caught.value.problems]
    assert places == ["max_in_flight", "budget_cents", "stop_after_failures", "job_timeout"]


@pytest.mark.parametrize("purchase", ["no", "false", 0, None])
async def test_only_true_or_false_decides_about_purchases(sandbox, client, tmp_path: Path, purchase: Any):
    job = make_job(0, tmp_path)
    for run in (run_batch(client, [job], purchase=purchase), run_job(client, job, purchase=purchase)):
        with pytest.raises(InvalidInputError, match=r"^purchase: must be True or False, not "):
            await run
    assert sandbox.log.count() == 0


async def test_an_empty_batch_is_done(client):
    report = await run_batch(client, [])
    assert (report.done, report.failed) == (0, 0)
