"""Convert payloads to plain JSON with cattrs and msgspec, the same text as in a journal.

Large ones are compressed: Temporal refuses payloads of more than 2 MB, which the ledger of 40,000 jobs in progress has.
"""

from __future__ import annotations

import zlib
from typing import Any, TypeVar

import msgspec
from cattrs.preconf.msgspec import MsgspecJsonConverter, make_converter
from temporalio.api.common.v1 import Payload
from temporalio.converter import (
    BinaryNullPayloadConverter,
    BinaryPlainPayloadConverter,
    CompositePayloadConverter,
    DataConverter,
    DefaultFailureConverterWithEncodedAttributes,
    EncodingPayloadConverter,
    PayloadCodec,
)

from indigo_async.models import RecordId

__all__ = ["data_converter", "from_plain", "to_json", "to_plain"]

_COMPRESSED = "json/zlib"
_MAX_PLAIN_BYTES = 256_000
"""Larger than the heartbeats of a shard. Temporal warns about payloads of more than 256 KiB."""

T = TypeVar("T")


def _record_id(value: RecordId, _: object) -> RecordId:
    return value


def _converter() -> MsgspecJsonConverter:
    # Fields with default values are omitted, so that a new field does not change histories.
    converter = make_converter(omit_if_default=True)
    converter.register_structure_hook_func(lambda kind: kind == RecordId, _record_id)
    return converter


_records = _converter()


def to_json(value: object) -> bytes:
    """Encode a record as JSON, with keys in the order of its fields."""
    return msgspec.json.encode(_records.unstructure(value))


def to_plain(value: object) -> Any:
    """Convert a record to plain JSON values, without the fields that have their default values."""
    return _records.unstructure(value)


def from_plain(value: Any, kind: type[T]) -> T:
    """Convert plain JSON values to a record."""
    return _records.structure(value, kind)


class _JsonPayloads(EncodingPayloadConverter):
    @property
    def encoding(self) -> str:
        return "json/plain"

    def to_payload(self, value: Any) -> Payload | None:
        text = to_json(value)
        if len(text) > _MAX_PLAIN_BYTES:
            return Payload(metadata={"encoding": _COMPRESSED.encode()}, data=zlib.compress(text, level=1))
        return Payload(metadata={"encoding": self.encoding.encode()}, data=text)

    def from_payload(self, payload: Payload, type_hint: Any = None) -> Any:
        value: Any = msgspec.json.decode(payload.data)
        return value if type_hint is None else _records.structure(value, type_hint)


class _CompressedJsonPayloads(EncodingPayloadConverter):
    """Reads compressed JSON. `_JsonPayloads` writes it."""

    @property
    def encoding(self) -> str:
        return _COMPRESSED

    def to_payload(self, value: Any) -> None:  # noqa: ARG002 - the interface is Temporal's
        return None

    def from_payload(self, payload: Payload, type_hint: Any = None) -> Any:
        return _JsonPayloads().from_payload(Payload(data=zlib.decompress(payload.data)), type_hint)


class _Payloads(CompositePayloadConverter):
    def __init__(self) -> None:
        super().__init__(
            BinaryNullPayloadConverter(), BinaryPlainPayloadConverter(), _JsonPayloads(), _CompressedJsonPayloads()
        )


def data_converter(codec: PayloadCodec | None = None) -> DataConverter:
    """Create the data converter that clients and workers of these workflows share.

    Args:
        codec: encrypts payloads and the messages of errors, so that operators of the Temporal service can't read them.
            Workflow IDs and search attributes stay readable.
    """
    if codec is None:
        return DataConverter(payload_converter_class=_Payloads)
    return DataConverter(
        payload_converter_class=_Payloads,
        payload_codec=codec,
        failure_converter_class=DefaultFailureConverterWithEncodedAttributes,  # messages of errors name audiences
    )
