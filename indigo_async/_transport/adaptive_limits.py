"""The load that a server accepts, learned from its responses. Pure: the current time is passed in.

There are two limits because neither does the other's work. `ConcurrencyLimit` bounds the requests in flight, which
protects a server that slows down. `RateLimit` bounds the requests per second: at 5 ms each, even one request after
another makes 200 a second, four times what a limit of 50 allows.
"""

from __future__ import annotations

import attrs

__all__ = ["ConcurrencyLimit", "RateLimit"]

_INITIAL_CONCURRENCY = 8
# Growing faster would fill a limit's whole burst and then run into the limit with as many requests at once.
_INITIAL_GROWTH = 0.25
_RATE_LIMITED_FACTOR = 0.7
_SLOWDOWN_FACTOR = 0.7
# Fewer requests than this don't help a slow server.
_MIN_WHEN_SLOW = 4
_RECENT_SAMPLES = 10
_SAMPLES_TO_FORGET = 5_000
_MIN_SAMPLES = 20
_RISE_FACTOR = 2.0
# Smaller rises are noise, mostly from the load of this process.
_MIN_RISE_SECONDS = 0.1


@attrs.define
class _LatencyTracker:
    """The recent and the best latency (seconds) of one group of requests.

    The best slowly approaches the recent one, so a permanent change becomes the new best.
    """

    recent: float
    best: float
    samples: int = 1

    def record(self, seconds: float) -> bool:
        """Add a sample. Returns whether latency is rising."""
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
    """How many requests may be in flight: grows with each success, shrinks on 429, timeouts and rising latency.

    Until it first shrinks it grows by a quarter per round trip, then by one. Of the requests in flight at the same time
    only the first failure shrinks it: the others were sent under the old limit and say nothing about the new one.
    """

    ceiling: int
    current: float = attrs.field(
        default=attrs.Factory(lambda self: min(self.ceiling, _INITIAL_CONCURRENCY), takes_self=True), init=False
    )
    _has_shrunk: bool = attrs.field(default=False, init=False)
    _last_cut_at: float = attrs.field(default=float("-inf"), init=False)
    _latencies: dict[str, _LatencyTracker] = attrs.field(factory=dict[str, _LatencyTracker], init=False)

    def record_accepted(self, *, started: float, now: float, in_flight: int, latency_group: str | None) -> None:
        """Learn from an accepted request that was sent at `started`; `in_flight` includes it.

        `latency_group` names requests with comparable latencies; None if this one compares with no other.
        """
        if latency_group is not None and self._is_slowing(latency_group, now - started):
            self._shrink(_SLOWDOWN_FACTOR, _MIN_WHEN_SLOW, started, now)
        elif self.current < self.ceiling and 2 * in_flight >= self.current:
            grown = self.current + (1 / self.current if self._has_shrunk else _INITIAL_GROWTH)
            self.current = min(float(self.ceiling), grown)

    def record_overload(self, *, started: float, now: float) -> None:
        """Learn from a 429 or a timeout."""
        self._shrink(_RATE_LIMITED_FACTOR, 1, started, now)

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


# The target rate after a 429, as a part of the accepted rate, and how far below the target sending resumes.
_TARGET_FRACTION = 0.98
_CUT_FRACTION = 0.1
# Seconds of sending at the limit until the rate doubles (after the first 429) or reaches the target (after later ones).
# Chosen by simulating token buckets (bursts of 2 requests to 5 seconds' worth) and fixed windows, 50 to 2,000 requests
# a second: over 200 s, 0.84 to 1.02 of the limit is used and under 0.25% of the requests get a 429.
_DOUBLING_SECONDS = 3.0
_RECOVERY_SECONDS = 15.0
# Requests per second. If the client was quiet before its first 429, its accepted rate says nothing.
_MIN_FIRST_TARGET = 10.0
# An unused rate allows a burst of this many seconds' worth.
_SLACK_SECONDS = 0.02
_WINDOW_SECONDS = 1.0


@attrs.define
class _SlidingCount:
    """Counts events in the last second, approximated from the current and the previous window."""

    _window_start: float = attrs.field(default=float("-inf"), init=False)
    _current: int = attrs.field(default=0, init=False)
    _previous: int = attrs.field(default=0, init=False)

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


# Shares of recent responses: so few 429s are ignored at any rate, and more than the second are never sporadic.
_RARE_SHARE = 0.015
_FREQUENT_SHARE = 0.05
_RECENT_RESPONSES = 100
# At this part of the rate it accepted for so many seconds, a limit sends no 429s, whatever burst it allows.
_FAR_BELOW_FACTOR = 0.6
_SUSTAINED_WINDOW_SECONDS = 10.0
# So many times the expected number of 429s indicate a limit.
_UNEXPECTED_FACTOR = 3.0
_MIN_RESPONSES = 50
_MAX_SAMPLES = 5_000


