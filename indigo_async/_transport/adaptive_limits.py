"""How much a server bears, learned from its answers: pure state under a clock that is handed in.

Two limits, since neither does the other's work. `ConcurrencyLimit` bounds the requests under way, which protects a
server that slows down. `RateLimit` bounds the requests a second, which settles under a limit such as 50 a second, where
one request after another, 5 ms each, would already be four times too many.
"""

from __future__ import annotations

import attrs

from indigo_async._transport.sporadic_refusals import SporadicRefusals

__all__ = ["ConcurrencyLimit", "RateLimit"]

_INITIAL_CONCURRENCY = 8
# Steeper, a limit with a burst would be met by as many requests as the burst had let pass.
_INITIAL_GROWTH = 0.25
_REFUSAL_FACTOR = 0.7
_SLOWDOWN_FACTOR = 0.7
# Below this a slow server is not helped: fewer connections would only idle.
_MIN_WHEN_SLOW = 4
_RECENT_SAMPLES = 10
_SAMPLES_TO_FORGET = 5_000
_MIN_SAMPLES = 20
_RISE_FACTOR = 2.0
# A rise that people would not notice is noise, of this process's own load above all.
_MIN_RISE_SECONDS = 0.1


@attrs.define
class _LatencyTracker:
    """Seconds that like requests take: of late, and at best.

    The best gives way to what is usual, slowly, so that a lasting change becomes the new best.
    """

    recent: float
    best: float
    samples: int = 1

    def record(self, seconds: float) -> bool:
        """Take a sample. Returns whether they rise."""
        self.samples += 1
        self.recent += (seconds - self.recent) / min(self.samples, _RECENT_SAMPLES)
        rise = self.recent - self.best
        if rise <= 0:
            self.best = self.recent
            return False
        self.best += rise / _SAMPLES_TO_FORGET
        return rise > _MIN_RISE_SECONDS and self.samples >= _MIN_SAMPLES and self.recent > _RISE_FACTOR * self.best


@attrs.define
class ConcurrencyLimit:
    """How many requests may be under way: more with each good answer, fewer on a refusal or when answers slow down.

    It grows by a quarter in each round trip until it first shrinks, then by one in each. It shrinks at most once for
    the requests of one round trip: what was sent before the last cut says nothing about the limit since.
    """

    ceiling: int
    current: float = attrs.field(
        default=attrs.Factory(lambda self: min(self.ceiling, _INITIAL_CONCURRENCY), takes_self=True), init=False
    )
    _has_shrunk: bool = attrs.field(default=False, init=False)
    _last_cut_at: float = attrs.field(default=float("-inf"), init=False)
    _latencies: dict[str, _LatencyTracker] = attrs.field(factory=dict[str, _LatencyTracker], init=False)

    def record_accepted(self, *, started: float, now: float, in_flight: int, latency_group: str | None) -> None:
        """Learn from a good answer to a request sent at `started`, of `in_flight` that there were with it.

        `latency_group` names the requests whose latencies compare; None when this one compares with no other.
        """
        if latency_group is not None and self._is_slowing(latency_group, now - started):
            self._shrink(_SLOWDOWN_FACTOR, _MIN_WHEN_SLOW, started, now)
        elif self.current < self.ceiling and 2 * in_flight >= self.current:
            grown = self.current + (1 / self.current if self._has_shrunk else _INITIAL_GROWTH)
            self.current = min(float(self.ceiling), grown)

    def record_overload(self, *, started: float, now: float) -> None:
        """Learn from a refusal (429), or from an answer that never came in time."""
        self._shrink(_REFUSAL_FACTOR, 1, started, now)

    def _is_slowing(self, latency_group: str, seconds: float) -> bool:
        latency = self._latencies.get(latency_group)
        if latency is None:
            self._latencies[latency_group] = _LatencyTracker(seconds, seconds)
            return False
        return latency.record(seconds)

    def _shrink(self, factor: float, minimum: int, started: float, now: float) -> None:
        if started > self._last_cut_at and self.current > minimum:
            self.current = max(float(minimum), self.current * factor)
            self._has_shrunk = True
            self._last_cut_at = now


# Of the rate that was borne when a request was refused: what is aimed at, and how far below that is begun again.
_TARGET_FRACTION = 0.98
_CUT_FRACTION = 0.1
# Seconds of sending at the limit: until the rate doubles after the first refusal, and until it is back at the aim after
# a later one. Chosen by simulating token buckets (bursts of 2 requests to 5 seconds' worth) and fixed windows, 50 to
# 2,000 requests a second: over 200 s, 0.84 to 1.02 of the limit is used and under 0.25% of the requests are refused.
_DOUBLING_SECONDS = 3.0
_RECOVERY_SECONDS = 15.0
# Requests a second. A client that was quiet when it was first refused has borne nothing, which says nothing.
_MIN_FIRST_TARGET = 10.0
# A rate that was not used leaves this many seconds' worth for later; more would be a burst.
_SLACK_SECONDS = 0.02
_WINDOW_SECONDS = 1.0


