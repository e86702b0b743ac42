"""What an export should contain, where it goes, and what it may cost."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import attrs

from indigo_async._validation import InputCheck
from indigo_async.files.downloads.destination import (
    DestinationFolder,
    find_destination_problem,
    inspect_destination_folder,
    is_folder_path,
)

__all__ = ["ExportOptions", "check_destination", "check_export_options"]


@attrs.frozen(kw_only=True)
class ExportOptions:
    """The checked arguments of an export; see `export_audience`. Without a destination, nothing is downloaded."""

    optional_field_types: tuple[str, ...]
    max_cost_cents: int
    destination: Path | None
    reuse_purchased: bool | None
    allow_empty: bool = False

    @property
    def journal_facts(self) -> dict[str, Any]:
        """What the journal records, so a later run can tell whether an export is the one it wants."""
        return {"field_types": sorted(self.optional_field_types)}


def check_export_options(
    check: InputCheck,
    *,
    optional_field_types: Sequence[str],
    max_cost_cents: int,
    destination: Path | str | None,
    reuse_purchased: bool | None,
    allow_empty: bool = False,
    check_field_types: Callable[[InputCheck, Sequence[str]], tuple[str, ...]] = InputCheck.optional_field_types,
    inspect_folder: Callable[[str], DestinationFolder] = inspect_destination_folder,
) -> ExportOptions:
    """Check all arguments of an export. `inspect_folder`: see `find_destination_problem`."""
    field_types = check_field_types(check, optional_field_types)
    max_cost_cents = check.cents("max_cost_cents", max_cost_cents)
    path = None if destination is None else check_destination(check, "destination", destination, inspect_folder)
    if reuse_purchased is not None:
        reuse_purchased = check.boolean("reuse_purchased", reuse_purchased)
    allow_empty = check.boolean("allow_empty", allow_empty)
    return ExportOptions(
        optional_field_types=field_types,
        max_cost_cents=max_cost_cents,
        destination=path,
        reuse_purchased=reuse_purchased,
        allow_empty=allow_empty,
    )


def check_destination(
    check: InputCheck,
    where: str,
    value: Path | str,
    inspect_folder: Callable[[str], DestinationFolder] = inspect_destination_folder,
) -> Path:
    """Check that a file can be written there, and expand `~`. Reads the disk without changing it."""
    if not isinstance(value, (str, Path)):  # pyright: ignore[reportUnnecessaryIsInstance] - callers without a type checker
        check.add(where, f"must be a path, not {type(value).__name__}")
        return Path()
    path = value if isinstance(value, Path) else Path(value)
    if str(path).startswith("~"):
        try:
            path = path.expanduser()
        except RuntimeError:  # no such user, or no home
            check.add(where, f"{str(value)!r} starts with a home folder that does not exist")
            return path
    is_folder = is_folder_path(str(value))
    problem = "is a folder; name a file" if is_folder else find_destination_problem(path, inspect_folder)
    if problem is not None:
        check.add(where, f"{str(value)!r} {problem}")
    return path