@attrs.define
class _SporadicRefusals:
    """The share of 429s unrelated to our rate, measured at rates far below the sustained one.

    One overloaded server of many responds to some requests with 429 at any rate. If each counted as a rate limit, a few
    per thousand would slow the client down without end, since a rate takes many requests to recover.

    Simulated with `RateLimit` under token buckets and windows of 50 to 1,000 requests a second: without sporadic 429s
    nothing changes; with 0.2% and 0.8% of them, a client that had fallen to a fiftieth of the limit uses most of it.
    """

    _sustained_rate: float = attrs.field(default=0.0, init=False)
    _window_start: float | None = attrs.field(default=None, init=False)
    _accepted: int = attrs.field(default=0, init=False)
    _sporadic_share: float = attrs.field(default=0.0, init=False)
    _sporadic_samples: int = attrs.field(default=0, init=False)
    _overall_share: float = attrs.field(default=0.0, init=False)
    _recent_share: float = attrs.field(default=0.0, init=False)
    _responses: int = attrs.field(default=0, init=False)
    _refusals: int = attrs.field(default=0, init=False)

    def record_response(self, now: float, rate: float | None, *, refused: bool) -> None:
        """Count a response received at `now`, while `rate` requests per second were allowed; `refused` means 429."""
        self._responses += 1
        self._refusals += refused
        self._recent_share += (refused - self._recent_share) / _RECENT_RESPONSES
        self._overall_share += (refused - self._overall_share) / _MAX_SAMPLES
        if rate is not None and self._is_far_below_sustained(rate):
            self._sporadic_samples = min(self._sporadic_samples + 1, _MAX_SAMPLES)
            self._sporadic_share += (refused - self._sporadic_share) / self._sporadic_samples
        if self._window_start is None or now - self._window_start >= _SUSTAINED_WINDOW_SECONDS:
            self._update_sustained_rate(now)
        self._accepted += not refused

    def is_unrelated_to_rate(self, rate: float | None) -> bool:
        """Return whether any rate would have as many 429s as there were recently at this rate."""
        if self._recent_share <= _RARE_SHARE:
            return True
        if self._recent_share > _FREQUENT_SHARE:
            return False
        expected = min(self._sporadic_share, self._overall_share) * (self._responses + _MIN_RESPONSES)
        is_below_limit = rate is not None and self._is_far_below_sustained(rate)
        return is_below_limit or self._refusals <= _UNEXPECTED_FACTOR * expected

    def reset_counts(self) -> None:
        """Start counting again. After many 429s the sustained rate is forgotten too: the limit may be lower now."""
        self._responses = self._refusals = 0
        if self._recent_share > _FREQUENT_SHARE:
            self._sustained_rate, self._window_start = 0.0, None

    def skip_pause(self, seconds: float) -> None:
        if self._window_start is not None:
            self._window_start += seconds

    def _update_sustained_rate(self, now: float) -> None:
        if self._window_start is not None:
            self._sustained_rate = max(self._sustained_rate, self._accepted / (now - self._window_start))
        self._window_start, self._accepted = now, 0

    def _is_far_below_sustained(self, rate: float) -> bool:
        return rate <= _FAR_BELOW_FACTOR * self._sustained_rate


@attrs.define
class RateLimit:
    """How many requests may be sent per second: unlimited until the first 429, then a rate learned from 429s.

    The first 429 may follow a burst and says little, so the rate doubles from there until the next one. After each
    later 429 it restarts 12% below the accepted rate, then recovers on a CUBIC curve, as in TCP: fast at first, flat
    near the suspected limit, then faster again in case that limit is gone. The rate only rises while it is fully used.
    It never exceeds `ceiling` (requests per second). Sporadic 429s are ignored, see `_SporadicRefusals`.
    """

    ceiling: float | None = None
    _target: float | None = attrs.field(default=None, init=False)
    _is_first_target: bool = attrs.field(default=True, init=False)
    _seconds_at_limit: float = attrs.field(default=0.0, init=False)
    _last_cut_at: float = attrs.field(default=float("-inf"), init=False)
    ready_at: float = attrs.field(default=float("-inf"), init=False)
    """When the next request may be sent; usually in the past."""
    _accepted: _SlidingCount = attrs.field(factory=_SlidingCount, init=False)
    _sporadic_refusals: _SporadicRefusals = attrs.field(factory=_SporadicRefusals, init=False)

    @property
    def rate(self) -> float | None:
        """Requests per second; None if unlimited."""
        if self._target is None:
            return self.ceiling
        if self._is_first_target:
            learned = self._target * 2 ** (self._seconds_at_limit / _DOUBLING_SECONDS)
        else:
            learned = self._target * (1 + _CUT_FRACTION * (self._seconds_at_limit / _RECOVERY_SECONDS - 1) ** 3)
        return learned if self.ceiling is None else min(learned, self.ceiling)

    def consume(self, now: float) -> None:
        """Account for a request that is sent now."""
        rate = self.rate
        if rate is None:
            return
        if self.ready_at > now - _SLACK_SECONDS:
            self._seconds_at_limit += 1 / rate
        self.ready_at = max(self.ready_at, now - _SLACK_SECONDS) + 1 / rate

    def record_accepted(self, now: float) -> None:
        """Count a response other than 429."""
        self._accepted.add(now)
        self._sporadic_refusals.record_response(now, self.rate, refused=False)

    def record_rate_limited(self, *, started: float, now: float, is_certain: bool) -> bool:
        """Learn from a 429 to a request sent at `started`. Returns whether it seems to be caused by our rate.

        `is_certain` means that it is, because the server said how long to wait.
        """
        if started <= self._last_cut_at:
            return True
        rate = self.rate
        self._sporadic_refusals.record_response(now, rate, refused=True)
        if not is_certain and self._sporadic_refusals.is_unrelated_to_rate(rate):
            return False
        self._sporadic_refusals.reset_counts()
        minimum = _MIN_FIRST_TARGET if self._target is None else 1.0
        accepted_rate = max(minimum, self._accepted.count_at(now))
        if self._target is not None and rate is not None:
            accepted_rate = min(max(accepted_rate, rate / 2), rate)
        self._is_first_target = self._target is None
        self._target = accepted_rate * _TARGET_FRACTION
        self._seconds_at_limit = 0.0
        self._last_cut_at = now
        self.ready_at = now + 1 / self._target
        return True

    def skip_pause(self, seconds: float) -> None:
        """Exclude a pause from all measurements: nothing was accepted because nothing was sent."""
        self.ready_at += seconds
        self._accepted.skip_pause(seconds)
        self._sporadic_refusals.skip_pause(seconds)
