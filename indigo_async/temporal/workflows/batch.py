"""`BatchWorkflow` runs a batch of any size. It is fed in pages and runs a limited number of them at a time."""

from __future__ import annotations

import asyncio

import attrs
from temporalio import workflow
from temporalio.common import TypedSearchAttributes
from temporalio.exceptions import ApplicationError, FailureError, WorkflowAlreadyStartedError
from temporalio.workflow import ChildWorkflowCancellationType, ParentClosePolicy

with workflow.unsafe.imports_passed_through():
    from indigo_async.temporal.ids import page_workflow_id, shard_workflow_id
    from indigo_async.temporal.payloads import BatchProgress, BatchState, BatchSummary, Failure, PackedJobs, Page
    from indigo_async.temporal.shards.payloads import ShardTask, name_jobs
    from indigo_async.temporal.workflows.job import build_batch_attributes
    from indigo_async.temporal.workflows.page import PageWorkflow, combine_summaries
    from indigo_async.temporal.workflows.shard import ShardWorkflow
    from indigo_async.temporal.workflows.shared import is_current_task_cancelled, is_history_long

__all__ = ["LOST_PAGE", "BatchWorkflow"]

LOST_PAGE = "PageLost"
"""The error type of jobs whose page or shard did not finish. Its own history says how far they got."""

_MAX_PAGES_WAITING = 2
_MAX_HISTORY_LENGTH = 8_000
_MAX_SHARD_STARTS = 120
_SECONDS_BETWEEN_STARTS = 5.0


@workflow.defn(name="BatchWorkflow")
class BatchWorkflow:
    """Adds about a dozen events per page. Once its history is long, it waits for its pages and continues as new.

    The jobs of a page run as a shard, if they are packed.
    """

    @workflow.init
    def __init__(self, state: BatchState) -> None:
        run_ms = state.run_ms or int(workflow.info().start_time.timestamp() * 1_000)
        self._state = attrs.evolve(state, run_ms=run_ms)
        self._waiting = list(state.waiting)
        self._in_flight: dict[int, Page] = {}

    @workflow.run
    async def run(self, state: BatchState) -> BatchSummary:  # noqa: ARG002 - __init__ takes it
        async with asyncio.TaskGroup() as group:
            while not self._is_history_long():
                await workflow.wait_condition(lambda: self._has_room() or self._is_done() or self._is_history_long())
                if not self._has_room():
                    break
                page = self._waiting.pop(0)
                self._in_flight[page.number] = page
                group.create_task(self._run_page(page))
        await workflow.wait_condition(workflow.all_handlers_finished)
        if not self._is_done():
            workflow.continue_as_new(attrs.evolve(self._state, waiting=tuple(self._waiting)))
        return self._state.so_far

    def _has_room(self) -> bool:
        return bool(self._waiting) and len(self._in_flight) < self._state.max_pages_under_way

    def _is_done(self) -> bool:
        return self._state.complete and not self._waiting

    def _is_history_long(self) -> bool:
        return is_history_long(_MAX_HISTORY_LENGTH)

    async def _run_page(self, page: Page) -> None:
        try:
            end = await (self._run_orders(page) if page.jobs is None else self._run_shard(page.number, page.jobs))
        except FailureError as error:
            if is_current_task_cancelled():
                raise asyncio.CancelledError from error
            end = _summarize_lost_page(page)
        del self._in_flight[page.number]
        self._state = attrs.evolve(self._state, so_far=combine_summaries([self._state.so_far, end]))

    async def _run_orders(self, page: Page) -> BatchSummary:
        return await workflow.execute_child_workflow(
            PageWorkflow.run,
            page,
            id=page_workflow_id(self._state.name, page.number),
            cancellation_type=ChildWorkflowCancellationType.WAIT_CANCELLATION_COMPLETED,
            parent_close_policy=ParentClosePolicy.REQUEST_CANCEL,
        )

    async def _run_shard(self, number: int, jobs: PackedJobs) -> BatchSummary:
        """Run a shard. First, that of a terminated run of this batch settles its purchases and ends."""
        for _ in range(_MAX_SHARD_STARTS):
            try:
                shard = await workflow.start_child_workflow(
                    ShardWorkflow.run,
                    ShardTask(batch=self._state.name, number=number, run_ms=self._state.run_ms, jobs=jobs),
                    id=shard_workflow_id(self._state.name, number),
                    search_attributes=_build_attributes(self._state.name, jobs),
                    cancellation_type=ChildWorkflowCancellationType.WAIT_CANCELLATION_COMPLETED,
                    parent_close_policy=ParentClosePolicy.REQUEST_CANCEL,
                )
            except WorkflowAlreadyStartedError:
                await workflow.sleep(_SECONDS_BETWEEN_STARTS)
            else:
                return await shard
        raise ApplicationError("another run of this batch still has the shard")

    @workflow.update
    async def feed(self, page: Page) -> int:
        """Accept a page once there is room for it. Returns the number of pages accepted so far.

        A page is accepted only once. A batch that is about to continue as new accepts none: feed the page again.
        """
        await workflow.wait_condition(lambda: len(self._waiting) < _MAX_PAGES_WAITING or self._is_history_long())
        if page.number == self._state.pages_taken and not self._is_history_long():
            self._waiting.append(page)
            self._state = attrs.evolve(self._state, pages_taken=page.number + 1, complete=page.last)
        return self._state.pages_taken

    @workflow.query
    def progress(self) -> BatchProgress:
        """The progress of the batch."""
        return BatchProgress(
            pages=self._state.pages_taken,
            pages_under_way=len(self._in_flight),
            jobs_under_way=sum(len(_keys_of(page)) for page in self._in_flight.values()),
            complete=self._state.complete,
            so_far=self._state.so_far,
        )


def _build_attributes(name: str, jobs: PackedJobs) -> TypedSearchAttributes:
    """The search attributes of a shard. It has a customer's if all of its jobs do."""
    if not jobs.shared.get("shows_stage"):
        return TypedSearchAttributes.empty
    return build_batch_attributes(name, jobs.shared.get("customer_id"))


def _keys_of(page: Page) -> list[str]:
    return [job.key for job in page.orders] if page.jobs is None else list(name_jobs(page.jobs).values())


def _summarize_lost_page(page: Page) -> BatchSummary:
    """The result of a page whose workflow was canceled, terminated, or started by an earlier batch."""
    message = "the page's workflow did not finish; running the batch again finds the results of its jobs"
    failures = tuple(
        Failure(key=key, workflow_id="", stage="", error_type=LOST_PAGE, message=message) for key in _keys_of(page)
    )
    return BatchSummary(failed=len(failures), failed_by_error={LOST_PAGE: len(failures)}, failures=failures)
