"""Warn about URLs that lead to a web page or an archive instead of a CSV. The URLs are never requested."""

from __future__ import annotations

import re
from collections.abc import Iterator
from posixpath import splitext
from urllib.parse import SplitResult, parse_qs, unquote, urlsplit

import attrs

from indigo_async._validation import is_private_host
from indigo_async.files.csv.formats import KINDS_BY_SUFFIX, not_csv

__all__ = ["find_url_warnings"]


@attrs.frozen
class _SharePage:
    """A service's pages that show a file. `direct` matches the addresses (without scheme) of the file itself."""

    address: re.Pattern[str]
    name: str
    advice: str
    direct: re.Pattern[str] | None = None

    def matches(self, address: str) -> bool:
        is_direct = self.direct is not None and self.direct.search(address) is not None
        return not is_direct and self.address.match(address) is not None


def _pattern(text: str) -> re.Pattern[str]:
    return re.compile(text, re.IGNORECASE)


_DIRECT_LINKS = "upload the CSV to a place with direct links"
_SHARE_PAGES = (
    _SharePage(
        _pattern(r"drive\.google\.com/"),
        "a Google Drive page",
        "use https://drive.google.com/uc?export=download&id=FILE_ID, with the ID from this URL",
        direct=_pattern(r"/uc\?.*export=download|/download\?"),
    ),
    _SharePage(
        _pattern(r"docs\.google\.com/spreadsheets/"),
        "a Google Sheets page",
        "use https://docs.google.com/spreadsheets/d/FILE_ID/export?format=csv, with the ID from this URL",
        direct=_pattern(r"[?&](?:format|output)=|out(?::|%3A)csv"),
    ),
    _SharePage(
        _pattern(r"docs\.google\.com/(?!spreadsheets/)"),
        "a Google Docs page",
        _DIRECT_LINKS,
    ),
    _SharePage(
        _pattern(r"(?:www\.)?dropbox\.com/"),
        "a Dropbox page",
        "end it with dl=1 instead of dl=0",
        direct=_pattern(r"[?&](?:dl|raw)=1"),
    ),
    _SharePage(
        _pattern(r"1drv\.ms/|onedrive\.live\.com/|[^/]*\.sharepoint\.com/"),
        "a OneDrive or SharePoint page",
        "use a direct download link (add download=1), which needs no login",
        direct=_pattern(r"[?&]download=1|/download\b|download\.aspx"),
    ),
    _SharePage(
        _pattern(r"(?:[^/]*\.)?box\.com/"),
        "a Box page",
        "use the direct link from its link settings (.../shared/static/...)",
        direct=_pattern(r"/shared/static/|^api\.box\.com/"),
    ),
    _SharePage(
        _pattern(r"github\.com/[^/]+/[^/]+/blob/|gist\.github\.com/"),
        "a GitHub page",
        "use the URL of its Raw button",
        direct=_pattern(r"[?&]raw=(?:true|1)|/raw\b"),
    ),
    _SharePage(_pattern(r"gitlab\.com/.*/blob/"), "a GitLab page", "use the URL with /raw/ instead of /blob/"),
    _SharePage(
        _pattern(r"(?:www\.)?icloud\.com/|we\.tl/|(?:[^/]*\.)?wetransfer\.com/|mega\.nz/|(?:www\.)?airtable\.com/"),
        "a page for viewing or downloading a file",
        _DIRECT_LINKS,
    ),
    _SharePage(
        _pattern(
            r"(?:[^/]*\.)?console\.aws\.amazon\.com/|console\.cloud\.google\.com/|storage\.cloud\.google\.com/"
            r"|portal\.azure\.com/"
        ),
        "a page that requires a login",
        "use a presigned URL of the file",
    ),
)


def find_url_warnings(url: str, *, api_is_local: bool) -> Iterator[str]:
    """Warn if the server may not get a CSV from a URL. Warnings don't contain the URL, which may be signed."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
    except ValueError:
        return
    if not api_is_local and is_private_host(host):
        yield "the CSV's URL is at a private address, which the API cannot reach: use a public URL"
    address = f"{host}{parts.path}?{parts.query}"
    page = next((page for page in _SHARE_PAGES if page.matches(address)), None)
    if page is not None:
        yield f"the CSV's URL is {page.name}, so the server may get a web page instead of the CSV: {page.advice}"
    for suffix, kind in _suffixes(parts).items():
        yield f"the CSV's URL ends in {suffix}, so it probably {not_csv(*kind)}"


def _suffixes(parts: SplitResult) -> dict[str, tuple[str, str]]:
    """Suffixes of the file name, or formats in the query, that mean a file other than a CSV."""
    formats = parse_qs(parts.query).get("format", ()) if parts.query else ()
    names = [unquote(parts.path.rstrip("/").rpartition("/")[2]), *(f".{one}" for one in formats)]
    suffixes = (splitext(f"x{name}")[1].lower() for name in names)
    return {suffix: KINDS_BY_SUFFIX[suffix] for suffix in suffixes if suffix in KINDS_BY_SUFFIX}
