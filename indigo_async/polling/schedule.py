"""What falls due when: a heap of instants, each with all that falls due then."""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

import attrs

__all__ = ["Schedule", "Scheduled"]


class Scheduled(Protocol):
    """What stands in a schedule remembers its `instant`; None while it stands in none."""

    instant: int | None


T = TypeVar("T", bound=Scheduled)

# In seconds: beyond the life of any process, and exact in a float.
_FAR = 1e12


@attrs.define
class Schedule(Generic[T]):
    """Things by the time at which they fall due, rounded up to the next multiple of `grain` seconds.

    Rounding lets what falls due at almost the same time be dealt with together, and makes a heap of few instants
    instead of one of 10,000 things. What is dropped is gone at once, with all that it refers to. `on_new` is called
    with a time at which nothing was to fall due before.
    """

    grain: float
    on_new: Callable[[float], None]
    _due: dict[int, dict[T, None]] = attrs.field(factory=dict[int, dict[T, None]], init=False)
    _instants: list[int] = attrs.field(factory=list[int], init=False)

    def put(self, thing: T, due: float) -> None:
        """Let a thing fall due at a time, whenever it was to before. A time that is not finite becomes one that is."""
        self.drop(thing)
        # A NaN compares as false, so that it falls due at once.
        due = min(due, _FAR) if due > 0 else 0.0
        instant = math.ceil(due / self.grain)
        together = self._due.get(instant)
        if together is None:
            together = self._due[instant] = {}
            heapq.heappush(self._instants, instant)
            self.on_new(instant * self.grain)
        together[thing] = None
        thing.instant = instant

    def drop(self, thing: T) -> None:
        """Let a thing not fall due at all."""
        if thing.instant is not None:
            del self._due[thing.instant][thing]
            thing.instant = None

    def next_due(self) -> float | None:
        """When something falls due next."""
        while self._instants:
            instant = self._instants[0]
            if self._due[instant]:
                return instant * self.grain
            self._forget_first()
        return None

    def take_due(self, now: float) -> list[T]:
        """Take out all that is due, in the order in which it fell due."""
        taken: list[T] = []
        while self._instants and self._instants[0] * self.grain <= now:
            taken.extend(self._forget_first())
        for thing in taken:
            thing.instant = None
        return taken

    def _forget_first(self) -> dict[T, None]:
        return self._due.pop(heapq.heappop(self._instants))
