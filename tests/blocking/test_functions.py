"""The blocking functions do what the coroutine functions do, with their parameters and docstrings."""

from __future__ import annotations

import gc
import inspect
import pydoc
import sqlite3
import threading
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from pathlib import Path
from typing import Any, get_overloads

import pytest

import indigo_async
from indigo_async import blocking, workflows
from indigo_async.errors import ApiError, ClientNotOpenError, InvalidInputError, NotFoundError
from indigo_async.events import Event
from indigo_async.files import LocalPublisher
from indigo_async.sandbox import Fault, FaultKind, Sandbox
from indigo_async.workflows import AudienceJob, ExportStep
from tests.blocking.conftest import open_client
from tests.support.recipes import AMPLE_CENTS, COLUMNS, CSV, CUSTOMER, MATCH, PURCHASE, UPLOAD, count_posts

LIFETIME = {"open", "aclose"}  # a blocking client is open from its creation, and has `close`
ENDPOINTS = [
    name
    for name, method in vars(indigo_async.IndigoClient).items()
    if inspect.iscoroutinefunction(method) and not name.startswith("_") and name not in LIFETIME
]
RECIPES = [name for name in workflows.__all__ if inspect.iscoroutinefunction(getattr(workflows, name))]
JOB = AudienceJob(csv=CSV, customer_id=CUSTOMER, audience_name="Donors", column_selections=COLUMNS)


def match(client: blocking.IndigoClient, name: str = "Donors", **options: Any) -> indigo_async.Audience:
    return blocking.upload_and_match(
        client, CSV, customer_id=CUSTOMER, audience_name=name, column_selections=COLUMNS, **options
    )


def make_jobs(count: int) -> list[AudienceJob]:
    return [
        AudienceJob(
            csv=f"https://files.example.org/{number}.csv",
            customer_id=CUSTOMER,
            audience_name=f"List {number}",
            column_selections=COLUMNS,
        )
        for number in range(count)
    ]


def test_every_endpoint_and_recipe_has_a_blocking_version():
    assert set(ENDPOINTS) <= set(vars(blocking.IndigoClient))
    assert set(RECIPES) <= set(blocking.__all__)


@pytest.mark.parametrize("name", RECIPES)
def test_recipes_have_the_parameters_and_the_docstring_of_the_original(name: str):
    original, function = getattr(workflows, name), getattr(blocking, name)
    assert inspect.signature(function) == inspect.signature(original)
    assert function.__doc__ == original.__doc__
    assert function.__module__ == "indigo_async.blocking"
    assert not inspect.iscoroutinefunction(inspect.unwrap(function))
    assert function.__name__ in pydoc.render_doc(function)


@pytest.mark.parametrize("name", RECIPES)
def test_recipes_have_the_overloads_of_the_original(name: str):
    overloads = get_overloads(getattr(blocking, name))
    if overloads:  # what type checkers read; the others have the type of the original
        originals = get_overloads(getattr(workflows, name))
        assert [list_parameters(overload) for overload in overloads] == [list_parameters(each) for each in originals]


def list_parameters(function: Callable[..., object]) -> list[object]:
    """The parameters that a client's user passes, and the type of the result."""
    signature = inspect.signature(function)
    _client, *others = signature.parameters.values()
    return [*others, signature.return_annotation]


@pytest.mark.parametrize("name", ENDPOINTS)
def test_endpoints_have_the_parameters_and_the_docstring_of_the_original(name: str):
    original, method = getattr(indigo_async.IndigoClient, name), getattr(blocking.IndigoClient, name)
    assert inspect.signature(method) == inspect.signature(original)
    assert method.__doc__ == original.__doc__
    assert not inspect.iscoroutinefunction(inspect.unwrap(method))


def test_the_client_has_the_parameters_of_the_original():
    assert list(inspect.signature(blocking.IndigoClient).parameters) == list(
        inspect.signature(indigo_async.IndigoClient).parameters
    )
    shown = pydoc.render_doc(blocking, renderer=pydoc.plaintext)
    assert "upload_and_match(client: 'IndigoClient', csv: 'str | Path', *" in shown
    assert "poll_interval: 'float' = 5.0" in shown


def test_the_recipes_match_grow_and_purchase(client: blocking.IndigoClient, sandbox: Sandbox, tmp_path: Path):
    matched = match(client)
    wider = blocking.create_lookalike(client, matched, customer_id=CUSTOMER, audience_name="Donors+", size=2_000)
    receipt = blocking.export_audience(
        client,
        wider,
        customer_id=CUSTOMER,
        destination=tmp_path / "donors.csv",
        optional_field_types=["phone"],
        max_cost_cents=AMPLE_CENTS,
    )
    assert receipt.path is not None
    assert receipt.path.stat().st_size == receipt.size_bytes
    again = blocking.download_export(client, wider, customer_id=CUSTOMER, destination=tmp_path / "again.csv")
    assert again.export.id == receipt.export.id
    assert blocking.wait_until_active(client, wider, customer_id=CUSTOMER).name == "Donors+"
    assert sandbox.counts().purchases == 1


