"""JSON to records and back: the keys of the wire, and what the values under them must be.

Servers may spell a key in several ways, and only a record's ID must be readable. Any other value that is missing, null
or of another type gives the field its default; what the server sent stays in the record's `extra`, along with all keys
that are not modeled.

A document with one known key per field and the usual types goes straight through a function that cattrs generates. Any
other document is normalized first. If it still does not fit, cattrs's detailed validation names the problem and path.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from functools import cache, partial
from typing import Any, TypeAlias, TypeVar, cast

import msgspec
from cattrs import ClassValidationError, Converter
from cattrs.gen import make_dict_structure_fn, make_dict_unstructure_fn, override

from indigo_async._redaction import SecretText
from indigo_async._transport.bodies import to_utf8
from indigo_async._transport.prices import COST_KEYS, contradicts_breakdown, parse_cents, read_price
from indigo_async.errors import ResponseDecodeError
from indigo_async.inputs import ColumnSelection, LookalikeFilters
from indigo_async.models import KNOWN_STATUSES, Audience, CsvExport, RecordId, UploadedAudienceCsv, normalize_status

__all__ = [
    "KEYS",
    "LIST_KEYS",
    "decode_audience",
    "decode_audiences",
    "decode_document",
    "decode_export",
    "encode_column_selections",
    "encode_filters",
    "encode_json",
    "find_list",
    "iterate_audiences",
    "outline",
    "split_array",
    "unwrap_record",
]

T = TypeVar("T")

_DECODE_ERRORS = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)

_logger = logging.getLogger("indigo_async")

LIST_KEYS = ("audiences", "data", "items", "results", "records", "result", "response")
"""The keys under which an object may hold a list of audiences. The first one comes before the others (inferred)."""

_MATCHED_COUNT_KEYS = (
    "matchedCount",
    "matchedSize",
    "matchCount",
    "matchedPeople",
    "matchedPeopleCount",
    "matchedRows",
    "matchedRowCount",
    "matchedRecords",
    "matchedVoters",
    "numMatched",
    "numMatches",
)

KEYS: dict[type, dict[str, tuple[str, ...]]] = {
    Audience: {
        "id": ("id", "audienceId", "audienceID"),
        "name": ("name", "audienceName"),
        "status": ("status",),
        "customer_id": ("customerId",),
        "base_audience_id": ("baseAudienceId",),
        "size": ("size", "audienceSize", "peopleCount", "personCount", "memberCount", "voterCount", "numPeople"),
        "matched_count": _MATCHED_COUNT_KEYS,
        "uploaded_audience_csv": ("uploadedAudienceCsv",),
        "csv_exports": ("csvExports",),
    },
    UploadedAudienceCsv: {
        "status": ("status",),
        "url": ("url",),
        "row_count": ("rowCount", "rowsCount", "numRows", "totalRows", "recordCount", "totalRecords"),
        "matched_count": (*_MATCHED_COUNT_KEYS, "peopleCount"),
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
    ColumnSelection: {
        "column_name": ("column_name",),
        "required": ("is_required",),
    },
    LookalikeFilters: {
        "states": ("states",),
        "counties": ("counties",),
        "congressional_districts": ("congressionalDistricts",),
        "upper_state_legislative_districts": ("upperStateLegislativeDistricts",),
        "lower_state_legislative_districts": ("lowerStateLegislativeDistricts",),
    },
}
"""The JSON keys of each field, the usual one first.

