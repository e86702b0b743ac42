"""Measure how often waits are polled: requests per round and delays, compared with fixed intervals and with backoff.

    python -m benchmarks --only poll_intervals          (about a quarter of an hour)

Each customer has ten waits that start together and share a list, and the server refuses the list of everything.
Requests are counted per interval and 1,000 customers, while these customers have waits. The client knows nothing about
the first waits. For later waits, it uses what it learned from earlier ones.

First, 1,000 customers run over real sockets, against a lite sandbox in a separate process, at the default interval of
5 s. Then the client's polling loop runs in simulated time, against an API in memory, with 50 customers and several
kinds of waits.
"""

from __future__ import annotations

import asyncio
import math
import random
import statistics
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack

import attrs

from benchmarks.support.controlled_sandbox import ControlledSandbox, controlled_sandbox
from benchmarks.support.figures import Figure
from indigo_async import IndigoClient
from indigo_async._polling import Poller, RecordPart
from indigo_async._polling.pace import Pace
from indigo_async._polling.watchlist import Cohort
from indigo_async.client import get_poller
from indigo_async.errors import ApiError
from indigo_async.models import Audience, RecordId
from indigo_async.sandbox import StageTimes
from tests.support.servers.fake_audience_api import FakeAudienceApi, Request, active_from, active_or_none
from tests.support.virtual_time import run_in_virtual_time

INTERVAL = 5.0
WAITS_OF_A_CUSTOMER = 10
GENERATIONS = 4
YOUNG = 10
"""Waits that end before this many intervals are young."""


class FixedPace(Pace):
    """Polls once an interval."""

    def delay(self, cohort: Cohort, now: float) -> float:  # noqa: ARG002 - the same for all
        return 1.0


class BackoffPace(Pace):
    """Multiplies the delay by 1.5 after each poll, up to 30 s, so the delay is a fixed share of the age."""

    def delay(self, cohort: Cohort, now: float) -> float:
        return 1.0 + (now - cohort.started_at) / self.interval / 2


PACES: Mapping[str, type[Pace]] = {"fixed interval": FixedPace, "backoff": BackoffPace, "ours": Pace}

Draw = Callable[[random.Random], float]


def _constant(length: float) -> Draw:
    return lambda rng: length + rng.random()


def _log_normal(median: float, sigma: float) -> Draw:
    return lambda rng: median * math.exp(rng.gauss(0.0, sigma))


def _exponential(mean: float) -> Draw:
    return lambda rng: rng.expovariate(1 / mean)


def _bimodal(short: float, long: float) -> Draw:
    return lambda rng: (short if rng.random() < 0.7 else long) * math.exp(rng.gauss(0.0, 0.15))


LENGTHS: Mapping[str, Draw] = {
    "8 intervals": _constant(8),
    "20 intervals": _constant(20),
    "60 intervals": _constant(60),
    "whole intervals, 1 to 20": lambda rng: float(rng.randint(1, 20)),
    "20 intervals, log-normal": _log_normal(20, 0.5),
    "60 intervals, log-normal": _log_normal(60, 0.5),
    "6 or 60 intervals, bimodal": _bimodal(6, 60),
    "20 intervals, exponential": _exponential(20),
    "60 intervals, exponential": _exponential(60),
}
"""How long the waits last. Constant lengths spread over one interval, since no server is exact."""


@attrs.define
class Generation:
    """What some waits cost. `delays` are pairs of a wait's length and how late its end was noticed, in intervals.

    `customer_rounds` are the intervals in which customers had waits, summed over the customers.
    """

    requests: int = 0
    customer_rounds: float = 0.0
    delays: list[tuple[float, float]] = attrs.Factory(list[tuple[float, float]])

    @property
    def requests_per_round(self) -> float:
        return self.requests / self.customer_rounds * 1_000

    @property
    def young_delay(self) -> float | None:
        """The mean delay of waits younger than ten intervals; None if fewer than 1 in 100 end so early."""
        young = [late for length, late in self.delays if length < YOUNG]
        return statistics.fmean(young) if len(young) > len(self.delays) / 100 else None

    @property
    def old_delay(self) -> float | None:
        """The mean delay of older waits, as a share of their lengths."""
        old = [late / length for length, late in self.delays if length >= YOUNG]
        return statistics.fmean(old) if len(old) > len(self.delays) / 100 else None

    def add(self, other: Generation) -> None:
        self.requests += other.requests
        self.customer_rounds += other.customer_rounds
        self.delays += other.delays

    def notes(self, pace: str) -> dict[str, float]:
        found = {
            f"{pace}: requests": self.requests_per_round,
            f"{pace}: intervals late": statistics.fmean(late for _, late in self.delays),
        }
        if self.young_delay is not None:
            found[f"{pace}: intervals late if young"] = self.young_delay
        if self.old_delay is not None:
            found[f"{pace}: late if old, as a share of the wait"] = self.old_delay
        return found


def refuse_everything(request: Request) -> None:
    if request.kind == "everything":
        raise ApiError(400, "customerId is required", None, "GET /audiences")


