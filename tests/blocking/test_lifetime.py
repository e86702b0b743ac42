"""From the creation of a blocking client to its end: threads, interruptions, forks and the end of the program."""

from __future__ import annotations

import ctypes
import gc
import pickle
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from indigo_async import blocking, errors
from indigo_async.errors import ClientNotOpenError, InvalidInputError
from indigo_async.events import Event, RequestStarted
from indigo_async.sandbox import Fault, FaultKind, Sandbox
from indigo_async.workflows import AudienceJob
from tests.blocking.conftest import open_client
from tests.support.recipes import AMPLE_CENTS, COLUMNS, CSV, CUSTOMER, PURCHASE, UPLOAD, count_posts

HANG = 60.0
JOB = AudienceJob(csv=CSV, customer_id=CUSTOMER, audience_name="Donors", column_selections=COLUMNS)


class Interrupted(BaseException):
    """Raised by a signal handler, as `KeyboardInterrupt` is."""


@pytest.fixture
def interrupt() -> Iterator[Callable[[], None]]:
    """A function that interrupts the main thread, from any thread."""

    def raise_interrupted(*_: object) -> None:
        raise Interrupted

    previous = signal.signal(signal.SIGUSR1, raise_interrupted)
    yield lambda: signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR1)
    signal.signal(signal.SIGUSR1, previous)


def client_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "indigo-client"]


def wait_until_no_client_is_open() -> None:
    for thread in client_threads():
        thread.join(10)
        assert not thread.is_alive()


def match(client: blocking.IndigoClient, **options: Any) -> None:
    blocking.upload_and_match(
        client, CSV, customer_id=CUSTOMER, audience_name="Donors", column_selections=COLUMNS, **options
    )


def export(client: blocking.IndigoClient, destination: Path) -> None:
    match(client)
    (audience,) = client.list_audiences(CUSTOMER)
    blocking.export_audience(
        client,
        audience,
        customer_id=CUSTOMER,
        destination=destination,
        optional_field_types=["phone"],
        max_cost_cents=AMPLE_CENTS,
    )


@contextmanager
def when(condition: Callable[[], bool], act: Callable[[], None]) -> Iterator[None]:
    """Act in another thread as soon as the condition holds."""
    is_over = threading.Event()

    def watch() -> None:
        while not is_over.wait(0.001):
            if condition():
                act()
                return

    watching = threading.Thread(target=watch)
    watching.start()
    try:
        yield
    finally:
        is_over.set()
        watching.join()


def test_an_interruption_cancels_the_call(sandbox: Sandbox, interrupt: Callable[[], None]):
    sandbox.faults.add(Fault(kind=FaultKind.DELAY_BEFORE, endpoint=UPLOAD, delay=HANG))
    started = threading.Event()

    def on_event(event: Event) -> None:
        if isinstance(event, RequestStarted) and event.endpoint == UPLOAD:
            started.set()

    with open_client(sandbox, on_event=on_event) as client:
        with when(started.is_set, interrupt), pytest.raises(Interrupted):
            match(client)
        assert client.list_audiences() == []  # the client is as good as new


def test_an_interruption_waits_for_the_outcome_of_a_purchase(
    sandbox: Sandbox, interrupt: Callable[[], None], tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    sandbox.faults.add(Fault(kind=FaultKind.DELAY_AFTER, endpoint=PURCHASE, delay=2.0))
    with open_client(sandbox) as client:
        with when(lambda: sandbox.counts().purchases == 1, interrupt), pytest.raises(Interrupted):
            export(client, tmp_path / "donors.csv")
        assert "checking whether it was made" in caplog.text
        export(client, tmp_path / "donors.csv")
    assert count_posts(sandbox)[PURCHASE] == 1


def test_a_timeout_of_another_thread_cancels_the_call(sandbox: Sandbox):
    sandbox.faults.add(Fault(kind=FaultKind.DELAY_BEFORE, endpoint=UPLOAD, delay=HANG))
    caller = threading.get_ident()

    timed_out = threading.Event()

    def time_out(_: Event) -> None:  # as schedulers end tasks that they run in threads
        if not timed_out.is_set():
            timed_out.set()
            ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(caller), ctypes.py_object(Interrupted))

    with open_client(sandbox) as client, pytest.raises(Interrupted):
        match(client, on_event=time_out)


def test_an_interruption_while_jobs_are_read_cancels_the_batch(client: blocking.IndigoClient):
    def read_jobs() -> Iterator[AudienceJob]:
        yield JOB
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        blocking.run_batch(client, read_jobs())
    assert client.list_audiences() is not None


def test_a_closed_client_says_so(sandbox: Sandbox):
    with open_client(sandbox) as client:
        pass
    client.close()
    with pytest.raises(ClientNotOpenError, match="the client is closed"):
        client.list_audiences()
    assert client_threads() == []


def test_closing_a_client_ends_the_calls_of_other_threads(sandbox: Sandbox):
    sandbox.faults.add(Fault(kind=FaultKind.DELAY_BEFORE, endpoint=UPLOAD, delay=HANG))
    started = threading.Event()
    with ThreadPoolExecutor() as pool:
        with open_client(sandbox, on_event=lambda _: started.set()) as client:
            called = pool.submit(match, client)
            assert started.wait(10)
        with pytest.raises(ClientNotOpenError, match="the client was closed during this call"):
            called.result()