The API reference documents `status`, `uploadedAudienceCsv`, `csvExports`, `downloadUrl` and the keys of column
selections; the other keys are inferred.
"""


_ENVELOPE_KEYS: dict[type, tuple[str, ...]] = {
    Audience: ("data", "audience", "result", "results", "record", "response"),
    CsvExport: ("data", "export", "csvExport", "result", "results", "record", "response"),
}
# Keys that only a record has: an object with one of these is not an envelope. Envelopes may also have a `status`.
_RECORD_KEYS: dict[type, frozenset[str]] = {
    cls: frozenset(key for keys in KEYS[cls].values() for key in keys) - {"status", "audience"}
    for cls in _ENVELOPE_KEYS
}
_ID_KEYS = {cls: frozenset(KEYS[cls]["id"]) for cls in _ENVELOPE_KEYS}
_MAX_ENVELOPES = 2
_COUNT_FIELDS = frozenset({"size", "matched_count", "row_count"})
# The keys that an error message may show; others might be data.
_NAMEABLE_KEYS = frozenset(
    {key for keys in KEYS.values() for names in keys.values() for key in names}
    | {key for keys in _ENVELOPE_KEYS.values() for key in keys}
    | {"attributes", "code", "error", "errors", "links", "message", "meta", "ok", "success", "type"}
)


def decode_document(body: bytes, endpoint: str) -> Any:
    """Decode a response body into plain JSON values.

    Raises:
        ResponseDecodeError: the body is not JSON. No frame of the error holds the body.
    """
    try:
        return msgspec.json.decode(body)
    except _DECODE_ERRORS:
        pass
    try:
        return msgspec.json.decode(to_utf8(body))
    except _DECODE_ERRORS:
        reason = "the response is not JSON" if body.strip() else "the response is not JSON: it is empty"
    finally:
        del body
    raise ResponseDecodeError(reason, endpoint=endpoint)


def unwrap_record(document: Any, cls: type) -> Any:
    """Return the record in an envelope such as `{"data": {...}}`, or None for an envelope around null.

    Returns the document itself if it is a record or its meaning isn't clear.
    """
    inner = document
    for _ in range(_MAX_ENVELOPES + 1):
        if isinstance(inner, dict) and not _ID_KEYS[cls].isdisjoint(cast("dict[str, Any]", inner)):
            return cast("Any", inner)
        contents = _envelope_contents(inner, cls)
        if len(contents) != 1:
            break
        inner = contents[0]
        if inner is None:
            return None
    return document


def _envelope_contents(document: Any, cls: type) -> list[Any]:
    """Return what an envelope may hold: an object, null, or the only entry of an array."""
    contents: list[Any] = []
    if isinstance(document, list):
        contents = [document]
    elif isinstance(document, dict) and not _RECORD_KEYS[cls].intersection(cast("dict[str, Any]", document)):
        contents = [document[key] for key in _ENVELOPE_KEYS[cls] if key in document]
    entries = [cast("list[Any]", value)[0] if _has_one_entry(value) else value for value in contents]
    return [entry for entry in entries if entry is None or isinstance(entry, dict)]


def _has_one_entry(value: object) -> bool:
    return isinstance(value, list) and len(cast("list[object]", value)) == 1


def decode_audiences(document: Any, endpoint: str) -> list[Audience]:
    """Decode audiences from an array, or from an object that holds one: see `find_list`.

    Rows without a readable ID are skipped and logged.

    Raises:
        ResponseDecodeError: there is no array.
    """
    try:
        return list(iterate_audiences(document, endpoint))
    finally:
        del document  # as above


def split_array(body: bytes) -> list[msgspec.Raw] | None:
    """Split a JSON array into its elements, which takes a tenth of decoding them. None if it isn't one in UTF-8."""
    try:
        elements = _ELEMENTS.decode(body)
        body.decode()  # texts have not been checked
    except _DECODE_ERRORS:
        return None
    return elements


_ELEMENTS = msgspec.json.Decoder(list[msgspec.Raw])


def iterate_audiences(document: Any, endpoint: str) -> Iterator[Audience]:
    """Decode audiences one by one, like `decode_audiences`. The rows may still be JSON text: see `split_array`.

    Raises:
        ResponseDecodeError: there is no array.
    """
    keys = find_list(document)
    if keys is None:
        del document  # tracebacks must not hold people's data
        raise ResponseDecodeError("expected an array of audiences", endpoint=endpoint)
    for key in keys:
        document = document[key]
    return _structure_rows(cast("list[Any]", document), ".".join(["$", *keys]), endpoint)


def _structure_rows(rows: Iterable[Any], path: str, endpoint: str) -> Iterator[Audience]:
    skipped: list[int] = []
    for index, row in enumerate(rows):
        try:
            yield _structure_row(decode_document(bytes(row), endpoint) if type(row) is msgspec.Raw else row)
        except (*_MISFITS, RecursionError, ResponseDecodeError):
            skipped.append(index)
    if skipped:
        _logger.warning(
            "%s: skipped %d rows without a readable ID; the first is %s[%d]", endpoint, len(skipped), path, skipped[0]
        )


def find_list(document: object, depth: int = _MAX_ENVELOPES) -> tuple[str, ...] | None:
    """Return the path of keys to the list of audiences in a document. None if it isn't clear which array that is."""
    if isinstance(document, list):
        return ()
    if not isinstance(document, dict):
        return None
    fields = cast("dict[str, object]", document)
    arrays = [key for key in LIST_KEYS if isinstance(fields.get(key), list)]
    if len(arrays) == 1 or LIST_KEYS[0] in arrays:
        return (arrays[0],)
    if arrays or not depth:
        return None
    objects = [key for key in LIST_KEYS if isinstance(fields.get(key), dict)]
    paths = [(key, *path) for key in objects if (path := find_list(fields[key], depth - 1)) is not None]
    return paths[0] if len(paths) == 1 else None