async def simulate(pace: Pace, draw: Draw, customers: int) -> tuple[Generation, Generation]:
    """What the first generation cost, and the later ones together."""
    rng, clock = random.Random(0), asyncio.get_running_loop().time
    first, later = Generation(), Generation()
    server = FakeAudienceApi(fault=refuse_everything)
    async with AsyncExitStack() as resources:
        poller = Poller(server, resources, pace=pace, jitter=rng.random)

        async def wait(customer: str, audience: str, generation: Generation) -> None:
            started_at, length = clock(), draw(rng)
            server.add(customer, audience, active_from(started_at + length * INTERVAL, audience))
            await poller.wait_until(audience, customer, active_or_none, kind="stage")
            generation.delays.append((length, (clock() - started_at) / INTERVAL - length))

        async def serve(customer: str, generation: Generation) -> None:
            await asyncio.sleep(rng.random() * 10 * INTERVAL)
            started_at = clock()
            async with asyncio.TaskGroup() as group:
                for number in range(WAITS_OF_A_CUSTOMER):
                    group.create_task(wait(customer, f"{customer}, {number}", generation))
            generation.customer_rounds += (clock() - started_at) / INTERVAL

        for turn in range(GENERATIONS):
            generation = Generation()
            before = len(server.log)
            async with asyncio.TaskGroup() as group:
                for number in range(customers):
                    group.create_task(serve(f"customer {number}", generation))
            generation.requests = len(server.log) - before
            (later if turn else first).add(generation)
            server.clear()
    return first, later


def simulations(customers: int) -> list[Figure]:
    figures: list[Figure] = []
    youngest: dict[str, float] = {}
    for lengths, draw in LENGTHS.items():
        runs = {name: run_in_virtual_time(simulate(pace(INTERVAL), draw, customers)) for name, pace in PACES.items()}
        first, later = runs["ours"]
        if later.young_delay is not None:
            youngest[lengths] = later.young_delay
        figures.append(
            Figure(
                measure=f"requests per round of 1,000 customers, waits of {lengths} (simulated)",
                value=later.requests_per_round,
                notes=first.notes("ours, nothing known")
                | {key: note for name, (_, known) in runs.items() for key, note in known.notes(name).items()},
            )
        )
    figures.append(
        Figure(
            measure="mean delay of waits shorter than ten intervals, in intervals, worst kind of wait (simulated)",
            value=max(youngest.values()),
            at_most=0.6,
            notes=dict(youngest),
        )
    )
    return figures


def is_ready(audience: Audience) -> Audience | None:
    upload = audience.uploaded_audience_csv
    return audience if upload is not None and upload.status == "READY_FOR_COLUMN_SELECTION" else None


async def run_generation(client: IndigoClient, customers: int, length: float) -> Generation:
    """Ten uploads for each customer, one after another; ten waits that start together after a quarter of the time."""
    generation, interval, clock = Generation(), client.poll_interval, asyncio.get_running_loop().time
    rng, poller = random.Random(0), get_poller(client)
    before = sum(poller.stats.requests.values())

    async def upload(customer: str) -> tuple[RecordId, float]:
        await asyncio.sleep(rng.random() * length / 4 * interval)
        stub = await client.upload_csv(customer_id=customer, url="https://files.example.org/people.csv")
        return stub.id, clock()

    async def wait(customer: str, audience_id: RecordId, uploaded_at: float) -> None:
        started_at, done_at = clock(), uploaded_at + length * interval
        await poller.wait_until(audience_id, customer, is_ready, part=RecordPart.UPLOAD, kind="upload")
        generation.delays.append(((done_at - started_at) / interval, (clock() - done_at) / interval))

    async def serve(customer: str) -> None:
        uploads = await asyncio.gather(*(upload(customer) for _ in range(WAITS_OF_A_CUSTOMER)))
        started_at = clock()
        await asyncio.gather(*(wait(customer, *uploaded) for uploaded in uploads))
        generation.customer_rounds += (clock() - started_at) / interval

    async with asyncio.TaskGroup() as group:
        for number in range(customers):
            group.create_task(serve(f"customer {number}"))
    generation.requests = sum(poller.stats.requests.values()) - before
    return generation


async def over_sockets(sandbox: ControlledSandbox, customers: int, interval: float, length: float) -> Figure:
    async with IndigoClient(sandbox.token, base_url=sandbox.base_url, poll_interval=interval) as client:
        first = await run_generation(client, customers, length)
        last = await run_generation(client, customers, length)
    return Figure(
        measure=f"requests per round of 1,000 customers, waits of {length * 3 / 4:g} to {length:g} intervals",
        value=last.requests_per_round,
        at_most=250,
        notes={"customers": float(customers)} | last.notes("ours") | first.notes("ours, nothing known"),
    )


def measure(*, quick: bool) -> list[Figure]:
    customers, interval, length = (30, 0.25, 40.0) if quick else (1_000, INTERVAL, 60.0)
    speed = StageTimes().upload / (length * interval)
    with controlled_sandbox(speed=speed, lists_everything=False) as sandbox:
        figure = asyncio.run(over_sockets(sandbox, customers, interval, length))
    return [figure, *simulations(5 if quick else 50)]
