"""JSON in encodings other than plain UTF-8."""

from __future__ import annotations

import codecs
import gzip

import pytest
from hypothesis import given
from hypothesis import strategies as st

from indigo_async._polling.api import AudienceApi
from indigo_async._transport.bodies import charset_of, to_utf8
from indigo_async.errors import AmbiguousOutcomeError, ResponseDecodeError
from indigo_async.models import Audience
from tests.support.servers.scripted import Responder, respond_with, server_and_client

RECORD = '{"id": "aud-1", "name": "José"}'
UTF8 = RECORD.encode()

READABLE = {
    "byte order mark": respond_with(200, codecs.BOM_UTF8 + UTF8),
    "UTF-16": respond_with(200, RECORD.encode("utf-16")),
    "UTF-16 without a mark": respond_with(200, RECORD.encode("utf-16-le")),
    "Latin-1": respond_with(200, RECORD.encode("latin-1"), content_type="application/json; charset=ISO-8859-1"),
    "UTF-8 declared as Latin-1": respond_with(200, UTF8, content_type='application/json; charset="latin1"'),
    "text": respond_with(200, UTF8, content_type="text/plain"),
    "an unknown charset": respond_with(200, UTF8, content_type="application/json; charset=klingon"),
    "gzip without a header": respond_with(200, gzip.compress(UTF8)),
}


@pytest.mark.parametrize("response", READABLE.values(), ids=READABLE.keys())
async def test_a_record_is_read_by_calls_and_by_polls(response: Responder):
    async with server_and_client(response) as (server, client):
        expected = Audience(id="aud-1", name="José")
        assert await client.get_audience("aud-1") == expected
        assert await client.upload_csv(customer_id="1", url="https://example.org/a.csv") == expected
        polled, _ = await AudienceApi(client.transport, client.options).read_one("aud-1", None)
        assert polled == expected
        assert len(server.requests) == 3


UNREADABLE = {
    "empty": respond_with(200),
    "no content": respond_with(204),
    "text": respond_with(200, b"OK", content_type="text/plain"),
    "half": respond_with(200, UTF8[:-1]),
    "invalid UTF-8": respond_with(200, b'{"id": "\xff"}'),
    "not compressed": respond_with(200, UTF8, content_encoding="gzip"),
}


@pytest.mark.parametrize("response", UNREADABLE.values(), ids=UNREADABLE.keys())
async def test_an_unreadable_success_is_told_from_a_lost_response(response: Responder):
    async with server_and_client(response) as (server, client):
        with pytest.raises(AmbiguousOutcomeError, match="the response is not JSON") as caught:
            await client.upload_csv(customer_id="1", url="https://example.org/a.csv")
        assert caught.value.reported_success
        assert len(server.requests) == 1


async def test_a_web_page_is_not_the_servers_success():
    page = b"<html><title>Sign in</title></html>"
    async with server_and_client(respond_with(200, page, content_type="text/html")) as (_, client):
        with pytest.raises(AmbiguousOutcomeError, match=r"is a web page .*, titled 'Sign in'") as caught:
            await client.upload_csv(customer_id="1", url="https://example.org/a.csv")
        assert not caught.value.reported_success
        with pytest.raises(ResponseDecodeError, match=r"titled 'Sign in'.*check base_url"):
            await client.get_audience("aud-1")


@pytest.mark.parametrize(
    ("content_type", "charset"),
    [
        ("application/json", None),
        ("application/json; charset=utf-8", None),
        ("application/json;charset=UTF8", None),
        ("text/plain; charset=us-ascii", None),
        ("text/plain; charset=base64", None),
        ("text/plain; charset=", None),
        ("text/plain; charset=windows-1252", "cp1252"),
        ('text/plain; charset="latin1"; x=y', "iso8859-1"),
    ],
)
def test_the_declared_charset(content_type: str, charset: str | None):
    assert charset_of(content_type) == charset


@given(st.text(alphabet=st.characters(codec="utf-8", exclude_characters="\0")))
def test_utf8_stays_and_other_encodings_of_json_become_utf8(text: str):
    document = f'{{"a": "{text}"}}'
    for encoding in ("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"):
        assert to_utf8(document.encode(encoding)) == document.encode()


@given(st.binary(max_size=100), st.sampled_from([None, "latin-1", "utf-16", "cp1252"]))
def test_any_bytes_are_accepted(body: bytes, charset: str | None):
    assert isinstance(to_utf8(body, charset), bytes)


def test_a_truncated_gzip_body_is_unchanged():
    packed = gzip.compress(UTF8)
    assert to_utf8(packed[:-9]) == packed[:-9]