def outline(document: Any) -> dict[str, Any]:
    """Return the fields around a list, such as a link to the next page. An array has none."""
    if not isinstance(document, dict):
        return {}
    fields = cast("dict[str, Any]", document)
    return {key: _outline_value(value) for key, value in fields.items() if not isinstance(value, list)}


def _outline_value(value: Any) -> Any:
    return outline(value) if isinstance(value, dict) else value


def encode_json(value: Any) -> bytes:
    return msgspec.json.encode(value, enc_hook=_encode_secret)


def _encode_secret(value: object) -> str:
    if isinstance(value, SecretText):
        return str(value)
    raise TypeError(f"{type(value).__name__} has no exact JSON form")


def encode_column_selections(selections: Mapping[str, ColumnSelection]) -> dict[str, Any]:
    """Return `columnSelections` of POST /match_uploaded_csv (API reference)."""
    return {field: _unstructure_selection(selection) for field, selection in selections.items()}


def encode_filters(filters: LookalikeFilters) -> dict[str, Any]:
    """Return `filters` of POST /create_lookalike_audience: known filters under their keys, others as they are."""
    return _unstructure_filters(filters) | dict(filters.extra)


class _MisfitError(ValueError):
    """A value does not fit its field. The message names the value's type, never the value."""

    def __init__(self, expected: str, value: object) -> None:
        super().__init__(f"expected {expected}, got {_json_type_name(value)}")


_MISFITS = (_MisfitError, KeyError)  # KeyError: no ID


def _decode(document: Any, endpoint: str, *, cls: type[T]) -> T:
    """Decode a record from its JSON object.

    Raises:
        ResponseDecodeError: it is not an object, or has no readable ID.
    """
    path = "$"
    try:
        try:
            return _structure_usual(document, cls)
        except _MISFITS:
            return _structure_unusual(document, cls, _generate_functions(detailed_validation=True))
    except _MisfitError as error:
        reason = str(error)
    except ClassValidationError as error:
        path, reason = _describe_first_problem(error, document, cls)
    except RecursionError:
        reason = "the response is nested too deeply"
    finally:
        del document  # as above
    raise ResponseDecodeError(reason, endpoint=endpoint, path=path)


decode_audience = partial(_decode, cls=Audience)
decode_export = partial(_decode, cls=CsvExport)


def _describe_first_problem(error: ClassValidationError, document: dict[str, Any], cls: type) -> tuple[str, str]:
    """Return the path, with the key as the document spells it, and the reason."""
    problem, note = error.group_exceptions()[0][0]
    keys = KEYS[cls][note.name]
    key = next((key for key in keys if document.get(key) is not None), keys[0])
    if not isinstance(problem, KeyError):
        return f"$.{key}", str(problem)
    others = "" if key in document else _describe_keys(document)
    return f"$.{key}", f"a documented key is missing{others}"


def _describe_keys(document: dict[str, Any]) -> str:
    """List the keys of an unknown document, except those that might be data."""
    names = sorted(_NAMEABLE_KEYS.intersection(document))
    others = len(document) - len(names)
    shown = ", ".join([*names, f"{others} unknown"] if others else names)
    return f" (it has the keys: {shown})" if shown else ""


def _structure_row(document: Any) -> Audience:
    try:
        return _structure_usual(document, Audience)
    except _MISFITS:
        return _structure_unusual(document, Audience)


def _structure_usual(document: Any, cls: type[T]) -> T:
    """Structure a document with one key per field and the usual types, which nearly all are."""
    if document.__class__ is not dict:
        if isinstance(document, cls):
            return document  # a record within a normalized document
        raise _MisfitError("an object", document)
    usual_keys = _USUAL_KEYS[cls]
    fields: dict[str, Any] = {}
    extra: dict[str, Any] = {}
    for key, value in document.items():
        usual = usual_keys.get(key)
        if usual is None:
            extra[key] = value
        elif value is not None:  # null counts as missing
            if usual in fields:
                raise _MisfitError("one key per field", fields)
            fields[usual] = value
    if extra:
        fields["extra"] = extra
    if cls is Audience and "uploadedAudienceCsv" in fields:
        _structure_csv(fields)
    record: T = _FUNCTIONS[cls](fields, cls)
    if isinstance(record, CsvExport) and contradicts_breakdown(record.cost_cents, record.cost_breakdown):
        raise _MisfitError("one price", fields)
    return record


