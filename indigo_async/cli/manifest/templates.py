"""Templates in defaults: text with the names of a job's own fields in braces, and nothing that could do more."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from urllib.parse import quote, urlsplit

from indigo_async._text import did_you_mean
from indigo_async.files.downloads.destination import safe_file_name
from indigo_async.workflows.recipes.match import is_url

__all__ = ["TEMPLATE_FIELDS", "fill_template", "find_placeholders"]

TEMPLATE_FIELDS = ("audience_name", "key", "csv", "lookalike.audience_name", "export.destination")
"""The fields whose defaults may be templates, in the order in which they are filled."""

_PLACEHOLDERS = ("customer_id", "audience_name", "key")
_PATH_FIELDS = {"csv", "export.destination"}
_DOT_SEGMENTS = {".", ".."}  # escaped they would mean the same
_TOKEN = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")


def find_placeholders(field: str, template: str) -> set[str]:
    """The names of fields in a template.

    Raises:
        ValueError: it names what is no field for templates, or has a lone brace.
    """
    known = [name for name in _PLACEHOLDERS if name != field]
    names: set[str] = set()
    for match in _TOKEN.finditer(template):
        text, name = match[0], match[1]
        if name in known:
            names.add(name)
        elif name is not None:
            options = [f"{{{name}}}" for name in known]
            raise ValueError(f"{text} is none of {', '.join(options)}{did_you_mean(text, options)}")
        elif len(text) == 1:
            raise ValueError(f"has a lone {text!r}; write it twice where no name of a field is meant")
    return names


def fill_template(field: str, template: str, values: Mapping[str, object]) -> str:
    """A good template with a job's values in it, escaped where the field is a path or a URL.

    Raises:
        ValueError: it names a field that the job does not give as text, or one that would lead a URL elsewhere.
    """
    escape = _choose_escape(field, template)

    def piece(match: re.Match[str]) -> str:
        text, name = match[0], match[1]
        if name is None:
            return text[0]
        value = values.get(name)
        if not isinstance(value, str):
            raise ValueError(f"{text} stands in its default, and this job gives no {name}")  # noqa: TRY004 - told as text
        return escape(value)

    text = _TOKEN.sub(piece, template)
    if escape is _escape_for_url and not _DOT_SEGMENTS.isdisjoint(urlsplit(text).path.split("/")):
        raise ValueError("has '.' or '..' between slashes, by which a URL names another folder")
    return text


def _choose_escape(field: str, template: str) -> Callable[[str], str]:
    if field not in _PATH_FIELDS:
        return str
    return _escape_for_url if is_url(template) else safe_file_name


def _escape_for_url(text: str) -> str:
    return quote(text, safe="", errors="replace")
