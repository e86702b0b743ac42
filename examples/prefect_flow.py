"""A Prefect flow that matches, prices, purchases and downloads every list, within a budget, exactly once.

`lists.json` is in the shared folder `INDIGO_FOLDER`. The token is in the Secret block `indigo-api-token`, which
`python prefect_flow.py` creates from `INDIGO_API_TOKEN` before it runs the flow.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from nightly import read_jobs
from prefect import flow, task
from prefect.blocks.system import Secret

from indigo_async import blocking
from indigo_async.logs import log_events

FOLDER = Path(os.environ.get("INDIGO_FOLDER", "/mnt/shared/indigo"))
BUDGET_CENTS = 500_000


@task(retries=3, retry_delay_seconds=300, timeout_seconds=12 * 3600)
def run_lists() -> dict[str, Any]:
    token = Secret.load("indigo-api-token").get()
    with blocking.IndigoClient(token, on_event=log_events) as client:
        report = blocking.run_batch(
            client,
            list(read_jobs(FOLDER / "lists.json", FOLDER / "exports")),
            journal=FOLDER / "journal.sqlite",
            budget_cents=BUDGET_CENTS,
        )
    if report.failed or report.stopped:
        raise RuntimeError(f"{report.failed} lists failed ({report.stopped or 'the others are done'})")
    return report.to_json()


@flow
def indigo_lists() -> dict[str, Any]:
    return run_lists()


if __name__ == "__main__":
    Secret(value=os.environ["INDIGO_API_TOKEN"]).save("indigo-api-token", overwrite=True)
    indigo_lists()