def test_a_client_that_is_forgotten_is_closed(sandbox: Sandbox):
    client = blocking.IndigoClient(sandbox.token, base_url=sandbox.base_url)
    client.list_audiences()
    del client
    gc.collect()
    wait_until_no_client_is_open()


def test_a_client_that_cannot_be_opened_leaves_no_thread():
    with pytest.raises(InvalidInputError):
        blocking.IndigoClient("two words")

    def no_token() -> str:
        raise LookupError("the vault is sealed")

    with pytest.raises((LookupError, errors.IndigoError)):
        blocking.IndigoClient(no_token)
    wait_until_no_client_is_open()


def test_a_client_cannot_be_pickled(client: blocking.IndigoClient):
    with pytest.raises(ClientNotOpenError, match="create one in each process"):
        pickle.dumps(client)
    assert repr(client).startswith("blocking.IndigoClient(base_url='http://127.0.0.1")


def run_program(sandbox: Sandbox, text: str) -> subprocess.CompletedProcess[str]:
    program = dedent(
        f"""
        from indigo_async import ColumnSelection, blocking
        from indigo_async.errors import ClientNotOpenError
        client = blocking.IndigoClient({sandbox.token!r}, base_url={sandbox.base_url!r}, poll_interval=0.01)
        """
    ) + dedent(text)
    command = [sys.executable, "-W", "error", "-c", program]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_a_program_may_end_without_closing_its_client(sandbox: Sandbox):
    ended = run_program(sandbox, "print(client.list_audiences())")
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "[]\n", "")


def test_a_program_may_end_while_another_thread_calls(sandbox: Sandbox):
    sandbox.faults.add(Fault(kind=FaultKind.DELAY_BEFORE, endpoint=UPLOAD, delay=HANG))
    ended = run_program(
        sandbox,
        """
        import threading, time
        def call():
            try:
                client.upload_csv(customer_id="42", url="https://files.example.org/a.csv")
            except ClientNotOpenError as error:
                pass
        threading.Thread(target=call, daemon=True).start()
        time.sleep(0.2)
        """,
    )
    assert (ended.returncode, ended.stderr) == (0, "")


def test_a_forked_process_is_told_to_create_its_own_client(sandbox: Sandbox):
    ended = run_program(
        sandbox,
        f"""
        import multiprocessing
        def call(_):
            try:
                client.list_audiences()
            except ClientNotOpenError as error:
                message = str(error)
            with blocking.IndigoClient({sandbox.token!r}, base_url={sandbox.base_url!r}) as own:
                own.list_audiences()
            return message
        if __name__ == "__main__":
            client.list_audiences()
            with multiprocessing.get_context("fork").Pool(2) as pool:
                print(set(pool.map(call, range(4))))
        """,
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "the client was opened in another process: create one in each process" in ended.stdout


def test_a_forked_process_may_end_by_itself(sandbox: Sandbox):
    ended = run_program(
        sandbox,
        """
        import os, sys
        child = os.fork()
        if child == 0:
            client.close()
            sys.exit(3)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        """,
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "3\n", "")


def test_control_c_ends_a_script(sandbox: Sandbox):
    sandbox.faults.add(Fault(kind=FaultKind.DELAY_BEFORE, endpoint=UPLOAD, delay=HANG))
    ended = run_program(
        sandbox,
        """
        import os, signal, threading
        threading.Timer(0.3, os.kill, [os.getpid(), signal.SIGINT]).start()
        client.upload_csv(customer_id="42", url="https://files.example.org/a.csv")
        """,
    )
    assert ended.returncode == -signal.SIGINT
    assert ended.stderr.rstrip().endswith("KeyboardInterrupt")


def test_a_second_control_c_does_not_wait_for_the_purchase(sandbox: Sandbox, tmp_path: Path):
    sandbox.faults.add(Fault(kind=FaultKind.DELAY_BEFORE, endpoint=PURCHASE, delay=HANG))
    ended = run_program(
        sandbox,
        f"""
        import logging, os, signal
        from indigo_async.events import StageStarted
        def interrupt_soon():
            client._thread._loop.call_later(0.3, os.kill, os.getpid(), signal.SIGINT)
        def on_event(event):
            if isinstance(event, StageStarted) and event.stage == "purchase":
                interrupt_soon()
        def on_log(record):
            if "checking whether it was made" in record.getMessage():
                interrupt_soon()
            return True
        logging.getLogger("indigo_async.recipes").addFilter(on_log)
        with client:
            audience = blocking.upload_and_match(client, "{CSV}", customer_id="42", audience_name="Donors",
                column_selections={{"first_name": ColumnSelection("First", required=True)}})
            blocking.export_audience(client, audience, customer_id="42", destination="{tmp_path / "a.csv"}",
                optional_field_types=["phone"], max_cost_cents=10_000_000, on_event=on_event)
        """,
    )
    assert ended.returncode == -signal.SIGINT
    assert "checking whether it was made" in ended.stderr
    assert "ended without waiting: export" in ended.stderr
    assert ended.stderr.rstrip().endswith("KeyboardInterrupt")
