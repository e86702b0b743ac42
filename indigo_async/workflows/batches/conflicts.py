"""Conflicts between the jobs of a batch: two audiences with one name, or two exports to one file.

No export may overwrite a CSV that a job reads, nor a file of the journal. A file is the same whatever folder links lead
to it.
"""

from __future__ import annotations

import os
import sys
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import attrs

from indigo_async._validation import InputCheck
from indigo_async.errors import Problem
from indigo_async.files.downloads.destination import resolve_folder
from indigo_async.workflows.batches.jobs import AudienceJob, SharedChecks, check_job
from indigo_async.workflows.batches.uses import MemoryUses, Uses
from indigo_async.workflows.journal import SUFFIXES
from indigo_async.workflows.recipes.match import is_local_path

__all__ = ["Conflicts", "JobFiles", "check_jobs", "find_files", "journal_files"]

_IGNORES_CASE = sys.platform in {"darwin", "win32"}
"""Whether file systems usually take `Ann.csv` and `ann.csv` for one file."""


@attrs.frozen
class JobFiles:
    """The file that a job reads and the one that it writes: absolute paths without links."""

    source: str | None
    destination: str | None


def find_files(job: AudienceJob, resolve_folder: Callable[[str], str]) -> JobFiles:
    """Find out which files a job uses. Reads the disk. `resolve_folder` is `SharedChecks.resolve_folder`."""
    destination = None if job.export is None else job.export.destination
    return JobFiles(
        source=_resolve(job.csv, resolve_folder) if is_local_path(job.csv) else None,
        destination=None if destination is None else _resolve(destination, resolve_folder),
    )


def _fold_paths(paths: Iterable[str]) -> frozenset[str]:
    return frozenset(map(_fold_path, paths))


@attrs.define
class Conflicts:
    """The names and files that jobs use so far, each with the job's number, which `job_label` turns into text.

    `reserved_files` are files that no job may write.
    """

    job_label: Callable[[int], str] = "jobs[{}]".format
    reserved_files: frozenset[str] = attrs.field(default=frozenset(), converter=_fold_paths)
    _uses: Uses = attrs.Factory(MemoryUses)
    _has_sources: bool = attrs.field(default=False, init=False)

    def register(self, job: AudienceJob, files: JobFiles, number: int) -> list[Problem]:
        """Register the names and files of a checked job, unless they conflict with others. Returns the conflicts."""
        claimed: list[str] = []
        problems = [*self._claim_names(job, number, claimed), *self._claim_files(files, number, claimed)]
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

    def _claim_files(self, files: JobFiles, number: int, claimed: list[str]) -> Iterator[Problem]:
        source, target = files.source, files.destination
        if target is not None:
            folded = _fold_path(target)
            writer = self._claim(f"write {folded}", number, claimed)
            if writer is not None:
                yield Problem("export.destination", f"another job writes {target!r} ({self.job_label(writer)})")
            if folded in self.reserved_files:
                yield Problem(
                    "export.destination", f"{target!r} is the batch's own journal or manifest; choose another file"
                )
            reader = self._uses.find(f"read {folded}") if self._has_sources else None
            if reader is None and source is not None and _fold_path(source) == folded:
                reader = number
            if reader is not None:
                yield Problem(
                    "export.destination",
                    f"{target!r} is the CSV of a job ({self.job_label(reader)}); choose another file",
                )
        if source is not None:
            folded, self._has_sources = _fold_path(source), True
            writer = self._uses.find(f"write {folded}")
            if writer is not None and writer != number:
                yield Problem("csv", f"{source!r} is written by another job ({self.job_label(writer)})")
            self._claim(f"read {folded}", number, claimed)  # several jobs may read a file


def _audience_names(job: AudienceJob) -> Iterator[tuple[str, str]]:
    """The fields that name the audiences that a job creates, with the names."""
    yield "audience_name", job.audience_name
    if job.lookalike is not None:
        yield "lookalike.audience_name", job.lookalike.audience_name


def _resolve(path: str | Path, resolve_folder: Callable[[str], str]) -> str:
    text = os.path.expanduser(path)  # noqa: PTH111 - pathlib takes longer than all system calls here
    folder, name = os.path.split(text)
    try:
        resolved = os.path.join(resolve_folder(folder), name)  # noqa: PTH118 - as above
    except ValueError:  # the check of the job reports what can't be a path
        return os.path.abspath(text)  # noqa: PTH100 - as above
    return os.path.realpath(resolved) if os.path.islink(resolved) else resolved  # noqa: PTH114 - as above


def _fold_path(path: str) -> str:
    """The same text for all paths that name one file."""
    return unicodedata.normalize("NFC", path).casefold() if _IGNORES_CASE else path


def journal_files(journal: Path | str | None) -> frozenset[str]:
    """The files of a journal."""
    if journal is None:
        return frozenset()
    return frozenset(_resolve(f"{journal}{suffix}", resolve_folder) for suffix in SUFFIXES)


def check_jobs(jobs: Sequence[object], *, can_publish: bool, reserved_files: frozenset[str] = frozenset()) -> None:
    """Check all jobs before anything is sent.

    `can_publish`: whether CSVs may be local files. `reserved_files` are files that no job may write.

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
        checked = check_job(part, job, shared, can_publish=can_publish)
        if not part.problems:
            part.problems += conflicts.register(checked, find_files(checked, shared.resolve_folder), number)
        check.add_nested(where, part.problems)
    check.raise_if_invalid()
