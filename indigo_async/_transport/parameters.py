"""Parameters in the API's own form: `extra=` of the endpoints, and the query and body of `client.request`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias, cast

from indigo_async._exact import describe_kind, to_json, to_plain
from indigo_async._redaction import SecretBytes, hide_texts
from indigo_async._text import short_repr
from indigo_async._transport import codec
from indigo_async._transport.responses import Endpoint
from indigo_async._validation import InputCheck

__all__ = ["Query", "check_extra", "check_query", "encode_body", "fold_name"]

Query: TypeAlias = Mapping[str, str | list[str]]
"""A URL's query. A list gives one parameter several times."""


def encode_body(values: Mapping[str, Any], extra: dict[str, Any]) -> SecretBytes:
    """Encode a POST's parameters as JSON: the values that are not None, and all of `extra`."""
    present = {key: value for key, value in values.items() if value is not None}
    return SecretBytes(codec.encode_json(present | extra))


def check_extra(check: InputCheck, extra: object, endpoint: Endpoint) -> dict[str, Any]:
    """Check undocumented parameters: JSON values under names that the endpoint doesn't set itself.

    The texts returned are secret: they may be signed URLs.
    """
    if extra is None:
        return {}
    return {
        name: hide_texts(to_json(value, f"extra.{_show(name)}", check.add))
        for name, value in _check_names(check, "extra", extra, endpoint)
    }


def check_query(check: InputCheck, where: str, value: object, endpoint: Endpoint | None = None) -> Query:
    """Check the parameters of a query: text, numbers, true, false, or a list of these. None is left out.

    They must not replace the own parameters of `endpoint`. The texts returned are secret, as above.
    """
    query: dict[str, str | list[str]] = {}
    if value is None:
        return query
    for name, item in _check_names(check, where, value, endpoint):
        place = f"{where}.{_show(name)}"
        plain = hide_texts(to_json(item, place, check.add))
        if isinstance(plain, list):
            query[name] = [_to_text(check, place, part) for part in cast("list[object]", plain)]
        elif plain is not None:
            query[name] = _to_text(check, place, plain)
    return query


def _to_text(check: InputCheck, where: str, value: object) -> str:
    """Return the text of a plain value, as JSON has it."""
    if isinstance(value, str):
        return value
    if isinstance(value, (int, float)):  # includes Booleans
        return codec.encode_json(value).decode()
    check.add(where, f"must be text, a number, true, false, or a list of these, not {describe_kind(value)}")
    return ""


def _check_names(check: InputCheck, where: str, value: object, endpoint: Endpoint | None) -> list[tuple[str, object]]:
    if not isinstance(value, Mapping):
        check.add(where, f"must be a mapping, not {describe_kind(value)}")
        return []
    own = {} if endpoint is None else {fold_name(name): name for name in endpoint.parameters}
    named: list[tuple[str, object]] = []
    for given_name, item in cast("Mapping[object, object]", value).items():
        name = check.text(f"{where} key", to_plain(given_name))
        same = own.get(fold_name(name))
        if same is not None:
            check.add(f"{where}.{_show(name)}", f"is the endpoint's own parameter {same}; use its argument instead")
        elif name:
            named.append((name, item))
    return named


def fold_name(name: str) -> str:
    """A parameter's name without case and punctuation: servers may read `audienceID`, `audienceId` or `audience_id`."""
    return "".join(character for character in name.casefold() if character.isalnum())


def _show(name: str) -> str:
    return short_repr(name)[1:-1]
