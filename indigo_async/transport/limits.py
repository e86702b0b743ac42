"""How much a server bears, learned from its answers: pure state under a clock that is handed in.

Two limits, since neither does the other's work. `ConcurrencyLimit` bounds the requests under way, which protects a
server that slows down. `RateLimit` bounds the requests a second, which settles under a limit such as 50 a second, where
one request after another, 5 ms each, would already be four times too many.
"""

from __future__ import annotations

import attrs

from indigo_async.transport.chance import Chance

__all__ = ["ConcurrencyLimit", "RateLimit"]

_FIRST_CONCURRENCY = 8
# Steeper, a limit with a burst would be met by as many requests as the burst had let pass.
_FIRST_GROWTH = 0.25
_AFTER_REFUSAL = 0.7
_AFTER_SLOWING = 0.7
# Below this a slow server is not helped: fewer connections would only idle.
_LEAST_WHEN_SLOW = 4
_RECENT_SAMPLES = 10
_SAMPLES_TO_FORGET = 5_000
_ENOUGH_SAMPLES = 20
_RISE = 2.0
# A rise that people would not notice is noise, of this process's own load above all.
_RISE_SECONDS = 0.1


@attrs.define
class _Latency:
    """Seconds that like requests take: of late, and at best.

    The best gives way to what is usual, slowly, so that a lasting change becomes the new best.
    """

    recent: float
    best: float
    samples: int = 1

    def add(self, seconds: float) -> bool:
        """Take a sample. Returns whether they rise."""
        self.samples += 1
        self.recent += (seconds - self.recent) / min(self.samples, _RECENT_SAMPLES)
        rise = self.recent - self.best
        if rise <= 0:
            self.best = self.recent
            return False
        self.best += rise / _SAMPLES_TO_FORGET
        return rise > _RISE_SECONDS and self.samples >= _ENOUGH_SAMPLES and self.recent > _RISE * self.best


@attrs.define
class ConcurrencyLimit:
    """How many requests may be under way: more with each good answer, fewer on a refusal or when answers slow down.

    It grows by a quarter in each round trip until it first shrinks, then by one in each. It shrinks at most once for
    the requests of one round trip: what was sent before the last cut says nothing about the limit since.
    """

    ceiling: int
    current: float = attrs.field(
        default=attrs.Factory(lambda self: min(self.ceiling, _FIRST_CONCURRENCY), takes_self=True), init=False
    )
    _has_shrunk: bool = attrs.field(default=False, init=False)
    _cut_at: float = attrs.field(default=float("-inf"), init=False)
    _latencies: dict[str, _Latency] = attrs.field(factory=dict[str, _Latency], init=False)

    def answered(self, *, started: float, now: float, under_way: int, like: str | None) -> None:
        """Learn from a good answer to a request sent at `started`, of `under_way` that there were with it.

        `like` names the requests whose latencies compare; None when this one compares with no other.
        """
        if like is not None and self._is_slowing(like, now - started):
            self._shrink(_AFTER_SLOWING, _LEAST_WHEN_SLOW, started, now)
        elif self.current < self.ceiling and 2 * under_way >= self.current:
            grown = self.current + (1 / self.current if self._has_shrunk else _FIRST_GROWTH)
            self.current = min(float(self.ceiling), grown)

    def refused(self, *, started: float, now: float) -> None:
        """Learn from a refusal (429), or from an answer that never came in time."""
        self._shrink(_AFTER_REFUSAL, 1, started, now)

    def _is_slowing(self, like: str, seconds: float) -> bool:
        latency = self._latencies.get(like)
        if latency is None:
            self._latencies[like] = _Latency(seconds, seconds)
            return False
        return latency.add(seconds)

    def _shrink(self, factor: float, least: int, started: float, now: float) -> None:
        if started > self._cut_at and self.current > least:
            self.current = max(float(least), self.current * factor)
            self._has_shrunk = True
            self._cut_at = now


