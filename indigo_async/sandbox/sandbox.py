"""The sandbox: the whole API as a local server."""

from __future__ import annotations

import asyncio
import functools
import secrets
import shutil
import tempfile
import time
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

import anyio
import anyio.to_thread
import attrs

from indigo_async._extras import require_extra
from indigo_async.errors import IndigoError
from indigo_async.models import RecordId
from indigo_async.sandbox.clock import Clock, ScaledClock
from indigo_async.sandbox.dialect import Dialect, ExportFlow
from indigo_async.sandbox.faults import Faults
from indigo_async.sandbox.http.endpoints import Backend
from indigo_async.sandbox.http.file_host import FileHost
from indigo_async.sandbox.http.handler import App, handle
from indigo_async.sandbox.http.listener import Listener
from indigo_async.sandbox.http.openapi import build_openapi
from indigo_async.sandbox.http.rate_limit import TokenBucket
from indigo_async.sandbox.http.rendering import RenderContext
from indigo_async.sandbox.http.request_checks import API_PATH
from indigo_async.sandbox.http.request_log import RequestLog
from indigo_async.sandbox.http.signed_urls import UrlSigner
from indigo_async.sandbox.state.background import BackgroundTasks
from indigo_async.sandbox.state.engine import Engine, LiteEngine
from indigo_async.sandbox.state.fetch import FetchLimits
from indigo_async.sandbox.state.records import AudienceRecord, Stage, StageTimes, Upload
from indigo_async.sandbox.state.store import Counts, Store

if TYPE_CHECKING:
    from indigo_async.sandbox.people import VoterFile

__all__ = ["Sandbox"]


