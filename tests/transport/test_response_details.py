"""What errors show of a response: its request ID, headers and body, but no token, no signed URL and nobody's data."""

from __future__ import annotations

import copy
import json
import pickle
from collections.abc import Callable
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from indigo_async._transport.endpoints import GET_AUDIENCE, UPLOAD_CSV
from indigo_async._transport.errors import describe_unreadable, make_error
from indigo_async._transport.response_details import describe_response
from indigo_async._transport.responses import FailureReason, NoResponse, Response
from indigo_async.errors import AmbiguousOutcomeError, IndigoError

TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"
TOKEN = "canary/7f3a+91==token"
SIGNATURE = "c4naryS1gnature"
SIGNED = f"https://bucket.example.org/donors.csv?X-Amz-Credential=me&X-Amz-Signature={SIGNATURE}"
JSON = {"Content-Type": "application/json"}


def response(status: int, body: object, headers: dict[str, str] | None = None) -> Response:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Response(status, CIMultiDict(JSON | (headers or {})), data)


def shown_by(error: IndigoError) -> str:
    """Everything that an error and its copies show."""
    copies = [error, copy.copy(error), copy.deepcopy(error), pickle.loads(pickle.dumps(error))]
    texts = {
        " ".join([str(each), repr(each), repr(each.headers), each.body, str(each.request_id), str(each.args)])
        for each in copies
    }
    assert len(texts) == 1
    return texts.pop()


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, None),
        ({"X-Request-ID": "req-1", "Request-Id": "req-2"}, "req-1"),
        ({"request-id": "req-2", "cf-ray": "8f2-EWR"}, "req-2"),
        ({"x-amzn-RequestId": "a", "x-amz-request-id": "b"}, "a"),
        ({"x-amz-request-id": "b", "X-Correlation-ID": "c"}, "b"),
        ({"X-Correlation-ID": "c", "X-Trace-Id": "t"}, "c"),
        ({"CF-RAY": "8f2-EWR"}, "8f2-EWR"),
        (
            {"traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"},
            "4bf92f3577b34da6a3ce929d0e0e4736",
        ),
        ({"traceparent": "nonsense"}, None),
        ({"X-Request-Id": "  ", "Request-Id": "req-2"}, "req-2"),
        ({"X-Request-Id": "a\tb\x1b[31m"}, "a b [31m"),
        ({"X-Request-Id": "x" * 999}, "x" * 128),
    ],
)
def test_the_request_id_comes_from_the_first_usual_header(headers: dict[str, str], expected: str | None):
    error = make_error(GET_AUDIENCE, response(500, {"error": "Sorry."}, headers))
    assert error.request_id == expected
    ending = "Sorry. (500)" if expected is None else f"Sorry. (500) (request ID: {expected})"
    assert str(error).endswith(ending)
    assert shown_by(error)


def test_headers_are_looked_up_in_any_case_and_survive_pickling():
    error = make_error(GET_AUDIENCE, response(503, {}, {"X-Cache": "miss"}))
    for each in (error, pickle.loads(pickle.dumps(error))):
        assert each.headers["x-cache"] == each.headers["X-CACHE"] == "miss"


@pytest.mark.parametrize(
    "name",
    ["Set-Cookie", "Authorization", "X-Amz-Security-Token", "X-Api-Key", "WWW-Authenticate", "X-Session-Id", "X-CSRF"],
)
def test_headers_that_may_hold_secrets_are_left_out(name: str):
    assert name not in make_error(GET_AUDIENCE, response(400, {}, {name: "anything"})).headers


def test_a_redirect_shows_no_signed_url():
    error = make_error(GET_AUDIENCE, response(302, b"", {"Location": SIGNED}))
    assert error.headers["location"] == "https://bucket.example.org/donors.csv?<hidden>"


