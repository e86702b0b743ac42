"""No frame that an error keeps alive, in its own traceback or in its context's, holds the response that it is about."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import attrs
import msgspec
import pytest

from indigo_async import workflows
from indigo_async._transport import codec
from indigo_async._transport.audience_list import ListReader, RowSlice
from indigo_async._transport.responses import Endpoint
from indigo_async.client import IndigoClient
from indigo_async.errors import IndigoError, ResponseDecodeError
from tests.support.servers.scripted import respond_with, server_and_client

PERSON = "Ada Lovelace of 12 Canary Row"
NOT_JSON = f"<html>{PERSON}".encode()
WITHOUT_ID = msgspec.json.encode({"id": {}, "name": PERSON})
UNREADABLE_EVERYWHERE = msgspec.json.encode({"audienceId": [], "name": [PERSON], "csvExports": [{"id": PERSON}, {}]})
TOO_DEEP = b'{"id": "%s", "csvExports": [' % PERSON.encode() + b"[" * 100_000 + b"]" * 100_000 + b"]}"


def decode(body: bytes) -> object:
    return codec.decode_audience(codec.decode_document(body, "GET /audience"), "GET /audience")


def decode_list(body: bytes) -> object:
    return codec.decode_audiences(codec.decode_document(body, "GET /audiences"), "GET /audiences")


def frames_of(error: BaseException) -> Iterator[FrameType]:
    """The package's frames that an error, its causes and its contexts refer to."""
    pending, seen = [error], set[int]()
    while pending:
        error = pending.pop()
        if id(error) in seen:
            continue
        seen.add(id(error))
        pending += [other for other in (error.__cause__, error.__context__) if other is not None]
        pending += error.exceptions if isinstance(error, BaseExceptionGroup) else ()
        traceback = error.__traceback__
        while traceback is not None:
            if "/indigo_async/" in traceback.tb_frame.f_code.co_filename:
                yield traceback.tb_frame
            traceback = traceback.tb_next


def holds_person(value: object, depth: int = 4) -> bool:
    """Whether a local variable, or what it refers to, holds the response's text."""
    if isinstance(value, str):
        return PERSON in value
    if isinstance(value, (bytes, bytearray)):
        return PERSON.encode() in value
    if depth == 0:
        return False
    parts: list[Any] = []
    if isinstance(value, dict):
        parts = [*value, *value.values()]
    elif isinstance(value, (list, tuple, set)):
        parts = list(value)
    elif attrs.has(type(value)):
        parts = [getattr(value, field.name, None) for field in attrs.fields(type(value))]
    return any(holds_person(part, depth - 1) for part in parts)


def frames_with_person(error: BaseException) -> list[str]:
    return [
        f"{frame.f_code.co_qualname}: {name}"
        for frame in frames_of(error)
        for name, value in frame.f_locals.items()
        if holds_person(value)
    ]


@pytest.mark.parametrize("body", [NOT_JSON, WITHOUT_ID, UNREADABLE_EVERYWHERE, TOO_DEEP, b'"%s"' % PERSON.encode()])
@pytest.mark.parametrize("read", [decode, decode_list])
def test_a_decode_error_refers_to_no_frame_with_the_body(read: Callable[[bytes], object], body: bytes):
    with pytest.raises(ResponseDecodeError) as caught:
        read(body)
    assert caught.value.__context__ is None
    assert frames_with_person(caught.value) == []


def test_an_unreadable_row_refers_to_no_frame_of_the_codec_with_the_row():
    slices: list[RowSlice] = []
    reader = ListReader(Endpoint("GET", "/audiences"), slices.append, max_bytes=10_000, secrets="")
    reader.feed(b"[" + WITHOUT_ID + b"]")
    reader.finish()
    with pytest.raises(ResponseDecodeError) as caught:
        slices[0].decode_record(0)
    assert caught.value.__context__ is None
    assert [place for place in frames_with_person(caught.value) if not place.startswith("RowSlice")] == []


CALLS: dict[str, Callable[[IndigoClient], Any]] = {
    "get_audience": lambda client: client.get_audience("aud-1"),
    "list_audiences": lambda client: client.list_audiences(),
    "purchase": lambda client: client.purchase_csv_export(export_id="exp-1"),
    "wait": lambda client: workflows.wait_until_active(client, "aud-1", customer_id="1", timeout=0.05),
}


BODIES = {"no JSON": NOT_JSON, "no ID": WITHOUT_ID, "an error": b'{"error": "no", "people": ["%s"]}' % PERSON.encode()}


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("status", [200, 400])
@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES.keys())
async def test_an_error_of_a_call_refers_to_no_frame_with_the_body(name: str, status: int, body: bytes):
    async with server_and_client(respond_with(status, body)) as (_, client):
        with pytest.raises(IndigoError) as caught:
            await CALLS[name](client)
    assert frames_with_person(caught.value) == []
