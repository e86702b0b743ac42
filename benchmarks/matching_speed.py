"""Measure how fast and how well the sandbox matches messy uploads against a synthetic voter file.

python -m benchmarks --only matching_speed
python -m benchmarks.matching_speed [voters] [rows]
"""

from __future__ import annotations

import sys
import time

from benchmarks.support.figures import Figure
from indigo_async.inputs import ColumnSelection
from indigo_async.sandbox.people import VoterFile, generate_messy_upload, match, parse_csv

COLUMNS = {
    "first_name": "First Name",
    "last_name": "Last Name",
    "address": "Street",
    "city": "City",
    "state": "State",
    "zip": "Zip Code",
    "phone": "Phone",
    "dob": "Birth Date",
}
REQUIRED = (
    ("first_name", "last_name"),
    ("last_name",),
    ("last_name", "zip"),
    ("first_name", "last_name", "city", "state"),
    ("dob",),
    ("zip",),
    ("state",),
)


def measure(*, quick: bool) -> list[Figure]:
    """Measure each set of required fields against a million voters."""
    count, rows = (100_000, 5_000) if quick else (1_000_000, 20_000)
    voters = VoterFile.synthetic(count)
    table = parse_csv(generate_messy_upload(voters, rows, seed=1).csv)
    speeds: dict[str, float] = {}
    on_cpu: list[float] = []
    for required in REQUIRED:
        selections = {field: ColumnSelection(column, field in required) for field, column in COLUMNS.items()}
        start, before = time.perf_counter(), time.process_time()
        match(voters, table, selections)
        speeds[", ".join(required)] = rows / (time.perf_counter() - start) * 60
        on_cpu.append(rows / (time.process_time() - before) * 60)
    voters.close()
    return [
        Figure(
            measure=f"rows that the sandbox matches per minute, {count:,} voters, slowest required fields",
            value=min(speeds.values()),
            at_least=200_000,
            notes=speeds,
        ),
        Figure(
            measure=f"rows that the sandbox matches per minute of CPU, {count:,} voters, slowest required fields",
            value=min(on_cpu),
            at_least=100_000,
        ),
    ]


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    rows = int(sys.argv[2]) if len(sys.argv) > 2 else 20_000
    start = time.perf_counter()
    voters = VoterFile.synthetic(count)
    print(f"{count:,} voters made in {time.perf_counter() - start:.1f} s")
    upload = generate_messy_upload(voters, rows, seed=1)
    start = time.perf_counter()
    table = parse_csv(upload.csv)
    print(f"{len(table):,} rows ({len(upload.csv) / 1e6:.1f} MB) read in {time.perf_counter() - start:.2f} s\n")
    findable = int((upload.truth >= 0).sum())
    print(f"{'required (all else optional)':<40}{'matched':>9}{'precision':>11}{'recall':>8}{'rows a minute':>15}")
    for required in REQUIRED:
        selections = {field: ColumnSelection(column, field in required) for field, column in COLUMNS.items()}
        start = time.perf_counter()
        result = match(voters, table, selections)
        seconds = time.perf_counter() - start
        right = int((upload.truth[result.rows] == result.voters).sum())
        print(
            f"{', '.join(required):<40}{len(result):>9,}{right / len(result):>11.4f}{right / findable:>8.4f}"
            f"{rows / seconds * 60:>15,.0f}"
        )
    voters.close()


if __name__ == "__main__":
    main()
