"""The thread behind a blocking client: it runs the client's event loop, and other threads wait for its results."""

from __future__ import annotations

import asyncio
import atexit
import logging
import os
import threading
from collections.abc import Awaitable, Callable, Coroutine, Generator
from concurrent.futures import CancelledError, Future
from contextlib import contextmanager, suppress
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any, Generic, TypeAlias, TypeVar

import anyio
from anyio.from_thread import BlockingPortal

from indigo_async._transport.cancellation import current_cleanups
from indigo_async.client import IndigoClient
from indigo_async.errors import ClientNotOpenError

__all__ = ["ClientThread", "RunInCaller", "Work"]

T = TypeVar("T")

RunInCaller: TypeAlias = Callable[..., Awaitable[Any]]
"""Runs a function with arguments in the thread that waits for the call, and returns its result."""

Work: TypeAlias = Callable[[RunInCaller], Coroutine[Any, Any, T]]
"""What a call does in the client's event loop."""

_SECONDS_BETWEEN_EXCEPTIONS = 0.5

_logger = logging.getLogger("indigo_async")


class ClientThread:
    """Runs the event loop of one client, which is open from the start of the thread until its end."""

    def __init__(self, client: IndigoClient) -> None:
        """Start the thread and wait until the client is open. Raises what opening the client raises."""
        self._client = client
        self._process_id = os.getpid()
        self._opened: Future[BlockingPortal] = Future()
        self._closed: Future[None] = Future()
        self._lock = threading.Lock()
        """Makes sure that no call starts in an event loop that is about to end."""
        self._is_stopping = False
        self._is_abandoned = False
        self._thread = threading.Thread(target=self._run, name="indigo-client", daemon=True)
        self._thread.start()
        try:
            self._portal = self._opened.result()
        except BaseException:
            self._opened.cancel()
            raise
        atexit.register(self.close)

    def _run(self) -> None:
        try:
            anyio.run(self._serve, backend="asyncio")
        except BaseException as error:  # noqa: BLE001 - the threads that wait raise it
            if not self._opened.done():
                self._opened.set_exception(error)
            elif not self._closed.done():  # as the program ends, Python 3.12 can't end the event loop without an error
                self._closed.set_exception(error)
        finally:
            self._is_stopping = True
            atexit.unregister(self.close)

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop_requested = asyncio.Event()
        async with self._client, BlockingPortal() as portal:
            if self._opened.set_running_or_notify_cancel():
                self._opened.set_result(portal)
                await self._stop_requested.wait()
                await portal.stop(cancel_remaining=True)
        self._closed.set_result(None)

    def call(self, work: Work[T]) -> T:
        """Run work in the client's event loop, and wait for its result.

        An exception of a signal handler, such as `KeyboardInterrupt`, cancels the work and is raised at its end.

        Raises:
            ClientNotOpenError: the client can't be used here and now.
        """
        self._check_usable()
        call = _Call(work)
        try:
            self._start(call)
            call.wait()
        except BaseException:
            with self._not_waiting_after_an_exception():
                self._run_in_loop(call.cancel)
                call.wait_until_canceled()
            raise
        return call.result()

    def _check_usable(self) -> None:
        if self._process_id != os.getpid():
            raise ClientNotOpenError("the client was opened in another process: create one in each process")
        if self._thread is threading.current_thread():
            raise ClientNotOpenError(
                "an event listener or a token function called its own client, which would wait forever: call it from "
                "another thread"
            )

    def _start(self, call: _Call[Any]) -> None:
        with self._lock:
            if self._is_stopping:
                raise ClientNotOpenError("the client is closed: create another one")
            call.start(self._portal)

    def _run_in_loop(self, function: Callable[[], object]) -> None:
        with suppress(RuntimeError):  # the event loop has ended
            self._loop.call_soon_threadsafe(function)

    @contextmanager
    def _not_waiting_after_an_exception(self) -> Generator[None]:
        """After a second Ctrl-C inside the block, don't wait for anything, not even when the client is closed."""
        try:
            yield
        except BaseException:
            self._is_abandoned = True
            for cleanup in current_cleanups():
                _logger.warning("ended without waiting: %s", cleanup.if_aborted)
            raise

    def stop(self) -> None:
        """Have the thread cancel all calls and end, without waiting for it."""
        if self._process_id == os.getpid():
            with self._lock:
                self._is_stopping = True
            self._run_in_loop(self._stop_requested.set)

    def close(self) -> None:
        """Cancel all calls, and wait until the client is closed."""
        self.stop()
        if (
            self._process_id == os.getpid()
            and self._thread is not threading.current_thread()
            and not self._is_abandoned
        ):
            with self._not_waiting_after_an_exception():
                self._closed.result()
                self._thread.join()


class _Call(Generic[T]):
    """Work in the client's event loop, and the thread that waits for it."""

    def __init__(self, work: Work[T]) -> None:
        self._work = work
        self._inbox: SimpleQueue[Callable[[], object] | None] = SimpleQueue()
        """Functions to call while waiting, and None at the end of the wait."""
        self._future: Future[T] | None = None
        self._task: asyncio.Task[Any] | None = None
        self._is_canceled = False

    def start(self, portal: BlockingPortal) -> None:
        self._future = portal.start_task_soon(self._run)
        self._future.add_done_callback(lambda _: self._inbox.put(None))

    async def _run(self) -> T:
        self._task = asyncio.current_task()
        if self._is_canceled:
            raise asyncio.CancelledError
        return await self._work(self._run_in_caller)

    async def _run_in_caller(self, function: Callable[..., Any], *args: Any) -> Any:
        result: Future[Any] = Future()
        self._inbox.put(partial(_run, function, args, result))
        return await asyncio.wrap_future(result)

    def cancel(self) -> None:
        """Cancel the work. Called in the event loop."""
        self._is_canceled = True
        if self._task is not None:
            self._task.cancel()

    def wait(self) -> None:
        """Wait until the work has ended, and meanwhile run the functions that it wants to be run here."""
        while (function := self._receive()) is not None:
            function()

    def wait_until_canceled(self) -> None:
        while self._future is not None and self._receive() is not None:
            pass

    def _receive(self) -> Callable[[], object] | None:
        """Wait for the next function. Exceptions that another thread, or Ctrl-C on Windows, sets come between waits."""
        while True:
            with suppress(Empty):
                return self._inbox.get(timeout=_SECONDS_BETWEEN_EXCEPTIONS)

    def result(self) -> T:
        """Return the result of work that has ended.

        Raises:
            ClientNotOpenError: it was canceled, because the client was closed.
        """
        future, self._future = self._future, None  # break the exception-frame reference cycle
        if future is None:
            raise RuntimeError("the call was not started")
        try:
            return future.result()
        except CancelledError:
            raise ClientNotOpenError("the client was closed during this call") from None
        finally:
            del future  # as above


def _run(function: Callable[..., Any], args: tuple[Any, ...], result: Future[Any]) -> None:
    if result.set_running_or_notify_cancel():
        try:
            result.set_result(function(*args))
        except Exception as error:  # noqa: BLE001 - it is raised where the result is awaited
            result.set_exception(error)
