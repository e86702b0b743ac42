"""Templates in defaults: text with the names of a job's own fields in braces, and nothing that could do more."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from urllib.parse import quote, urlsplit

from indigo_async.cli.manifest.fields import closest
from indigo_async.files.names import file_name
from indigo_async.workflows.match import is_url

__all__ = ["TEMPLATED", "filled", "names_in"]

TEMPLATED = ("audience_name", "key", "csv", "lookalike.audience_name", "export.destination")
"""The fields whose defaults may be templates, in the order in which they are filled."""

_NAMES = ("customer_id", "audience_name", "key")
_PATHS = {"csv", "export.destination"}
_DOTS = {".", ".."}  # escaped they would mean the same
_PIECE = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")


def names_in(field: str, template: str) -> set[str]:
    """The names of fields in a template.

    Raises:
        ValueError: it names what is no field for templates, or has a lone brace.
    """
    known = [name for name in _NAMES if name != field]
    names: set[str] = set()
    for match in _PIECE.finditer(template):
        text, name = match[0], match[1]
        if name in known:
            names.add(name)
        elif name is not None:
            options = [f"{{{name}}}" for name in known]
            raise ValueError(f"{text} is none of {', '.join(options)}{closest(text, options)}")
        elif len(text) == 1:
            raise ValueError(f"has a lone {text!r}; write it twice where no name of a field is meant")
    return names


def filled(field: str, template: str, values: Mapping[str, object]) -> str:
    """A good template with a job's values in it, escaped where the field is a path or a URL.

    Raises:
        ValueError: it names a field that the job does not give as text, or one that would lead a URL elsewhere.
    """
    escape = _escape_for(field, template)

    def piece(match: re.Match[str]) -> str:
        text, name = match[0], match[1]
        if name is None:
            return text[0]
        value = values.get(name)
        if not isinstance(value, str):
            raise ValueError(f"{text} stands in its default, and this job gives no {name}")  # noqa: TRY004 - told as text
        return escape(value)

    text = _PIECE.sub(piece, template)
    if escape is _in_url and not _DOTS.isdisjoint(urlsplit(text).path.split("/")):
        raise ValueError("has '.' or '..' between slashes, by which a URL names another folder")
    return text


def _escape_for(field: str, template: str) -> Callable[[str], str]:
    if field not in _PATHS:
        return str
    return _in_url if is_url(template) else file_name


def _in_url(text: str) -> str:
    return quote(text, safe="", errors="replace")
