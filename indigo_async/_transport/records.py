"""The records of the wire: which JSON keys carry which fields, and what they hold.

Only a record's ID must be readable. Any other field that is missing, null or of another type is its default, and what
came stays in `extra`, verbatim, with all keys that are not modeled.

An ordinary document takes a fast path: its keys are sorted here, and msgspec checks the types and builds the records.
Anything that does not fit is read once more, field by field.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar, cast

import msgspec

from indigo_async._transport.prices import COST_KEYS, parse_cents, read_price
from indigo_async.models import Audience, CsvExport, RecordId, UploadedAudienceCsv

__all__ = ["UnreadableRecordError", "structure"]

T = TypeVar("T")

# Each field with the keys that may carry it, best first. Keys other than the first of `status`,
# `uploadedAudienceCsv`, `csvExports` and `downloadUrl` are inferred.
_KEYS: dict[type, dict[str, tuple[str, ...]]] = {
    Audience: {
        "id": ("id", "audienceId", "audienceID"),
        "name": ("name", "audienceName"),
        "status": ("status",),
        "customer_id": ("customerId",),
        "base_audience_id": ("baseAudienceId",),
        "uploaded_audience_csv": ("uploadedAudienceCsv",),
        "csv_exports": ("csvExports",),
    },
    UploadedAudienceCsv: {
        "status": ("status",),
        "url": ("url",),
    },
    CsvExport: {
        "id": ("id", "exportId"),
        "status": ("status",),
        "cost_cents": COST_KEYS,
        "cost_breakdown": ("costBreakdown",),
        "optional_field_types": ("optionalFieldTypes",),
        "download_url": ("downloadUrl",),
        "audience": ("audience",),
    },
}


class UnreadableRecordError(Exception):
    """A document is no record: it is no object, or its ID cannot be read. `path` says where."""

    def __init__(self, path: str, reason: str) -> None:
        self.path = path
        self.reason = reason
        super().__init__(f"{reason} at {path}")


def structure(document: Any, cls: type[T]) -> T:
    """Build a record from its JSON object.

    Raises:
        UnreadableRecordError: it is no object, or has no readable ID.
        RecursionError: it is nested too deeply.
    """
    try:
        return msgspec.convert(_PREPARED[cls](document), cls)
    except _STRUCTURE_ERRORS:
        pass
    return _read_leniently(document, cls, "$")


_STRUCTURE_ERRORS = (TypeError, ValueError, KeyError)  # msgspec's own are ValueErrors


# The slow path: field by field.


def _read_leniently(document: Any, cls: type[T], path: str) -> T:
    if type(document) is not dict:
        raise UnreadableRecordError(path, f"expected an object, got {json_type_name(document)}")
    document = cast("dict[str, Any]", document)
    known: dict[str, Any] = {}
    used: set[str] = set()
    for field, keys in _KEYS[cls].items():
        for key in keys:
            value = document.get(key)
            read = None if value is None else _READERS[field](value)
            if read is not None:
                known[field] = read
                used.add(key)
                break
    if cls is CsvExport:
        known["cost_cents"] = price = read_price(document)
        used.update(key for key in COST_KEYS if price is not None and parse_cents(document.get(key)) is not None)
    if "id" in _KEYS[cls] and "id" not in known:
        raise _unreadable_id(document, cls, path)
    if "csv_exports" in known and len(known["csv_exports"]) < len(document["csvExports"]):
        used.discard("csvExports")  # some cannot be read: callers can see that in `extra`
    modeled = _FIELD_OF[cls].keys()
    extra = {
        key: value for key, value in document.items() if key not in used and not (value is None and key in modeled)
    }
    make = cast("Callable[..., T]", cls)
    return make(**known, extra=extra) if extra else make(**known)


def _unreadable_id(document: Mapping[str, Any], cls: type, path: str) -> UnreadableRecordError:
    keys = _KEYS[cls]["id"]
    key = next((key for key in keys if document.get(key) is not None), None)
    if key is None:
        return UnreadableRecordError(f"{path}.{keys[0]}", "a documented key is missing")
    return UnreadableRecordError(
        f"{path}.{key}", f"expected an ID (text or integer), got {json_type_name(document[key])}"
    )


def _read_text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _read_url(value: object) -> str | None:
    return value if isinstance(value, str) and value.strip() else None


def _read_id(value: object) -> RecordId | None:
    if isinstance(value, bool) or not isinstance(value, (str, int)) or value == "":
        return None
    return value


def _read_customer_id(value: object) -> str | None:
    """A server may send 1 for "1": customer IDs are text here."""
    read = _read_id(value)
    return None if read is None else str(read)


def _read_field_types(value: object) -> tuple[str, ...] | None:
    if not isinstance(value, list):
        return None
    items = cast("list[object]", value)
    names = tuple(item for item in items if isinstance(item, str))
    return names if len(names) == len(items) else None


def _read_upload(value: object) -> UploadedAudienceCsv | None:
    return _read_leniently(value, UploadedAudienceCsv, "$") if isinstance(value, dict) else None


def _read_nested_audience(value: object) -> Audience | None:
    """Read the audience nested in an export, whose few fields need not hold its ID (API reference)."""
    try:
        return _read_leniently(value, Audience, "$")
    except UnreadableRecordError:
        return None


def _read_exports(value: object) -> tuple[CsvExport, ...] | None:
    """Read the exports that can be read; None where the value is no array."""
    if not isinstance(value, list):
        return None
    exports: list[CsvExport] = []
    for item in cast("list[object]", value):
        try:
            exports.append(_read_leniently(item, CsvExport, "$"))
        except UnreadableRecordError:
            continue
    return tuple(exports)


_READERS: dict[str, Callable[[Any], Any]] = {
    "id": _read_id,
    "name": _read_text,
    "status": _read_text,
    "customer_id": _read_customer_id,
    "base_audience_id": _read_id,
    "uploaded_audience_csv": _read_upload,
    "csv_exports": _read_exports,
    "url": _read_text,
    "cost_cents": lambda _: None,  # read from all its keys together
    "cost_breakdown": lambda value: value,
    "optional_field_types": _read_field_types,
    "download_url": _read_url,
    "audience": _read_nested_audience,
}

_JSON_TYPES: dict[type, str] = {
    type(None): "null",
    bool: "a boolean",
    int: "a number",
    float: "a number",
    str: "text",
    list: "an array",
}


def json_type_name(value: object) -> str:
    """The JSON name of a value's type: never the value, which may be about a person."""
    if value == "":
        return "empty text"
    return _JSON_TYPES.get(type(value), "an object")


