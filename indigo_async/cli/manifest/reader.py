"""Reads a manifest: checked jobs, or every error in it."""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeAlias

from indigo_async._text import did_you_mean
from indigo_async._validation import InputCheck
from indigo_async.cli.manifest.fields import REQUIRED
from indigo_async.cli.manifest.formats import read_csv_rows, read_jsonl_rows, read_yaml_defaults, read_yaml_manifest
from indigo_async.cli.manifest.rows import Location, ManifestErrors, Row, merge_row
from indigo_async.cli.manifest.templates import TEMPLATE_FIELDS, fill_template, find_placeholders
from indigo_async.errors import InvalidInputError, Problem
from indigo_async.files.publishing.publisher import Publisher
from indigo_async.inputs import LookalikeFilters
from indigo_async.workflows.batches.conflicts import Conflicts
from indigo_async.workflows.batches.jobs import AudienceJob, ExportStep, LookalikeStep, check_job
from indigo_async.workflows.recipes.match import is_url

__all__ = ["read_manifest"]

_YAML_SUFFIXES = (".yaml", ".yml")
_ROW_READERS: dict[str, Callable[[Path, ManifestErrors], Iterator[Row]]] = {
    ".csv": read_csv_rows,
    ".jsonl": read_jsonl_rows,
    ".ndjson": read_jsonl_rows,
}
_SUFFIXES = (*_YAML_SUFFIXES, *_ROW_READERS)
JobCheck: TypeAlias = Callable[[InputCheck, AudienceJob, Publisher | None], AudienceJob]
_CONFLICT_FIELDS = {"customer_id", "audience_name", "lookalike.audience_name", "export.destination"}


def read_manifest(
    path: Path,
    *,
    defaults: Path | None = None,
    out: Path | None = None,
    publisher: Publisher | None = None,
    reserved_files: frozenset[str] = frozenset(),
    check: JobCheck = check_job,
) -> Iterator[AudienceJob]:
    """Yield the valid jobs of a manifest as they are read. docs/reference/manifest.md describes the format.

    Args:
        path: a file whose name ends in .yaml, .yml, .csv, .jsonl or .ndjson.
        defaults: a YAML file of fields for jobs that don't set them.
        out: the folder that relative destinations start from (default: the manifest's folder, as for CSVs).
        publisher: publishes local CSVs; without one, a local CSV is an error.
        reserved_files: more files that no job may write, such as the journal's.
        check: checks each job.

    Raises:
        InvalidInputError: at the end, if a file cannot be read or has errors: all of them, each with its file, line
            and field.
    """
    with _explaining_unreadable_files(path):
        errors = ManifestErrors()
        common = read_yaml_defaults(defaults, errors) if defaults is not None else Row(Location(str(path), 1))
        suffix = path.suffix.lower()
        if suffix in _YAML_SUFFIXES:
            own_defaults, rows = read_yaml_manifest(path, errors)
            common = _merge_defaults(common, own_defaults)
        elif suffix in _ROW_READERS:
            rows = _ROW_READERS[suffix](path, errors)
        else:
            kind = "is a folder; name a file: it " if path.is_dir() else ""
            message = f"{kind}must end in {', '.join(_SUFFIXES)}{did_you_mean(suffix, _SUFFIXES)}"
            raise InvalidInputError([Problem(str(path), message)])
        own_files = {str(file.absolute()) for file in (path, defaults) if file is not None}
        conflicts = Conflicts(job_label="line {}".format, reserved_files=reserved_files | own_files)
        folder = path.parent
        builder = _JobBuilder(
            common,
            errors,
            conflicts,
            folder=folder,
            out=folder if out is None else out,
            check=lambda problems, job: check(problems, job, publisher),
        )
        is_empty = True
        for row in rows:
            is_empty = False
            if (job := builder.build(row)) is not None:
                yield job
        if is_empty and not errors:
            errors.add(Location(str(path), 1), "", "has no jobs")
        errors.raise_if_any()


@contextmanager
def _explaining_unreadable_files(path: Path) -> Generator[None]:
    try:
        yield
    except OSError as error:
        file = Path(error.filename or path)
        hint = _suggest_file(path) if file == path and isinstance(error, FileNotFoundError) else ""
        raise InvalidInputError([Problem(str(file), f"cannot be read: {error.strerror}{hint}")]) from error


def _suggest_file(path: Path) -> str:
    with suppress(OSError):
        return did_you_mean(
            path.name, [file.name for file in path.parent.iterdir() if file.suffix.lower() in _SUFFIXES]
        )
    return ""


def _merge_defaults(base: Row, override: Row) -> Row:
    locations = {field: row.locations.get(field, row.location) for row in (base, override) for field in row.values}
    values = merge_row(base, override)
    return Row(override.location, values, locations, base.invalid_fields | override.invalid_fields)


