"""The wire's own words, in both directions: JSON answers as records, and what callers give as JSON.

Which keys carry which fields is in `records`. A wrong type raises `ResponseDecodeError` with its path in the document,
which `misfit` finds when a record could not be made.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar, cast

import msgspec

from indigo_async.errors import ResponseDecodeError
from indigo_async.inputs import ColumnSelection, LookalikeFilters
from indigo_async.models import Audience, CsvExport
from indigo_async.transport.records import structure

__all__ = [
    "decode_audience",
    "decode_audiences",
    "decode_document",
    "decode_export",
    "encode_body",
    "encode_column_selections",
    "encode_filters",
]

T = TypeVar("T")

_LIST_KEY = "audiences"


def decode_document(body: bytes, endpoint: str) -> Any:
    """A response body as plain JSON values.

    Raises:
        ResponseDecodeError: the body is no JSON.
    """
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise ResponseDecodeError("the answer is no JSON", endpoint=endpoint) from None


def decode_audience(document: Any, endpoint: str) -> Audience:
    """An audience from its JSON object."""
    return _structure(document, Audience, endpoint)


def decode_audiences(document: Any, endpoint: str) -> list[Audience]:
    """Audiences from a bare array, or from an object that holds one."""
    path = "$"
    if isinstance(document, dict):
        document, path = cast("dict[str, Any]", document).get(_LIST_KEY), f"$.{_LIST_KEY}"
    if not isinstance(document, list):
        raise ResponseDecodeError("expected an array of audiences", endpoint=endpoint, path=path)
    return [
        _structure(row, Audience, endpoint, f"{path}[{index}]") for index, row in enumerate(cast("list[Any]", document))
    ]


def decode_export(document: Any, endpoint: str) -> CsvExport:
    """A CSV export from its JSON object."""
    return _structure(document, CsvExport, endpoint)


def _structure(document: Any, cls: type[T], endpoint: str, path: str = "$") -> T:
    try:
        return structure(document, cls)
    except Exception:  # noqa: BLE001, S110 - whatever it was, it is met again below, where the path to it is known
        pass
    from indigo_async.transport.misfit import first_misfit  # noqa: PLC0415 - cattrs, which few programs ever need

    where, why = first_misfit(document, cls, path)
    raise ResponseDecodeError(why, endpoint=endpoint, path=where)


def encode_body(values: Mapping[str, Any]) -> bytes:
    """A POST's parameters as JSON bytes; parameters that are None are left out."""
    present = {key: value for key, value in values.items() if value is not None}
    return msgspec.json.encode(present, enc_hook=str)  # of what it does not know, there is hidden text alone


def encode_column_selections(selections: Mapping[str, ColumnSelection]) -> dict[str, Any]:
    """Source: reference, "POST /match_uploaded_csv", `columnSelections`."""
    return {
        field: {"column_name": selection.column_name, "is_required": selection.required}
        for field, selection in selections.items()
    }


_FILTER_KEYS = {
    "states": "states",
    "counties": "counties",
    "congressional_districts": "congressionalDistricts",
    "upper_state_legislative_districts": "upperStateLegislativeDistricts",
    "lower_state_legislative_districts": "lowerStateLegislativeDistricts",
}


def encode_filters(filters: LookalikeFilters) -> dict[str, Any]:
    """Filters under the server's names (inferred); the caller's further ones as they are."""
    values: dict[str, Sequence[str] | None] = {key: getattr(filters, field) for field, key in _FILTER_KEYS.items()}
    return {key: list(value) for key, value in values.items() if value is not None} | dict(filters.extra)
