"""The wire's own words: the one place that knows the API's JSON keys, in both directions.

Decoding is cattrs over msgspec. It is lenient about what the contract leaves open (unknown keys go to `extra`, missing
and null keys to their defaults, several spellings of one key) and strict about types: a wrong type raises
`ResponseDecodeError` with its path in the document. The fast converter runs first; only when it fails does the
detailed one run, to find the path.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from types import NoneType
from typing import Any, TypeVar, cast, get_args, get_type_hints

import attrs
import msgspec
from cattrs.errors import (
    AttributeValidationNote,
    BaseValidationError,
    ClassValidationError,
    IterableValidationError,
    IterableValidationNote,
)
from cattrs.gen import make_dict_structure_fn, override
from cattrs.preconf.msgspec import MsgspecJsonConverter, make_converter

from indigo_async.errors import ResponseDecodeError
from indigo_async.inputs import ColumnSelection, LookalikeFilters
from indigo_async.models import Audience, CsvExport, RecordId, UploadedAudienceCsv

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

# Each field with the keys that may carry it, best first. Keys other than the first of `status`,
# `uploadedAudienceCsv`, `csvExports` and `downloadUrl` are inferred. Source: contract, "Documented" and "Inferred".
# Of the costs, those that name cents and totals come first: beside them a bare one may be a unit price, or dollars.
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

_LIST_KEY = "audiences"


def _text(value: Any, _: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"expected text, got {_json_type(value)}")
    return value


def _record_id(value: Any, _: object) -> RecordId:
    if isinstance(value, bool) or not isinstance(value, (str, int)) or value == "":
        raise TypeError(f"expected an ID (text or integer), got {_json_type(value)}")
    return value


def _customer_id(value: Any, _: object) -> str:
    """A server may answer 1 for "1": customer IDs are text here."""
    return str(_record_id(value, None))


def _cents(value: Any, _: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"expected whole cents, got {_json_type(value)}")
    if value < 0:
        raise ValueError("expected cents of at least 0, got less")
    return value


_JSON_TYPES: dict[type, str] = {
    type(None): "null",
    bool: "a boolean",
    int: "a number",
    float: "a number",
    str: "text",
    list: "an array",
}


def _json_type(value: object) -> str:
    """The JSON name of a value's type: never the value, which may be about a person."""
    if value == "":
        return "empty text"
    return _JSON_TYPES.get(type(value), "an object")


def _is_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in cast("list[object]", value))


def _converter(*, detailed: bool) -> MsgspecJsonConverter:
    converter = make_converter(detailed_validation=detailed)
    converter.register_structure_hook(str, _text)
    converter.register_structure_hook(int, _cents)
    converter.register_structure_hook_func(lambda kind: kind == RecordId, _record_id)
    for cls in (UploadedAudienceCsv, CsvExport, Audience):
        converter.register_structure_hook(cls, _record_hook(cls, converter))
    # An array that is none (text, an object) would be iterated all the same.
    exports_of = converter.get_structure_hook(tuple[CsvExport, ...])
    export_of = converter.get_structure_hook(CsvExport)

    def exports(value: Any, kind: Any) -> tuple[CsvExport, ...]:
        if not isinstance(value, list):
            raise TypeError(f"expected an array, got {_json_type(value)}")
        if detailed:
            return exports_of(value, kind)
        return tuple([export_of(item, CsvExport) for item in cast("list[Any]", value)])

    converter.register_structure_hook_func(lambda kind: kind == tuple[CsvExport, ...], exports)
    return converter


def _record_hook(cls: type[T], converter: MsgspecJsonConverter) -> Callable[[Any, Any], T]:
    """A hook that sorts a JSON object's keys into fields and `extra`, then lets cattrs build the record."""
    sort_keys = _key_sorter(_KEYS[cls])
    build: Callable[[Any, Any], T] | None = None

    def structure(value: Any, kind: Any) -> T:
        nonlocal build
        if not isinstance(value, dict):
            raise TypeError(f"expected an object, got {_json_type(value)}")
        if build is None:  # made late, since the records refer to one another
            overrides: Any = _field_hooks(cls, converter)
            build = cast(
                "Callable[[Any, Any], T]",
                make_dict_structure_fn(cast("type[attrs.AttrsInstance]", cls), converter, **overrides),
            )
        return build(sort_keys(cast("dict[str, Any]", value)), kind)

    return structure


