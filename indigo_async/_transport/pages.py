"""Follow the pages of a list: does a response signal more, and which request reads it? Pure: no I/O.

The API reference has no pages, so only an unambiguous link is followed: one to the list's own URL with another query.
Everything else, such as a token whose parameter is unknown, is reported. Nothing is guessed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, cast

import attrs
from yarl import URL

__all__ = ["Page", "PageTrail"]

_MAX_PAGES = 1_000
_MAX_DEPTH = 3
_LINK = re.compile(r"<([^<>]{1,8000})>([^<]*)")
_REL_NEXT = re.compile(r"(?i);\s*rel\s*=\s*(?:\"[^\"]*\bnext\b[^\"]*\"|next\b)")

# Keys are compared in lower case without punctuation.
_LINK_KEYS = frozenset({"next", "nexturl", "nextlink", "nextpage", "nextpageurl", "odatanextlink"})
_TOKEN_KEYS = frozenset({"nextpagetoken", "nexttoken", "nextcursor", "continuationtoken"})
_FLAG_KEYS = frozenset({"hasmore", "hasnext", "hasnextpage", "moreavailable", "istruncated", "truncated"})
_TOTAL_KEYS = frozenset({"total", "totalcount", "totalitems", "totalresults", "totalrecords"})


@attrs.frozen(kw_only=True)
class Page:
    """A page: the JSON around its rows, its headers, its number of rows, and the first row's ID."""

    envelope: Mapping[str, Any]
    headers: Mapping[str, str]
    row_count: int
    first_id: str | None


@attrs.define
class PageTrail:
    """The pages of one list in the order in which they are read.

    `unread` is the key or header that signals more after the last page that was read; None if the list is complete.
    """

    list_url: URL
    unread: str | None = None
    _row_count: int = 0
    _first_ids: set[str] = attrs.field(factory=set[str])
    _queries: set[tuple[tuple[str, str], ...]] = attrs.field(factory=set[tuple[tuple[str, str], ...]])

    def follow(self, page: Page) -> Mapping[str, str] | None:
        """Return the query of the next page. None if there is none, or it isn't clear how to read it."""
        self._row_count += page.row_count
        self._queries.add(_normalize_query(self.list_url))
        links = list(_find_links(page))
        signs = [sign for sign, _ in links] + list(_find_other_signs(page.envelope, self._row_count))
        if not signs:
            self.unread = None
            return None
        self.unread = signs[0]
        targets = {_normalize_query(url): url for _, link in links if (url := self._resolve(link)) is not None}
        if len(targets) != 1 or len(self._queries) >= _MAX_PAGES or self._is_repeated(page):
            return None
        ((query, target),) = targets.items()
        if query in self._queries:
            return None
        self.list_url = target
        return target.query

    def _is_repeated(self, page: Page) -> bool:
        """Whether a page starts like an earlier one, so the server ignores the link's query."""
        if page.first_id is None:
            return False
        is_repeated = page.first_id in self._first_ids
        self._first_ids.add(page.first_id)
        return is_repeated

    def _resolve(self, link: str) -> URL | None:
        """Return the list's URL with the link's query. None if the link leads elsewhere."""
        own = self.list_url
        try:
            target = own.join(URL(link))
            is_same_origin = target.host == own.host and (
                (target.scheme, target.port) == (own.scheme, own.port)
                # Behind a proxy that terminates TLS, a server may believe that it serves plain HTTP.
                or (target.scheme, target.port, own.scheme, own.port) == ("http", 80, "https", 443)
            )
            is_same_path = target.path.rstrip("/").endswith(own.path[own.path.rindex("/") :])
            return own.with_query(target.query) if is_same_origin and is_same_path else None
        except ValueError:  # the server may send anything
            return None


def _normalize_query(url: URL) -> tuple[tuple[str, str], ...]:
    return tuple(sorted(url.query.items()))


def _find_links(page: Page) -> Iterator[tuple[str, str]]:
    """Yield each key or header that signals a next page, and the page's URL."""
    for url, parameters in _LINK.findall(page.headers.get("link", "")):
        if _REL_NEXT.search(parameters):
            yield "Link", url
    for key, value in _iterate_fields(page.envelope):
        if _fold(key) in _LINK_KEYS:
            link = value
            if isinstance(value, dict):
                fields = cast("dict[str, object]", value)
                link = fields.get("href") or fields.get("url")
            if isinstance(link, str) and link.strip().startswith(("http://", "https://", "/", "?")):
                yield key, link.strip()


def _find_other_signs(envelope: Mapping[str, Any], row_count: int) -> Iterator[str]:
    for key, value in _iterate_fields(envelope):
        folded = _fold(key)
        if (
            (folded in _LINK_KEYS | _TOKEN_KEYS and isinstance(value, (str, int)) and value)
            or (folded in _FLAG_KEYS and value is True)
            or (folded in _TOTAL_KEYS and type(value) is int and value > row_count)
        ):
            yield key


def _iterate_fields(fields: Mapping[str, Any], depth: int = _MAX_DEPTH) -> Iterable[tuple[str, Any]]:
    """Yield all fields of an object and of the objects in it."""
    for key, value in fields.items():
        yield key, value
        if depth and isinstance(value, dict):
            yield from _iterate_fields(cast("dict[str, Any]", value), depth - 1)


def _fold(key: str) -> str:
    return re.sub(r"[^a-z]", "", key.lower())
