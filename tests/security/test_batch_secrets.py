"""A batch with faults and failures, and a search of all that it leaves behind for what nobody should see.

Single calls are searched in `tests/client/test_secrets.py`.
"""

from __future__ import annotations

import json
import logging
import pickle
import traceback
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from indigo_async import workflows
from indigo_async.errors import (
    ApiError,
    AudienceExistsError,
    AudienceFailedError,
    AuthenticationError,
    BudgetExceededError,
    DownloadError,
    InvalidInputError,
    WaitTimeoutError,
)
from indigo_async.sandbox import Fault, FaultKind, Sandbox
from indigo_async.sandbox.http.signed_urls import UrlSigner
from indigo_async.sandbox.people import VoterFile, generate_messy_csv
from indigo_async.workflows import AudienceJob, BatchReport, ExportStep, JobOutcome
from tests.support.servers.scripted import SPEED, open_client

TOKEN = "canary-token-51c0"
CSV_SIGNATURE = "canary-upload-77ab"
DOWNLOAD_SIGNATURE = "canary-download-0e2d"
PERSON = "Canaryetta"
CANARIES = (TOKEN, CSV_SIGNATURE, DOWNLOAD_SIGNATURE, PERSON)
PACKAGE = str(Path(workflows.__file__).parent.parent)

COLUMNS = {"first_name": {"column_name": "First Name", "is_required": True}, "last_name": {"column_name": "Last Name"}}
NO_SUCH_COLUMN = {"first_name": {"column_name": "Vorname", "is_required": True}}


def people(voters: VoterFile) -> bytes:
    """A CSV with a stranger in it who has a name that nobody else has."""
    head, *rows = generate_messy_csv(voters, 60, seed=1).split(b"\n")
    columns = head.decode().strip().split(",")
    stranger = ",".join(PERSON if "Name" in column else str(number) for number, column in enumerate(columns))
    return b"\n".join([head, stranger.encode(), *rows])


