from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from indigo_async.sandbox.people import CsvTable, VoterFile

VoterFileMaker = Callable[[Sequence[dict[str, str]]], VoterFile]
TableMaker = Callable[[Sequence[dict[str, str]]], CsvTable]


@pytest.fixture(scope="session")
def voters() -> Iterator[VoterFile]:
    """A voter file that all tests of a process share; it never changes."""
    voters = VoterFile.synthetic(20_000, seed=0)
    yield voters
    voters.close()


@pytest.fixture
def voter_file(tmp_path: Path) -> Iterator[VoterFileMaker]:
    """Makes voter files of the people given, closed at the end of the test."""
    made: list[VoterFile] = []

    def make(people: Sequence[dict[str, str]]) -> VoterFile:
        path = tmp_path / f"voters{len(made)}.csv"
        with path.open("w", encoding="utf-8", newline="") as file:
            columns = list(dict.fromkeys(name for person in people for name in person))
            writer = csv.DictWriter(file, columns, restval="")
            writer.writeheader()
            writer.writerows(people)
        made.append(VoterFile.from_file(path))
        return made[-1]

    yield make
    for voters in made:
        voters.close()


@pytest.fixture
def table() -> TableMaker:
    """Makes uploads of the rows given."""

    def make(rows: Sequence[dict[str, str]]) -> CsvTable:
        columns = tuple(dict.fromkeys(name for row in rows for name in row))
        return CsvTable(columns, tuple(tuple(row.get(name, "") for row in rows) for name in columns))

    return make


@pytest.fixture
def no_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Generates every voter file again, in memory."""
    file = tmp_path / "not a folder"
    file.touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(file))
