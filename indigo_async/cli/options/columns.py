"""Which CSV column holds which field, as the command line or a file says it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, cast

import attrs
from cyclopts import Group, Parameter

from indigo_async._validation import InputCheck
from indigo_async.inputs import ColumnSelection, ColumnSelectionsInput

__all__ = ["ColumnOptions"]

_GROUP = Group("Columns", sort_key=5)


@Parameter(name="*", group=_GROUP)
@attrs.frozen(kw_only=True)
class ColumnOptions:
    """Columns, each as `FIELD=COLUMN`, or a file that has them all."""

    required: Annotated[
        tuple[str, ...],
        Parameter(help="FIELD=COLUMN, as in first_name='First Name': a match must agree on it. Repeatable."),
    ] = ()
    optional: Annotated[
        tuple[str, ...], Parameter(help="FIELD=COLUMN: agreement counts, and is not needed. Repeatable.")
    ] = ()
    columns: Annotated[
        Path | None,
        Parameter(help="A YAML or JSON file instead: {first_name: {column_name: First Name, is_required: true}, ...}."),
    ] = None

    def load_selections(self) -> ColumnSelectionsInput:
        """The columns that were given, not yet checked by the API's rules.

        Raises:
            InvalidInputError: they cannot be read.
        """
        check = InputCheck()
        chosen: dict[str, ColumnSelection] = {}
        _add_selections(check, chosen, "--required", self.required, required=True)
        _add_selections(check, chosen, "--optional", self.optional, required=False)
        if self.columns is not None and (self.required or self.optional):
            check.add("--columns", "has all columns; leave out --required and --optional")
        elif self.columns is None and not (self.required or self.optional):
            check.add("columns", "none are given: say --required first_name='First Name' and so on, or --columns FILE")
        elif self.columns is None:
            check.column_selections(chosen)
        check.raise_if_invalid()
        return chosen if self.columns is None else _read_file(self.columns)


def _add_selections(
    check: InputCheck, chosen: dict[str, ColumnSelection], option: str, given: Sequence[str], *, required: bool
) -> None:
    for text in given:
        field, equals, column = text.partition("=")
        if not (field and equals and column):
            check.add(f"{option} {text}", "must be FIELD=COLUMN, such as first_name='First Name'")
        elif field in chosen:
            check.add(f"{option} {text}", f"{field} is given twice")
        else:
            chosen[field] = ColumnSelection(column, required)


def _read_file(path: Path) -> ColumnSelectionsInput:
    """The columns in a file, which may stand under the key `column_selections`."""
    check = InputCheck()
    document: object = None
    try:
        document = _parse_file(path)
    except OSError as error:
        check.add(f"--columns {path}", f"cannot be read: {error.strerror}")
    except ValueError as error:
        check.add(f"--columns {path}", f"is no YAML or JSON: {error}")
    check.raise_if_invalid()
    if not isinstance(document, dict):
        check.add(f"--columns {path}", "must hold a mapping of field to column_name and is_required")
        check.raise_if_invalid()
    fields = cast("dict[str, Any]", document)
    return fields.get("column_selections", fields)


def _parse_file(path: Path) -> object:
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".json":
        return json.loads(text)
    import yaml  # noqa: PLC0415 - of the few who have such a file

    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(" ".join(str(error).split())) from None
