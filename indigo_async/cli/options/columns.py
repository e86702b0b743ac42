"""The column selection of `match`, given as options or as a file."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, cast

import attrs
from cyclopts import Group, Parameter

from indigo_async._validation import InputCheck
from indigo_async.errors import InvalidInputError, Problem
from indigo_async.inputs import ColumnSelection, ColumnSelectionsInput

__all__ = ["ColumnOptions"]


@Parameter(name="*", group=Group("Columns", sort_key=5))
@attrs.frozen(kw_only=True)
class ColumnOptions:
    """Columns as `FIELD=COLUMN`, or a file with all of them."""

    required: Annotated[
        tuple[str, ...],
        Parameter(help="FIELD=COLUMN, such as first_name='First Name': people match only if it agrees. Repeatable."),
    ] = ()
    optional: Annotated[
        tuple[str, ...], Parameter(help="FIELD=COLUMN: improves the match, but need not agree. Repeatable.")
    ] = ()
    columns: Annotated[
        Path | None,
        Parameter(
            help="A YAML or JSON file with all columns: "
            "{first_name: {column_name: First Name, is_required: true}, ...}."
        ),
    ] = None

    def load_selections(self) -> ColumnSelectionsInput:
        """The selected columns. Those from a file are not checked against the API's rules yet.

        Raises:
            InvalidInputError: options are missing, invalid or contradictory, or the file can't be read.
        """
        check = InputCheck()
        if self.columns is not None:
            if self.required or self.optional:
                check.add("--columns", "sets all columns: omit --required and --optional")
            check.raise_if_invalid()
            return _read_file(self.columns)
        selections: dict[str, ColumnSelection] = {}
        _add_selections(check, selections, "--required", self.required, required=True)
        _add_selections(check, selections, "--optional", self.optional, required=False)
        if self.required or self.optional:
            check.column_selections(selections)
        else:
            check.add("columns", "none given: use --required first_name='First Name' and so on, or --columns FILE")
        check.raise_if_invalid()
        return selections


def _add_selections(
    check: InputCheck,
    selections: dict[str, ColumnSelection],
    option: str,
    values: Iterable[str],
    *,
    required: bool,
) -> None:
    for value in values:
        field, _, column = value.partition("=")
        if not (field and column):
            check.add(f"{option} {value}", "must be FIELD=COLUMN, such as first_name='First Name'")
        elif field in selections:
            check.add(f"{option} {value}", f"{field} is given twice")
        else:
            selections[field] = ColumnSelection(column, required)


def _read_file(path: Path) -> ColumnSelectionsInput:
    """Read a mapping of columns, or the one under its key `column_selections`."""

    def invalid(message: str) -> InvalidInputError:
        return InvalidInputError([Problem(f"--columns {path}", message)])

    try:
        document = _parse_file(path)
    except OSError as error:
        raise invalid(f"can't be read: {error.strerror}") from None
    except ValueError as error:
        raise invalid(f"is not valid YAML or JSON: {error}") from None
    if not isinstance(document, dict):
        raise invalid("must contain a mapping of field to column_name and is_required")
    fields = cast("dict[str, Any]", document)
    selections: ColumnSelectionsInput = fields.get("column_selections", fields)
    return selections


def _parse_file(path: Path) -> object:
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".json":
        return json.loads(text)
    import yaml  # noqa: PLC0415 - few use such a file

    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(" ".join(str(error).split())) from None
