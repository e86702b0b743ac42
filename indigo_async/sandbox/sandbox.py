"""The sandbox: the whole API as a server on this machine, with its own people, time and troubles."""

from __future__ import annotations

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
    """The Indigo audiences API on this machine, with no account: `async with Sandbox(...) as sandbox`.

    Args:
        voters: How many synthetic people the voter file has, or a CSV or Parquet file of voters, or a `VoterFile` to
            share among sandboxes (which stays open). Without meaning in a lite sandbox.
        seed: What the synthetic people, lookalikes and chances of faults are drawn from.
        speed: How many sandbox seconds pass in a real one.
        clock: Another clock instead, such as a `ManualClock` that a test moves; `speed` then has no meaning.
        lite: Statuses and invented sizes only, no people: for tests and benchmarks of clients.
        export_flow: `synchronous` as the reference says, or `asynchronous` as newer pages of the vendor do.
        stage_times: How long each stage takes, in sandbox seconds.
        dialect: How the parts of the JSON are spelt that the reference leaves open.
        token: The API token that is accepted; a random one by default.
        requests_per_second: Above this rate (real time) requests are answered 429; None: no limit.
        allow_remote_csvs: Whether CSVs may be fetched from other machines than this one.
        download_lifetime: How long a download URL is good for, in sandbox seconds.
        port: The port to listen on, on 127.0.0.1; 0 finds a free one.
        threads: How many computations run at once.
        log_entries: How many requests `log.entries` keeps; the counters count all.

    Everything runs in the caller's event loop; computations and files in threads. All of it ends with the context.
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
        """Bring every part up; `stack` takes them down again, the last first."""
        exports = Path(await anyio.to_thread.run_sync(tempfile.mkdtemp, None, "indigo-sandbox-"))
        stack.push_async_callback(anyio.to_thread.run_sync, shutil.rmtree, exports)
        engine = await stack.enter_async_context(self._open_engine())
        computing = BackgroundTasks()
        stack.push_async_callback(computing.aclose)
        listener = Listener(self._port)
        stack.push_async_callback(listener.aclose)
        service = Backend(
            clock=self.clock,
            store=Store(self._dialect.id_type, now=self.clock.now if self._dialect.list_lag else None),
            engine=engine,
            background_tasks=computing,
            stage_times=self._stage_times,
            export_flow=self._export_flow,
            export_folder=exports,
            dialect=self._dialect,
        )
        host = App(
            backend=service,
            render_context=RenderContext(
                clock=self.clock,
                store=service.store,
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
        await listener.open(functools.partial(handle, host))
        stack.callback(host.closing.set)
        return _RunningServer(host, listener)

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
            raise RuntimeError("the sandbox is not running: use it inside `async with`")
        return self._running

    @property
    def base_url(self) -> str:
        """What to give to a client, such as `http://127.0.0.1:8080/api/v1`."""
        return self._started.listener.origin + API_PATH

    @property
    def file_host(self) -> FileHost:
        """Serves local CSVs at URLs that `POST /upload_csv` accepts."""
        return self._started.host.file_host

    def counts(self) -> Counts:
        """What was really made and bought."""
        return self._started.host.backend.store.counts()

    async def wait_until_idle(self) -> None:
        """Wait until nothing is being computed: with a `ManualClock`, statuses then depend on its time alone."""
        await self._started.host.backend.background_tasks.wait_until_idle()

    @asynccontextmanager
    async def refuse_connections(self) -> AsyncGenerator[None]:
        """Be unreachable for a while: connections are broken and refused, on the same port as before and after."""
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

        All have the same `size` people, or all there are where the voter file has fewer. With `customer_id` None they
        are as if made in the app. All have the `name`, or one each. With a `status`, such as FAILED, they show that one
        instead of ACTIVE; those that are DELETED are in lists only, and leave their name free.
        """
        service = self._started.host.backend
        members = await service.engine.sample(size)
        now = self.clock.now()
        done = Stage(now, is_computed=True)
        records = (
            AudienceRecord(
                id=(audience_id := service.store.new_id("aud")),
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
        return [service.store.add_audience(record).id for record in records]

    def set_price(self, export_id: RecordId, cents: int) -> None:
        """Change the price of an export that was not purchased yet."""
        store = self._started.host.backend.store
        store.update_export(export_id, lambda record: attrs.evolve(record, price_override_cents=cents))

    async def seed_app_audience(self, *, size: int = 1_500) -> RecordId:
        """Add an audience made in the app, which belongs to no customer, and return its ID."""
        return (await self.seed_audiences(1, None, size=size))[0]


@attrs.frozen
class _RunningServer:
    host: App
    listener: Listener
