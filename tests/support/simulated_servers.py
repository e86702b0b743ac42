"""Servers with rate limits, and clients that send as fast as they can, in virtual time and without sockets."""

from __future__ import annotations

import copy
import heapq
import itertools
import math
import random
from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from typing import Protocol

import attrs

from indigo_async._transport.adaptive_limits import ConcurrencyLimit, RateLimit


class Server(Protocol):
    def respond(self, now: float) -> float | None:
        """Return None to accept a request, or the `Retry-After` of a 429 (0: none)."""
        ...


@attrs.define
class Unlimited:
    def respond(self, _now: float) -> None:
        return None


@attrs.define
class TokenBucket:
    rate: float
    burst: float
    sends_retry_after: bool = False
    tokens: float = attrs.field(init=False, repr=False)
    filled_at: float = attrs.field(default=0.0, repr=False)

    def __attrs_post_init__(self):
        self.tokens = self.burst

    def respond(self, now):
        self.tokens = min(self.burst, self.tokens + (now - self.filled_at) * self.rate)
        self.filled_at = now
        if self.tokens < 1:
            return math.ceil((1 - self.tokens) / self.rate) if self.sends_retry_after else 0
        self.tokens -= 1
        return None


@attrs.define
class FixedWindow:
    rate: float
    sends_retry_after: bool = False
    seconds: float = 1.0
    window: int = attrs.field(default=-1, repr=False)
    accepted: int = attrs.field(default=0, repr=False)

    def respond(self, now):
        window = int(now / self.seconds)
        if window != self.window:
            self.window, self.accepted = window, 0
        if self.accepted >= self.rate * self.seconds:
            return math.ceil((window + 1) * self.seconds - now) if self.sends_retry_after else 0
        self.accepted += 1
        return None


@attrs.define
class SlidingWindow:
    rate: float
    sends_retry_after: bool = False
    accepted: deque[float] = attrs.field(factory=deque, repr=False)

    def respond(self, now):
        while self.accepted and self.accepted[0] <= now - 1:
            self.accepted.popleft()
        if len(self.accepted) >= self.rate:
            return 1 if self.sends_retry_after else 0
        self.accepted.append(now)
        return None


@attrs.define
class MaxInFlight:
    """Refuses requests while `count` others are handled, each for `seconds`."""

    count: int
    seconds: float
    ends: deque[float] = attrs.field(factory=deque, repr=False)

    def respond(self, now):
        while self.ends and self.ends[0] <= now:
            self.ends.popleft()
        if len(self.ends) >= self.count:
            return 0
        self.ends.append(now + self.seconds)
        return None


@attrs.define
class SporadicRefusals:
    """Some requests get a 429 at any rate, from a proxy that sends no `Retry-After`."""

    server: Server
    share: float
    seed: int = 0
    randomness: random.Random = attrs.field(
        default=attrs.Factory(lambda self: random.Random(self.seed), takes_self=True), init=False, repr=False
    )

    def respond(self, now):
        return 0 if self.randomness.random() < self.share else self.server.respond(now)


@attrs.define
class ChangingServer:
    """Becomes another server after `seconds`."""

    first: Server
    second: Server
    seconds: float

    def respond(self, now):
        return (self.first if now < self.seconds else self.second).respond(now)


@attrs.define
class SimulatedClient:
    """Sends a request whenever a caller, a slot and the rate allow it, at most `max_rate` a second (for its CPU)."""

    callers: int
    max_rate: float
    concurrency: ConcurrencyLimit = attrs.field(factory=lambda: ConcurrencyLimit(56))  # the slots of reads
    rate: RateLimit = attrs.field(factory=RateLimit)
    in_flight: int = 0
    paused_until: float = 0.0
    busy_until: float = 0.0
    wakes_at: float = math.inf
    accepted: int = 0
    refused: int = 0

    @property
    def ready_at(self) -> float:
        return max(self.paused_until, self.rate.ready_at, self.busy_until)

    def pause(self, now: float, seconds: float) -> None:
        resumes_at = max(self.paused_until, now)
        if now + seconds > resumes_at:
            self.paused_until = now + seconds
            self.rate.skip_pause(self.paused_until - resumes_at)


