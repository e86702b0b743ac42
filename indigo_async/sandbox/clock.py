"""The sandbox's time: real time run faster, or time that a test moves by hand.

Everything that takes its time in the sandbox (stages, expiring URLs) is a function of this clock; no task sleeps on it.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Protocol

import attrs

__all__ = ["Clock", "ManualClock", "ScaledClock", "format_timestamp"]


class Clock(Protocol):
    """A source of sandbox time."""

    @property
    def started_at(self) -> datetime:
        """The date and time of second 0, with a time zone."""
        ...

    def now(self) -> float:
        """Sandbox seconds since the start. Never decreases."""
        ...


def _utc_now() -> datetime:
    return datetime.now(UTC)


@attrs.frozen
class ScaledClock:
    """Real time, sped up by `speed`: at 60, a sandbox minute takes a second.

    `monotonic_start` is the value of `time.monotonic()` at second 0.
    """

    speed: float = attrs.field(default=1.0, validator=attrs.validators.gt(0))
    started_at: datetime = attrs.field(factory=_utc_now)
    monotonic_start: float = attrs.field(factory=time.monotonic)

    def now(self) -> float:
        return (time.monotonic() - self.monotonic_start) * self.speed


@attrs.define
class ManualClock:
    """For tests: time passes only when `advance` is called."""

    started_at: datetime = datetime(2026, 1, 1, tzinfo=UTC)
    _now: float = attrs.field(default=0.0, init=False)

    def now(self) -> float:
        return self._now

    def advance(self, seconds: float) -> None:
        """Move time forward by `seconds`."""
        if seconds < 0:
            raise ValueError("time can't go backward")
        self._now += seconds


def format_timestamp(clock: Clock, at: float) -> str:
    """Format a sandbox time the way the API does: ISO 8601 in UTC."""
    return (clock.started_at + timedelta(seconds=at)).isoformat(timespec="milliseconds")