class Sandbox:
    """The Indigo audiences API on this machine, without an account: `async with Sandbox(...) as sandbox`.

    Args:
        voters: The number of synthetic people in the voter file, a CSV or Parquet file of voters, or a `VoterFile`
            shared by several sandboxes (which stays open). Ignored by a lite sandbox.
        seed: The seed for the synthetic people, the lookalikes and the probabilities of faults.
        speed: Sandbox seconds per real second.
        clock: A clock to use instead, such as a `ManualClock` that a test moves. `speed` is then ignored.
        lite: Serve statuses and made-up sizes only, without people. For tests and benchmarks of clients.
        export_flow: `synchronous`, as in the API reference, or `asynchronous`, as on the vendor's newer pages.
        stage_times: How long each stage takes, in sandbox seconds.
        dialect: The choices that the API reference leaves open, such as the spelling of fields.
        token: The API token that is accepted. Random by default.
        requests_per_second: Requests above this rate (in real time) get a 429. None means no limit.
        allow_remote_csvs: Whether CSVs may be fetched from other machines.
        download_lifetime: How long a download URL is valid, in sandbox seconds.
        port: The port on 127.0.0.1. 0 picks a free one.
        threads: How many computations run at once.
        log_entries: How many requests `log.entries` keeps. The counters count all of them.

    Requests are handled in the caller's event loop, computations and files in threads. Leaving the context ends both.

    Raises:
        MissingPackageError: the extra `sandbox` is not installed. A lite sandbox doesn't need it.
    """

    def __init__(
        self,
        voters: int | Path | VoterFile = 100_000,
        *,
        seed: int = 0,
        speed: float = 1.0,
        clock: Clock | None = None,
        lite: bool = False,
        export_flow: ExportFlow = "synchronous",
        stage_times: StageTimes | None = None,
        dialect: Dialect | None = None,
        token: str | None = None,
        requests_per_second: float | None = None,
        allow_remote_csvs: bool = False,
        download_lifetime: float = 3_600.0,
        port: int = 0,
        threads: int = 2,
        log_entries: int = 100_000,
    ) -> None:
        if not lite:
            require_extra("sandbox", "Sandbox (unless lite=True)")
        self.clock: Clock = clock or ScaledClock(speed)
        self.token: str = token or secrets.token_urlsafe(24)
        self.log: RequestLog = RequestLog(log_entries)
        self.faults: Faults = Faults(seed)
        self._voters = voters
        self._seed = seed
        self._lite = lite
        self._threads = threads
        self._export_flow: ExportFlow = export_flow
        self._stage_times = stage_times or StageTimes()
        self._dialect = dialect or Dialect()
        self._requests_per_second = requests_per_second
        self._fetch_limits = FetchLimits(allow_remote=allow_remote_csvs)
        self._download_lifetime = download_lifetime
        self._port = port
        self._running: _RunningServer | None = None
        self._exit_stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            raise IndigoError("the sandbox needs asyncio, which is not running here; Trio is not supported") from None
        async with AsyncExitStack() as stack:
            self._running = await self._start(stack)
            self._exit_stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._running = None
        await self._exit_stack.aclose()

    async def _start(self, stack: AsyncExitStack) -> _RunningServer:
        """Start every part. `stack` stops them in reverse order."""
        exports = Path(await anyio.to_thread.run_sync(tempfile.mkdtemp, None, "indigo-sandbox-"))
        stack.push_async_callback(anyio.to_thread.run_sync, functools.partial(shutil.rmtree, exports))
        engine = await stack.enter_async_context(self._open_engine())
        tasks = BackgroundTasks()
        stack.push_async_callback(tasks.aclose)
        listener = Listener(self._port)
        stack.push_async_callback(listener.aclose)
        backend = Backend(
            clock=self.clock,
            store=Store(self._dialect.id_type, now=self.clock.now if self._dialect.list_lag else None),
            engine=engine,
            background_tasks=tasks,
            stage_times=self._stage_times,
            export_flow=self._export_flow,
            export_folder=exports,
            dialect=self._dialect,
        )
        app = App(
            backend=backend,
            render_context=RenderContext(
                clock=self.clock,
                store=backend.store,
                url_signer=UrlSigner(listener.origin, self.clock, self._download_lifetime),
                dialect=self._dialect,
                export_flow=self._export_flow,
            ),
            file_host=FileHost(listener.origin),
            faults=self.faults,
            log=self.log,
            token=self.token,
            rate_limiter=TokenBucket(self._requests_per_second, time.monotonic())
            if self._requests_per_second
            else None,
            closing=anyio.Event(),
            openapi_json=build_openapi(listener.origin + API_PATH, self._dialect, self._export_flow),
        )
        await listener.open(functools.partial(handle, app))
        stack.callback(app.closing.set)
        return _RunningServer(app, listener)

    @asynccontextmanager
    async def _open_engine(self) -> AsyncGenerator[Engine]:
        if self._lite:
            yield LiteEngine()
            return
        from indigo_async.sandbox.state.voter_engine import open_voter_engine  # noqa: PLC0415 - lite needs no numpy

        async with open_voter_engine(self._voters, self._seed, self._threads, self._fetch_limits) as engine:
            yield engine

    @property
    def _started(self) -> _RunningServer:
        if self._running is None:
            raise IndigoError("the sandbox is not running: use it inside `async with`")
        return self._running

    @property
    def base_url(self) -> str:
        """The base URL for clients, such as `http://127.0.0.1:8080/api/v1`."""
        return self._started.listener.origin + API_PATH

    @property
    def file_host(self) -> FileHost:
        """Serves local CSVs at URLs that `POST /upload_csv` accepts."""
        return self._started.app.file_host

    def counts(self) -> Counts:
        """What was really created and purchased."""
        return self._started.app.backend.store.counts()

    async def wait_until_idle(self) -> None:
        """Wait until no computation is running. With a `ManualClock`, statuses then depend on its time alone."""
        await self._started.app.backend.background_tasks.wait_until_idle()

    @asynccontextmanager
    async def refuse_connections(self) -> AsyncGenerator[None]:
        """Break and refuse all connections until the block ends, then listen on the same port again."""
        self._started.listener.refuse_connections()
        try:
            yield
        finally:
            await self._started.listener.reopen()

    async def seed_audiences(
        self,
        count: int,
        customer_id: str | None,
        *,
        size: int = 1_500,
        name: str | None = None,
        status: str | None = None,
    ) -> list[RecordId]:
        """Add active audiences, as if matched from CSVs long ago, and return their IDs.

        All of them have the same `size` people (at most the whole voter file). Without a `customer_id` they look as if
        they were created in the web app. They share `name`, or get a name each. A `status`, such as FAILED, replaces
        ACTIVE. Audiences with the status DELETED appear in lists only and don't reserve their name.
        """
        backend = self._started.app.backend
        members = await backend.engine.sample(size)
        now = self.clock.now()
        done = Stage(now, is_computed=True)
        records = (
            AudienceRecord(
                id=(audience_id := backend.store.new_id("aud")),
                customer_id=customer_id,
                created_at=now,
                name=name or f"Seeded {audience_id}",
                seeded_status=status,
                upload=Upload(f"https://example.org/{audience_id}.csv", done, row_count=members.size),
                stage=done,
                members=members,
            )
            for _ in range(count)
        )
        return [backend.store.add_audience(record).id for record in records]

    def set_price(self, export_id: RecordId, cents: int) -> None:
        """Change the price of an export that hasn't been purchased."""
        store = self._started.app.backend.store
        store.update_export(export_id, lambda record: attrs.evolve(record, price_override_cents=cents))

    async def seed_app_audience(self, *, size: int = 1_500) -> RecordId:
        """Add an audience as if created in the web app, without a customer, and return its ID."""
        return (await self.seed_audiences(1, None, size=size))[0]


@attrs.frozen
class _RunningServer:
    app: App
    listener: Listener