@attrs.define
class _SlidingCount:
    """How many there were in the last second: the current second's, and what part of the last one's is in reach."""

    _window_start: float = float("-inf")
    _current: int = 0
    _previous: int = 0

    def add(self, now: float) -> None:
        if now - self._window_start >= _WINDOW_SECONDS:
            self._roll(now)
        self._current += 1

    def count_at(self, now: float) -> float:
        self._roll(now)
        past = (now - self._window_start) / _WINDOW_SECONDS
        return self._current + self._previous * min(1.0, max(0.0, 1 - past))

    def skip_pause(self, seconds: float) -> None:
        self._window_start += seconds

    def _roll(self, now: float) -> None:
        past = now - self._window_start
        if past >= 2 * _WINDOW_SECONDS:
            self._window_start, self._previous, self._current = now, 0, 0
        elif past >= _WINDOW_SECONDS:
            self._window_start, self._previous, self._current = self._window_start + _WINDOW_SECONDS, self._current, 0


@attrs.define
class RateLimit:
    """How many requests may leave in a second: any number until the first refusal, then a rate learned from refusals.

    The first refusal may have been met by a burst and says little, so the rate doubles from there until the next one.
    After each further one it starts a little below what the server bore, and comes back along a cubic, as TCP does:
    fast at first, flat where the limit is thought to be, then ever faster, in case it is not there any more. Only
    sending at the limit moves the rate along: an unused one proves nothing. `ceiling` (requests a second) is never
    exceeded. Refusals that have nothing to do with the rate are passed over; see `Chance`.
    """

    ceiling: float | None = None
    _target: float | None = attrs.field(default=None, init=False)
    _is_first_target: bool = attrs.field(default=True, init=False)
    _seconds_at_limit: float = attrs.field(default=0.0, init=False)
    _last_cut_at: float = attrs.field(default=float("-inf"), init=False)
    ready_at: float = attrs.field(default=float("-inf"), init=False)
    """When the next request may leave; often long past."""
    _accepted: _SlidingCount = attrs.field(factory=_SlidingCount, init=False)
    _sporadic_refusals: SporadicRefusals = attrs.field(factory=SporadicRefusals, init=False)

    @property
    def rate(self) -> float | None:
        """Requests a second; None while there is no limit."""
        if self._target is None:
            return self.ceiling
        if self._is_first_target:
            learned = self._target * 2 ** (self._seconds_at_limit / _DOUBLING_SECONDS)
        else:
            learned = self._target * (1 + _CUT_FRACTION * (self._seconds_at_limit / _RECOVERY_SECONDS - 1) ** 3)
        return learned if self.ceiling is None else min(learned, self.ceiling)

    def consume(self, now: float) -> None:
        """Let a request leave."""
        rate = self.rate
        if rate is None:
            return
        if self.ready_at > now - _SLACK_SECONDS:
            self._seconds_at_limit += 1 / rate
        self.ready_at = max(self.ready_at, now - _SLACK_SECONDS) + 1 / rate

    def record_accepted(self, now: float) -> None:
        """Count a request that the server did not refuse."""
        self._accepted.add(now)
        self._sporadic_refusals.record_response(now, self.rate, refused=False)

    def record_rate_limited(self, *, started: float, now: float, is_certain: bool) -> bool:
        """Learn from a refusal (429) of a request sent at `started`. Returns whether a limit seems to be met.

        It certainly is where the server says when there will be room again.
        """
        if started <= self._last_cut_at:
            return True
        rate = self.rate
        self._sporadic_refusals.record_response(now, rate, refused=True)
        if not is_certain and self._sporadic_refusals.is_unrelated_to_rate(rate):
            return False
        self._sporadic_refusals.reset_counts()
        least = _MIN_FIRST_TARGET if self._target is None else 1.0
        borne = max(least, self._accepted.count_at(now))
        if self._target is not None and rate is not None:
            borne = min(max(borne, rate / 2), rate)
        self._is_first_target = self._target is None
        self._target = borne * _TARGET_FRACTION
        self._seconds_at_limit = 0.0
        self._last_cut_at = now
        self.ready_at = now + 1 / self._target
        return True

    def skip_pause(self, seconds: float) -> None:
        """Leave out a pause, in which the server bore nothing because it was sent nothing."""
        self.ready_at += seconds
        self._accepted.skip_pause(seconds)
        self._sporadic_refusals.skip_pause(seconds)
