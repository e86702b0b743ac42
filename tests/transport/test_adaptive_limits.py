"""The limits alone, against model servers in virtual time and under any sequence of events."""

from __future__ import annotations

import heapq
import itertools
import math
import random

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from indigo_async._transport.adaptive_limits import ConcurrencyLimit, RateLimit

LATENCY = 0.005


@attrs.define
class TokenBucket:
    rate: float
    burst: float
    says_when: bool = True
    tokens: float = attrs.field(init=False)
    filled_at: float = 0.0

    def __attrs_post_init__(self):
        self.tokens = self.burst

    def refuses(self, now):
        """The seconds to wait when it refuses, else None."""
        self.tokens = min(self.burst, self.tokens + (now - self.filled_at) * self.rate)
        self.filled_at = now
        if self.tokens < 1:
            return math.ceil((1 - self.tokens) / self.rate) if self.says_when else 0
        self.tokens -= 1
        return None


@attrs.define
class FixedWindow:
    rate: float
    window: int = -1
    passed: int = 0

    def refuses(self, now):
        if int(now) != self.window:
            self.window, self.passed = int(now), 0
        if self.passed >= self.rate:
            return self.window + 1 - now
        self.passed += 1
        return None


def saturate(server, seconds):
    """Ask a server as fast as the limits allow. Returns how many it answered and how many it refused."""
    concurrency, rate = ConcurrencyLimit(64), RateLimit()
    now = held_until = 0.0
    answered = refused = 0
    flights = []
    numbers = itertools.count()
    while now < seconds:
        while len(flights) + 1 <= concurrency.current and now >= max(held_until, rate.ready_at):
            rate.consume(now)
            heapq.heappush(flights, (now + LATENCY, next(numbers), now, server.refuses(now + LATENCY / 2)))
        events = [flights[0][0]] if flights else []
        if len(flights) + 1 <= concurrency.current:
            events.append(max(held_until, rate.ready_at))
        now = max(now, min(events))
        while flights and flights[0][0] <= now:
            _, _, started, wait = heapq.heappop(flights)
            if wait is None:
                answered += 1
                concurrency.record_accepted(started=started, now=now, in_flight=len(flights) + 1, latency_group="look")
                rate.record_accepted(now)
            else:
                refused += 1
                if rate.record_rate_limited(started=started, now=now, is_certain=wait > 0):
                    concurrency.record_overload(started=started, now=now)
                if now + wait > held_until:
                    rate.skip_pause(now + wait - max(held_until, now))
                    held_until = now + wait
    return answered, refused


@pytest.mark.parametrize(
    ("server", "least_used", "most_refused"),
    [
        (TokenBucket(200, burst=200), 0.95, 0.01),
        (TokenBucket(50, burst=50), 0.95, 0.01),
        (TokenBucket(200, burst=200, says_when=False), 0.95, 0.01),
        (TokenBucket(50, burst=5, says_when=False), 0.85, 0.01),
        (TokenBucket(200, burst=10), 0.75, 0.01),
        (FixedWindow(200), 0.85, 0.01),
        (FixedWindow(50), 0.85, 0.01),
    ],
    ids=str,
)
def test_a_saturated_limit_is_nearly_used_and_rarely_overrun(server, least_used, most_refused):
    seconds = 60
    answered, refused = saturate(server, seconds)
    assert answered / (server.rate * seconds) >= least_used
    assert refused / (answered + refused) <= most_refused


@attrs.define
class Unreliable:
    """Some requests are refused whatever their rate, by a proxy that says nothing about when to come again."""

    server: TokenBucket
    share: float
    chance: random.Random = attrs.field(factory=lambda: random.Random(7), repr=False)

    @property
    def rate(self):
        return self.server.rate

    def refuses(self, now):
        wait = self.server.refuses(now)
        return 0 if wait is None and self.chance.random() < self.share else wait


