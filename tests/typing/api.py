"""The public interface as users write it. It is never run: mypy and Pyright read it, in their strict modes."""

# pyright: reportUnnecessaryTypeIgnoreComment=true

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from pathlib import Path
from typing import assert_type

import pandas as pd
import polars as pl
import pyarrow as pa
from obstore.store import S3Store

from indigo_async import (
    ApiResponse,
    Audience,
    AudienceStatus,
    ColumnSelection,
    ColumnSelections,
    CsvExport,
    CustomerClient,
    IndigoClient,
    LookalikeFilters,
    OptionalFieldType,
    Pacing,
    RetryPolicy,
    UploadedAudienceCsv,
    __version__,
    blocking,
    errors,
    workflows,
)
from indigo_async.events import Event, Listener
from indigo_async.files import LocalPublisher, ObjectStorePublisher, Publisher, content_name, safe_file_name
from indigo_async.logs import log_events
from indigo_async.sandbox import Fault, FaultKind, FileHost, LogEntry, Sandbox
from indigo_async.telemetry import instrument
from indigo_async.workflows import (
    AudienceJob,
    BatchReport,
    CustomerTotals,
    EntryKind,
    ExportReceipt,
    ExportStep,
    JobOutcome,
    JournalReader,
    LookalikeStep,
    OutcomeRow,
    ProgressRow,
    PurchasedExport,
    StageRow,
)


async def fresh_token() -> str:
    return "token"


async def clients() -> None:
    async with IndigoClient() as client:
        assert_type(client, IndigoClient)
    IndigoClient("token", base_url="https://example.org", timeout=5, retry=RetryPolicy(attempts=2), poll_interval=1)
    IndigoClient(lambda: "token", pacing=Pacing(max_concurrency=8), on_event=log_events)
    IndigoClient(fresh_token)
    IndigoClient(7)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType] - a token is text, or what gives one
    IndigoClient("token", "https://example.org")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue] - options are named
    instrument(client)
    IndigoClient("token", headers={"X-Team": "north"}, user_agent=f"acme/{__version__}")
    client = await IndigoClient("token").open()
    assert_type(client, IndigoClient)
    view = client.with_options(timeout=10, retry=RetryPolicy(attempts=2), headers={"X-Trace": "1"})
    assert_type(view, IndigoClient)
    await workflows.wait_until_active(view, 7, customer_id="42")
    await client.aclose()


async def other_requests(client: IndigoClient) -> None:
    response = await client.request(
        "POST", "/tags", json={"name": "a"}, params={"ids": ["a", 1], "dry": True, "x": None}
    )
    assert_type(response, ApiResponse)
    assert_type(response.status, int)
    assert_type(response.headers["Date"], str)
    await client.upload_csv(customer_id="42", url="https://example.org/donors.csv", extra={"tags": ["a"], "x": None})
    await client.get_audience("7", extra={"fields": ["size"], "verbose": True})
    await client.for_customer("42").list_audiences(extra={"limit": 10})


async def endpoints(client: IndigoClient) -> None:
    stub = await client.upload_csv(customer_id="42", url="https://example.org/donors.csv")
    assert_type(stub, Audience)
    columns = ColumnSelections(first_name=ColumnSelection("First", required=True), zip=ColumnSelection("Zip"))
    await client.match_uploaded_csv(
        audience_id=stub.id, customer_id="42", audience_name="Donors", column_selections=columns
    )
    plain = {"first_name": ColumnSelection("First", required=True)}
    await client.match_uploaded_csv(audience_id=7, customer_id="42", audience_name="Donors", column_selections=plain)
    raw = {"first_name": {"column_name": "First", "is_required": True}}
    await client.match_uploaded_csv(audience_id="7", customer_id="42", audience_name="Donors", column_selections=raw)
    assert_type(await client.get_audience("7"), Audience)
    assert_type(await client.list_audiences("42"), list[Audience])
    wider = await client.create_lookalike_audience(
        base_audience_id=stub.id,
        customer_id="42",
        size=20_000,
        audience_name="Donors+",
        filters=LookalikeFilters(states=["PA"]),
    )
    export = await client.create_preview_csv_export(
        audience_id=wider.id, customer_id="42", optional_field_types=["phone", OptionalFieldType.VOTE_HISTORY]
    )
    assert_type(export, CsvExport)
    assert_type(await client.purchase_csv_export(export_id=export.id, customer_id="42"), CsvExport)
    await client.upload_csv(url="https://example.org/donors.csv")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue] - whose is it?
    acme = client.for_customer("42")
    assert_type(acme, CustomerClient)
    assert_type(await acme.upload_csv(url="https://example.org/donors.csv"), Audience)
    await acme.upload_csv(customer_id="43", url="https://example.org")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue] - it is bound


