"""Pages of the repository's root, such as ARCHITECTURE.md, as pages of the site."""

from __future__ import annotations

import os
import re
from pathlib import Path

from sphinx.application import Sphinx

ROOT = Path(__file__).parents[2]
"""The repository."""

PAGES = {
    "changelog": "CHANGELOG.md",
    "project/architecture": "ARCHITECTURE.md",
    "project/contributing": "CONTRIBUTING.md",
}
"""Pages of the site, and the file that each one shows."""

_LINK = re.compile(r"\[([^\]]*)\]\((?!https?:|#)([^)#\s]+)(#[^)\s]*)?\)")


def _read_root(app: Sphinx, page: str, source: list[str]) -> None:
    if page in PAGES:
        path = ROOT / PAGES[page]
        app.env.note_dependency(path)
        source[0] = _LINK.sub(lambda link: _rewrite(page, link), path.read_text(encoding="utf-8"))


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
