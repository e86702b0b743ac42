"""Manifests for tests, with the CSVs that they name."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from indigo_async.cli.manifest import read_manifest
from indigo_async.errors import InvalidInputError
from indigo_async.workflows import AudienceJob

MANIFEST_PAGE = Path(__file__).parents[2] / "docs" / "reference" / "manifest.md"
_EXAMPLE = re.compile(r"^`([a-z.]+)`\n\n```[a-z]+\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def examples() -> dict[str, str]:
    """The example files of docs/reference/manifest.md by name."""
    return dict(_EXAMPLE.findall(MANIFEST_PAGE.read_text()))


def write(folder: Path, files: dict[str, str | bytes]) -> None:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)


def write_examples(folder: Path) -> None:
    voters = "First Name,Last Name,Zip Code\nAda,Lovelace,19103\n"
    write(folder, examples() | {f"lists/{name}.csv": voters for name in ("donors", "volunteers")})


def read(path: Path, **options: object) -> list[AudienceJob]:
    return list(read_manifest(path, **{"can_publish": True} | options))  # type: ignore[arg-type]


def errors_in(path: Path, **options: object) -> list[str]:
    """The errors of a manifest as text, without its folder."""
    with pytest.raises(InvalidInputError) as caught:
        read(path, **options)
    return [str(problem).replace(f"{path.parent}/", "") for problem in caught.value.problems]
