"""Every relative link on a page leads to a file, and its anchor to a heading of that file."""

from __future__ import annotations

import re
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest
from markdown_it import MarkdownIt
from markdown_it.token import Token

ROOT = Path(__file__).parents[2]
PAGES = [
    page
    for page in (*ROOT.glob("*.md"), *(ROOT / ".github").glob("**/*.md"), *sorted((ROOT / "docs").glob("**/*.md")))
    if "_build" not in page.parts
]
_HTML_LINK = re.compile(r'(?:src|srcset|href)="([^"]+)"')
_DIRECTIVE_LINK = re.compile(r"^\{(?:literalinclude|image|figure|include)\} (\S+)")


def links_of(page: Path) -> list[str]:
    links: list[str] = []
    for token in flatten(MarkdownIt().enable("table").parse(page.read_text(encoding="utf-8"))):
        links += [str(token.attrs[name]) for name in ("href", "src") if name in token.attrs]
        if token.type in {"html_block", "html_inline"}:
            links += _HTML_LINK.findall(token.content)
        if token.type == "fence":
            links += _DIRECTIVE_LINK.findall(token.info)
    return [link for link in links if not re.match(r"[a-z]+:", link)]


def flatten(tokens: list[Token]) -> list[Token]:
    return [inner for token in tokens for inner in (token, *flatten(token.children or []))]


def anchors_of(page: Path) -> set[str]:
    """The anchors that GitHub and the site give to the headings of a page."""
    tokens = MarkdownIt().parse(page.read_text(encoding="utf-8"))
    titles = [after.content for token, after in pairwise(tokens) if token.type == "heading_open"]
    seen: Counter[str] = Counter()
    anchors: set[str] = set()
    for title in titles:
        slug = re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")
        anchors.add(f"{slug}-{seen[slug]}" if seen[slug] else slug)
        seen[slug] += 1
    return anchors


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_relative_links_lead_somewhere(page: Path):
    broken: list[str] = []
    for link in links_of(page):
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and anchor not in anchors_of(target)):
            broken.append(link)
    assert broken == []


def test_a_broken_link_is_found(tmp_path: Path):
    page = tmp_path / "page.md"
    page.write_text('# A title\n\n[a](gone.md) [b](#a-title) <img src="c.png"> [d](https://example.org)\n')
    assert links_of(page) == ["gone.md", "#a-title", "c.png"]
    assert anchors_of(page) == {"a-title"}