def test_an_error_keeps_its_own_texts_and_nothing_of_the_request():
    body = {
        "error": "Row 17 of jane@example.org, (555) 123-4567, is invalid.",
        "errorType": "InvalidRow",
        "status": 400,
        "details": [{"field": "phone", "message": "is malformed", "value": "5551234567", "ok": False}],
        "input": {"url": SIGNED, "first_name": "Jane", "title": "Dr.", "age": 41, "tags": ["a", "b", "c", "d"]},
        "jane@example.org": 1,
    }
    error = make_error(UPLOAD_CSV, response(400, body))
    assert json.loads(error.body) == {
        "error": "Row 17 of <hidden>, <hidden>, is invalid.",
        "errorType": "InvalidRow",
        "status": 400,
        "details": [{"field": "phone", "message": "is malformed", "value": "<text>", "ok": False}],
        "input": {
            "url": "<text>",
            "first_name": "<text>",
            "title": "<text>",
            "age": "<number>",
            "tags": ["<text>", "<text>", "<text>", "<1 more>"],
        },
        "<key>": "<number>",
    }
    assert "Row 17 of <hidden>, <hidden>, is invalid." in str(error)


@pytest.mark.parametrize(
    ("body", "content_type", "expected"),
    [
        (b"upstream connect error", "text/plain", "upstream connect error"),
        (b"<html><title>502 Bad Gateway</title><input value='csrf'>", "text/html", "502 Bad Gateway"),
        (b"<Error><Code>X</Code><Message>Denied</Message><StringToSign>s</StringToSign></Error>", "", "Denied"),
        (b"First,Last\nJane,Doe", "text/csv", ""),
        (b'{"rows": [{"first_name": "Jane"', "application/json", ""),
        (b"\x89PNG", "image/png", ""),
        (b"", "", ""),
        (b'"x"' + b" " * 300_000, "application/json", ""),
    ],
)
def test_of_other_bodies_only_messages_remain(body: bytes, content_type: str, expected: str):
    error = make_error(GET_AUDIENCE, response(502, body, {"Content-Type": content_type}))
    assert error.body == expected


def test_a_long_body_is_cut():
    error = make_error(GET_AUDIENCE, response(400, {f"key_{number}": ["x"] * 9 for number in range(500)}))
    assert len(error.body) <= 4_096
    deep: object = "x"
    for _ in range(400):
        deep = [deep]
    assert make_error(GET_AUDIENCE, response(400, deep)).body.count("[") < 10


def test_a_2xx_response_that_is_not_json_keeps_its_headers_and_no_body():
    unreadable = describe_unreadable(response(200, b"First,Last\nJane,Doe", {"X-Request-Id": "req-1"}))
    error = make_error(UPLOAD_CSV, unreadable)
    assert isinstance(error, AmbiguousOutcomeError)
    assert (error.request_id, error.body) == ("req-1", "")
    assert "Jane" not in shown_by(error)


def test_an_error_without_a_response_has_no_details():
    error = make_error(GET_AUDIENCE, NoResponse(FailureReason.TIMEOUT, "TimeoutError"))
    assert (error.request_id, dict(error.headers), error.body) == (None, {}, "")


def test_a_long_token_in_a_long_message_leaves_no_part():
    token = "eyJ" + "0123456789abcdef" * 100
    error = make_error(GET_AUDIENCE, response(401, {"error": f"{'x' * 100} {token} is expired"}), secrets=token)
    assert "0123456789abcdef" not in shown_by(error)
    nested = {"errors": [{"loc": ["header", token], "msg": token}]}
    assert "0123456789abcdef" not in shown_by(make_error(GET_AUDIENCE, response(400, nested), secrets=token))


@pytest.mark.parametrize(
    "echo",
    [
        quote(TOKEN, safe=""),
        quote(TOKEN),  # leaves slashes
        quote(TOKEN, safe="").lower(),
        quote(quote(TOKEN, safe=""), safe=""),
        quote(quote(TOKEN, safe="")).lower(),
        quote(TOKEN, safe="=").replace("%2F", "%2f"),
    ],
)
def test_a_percent_encoded_token_leaves_no_part(echo: str):
    error = make_error(GET_AUDIENCE, response(401, {"error": f"bad header {echo}"}, {"X-Echo": echo}), secrets=TOKEN)
    assert "bad header <hidden>" in str(error)
    assert error.headers["X-Echo"] == "<hidden>"
    assert "91" not in error.body


@pytest.mark.parametrize("secrets", [("acme-prod", "acme-prod-3f9a8e"), ("acme-prod-3f9a8e", "acme-prod")])
@pytest.mark.parametrize("encode", [str, lambda text: text.replace("-", "%2D") + "%20"])
def test_a_secret_that_begins_like_another_leaves_no_part(secrets: tuple[str, str], encode: Callable[[str], str]):
    message = f"unknown key {encode('acme-prod-3f9a8e')}"
    error = make_error(GET_AUDIENCE, response(401, {"error": message}, {"X-Echo": message}), secrets=secrets)
    assert "3f9a8e" not in shown_by(error)


