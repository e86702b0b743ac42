"""Reads a manifest: checked jobs, or every error in it."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Generator, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import MappingProxyType
from typing import Any, Generic, TypeAlias, TypeVar

import attrs

from indigo_async._text import did_you_mean
from indigo_async._validation import InputCheck
from indigo_async.cli.manifest.fields import FIELDS, REQUIRED, SECTIONS
from indigo_async.cli.manifest.formats import read_csv_rows, read_jsonl_rows, read_yaml_defaults, read_yaml_manifest
from indigo_async.cli.manifest.rows import Location, ManifestErrors, Row, merge_row
from indigo_async.cli.manifest.templates import TEMPLATE_FIELDS, Template, parse_template
from indigo_async.errors import InvalidInputError, Problem
from indigo_async.inputs import ColumnSelections, ColumnSelectionsInput, LookalikeFilters
from indigo_async.workflows.batches.conflicts import Conflicts, JobFiles, find_files
from indigo_async.workflows.batches.jobs import AudienceJob, ExportStep, LookalikeStep, SharedChecks, check_job
from indigo_async.workflows.batches.uses import uses_on_disk
from indigo_async.workflows.recipes.match import is_local_path, is_url

__all__ = ["Manifest", "read_manifest"]

_YAML_SUFFIXES = (".yaml", ".yml")
_ROW_READERS: dict[str, Callable[[bytes, str, ManifestErrors], Iterator[Row]]] = {
    ".csv": read_csv_rows,
    ".jsonl": read_jsonl_rows,
    ".ndjson": read_jsonl_rows,
}
_SUFFIXES = (*_YAML_SUFFIXES, *_ROW_READERS)
JobCheck: TypeAlias = Callable[[InputCheck, AudienceJob], None]
_CONFLICT_FIELDS = {"customer_id", "audience_name", "lookalike.audience_name", "export.destination"}
_MAX_SHARED_OBJECTS = 1_000

T = TypeVar("T")


def _find_arguments(section: str) -> dict[str, str]:
    """The fields that are arguments of a job (the section "") or of one of its steps, with the arguments' names."""
    prefix = f"{section}." if section else ""
    names = {field: field.removeprefix(prefix) for field in FIELDS if field.startswith(prefix)}
    return {field: name for field, name in names.items() if "." not in name and field != "export.download"}


_ARGUMENTS = {section: _find_arguments(section) for section in REQUIRED}


def read_manifest(
    path: Path,
    *,
    defaults: Path | None = None,
    out: Path | None = None,
    can_publish: bool = False,
    reserved_files: frozenset[str] = frozenset(),
    more_checks: JobCheck | None = None,
) -> Iterator[AudienceJob]:
    """Yield the valid jobs of a manifest as they are read, in their normal form.

    Args:
        path: see `Manifest.load`, as for `defaults` and `out`.
        defaults: as above.
        out: as above.
        can_publish: see `Manifest.check`, as for `reserved_files` and `more_checks`.
        reserved_files: as above.
        more_checks: as above.

    Raises:
        InvalidInputError: at the end, if a file cannot be read or has errors: all of them, each with its file, line
            and field.
    """
    manifest = Manifest.load(path, defaults=defaults, out=out)
    yield from manifest.check(can_publish=can_publish, reserved_files=reserved_files, more_checks=more_checks)


@attrs.frozen
class _File:
    path: Path
    content: bytes = attrs.field(repr=False)


