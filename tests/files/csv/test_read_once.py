"""A local CSV is read once until it changes, however often it is checked."""

from __future__ import annotations

import os
import time
from collections import Counter
from pathlib import Path

import pytest

from indigo_async.errors import InvalidInputError
from indigo_async.files.csv import check
from indigo_async.files.csv.check import find_csv_problems, inspect_csv
from indigo_async.files.csv.head import CsvHead, read_head
from indigo_async.inputs import ColumnSelection
from indigo_async.sandbox import Sandbox
from tests.support.command_line import RunCommand, command_line

__all__ = ["command_line"]

FIRST = {"first_name": ColumnSelection("First", required=True)}
LAST_YEAR_NS = 1_700_000_000_000_000_000


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each file was read, by name."""
    counts = Counter[str]()

    def counting(path: Path) -> CsvHead:
        counts[path.name] += 1
        return read_head(path)

    monkeypatch.setattr(check, "read_head", counting)
    return counts


def write_list(path: Path, content: str = "First,Last\nAda,Lovelace\n", *, changed_ns: int = LAST_YEAR_NS) -> Path:
    path.write_text(content)
    os.utime(path, ns=(changed_ns, changed_ns))
    return path


def test_an_unchanged_file_is_read_once(tmp_path: Path, reads: Counter[str]):
    path = write_list(tmp_path / "donors.csv", "First ,Last\nAda,Lovelace\n")
    assert find_csv_problems(path, FIRST) == []
    first, second = inspect_csv(path, FIRST), inspect_csv(path, FIRST)
    assert reads == {"donors.csv": 1}
    assert first == second
    assert second.selections["first_name"] == ColumnSelection("First ", required=True)
    assert "that exact name is sent" in second.warnings[0]


def test_other_selections_and_other_files_are_not_taken_for_each_other(tmp_path: Path, reads: Counter[str]):
    path, other = write_list(tmp_path / "donors.csv"), write_list(tmp_path / "members.csv", "Last\nLovelace\n")
    assert find_csv_problems(path, FIRST) == []
    assert find_csv_problems(path, {"city": ColumnSelection("Town")}) != []
    assert find_csv_problems(other, FIRST) != []
    assert reads == {"donors.csv": 2, "members.csv": 1}


@pytest.mark.parametrize("change", ["time", "size", "replaced", "the time set back"])
def test_a_changed_file_is_read_again(tmp_path: Path, reads: Counter[str], change: str):
    path = write_list(tmp_path / "donors.csv")
    inspect_csv(path, FIRST)
    if change == "time":
        write_list(path, "Last,First\nAda,Lovelace\n", changed_ns=LAST_YEAR_NS + 1)
        assert inspect_csv(path, FIRST).warnings == ()
    elif change == "the time set back":
        time.sleep(0.02)  # file systems count in ticks of a few milliseconds
        write_list(path, "Fxrst,Last\nAda,Lovelace\n")
        with pytest.raises(InvalidInputError, match="has no column 'First'"):
            inspect_csv(path, FIRST)
    elif change == "size":
        write_list(path, "Last\nLovelace\n")
        with pytest.raises(InvalidInputError, match="has no column 'First'"):
            inspect_csv(path, FIRST)
    else:
        write_list(tmp_path / "new.csv", "Fxrst,Last\nAda,Lovelace\n").replace(path)
        with pytest.raises(InvalidInputError, match="has no column 'First'"):
            inspect_csv(path, FIRST)
    assert reads["donors.csv"] == 2


def test_a_refused_file_and_one_that_has_just_changed_are_read_each_time(tmp_path: Path, reads: Counter[str]):
    refused, recent = write_list(tmp_path / "refused.csv", "Last\nLee\n"), tmp_path / "recent.csv"
    recent.write_text("First,Last\nAda,Lovelace\n")
    for _ in range(2):
        assert find_csv_problems(refused, FIRST) != []
        assert find_csv_problems(recent, FIRST) == []
    assert reads == {"refused.csv": 2, "recent.csv": 2}


@pytest.mark.parametrize("options", [(), ("--check",)])
async def test_a_list_of_a_manifest_is_read_once_in_a_whole_run(
    command_line: RunCommand, tmp_path: Path, reads: Counter[str], options: tuple[str, ...]
):
    for name in ("donors", "members"):
        write_list(tmp_path / f"{name}.csv")
    (tmp_path / "jobs.csv").write_text(
        "customer_id,audience_name,csv,column_selections.first_name,column_selections.first_name.is_required\n"
        "42,Donors,donors.csv,First,true\n"
        "42,Members,members.csv,First,true\n"
    )
    async with Sandbox(lite=True, speed=100) as sandbox:
        result = await command_line(sandbox, "run", tmp_path / "jobs.csv", *options)
        assert (sandbox.log.count() > 0) == (not options)
    assert result.exit_code == 0
    assert reads == {"donors.csv": 1, "members.csv": 1}
