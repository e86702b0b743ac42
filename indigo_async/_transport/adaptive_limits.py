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
_SHRINK_FACTOR = 0.7
# Fewer requests than this don't help a slow server.
_MIN_WHEN_SLOW = 4
# After timeouts: one slot for writes and one for reads.
_MIN_AFTER_TIMEOUTS = 2
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
    """How many requests may be in flight: grows with each success, shrinks on timeouts and rising latency.

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
            self._shrink(_MIN_WHEN_SLOW, started, now)
        elif self.current < self.ceiling and 2 * in_flight >= self.current:
            grown = self.current + (1 / self.current if self._has_shrunk else _INITIAL_GROWTH)
            self.current = min(float(self.ceiling), grown)

    def record_timeout(self, *, started: float, now: float) -> None:
        """Learn from a request that was sent at `started` and timed out."""
        self._shrink(_MIN_AFTER_TIMEOUTS, started, now)

    def _is_slowing(self, latency_group: str, seconds: float) -> bool:
        latency = self._latencies.get(latency_group)
        if latency is None:
            self._latencies[latency_group] = _LatencyTracker(seconds, seconds)
            return False
        return latency.record(seconds)

    def _shrink(self, minimum: int, started: float, now: float) -> None:
        if started > self._last_cut_at and self.current > minimum:
            self.current = max(float(minimum), self.current * _SHRINK_FACTOR)
            self._has_shrunk = True
            self._last_cut_at = now


# The target after a cut, as a fraction of the accepted rate, and how far below the target sending resumes.
_TARGET_FRACTION = 0.99
_CUT_FRACTION = 0.06
# Seconds of sending at the limit until the rate is back at its target, and until it doubles later.
_RECOVERY_SECONDS = 25.0
_DOUBLING_SECONDS = 3.0
# Requests per second. If the client was quiet before its first 429, its accepted rate says nothing.
_MIN_FIRST_TARGET = 10.0
# An unused rate allows a burst of this many seconds' worth.
_SLACK_SECONDS = 0.02
_WINDOW_SECONDS = 1.0

# This many 429s beyond the tolerated share are not random.
_EVIDENCE = 5
# Random variation may multiply the sporadic share by this factor. Shares above the next constant are never sporadic.
_CHANCE_FACTOR = 4.0
_MAX_SPORADIC_SHARE = 0.07
# A share this small is always tolerated. From the next one on, the accepted rate can't be derived from the share.
_NEGLIGIBLE_SHARE = 0.005
_OVERWHELMING_SHARE = 0.3
# A trial's fraction of the rate, and its duration without 429s, in seconds of sending at the limit.
_TRIAL_FRACTION = 0.8
_TRIAL_SECONDS = 2.0
# Pauses while a quota is used up, in seconds.
_MIN_PAUSE = 0.1
_MAX_PAUSE = 5.0


@attrs.define
class _AcceptedRequests:
    """Counts accepted requests in the last second, approximated from the current and the previous window."""

    _active_since: float = attrs.field(default=float("-inf"), init=False)
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

    def rate_at(self, now: float) -> float:
        """Return the accepted requests per second, even in the first second after an idle period."""
        return self.count_at(now) / min(1.0, max(0.05, now - self._active_since))

    def skip_pause(self, seconds: float) -> None:
        self._active_since += seconds
        self._window_start += seconds

    def _roll(self, now: float) -> None:
        past = now - self._window_start
        if past >= 2 * _WINDOW_SECONDS:
            self._active_since, self._window_start, self._previous, self._current = now, now, 0, 0
        elif past >= _WINDOW_SECONDS:
            self._window_start, self._previous, self._current = self._window_start + _WINDOW_SECONDS, self._current, 0


@attrs.define
class _Tally:
    """Responses, and how many of them were 429s."""

    responses: int = 0
    refusals: int = 0

    @property
    def share(self) -> float:
        return self.refusals / max(1, self.responses)

    @property
    def is_all_refused(self) -> bool:
        return self.refusals == self.responses

    def add(self, *, refused: bool) -> None:
        self.responses += 1
        self.refusals += refused


@attrs.define
class _Suspicion:
    """The 429s beyond a tolerated share, counted from the 429 that first exceeded it (a CUSUM test)."""

    excess: float = 0.0
    tally: _Tally = attrs.field(factory=_Tally)

    def add(self, *, refused: bool, tolerated_share: float) -> None:
        if self.excess <= 0 and not refused:
            return
        self.tally.add(refused=refused)
        self.excess += refused - tolerated_share
        if self.excess <= 0:
            self.excess, self.tally = 0.0, _Tally()


@attrs.define
class _Trial:
    """The time after a cut, which shows whether the cut prevents 429s. If it doesn't, the old rate is restored."""

    share_before: float
    target_before: float | None
    seconds_at_limit_before: float
    ends_at: float = 0.0
    tally: _Tally = attrs.field(factory=_Tally)