def test_the_endpoints(client: blocking.IndigoClient):
    stub = client.upload_csv(customer_id=CUSTOMER, url=CSV)
    blocking.wait_for_column_selection(client, stub, customer_id=CUSTOMER)
    client.match_uploaded_csv(
        audience_id=stub.id, customer_id=CUSTOMER, audience_name="Donors", column_selections=COLUMNS
    )
    blocking.wait_until_active(client, stub.id, customer_id=CUSTOMER)
    assert client.get_audience(stub.id, CUSTOMER).status == "ACTIVE"
    assert [audience.name for audience in client.list_audiences(CUSTOMER)] == ["Donors"]
    preview = client.create_preview_csv_export(audience_id=stub.id, customer_id=CUSTOMER)
    client.purchase_csv_export(export_id=preview.id, customer_id=CUSTOMER)
    assert blocking.wait_for_export(client, preview, audience=stub, customer_id=CUSTOMER, purchased=True).download_url


def test_errors_are_those_of_the_coroutine_functions(client: blocking.IndigoClient, sandbox: Sandbox):
    with pytest.raises(NotFoundError):
        client.get_audience("missing", CUSTOMER)
    with pytest.raises(InvalidInputError, match="customer_id"):
        blocking.upload_and_match(client, CSV, customer_id="", audience_name="A", column_selections=COLUMNS)
    sandbox.faults.add(Fault(kind=FaultKind.ERROR_BEFORE, endpoint=UPLOAD, status=400))
    with pytest.raises(ApiError):
        match(client)


async def test_clients_of_the_other_kind_are_refused(client: blocking.IndigoClient, sandbox: Sandbox):
    other: Any = client
    asyncio_client: Any = indigo_async.IndigoClient(sandbox.token, base_url=sandbox.base_url)
    with pytest.raises(InvalidInputError, match=r"^client: must be an indigo_async\.blocking\.IndigoClient, not "):
        match(asyncio_client)
    for call in (
        workflows.run_batch(other, [JOB]),
        workflows.run_job(other, JOB),
        workflows.wait_until_active(other, "aud-1", customer_id=CUSTOMER),
        workflows.upload_and_match(other, CSV, customer_id=CUSTOMER, audience_name="Donors", column_selections=COLUMNS),
        workflows.export_audience(other, "aud-1", customer_id=CUSTOMER, destination="donors.csv"),
        workflows.download_export(other, "aud-1", customer_id=CUSTOMER, destination="donors.csv"),
        workflows.create_lookalike(other, "aud-1", customer_id=CUSTOMER, audience_name="Wider", size=5),
    ):
        with pytest.raises(InvalidInputError, match=r"^client: must be an indigo_async\.IndigoClient, not "):
            await call
    assert sandbox.log.count() == 0


def test_a_listener_that_is_no_function_is_refused(client: blocking.IndigoClient, sandbox: Sandbox):
    listener: Any = "print"
    with pytest.raises(InvalidInputError, match=r"^on_event: must be a function that takes one event, not str$"):
        match(client, on_event=listener)
    with pytest.raises(InvalidInputError, match=r"^on_event: "):
        blocking.run_batch(client, [JOB], on_event=listener)
    assert sandbox.log.count() == 0


def test_a_view_shares_the_thread_of_its_client(sandbox: Sandbox):
    client = blocking.IndigoClient(sandbox.token, base_url=sandbox.base_url)
    view = client.with_options(timeout=5)
    del client
    gc.collect()
    assert view.request("GET", "/audiences").json == view.list_audiences() == []
    assert sum(thread.name == "indigo-client" for thread in threading.enumerate()) == 1
    view.close()


def test_a_batch_with_a_journal_converges(client: blocking.IndigoClient, sandbox: Sandbox, tmp_path: Path):
    (tmp_path / "people.csv").write_text("First\nAnn\n")
    jobs = [
        AudienceJob(
            csv=tmp_path / "people.csv",
            customer_id=CUSTOMER,
            audience_name=f"List {number}",
            column_selections=COLUMNS,
            export=ExportStep(destination=tmp_path / f"{number}.csv", max_cost_cents=AMPLE_CENTS),
        )
        for number in range(5)
    ]
    for _ in range(2):
        report = blocking.run_batch(client, jobs, journal=tmp_path / "run.sqlite", publisher=LocalPublisher())
        assert (report.done, report.failed) == (5, 0)
    assert count_posts(sandbox)[PURCHASE] == 5
    assert blocking.run_job(client, JOB).matched.name == "Donors"


