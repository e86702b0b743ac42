"""The reference describes every public name."""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules

import pytest

import indigo_async

REFERENCE = Path(__file__).parents[2] / "docs" / "reference"
_COMMAND_MODULE = "cli"  # a command, described by its help
MODULES = [
    "indigo_async",
    *(
        f"indigo_async.{module.name}"
        for module in iter_modules(indigo_async.__path__)
        if not module.name.startswith("_") and module.name != _COMMAND_MODULE
    ),
]
_DIRECTIVE = re.compile(r"^\.\. (?:auto(\w+)|(?:\w+:)?(?:data|type)):: (\S+?)(?:\(\))?$((?:\n   :.*)*)", re.MULTILINE)


def described_names() -> set[str]:
    """The full names of everything that the pages describe, each where it was found."""
    names: set[str] = set()
    for page in REFERENCE.glob("*.md"):
        for kind, name, options in _DIRECTIVE.findall(page.read_text(encoding="utf-8")):
            if kind == "module":
                names |= {name, *(f"{name}.{member}" for member in import_module(name).__all__)}
                excluded = re.search(r":exclude-members: (.*)", options)
                assert excluded is None or names.isdisjoint(f"{name}.{each}" for each in excluded[1].split(", "))
            else:
                names.add(name)
    return names


def identities(names: set[str]) -> set[int]:
    """What the names stand for, so that a name which two modules share is described once."""
    found: set[int] = set()
    for name in names:
        module, _, attribute = name.rpartition(".")
        found.add(id(getattr(import_module(module), attribute)))
    return found


@pytest.mark.parametrize("module", MODULES)
def test_the_reference_describes_every_public_name(module: str):
    described = described_names()
    known = identities(described)
    public = import_module(module).__all__
    missing = [
        name
        for name in public
        if f"{module}.{name}" not in described
        and f"{module}.{name}" not in MODULES
        and id(getattr(import_module(module), name)) not in known
    ]
    assert missing == []


def test_every_name_that_the_reference_describes_exists():
    assert identities(described_names())


def test_the_reference_lists_every_environment_variable():
    source = "".join(path.read_text(encoding="utf-8") for path in Path(indigo_async.__file__).parent.rglob("*.py"))
    variables = set(re.findall(r"\bINDIGO_[A-Z_]+\b", source))
    listed = set(re.findall(r"`(INDIGO_[A-Z_]+)`", (REFERENCE / "environment.md").read_text(encoding="utf-8")))
    assert listed == variables
