"""A manifest is checked as a whole, and its jobs are made again when they start, from the content that was checked."""

from __future__ import annotations

from pathlib import Path

import pytest

from indigo_async._validation import InputCheck
from indigo_async.cli.manifest import Manifest
from indigo_async.workflows.batches.jobs import check_job
from tests.support.manifests import errors_in, write, write_examples

JOB = "{customer_id: 42, audience_name: A, csv: 'https://files.example.org/a.csv', column_selections: {first_name: \
{column_name: First, is_required: true}}%s}"


@pytest.mark.parametrize("name", ["jobs.yaml", "jobs.csv", "jobs.jsonl"])
def test_the_jobs_are_those_that_were_checked(tmp_path: Path, name: str):
    write_examples(tmp_path)
    defaults = None if name == "jobs.yaml" else tmp_path / "defaults.yaml"
    manifest = Manifest.load(tmp_path / name, defaults=defaults)
    checked = list(manifest.check(can_publish=True))
    for file in (tmp_path / name, tmp_path / "defaults.yaml"):
        file.unlink()
    assert len(checked) == len(manifest) == 2
    for _ in range(2):
        assert [check_job(InputCheck(), job, can_publish=True) for job in manifest] == checked


def test_two_jobs_in_one_line_conflict_too(tmp_path: Path):
    write(tmp_path, {"jobs.yaml": f"jobs: [{JOB % ''}, {JOB % ''}]\n"})
    (error,) = errors_in(tmp_path / "jobs.yaml")
    assert error.startswith("jobs.yaml:1: audience_name: another job makes an audience named 'A'")


def test_jobs_before_their_defaults_have_no_errors_of_their_own(tmp_path: Path):
    write(tmp_path, {"jobs.yaml": "jobs:\n- {customer_id: 42, audience_name: A}\ndefaults: {csv: x}\n"})
    assert errors_in(tmp_path / "jobs.yaml") == ["jobs.yaml:3: defaults: must come before 'jobs'"]


def test_aliases_cannot_nest_what_the_file_does_not(tmp_path: Path):
    chain = "".join(f", x{level}: &a{level} [*a{level - 1}]" for level in range(1, 60))
    lookalike = f", lookalike: {{audience_name: B, size: 5, filters: {{extra: {{x0: &a0 [1]{chain}}}}}}}"
    write(tmp_path, {"jobs.yaml": f"jobs:\n- {JOB % lookalike}\n"})
    (error,) = errors_in(tmp_path / "jobs.yaml")
    assert error == "jobs.yaml:2: lookalike.filters.extra: is nested too deeply (limit: 50 levels)"
