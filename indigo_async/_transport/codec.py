"""The wire's own words, in both directions: JSON answers as records, and what callers give as JSON.

Which keys carry which fields is in `records`. A record without a readable ID raises `ResponseDecodeError` with its path
in the document.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar, cast

import msgspec

from indigo_async._transport.records import UnreadableRecordError, structure
from indigo_async.errors import ResponseDecodeError
from indigo_async.inputs import ColumnSelection, LookalikeFilters
from indigo_async.models import Audience, CsvExport

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

_logger = logging.getLogger("indigo_async")

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
    """Audiences from a bare array, or from an object that holds one. A row without a readable ID is left out."""
    path = "$"
    if isinstance(document, dict):
        document, path = cast("dict[str, Any]", document).get(_LIST_KEY), f"$.{_LIST_KEY}"
    if not isinstance(document, list):
        raise ResponseDecodeError("expected an array of audiences", endpoint=endpoint, path=path)
    audiences: list[Audience] = []
    odd: list[str] = []
    for index, row in enumerate(cast("list[Any]", document)):
        try:
            audiences.append(structure(row, Audience))
        except (UnreadableRecordError, RecursionError):
            odd.append(f"{path}[{index}]")
    if odd:
        _logger.warning("%s: %d rows have no readable ID and are left out, first %s", endpoint, len(odd), odd[0])
    return audiences


def decode_export(document: Any, endpoint: str) -> CsvExport:
    """A CSV export from its JSON object."""
    return _structure(document, CsvExport, endpoint)


def _structure(document: Any, cls: type[T], endpoint: str) -> T:
    try:
        return structure(document, cls)
    except UnreadableRecordError as error:
        path, why = error.path, error.reason
    except RecursionError:
        path, why = "$", "the response is nested too deeply"
    finally:
        del document  # the error's traceback must not hold people's data
    raise ResponseDecodeError(why, endpoint=endpoint, path=path)


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