# Of the rate that was borne when a request was refused: what is aimed at, and how far below that is begun again.
_AIM = 0.98
_DROP = 0.1
# Seconds of sending at the limit: until the rate doubles after the first refusal, and until it is back at the aim after
# a later one. Chosen by simulating token buckets (bursts of 2 requests to 5 seconds' worth) and fixed windows, 50 to
# 2,000 requests a second: over 200 s, 0.84 to 1.02 of the limit is used and under 0.25% of the requests are refused.
_DOUBLING = 3.0
_RECOVERY = 15.0
# Requests a second. A client that was quiet when it was first refused has borne nothing, which says nothing.
_LEAST_FIRST_AIM = 10.0
# A rate that was not used leaves this many seconds' worth for later; more would be a burst.
_SLACK = 0.02
_WINDOW = 1.0


@attrs.define
class _SlidingCount:
    """How many there were in the last second: the current second's, and what part of the last one's is in reach."""

    _since: float = float("-inf")
    _current: int = 0
    _last: int = 0

    def add(self, now: float) -> None:
        if now - self._since >= _WINDOW:
            self._roll(now)
        self._current += 1

    def at(self, now: float) -> float:
        self._roll(now)
        past = (now - self._since) / _WINDOW
        return self._current + self._last * min(1.0, max(0.0, 1 - past))

    def skip(self, seconds: float) -> None:
        self._since += seconds

    def _roll(self, now: float) -> None:
        past = now - self._since
        if past >= 2 * _WINDOW:
            self._since, self._last, self._current = now, 0, 0
        elif past >= _WINDOW:
            self._since, self._last, self._current = self._since + _WINDOW, self._current, 0


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
    _aim: float | None = attrs.field(default=None, init=False)
    _is_first_aim: bool = attrs.field(default=True, init=False)
    _used: float = attrs.field(default=0.0, init=False)
    _cut_at: float = attrs.field(default=float("-inf"), init=False)
    ready_at: float = attrs.field(default=float("-inf"), init=False)
    """When the next request may leave; often long past."""
    _borne: _SlidingCount = attrs.field(factory=_SlidingCount, init=False)
    _chance: Chance = attrs.field(factory=Chance, init=False)

    @property
    def rate(self) -> float | None:
        """Requests a second; None while there is no limit."""
        if self._aim is None:
            return self.ceiling
        if self._is_first_aim:
            learned = self._aim * 2 ** (self._used / _DOUBLING)
        else:
            learned = self._aim * (1 + _DROP * (self._used / _RECOVERY - 1) ** 3)
        return learned if self.ceiling is None else min(learned, self.ceiling)

    def spend(self, now: float) -> None:
        """Let a request leave."""
        rate = self.rate
        if rate is None:
            return
        if self.ready_at > now - _SLACK:
            self._used += 1 / rate
        self.ready_at = max(self.ready_at, now - _SLACK) + 1 / rate

    def answered(self, now: float) -> None:
        """Count a request that the server did not refuse."""
        self._borne.add(now)
        self._chance.answered(now, self.rate, refused=False)

    def refused(self, *, started: float, now: float, is_certain: bool) -> bool:
        """Learn from a refusal (429) of a request sent at `started`. Returns whether a limit seems to be met.

        It certainly is where the server says when there will be room again.
        """
        if started <= self._cut_at:
            return True
        rate = self.rate
        self._chance.answered(now, rate, refused=True)
        if not is_certain and self._chance.explains(rate):
            return False
        self._chance.met_limit()
        least = _LEAST_FIRST_AIM if self._aim is None else 1.0
        borne = max(least, self._borne.at(now))
        if self._aim is not None and rate is not None:
            borne = min(max(borne, rate / 2), rate)
        self._is_first_aim = self._aim is None
        self._aim = borne * _AIM
        self._used = 0.0
        self._cut_at = now
        self.ready_at = now + 1 / self._aim
        return True

    def held(self, seconds: float) -> None:
        """Leave out a pause, in which the server bore nothing because it was sent nothing."""
        self.ready_at += seconds
        self._borne.skip(seconds)
        self._chance.skip(seconds)
