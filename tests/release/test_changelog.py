"""Fragments of the changelog are well formed: towncrier passes over those that aren't."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from scripts.public_api import ROOT

FRAGMENTS = sorted(path for path in (ROOT / "changelog.d").iterdir() if path.name != "README.md")
KINDS = ("added", "changed", "deprecated", "removed", "fixed", "security")


@pytest.mark.parametrize("path", FRAGMENTS, ids=lambda path: path.name)
def test_a_fragment_is_well_formed(path):
    assert re.fullmatch(rf"\+[a-z0-9-]+\.({'|'.join(KINDS)})\.md", path.name), "the name is +SLUG.TYPE.md"
    text = path.read_text(encoding="utf-8").strip()
    assert text.endswith((".", "`", ")")), "a fragment is one or more sentences"
    assert not text.startswith(("-", "*", "#")), "towncrier adds the bullet"


def test_towncrier_renders_every_fragment():
    command = [sys.executable, "-m", "towncrier", "build", "--draft", "--version", "9.9.9", "--date", "2030-01-31"]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)
    assert run.stdout.startswith("## [9.9.9] - 2030-01-31\n")
    assert re.findall(r"^### (\w+)", run.stdout, re.MULTILINE) == [
        kind.capitalize() for kind in KINDS if any(f".{kind}." in path.name for path in FRAGMENTS)
    ]
    shown = " ".join(run.stdout.split())
    assert [path.name for path in FRAGMENTS if " ".join(path.read_text().split()) not in shown] == []


def test_the_changelog_has_a_place_for_the_next_release():
    assert (ROOT / "CHANGELOG.md").read_text().count("\n<!-- towncrier release notes start -->\n") == 1
