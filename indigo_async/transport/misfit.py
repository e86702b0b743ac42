"""Where in an answer something first is not what it should be, and why: asked only when an answer does not fit.

A converter of cattrs meets the problem again and knows the path to it. The library is imported then, not before: most
programs never meet such an answer.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar, cast

import attrs
from cattrs.errors import (
    AttributeValidationNote,
    BaseValidationError,
    ClassValidationError,
    IterableValidationError,
    IterableValidationNote,
)
from cattrs.gen import make_dict_structure_fn, override
from cattrs.preconf.msgspec import MsgspecJsonConverter, make_converter

from indigo_async.models import Audience, CsvExport, UploadedAudienceCsv
from indigo_async.transport.records import CHECKS, KEYS, fields_of, json_type

__all__ = ["first_misfit"]

T = TypeVar("T")


def first_misfit(document: Any, cls: type, path: str) -> tuple[str, str]:
    """Where in the document it went wrong first, and how."""
    try:
        detailed.structure(document, cls)
    except Exception as error:  # noqa: BLE001 - turned into one path and one sentence
        return _explain(error, document, cls, path)
    return path, "the answer has an unexpected shape"


def _text(value: Any, _: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"expected text, got {json_type(value)}")
    return value


def _converter() -> MsgspecJsonConverter:
    converter = make_converter(detailed_validation=True)
    converter.register_structure_hook(str, _text)
    for cls in (UploadedAudienceCsv, CsvExport, Audience):
        converter.register_structure_hook(cls, _record_hook(cls, converter))
    # An array that is none (text, an object) would be iterated all the same.
    exports_of = converter.get_structure_hook(tuple[CsvExport, ...])

    def exports(value: Any, kind: Any) -> tuple[CsvExport, ...]:
        if not isinstance(value, list):
            raise TypeError(f"expected an array, got {json_type(value)}")
        return exports_of(value, kind)

    converter.register_structure_hook_func(lambda kind: kind == tuple[CsvExport, ...], exports)
    return converter


def _record_hook(cls: type[T], converter: MsgspecJsonConverter) -> Callable[[Any, Any], T]:
    """A hook that sorts a JSON object's keys into fields and `extra`, then lets cattrs build the record."""
    overrides: Any = {field: override(struct_hook=partial(_checked, field)) for field in KEYS[cls] if field in CHECKS}
    overrides["extra"] = override(struct_hook=lambda value, _: value)
    build: Callable[[Any, Any], T] | None = None

    def structure(value: Any, kind: Any) -> T:
        nonlocal build
        fields = fields_of(cls, value)
        if build is None:  # made late, since the records refer to one another
            build = cast(
                "Callable[[Any, Any], T]",
                make_dict_structure_fn(cast("type[attrs.AttrsInstance]", cls), converter, **overrides),
            )
        return build(fields, kind)

    return structure


def _checked(field: str, value: Any, _: object) -> Any:
    return CHECKS[field](value)


detailed: MsgspecJsonConverter = _converter()


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
    record = next((known for known in KEYS if re.search(rf"\b{known.__name__}\b", str(cls))), None)
    keys = KEYS[record].get(field, (field,)) if record else (field,)
    present = cast("dict[str, Any]", document) if isinstance(document, dict) else {}
    return next((key for key in keys if present.get(key) is not None), keys[0])