class _JobBuilder:
    """Makes jobs from rows and collects their errors."""

    def __init__(
        self,
        defaults: Row,
        errors: ManifestErrors,
        conflicts: Conflicts,
        *,
        folder: Path,
        out: Path,
        check: Callable[[InputCheck, AudienceJob], AudienceJob],
    ) -> None:
        self._defaults = defaults
        defaults.values = {field: value for field, value in defaults.values.items() if value is not None}
        self._folder = folder
        self._out = out
        self._check = check
        self._errors = errors
        self._conflicts = conflicts
        self._templates = self._find_templates()
        self._shared_columns: dict[str, Mapping[str, dict[str, Any]]] = {}

    def build(self, row: Row) -> AudienceJob | None:
        """Return a row's job, or None after adding its errors."""
        invalid = row.invalid_fields | self._defaults.invalid_fields
        values = merge_row(self._defaults, row)
        self._take_download(row, values, invalid)
        self._check_required(row, values, invalid)
        self._fill_templates(row, values, invalid)
        reported = frozenset(invalid)
        job = self._make_job(values)
        checked, problems = self._validate(job)
        for problem in problems:
            field = re.sub(r"\[\d+\].*", "", problem.where)  # a list's items have no locations
            if field not in reported:
                invalid.add(field)
                self._add_error(row, field, problem.message)
        if not invalid & _CONFLICT_FIELDS:
            for problem in self._conflicts.register(checked, row.location.line):
                invalid.add(problem.where)
                self._add_error(row, problem.where, problem.message)
        return None if invalid else job

    def _add_error(self, row: Row, field: str, message: str) -> None:
        """Add an error at its cause: the row, or a default that is the same for all rows."""
        location = row.locate(field) or (self._defaults.locate(field) if field not in self._templates else None)
        self._errors.add(location or row.location, field, message)

    def _find_templates(self) -> dict[str, set[str]]:
        """Return the placeholders of each default that is a template."""
        templates: dict[str, set[str]] = {}
        for field in TEMPLATE_FIELDS:
            template = self._defaults.values.get(field)
            if not isinstance(template, str) or not {"{", "}"} & set(template):
                continue
            try:
                templates[field] = find_placeholders(field, template)
            except ValueError as error:
                self._defaults.invalid_fields.add(field)
                self._errors.add(self._defaults.locate(field) or self._defaults.location, field, str(error))
        return templates

    def _fill_templates(self, row: Row, values: dict[str, object], invalid: set[str]) -> None:
        for field, placeholders in self._templates.items():
            template = values.get(field)
            if field in row.values or not isinstance(template, str):
                continue
            try:
                values[field] = fill_template(field, template, values)
            except ValueError as error:
                if invalid.isdisjoint(placeholders):
                    self._add_error(row, field, str(error))
                invalid.add(field)

    def _take_download(self, row: Row, values: dict[str, object], invalid: set[str]) -> None:
        """With `export.download: false`, the job's destination is None, whatever the defaults say."""
        download = values.get("export.download", True)
        if download is False and row.values.get("export.destination") is not None:
            invalid.add("export.download")
            self._add_error(row, "export.download", "is false, so leave out export.destination")
        elif download is False:
            values["export.destination"] = None
        elif download is not True and "export.download" not in invalid:
            invalid.add("export.download")
            self._add_error(row, "export.download", "must be true or false")

    def _check_required(self, row: Row, values: Mapping[str, object], invalid: set[str]) -> None:
        sections = {field[: field.find(".")] for field in values if "." in field}
        for section, fields in REQUIRED.items():
            if section and section not in sections:
                continue
            for field in fields:
                if field not in values and field not in sections and field not in invalid:
                    invalid.add(field)
                    self._errors.add(row.location, field, "is missing")

    def _make_job(self, values: Mapping[str, object]) -> AudienceJob:
        """Make a job that may be invalid: `_validate` checks it."""
        nested = _nest(values)
        columns: dict[str, dict[str, Any]] = nested.pop("column_selections", {})
        lookalike, export = nested.pop("lookalike", None), nested.pop("export", None)
        csv = _resolve_path(self._folder, nested.pop("csv", ""))
        if lookalike is not None:
            filters = lookalike.pop("filters", None)
            lookalike = LookalikeStep(
                **{"audience_name": "", "size": 0} | lookalike,
                filters=LookalikeFilters(**filters) if filters is not None else None,
            )
        if export is not None:
            export.pop("download", None)  # `_take_download` has read it
            export = ExportStep(**export | {"destination": _resolve_path(self._out, export.get("destination", ""))})
        return AudienceJob(
            **{"customer_id": "", "audience_name": ""} | nested,
            csv=csv,
            # Equal selections are shared, and read-only because a job copies a dict.
            column_selections=self._shared_columns.setdefault(repr(columns), MappingProxyType(columns)),
            lookalike=lookalike,
            export=export,
        )

    def _validate(self, job: AudienceJob) -> tuple[AudienceJob, list[Problem]]:
        """Return the checked job and its problems."""
        check = InputCheck()
        check.text("key", job.key)
        checked = job
        try:
            checked = self._check(check, job)
        except OSError as error:  # for example, a file name that is too long
            check.add("export.destination" if job.export is not None else "csv", error.strerror or str(error))
        return checked, check.problems


def _nest(values: Mapping[str, object]) -> dict[str, Any]:
    """Turn dotted names into nested mappings."""
    nested: dict[str, Any] = {}
    for field, value in values.items():
        *sections, name = field.split(".")
        inner = nested
        for section in sections:
            inner = inner.setdefault(section, {})
        inner[name] = value
    return nested


def _resolve_path(folder: Path, path: Any) -> Any:
    """Resolve a relative path against a folder, and keep a slash at its end; anything else is returned as is."""
    if not isinstance(path, str) or not path or is_url(path):
        return path
    return f"{folder / path}{'/' if path.endswith('/') else ''}"
