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
from indigo_async.workflows.batches.uses import MemoryUses, Use, Uses
from indigo_async.workflows.journal import SUFFIXES
from indigo_async.workflows.recipes.match import is_local_path

__all__ = ["Conflicts", "JobFiles", "check_jobs", "find_files", "journal_files"]

_IGNORES_CASE = sys.platform in {"darwin", "win32"}
"""Whether file systems usually take `Ann.csv` and `ann.csv` for one file."""


@attrs.frozen
class UsedFile:
    """A file that a job uses: its absolute path without links, and its path as the job has it."""

    path: str
    name: str


@attrs.frozen
class JobFiles:
    """The file that a job reads and the one that it writes."""

    source: UsedFile | None = None
    destination: UsedFile | None = None


def find_files(job: AudienceJob, resolve_folder: Callable[[str], str]) -> JobFiles:
    """Find out which files a job uses. Reads the disk. `resolve_folder` is `SharedChecks.resolve_folder`."""
    destination = None if job.export is None else job.export.destination
    return JobFiles(
        source=_find_file(job.csv, resolve_folder) if is_local_path(job.csv) else None,
        destination=None if destination is None else _find_file(destination, resolve_folder),
    )


def _fold_paths(paths: Iterable[str]) -> frozenset[str]:
    return frozenset(map(_fold_path, paths))


@attrs.define
class Conflicts:
    """The names and files that jobs use so far. `job_label` turns a job's number into text.

    `reserved_files` are files that no job may write.
    """

    job_label: Callable[[int], str] = "jobs[{}]".format
    reserved_files: frozenset[str] = attrs.field(default=frozenset(), converter=_fold_paths)
    _uses: Uses = attrs.Factory(MemoryUses)
    _has_sources: bool = attrs.field(default=False, init=False)

    def register(self, job: AudienceJob, files: JobFiles, number: int) -> list[Problem]:
        """Register the names and files of a checked job, unless they conflict with others. Returns the conflicts."""
        claimed: list[str] = []
        problems = [*self._claim_names(job, number, claimed), *self._claim_files(job, files, number, claimed)]
        if problems:
            for key in claimed:
                self._uses.release(key)
        return problems

    def _claim(self, key: str, use: Use, claimed: list[str]) -> Use | None:
        """Claim a key for a job, or return the use that it already has."""
        other = self._uses.claim(key, use)
        if other is None:
            claimed.append(key)
        return other

    def _claim_names(self, job: AudienceJob, number: int, claimed: list[str]) -> Iterator[Problem]:
        customer_id = job.customer_id
        for where, name in _audience_names(job):
            use = Use(str(job.key), number, name)
            other = self._claim(f"name {len(customer_id)} {customer_id}{name}", use, claimed)
            if other is not None:
                yield Problem(
                    where,
                    f"another job makes an audience named {name!r} for customer {customer_id!r}; names are unique "
                    f"({self._describe_job(other)})",
                )

    def _claim_files(self, job: AudienceJob, files: JobFiles, number: int, claimed: list[str]) -> Iterator[Problem]:
        def use(file: UsedFile) -> Use:
            return Use(str(job.key), number, file.name)

        source, target = files.source, files.destination
        if target is not None:
            folded = _fold_path(target.path)
            writer = self._claim(f"write {folded}", use(target), claimed)
            if writer is not None:
                yield self._conflict("export.destination", target, "is written by another job", writer)
            if folded in self.reserved_files:
                yield Problem(
                    "export.destination", f"{target.name!r} is the batch's own journal or manifest; choose another file"
                )
            reader = self._uses.find(f"read {folded}") if self._has_sources else None
            if reader is None and source is not None and _fold_path(source.path) == folded:
                reader = use(source)
            if reader is not None:
                yield self._conflict("export.destination", target, "is the CSV of a job", reader)
        if source is not None:
            folded, self._has_sources = _fold_path(source.path), True
            writer = self._uses.find(f"write {folded}")
            if writer is not None and writer.number != number:
                yield self._conflict("csv", source, "is written by another job", writer)
            self._claim(f"read {folded}", use(source), claimed)  # several jobs may read a file

    def _conflict(self, where: str, file: UsedFile, what: str, other: Use) -> Problem:
        """The problem that a file is used by another job, which may name it by another path."""
        is_same = "" if file.name == other.name else f" is the same file as {other.name!r}, which"
        return Problem(where, f"{file.name!r}{is_same} {what} ({self._describe_job(other)}); choose another file")

    def _describe_job(self, use: Use) -> str:
        return f"{use.job}, {self.job_label(use.number)}"


def _audience_names(job: AudienceJob) -> Iterator[tuple[str, str]]:
    """The fields that name the audiences that a job creates, with the names."""
    yield "audience_name", job.audience_name
    if job.lookalike is not None:
        yield "lookalike.audience_name", job.lookalike.audience_name


def _find_file(path: str | Path, resolve_folder: Callable[[str], str]) -> UsedFile:
    return UsedFile(_resolve(path, resolve_folder), str(path))


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