# The fast path: every key is the usual one and every value of the documented type. It raises one of `_STRUCTURE_ERRORS`
# otherwise.

_FIELD_OF = {cls: {key: field for field, keys in keys_of.items() for key in keys} for cls, keys_of in _KEYS.items()}


def _preparer(cls: type, checks: Mapping[str, Callable[[Any], Any]]) -> Callable[[Any], dict[str, Any]]:
    """Make a function that sorts an object's keys into fields and `extra`, and checks what types do not tell."""
    plain = {keys[0]: (field, checks.get(field)) for field, keys in _KEYS[cls].items()}
    unusual = frozenset(_FIELD_OF[cls].keys() - plain.keys())

    def prepared(document: dict[str, Any]) -> dict[str, Any]:
        if type(document) is not dict or not unusual.isdisjoint(document):
            raise TypeError
        known: dict[str, Any] = {}
        extra: dict[str, Any] = {}
        for key, value in document.items():
            found = plain.get(key)
            if found is None:
                extra[key] = value
            elif value is not None:
                field, check = found
                known[field] = value if check is None else check(value)
        if extra:
            known["extra"] = extra
        return known

    return prepared


def _strict(read: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def check(value: Any) -> Any:
        found = read(value)
        if found is None:
            raise TypeError
        return found

    return check


def _checked_customer_id(value: Any) -> str:
    return value if type(value) is str and value else _strict(_read_customer_id)(value)


def _checked_id(value: Any) -> RecordId:
    return value if type(value) is str and value else _strict(_read_id)(value)


_CHECKS: dict[str, Callable[[Any], Any]] = {
    "id": _checked_id,
    "base_audience_id": _checked_id,
    "customer_id": _checked_customer_id,
    "download_url": _strict(_read_url),
}


def _prepared_audience(document: dict[str, Any]) -> dict[str, Any]:
    return _PREPARED[Audience](document)


def _prepared_export(document: dict[str, Any]) -> dict[str, Any]:
    """Prepare an export, which has its price under `cost` and no other amount that contradicts it."""
    known = _sort_export(document)
    cost = known.get("cost_cents")
    if cost is not None and (type(cost) is not int or read_price(document) != cost):
        raise TypeError
    return known


def _prepared_exports(value: list[Any]) -> list[Any]:
    return [_prepared_export(item) for item in value] if type(value) is list else value


_prepared_upload = _preparer(UploadedAudienceCsv, {})
_sort_export = _preparer(CsvExport, _CHECKS | {"audience": _prepared_audience})

_PREPARED: dict[type, Callable[[Any], dict[str, Any]]] = {
    UploadedAudienceCsv: _prepared_upload,
    CsvExport: _prepared_export,
    Audience: _preparer(
        Audience, _CHECKS | {"uploaded_audience_csv": _prepared_upload, "csv_exports": _prepared_exports}
    ),
}
