"""`ClaimsWorkflow` holds the claims on the jobs of one bucket of customers."""

from __future__ import annotations

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from indigo_async.temporal.payloads import ClaimReply, ClaimRequest, ReleaseRequest
    from indigo_async.temporal.workflows.shared import is_history_long
    from indigo_async.workflows.sharding.claims import Claims

__all__ = ["ClaimsWorkflow"]

_MAX_HISTORY_LENGTH = 2_000


@workflow.defn(name="ClaimsWorkflow")
class ClaimsWorkflow:
    """Gives each job to one holder at a time. It never ends, and continues as new before its history grows long."""

    @workflow.init
    def __init__(self, claims: Claims) -> None:
        self._claims = claims

    @workflow.run
    async def run(self, claims: Claims) -> None:  # noqa: ARG002 - __init__ takes it, before any update
        await workflow.wait_condition(lambda: is_history_long(_MAX_HISTORY_LENGTH))
        await workflow.wait_condition(workflow.all_handlers_finished)
        workflow.continue_as_new(self._claims)

    @workflow.update
    async def claim(self, request: ClaimRequest) -> ClaimReply:
        """Claim the jobs that nobody else holds."""
        return self._claims.claim(request.holder, request.jobs, gone=request.gone)

    @workflow.signal
    async def release(self, request: ReleaseRequest) -> None:
        """Release all jobs of a holder."""
        self._claims.release(request.holder, request.finished)

    @workflow.query
    def claims(self) -> Claims:
        return self._claims