@pytest.mark.parametrize("piece", ["a", "a-", "%25", "%2f", "a.b/"])
def test_describing_a_hostile_response_takes_linear_time(piece: str):
    text = f"@ {piece * (100_000 // len(piece))}"
    error = make_error(GET_AUDIENCE, response(500, {"error": text}, {"X-Echo": text}), secrets=TOKEN)
    assert len(error.body) > 0  # quadratic time would be minutes


ENCODINGS = [
    str,
    quote,
    lambda text: quote(text, safe=""),
    lambda text: quote(quote(text, safe=""), safe=""),
    json.dumps,
    lambda text: json.dumps({"url": text}).replace("/", "\\/"),
    lambda text: json.dumps(text).replace("=", "\\u003d").replace("&", "\\u0026"),
    lambda text: text.replace("&", "&amp;"),
    lambda text: f"<{text}>",
]
FILLER = st.text(max_size=30)
KEYS = st.sampled_from(["error", "message", "detail", "errors", "url", "data", "code", "field", "x"]) | FILLER
SIGNED_TEXTS = st.builds(
    lambda encode, before, after: f"{before} {encode(SIGNED)} {after}", st.sampled_from(ENCODINGS), FILLER, FILLER
)
TOKEN_TEXTS = st.builds(
    lambda encode, before, after: f"{before}{encode(TOKEN)}{after}",
    st.sampled_from(
        [
            str,
            lambda text: f"Bearer {text}",
            json.dumps,
            quote,
            lambda text: quote(text, safe=""),
            lambda text: quote(text, safe="").lower(),
            lambda text: quote(quote(text, safe=""), safe=""),
        ]
    ),
    FILLER,
    FILLER,
)
SECRET_TEXTS = SIGNED_TEXTS | TOKEN_TEXTS
DOCUMENTS = st.recursive(
    SECRET_TEXTS | FILLER | st.integers() | st.floats(allow_nan=False) | st.booleans() | st.none(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS | SECRET_TEXTS, inner, max_size=4),
    max_leaves=8,
)
BODIES = DOCUMENTS.map(lambda document: json.dumps(document).encode()) | SECRET_TEXTS.map(
    lambda text: text.encode(errors="replace")
)
HEADERS = st.dictionaries(
    st.sampled_from(["Location", "X-Request-Id", "Server", "Set-Cookie", "Refresh", "Link", "X-Echo", "Retry-After"]),
    SECRET_TEXTS | FILLER,
    max_size=4,
)


@given(
    status=st.sampled_from([301, 400, 401, 404, 409, 422, 429, 500, 503]),
    headers=HEADERS,
    body=BODIES,
    content_type=st.sampled_from(["application/json", "text/plain", "text/html", "application/problem+json", ""]),
)
def test_no_token_and_no_signed_url_survives(status: int, headers: dict[str, str], body: bytes, content_type: str):
    hostile = response(status, body, headers | {"Content-Type": content_type})
    shown = shown_by(make_error(UPLOAD_CSV, hostile, secrets=TOKEN)) + str(describe_response(hostile, TOKEN))
    assert SIGNATURE not in shown
    assert TOKEN not in shown
    assert quote(TOKEN, safe="") not in shown
    assert quote(TOKEN) not in shown


PEOPLE = st.recursive(
    st.sampled_from(["Jane", "Doe", "jane@example.org", "(555) 123-4567"]),
    lambda inner: (
        st.lists(inner, min_size=1, max_size=3)
        | st.dictionaries(st.sampled_from(["first_name", "email", "title", "detail", "message"]), inner, min_size=1)
    ),
    max_leaves=6,
)


@given(people=PEOPLE, key=st.sampled_from(["data", "rows", "input", "audience", "person"]))
def test_no_person_of_a_list_survives(people: object, key: str):
    body = make_error(UPLOAD_CSV, response(422, {"error": "Invalid.", key: people})).body
    assert not any(word in body for word in ("Jane", "Doe", "example.org", "4567"))