@attrs.define(eq=False)
class Manifest(Collection[AudienceJob]):
    """A manifest as it was when it was loaded. docs/reference/manifest.md describes the format.

    `check` yields its jobs and reports all errors. Afterwards, iterate over the manifest for the same jobs, without the
    checks. Jobs are made one by one, so only the file's content is in memory.
    """

    _file: _File
    _defaults: _File | None
    _out: Path
    _count: int = attrs.field(default=0, init=False)

    @classmethod
    def load(cls, path: Path, *, defaults: Path | None = None, out: Path | None = None) -> Manifest:
        """Load a manifest.

        Args:
            path: a file whose name ends in .yaml, .yml, .csv, .jsonl or .ndjson.
            defaults: a YAML file of fields for jobs that don't set them.
            out: the folder that relative destinations start from (default: the manifest's folder, as for CSVs).

        Raises:
            InvalidInputError: a file cannot be read, or is not a manifest by its name.
        """
        with _explaining_unreadable_files(path):
            suffix = path.suffix.lower()
            common = None if defaults is None else _File(defaults, defaults.read_bytes())
            if suffix not in _SUFFIXES:
                kind = "is a folder; name a file: it " if path.is_dir() else ""
                message = f"{kind}must end in {', '.join(_SUFFIXES)}{did_you_mean(suffix, _SUFFIXES)}"
                raise InvalidInputError([Problem(str(path), message)])
            return cls(_File(path, path.read_bytes()), common, path.parent if out is None else out)

    def check(
        self,
        *,
        can_publish: bool = False,
        reserved_files: frozenset[str] = frozenset(),
        more_checks: JobCheck | None = None,
    ) -> Iterator[AudienceJob]:
        """Yield the valid jobs as they are read, in their normal form.

        Args:
            can_publish: whether local CSVs can be published. They are checked in any case.
            reserved_files: more files that no job may write, such as the journal's.
            more_checks: also called with each job.

        Raises:
            InvalidInputError: at the end, if there are errors: all of them, each with its file, line and field.
        """
        errors, shared, self._count = ManifestErrors(), SharedChecks(), 0
        unpublished = None if can_publish else _UnpublishedCsvs()

        def check(problems: InputCheck, job: AudienceJob) -> AudienceJob:
            if more_checks is not None:
                more_checks(problems, job)
            return check_job(problems, job, shared, can_publish=True)

        own_files = {str(file.path.resolve()) for file in (self._file, self._defaults) if file is not None}
        with uses_on_disk() as uses:
            conflicts = Conflicts("line {}".format, reserved_files | own_files, uses)
            builder, rows = self._read(errors)
            checker = _JobChecker(
                builder,
                errors,
                conflicts,
                check,
                lambda job: find_files(job, shared.resolve_folder),
                unpublished,
            )
            for row in rows:
                self._count += 1
                if (job := checker.check(row)) is not None:
                    yield job
        if not self._count and not errors:
            errors.add(Location(str(self._file.path), 1), "", "has no jobs")
        if unpublished is not None:
            unpublished.add_errors(errors)
        errors.raise_if_any()

    def __iter__(self) -> Iterator[AudienceJob]:
        builder, rows = self._read(ManifestErrors())
        for row in rows:
            job, _ = builder.build(row)
            yield job

    def __len__(self) -> int:
        return self._count

    def __contains__(self, job: object) -> bool:
        return any(job == own for own in self)

    def _read(self, errors: ManifestErrors) -> tuple[_JobBuilder, Iterator[Row]]:
        path, content = self._file.path, self._file.content
        common = Row(Location(str(path), 1))
        if self._defaults is not None:
            common = read_yaml_defaults(self._defaults.content, str(self._defaults.path), errors)
        suffix = path.suffix.lower()
        if suffix in _YAML_SUFFIXES:
            own_defaults, rows = read_yaml_manifest(content, str(path), errors)
            common = _merge_defaults(common, own_defaults)
        else:
            rows = _ROW_READERS[suffix](content, str(path), errors)
        return _JobBuilder(common, errors, folder=path.parent, out=self._out), rows


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
    """Makes jobs from rows, which may be invalid, and collects the errors that are not about a job's values."""

    def __init__(self, defaults: Row, errors: ManifestErrors, *, folder: Path, out: Path) -> None:
        self._defaults = defaults
        defaults.values = {field: value for field, value in defaults.values.items() if value is not None}
        self._folder = folder
        self._out = out
        self._errors = errors
        self._templates = self._parse_templates()
        self._columns = _Shared("column_selections", _make_columns, defaults.values)
        self._filters = _Shared("lookalike.filters", _make_filters, defaults.values)

    def build(self, row: Row) -> tuple[AudienceJob, set[str]]:
        """Return a row's job, and the fields whose errors have been added."""
        invalid = row.invalid_fields | self._defaults.invalid_fields
        values = merge_row(self._defaults, row)
        self._take_download(row, values, invalid)
        self._check_required(row, values, invalid)
        self._fill_templates(row, values, invalid)
        return self._make_job(row, values), invalid

    def add_error(self, row: Row, field: str, message: str) -> None:
        """Add an error at its cause."""
        self._errors.add(self.locate(row, field), field, message)

    def locate(self, row: Row, field: str) -> Location:
        """The place of a field: the row, or a default that is the same for all rows."""
        location = row.locate(field) or (self._defaults.locate(field) if field not in self._templates else None)
        return location or row.location

    def _parse_templates(self) -> dict[str, Template]:
        """Return the defaults that are templates, in the order in which they are filled in."""
        templates: dict[str, Template] = {}
        for field in TEMPLATE_FIELDS:
            text = self._defaults.values.get(field)
            if not isinstance(text, str) or not {"{", "}"} & set(text):
                continue
            try:
                templates[field] = parse_template(field, text)
            except ValueError as error:
                self._defaults.invalid_fields.add(field)
                self._errors.add(self._defaults.locate(field) or self._defaults.location, field, str(error))
        return templates

    def _fill_templates(self, row: Row, values: dict[str, object], invalid: set[str]) -> None:
        for field, template in self._templates.items():
            if field in row.values or not isinstance(values.get(field), str):
                continue
            try:
                values[field] = template.fill(values)
            except ValueError as error:
                if invalid.isdisjoint(template.placeholders):
                    self.add_error(row, field, str(error))
                invalid.add(field)

    def _take_download(self, row: Row, values: dict[str, object], invalid: set[str]) -> None:
        """With `export.download: false`, the job's destination is None, whatever the defaults say."""
        download = values.get("export.download", True)
        if download is False and row.values.get("export.destination") is not None:
            invalid.add("export.download")
            self.add_error(row, "export.download", "is false, so leave out export.destination")
        elif download is False:
            values["export.destination"] = None
        elif download is not True and "export.download" not in invalid:
            invalid.add("export.download")
            self.add_error(row, "export.download", "must be true or false")

    def _check_required(self, row: Row, values: Mapping[str, object], invalid: set[str]) -> None:
        for section, fields in REQUIRED.items():
            if section and SECTIONS[section].isdisjoint(values):
                continue
            for field in fields:
                is_given = field in values or (field in SECTIONS and not SECTIONS[field].isdisjoint(values))
                if not is_given and field not in invalid:
                    invalid.add(field)
                    self._errors.add(row.location, field, "is missing")

    def _make_job(self, row: Row, values: Mapping[str, Any]) -> AudienceJob:
        """Make a job that may be invalid: `_JobChecker` checks it."""
        lookalike = export = None
        if not SECTIONS["lookalike"].isdisjoint(values):
            given = _arguments("lookalike", values, audience_name="", size=0)
            lookalike = LookalikeStep(**given, filters=self._filters.get(row, values))
        if not SECTIONS["export"].isdisjoint(values):
            given = _arguments("export", values, destination="")
            export = ExportStep(**given | {"destination": _resolve_path(self._out, given["destination"])})
        given = _arguments("", values, customer_id="", audience_name="", csv="")
        return AudienceJob(
            **given | {"csv": _resolve_path(self._folder, given["csv"])},
            column_selections=self._columns.get(row, values),
            lookalike=lookalike,
            export=export,
        )


