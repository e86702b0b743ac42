"""What is wanted of an export, and what it may cost."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import attrs

from indigo_async.files.part_file import note_name
from indigo_async.inputs import InputCheck

__all__ = ["ExportTerms", "check_destination", "check_export_terms"]


@attrs.frozen(kw_only=True)
class ExportTerms:
    """The terms of one export. `max_cost_cents` is in cents."""

    optional_field_types: tuple[str, ...]
    max_cost_cents: int
    destination: Path
    reuse_purchased: bool | None
    allow_empty: bool = False

    @property
    def facts(self) -> dict[str, Any]:
        """What is remembered of the terms: by it a later run knows whether an export is the one it wants."""
        return {"field_types": sorted(self.optional_field_types)}


def check_export_terms(
    check: InputCheck,
    *,
    optional_field_types: Sequence[str],
    max_cost_cents: int,
    destination: Path | str,
    reuse_purchased: bool | None,
    allow_empty: bool = False,
) -> ExportTerms:
    """Check the arguments of an export, all of them."""
    field_types = check.optional_field_types(optional_field_types)
    check.cents("max_cost_cents", max_cost_cents)
    path = check_destination(check, "destination", destination)
    if reuse_purchased is not None:
        check.flag("reuse_purchased", reuse_purchased)
    check.flag("allow_empty", allow_empty)
    return ExportTerms(
        optional_field_types=field_types,
        max_cost_cents=max_cost_cents,
        destination=path,
        reuse_purchased=reuse_purchased,
        allow_empty=allow_empty,
    )


def check_destination(check: InputCheck, where: str, value: Path | str) -> Path:
    """Check that a file can be written there. This looks at the disk."""
    if not isinstance(value, (str, Path)):  # pyright: ignore[reportUnnecessaryIsInstance] - callers without a type checker
        check.add(where, f"must be a path, not {type(value).__name__}")
        return Path()
    path = value if isinstance(value, Path) else Path(value)
    problem = _unwritable(path)
    if problem is not None:
        check.add(where, f"{str(value)!r} {problem}")
    return path


def _is_unicode(text: str) -> bool:
    """Whether a path can be written down; one with bytes that are no UTF-8 cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _unwritable(path: Path) -> str | None:
    """What keeps a file from being written there, if anything. Better to know before paying than after."""
    if "\0" in str(path) or not _is_unicode(str(path)):
        return "holds bytes that are no text"
    try:
        if path.is_dir() or not path.name:
            return "is a folder; name a file"
        folder = next((folder for folder in path.absolute().parents if folder.exists()), None)
        if folder is None or not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
            return "cannot be written: its folder does not allow it"
        longest = os.pathconf(folder, "PC_NAME_MAX") - len(note_name(""))
    except OSError as error:
        return f"cannot be written: {error.strerror or type(error).__name__}"
    if len(os.fsencode(path.name)) > longest:
        return f"cannot be written: its name must be at most {longest} bytes long there"
    return None
