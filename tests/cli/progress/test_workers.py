"""The progress of a batch on workers: jobs that reached a later stage have completed the earlier ones."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from indigo_async.events import Stage

pytest.importorskip("temporalio")

from indigo_async.cli.progress.workers import WorkersProgress
from indigo_async.temporal import BatchProgress, BatchSummary, Failure

PLANNED = {Stage.UPLOAD: 10, Stage.MATCH: 10, Stage.LOOKALIKE: 5, Stage.PREVIEW: 10, Stage.PURCHASE: 10}
FAILURE = Failure(key="42/Dear", workflow_id="", stage="purchase", error_type="BudgetExceededError", message="too dear")
PROGRESS = BatchProgress(
    pages=1,
    pages_under_way=1,
    jobs_under_way=5,
    complete=True,
    so_far=BatchSummary(done=2, failed=1, spent_cents=160_00, failures=(FAILURE,)),
    jobs_by_stage={"match": 2, "preview": 3},
)


def shown(progress: WorkersProgress) -> list[str]:
    console = Console(file=io.StringIO(), width=120)
    console.print(progress.render())
    assert isinstance(console.file, io.StringIO)
    return [" ".join(line.split()) for line in console.file.getvalue().splitlines()]


def test_stages_failures_and_costs_are_shown():
    progress = WorkersProgress(name="jobs.yaml-1a2b3c", total=10, purchase=True, planned=PLANNED)
    progress.update(PROGRESS)
    lines = shown(progress)
    assert lines[0] == "jobs.yaml-1a2b3c 2 of 10 jobs done, 1 failed"
    stages = {line.split()[0]: line.partition(" of ")[0].split()[-1] for line in lines[1:6]}
    assert stages == {"upload": "8", "match": "6", "lookalike": "3", "preview": "3", "purchase": "2"}
    assert "2 in progress" in lines[2]
    assert lines[5].endswith("1 failed")
    assert lines[-2:] == ["cost $160.00 spent", "failed 42/Dear: too dear"]
    assert progress.format_line().endswith(
        "2 of 10 jobs done, 1 failed; in progress: match 2, preview 3; $160.00 spent"
    )


def test_without_purchases_the_prices_are_shown():
    progress = WorkersProgress(name="jobs.yaml", total=1, purchase=False, planned={Stage.UPLOAD: 1})
    assert progress.format_line().endswith("0 of 1 jobs done; $0.00 quoted, nothing is purchased")
    assert shown(progress)[0] == "jobs.yaml 0 of 1 jobs done"
