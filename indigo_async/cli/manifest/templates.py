"""Templates in defaults: text with placeholders such as `{customer_id}`, and nothing more powerful."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from urllib.parse import quote, urlsplit

import attrs

from indigo_async._text import did_you_mean
from indigo_async.files.downloads.destination import safe_file_name
from indigo_async.workflows.recipes.match import is_url

__all__ = ["TEMPLATE_FIELDS", "Template", "parse_template"]

TEMPLATE_FIELDS = ("audience_name", "key", "csv", "lookalike.audience_name", "export.destination")
"""The fields whose defaults may be templates, in the order in which they are filled in."""

_PLACEHOLDERS = ("customer_id", "audience_name", "key")
_PATH_FIELDS = {"csv", "export.destination"}
_DOT_SEGMENTS = {".", ".."}  # percent-encoding would not change what they mean
_TOKEN = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")


@attrs.frozen
class Template:
    """Text with placeholders for a job's values. `parts` are the texts, each with the placeholder after it."""

    field: str
    parts: tuple[tuple[str, str], ...]
    end: str
    escape: Callable[[str], str]
    is_in_url: bool

    @property
    def placeholders(self) -> set[str]:
        """The fields that the template uses."""
        return {name for _, name in self.parts}

    def fill(self, values: Mapping[str, object]) -> str:
        """Fill in a job's values, escaped if the field is a path or a URL.

        Raises:
            ValueError: the job has no text for a placeholder, or the values would make a URL leave its folder.
        """
        pieces: list[str] = []
        for text, name in self.parts:
            value = values.get(name)
            if not isinstance(value, str):
                raise ValueError(f"the default uses {{{name}}}, but this job has no {name}")  # noqa: TRY004 - shown to the user
            pieces += text, self.escape(value)
        filled = "".join(pieces) + self.end
        if self.is_in_url and not _DOT_SEGMENTS.isdisjoint(urlsplit(filled).path.split("/")):
            raise ValueError("has the path segment '.' or '..', so the URL would name another folder")
        return filled


def parse_template(field: str, template: str) -> Template:
    """Parse the template of a field.

    Raises:
        ValueError: it has an unknown placeholder or a single brace.
    """
    known = [name for name in _PLACEHOLDERS if name != field]
    parts: list[tuple[str, str]] = []
    literal, position = "", 0
    for match in _TOKEN.finditer(template):
        text, name = match[0], match[1]
        literal, position = literal + template[position : match.start()], match.end()
        if name in known:
            parts.append((literal, name))
            literal = ""
        elif name is not None:
            options = [f"{{{name}}}" for name in known]
            raise ValueError(f"unknown placeholder {text}; use {', '.join(options)}{did_you_mean(text, options)}")
        elif len(text) == 1:
            raise ValueError(f"has a single {text!r}; write {text * 2!r} for a literal brace")
        else:
            literal += text[0]
    is_in_url = field in _PATH_FIELDS and is_url(template)
    escape = str if field not in _PATH_FIELDS else _quote if is_in_url else safe_file_name
    return Template(field, tuple(parts), literal + template[position:], escape, is_in_url)


def _quote(value: str) -> str:
    return quote(value, safe="", errors="replace")
