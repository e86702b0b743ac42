"""A daily Airflow DAG that divides the lists among mapped tasks, on any workers, within one budget, exactly once.

Put this file and `nightly.py` in the DAG folder, and `lists.json` in the shared folder `INDIGO_FOLDER`. `INDIGO_FENCE`
is what all tasks share: `s3://bucket/prefix`, or a folder that all workers mount. The connection `indigo` has the token
as its password; its host is the API's URL, or empty for the public API.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from airflow.sdk import Connection, dag, task
from nightly import read_jobs

from indigo_async import blocking
from indigo_async.logs import log_events

FOLDER = Path(os.environ.get("INDIGO_FOLDER", "/mnt/shared/indigo"))
FENCE = os.environ.get("INDIGO_FENCE", "s3://example-bucket/indigo-fence")
SHARDS = 4
BUDGET_CENTS = 500_000
"""Of all shards together."""


@dag(schedule="@daily", start_date=datetime(2026, 1, 1, tzinfo=UTC), catchup=False)
def indigo_shards() -> None:
    @task(retries=3, retry_delay=timedelta(minutes=5), execution_timeout=timedelta(hours=12))
    def run_shard(shard: str) -> dict[str, Any]:
        connection = Connection.get("indigo")
        with blocking.IndigoClient(connection.password, base_url=connection.host, on_event=log_events) as client:
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

    run_shard.expand(shard=[f"{number}/{SHARDS}" for number in range(1, SHARDS + 1)])


indigo_shards()
