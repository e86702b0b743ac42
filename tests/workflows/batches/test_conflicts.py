"""No export overwrites a job's CSV or a file of the journal."""

from __future__ import annotations

from pathlib import Path

import attrs
import pytest

from indigo_async.errors import InvalidInputError
from indigo_async.workflows import AudienceJob, ExportStep, run_batch
from indigo_async.workflows.batches import conflicts
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
    assert "is the CSV of a job (42/List 0, jobs[0]); choose another file" in await refused([at(0, lists[0], lists[0])])


async def test_over_another_jobs_csv_before_or_after(lists: list[Path], tmp_path: Path):
    one, two = lists
    assert "is the CSV of a job (42/List 0, jobs[0]); choose another file" in await refused(
        [at(0, one, tmp_path / "x"), at(1, two, one)]
    )
    assert "is written by another job (42/List 0, jobs[0]); choose another file" in await refused(
        [at(0, one, two), at(1, two, tmp_path / "x")]
    )


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
    assert "is written by another job" in await refused(jobs)
    assert "is the CSV of a job (42/List 0, jobs[0]); choose another file" in await refused(
        [at(0, lists[0], Path("~/one.csv"))]
    )


@pytest.fixture
def linked(tmp_path: Path) -> Path:
    """A link to the folder of the lists."""
    link = tmp_path / "linked"
    link.symlink_to(tmp_path)
    return link


async def test_through_a_linked_folder(lists: list[Path], tmp_path: Path, linked: Path):
    jobs = [at(0, lists[0], tmp_path / "x.csv"), at(1, lists[1], linked / "x.csv")]
    assert await refused(jobs) == (
        f"jobs[1].export.destination: '{linked}/x.csv' is the same file as '{tmp_path}/x.csv', which is written by "
        "another job (42/List 0, jobs[0]); choose another file"
    )
    above = tmp_path / "new" / "folder"  # it is made when the first file is saved
    jobs = [at(0, lists[0], above / "x.csv"), at(1, lists[1], linked / "new" / "folder" / "x.csv")]
    assert "is written by another job" in await refused(jobs)
    assert (
        f"'{linked}/one.csv' is the same file as '{tmp_path}/one.csv', which is the CSV of a job (42/List 0, jobs[0])"
        in await refused([at(0, lists[0], linked / "one.csv")])
    )
    message = await refused([at(0, lists[0], linked / "j.rows")], journal=tmp_path / "j")
    assert "is the batch's own journal" in message
    message = await refused([at(0, lists[0], tmp_path / "j.rows")], journal=linked / "j")
    assert "is the batch's own journal" in message


async def test_over_what_a_linked_csv_leads_to(lists: list[Path], tmp_path: Path):
    (tmp_path / "latest.csv").symlink_to(lists[0])
    message = await refused([at(0, tmp_path / "latest.csv", tmp_path / "x.csv"), at(1, lists[1], lists[0])])
    assert "is the CSV of a job (42/List 0, jobs[0])" in message


@pytest.mark.parametrize("spelling", ["/{}", "{}/../{name}/x.csv", "{}/./x.csv", "{}//x.csv"])
async def test_other_spellings_of_a_path(lists: list[Path], tmp_path: Path, spelling: str):
    text = f"/{tmp_path}/x.csv" if spelling == "/{}" else spelling.format(tmp_path, name=tmp_path.name)
    one, two = (at(number, csv, tmp_path / "x.csv") for number, csv in enumerate(lists))
    two = attrs.evolve(two, export=ExportStep(destination=text))
    assert "is written by another job" in await refused([one, two])


async def test_through_a_linked_folder_while_jobs_are_read(lists: list[Path], tmp_path: Path, linked: Path):
    jobs = [at(0, lists[0], tmp_path / "x.csv"), at(1, lists[1], linked / "x.csv")]
    async with lite_sandbox() as sandbox, make_client(sandbox) as client:
        report = await run_batch(client, iter(jobs), publisher=sandbox.file_host, journal=tmp_path / "j")
    assert (report.done, report.failed) == (1, 1)
    message = report.failures[0].message
    assert f"'{linked}/x.csv' is the same file as '{tmp_path}/x.csv', which is written by another job" in message
    assert "(42/List 0, jobs[0])" in message


async def test_the_other_job_is_named_by_its_key(lists: list[Path], tmp_path: Path):
    jobs = [at(number, csv, tmp_path / "x.csv") for number, csv in enumerate(lists)]
    jobs[0] = attrs.evolve(jobs[0], key="spring donors")
    assert await refused(jobs) == (
        f"jobs[1].export.destination: '{tmp_path}/x.csv' is written by another job (spring donors, jobs[0]); "
        "choose another file"
    )


async def test_names_that_differ_in_case_only(lists: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    jobs = [at(0, lists[0], tmp_path / "Jos\u00e9.csv"), at(1, lists[1], tmp_path / "JOSe\u0301.csv")]
    async with lite_sandbox() as sandbox, make_client(sandbox) as client:
        assert (await run_batch(client, jobs, publisher=sandbox.file_host)).done == 2
    monkeypatch.setattr(conflicts, "_IGNORES_CASE", True)
    assert "is written by another job" in await refused(jobs)
