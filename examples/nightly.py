"""A nightly job for cron or systemd: match, price, purchase and download every list, within a budget, exactly once.

    python nightly.py lists.json /var/lib/nightly --budget-cents 500000

`lists.json` is a list of `{"customer_id": ..., "audience_name": ..., "csv": "https://..."}`. Run it again after any
failure, even a power loss: the journal in the folder knows what was done, and nothing is purchased twice. A second run
exits at once while another one is in progress.

Exit codes: 0 all done, 1 some lists failed (the report says which), 2 usage error, 75 another run is in progress
(`EX_TEMPFAIL`), 143 stopped by SIGTERM.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import signal
import sys
from collections.abc import Iterator
from enum import IntEnum
from pathlib import Path

from indigo_async import ColumnSelection, ColumnSelections, IndigoClient, IndigoError
from indigo_async.errors import InvalidInputError, JournalInUseError
from indigo_async.files import safe_file_name
from indigo_async.logs import log_events
from indigo_async.workflows import AudienceJob, BatchReport, ExportStep, run_batch

COLUMNS = ColumnSelections(
    first_name=ColumnSelection("First Name", required=True),
    last_name=ColumnSelection("Last Name", required=True),
    zip=ColumnSelection("Zip Code"),
)

logger = logging.getLogger("nightly")


class ExitCode(IntEnum):
    DONE = 0
    SOME_FAILED = 1
    USAGE_ERROR = 2
    IN_USE = 75
    TERMINATED = 143


def read_jobs(lists: Path, exports: Path) -> Iterator[AudienceJob]:
    for row in json.loads(lists.read_text(encoding="utf-8")):
        yield AudienceJob(
            customer_id=row["customer_id"],
            audience_name=row["audience_name"],
            csv=row["csv"],
            column_selections=COLUMNS,
            export=ExportStep(
                destination=exports
                / safe_file_name(row["customer_id"])
                / f"{safe_file_name(row['audience_name'])}.csv",
                optional_field_types=["phone"],
                max_cost_cents=100_000,
            ),
        )


async def run(lists: Path, folder: Path, budget_cents: int) -> BatchReport:
    task = asyncio.current_task()
    if task is not None:  # a purchase in flight is checked before exiting
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    jobs = list(read_jobs(lists, folder / "exports"))  # with a list, all jobs are checked before anything is sent
    async with IndigoClient(on_event=log_events) as client:
        return await run_batch(client, jobs, journal=folder / "journal.sqlite", budget_cents=budget_cents)


def main() -> ExitCode:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("lists", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--budget-cents", type=int, required=True)
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        options.folder.mkdir(parents=True, exist_ok=True)
        report = asyncio.run(run(options.lists, options.folder, options.budget_cents))
    except JournalInUseError as error:
        logger.warning("%s", error)
        return ExitCode.IN_USE
    except KeyError as error:
        logger.error("%s: a list has no %s", options.lists, error)  # noqa: TRY400 - users need no traceback
        return ExitCode.USAGE_ERROR
    except (InvalidInputError, OSError, ValueError) as error:
        logger.error("%s", error)  # noqa: TRY400 - users need no traceback
        return ExitCode.USAGE_ERROR
    except IndigoError as error:
        logger.error("%s", error)  # noqa: TRY400 - users need no traceback
        return ExitCode.SOME_FAILED
    except asyncio.CancelledError:
        return ExitCode.TERMINATED
    sys.stdout.write(json.dumps(report.to_json(), indent=2) + "\n")
    for failure in report.failures:
        logger.error("%s failed at %s: %s", failure.key, failure.stage, failure.message)
    return ExitCode.SOME_FAILED if report.failed or report.stopped else ExitCode.DONE


if __name__ == "__main__":
    sys.exit(main())
