"""A Prefect flow that divides the lists among mapped tasks, on any workers, within one budget, exactly once.

`lists.json` is in the shared folder `INDIGO_FOLDER`. `INDIGO_FENCE` is what all tasks share: `s3://bucket/prefix`, or a
folder that all workers mount. The token is in the Secret block `indigo-api-token`, which `python prefect_shards.py`
creates from `INDIGO_API_TOKEN` before it runs the flow.
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
FENCE = os.environ.get("INDIGO_FENCE", "s3://example-bucket/indigo-fence")
SHARDS = 4
BUDGET_CENTS = 500_000
"""Of all shards together."""


@task(retries=3, retry_delay_seconds=300, timeout_seconds=12 * 3600)
def run_shard(shard: str) -> dict[str, Any]:
    token = Secret.load("indigo-api-token").get()
    with blocking.IndigoClient(token, on_event=log_events) as client:
        report = blocking.run_batch(
            client,
            list(read_jobs(FOLDER / "lists.json", FOLDER / "exports")),  # all lists, in each shard
            fence=FENCE,
            shard=shard,
            budget_cents=BUDGET_CENTS,
        )
    if report.failed or report.stopped:
        raise RuntimeError(f"{report.failed} lists failed ({report.stopped or 'the others are done'})")
    return report.to_json()


@flow
def indigo_shards() -> list[dict[str, Any]]:
    return run_shard.map([f"{number}/{SHARDS}" for number in range(1, SHARDS + 1)]).result()


if __name__ == "__main__":
    Secret(value=os.environ["INDIGO_API_TOKEN"]).save("indigo-api-token", overwrite=True)
    indigo_shards()
