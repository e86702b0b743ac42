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
from indigo_async.workflows.batches.uses import MemoryUses, Uses
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
    _uses: Uses = attrs.Factory(MemoryUses)
    _has_sources: bool = attrs.field(default=False, init=False)

    def register(self, job: AudienceJob, number: int) -> list[Problem]:
        """Register the names and files of a checked job, unless they conflict with others. Returns the conflicts."""
        claimed: list[str] = []
        problems = [*self._claim_names(job, number, claimed), *self._claim_files(job, number, claimed)]
        if problems:
            for key in claimed:
                self._uses.release(key)
        return problems

    def _claim(self, key: str, number: int, claimed: list[str]) -> int | None:
        """Claim a key for a job, or return the number of the job that uses it."""
        other = self._uses.claim(key, number)
        if other is None:
            claimed.append(key)
        return other

    def _claim_names(self, job: AudienceJob, number: int, claimed: list[str]) -> Iterator[Problem]:
        customer_id = job.customer_id
        for where, name in _audience_names(job):
            other = self._claim(f"name {len(customer_id)} {customer_id}{name}", number, claimed)
            if other is not None:
                yield Problem(
                    where,
                    f"another job makes an audience named {name!r} for customer {customer_id!r}; names are unique "
                    f"({self.job_label(other)})",
                )

    def _claim_files(self, job: AudienceJob, number: int, claimed: list[str]) -> Iterator[Problem]:
        source = _absolute(job.csv) if isinstance(job.csv, (str, Path)) and not is_url(job.csv) else None  # pyright: ignore[reportUnnecessaryIsInstance] - a manifest reports conflicts besides other problems
        destination = None if job.export is None else job.export.destination
        if destination is not None:
            target = _absolute(destination)
            writer = self._claim(f"write {target}", number, claimed)
            if writer is not None:
                yield Problem("export.destination", f"another job writes {target!r} ({self.job_label(writer)})")
            if target in self.reserved_files:
                yield Problem(
                    "export.destination", f"{target!r} is the batch's own journal or manifest; choose another file"
                )
            reader = self._uses.find(f"read {target}") if self._has_sources else None
            if reader is None and target == source:
                reader = number
            if reader is not None:
                yield Problem(
                    "export.destination",
                    f"{target!r} is the CSV of a job ({self.job_label(reader)}); choose another file",
                )
        if source is not None:
            self._has_sources = True
            writer = self._uses.find(f"write {source}")
            if writer is not None and writer != number:
                yield Problem("csv", f"{source!r} is written by another job ({self.job_label(writer)})")
            self._claim(f"read {source}", number, claimed)  # several jobs may read a file


def _audience_names(job: AudienceJob) -> Iterator[tuple[str, str]]:
    """The fields that name the audiences that a job creates, with the names."""
    yield "audience_name", job.audience_name
    if job.lookalike is not None:
        yield "lookalike.audience_name", job.lookalike.audience_name


def _absolute(path: str | Path) -> str:
    text = str(path)
    if isinstance(path, Path) and path.is_absolute() and ".." not in text:
        return text
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