def _structure_csv(fields: dict[str, Any]) -> None:
    """Structure an audience's CSV, and copy its matched count unless the audience shows a different one."""
    csv = fields["uploadedAudienceCsv"] = _structure_usual(fields["uploadedAudienceCsv"], UploadedAudienceCsv)
    matched = csv.matched_count
    if matched is not None and fields.setdefault("matchedCount", matched) != matched:
        raise _MisfitError("one matched count", fields)


def _structure_unusual(document: Any, cls: type[T], functions: _Functions | None = None) -> T:
    """Structure a document with several keys for a field, or with values that do not fit."""
    if not isinstance(document, dict):
        raise _MisfitError("an object", document)
    normalized = _normalize(cast("dict[str, Any]", document), cls)
    record: T = (functions or _FUNCTIONS)[cls](normalized, cls)
    return record


def _normalize(document: dict[str, Any], cls: type) -> dict[str, Any]:
    """Rewrite a document with the usual keys and only values that fit. All other values move to `extra`.

    Nested records are structured on the way, so that each is read once however deeply it is nested. An unreadable ID
    stays, so that structuring fails.
    """
    extra = {key: value for key, value in document.items() if value is not None or key not in _USUAL_KEYS[cls]}
    normalized: dict[str, Any] = {}
    for field, keys in KEYS[cls].items():
        if field == "cost_cents":
            normalized |= _take_price(extra)
        elif field in _COUNT_FIELDS:
            normalized |= _take_count(extra, keys)
        else:
            normalized |= _take_value(extra, field, keys)
    csv = normalized.get("uploadedAudienceCsv")
    if isinstance(csv, UploadedAudienceCsv) and csv.matched_count is not None:
        own = normalized.setdefault("matchedCount", csv.matched_count)
        if own != csv.matched_count:
            extra["matchedCount"] = normalized.pop("matchedCount")
    return normalized | {"extra": extra} if extra else normalized


def _take_count(extra: dict[str, Any], keys: tuple[str, ...]) -> dict[str, int]:
    """Move counts that agree out of `extra`. Counts that differ stay there."""
    counts = {key: count for key in keys if (count := _parse_count(extra.get(key))) is not None}
    if len(set(counts.values())) != 1:
        return {}
    for key in counts:
        del extra[key]
    return {keys[0]: next(iter(counts.values()))}


def _parse_count(value: object) -> int | None:
    return value if type(value) is int and value >= 0 else None


def _take_price(extra: dict[str, Any]) -> dict[str, Any]:
    """Take all amounts that agree on a price out of `extra`."""
    price = read_price(extra)  # compares the breakdown, which is still in `extra`
    if price is None:
        return {}
    for key in COST_KEYS:
        if parse_cents(extra.get(key)) is not None:
            del extra[key]
    return {COST_KEYS[0]: price}


def _take_value(extra: dict[str, Any], field: str, keys: tuple[str, ...]) -> dict[str, Any]:
    """Take the first value that fits a field out of `extra` and return it under the usual key."""
    present = [key for key in keys if key in extra]
    for key in present:
        value = extra[key]
        try:
            fit = _TOLERANT_HOOKS.get(field, _HOOKS[field])(value, None)
        except _MISFITS:
            continue
        if not (field == "csv_exports" and len(fit) < len(value)):  # unreadable exports can be seen in `extra`
            del extra[key]
        return {keys[0]: fit}
    return {keys[0]: extra[present[0]]} if field == "id" and present else {}


# Hooks: each returns the field's value for a JSON value other than null, or raises one of `_MISFITS`.


def _read_text(value: object, _: object) -> str:
    if isinstance(value, str):
        return value
    raise _MisfitError("text", value)


def _read_status(value: Any, _: object) -> str:
    if value.__class__ is str:
        return KNOWN_STATUSES.get(value) or normalize_status(value)
    raise _MisfitError("text", value)


def _read_count(value: Any, _: object) -> int:
    if value.__class__ is int and value >= 0:
        return value
    raise _MisfitError("a whole number", value)


def _read_url(value: object, _: object) -> str:
    if isinstance(value, str) and value.strip():
        return value
    raise _MisfitError("a URL", value)


