"""No export overwrites a job's CSV or a file of the journal."""

from __future__ import annotations

from pathlib import Path

import attrs
import pytest

from indigo_async.errors import InvalidInputError
from indigo_async.workflows import AudienceJob, ExportStep, run_batch
from tests.support.jobs import lite_sandbox, make_client, make_job


def at(number: int, csv: Path, destination: Path) -> AudienceJob:
    return attrs.evolve(make_job(number, csv.parent), csv=csv, export=ExportStep(destination=destination))


@pytest.fixture
def lists(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / "one.csv", tmp_path / "two.csv"]
    for path in paths:
        path.write_text("First,Last\nAda,Lovelace\n")
    return paths


async def refused(jobs: list[AudienceJob], **options: object) -> str:
    async with lite_sandbox() as sandbox, make_client(sandbox) as client:
        with pytest.raises(InvalidInputError) as caught:
            await run_batch(client, jobs, publisher=sandbox.file_host, **options)
        assert sandbox.log.count() == 0
    return str(caught.value)


async def test_over_its_own_csv(lists: list[Path]):
    assert "is the CSV of a job (jobs[0]); choose another file" in await refused([at(0, lists[0], lists[0])])


async def test_over_another_jobs_csv_before_or_after(lists: list[Path], tmp_path: Path):
    one, two = lists
    assert "is the CSV of a job (jobs[0]); choose another file" in await refused(
        [at(0, one, tmp_path / "x"), at(1, two, one)]
    )
    assert "is written by another job (jobs[0])" in await refused([at(0, one, two), at(1, two, tmp_path / "x")])


@pytest.mark.parametrize("end", ["", ".lock", ".rows", "-wal"])
async def test_over_the_journal(lists: list[Path], tmp_path: Path, end: str):
    message = await refused([at(0, lists[0], tmp_path / f"j{end}")], journal=tmp_path / "j")
    assert "is the batch's own journal or manifest; choose another file" in message


async def test_two_jobs_may_read_one_csv(lists: list[Path], tmp_path: Path):
    jobs = [at(number, lists[0], tmp_path / f"{number}-out.csv") for number in range(2)]
    async with lite_sandbox() as sandbox, make_client(sandbox) as client:
        report = await run_batch(client, jobs, publisher=sandbox.file_host, journal=tmp_path / "j")
    assert (report.done, report.failed) == (2, 0), report.failures
    assert lists[0].read_text() == "First,Last\nAda,Lovelace\n"


async def test_over_another_jobs_csv_in_the_home_folder(
    lists: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("HOME", str(tmp_path))
    jobs = [at(0, lists[0], tmp_path / "x.csv"), at(1, lists[1], Path("~/x.csv"))]
    assert "another job writes" in await refused(jobs)
    assert "is the CSV of a job (jobs[0]); choose another file" in await refused([at(0, lists[0], Path("~/one.csv"))])