def records(audience: Audience, export: CsvExport) -> None:
    assert_type(audience.id, str | int)
    assert_type(audience.name, str | None)
    assert_type(audience.status, str)
    assert_type(audience.uploaded_audience_csv, UploadedAudienceCsv | None)
    assert_type(audience.csv_exports, tuple[CsvExport, ...])
    assert_type(audience.status == AudienceStatus.ACTIVE, bool)
    assert_type(export.cost_cents, int | None)
    assert_type(export.download_url, str | None)
    audience.status = "ACTIVE"  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue] - records are frozen


def tell(event: Event) -> None:
    match event:
        case workflows.ExportPurchased(customer_id=customer_id, cost_cents=cents):
            assert_type(customer_id, str | None)
            assert_type(cents, int)
        case workflows.RecipeFailed(stage=stage, seconds=seconds):
            assert_type(stage, workflows.Stage)
            assert_type(seconds, float)
        case _:
            pass


listener: Listener = tell
listener = log_events


async def recipes(client: IndigoClient, publisher: Publisher) -> None:
    matched = await workflows.upload_and_match(
        client,
        Path("donors.csv"),
        customer_id="42",
        audience_name="Donors",
        column_selections={"first_name": ColumnSelection("First", required=True)},
        publisher=publisher,
        timeout=60,
        on_event=tell,
    )
    assert_type(matched, Audience)
    wider = await workflows.create_lookalike(
        client, matched, customer_id="42", audience_name="Donors+", size=20_000, on_event=print
    )
    receipt = await workflows.export_audience(
        client, wider.id, customer_id=None, destination="donors.csv", max_cost_cents=5_000
    )
    assert_type(receipt, ExportReceipt)
    assert_type(receipt.path, Path)
    assert_type(receipt.size_bytes, int)
    purchased = await workflows.export_audience(client, wider, customer_id="42", destination=None)
    assert_type(purchased, PurchasedExport)
    assert_type(purchased.download_url, str)
    maybe: Path | None = Path("donors.csv") if receipt.size_bytes else None
    either = await workflows.export_audience(client, wider, customer_id="42", destination=maybe)
    assert_type(either, ExportReceipt | PurchasedExport)
    await workflows.export_audience(client, wider, customer_id="42")  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue] - say where to
    await workflows.export_audience(client, wider, destination="donors.csv")  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue] - whose?
    assert_type(await workflows.wait_until_active(client, matched, customer_id="42"), Audience)
    assert_type(await workflows.wait_for_column_selection(client, 7, customer_id="42"), Audience)
    assert_type(await workflows.wait_for_export(client, receipt.export, audience=wider, customer_id="42"), CsvExport)


def jobs() -> Iterator[AudienceJob]:
    yield AudienceJob(
        customer_id="42",
        audience_name="Donors",
        csv="https://example.org/donors.csv",
        column_selections=ColumnSelections(first_name=ColumnSelection("First", required=True)),
        lookalike=LookalikeStep(audience_name="Donors+", size=20_000),
        export=ExportStep(destination=Path("donors.csv"), optional_field_types=["phone"], max_cost_cents=5_000),
    )


async def later_jobs() -> AsyncIterator[AudienceJob]:
    for job in jobs():
        yield job


async def tables(client: IndigoClient) -> None:
    receipt = await workflows.download_export(client, 7, customer_id="42", destination="donors.csv", export_id="e-1")
    assert_type(receipt, ExportReceipt)
    assert_type(receipt.to_polars(), pl.DataFrame)
    assert_type(receipt.to_arrow(), pa.Table)
    assert_type(receipt.to_pandas(), pd.DataFrame)


async def batches(client: IndigoClient) -> None:
    result = await workflows.run_job(client, next(jobs()))
    assert_type(result.matched, Audience)
    assert_type(result.receipt, ExportReceipt | None)
    report = await workflows.run_batch(client, jobs(), journal="run.sqlite", budget_cents=50_000)
    assert_type(report, BatchReport)
    assert_type(report.spent_cents, int)
    assert_type(report.by_customer["42"], CustomerTotals)
    assert_type(report.by_customer["42"] + report.by_customer["43"], CustomerTotals)
    await workflows.run_batch(client, later_jobs(), max_in_flight=100, purchase=False)
    await workflows.run_batch(client, jobs(), fence="s3://bucket/fence", shard="1/2")
    await workflows.run_batch(client, jobs(), fence=Path("fence"), shard=(1, 2))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType] - text, as on the command line
    await workflows.run_batch(client, ["donors.csv"])  # type: ignore[list-item]  # pyright: ignore[reportArgumentType] - jobs, not files
    async with workflows.start_batch(client, list(jobs())) as batch:
        async for outcome in batch:
            assert_type(outcome, JobOutcome)
            assert_type(outcome.error, Exception | None)
        assert_type(batch.report(), BatchReport)