@pytest.mark.parametrize(
    ("server", "seconds", "least_used"),
    [
        (Unreliable(TokenBucket(50, burst=50), 0.002), 120, 0.9),
        (Unreliable(TokenBucket(50, burst=50), 0.008), 240, 0.6),
        (Unreliable(TokenBucket(200, burst=200), 0.002), 120, 0.7),
        (Unreliable(TokenBucket(200, burst=200, says_when=False), 0.002), 120, 0.7),
        (Unreliable(TokenBucket(200, burst=200), 0.008), 240, 0.5),
        (Unreliable(TokenBucket(100_000, burst=100_000), 0.002), 60, 0.005),
        (Unreliable(TokenBucket(100_000, burst=100_000), 0.008), 120, 0.002),
    ],
    ids=str,
)
def test_refusals_that_have_nothing_to_do_with_the_rate_do_not_slow_the_client_down(server, seconds, least_used):
    answered, refused = saturate(server, seconds)
    print(f"used {answered / (server.rate * seconds):.3f}, refused {refused / (answered + refused):.4f}")
    assert answered / (server.rate * seconds) >= least_used
    assert refused / (answered + refused) <= server.share + 0.015


@attrs.define
class FallenLimit:
    """A fifth of the rate from a moment on."""

    bucket: TokenBucket
    fallen_at: float

    def refuses(self, now):
        if now > self.fallen_at:
            self.bucket.rate = self.bucket.burst = 40
        return self.bucket.refuses(now)


@pytest.mark.parametrize("says_when", [True, False])
def test_a_fallen_limit_is_not_taken_for_chance(says_when):
    before, after = 60, 120
    answered, refused = saturate(FallenLimit(TokenBucket(200, burst=200, says_when=says_when), before), before + after)
    assert refused <= 0.02 * answered
    assert answered >= 0.9 * (200 * before + 40 * after)


@attrs.define
class LiftedLimit:
    """Ten times the rate from a moment on."""

    bucket: TokenBucket
    lifted_at: float

    def refuses(self, now):
        if now > self.lifted_at:
            self.bucket.rate = self.bucket.burst = 200
        return self.bucket.refuses(now)


def test_the_rate_comes_back_when_the_limit_is_lifted():
    before, after = 60, 120
    answered, _ = saturate(LiftedLimit(TokenBucket(20, burst=20), lifted_at=before), before + after)
    assert answered > 20 * before + 0.5 * 200 * after


def test_there_is_no_rate_before_the_first_refusal():
    limit = RateLimit()
    for step in range(1_000):
        limit.consume(step / 1e6)
        limit.record_accepted(step / 1e6)
    assert limit.rate is None
    assert limit.ready_at == float("-inf")


def test_refusals_of_one_round_trip_count_once():
    limit = RateLimit()
    for _ in range(100):
        limit.record_accepted(10.0)
    limit.record_rate_limited(started=9.99, now=10.0, is_certain=True)
    first = limit.rate
    limit.record_rate_limited(started=9.995, now=10.001, is_certain=True)
    assert limit.rate == first
    limit.record_rate_limited(started=10.5, now=10.6, is_certain=True)
    assert limit.rate < first

    concurrency = ConcurrencyLimit(64)
    before = concurrency.current
    concurrency.record_overload(started=9.99, now=10.0)
    after = concurrency.current
    concurrency.record_overload(started=9.995, now=10.001)
    assert after < before
    assert concurrency.current == after


def test_an_unused_rate_does_not_grow():
    limit = RateLimit()
    for _ in range(50):
        limit.record_accepted(1.0)
    limit.record_rate_limited(started=0.9, now=1.0, is_certain=True)
    rate = limit.rate
    for second in range(2, 600):
        limit.consume(float(second))
        limit.record_accepted(float(second))
    assert limit.rate == pytest.approx(rate)


def test_concurrency_grows_to_its_ceiling_while_it_is_used():
    limit = ConcurrencyLimit(64)
    for step in range(1_000):
        limit.record_accepted(started=float(step), now=step + 0.05, in_flight=int(limit.current), latency_group="look")
    assert limit.current == 64


