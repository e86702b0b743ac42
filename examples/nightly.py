"""A nightly job for cron or systemd: match, price, buy and download every list, within a budget, exactly once.

    python nightly.py lists.json /var/lib/nightly --budget-cents 500000

`lists.json` is a list of `{"customer_id": ..., "audience_name": ..., "csv": "https://..."}`. Run it again after
anything, a power cut included: the journal in the folder knows what was done, and nothing is bought twice. Two runs at
once are one too many: the second one ends at once.

Exit codes: 0 all done, 1 some lists failed (the report says which), 2 misused, 75 another run is under way (as
`EX_TEMPFAIL`), 143 stopped by SIGTERM.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

from indigo_async import ColumnSelection, ColumnSelections, IndigoClient, IndigoError
from indigo_async.errors import InvalidInputError, JournalInUseError
from indigo_async.files import safe_file_name
from indigo_async.logs import log_events
from indigo_async.workflows import AudienceJob, BatchReport, ExportStep, run_batch

DONE, SOME_FAILED, USAGE_ERROR, IN_USE, TERMINATED = 0, 1, 2, 75, 143

COLUMNS = ColumnSelections(
    first_name=ColumnSelection("First Name", required=True),
    last_name=ColumnSelection("Last Name", required=True),
    zip=ColumnSelection("Zip Code"),
)

logger = logging.getLogger("nightly")


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
    this = asyncio.current_task()
    if this is not None:  # a purchase under way is first settled
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, this.cancel)
    jobs = list(read_jobs(lists, folder / "exports"))  # a list is checked whole before anything is sent
    async with IndigoClient(on_event=log_events) as client:
        return await run_batch(client, jobs, journal=folder / "journal.sqlite", budget_cents=budget_cents)


def main() -> int:
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
        return IN_USE
    except (InvalidInputError, OSError, ValueError, KeyError) as error:
        logger.error("%s", error)  # noqa: TRY400 - the message is for people
        return USAGE_ERROR
    except IndigoError as error:
        logger.error("%s", error)  # noqa: TRY400 - as above
        return SOME_FAILED
    except asyncio.CancelledError:
        return TERMINATED
    sys.stdout.write(json.dumps(report.to_json(), indent=2) + "\n")
    for failure in report.failures:
        logger.error("%s failed at %s: %s", failure.key, failure.stage, failure.message)
    return SOME_FAILED if report.failed or report.stopped else DONE


if __name__ == "__main__":
    sys.exit(main())
