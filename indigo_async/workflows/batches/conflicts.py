"""Conflicts between the jobs of a batch: two audiences with one name, or two exports to one file.

No export may overwrite a CSV that a job reads, nor a file of the journal.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import attrs

from indigo_async._validation import InputCheck
from indigo_async.errors import Problem
from indigo_async.files.publishing.publisher import Publisher
from indigo_async.workflows.batches.jobs import AudienceJob, SharedChecks, check_job
from indigo_async.workflows.journal import SUFFIXES
from indigo_async.workflows.recipes.match import is_url

__all__ = ["Conflicts", "check_jobs", "journal_files"]


@attrs.define
class Conflicts:
    """The names and files that jobs use so far, each with the job's number, which `job_label` turns into text.

    `reserved_files` are files that no job may write.
    """

    job_label: Callable[[int], str] = "jobs[{}]".format
    reserved_files: frozenset[str] = frozenset()
    _names: dict[str, dict[str, int]] = attrs.Factory(dict[str, dict[str, int]])
    _written_files: dict[str, int] = attrs.Factory(dict[str, int])
    _read_files: dict[str, int] = attrs.Factory(dict[str, int])

    def register(self, job: AudienceJob, number: int) -> list[Problem]:
        """Register the names and files of a checked job, unless they conflict with others. Returns the conflicts."""
        names = self._names.setdefault(job.customer_id, {})
        wanted = _audience_names(job)
        source = _absolute(job.csv) if isinstance(job.csv, (str, Path)) and not is_url(job.csv) else None  # pyright: ignore[reportUnnecessaryIsInstance] - a manifest reports conflicts besides other problems
        destination = None if job.export is None else job.export.destination
        target = None if destination is None else _absolute(destination)
        problems = [
            Problem(
                where,
                f"another job makes an audience named {name!r} for customer {job.customer_id!r}; names are unique "
                f"({self.job_label(names[name])})",
            )
            for where, name in wanted.items()
            if name in names
        ]
        problems += self._file_conflicts(source, target, number)
        if not problems:
            names.update(dict.fromkeys(wanted.values(), number))
            if target is not None:
                self._written_files[target] = number
            if source is not None:
                self._read_files.setdefault(source, number)
        return problems

    def _file_conflicts(self, source: str | None, target: str | None, number: int) -> Iterator[Problem]:
        if target in self._written_files:
            yield Problem(
                "export.destination", f"another job writes {target!r} ({self.job_label(self._written_files[target])})"
            )
        if target in self.reserved_files:
            yield Problem(
                "export.destination", f"{target!r} is the batch's own journal or manifest; choose another file"
            )
        if target is not None and (target == source or target in self._read_files):
            reader = self.job_label(self._read_files.get(target, number))
            yield Problem("export.destination", f"{target!r} is the CSV of a job ({reader}); choose another file")
        if source in self._written_files:
            yield Problem(
                "csv", f"{source!r} is written by another job ({self.job_label(self._written_files[source])})"
            )


def _audience_names(job: AudienceJob) -> dict[str, str]:
    """The names of the audiences that a job creates, by field."""
    names = {"audience_name": job.audience_name}
    if job.lookalike is not None:
        names["lookalike.audience_name"] = job.lookalike.audience_name
    return names


def _absolute(path: str | Path) -> str:
    return os.path.abspath(os.path.expanduser(path))  # noqa: PTH100, PTH111 - resolving links would ask the disk


def journal_files(journal: Path | str | None) -> frozenset[str]:
    """The files of a journal."""
    return frozenset() if journal is None else frozenset(_absolute(f"{journal}{suffix}") for suffix in SUFFIXES)


def check_jobs(
    jobs: Sequence[object], publisher: Publisher | None, reserved_files: frozenset[str] = frozenset()
) -> None:
    """Check all jobs before anything is sent. `reserved_files` are files that no job may write.

    Raises:
        InvalidInputError: with every problem of every job, including conflicts between jobs.
    """
    check = InputCheck()
    conflicts, shared = Conflicts(reserved_files=reserved_files), SharedChecks()
    for number, job in enumerate(jobs):
        where = f"jobs[{number}]"
        if not isinstance(job, AudienceJob):
            check.add(where, f"must be an AudienceJob, not {type(job).__name__}")
            continue
        part = InputCheck()
        checked = check_job(part, job, publisher, shared)
        check.add_nested(where, part.problems or conflicts.register(checked, number))
    check.raise_if_invalid()