def _field_hooks(cls: type, converter: MsgspecJsonConverter) -> dict[str, Any]:
    """What checks the fields whose types do not say it all, and optional ones.

    For those cattrs would look up a hook for each value, and ask for the null that was left out before.
    """
    hooks: dict[str, Any] = {"extra": lambda value, _: value}  # pyright: ignore[reportUnknownLambdaType]: JSON
    for name, kind in get_type_hints(cls).items():
        inner = [one for one in get_args(kind) if one is not NoneType]
        if len(inner) == 1 and inner[0] in {str, int, *_KEYS}:
            hooks[name] = converter.get_structure_hook(inner[0])
    if "customer_id" in hooks:
        hooks |= {"customer_id": _customer_id, "base_audience_id": _record_id}
    return {name: override(struct_hook=hook) for name, hook in hooks.items()}


def _key_sorter(keys_of: Mapping[str, tuple[str, ...]]) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """What turns a JSON object into values by field, with all that is no field's under `extra`."""
    field_of = {key: (field, rank) for field, keys in keys_of.items() for rank, key in enumerate(keys)}
    plain = {keys[0]: field for field, keys in keys_of.items() if field not in _INFERRED_SHAPES}
    doubtful = frozenset(field_of.keys() - plain.keys())

    def sort_keys(document: dict[str, Any]) -> dict[str, Any]:
        if not doubtful.isdisjoint(document):
            return _sort_doubtful_keys(document, field_of)
        known: dict[str, Any] = {}
        extra: dict[str, Any] = {}
        for key, value in document.items():
            field = plain.get(key)
            if field is None:
                extra[key] = value
            elif value is not None:
                known[field] = value
        if extra:
            known["extra"] = extra
        return known

    return sort_keys


def _sort_doubtful_keys(document: dict[str, Any], field_of: Mapping[str, tuple[str, int]]) -> dict[str, Any]:
    """As above, where keys are spelt in other ways, perhaps one beside another, or may hold something else."""
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
    known = {field: document[key] for field, key in spelt.items()}
    if extra:
        known["extra"] = extra
    return known


def _is_of_another_shape(field: str, value: Any) -> bool:
    """Whether a key whose shape is inferred holds something else, which then breaks nothing."""
    if field == "optional_field_types":
        return value is not None and not _is_texts(value)
    # "A couple fields of information about the associated audience" need not hold its ID.
    # Source: reference, "POST /purchase_csv_export".
    return field == "audience" and isinstance(value, dict) and not _has_id(cast("dict[str, Any]", value))


def _has_id(document: Mapping[str, Any]) -> bool:
    return any(document.get(key) is not None for key in _KEYS[Audience]["id"])


_fast = _converter(detailed=False)
_detailed = _converter(detailed=True)


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
        return _fast.structure(document, cls)
    except Exception:  # noqa: BLE001, S110 - whatever it was, the detailed converter below meets it again and says where
        pass
    problem = _first_problem(document, cls, path)
    raise ResponseDecodeError(problem[1], endpoint=endpoint, path=problem[0])


def _first_problem(document: Any, cls: type, path: str) -> tuple[str, str]:
    """Where in the document it went wrong first, and how."""
    try:
        _detailed.structure(document, cls)
    except Exception as error:  # noqa: BLE001 - turned into one path and one sentence
        return _explain(error, document, cls, path)
    return path, "the answer has an unexpected shape"


def _explain(error: BaseException, document: Any, cls: Any, path: str) -> tuple[str, str]:
    while isinstance(error, BaseValidationError):
        error, note = _first_cause(error)
        if isinstance(note, AttributeValidationNote):
            key = _key_used(document, cls, note.name)
            path, document, cls = f"{path}.{key}", document.get(key), note.type
        elif isinstance(note, IterableValidationNote):
            path, document, cls = f"{path}[{note.index}]", document[note.index], note.type
    return path, "a documented key is missing" if isinstance(error, KeyError) else str(error)


def _first_cause(
    group: BaseValidationError,
) -> tuple[BaseException, AttributeValidationNote | IterableValidationNote | None]:
    if isinstance(group, (ClassValidationError, IterableValidationError)):
        noted = group.group_exceptions()[0]
        if noted:
            return noted[0]
    return group.exceptions[0], None


def _key_used(document: Any, cls: Any, field: str) -> str:
    """The key under which a document carries a field, else the first one that could."""
    record = next((known for known in _KEYS if re.search(rf"\b{known.__name__}\b", str(cls))), None)
    keys = _KEYS[record].get(field, (field,)) if record else (field,)
    present = cast("dict[str, Any]", document) if isinstance(document, dict) else {}
    return next((key for key in keys if present.get(key) is not None), keys[0])


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