def _read_id(value: Any, _: object) -> RecordId:
    if value.__class__ not in {str, int} or value == "":
        raise _MisfitError("an ID (text or integer)", value)
    return value


def _read_customer_id(value: Any, _: object) -> str:
    """Read a customer ID, which is text in the SDK: a server may send 1 for "1"."""
    return value if value.__class__ is str and value else str(_read_id(value, None))


def _read_cents(value: object, _: object) -> int:
    cents = parse_cents(value)
    if cents is None:
        raise _MisfitError("whole cents", value)
    return cents


def _read_field_types(value: Any, _: object) -> tuple[str, ...]:
    if value.__class__ not in {list, tuple}:
        raise _MisfitError("an array", value)
    return tuple([_read_text(name, None) for name in value])


def _read_exports(value: Any, _: object) -> tuple[CsvExport, ...]:
    if value.__class__ is not list:
        raise _MisfitError("an array", value)
    return tuple([_structure_usual(item, CsvExport) for item in value])


def _read_readable_exports(value: object, _: object) -> list[CsvExport]:
    if not isinstance(value, list):
        raise _MisfitError("an array", value)
    exports: list[CsvExport] = []
    for item in cast("list[object]", value):
        with suppress(*_MISFITS):
            exports.append(_structure_unusual(item, CsvExport))
    return exports


_Hook: TypeAlias = Callable[[Any, Any], Any]

_HOOKS: dict[str, _Hook] = {
    "id": _read_id,
    "name": _read_text,
    "status": _read_status,
    "size": _read_count,
    "matched_count": _read_count,
    "row_count": _read_count,
    "customer_id": _read_customer_id,
    "base_audience_id": _read_id,
    "uploaded_audience_csv": lambda value, _: value,  # structured already, for its matched count
    "csv_exports": _read_exports,
    "url": _read_text,
    "cost_cents": _read_cents,
    "cost_breakdown": lambda value, _: value,
    "optional_field_types": _read_field_types,
    "download_url": _read_url,
    "audience": lambda value, _: _structure_usual(value, Audience),
    "extra": lambda value, _: value,
}

# For normalizing: nested records may have other keys and values that do not fit, too.
_TOLERANT_HOOKS: dict[str, _Hook] = {
    "uploaded_audience_csv": lambda value, _: _structure_unusual(value, UploadedAudienceCsv),
    "csv_exports": _read_readable_exports,
    "audience": lambda value, _: _structure_unusual(value, Audience),
}


_RECORDS = (Audience, UploadedAudienceCsv, CsvExport)
# The usual key for each known key.
_USUAL_KEYS: dict[type, dict[str, str]] = {
    cls: {key: keys[0] for keys in KEYS[cls].values() for key in keys} for cls in _RECORDS
}

_Functions: TypeAlias = dict[type, Callable[[Any, Any], Any]]


_converter = Converter()


@cache
def _generate_functions(*, detailed_validation: bool) -> _Functions:
    return {
        cls: make_dict_structure_fn(
            cls, _converter, _cattrs_detailed_validation=detailed_validation, **_structure_overrides(cls)
        )
        for cls in _RECORDS
    }


def _structure_overrides(cls: type) -> dict[str, Any]:
    keys_by_field = {field: keys[0] for field, keys in KEYS[cls].items()} | {"extra": "extra"}
    return {field: override(rename=key, struct_hook=_HOOKS[field]) for field, key in keys_by_field.items()}


def _unstructure_overrides(cls: type, unstruct_hook: Callable[[Any], Any] | None = None) -> dict[str, Any]:
    overrides = {field: override(rename=keys[0], unstruct_hook=unstruct_hook) for field, keys in KEYS[cls].items()}
    return overrides | {"extra": override(omit=True)}


_FUNCTIONS = _generate_functions(detailed_validation=False)

_unstructure_selection = make_dict_unstructure_fn(
    ColumnSelection, _converter, **_unstructure_overrides(ColumnSelection)
)
_unstructure_filters = make_dict_unstructure_fn(
    LookalikeFilters,
    _converter,
    _cattrs_omit_if_default=True,
    **_unstructure_overrides(LookalikeFilters, unstruct_hook=list),
)

_JSON_TYPES: dict[type, str] = {
    type(None): "null",
    bool: "a boolean",
    int: "a number",
    float: "a number",
    str: "text",
    list: "an array",
}


def _json_type_name(value: object) -> str:
    return "empty text" if value == "" else _JSON_TYPES.get(type(value), "an object")