@attrs.frozen
class Outcome:
    """The counts of all clients, from `since` on."""

    accepted: int
    refused: int
    seconds: float
    by_client: tuple[int, ...]

    @property
    def throughput(self) -> float:
        return self.accepted / self.seconds

    @property
    def refused_share(self) -> float:
        return self.refused / (self.accepted + self.refused)


@attrs.define
class _Simulation:
    server: Server
    since: float
    latency: float
    randomness: random.Random
    events: list[tuple[float, int, Callable[[float], None]]] = attrs.field(factory=list)
    numbers: Iterator[int] = attrs.field(factory=itertools.count)

    def run(self, seconds: float) -> None:
        while self.events[0][0] < seconds:
            now, _, event = heapq.heappop(self.events)
            event(now)

    def at(self, time: float, event: Callable[[float], None]) -> None:
        heapq.heappush(self.events, (time, next(self.numbers), event))

    def send_what_is_allowed(self, client: SimulatedClient, now: float) -> None:
        while client.callers and client.in_flight + 1 <= client.concurrency.current:
            if now < client.ready_at:
                if client.ready_at < client.wakes_at:
                    client.wakes_at = client.ready_at
                    self.at(client.ready_at, partial(self.wake, client))
                return
            client.rate.consume(now)
            client.busy_until = now + 1 / client.max_rate
            client.callers -= 1
            client.in_flight += 1
            self.at(now + self.half_latency(), partial(self.receive, client, now))

    def wake(self, client: SimulatedClient, now: float) -> None:
        client.wakes_at = math.inf
        self.send_what_is_allowed(client, now)

    def receive(self, client: SimulatedClient, started: float, now: float) -> None:
        wait = self.server.respond(now)
        handle = partial(self.accept, client, started) if wait is None else partial(self.refuse, client, started, wait)
        self.at(now + self.half_latency(), handle)

    def accept(self, client: SimulatedClient, started: float, now: float) -> None:
        client.accepted += now >= self.since
        client.concurrency.record_accepted(started=started, now=now, in_flight=client.in_flight, latency_group="GET")
        client.rate.record_accepted(started=started, now=now)
        client.in_flight -= 1
        self.add_caller(client, now)

    def refuse(self, client: SimulatedClient, started: float, wait: float, now: float) -> None:
        client.refused += now >= self.since
        client.pause(now, client.rate.record_rate_limited(started=started, now=now, is_certain=wait > 0))
        client.pause(now, wait)
        client.in_flight -= 1
        self.at(now + max(wait, self.randomness.uniform(0.25, 0.5)), partial(self.add_caller, client))
        self.send_what_is_allowed(client, now)

    def add_caller(self, client: SimulatedClient, now: float) -> None:
        client.callers += 1
        self.send_what_is_allowed(client, now)

    def half_latency(self) -> float:
        return self.latency * self.randomness.uniform(0.4, 0.65)


def saturate(
    server: Server,
    seconds: float,
    *,
    since: float = 0.0,
    clients: int = 1,
    callers: int = 100,
    latency: float = 0.02,
    max_rate: float = 3_000.0,
    seed: int = 0,
) -> Outcome:
    """Let each caller of each client send one request after another, and after a 429 wait as `RetryPolicy` does.

    The server starts in the state that it is passed in, which does not change.
    """
    simulation = _Simulation(copy.deepcopy(server), since, latency, random.Random(seed))
    everyone = [SimulatedClient(callers, max_rate) for _ in range(clients)]
    for client in everyone:
        simulation.at(0.0, partial(simulation.send_what_is_allowed, client))
    simulation.run(seconds)
    return Outcome(
        sum(client.accepted for client in everyone),
        sum(client.refused for client in everyone),
        seconds - since,
        tuple(client.accepted for client in everyone),
    )
