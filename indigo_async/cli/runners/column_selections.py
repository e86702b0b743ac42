"""Read the column selection of `match` from its options, or from the file that they name."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, cast

from indigo_async._validation import InputCheck
from indigo_async.cli.options.columns import ColumnOptions
from indigo_async.errors import InvalidInputError, Problem
from indigo_async.inputs import ColumnSelection, ColumnSelectionsInput

__all__ = ["load_selections"]


def load_selections(options: ColumnOptions) -> ColumnSelectionsInput:
    """The selected columns. Those from a file are not checked against the API's rules yet.

    Raises:
        InvalidInputError: options are missing, invalid or contradictory, or the file can't be read.
    """
    check = InputCheck()
    if options.columns is not None:
        if options.required or options.optional:
            check.add("--columns", "sets all columns: omit --required and --optional")
        check.raise_if_invalid()
        return _read_file(options.columns)
    selections: dict[str, ColumnSelection] = {}
    _add_selections(check, selections, "--required", options.required, required=True)
    _add_selections(check, selections, "--optional", options.optional, required=False)
    if options.required or options.optional:
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