def test_concurrency_does_not_grow_while_it_is_not_used():
    limit = ConcurrencyLimit(64)
    first = limit.current
    for step in range(1_000):
        limit.record_accepted(started=float(step), now=step + 0.05, in_flight=1, latency_group="look")
    assert limit.current == first


def settle(seconds_of, rounds, seed=1):
    """The limit's course against a server that takes `seconds_of` so many requests at once, give or take."""
    chance = random.Random(seed)
    limit = ConcurrencyLimit(64)
    now = 0.0
    course = []
    for _ in range(rounds):
        at_once = int(limit.current)
        started = now
        for answered in sorted(started + seconds_of(at_once) * chance.uniform(0.8, 1.3) for _ in range(at_once)):
            limit.record_accepted(started=started, now=answered, in_flight=at_once, latency_group="look")
            now = answered + 1e-6
        course.append(limit.current)
    return course


def test_a_server_that_slows_down_with_load_is_spared():
    """Above 10 at once, each further request delays all by 50 ms."""
    course = settle(lambda at_once: 0.05 + 0.05 * max(0, at_once - 10), rounds=1_000)
    assert max(course) < 20
    assert min(course) >= 4


def test_a_distant_server_is_not_taken_for_a_slow_one():
    assert min(settle(lambda _: 0.8, rounds=200)[-100:]) == 64


def test_slow_answers_that_compare_with_no_other_change_nothing():
    limit = ConcurrencyLimit(64)
    for step in range(100):
        limit.record_accepted(started=float(step), now=step + 0.05, in_flight=64, latency_group="look")
    before = limit.current
    for step in range(100, 200):
        limit.record_accepted(started=float(step), now=step + 30.0, in_flight=64, latency_group=None)
    assert limit.current >= before


def test_kinds_of_requests_are_compared_with_their_own_kind():
    limit = ConcurrencyLimit(64)
    for step in range(500):
        limit.record_accepted(started=float(step), now=step + 0.02, in_flight=64, latency_group="GET /audience")
        limit.record_accepted(started=float(step), now=step + 3.0, in_flight=64, latency_group="POST /upload_csv")
    assert limit.current == 64


_EVENTS = st.lists(st.tuples(st.sampled_from(["good", "refused"]), st.floats(0, 2), st.floats(0, 5)), max_size=200)


@given(_EVENTS, st.integers(1, 100))
def test_concurrency_stays_between_one_and_its_ceiling(events, ceiling):
    limit = ConcurrencyLimit(ceiling)
    now = 0.0
    for kind, pause, seconds in events:
        now += pause
        if kind == "good":
            limit.record_accepted(started=now - seconds, now=now, in_flight=int(limit.current), latency_group="look")
        else:
            limit.record_overload(started=now - seconds, now=now)
        assert 1 <= limit.current <= ceiling


@given(_EVENTS, st.floats(0.5, 500), st.integers(1, 300))
def test_a_rate_is_kept_whatever_happens(events, ceiling, requests):
    """In no stretch of time do more requests leave than the ceiling allows, but for those of one moment's slack."""
    limit = RateLimit(ceiling)
    now = 0.0
    left = []
    for kind, pause, seconds in itertools.islice(itertools.cycle(events or [("good", 0.0, 0.0)]), requests):
        now = max(now + pause / 100, limit.ready_at)
        limit.consume(now)
        left.append(now)
        if kind == "good":
            limit.record_accepted(now)
        else:
            limit.record_rate_limited(started=now - seconds, now=now, is_certain=True)
        rate = limit.rate
        assert rate is not None
        assert 0 < rate <= ceiling
    for first in range(0, len(left), 7):
        for last in range(first, len(left), 5):
            assert last - first <= ceiling * (left[last] - left[first] + 0.02) + 1 + 1e-6
