"""Pages of the repository's root, such as ARCHITECTURE.md, as pages of the site."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from sphinx.application import Sphinx

ROOT = Path(__file__).parents[2]
"""The repository."""

PAGES = {
    "changelog": "CHANGELOG.md",
    "project/architecture": "ARCHITECTURE.md",
    "project/contributing": "CONTRIBUTING.md",
    "project/security": "SECURITY.md",
}
"""Pages of the site, and the file that each one shows."""

_CHANGELOG_START = "<!-- towncrier release notes start -->\n"
_LINK = re.compile(r"\[([^\]]*)\]\((?!https?:|#)([^)#\s]+)(#[^)\s]*)?\)")


def _read_root(app: Sphinx, page: str, source: list[str]) -> None:
    if page in PAGES:
        path = ROOT / PAGES[page]
        app.env.note_dependency(path)
        text = path.read_text(encoding="utf-8")
        if page == "changelog":
            text = text.replace(_CHANGELOG_START, _CHANGELOG_START + _draft_changes())
        source[0] = _LINK.sub(lambda link: _rewrite(page, link), text)


def _draft_changes() -> str:
    """The changes since the last release, from their fragments."""
    if not list((ROOT / "changelog.d").glob("+*.md")):
        return ""
    draft = ["build", "--draft", "--version", "Unreleased", "--date", "in development"]
    command = [sys.executable, "-m", "towncrier", *draft]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)  # noqa: S603 - a tool of the project
    return f"\n{run.stdout}"


def _rewrite(page: str, link: re.Match[str]) -> str:
    """A link from the root as one from a page of the site. Files that the site lacks are shown as text."""
    text, target, anchor = link[1], link[2], link[3] or ""
    shown_by = {file: f"docs/{name}.md" for name, file in PAGES.items()}
    target = shown_by.get(target, target)
    if not target.startswith("docs/"):
        return text
    return f"[{text}]({os.path.relpath(target, Path('docs', page).parent)}{anchor})"


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("source-read", _read_root)
    return {"parallel_read_safe": True}