@attrs.define
class RateLimit:
    """How many requests may be sent per second: unlimited until there are 429s, then a rate learned from them.

    A rate limit refuses everything above its rate and nothing below it. An overloaded server behind a load balancer
    refuses a share of the requests at any rate. Slowing down shows which case this is, so each cut is a trial:

    1. More than five 429s beyond the tolerated share cut the rate to 7% below what was accepted, but at most by half.
       For two seconds it is another 20% lower: the trial.
    2. If some requests of the trial are refused, but not many, that share is sporadic. Four times as much is tolerated
       from now on. If that explains the 429s before the cut, the cut is undone.
    3. Otherwise, there is a limit. The rate recovers on a CUBIC curve, as in TCP: fast at first, flat near the
       suspected limit, then doubling in case that limit is gone. It only rises while it is fully used.
    4. If everything in the trial is refused, a quota is used up until its next window. Sending pauses, longer each
       time.

    The first cut may follow a burst and says little, so the rate then doubles. A 429 with `Retry-After` cuts the
    rate at once and needs no trial. The rate never exceeds `ceiling` (requests per second).
    """

    ceiling: float | None = None
    _target: float | None = attrs.field(default=None, init=False)
    _seconds_at_limit: float = attrs.field(default=0.0, init=False)
    _last_cut_at: float = attrs.field(default=float("-inf"), init=False)
    ready_at: float = attrs.field(default=float("-inf"), init=False)
    """When the next request may be sent; usually in the past."""
    _accepted: _AcceptedRequests = attrs.field(factory=_AcceptedRequests, init=False)
    _suspicion: _Suspicion = attrs.field(factory=_Suspicion, init=False)
    _trial: _Trial | None = attrs.field(default=None, init=False)
    _sporadic_share: float = attrs.field(default=0.0, init=False)
    _next_pause: float = attrs.field(default=_MIN_PAUSE, init=False)

    @property
    def rate(self) -> float | None:
        """Requests per second; None if unlimited."""
        if self._target is None:
            return self.ceiling
        progress = self._seconds_at_limit / _RECOVERY_SECONDS - 1
        if progress <= 1:
            learned = self._target * (1 + _CUT_FRACTION * progress**3)
        else:
            doublings = (self._seconds_at_limit - 2 * _RECOVERY_SECONDS) / _DOUBLING_SECONDS
            learned = self._target * (1 + _CUT_FRACTION) * 2**doublings
        if self._trial is not None:
            learned *= _TRIAL_FRACTION
        return learned if self.ceiling is None else min(learned, self.ceiling)

    def consume(self, now: float) -> None:
        """Account for a request that is sent now."""
        rate = self.rate
        if rate is None:
            return
        if self.ready_at > now - _SLACK_SECONDS:
            self._seconds_at_limit += 1 / rate
        self.ready_at = max(self.ready_at, now - _SLACK_SECONDS) + 1 / rate

    def record_accepted(self, *, started: float, now: float) -> None:
        """Learn from a response other than 429 to a request sent at `started`."""
        self._accepted.add(now)
        if started > self._last_cut_at:
            self._next_pause = _MIN_PAUSE
            self._count(refused=False)

    def record_rate_limited(self, *, started: float, now: float, is_certain: bool) -> float:
        """Learn from a 429 to a request sent at `started`. Returns the seconds for which nothing should be sent.

        `is_certain`: the server said how long to wait, so there is a limit.
        """
        if started <= self._last_cut_at:  # sent at the old rate
            return 0.0
        self._count(refused=True)
        if is_certain:
            self._cut(now)
            self._trial = None
        elif self._suspicion.excess >= _EVIDENCE:
            if self._trial is not None and self._trial.tally.is_all_refused:
                return self._pause(now, self._trial)
            self._cut(now)
        return 0.0

    def skip_pause(self, seconds: float) -> None:
        """Exclude a pause from all measurements: nothing was accepted because nothing was sent."""
        self.ready_at += seconds
        self._accepted.skip_pause(seconds)

    def _count(self, *, refused: bool) -> None:
        tolerated_share = _CHANCE_FACTOR * self._sporadic_share + _NEGLIGIBLE_SHARE
        if self._trial is not None:
            tolerated_share = _MAX_SPORADIC_SHARE
            self._trial.tally.add(refused=refused)
            self._conclude(self._trial)
        self._suspicion.add(refused=refused, tolerated_share=min(tolerated_share, _MAX_SPORADIC_SHARE))

    def _conclude(self, trial: _Trial) -> None:
        """End the trial if its result is clear, and undo the cut if it was pointless."""
        is_sporadic = trial.tally.refusals >= _EVIDENCE and trial.tally.share <= _MAX_SPORADIC_SHARE
        is_over = self._seconds_at_limit >= trial.ends_at and not trial.tally.is_all_refused
        if not is_sporadic and not is_over:
            return
        self._sporadic_share = trial.tally.share
        if is_sporadic and trial.share_before <= max(_MAX_SPORADIC_SHARE, _CHANCE_FACTOR * self._sporadic_share):
            self._target, self._seconds_at_limit = trial.target_before, trial.seconds_at_limit_before
        self._trial, self._suspicion = None, _Suspicion()

    def _cut(self, now: float) -> None:
        """Cut the rate to a little below what was accepted, and start a trial."""
        rate, trial, share = self.rate, self._trial, self._suspicion.tally.share
        recently = self._accepted.count_at(now)
        if rate is None:
            accepted = max(_MIN_FIRST_TARGET, recently, self._accepted.rate_at(now) * (1 - share))
        elif trial is None:
            accepted = min(rate, max(recently, rate / 2, rate * (1 - share)))
        else:  # a token bucket may have accepted a burst recently
            accepted = max(rate / 2, rate * (1 - share))
        is_guess = rate is None or (trial is not None and share >= _OVERWHELMING_SHARE)
        self._start_trial(
            trial or _Trial(share, self._target, self._seconds_at_limit), now, accepted, is_guess=is_guess
        )

    def _pause(self, now: float, trial: _Trial) -> float:
        """Restart the trial after a pause, at no more than what was accepted in the last second."""
        accepted = self._accepted.count_at(now)
        if self._target is not None:
            accepted = min(accepted, self._target / _TARGET_FRACTION)
        self._start_trial(trial, now, accepted, is_guess=False)
        seconds, self._next_pause = self._next_pause, min(_MAX_PAUSE, 2 * self._next_pause)
        return seconds

    def _start_trial(self, trial: _Trial, now: float, accepted: float, *, is_guess: bool) -> None:
        """Send at a rate below `accepted`. If that is a guess, the rate then doubles; otherwise it recovers."""
        self._target = max(1.0, accepted) * _TARGET_FRACTION
        self._seconds_at_limit = 0.0
        if is_guess:
            self._target /= 1 + _CUT_FRACTION
            self._seconds_at_limit = 2 * _RECOVERY_SECONDS
        trial.tally, trial.ends_at = _Tally(), self._seconds_at_limit + _TRIAL_SECONDS
        self._trial, self._suspicion = trial, _Suspicion()
        self._last_cut_at = now
        self.ready_at = max(self.ready_at, now)
