"""An event loop in which waiting takes no time: when all are waiting, its clock moves on to what is due next.

A module whose tests run in it says `anyio_backend = virtual_backend`.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

import pytest

T = TypeVar("T")


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """`now` is its time; it may be moved on by hand, as when the machine sleeps."""

    def __init__(self) -> None:
        self.now = 1_000.0
        super().__init__(_VirtualSelector(self))

    def time(self) -> float:
        return self.now


class _VirtualSelector(selectors.DefaultSelector):
    def __init__(self, loop: VirtualTimeLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if not ready:
            if timeout is None:
                raise RuntimeError("all wait for what never comes")
            self._loop.now += timeout
        return ready


@pytest.fixture
def virtual_backend() -> tuple[str, dict[str, Any]]:
    return "asyncio", {"loop_factory": VirtualTimeLoop}


def run_in_virtual_time(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine in a loop of its own, as property tests need."""
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        return runner.run(work)


def now() -> float:
    return asyncio.get_running_loop().time()