def test_jobs_are_read_lazily_in_the_calling_thread(client: blocking.IndigoClient, sandbox: Sandbox):
    database = sqlite3.connect(":memory:")  # which only the thread that opened it may use
    database.execute("create table lists (name text)")
    database.executemany("insert into lists values (?)", [[job.audience_name] for job in make_jobs(6)])
    uploads: list[int] = []

    def read_jobs() -> Iterator[AudienceJob]:
        for number, (name,) in enumerate(database.execute("select name from lists")):
            uploads.append(sandbox.log.count(UPLOAD))
            yield AudienceJob(
                csv=f"https://files.example.org/{number}.csv",
                customer_id=CUSTOMER,
                audience_name=name,
                column_selections=COLUMNS,
            )

    report = blocking.run_batch(client, read_jobs(), max_in_flight=1)
    database.close()
    assert (report.done, report.failed) == (6, 0)
    assert uploads == [0, 1, 2, 3, 4, 5]


def test_an_iterator_that_fails_stops_the_batch_after_the_jobs_in_flight(
    client: blocking.IndigoClient, sandbox: Sandbox
):
    def read_jobs() -> Iterator[AudienceJob]:
        yield from make_jobs(2)
        raise LookupError("the database is gone")

    with pytest.raises(LookupError, match="the database is gone"):
        blocking.run_batch(client, read_jobs())
    assert sandbox.log.count(MATCH) == 2


def test_an_async_iterable_of_jobs_is_read_in_the_clients_thread(client: blocking.IndigoClient):
    async def read_jobs() -> Any:
        for job in make_jobs(2):
            yield job

    assert blocking.run_batch(client, read_jobs()).done == 2


def test_threads_share_a_client(client: blocking.IndigoClient, sandbox: Sandbox):
    with ThreadPoolExecutor(8) as pool:
        audiences = list(pool.map(lambda number: match(client, f"List {number}"), range(24)))
    assert len({audience.id for audience in audiences}) == 24
    assert sum(thread.name == "indigo-client" for thread in threading.enumerate()) == 1
    assert sandbox.log.count(UPLOAD) == 24


def test_events_come_in_the_clients_thread_and_the_callers_context(sandbox: Sandbox):
    run = ContextVar("run", default="none")
    seen: set[tuple[str, str]] = set()
    errors: list[Exception] = []

    def on_event(_: Event) -> None:
        seen.add((threading.current_thread().name, run.get()))
        try:
            client.list_audiences()
        except ClientNotOpenError as error:
            errors.append(error)

    with open_client(sandbox) as client:
        run.set("nightly")
        match(client, on_event=on_event)
    assert seen == {("indigo-client", "nightly")}
    assert "called its own client" in str(errors[0])


SECRET = "sig-7d1e4c9b"


@pytest.mark.parametrize(
    "call",
    [
        lambda client: client.upload_csv(customer_id="", url=f"https://x.example.org/a.csv?{SECRET}"),
        lambda client: blocking.upload_and_match(
            client,
            f"https://x.example.org/a.csv?{SECRET}",
            customer_id="",
            audience_name="A",
            column_selections=COLUMNS,
        ),
        lambda client: client.request("POST", "/audiences", json={"a": [SECRET, object()]}, params={"b": SECRET}),
        lambda client: client.list_audiences("", extra={"a": SECRET}),
        lambda client: client.with_options(headers={"X-Key": f"{SECRET}\n"}),
        lambda _: blocking.IndigoClient("token", headers={"X-Key": f"{SECRET}\n"}),
        lambda _: blocking.IndigoClient(f"{SECRET} with spaces"),
        lambda _: blocking.IndigoClient(token=f"{SECRET} with spaces"),
        lambda _: blocking.IndigoClient("token", proxy=f"ftp://user:{SECRET}@proxy.example.org"),
    ],
)
def test_tracebacks_show_no_secret(client: blocking.IndigoClient, call: Callable[[blocking.IndigoClient], object]):
    with pytest.raises(InvalidInputError) as caught:
        call(client)
    frames = caught.value.__traceback__
    while frames is not None and "/tests/" in frames.tb_frame.f_code.co_filename:
        frames = frames.tb_next
    error = caught.value.with_traceback(frames)
    shown = "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())
    assert "_client_thread.py" in shown or "blocking.py" in shown
    assert SECRET not in shown
