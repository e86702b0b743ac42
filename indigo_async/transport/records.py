"""The records of the wire: which JSON keys carry which fields, and what they hold.

It is lenient about what the contract leaves open: unknown keys go to `extra`, missing and null keys to their defaults,
and several spellings of one key are known. It is strict about types. The keys are sorted here, msgspec checks the types
and builds the records.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar, cast

import msgspec

from indigo_async.models import Audience, CsvExport, RecordId, UploadedAudienceCsv

__all__ = ["CHECKS", "KEYS", "fields_of", "json_type", "structure"]

T = TypeVar("T")

# Each field with the keys that may carry it, best first. Keys other than the first of `status`,
# `uploadedAudienceCsv`, `csvExports` and `downloadUrl` are inferred. Source: contract, "Documented" and "Inferred".
# Of the costs, those that name cents and totals come first: beside them a bare one may be a unit price, or dollars.
KEYS: dict[type, dict[str, tuple[str, ...]]] = {
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
        "cost_cents": (
            "totalCostInCents",
            "costInCents",
            "costCents",
            "priceInCents",
            "priceCents",
            "totalCost",
            "purchasePrice",
            "cost",
            "price",
        ),
        "cost_breakdown": ("costBreakdown",),
        "optional_field_types": ("optionalFieldTypes",),
        "download_url": ("downloadUrl",),
        "audience": ("audience",),
    },
}

# Whose keys may hold something else, which then stays in `extra`.
_INFERRED_SHAPES = {"optional_field_types", "audience"}


def structure(document: Any, cls: type[T]) -> T:
    """A record from its JSON object.

    What it raises where the object does not fit tells little; `misfit.first_misfit` says where and why.
    """
    return msgspec.convert(_PREPARED[cls](document), cls)


def fields_of(cls: type, document: dict[str, Any]) -> dict[str, Any]:
    """A JSON object's values by field, with all that is no field's under `extra`."""
    if type(document) is not dict:
        raise TypeError(f"expected an object, got {json_type(document)}")
    field_of = _FIELD_OF[cls]
    extra: dict[str, Any] = {}
    spelt: dict[str, str] = {}
    for key, value in document.items():
        field, rank = field_of.get(key, ("", 0))
        if not field or _is_of_another_shape(field, value):
            extra[key] = value
        elif value is None:
            continue
        elif field not in spelt:
            spelt[field] = key
        elif rank < field_of[spelt[field]][1]:
            extra[spelt[field]] = document[spelt[field]]
            spelt[field] = key
        else:
            extra[key] = value
    known: dict[str, Any] = {field: document[key] for field, key in spelt.items()}
    if extra:
        known["extra"] = extra
    return known


_FIELD_OF = {
    cls: {key: (field, rank) for field, keys in keys_of.items() for rank, key in enumerate(keys)}
    for cls, keys_of in KEYS.items()
}


def _is_of_another_shape(field: str, value: Any) -> bool:
    """Whether a key whose shape is inferred holds something else, which then breaks nothing."""
    if field == "optional_field_types":
        return value is not None and not _is_texts(value)
    # "A couple fields of information about the associated audience" need not hold its ID.
    # Source: reference, "POST /purchase_csv_export".
    return field == "audience" and isinstance(value, dict) and not _has_id(cast("dict[str, Any]", value))


def _is_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in cast("list[object]", value))


def _has_id(document: Mapping[str, Any]) -> bool:
    return any(document.get(key) is not None for key in KEYS[Audience]["id"])


def _record_id(value: Any) -> RecordId:
    if isinstance(value, bool) or not isinstance(value, (str, int)) or value == "":
        raise TypeError(f"expected an ID (text or integer), got {json_type(value)}")
    return value


def _customer_id(value: Any) -> str:
    """A server may answer 1 for "1": customer IDs are text here."""
    return value if type(value) is str and value else str(_record_id(value))


def _cents(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"expected whole cents, got {json_type(value)}")
    if value < 0:
        raise ValueError("expected cents of at least 0, got less")
    return value


CHECKS: dict[str, Callable[[Any], Any]] = {
    "id": _record_id,
    "base_audience_id": _record_id,
    "customer_id": _customer_id,
    "cost_cents": _cents,
}
"""What a field's type alone does not say about its values."""

_JSON_TYPES: dict[type, str] = {
    type(None): "null",
    bool: "a boolean",
    int: "a number",
    float: "a number",
    str: "text",
    list: "an array",
}


def json_type(value: object) -> str:
    """The JSON name of a value's type: never the value, which may be about a person."""
    if value == "":
        return "empty text"
    return _JSON_TYPES.get(type(value), "an object")


def _preparer(cls: type, checks: Mapping[str, Callable[[Any], Any]]) -> Callable[[Any], dict[str, Any]]:
    """What sorts an object's keys and checks what types do not tell, the objects within included.

    Where all keys are the ones that come first in `KEYS`, as is usual, one pass does it.
    """
    keys_of = KEYS[cls]
    plain = {keys[0]: (field, checks.get(field)) for field, keys in keys_of.items() if field not in _INFERRED_SHAPES}
    doubtful = frozenset(_FIELD_OF[cls].keys() - plain.keys())

    def prepared(document: dict[str, Any]) -> dict[str, Any]:
        if type(document) is not dict or not doubtful.isdisjoint(document):
            fields = fields_of(cls, document)
            return {field: checks[field](value) if field in checks else value for field, value in fields.items()}
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


def _prepared_audience(document: dict[str, Any]) -> dict[str, Any]:
    return _PREPARED[Audience](document)


_prepared_upload = _preparer(UploadedAudienceCsv, CHECKS)
_prepared_export = _preparer(CsvExport, CHECKS | {"audience": _prepared_audience})


def _prepared_exports(value: list[Any]) -> list[Any]:
    return [_prepared_export(item) for item in value] if type(value) is list else value


_PREPARED: dict[type, Callable[[Any], dict[str, Any]]] = {
    UploadedAudienceCsv: _prepared_upload,
    CsvExport: _prepared_export,
    Audience: _preparer(
        Audience, CHECKS | {"uploaded_audience_csv": _prepared_upload, "csv_exports": _prepared_exports}
    ),
}