@attrs.define(eq=False)
class _UnpublishedCsvs:
    """The local CSVs of a manifest, if nothing can publish them: where they are, and the first one."""

    _locations: list[Location] = attrs.Factory(list[Location])
    _first: str | Path = ""

    def add(self, location: Location, csv: str | Path) -> None:
        self._first = self._first or csv
        self._locations.append(location)

    def add_errors(self, errors: ManifestErrors) -> None:
        """Add one error about all of them."""
        subject, url = f"{str(self._first)!r} is a local file", "upload it and set csv to its (presigned) URL"
        if len(self._locations) > 1:
            subject = f"{len(self._locations):,} lists are local files, such as {str(self._first)!r}"
            url = "upload them and set csv to their (presigned) URLs"
        message = f"{subject}, and the server fetches CSVs from URLs: use --publish s3://bucket/prefix, or {url}"
        for location in self._locations:
            errors.add(location, "csv", message)


@attrs.frozen(eq=False)
class _JobChecker:
    """Checks the jobs of rows, also against each other, and collects the errors."""

    _builder: _JobBuilder
    _errors: ManifestErrors
    _conflicts: Conflicts
    _check: Callable[[InputCheck, AudienceJob], AudienceJob]
    _find_files: Callable[[AudienceJob], JobFiles]
    _unpublished: _UnpublishedCsvs | None

    def check(self, row: Row) -> AudienceJob | None:
        """Return a row's job in its normal form, or None after adding its errors."""
        job, invalid = self._builder.build(row)
        reported = frozenset(invalid)
        if self._unpublished is not None and "csv" not in reported and is_local_path(job.csv):
            self._unpublished.add(self._builder.locate(row, "csv"), job.csv)
        checked, problems = self._check_job(job)
        for problem in problems:
            field = re.sub(r"\[\d+\].*", "", problem.where)  # a list's items have no locations
            if field not in reported:
                invalid.add(field)
                self._builder.add_error(row, field, problem.message)
        if invalid.isdisjoint(_CONFLICT_FIELDS):
            for problem in self._conflicts.register(checked, self._find_files(checked), row.location.line):
                invalid.add(problem.where)
                self._builder.add_error(row, problem.where, problem.message)
        return None if invalid else checked

    def _check_job(self, job: AudienceJob) -> tuple[AudienceJob, list[Problem]]:
        """Return the checked job and its problems."""
        check = InputCheck()
        check.text("key", job.key)
        checked = job
        try:
            checked = self._check(check, job)
        except OSError as error:  # for example, a file name that is too long
            check.add("export.destination" if job.export is not None else "csv", error.strerror or str(error))
        return checked, check.problems


