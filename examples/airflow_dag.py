"""A daily Airflow task that matches, prices, purchases and downloads every list, within a budget, exactly once.

Put this file and `nightly.py` in the DAG folder, and `lists.json` in the shared folder `INDIGO_FOLDER`. The connection
`indigo` has the token as its password; its host is the API's URL, or empty for the public API.
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
BUDGET_CENTS = 500_000


@dag(schedule="@daily", start_date=datetime(2026, 1, 1, tzinfo=UTC), catchup=False, max_active_runs=1)
def indigo_lists() -> None:
    @task(retries=3, retry_delay=timedelta(minutes=5), execution_timeout=timedelta(hours=12))
    def run_lists() -> dict[str, Any]:
        connection = Connection.get("indigo")
        with blocking.IndigoClient(connection.password, base_url=connection.host, on_event=log_events) as client:
            report = blocking.run_batch(
                client,
                list(read_jobs(FOLDER / "lists.json", FOLDER / "exports")),
                journal=FOLDER / "journal.sqlite",
                budget_cents=BUDGET_CENTS,
            )
        if report.failed or report.stopped:
            raise RuntimeError(f"{report.failed} lists failed ({report.stopped or 'the others are done'})")
        return report.to_json()

    run_lists()


indigo_lists()
