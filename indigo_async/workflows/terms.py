"""What is wanted of an export, and what it may cost."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import attrs

from indigo_async.inputs import InputCheck

__all__ = ["ExportTerms", "check_destination", "check_export_terms"]


@attrs.frozen(kw_only=True)
class ExportTerms:
    """The terms of one export. `max_cost_cents` is in cents."""

    optional_field_types: tuple[str, ...]
    max_cost_cents: int
    destination: Path
    reuse_purchased: bool | None

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
) -> ExportTerms:
    """Check the arguments of an export, all of them."""
    field_types = check.optional_field_types(optional_field_types)
    check.cents("max_cost_cents", max_cost_cents)
    path = check_destination(check, "destination", destination)
    if reuse_purchased is not None:
        check.flag("reuse_purchased", reuse_purchased)
    return ExportTerms(
        optional_field_types=field_types,
        max_cost_cents=max_cost_cents,
        destination=path,
        reuse_purchased=reuse_purchased,
    )


def check_destination(check: InputCheck, where: str, value: Path | str) -> Path:
    """Check that a file can be written there. This looks at the disk."""
    if not isinstance(value, (str, Path)):  # pyright: ignore[reportUnnecessaryIsInstance] - callers without a type checker
        check.add(where, f"must be a path, not {type(value).__name__}")
        return Path()
    path = value if isinstance(value, Path) else Path(value)
    if path.is_dir() or not path.name:
        check.add(where, f"{str(value)!r} is a folder; name a file")
    elif not _can_be_written(path):
        check.add(where, f"{str(value)!r} cannot be written: its folder does not allow it")
    elif not _is_unicode(str(value)):
        check.add(where, "holds bytes that are no text")
    return path


def _is_unicode(text: str) -> bool:
    """Whether a path can be written down; one with bytes that are no UTF-8 cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _can_be_written(path: Path) -> bool:
    """Whether the nearest folder that exists lets files be made in it. Better to know before paying than after."""
    folder = next((folder for folder in path.absolute().parents if folder.exists()), None)
    return folder is not None and folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)
