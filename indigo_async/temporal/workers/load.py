"""How many jobs a worker runs at the same time. A full worker takes no more, so that others can."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Callable, Generator
from contextlib import contextmanager

from temporalio.worker import (
    ActivitySlotInfo,
    CustomSlotSupplier,
    FixedSizeSlotSupplier,
    SlotMarkUsedContext,
    SlotPermit,
    SlotReleaseContext,
    SlotReserveContext,
    WorkerTuner,
)

__all__ = ["SHARD_ACTIVITY", "WorkerLoad"]

SHARD_ACTIVITY = "run_shard"

_JOBS_PER_SHARD = 100
_SECONDS_BETWEEN_CHECKS = 0.1
_TASKS_AT_ONCE = 100


class _Permit(SlotPermit):
    """The permit for an activity. `jobs` is how many jobs it counts as."""

    jobs: int = 1


class WorkerLoad(CustomSlotSupplier):
    """Grants slots to activities: a shard counts as a hundred jobs, the stage of a single job as one.

    A slot is granted before it is known what for, so the last few may exceed `max_jobs`. Temporal calls it from several
    threads.
    """

    def __init__(self, max_jobs: int) -> None:
        self._free = max_jobs
        self._lock = threading.Lock()
        self._running: Counter[str] = Counter()
        self._shards: list[Callable[[], int]] = []

    @property
    def shards(self) -> int:
        """The shards in progress."""
        return len(self._shards)

    @property
    def jobs(self) -> int:
        """The jobs in progress, in shards and alone."""
        alone = self._running.total() - self._running[SHARD_ACTIVITY]
        return alone + sum(count_jobs() for count_jobs in self._shards)

    @contextmanager
    def running_shard(self, count_jobs: Callable[[], int]) -> Generator[None]:
        """Count a shard as in progress inside the block. `count_jobs` returns how many of its jobs are in progress."""
        self._shards.append(count_jobs)
        try:
            yield
        finally:
            self._shards.remove(count_jobs)

    def create_tuner(self) -> WorkerTuner:
        """Create the tuner of the worker: its activities share the load, workflow tasks have slots of their own."""
        fixed = FixedSizeSlotSupplier(_TASKS_AT_ONCE)
        return WorkerTuner.create_composite(
            workflow_supplier=fixed,
            activity_supplier=self,
            local_activity_supplier=fixed,
            nexus_supplier=fixed,
        )

    async def reserve_slot(self, ctx: SlotReserveContext) -> SlotPermit:
        while (permit := self.try_reserve_slot(ctx)) is None:  # noqa: ASYNC110 - slots are released in other threads
            await asyncio.sleep(_SECONDS_BETWEEN_CHECKS)
        return permit

    def try_reserve_slot(self, ctx: SlotReserveContext) -> SlotPermit | None:  # noqa: ARG002 - Temporal's parameter
        with self._lock:
            if self._free <= 0:
                return None
            self._free -= 1
        return _Permit()

    def mark_slot_used(self, ctx: SlotMarkUsedContext) -> None:
        permit = ctx.permit
        if not isinstance(permit, _Permit) or not isinstance(ctx.slot_info, ActivitySlotInfo):
            return
        kind = ctx.slot_info.activity_type
        permit.jobs = _JOBS_PER_SHARD if kind == SHARD_ACTIVITY else 1
        with self._lock:
            self._free -= permit.jobs - 1
            self._running[kind] += 1

    def release_slot(self, ctx: SlotReleaseContext) -> None:
        permit = ctx.permit
        if not isinstance(permit, _Permit):
            return
        with self._lock:
            self._free += permit.jobs
            if isinstance(ctx.slot_info, ActivitySlotInfo):
                self._running[ctx.slot_info.activity_type] -= 1
