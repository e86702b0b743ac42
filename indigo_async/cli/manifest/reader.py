"""From a manifest to jobs that obey every rule, or to all that is wrong with it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType
from typing import Any

from indigo_async._text import did_you_mean
from indigo_async._validation import InputCheck
from indigo_async.cli.manifest.csv_jsonl_rows import read_csv_rows, read_jsonl_rows
from indigo_async.cli.manifest.errors import Location, ManifestErrors
from indigo_async.cli.manifest.fields import REQUIRED
from indigo_async.cli.manifest.rows import Row, merge_row
from indigo_async.cli.manifest.templates import TEMPLATE_FIELDS, fill_template, find_placeholders
from indigo_async.cli.manifest.yaml_rows import read_yaml_defaults, read_yaml_rows
from indigo_async.errors import InvalidInputError, Problem
from indigo_async.files.publishing.publisher import Publisher
from indigo_async.inputs import LookalikeFilters
from indigo_async.workflows.batches.conflicts import Conflicts
from indigo_async.workflows.batches.jobs import AudienceJob, ExportStep, LookalikeStep, check_job
from indigo_async.workflows.recipes.match import is_url

__all__ = ["read_manifest"]

_FORMATS: dict[str, Callable[[Path, str, ManifestErrors], Iterator[Row]]] = {
    ".yaml": read_yaml_rows,
    ".yml": read_yaml_rows,
    ".csv": read_csv_rows,
    ".jsonl": read_jsonl_rows,
    ".ndjson": read_jsonl_rows,
}
_CONFLICT_FIELDS = {"customer_id", "audience_name", "lookalike.audience_name", "export.destination"}


def read_manifest(
    path: Path, *, defaults: Path | None = None, out: Path | None = None, publisher: Publisher | None = None
) -> list[AudienceJob]:
    """Read and check all jobs of a manifest; docs/manifest.md tells the format.

    Args:
        path: a file that ends in .yaml, .yml, .csv, .jsonl or .ndjson.
        defaults: a YAML file of fields that hold for every job which does not say otherwise.
        out: the folder that relative destinations start from; else the manifest's, as for the CSVs.
        publisher: what will put local CSVs at URLs; without it they are a mistake.

    Raises:
        InvalidInputError: with every mistake of every row, and where it stands; or a file that cannot be read.
    """
    try:
        return _read(path, defaults=defaults, out=out, publisher=publisher)
    except OSError as error:
        file = Path(error.filename or path)
        meant = _suggest_file(path) if file == path and isinstance(error, FileNotFoundError) else ""
        raise InvalidInputError([Problem(str(file), f"cannot be read: {error.strerror}{meant}")]) from error


def _suggest_file(path: Path) -> str:
    """The end of a message about a manifest that is not there: the one beside it that was probably meant."""
    with suppress(OSError):
        return did_you_mean(path.name, [file.name for file in path.parent.iterdir() if file.suffix.lower() in _FORMATS])
    return ""


def _read(path: Path, *, defaults: Path | None, out: Path | None, publisher: Publisher | None) -> list[AudienceJob]:
    mistakes = ManifestErrors()
    common = (
        read_yaml_defaults(defaults, str(defaults), mistakes) if defaults is not None else Row(Location(str(path), 1))
    )
    suffix = path.suffix.lower()
    if suffix not in _FORMATS:
        raise InvalidInputError(
            [Problem(str(path), f"must end in {', '.join(_FORMATS)}{did_you_mean(suffix, _FORMATS)}")]
        )
    rows = _FORMATS[suffix](path, str(path), mistakes)
    if _FORMATS[suffix] is read_yaml_rows:
        common = _merge_defaults(common, next(rows, None))
    kept = {str(file.absolute()) for file in (path, defaults) if file is not None}
    jobs = _JobBuilder(common, path.parent, out if out is not None else path.parent, publisher, mistakes, kept=kept)
    read = [job for row in rows if (job := jobs.build(row)) is not None]
    if not read and not mistakes:
        mistakes.add(Location(str(path), 1), "", "names no jobs")
    mistakes.raise_if_any()
    return read


def _merge_defaults(below: Row, above: Row | None) -> Row:
    """Defaults over defaults."""
    if above is None:
        return below
    places = {field: below.locations.get(field, below.location) for field in below.values}
    places |= {field: above.locations.get(field, above.location) for field in above.values}
    return Row(above.location, merge_row(below, above), places, below.invalid_fields | above.invalid_fields)


class _JobBuilder:
    """Makes jobs of rows, and notes what is wrong with them."""

    def __init__(
        self,
        defaults: Row,
        folder: Path,
        out: Path,
        publisher: Publisher | None,
        mistakes: ManifestErrors,
        *,
        kept: set[str],
    ) -> None:
        self._defaults = defaults
        defaults.values = {field: value for field, value in defaults.values.items() if value is not None}
        self._folder = folder
        self._out = out
        self._publisher = publisher
        self._mistakes = mistakes
        self._templates = self._check_templates()
        self._claims = Conflicts(job_label="line {}".format, reserved_files=frozenset(kept))
        self._shared: dict[str, Mapping[str, dict[str, Any]]] = {}

    def build(self, row: Row) -> AudienceJob | None:
        """The job of a row; None when something is wrong, which is noted."""
        refused = row.invalid_fields | self._defaults.invalid_fields
        values = merge_row(self._defaults, row)
        self._report_missing_fields(row, values, refused)
        self._fill_templates(row, values, refused)
        told = frozenset(refused)
        job = self._construct_job(values)
        for field, message in [(_to_field_name(problem.where), problem.message) for problem in self._validate(job)]:
            if field not in told:
                refused.add(field)
                self._add_error(row, field, message)
        if not refused & _CONFLICT_FIELDS:
            for problem in self._claims.register(job, row.location.line):
                refused.add(problem.where)
                self._add_error(row, problem.where, problem.message)
        return None if refused else job

    def _add_error(self, row: Row, field: str, message: str) -> None:
        """Note a mistake where its cause stands: in the row, or in a default that is the same for all rows."""
        place = row.locate(field) or (self._defaults.locate(field) if field not in self._templates else None)
        self._mistakes.add(place or row.location, field, message)

    def _check_templates(self) -> dict[str, set[str]]:
        """The defaults that vary from job to job, and the fields that they name."""
        templates: dict[str, set[str]] = {}
        for field in TEMPLATE_FIELDS:
            template = self._defaults.values.get(field)
            if not isinstance(template, str):
                continue
            try:
                templates[field] = find_placeholders(field, template)
            except ValueError as error:
                self._defaults.invalid_fields.add(field)
                self._mistakes.add(self._defaults.locate(field) or self._defaults.location, field, str(error))
        return {field: names for field, names in templates.items() if names or _contains_braces(self._defaults, field)}

    def _fill_templates(self, row: Row, values: dict[str, object], refused: set[str]) -> None:
        for field, names in self._templates.items():
            template = values.get(field)
            if field in row.values or not isinstance(template, str):
                continue
            try:
                values[field] = fill_template(field, template, values)
            except ValueError as error:
                if refused.isdisjoint(names):
                    self._add_error(row, field, str(error))
                refused.add(field)

    def _report_missing_fields(self, row: Row, values: Mapping[str, object], refused: set[str]) -> None:
        sections = {field[: field.find(".")] for field in values if "." in field}
        for section, fields in REQUIRED.items():
            if section and section not in sections:
                continue
            for field in fields:
                if field not in values and field not in sections and field not in refused:
                    refused.add(field)
                    self._mistakes.add(row.location, field, "is missing")

    def _construct_job(self, values: Mapping[str, object]) -> AudienceJob:
        """The job that the values make, right or wrong: the rules of the API judge it."""
        given = _nest(values)
        columns: dict[str, dict[str, Any]] = given.pop("column_selections", {})
        lookalike, export = given.pop("lookalike", None), given.pop("export", None)
        csv = _resolve_path(self._folder, given.pop("csv", ""))
        if lookalike is not None:
            filters = lookalike.pop("filters", None)
            lookalike = LookalikeStep(
                **{"audience_name": "", "size": 0} | lookalike,
                filters=LookalikeFilters(**filters) if filters is not None else None,
            )
        if export is not None:
            export = ExportStep(**export | {"destination": _resolve_path(self._out, export.get("destination", ""))})
        return AudienceJob(
            **{"customer_id": "", "audience_name": ""} | given,
            csv=csv,
            # Read-only, since a job makes its own copy of a dict.
            column_selections=self._shared.setdefault(repr(columns), MappingProxyType(columns)),
            lookalike=lookalike,
            export=export,
        )

    def _validate(self, job: AudienceJob) -> list[Problem]:
        check = InputCheck()
        check.text("key", job.key)
        try:
            check_job(check, job, self._publisher)
        except OSError as error:  # such as a name longer than the disk can keep
            check.add("export.destination" if job.export is not None else "csv", error.strerror or str(error))
        return check.problems


def _contains_braces(row: Row, field: str) -> bool:
    return "{" in str(row.values[field]) or "}" in str(row.values[field])


def _nest(values: Mapping[str, object]) -> dict[str, Any]:
    """Values by dotted field as mappings in mappings."""
    nested: dict[str, Any] = {}
    for field, value in values.items():
        *sections, name = field.split(".")
        inner = nested
        for section in sections:
            inner = inner.setdefault(section, {})
        inner[name] = value
    return nested


def _resolve_path(folder: Path, path: Any) -> Any:
    """A relative path as seen from a folder; anything else as it is."""
    return str(folder / path) if isinstance(path, str) and path and not is_url(path) else path


def _to_field_name(where: str) -> str:
    """The manifest's name of what a rule complains about."""
    return re.sub(r"\[\d+\].*", "", where)
