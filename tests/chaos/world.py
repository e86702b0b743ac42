"""A world to explore: a sandbox, jobs for it, and the ways in which a program may work on them and be broken off."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from enum import StrEnum
from functools import partial
from pathlib import Path

import attrs

from indigo_async import ColumnSelection, ColumnSelections, IndigoClient
from indigo_async.inputs import OptionalFieldType
from indigo_async.sandbox import CENTS_PER_PERSON, Dialect, ExportFlow, LogEntry, RequestLog, Sandbox
from indigo_async.sandbox.state.engine import LiteEngine
from indigo_async.workflows import (
    AudienceJob,
    BatchReport,
    ExportStep,
    LookalikeStep,
    create_lookalike,
    export_audience,
    run_job,
    start_batch,
    upload_and_match,
)
from tests.support.fast_forward import FastForwardLoop, LoopClock

TIMEOUT = 10.0
"""The client's timeout, in seconds."""

RUN_TIMEOUT = 10 * 24 * 3600.0
"""Seconds after which a run counts as hung: more than all deadlines together."""

COLUMNS = ColumnSelections(first_name=ColumnSelection("First", required=True))
LOOKALIKE_SIZE = 2_000
MATCHED_SIZE = LiteEngine().matched_count
AMPLE_CENTS = 1_000_000
OVER_LIMIT_CENTS = 2_000_000


@attrs.frozen(kw_only=True)
class JobSpec:
    """What varies between jobs. A job that `may_purchase` accepts any price, any other only free exports."""

    customer_id: str = "1"
    has_lookalike: bool = True
    field_types: tuple[OptionalFieldType, ...] = (OptionalFieldType.PHONE,)
    may_purchase: bool = True


@attrs.frozen(kw_only=True)
class WorldSpec:
    """What of a world varies. `budget_cents` holds for all runs where a journal is kept, else for each."""

    jobs: tuple[JobSpec, ...] = (JobSpec(),)
    journal: bool = True
    flow: ExportFlow = "synchronous"
    dialect: Dialect = attrs.field(factory=Dialect)
    budget_cents: int | None = None
    seed: int = 0


class EntryPoint(StrEnum):
    """How a program works on its jobs."""

    BATCH = "batch"
    JOBS = "each job by itself"
    RECIPES = "recipe by recipe"


class InterruptionKind(StrEnum):
    """How a run is broken off."""

    CANCELLED = "cancelled"
    EXITED_EARLY = "left early"
    KILLED = "killed"


@attrs.frozen
class Interruption:
    """A run is broken off when the sandbox has seen so many of its requests, and so many turns of the loop later."""

    kind: InterruptionKind
    after_requests: int
    loop_iterations: int = 0


@attrs.frozen
class Outage:
    """The sandbox is unreachable for `seconds`, once it has seen so many requests."""

    after_requests: int
    seconds: float


Disruption = Interruption | Outage | None


@attrs.define
class RunResult:
    """What a run reported: the error of each job (None if it is done), and its last audience."""

    interrupted: bool = False
    job_errors: dict[str, Exception | None] = attrs.Factory(dict[str, Exception | None])
    audience_ids: dict[str, str] = attrs.Factory(dict[str, str])
    report: BatchReport | None = None
    charged_cents: int = 0
    post_count: int = 0

    def record_job(self, job: AudienceJob, error: Exception | None) -> None:
        assert job.key not in self.job_errors, "a job ends once"
        self.job_errors[job.key] = error


class WatchedRequestLog(RequestLog):
    """A log of requests that tells when it has seen a number of them."""

    def __init__(self) -> None:
        super().__init__(1_000_000)
        self._total = 0
        self._wires: list[tuple[int, asyncio.Event]] = []

    def add(self, entry: LogEntry) -> None:
        super().add(entry)
        self._total += 1
        for at, event in self._wires:
            if at <= self._total:
                event.set()

    async def wait_for_requests(self, requests: int) -> None:
        """Wait until so many more requests have been served."""
        wire = (self._total + requests, asyncio.Event())
        self._wires.append(wire)
        try:
            await wire[1].wait()
        finally:
            self._wires.remove(wire)


