"""The parts that need no server: the ledger, the attempt log, payloads, IDs, failures and export stores."""

from __future__ import annotations

import asyncio
import hashlib
import os
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from obstore.store import MemoryStore
from temporalio.exceptions import ApplicationError

from indigo_async import CsvExport, LookalikeFilters
from indigo_async.errors import (
    AmbiguousOutcomeError,
    ApiError,
    AudienceFailedError,
    AuthenticationError,
    ConnectionFailedError,
    DownloadError,
    InvalidInputError,
    Problem,
    RateLimitedError,
    ServerError,
)
from indigo_async.inputs import ColumnSelection
from indigo_async.temporal import data_converter, export_store, run_batch, run_job
from indigo_async.temporal.attempt_log import AttemptLog
from indigo_async.temporal.failures import to_application_error
from indigo_async.temporal.ids import job_workflow_id
from indigo_async.temporal.payloads import (
    Booking,
    BookingKind,
    ExportInput,
    ExportTask,
    JobInput,
    JobSummary,
    LookalikeInput,
    Quote,
)
from indigo_async.temporal.workers.export_stores import FolderExportStore, ObjectExportStore, find_destination_problem
from indigo_async.workflows import AudienceJob, ExportReceipt, ExportStep, Stage

JOB_INPUT = JobInput(
    key="42/Donors",
    customer_id="42",
    audience_name="Donors",
    csv="https://files.example.org/donors.csv?signature=secret",
    selections={"first_name": ColumnSelection("First", required=True)},
    lookalike=LookalikeInput(
        audience_name="Donors+", size=2_000, filters=LookalikeFilters(states=("PA",), extra={"zips": ["19104"]})
    ),
    export=ExportInput(destination="donors.csv", optional_field_types=("phone",), max_cost_cents=5),
    identity="abc",
)
QUOTE = Quote(audience_id=7, export_id=9, cost_cents=None, downloadable=True)


@pytest.mark.parametrize(
    "value",
    [
        JOB_INPUT,
        JobSummary(matched_id=7, lookalike_id="aud-8", quote=QUOTE),
        ExportTask(customer_id="42", audience_name="Donors", audience_id="7", export=JOB_INPUT.export),
        [Booking(kind=BookingKind.RESERVE, export_id="9", cents=5)],
    ],
    ids=lambda value: type(value).__name__,
)
async def test_payloads_are_plain_json_and_round_trip(value: object):
    converter = data_converter()
    hint = list[Booking] if isinstance(value, list) else type(value)
    payloads = await converter.encode([value])
    assert [payload.metadata["encoding"] for payload in payloads] == [b"json/plain"]
    (decoded,) = await converter.decode(payloads, [hint])
    assert decoded == value


async def test_large_payloads_are_compressed():
    converter = data_converter()
    values = [list(range(size)) for size in (10_000, 600_000)]
    small, large = await converter.encode(values)
    assert [payload.metadata["encoding"] for payload in (small, large)] == [b"json/plain", b"json/zlib"]
    assert len(large.data) < 2_000_000
    assert await converter.decode([small, large], [list[int], list[int]]) == values


def test_the_repr_of_a_job_shows_no_signed_url():
    assert "secret" not in repr(JOB_INPUT)


@given(st.text(min_size=1), st.text(min_size=1), st.text(min_size=1), st.text(min_size=1))
def test_two_jobs_share_an_id_only_if_they_are_the_same(one: str, two: str, three: str, four: str):
    try:
        same = job_workflow_id(one, two) == job_workflow_id(three, four)
    except UnicodeEncodeError:
        return  # half a surrogate pair, which input checks reject
    assert same == ((one, two) == (three, four))


ENDPOINT = "POST /upload_csv"