class _Shared(Generic[T]):
    """The value that the fields of a section make together. Jobs whose fields are equal share one object."""

    def __init__(self, section: str, make: Callable[[Mapping[str, Any]], T], defaults: Mapping[str, Any]) -> None:
        self._fields = SECTIONS[section]
        self._make = make
        self._made: dict[str, T] = {}
        self._default = self._get(defaults)
        parents = {section[: dot.start()] for dot in re.finditer(r"\.", section)}
        inner = {name for name in SECTIONS if name.startswith(f"{section}.")}
        self._relevant = self._fields | parents | inner | {section}  # a section can be removed as a whole

    def get(self, row: Row, values: Mapping[str, Any]) -> T:
        """The value of a row. `values` includes the defaults."""
        return self._default if self._relevant.isdisjoint(row.values) else self._get(values)

    def _get(self, values: Mapping[str, Any]) -> T:
        given = {field: values[field] for field in self._fields if field in values}
        key = repr(given)
        if key not in self._made:
            if len(self._made) >= _MAX_SHARED_OBJECTS:
                self._made.clear()
            self._made[key] = self._make(given)
        return self._made[key]


def _arguments(section: str, values: Mapping[str, Any], **required: Any) -> dict[str, Any]:
    """The arguments of a job or a step that are given, over placeholders for the required ones."""
    return required | {name: values[field] for field, name in _ARGUMENTS[section].items() if field in values}


def _make_columns(values: Mapping[str, Any]) -> ColumnSelectionsInput:
    """Column selections, or if they are invalid a mapping, which `check_job` rejects."""
    columns: dict[str, dict[str, Any]] = {}
    for field, value in values.items():
        _, column, name = field.split(".")
        columns.setdefault(column, {})[name] = value
    check = InputCheck()
    selections = check.column_selections(columns)
    # The mapping is read-only, because a job copies a dict instead of sharing it.
    return MappingProxyType(columns) if check.problems else ColumnSelections(**selections)


def _make_filters(values: Mapping[str, Any]) -> LookalikeFilters | None:
    return LookalikeFilters(**{field.rpartition(".")[2]: value for field, value in values.items()}) if values else None


def _resolve_path(folder: Path, path: Any) -> Any:
    """Resolve a relative path against a folder, and keep a slash at its end; anything else is returned as is."""
    if not isinstance(path, str) or not path or is_url(path):
        return path
    return f"{folder / path}/" if path.endswith("/") else folder / path
