"""Replay recorded histories with the current workflows: a change that would break running workflows fails here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from temporalio import workflow
from temporalio.client import WorkflowHistory
from temporalio.worker import Replayer
from temporalio.workflow import NondeterminismError

from indigo_async.temporal import AudienceWorkflow, data_converter
from indigo_async.temporal.payloads import JobInput, JobSummary
from indigo_async.temporal.workers.worker import WORKFLOWS, create_workflow_runner
from indigo_async.workflows import Stage

HISTORIES = sorted((Path(__file__).parent / "histories").glob("*.json"))


async def replay(path: Path, workflows: Any = WORKFLOWS) -> None:
    replayer = Replayer(workflows=workflows, workflow_runner=create_workflow_runner(), data_converter=data_converter())
    await replayer.replay_workflow(WorkflowHistory.from_json(path.stem, path.read_text()))


@pytest.mark.parametrize("path", HISTORIES, ids=lambda path: path.stem)
async def test_recorded_histories_are_replayed(path: Path):
    await replay(path)


def test_every_workflow_has_a_recorded_history():
    recorded = "".join(path.read_text() for path in HISTORIES)
    for kind in WORKFLOWS:
        assert f'"name": "{kind.__name__}"' in recorded or f'"name":"{kind.__name__}"' in recorded


@workflow.defn(name="AudienceWorkflow", sandboxed=False)
class EarlyPricingWorkflow(AudienceWorkflow):
    """Prices the matched audience before it creates the lookalike."""

    @workflow.init
    def __init__(self, job: JobInput) -> None:
        super().__init__(job)

    @workflow.run
    async def run(self, job: JobInput) -> JobSummary:
        matched_id = await self._run_stage(Stage.MATCH, job, str)
        return await self._export(JobSummary(matched_id=matched_id))


async def test_a_workflow_with_its_stages_in_another_order_fails_the_replay():
    history = next(path for path in HISTORIES if path.stem == "job-bought")
    with pytest.raises(NondeterminismError):
        await replay(history, [EarlyPricingWorkflow])