@pytest.mark.parametrize(
    ("error", "is_final"),
    [
        (InvalidInputError([Problem("csv", "is missing")]), True),
        (AudienceFailedError("failed", stage="match"), True),
        (AuthenticationError(401, "no", None, ENDPOINT), True),
        (ApiError(400, "no", None, ENDPOINT), True),
        (ServerError(500, "no", None, ENDPOINT), False),
        (AmbiguousOutcomeError("lost", endpoint=ENDPOINT), False),
        (ConnectionFailedError("none", endpoint=ENDPOINT), False),
        (DownloadError("cut"), False),
        (ValueError("https://x/?signature=secret"), False),
    ],
    ids=lambda value: type(value).__name__,
)
def test_final_errors_are_not_retried(error: Exception, is_final: bool):
    failure = to_application_error(error)
    assert (failure.type, failure.non_retryable) == (type(error).__name__, is_final)
    assert "secret" not in str(failure)


def test_temporal_waits_as_long_as_the_server_asks():
    failure = to_application_error(RateLimitedError(429, "slow down", None, ENDPOINT, 90.0))
    assert isinstance(failure, ApplicationError)
    assert (failure.non_retryable, failure.next_retry_delay) == (False, timedelta(seconds=90))


async def test_an_attempt_knows_what_the_previous_one_recorded():
    heartbeats: list[object] = []
    first = AttemptLog(None, heartbeats.append)
    await first.record_intent(Stage.MATCH, {"audience_id": 1})
    await first.record_result(Stage.UPLOAD, {"audience_id": 1})
    later = AttemptLog(first.heartbeat_details, heartbeats.append)
    assert later.result(Stage.UPLOAD) == {"audience_id": 1}
    assert later.open_intent(Stage.MATCH) == {"audience_id": 1}
    assert not later.intent_cancelled
    await later.cancel_intent(Stage.MATCH)
    assert (later.open_intent(Stage.MATCH), later.intent_cancelled, len(heartbeats)) == (None, True, 3)


CSV = b"a,b\n1,2\n"