class SigningPublisher:
    """The sandbox's file host, whose URLs are signed as those of a store are."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._files = sandbox.file_host

    @asynccontextmanager
    async def publish(self, path: Path) -> AsyncGenerator[str]:
        async with self._files.publish(path) as url:
            yield f"{url}?X-Amz-Signature={CSV_SIGNATURE}"


@pytest.fixture
def _signed_downloads(monkeypatch: pytest.MonkeyPatch):
    plain = UrlSigner.url_for
    monkeypatch.setattr(UrlSigner, "url_for", lambda links, of: f"{plain(links, of)}&canary={DOWNLOAD_SIGNATURE}")


@pytest.fixture
def log() -> Iterator[list[str]]:
    """Every record of every logger, as text, with its arguments and tracebacks."""
    seen: list[str] = []

    class Collect(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            seen.append(f"{self.format(record)} {record.args!r}")

    root, handler = logging.getLogger(), Collect()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    yield seen
    root.setLevel(level)
    root.removeHandler(handler)


def chain(error: BaseException | None) -> Iterator[BaseException]:
    """An error with all that a report of it would show: its causes, and what was under way where that is not hidden."""
    while error is not None:
        yield error
        if isinstance(error, BaseExceptionGroup):
            for inner in error.exceptions:
                yield from chain(inner)
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def traces(error: BaseException) -> Iterator[str]:
    """The frames of an error with their variables: those of this package, which must be the only ones below ours."""
    for link in chain(error):
        for frame in traceback.TracebackException.from_exception(link, capture_locals=True).stack:
            assert "aiohttp" not in frame.filename
            if frame.filename.startswith(PACKAGE):
                yield f"{frame.filename}:{frame.lineno} {frame.name} {frame.locals}"


def findings(texts: list[str]) -> list[str]:
    return [text for text in texts if any(canary in text for canary in CANARIES)]


def job(name: str, csv: str | Path, folder: Path, **options: object) -> AudienceJob:
    columns = options.pop("column_selections", COLUMNS)
    terms = {
        "destination": folder / f"{name}.csv",
        "max_cost_cents": 10**6,
        "optional_field_types": ("phone",),
    } | options
    return AudienceJob(
        customer_id="42", audience_name=name, csv=csv, column_selections=columns, export=ExportStep(**terms)
    )


async def run(
    sandbox: Sandbox, jobs: list[AudienceJob], folder: Path, log: list[str], *, job_timeout: float = 60.0
) -> tuple[BatchReport, dict[str, JobOutcome]]:
    """Run a batch; what it shows on its way is added to the log."""
    async with (
        open_client(sandbox) as client,
        workflows.start_batch(
            client,
            iter(jobs),
            journal=folder / "journal.sqlite",
            publisher=SigningPublisher(sandbox),
            job_timeout=job_timeout,
            on_event=lambda event: log.append(f"{event} {event!r}"),
        ) as batch,
    ):
        outcomes = {outcome.job.audience_name: outcome async for outcome in batch}
        log += [repr(batch), repr(client), repr(client.transport)]
        return batch.report(), outcomes


FAULTS = [
    Fault(kind=FaultKind.DISCONNECT_AFTER, endpoint="POST /upload_csv"),
    Fault(kind=FaultKind.ERROR_AFTER, endpoint="POST /match_uploaded_csv", audience_name="good", status=502),
    Fault(kind=FaultKind.HTML_AFTER, endpoint="POST /create_preview_csv_export"),
    Fault(kind=FaultKind.DISCONNECT_AFTER, endpoint="POST /purchase_csv_export"),
    Fault(kind=FaultKind.TRUNCATED_BODY, endpoint="GET /audience", times=3),
    Fault(kind=FaultKind.HTML_BEFORE, endpoint="GET /audiences", times=2),
    Fault(kind=FaultKind.TRUNCATED_BODY, endpoint="GET download"),
    Fault(kind=FaultKind.ERROR_AFTER, endpoint="POST /create_preview_csv_export", audience_name="unpriced", times=None),
    Fault(kind=FaultKind.STAGE_FAILS, endpoint="POST /match_uploaded_csv", audience_name="failing"),
    Fault(kind=FaultKind.ERROR_BEFORE, endpoint="POST /match_uploaded_csv", audience_name="refused", status=400),
]


def search_outcomes(outcomes: dict[str, JobOutcome]) -> list[str]:
    texts: list[str] = []
    for outcome in outcomes.values():
        texts += [repr(outcome), str(outcome)]
        if outcome.error is not None:
            texts += [f"{link} {link!r} {link.args} {vars(link)}" for link in chain(outcome.error)]
            texts += traces(outcome.error)
            texts.append(pickle.dumps(outcome.error).decode("latin-1"))
    return findings(texts)


@pytest.mark.usefixtures("_signed_downloads")
async def test_no_output_of_a_batch_contains_a_secret_or_a_person(voters: VoterFile, tmp_path: Path, log: list[str]):
    csv = tmp_path / "people.csv"
    csv.write_bytes(people(voters))
    signed = f"https://files.example.org/p.csv?X-Amz-Signature={CSV_SIGNATURE}"
    jobs = [
        job("good", csv, tmp_path),
        job("another", csv, tmp_path),
        job("dear", csv, tmp_path, max_cost_cents=0),
        job("failing", csv, tmp_path),
        job("no column", csv, tmp_path, column_selections=NO_SUCH_COLUMN),
        job("refused", csv, tmp_path),
        job("elsewhere", signed, tmp_path),
        job("in the clear", signed.replace("https", "http"), tmp_path),
        job("no folder", csv, tmp_path, destination=csv / "x.csv"),
        job("taken", csv, tmp_path),
    ]
    async with Sandbox(voters, speed=SPEED, token=TOKEN, download_lifetime=1e12) as sandbox:
        await take_name(sandbox, "taken", tmp_path / "other.csv", voters)
        log.clear()
        sandbox.faults.add(*FAULTS)
        report, outcomes = await run(sandbox, jobs, tmp_path, log)
        assert sandbox.log.count("GET download", fault=FaultKind.TRUNCATED_BODY) == 1
    errors = {name: type(outcome.error) for name, outcome in outcomes.items() if not outcome.ok}
    assert errors == {
        "dear": BudgetExceededError,
        "failing": AudienceFailedError,
        "no column": InvalidInputError,
        "refused": ApiError,
        "elsewhere": AudienceFailedError,
        "in the clear": InvalidInputError,
        "no folder": InvalidInputError,
        "taken": AudienceExistsError,
    }
    assert any("https://files.example.org/p.csv" in repr(outcome) for outcome in outcomes.values())
    assert sum("StageFinished" in line for line in log) > 10
    bought = (tmp_path / "good.csv").read_text().splitlines()
    assert len(bought) > 10
    assert findings(log) == []
    assert search_outcomes(outcomes) == []
    assert findings([json.dumps(report.to_json()), repr(report)]) == []
    for file in tmp_path.glob("journal.sqlite*"):
        assert findings([file.read_bytes().decode("latin-1")]) == []


async def take_name(sandbox: Sandbox, name: str, csv: Path, voters: VoterFile) -> None:
    """Have the server hold an audience of that name that was made from other people."""
    csv.write_bytes(generate_messy_csv(voters, 30, seed=2))
    async with open_client(sandbox) as client:
        await workflows.upload_and_match(
            client,
            csv,
            customer_id="42",
            audience_name=name,
            column_selections=COLUMNS,
            publisher=SigningPublisher(sandbox),
        )


@pytest.mark.usefixtures("_signed_downloads")
@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (Fault(kind=FaultKind.ERROR_BEFORE, endpoint="GET download", status=400, times=None), DownloadError),
        (Fault(kind=FaultKind.DISCONNECT_BEFORE, endpoint="GET download", times=None), DownloadError),
        (Fault(kind=FaultKind.CONTENT_LENGTH_WRONG, endpoint="GET download", times=None), DownloadError),
        (Fault(kind=FaultKind.DELAY_BEFORE, endpoint="GET download", delay=60.0, times=None), WaitTimeoutError),
        (
            Fault(kind=FaultKind.ERROR_BEFORE, endpoint="POST /purchase_csv_export", status=401, times=None),
            AuthenticationError,
        ),
    ],
    ids=["refused", "cut", "too short", "too slow", "a token that expired"],
)
async def test_no_failed_download_or_purchase_leaks_a_secret(
    fault: Fault, error: type[Exception], voters: VoterFile, tmp_path: Path, log: list[str]
):
    csv = tmp_path / "people.csv"
    csv.write_bytes(people(voters))
    async with Sandbox(voters, speed=SPEED, token=TOKEN, download_lifetime=1e12) as sandbox:
        sandbox.faults.add(fault)
        timeout = 2.0 if error is WaitTimeoutError else 60.0
        report, outcomes = await run(sandbox, [job("good", csv, tmp_path)], tmp_path, log, job_timeout=timeout)
    assert type(outcomes["good"].error) is error
    assert findings(log) == []
    assert search_outcomes(outcomes) == []
    assert findings([json.dumps(report.to_json())]) == []


def test_the_search_finds_planted_secrets():
    def fail() -> None:
        secret = TOKEN
        raise RuntimeError(len(secret))

    with pytest.raises(RuntimeError) as caught:
        fail()
    stack = traceback.TracebackException.from_exception(caught.value, capture_locals=True).stack
    assert findings([f"{frame.locals}" for frame in stack])