def journal() -> None:
    reader = workflows.read_journal("run.sqlite")
    assert_type(reader, JournalReader)
    assert_type(reader.is_in_use(), bool)
    rows = list(reader)
    assert_type(workflows.sum_purchases(rows).charged_cents, int)
    for row in rows:
        match row:
            case StageRow(kind=EntryKind.RESULT, stage="purchase", cost_cents=cents):
                assert_type(cents, int | None)
            case OutcomeRow(error_type=error_type, timings=timings):
                assert_type(error_type, str | None)
                assert_type(timings, Mapping[str, float])
            case ProgressRow(run_started_at=started_at):
                assert_type(started_at, datetime)
            case _:
                pass


async def failures(client: IndigoClient) -> None:
    try:
        await client.get_audience("7")
    except errors.RateLimitedError as error:
        assert_type(error.retry_after, float | None)
    except errors.ApiError as error:
        assert_type(error.status, int)
        assert_type(error.error_type, str | None)
    except errors.InvalidInputError as error:
        assert_type(error.problems, tuple[errors.Problem, ...])
    except errors.BudgetExceededError as error:
        assert_type(error.limit_cents, int)
        assert_type(error.export, CsvExport | None)
    except errors.WorkflowError as error:
        assert_type(error.stage, str)
        assert_type(error.audience, Audience | None)
    except errors.IndigoError as error:
        assert_type(error.args, tuple[object, ...])  # type: ignore[assert-type]  # pyright: ignore[reportAssertTypeFailure] - Python's own, any


class Bucket:
    """A publisher is whatever has the method; nothing is inherited."""

    def publish(self, path: Path) -> AbstractAsyncContextManager[str]:
        raise NotImplementedError


async def publishers(client: IndigoClient, sandbox: Sandbox) -> None:
    bucket: Publisher = Bucket()
    host: Publisher = sandbox.file_host
    assert_type(sandbox.file_host, FileHost)
    assert_type(await content_name(Path("donors.csv")), str)
    assert_type(safe_file_name("Donors"), str)
    await recipes(client, bucket)
    await recipes(client, ObjectStorePublisher("s3://bucket/prefix", config={"region": "us-east-1"}, expires_in=60))
    await recipes(client, ObjectStorePublisher(S3Store("bucket")))
    await recipes(client, LocalPublisher())
    await recipes(client, host)


async def users_tests(indigo_sandbox: Sandbox, indigo_client: IndigoClient) -> None:
    """The fixtures of `indigo_async.testing`, as tests take them."""
    indigo_sandbox.faults.add(Fault(kind=FaultKind.ERROR_BEFORE, endpoint="GET /audience", status=503))
    await indigo_client.list_audiences()
    assert_type(indigo_sandbox.log.count("POST /purchase_csv_export"), int)
    assert_type(indigo_sandbox.log.find(customer_id="42"), list[LogEntry])
    assert_type(indigo_sandbox.counts().charged_cents, int)


def blocking_functions(path: Path) -> None:
    with blocking.IndigoClient("token", base_url="https://indigo.example.org", timeout=30) as client:
        assert_type(client, blocking.IndigoClient)
        assert_type(client.get_audience("aud-1", customer_id="42"), Audience)
        assert_type(client.list_audiences(), list[Audience])
        matched = blocking.upload_and_match(
            client,
            path,
            customer_id="42",
            audience_name="Donors",
            column_selections={"email": ColumnSelection("Email", required=True)},
            publisher=LocalPublisher(),
        )
        assert_type(matched, Audience)
        receipt = blocking.export_audience(client, matched, customer_id="42", destination=path)
        assert_type(receipt, ExportReceipt)
        purchased = blocking.export_audience(client, matched, customer_id="42", destination=None)
        assert_type(purchased, PurchasedExport)
        assert_type(blocking.run_batch(client, iter([]), journal=path, budget_cents=5_000), BatchReport)
        blocking.run_batch(client, [], journl=path)  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]
        blocking.IndigoClient("token", timeout="30")  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