def write(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(CSV)


async def download_to(path: Path) -> ExportReceipt:
    await asyncio.to_thread(write, path)
    return ExportReceipt(export=CsvExport(id=1), path=path, size_bytes=len(CSV), sha256=hashlib.sha256(CSV).hexdigest())


async def test_exports_are_delivered_to_a_folder(tmp_path: Path):
    delivered = await FolderExportStore(tmp_path).deliver("42/donors.csv", download_to)
    assert delivered.path == str(tmp_path / "42" / "donors.csv")


async def test_exports_are_delivered_to_a_store_and_leave_no_local_file():
    store = MemoryStore()
    seen: list[Path] = []

    async def fetch(path: Path) -> ExportReceipt:
        seen.append(path)
        return await download_to(path)

    delivered = await ObjectExportStore("s3://bucket/exports/", store).deliver("42/donors.csv", fetch)
    assert delivered.path == "s3://bucket/exports/42/donors.csv"
    stored = await (await store.get_async("42/donors.csv")).bytes_async()
    assert hashlib.sha256(bytes(stored)).hexdigest() == delivered.sha256
    assert not seen[0].parent.exists()


OUTSIDE = ["../x.csv", "a/../../x.csv", "a/../x.csv", "/etc/x.csv", "~/x.csv", "~root/x.csv", "a\\..\\x.csv"]


async def never_download(_: Path) -> ExportReceipt:
    raise AssertionError("it was downloaded")


@pytest.mark.parametrize("destination", [*OUTSIDE, "", ".", "..", "exports/", "exports/.."])
async def test_a_destination_outside_the_exports_is_rejected_before_paying_and_downloading(
    destination: str, tmp_path: Path
):
    for exports in (FolderExportStore(tmp_path), ObjectExportStore("s3://bucket", MemoryStore())):
        with pytest.raises(InvalidInputError, match=r"^export\.destination: "):
            await exports.check(destination)
        with pytest.raises(InvalidInputError, match=r"^export\.destination: "):
            await exports.deliver(destination, never_download)
    assert list(tmp_path.iterdir()) == []


@given(st.text(alphabet="ab./\\~", max_size=12))
def test_every_accepted_destination_is_inside_the_exports_and_unambiguous(destination: str):
    if find_destination_problem(destination) is None:
        resolved = os.path.abspath(f"/exports/{destination}")  # noqa: PTH100 - without a disk
        assert resolved == str(Path("/exports") / destination)
        assert resolved.startswith("/exports/")


async def test_a_link_that_leads_out_of_the_exports_is_rejected(tmp_path: Path):
    inside, outside = tmp_path / "exports", tmp_path / "outside"
    (inside / "real").mkdir(parents=True)
    outside.mkdir()
    (inside / "out").symlink_to(outside)
    (inside / "within").symlink_to(inside / "real")
    (inside / "loop").symlink_to(inside / "loop")
    exports = FolderExportStore(inside)
    for destination in ("out/x.csv", "out/new/x.csv", "loop/x.csv"):
        with pytest.raises(InvalidInputError, match="leads out of the exports folder through a link"):
            await exports.check(destination)
        with pytest.raises(InvalidInputError, match="leads out of the exports folder through a link"):
            await exports.deliver(destination, never_download)
    assert (await exports.deliver("within/x.csv", download_to)).path == str(inside / "within" / "x.csv")
    assert list(outside.iterdir()) == []


async def test_an_export_that_cannot_be_written_is_rejected_before_paying(tmp_path: Path):
    await asyncio.to_thread(write, tmp_path / "42")
    with pytest.raises(InvalidInputError, match="cannot be written"):
        await FolderExportStore(tmp_path).check("42/donors.csv")


def test_exports_may_be_in_a_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert export_store("~/exports") == FolderExportStore(tmp_path / "exports")
    with pytest.raises(InvalidInputError, match="home folder that does not exist"):
        export_store("~nobody-of-this-name/exports")


@pytest.mark.parametrize("destination", OUTSIDE)
async def test_jobs_with_destinations_outside_the_exports_are_never_started(destination: str):
    job = AudienceJob(
        customer_id="42",
        audience_name="Donors",
        csv="https://files.example.org/donors.csv",
        column_selections={"first_name": ColumnSelection("First", required=True)},
        export=ExportStep(destination=destination),
    )
    nowhere: Any = None
    with pytest.raises(InvalidInputError, match=r"export\.destination: "):
        await run_job(nowhere, job)
    with pytest.raises(InvalidInputError, match=r"jobs\[0\]\.export\.destination: "):
        await run_batch(nowhere, [job], name="batch")


async def test_a_failing_store_is_reported_without_urls():
    class Broken:
        pass

    with pytest.raises(DownloadError, match="the export stays purchased"):
        await ObjectExportStore("s3://bucket", Broken()).deliver("donors.csv", download_to)


@pytest.mark.parametrize(
    "location", ["ftp://host", "https://host/x", "s3://key:secret@bucket", "s3://bucket?key=secret"]
)
def test_invalid_export_stores_are_rejected_without_showing_secrets(location: str):
    with pytest.raises(InvalidInputError, match="must be a folder, or a URL") as caught:
        export_store(location)
    assert "secret" not in str(caught.value)


async def test_only_true_or_false_decides_about_purchases():
    job = AudienceJob(
        customer_id="42",
        audience_name="Donors",
        csv="https://files.example.org/donors.csv",
        column_selections={"first_name": ColumnSelection("First", required=True)},
    )
    nowhere: Any = None
    no: Any = "no"
    for run in (run_job(nowhere, job, purchase=no), run_batch(nowhere, [job], name="batch", purchase=no)):
        with pytest.raises(InvalidInputError, match=r"^purchase: must be True or False, not str$"):
            await run


async def test_the_name_of_a_batch_fits_into_the_ids_of_its_shards():
    nowhere: Any = None
    for name in ("x" * 990, "ä" * 160):
        with pytest.raises(InvalidInputError, match=r"^name: is too long for the IDs of Temporal's workflows"):
            await run_batch(nowhere, [], name=name)
