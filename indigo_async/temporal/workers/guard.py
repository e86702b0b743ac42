"""Whether a worker can do jobs: the API accepts its token, and it can write exports.

A worker that can't hands its jobs over to other workers and stops. It never fails a job.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from datetime import timedelta
from http import HTTPStatus

from indigo_async._transport.errors import rejects_token
from indigo_async._transport.outage import wait_out_outages
from indigo_async.client import IndigoClient
from indigo_async.errors import ClientNotOpenError, IndigoError, RateLimitedError, ServerError, TransportError
from indigo_async.temporal.failures import create_handover
from indigo_async.temporal.workers.export_stores import FolderExportStore, ObjectExportStore
from indigo_async.workflows.recipes.reconcile import retry_delays

__all__ = ["WorkerGuard"]

_HANDOVER_DELAY = timedelta(seconds=1)
"""Long enough for the worker to stop taking activities, so that it doesn't get the same one again."""
_UNKNOWN_CUSTOMER_ID = "indigo-async-token-check"

_logger = logging.getLogger("indigo_async.temporal")


class WorkerGuard:
    """Guards the jobs of one worker. Activities begin with `wait_until_ready`, and call `check_failure` if they fail.

    `error` is why the worker must stop, once it must. `on_ready` is called when its activities may begin.
    """

    def __init__(
        self,
        client: IndigoClient,
        exports: FolderExportStore | ObjectExportStore,
        *,
        on_ready: Callable[[], object] = lambda: None,
    ) -> None:
        self._client = client
        self._exports = exports
        self._on_ready = on_ready
        self._checked = asyncio.Event()
        self._failed = asyncio.Event()
        self._token_lock = asyncio.Lock()
        self._token_accepted_at: float | None = None
        self.error: Exception | None = None

    @property
    def is_ready(self) -> bool:
        """Whether the worker has been checked and can do jobs."""
        return self._checked.is_set() and self.error is None

    async def watch(self) -> None:
        """Check the worker, then let its activities begin. Returns when the worker must stop; see `error`.

        During an outage it waits: an API that can't be reached has not rejected the token.
        """
        try:
            await self._exports.prepare()
            await self._check_token()
        except Exception as error:  # noqa: BLE001 - raised when the worker has stopped
            self._fail(error)
        else:
            self._on_ready()
        self._checked.set()
        await self._failed.wait()

    async def wait_until_ready(self) -> None:
        """Wait until the worker has been checked.

        Raises:
            ApplicationError: the worker must stop. It hands the activity over to another worker.
        """
        await self._checked.wait()
        self._raise_if_failed()

    @property
    def rejections(self) -> int:
        """How many of the client's requests the API rejected with 401."""
        return self._client.transport.failed_requests[str(int(HTTPStatus.UNAUTHORIZED))]

    async def check_failure(self, rejections_before: int) -> None:
        """After a failure, find out whether it is the worker's own: the API rejects its token.

        A 401 alone proves nothing. The API must reject a separate request, too, and keep rejecting it for as long as
        the client's retry policy lasts.

        Args:
            rejections_before: `rejections` at the beginning of the attempt.

        Raises:
            ApplicationError: the worker must stop. It hands the activity over to another worker.
        """
        if self.rejections > rejections_before:
            await self._confirm_token()
        self._raise_if_failed()

    async def _confirm_token(self) -> None:
        """Check the token once for all activities that ask at the same time."""
        asked_at = asyncio.get_running_loop().time()
        async with self._token_lock:
            if self.error is not None or (self._token_accepted_at or 0.0) >= asked_at:
                return
            try:
                await self._check_token()
            except IndigoError as error:
                self._fail(error)

    async def _check_token(self) -> None:
        """Check that the API accepts the token. Waits while the API can't be reached.

        Raises:
            AuthenticationError: the API rejects it.
            ClientNotOpenError: the client is not open.
        """
        transport, retry = self._client.transport, self._client.options.retry
        clock = asyncio.get_running_loop().time
        # A token that has worked before may be in the middle of a rotation.
        delays = iter(()) if self._token_accepted_at is None else retry_delays(retry)
        with wait_out_outages():
            while True:
                asked_at = clock()
                error = await self._request_with_token()
                if isinstance(error, (TransportError, RateLimitedError, ServerError)):
                    if transport.outage is None:  # the client logs outages itself
                        _logger.warning("the token can't be checked yet, so no job begins: %s", error)
                    delay = transport.max_probe_interval
                elif isinstance(error, ClientNotOpenError):
                    raise error
                elif error is not None and rejects_token(error):
                    pause = next(delays, None)
                    if pause is None:
                        raise error
                    delay = pause
                else:
                    self._token_accepted_at = asked_at
                    return
                await asyncio.sleep(delay)

    async def _request_with_token(self) -> IndigoError | None:
        """Send the cheapest request that every valid token allows: list the audiences of a customer without any."""
        try:
            await self._client.list_audiences(_UNKNOWN_CUSTOMER_ID)
        except IndigoError as error:
            return error.with_traceback(None)
        return None

    def _fail(self, error: Exception) -> None:
        if self.error is None:
            self.error = error.with_traceback(None)
            if self._checked.is_set():  # otherwise it has no jobs yet
                _logger.error("this worker stops and hands its jobs over to other workers: %s", type(error).__name__)
        self._failed.set()

    def _raise_if_failed(self) -> None:
        if self.error is not None:
            raise create_handover(f"the worker stopped ({self.error}); another one continues", delay=_HANDOVER_DELAY)
