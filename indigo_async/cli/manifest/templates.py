"""Templates in defaults: text with placeholders such as `{customer_id}`, and nothing more powerful."""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import quote, urlsplit

from indigo_async._text import did_you_mean
from indigo_async.files.downloads.destination import safe_file_name
from indigo_async.workflows.recipes.match import is_url

__all__ = ["TEMPLATE_FIELDS", "fill_template", "find_placeholders"]

TEMPLATE_FIELDS = ("audience_name", "key", "csv", "lookalike.audience_name", "export.destination")
"""The fields whose defaults may be templates, in the order in which they are filled in."""

_PLACEHOLDERS = ("customer_id", "audience_name", "key")
_PATH_FIELDS = {"csv", "export.destination"}
_DOT_SEGMENTS = {".", ".."}  # percent-encoding would not change what they mean
_TOKEN = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")


def find_placeholders(field: str, template: str) -> set[str]:
    """Return the field names that a template uses.

    Raises:
        ValueError: it has an unknown placeholder or a single brace.
    """
    known = [name for name in _PLACEHOLDERS if name != field]
    names: set[str] = set()
    for match in _TOKEN.finditer(template):
        text, name = match[0], match[1]
        if name in known:
            names.add(name)
        elif name is not None:
            options = [f"{{{name}}}" for name in known]
            raise ValueError(f"unknown placeholder {text}; use {', '.join(options)}{did_you_mean(text, options)}")
        elif len(text) == 1:
            raise ValueError(f"has a single {text!r}; write {text * 2!r} for a literal brace")
    return names


def fill_template(field: str, template: str, values: Mapping[str, object]) -> str:
    """Fill in a valid template with a job's values, escaped if the field is a path or a URL.

    Raises:
        ValueError: the job has no text for a placeholder, or the values would make a URL leave its folder.
    """
    in_url = field in _PATH_FIELDS and is_url(template)

    def fill(match: re.Match[str]) -> str:
        text, name = match[0], match[1]
        if name is None:
            return text[0]
        value = values.get(name)
        if not isinstance(value, str):
            raise ValueError(f"the default uses {text}, but this job has no {name}")  # noqa: TRY004 - shown to the user
        if field not in _PATH_FIELDS:
            return value
        return quote(value, safe="", errors="replace") if in_url else safe_file_name(value)

    text = _TOKEN.sub(fill, template)
    if in_url and not _DOT_SEGMENTS.isdisjoint(urlsplit(text).path.split("/")):
        raise ValueError("has the path segment '.' or '..', so the URL would name another folder")
    return text
