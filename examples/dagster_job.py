"""A Dagster job that matches, prices, purchases and downloads every list, within a budget, exactly once.

`lists.json` is in the shared folder `INDIGO_FOLDER`. The token comes from `INDIGO_API_TOKEN`, which Dagster reads when
a run starts, so its value appears in no configuration: `dagster job execute -f dagster_job.py -j indigo_lists`.
"""

import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import dagster
from nightly import read_jobs

from indigo_async import blocking
from indigo_async.logs import log_events

FOLDER = Path(os.environ.get("INDIGO_FOLDER", "/mnt/shared/indigo"))
BUDGET_CENTS = 500_000


class Indigo(dagster.ConfigurableResource[blocking.IndigoClient]):
    token: str

    @contextmanager
    def yield_for_execution(self, _context: dagster.InitResourceContext) -> Generator[blocking.IndigoClient]:
        with blocking.IndigoClient(self.token, on_event=log_events) as client:
            yield client


@dagster.op(retry_policy=dagster.RetryPolicy(max_retries=3, delay=300))
def run_lists(context: dagster.OpExecutionContext, indigo: dagster.ResourceParam[blocking.IndigoClient]) -> None:
    report = blocking.run_batch(
        indigo,
        list(read_jobs(FOLDER / "lists.json", FOLDER / "exports")),
        journal=FOLDER / "journal.sqlite",
        budget_cents=BUDGET_CENTS,
    )
    context.add_output_metadata({"report": report.to_json()})
    if report.failed or report.stopped:
        raise RuntimeError(f"{report.failed} lists failed ({report.stopped or 'the others are done'})")


@dagster.job(resource_defs={"indigo": Indigo(token=dagster.EnvVar("INDIGO_API_TOKEN"))})
def indigo_lists() -> None:
    run_lists()