class World:
    """Everything outside the program under test: the server, the disk, and what may happen to both."""

    def __init__(self, shape: WorldSpec, loop: FastForwardLoop) -> None:
        self.spec = shape
        self.folder = Path(tempfile.mkdtemp(prefix="chaos-"))
        self.kill_count = 0
        self.log = WatchedRequestLog()
        self.sandbox = Sandbox(
            lite=True,
            clock=LoopClock(loop),
            seed=shape.seed,
            export_flow=shape.flow,
            dialect=shape.dialect,
            download_lifetime=1e12,
        )
        self.sandbox.log = self.log
        self.loop = loop
        self.loop_errors: list[dict[str, object]] = []
        self._stack = AsyncExitStack()

    async def open(self) -> None:
        await self.loop.track_anyio_threads()
        self.loop.set_exception_handler(lambda _, context: self.loop_errors.append(context))
        await self._stack.enter_async_context(self.sandbox)

    async def close(self) -> None:
        await self._stack.aclose()
        shutil.rmtree(self.folder)

    @property
    def journal(self) -> Path | None:
        """The journal that the next run opens. Each kill leaves its copy."""
        return self.folder / f"journal-{self.kill_count}.sqlite" if self.spec.journal else None

    @property
    def exports(self) -> Path:
        return self.folder / "exports"

    def jobs(self) -> list[AudienceJob]:
        return [_job(number, shape, self) for number, shape in enumerate(self.spec.jobs)]

    async def run(self, way: EntryPoint, *, purchase: bool = True, trouble: Disruption = None) -> RunResult:
        """Run a program on all jobs, in a client of its own, to its end or until it is broken off."""
        ran = RunResult()
        charged, posts = self.sandbox.counts().charged_cents, self._posts()
        leaves = isinstance(trouble, Interruption) and trouble.kind is InterruptionKind.EXITED_EARLY
        program = asyncio.create_task(self._program(way, purchase, ran, leaves=leaves))
        troubling = asyncio.create_task(self._disrupt(trouble, program))
        async with asyncio.timeout(RUN_TIMEOUT):
            await asyncio.wait([program])
        troubling.cancel()
        await asyncio.wait([troubling])
        if not program.cancelled():
            program.result()
        ran.interrupted |= program.cancelled()
        ran.charged_cents = self.sandbox.counts().charged_cents - charged
        ran.post_count = self._posts() - posts
        return ran

    async def _program(self, way: EntryPoint, purchase: bool, ran: RunResult, *, leaves: bool) -> None:
        async with IndigoClient(self.sandbox.token, base_url=self.sandbox.base_url, timeout=TIMEOUT) as client:
            if way is EntryPoint.BATCH:
                await self._run_batch(client, purchase, ran, leaves)
                return
            one = (
                partial(run_job, purchase=purchase)
                if way is EntryPoint.JOBS
                else partial(_run_recipes, purchase=purchase)
            )
            async with asyncio.TaskGroup() as group:
                for job in self.jobs():
                    group.create_task(_record_job(ran, job, one(client, job)))

    async def _run_batch(self, client: IndigoClient, purchase: bool, ran: RunResult, leaves: bool) -> None:
        async with start_batch(
            client, self.jobs(), journal=self.journal, budget_cents=self.spec.budget_cents, purchase=purchase
        ) as batch:
            async for outcome in batch:
                ran.record_job(outcome.job, outcome.error)
                ran.audience_ids[outcome.job.key] = str(outcome.audience_id)
                if leaves:
                    ran.interrupted = True
                    return
            ran.report = batch.report()

    async def _disrupt(self, trouble: Disruption, program: asyncio.Task[None]) -> None:
        if trouble is None:
            return
        await self.log.wait_for_requests(trouble.after_requests)
        if isinstance(trouble, Outage):
            async with self.sandbox.refuse_connections():
                await asyncio.sleep(trouble.seconds)
            return
        for _ in range(trouble.loop_iterations):
            await asyncio.sleep(0)
        if trouble.kind is InterruptionKind.KILLED:
            await self._kill(program)
        elif trouble.kind is InterruptionKind.CANCELLED:
            program.cancel()

    async def _kill(self, program: asyncio.Task[None]) -> None:
        """Do to a program in this process what SIGKILL does to one in its own.

        From this instant on nothing that it writes or sends counts: the next run has the journal as it stands now, and
        the server hears nothing more of this one.
        """
        async with self.sandbox.refuse_connections():
            if self.journal is not None and self.journal.exists():
                dead = self.journal
                self.kill_count += 1
                # The journal's thread may still write: the number of rows goes first, so that none is missed.
                for suffix in (".rows", "", "-wal"):
                    shutil.copy(f"{dead}{suffix}", f"{self.journal}{suffix}")
            program.cancel()
            await asyncio.wait([program])

    def _posts(self) -> int:
        return sum(entry.method == "POST" for entry in self.log.entries)


async def _record_job(ran: RunResult, job: AudienceJob, work: Coroutine[None, None, object]) -> None:
    try:
        await work
    except Exception as error:  # noqa: BLE001 - what it may be is judged elsewhere
        ran.record_job(job, error)
    else:
        ran.record_job(job, None)


async def _run_recipes(client: IndigoClient, job: AudienceJob, *, purchase: bool) -> None:
    """What `run_job` does, from the recipes that people call by themselves."""
    customer_id = job.customer_id
    audience = await upload_and_match(
        client,
        job.csv,
        customer_id=customer_id,
        audience_name=job.audience_name,
        column_selections=job.column_selections,
    )
    if job.lookalike is not None:
        audience = await create_lookalike(client, audience, customer_id=customer_id, **attrs.asdict(job.lookalike))
    if purchase and job.export is not None:
        await export_audience(client, audience, customer_id=customer_id, **attrs.asdict(job.export, recurse=False))


def export_price_cents(shape: JobSpec) -> int:
    """What the export of such a job costs, in cents."""
    people = LOOKALIKE_SIZE if shape.has_lookalike else MATCHED_SIZE
    return people * sum(CENTS_PER_PERSON[field_type] for field_type in shape.field_types)


def _job(number: int, shape: JobSpec, world: World) -> AudienceJob:
    name = f"Cafe\u0301  List {number}"
    dialect = world.spec.dialect
    hides = not dialect.shows_field_types or dialect.field_types_format == "empty"
    return AudienceJob(
        customer_id=shape.customer_id,
        audience_name=name,
        csv=f"https://files.example.org/{number}.csv",
        column_selections=COLUMNS,
        lookalike=LookalikeStep(audience_name=f"{name}, grown", size=LOOKALIKE_SIZE) if shape.has_lookalike else None,
        export=ExportStep(
            destination=world.exports / f"{number}.csv",
            optional_field_types=shape.field_types,
            max_cost_cents=AMPLE_CENTS if shape.may_purchase else 0,
            # Whoever knows that his exports are all alike says so; else a second run without a journal has to ask.
            reuse_purchased=True if hides else None,
        ),
    )
