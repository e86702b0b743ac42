"""What error responses say, in the shapes that servers, frameworks and gateways use."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from indigo_async._transport.error_bodies import ErrorBody, read_error_body, read_error_document
from indigo_async._transport.errors import make_error
from indigo_async._transport.responses import Endpoint, Response
from indigo_async.errors import AlreadyPurchasedError, ApiError, NotFoundError

GET = Endpoint("GET", "/audience")
JSON = "application/json"


def error_from(status: int, body: bytes, content_type: str) -> ApiError:
    error = make_error(GET, Response(status, {"content-type": content_type}, body), secrets="secret-token")
    assert isinstance(error, ApiError)
    return error


@pytest.mark.parametrize(
    ("document", "message", "error_type"),
    [
        ({"error": "No.", "errorType": "Odd"}, "No.", "Odd"),
        ({"message": "No."}, "No.", None),
        ({"Message": "No."}, "No.", None),
        ({"detail": "No."}, "No.", None),
        ({"error": {"message": "No."}}, "No.", None),
        ({"error": {"message": "No.", "code": "Odd"}}, "No.", "Odd"),
        ({"error": {"code": 404, "message": "No.", "errors": [{"reason": "odd"}]}}, "No.: odd", None),
        ({"error": "No.", "message": "The name is taken."}, "No.: The name is taken.", None),
        ({"error": "Not Found", "status": 404, "path": "/api/v1/audience", "timestamp": 1}, "Not Found", None),
        ({"error": "invalid_token", "error_description": "It expired."}, "invalid_token: It expired.", None),
        ({"errorMessage": "No.", "error_code": "Odd"}, "No.", "Odd"),
        ({"errors": ["No.", "Never."]}, "No.; Never.", None),
        ({"errors": [{"message": "is required", "field": "url", "code": "Odd"}]}, "url: is required", "Odd"),
        ({"errors": {"customerId": ["is required"], "url": ["is odd"]}}, "customerId: is required; url: is odd", None),
        ({"errors": [{"title": "No.", "detail": "Never.", "source": {"pointer": "/data"}}]}, "No.: Never.", None),
        (
            {"detail": [{"loc": ["body", "filters", 0], "msg": "field required", "type": "value_error.missing"}]},
            "body.filters.0: field required",
            "value_error.missing",
        ),
        ({"type": "about:blank", "title": "Taken", "status": 409, "detail": "It exists."}, "Taken: It exists.", None),
        ({"type": "https://example.org/taken", "title": "Taken."}, "Taken.", "https://example.org/taken"),
        ({"message": "No.", "detail": "No."}, "No.", None),
        (["No.", {"message": "Never."}], "No.; Never.", None),
        ([f"no {number}" for number in range(9)], "no 0; no 1; no 2; no 3; no 4; and 4 more", None),
        ("No.", "No.", None),
    ],
)
def test_the_usual_shapes_are_read(document: Any, message: str, error_type: str | None):
    assert read_error_document(document) == ErrorBody(message, error_type, is_json=True)
    error = error_from(400, msgspec.json.encode(document), JSON)
    assert (error.message, error.error_type) == (message, error_type)


@pytest.mark.parametrize("document", [None, 5, True, {}, [], {"error": 5}, {"error": {}}, {"errors": [{}]}, {"id": 1}])
def test_json_without_a_message_has_none(document: Any):
    assert read_error_document(document).message is None


@pytest.mark.parametrize(
    ("body", "content_type", "message"),
    [
        (b"upstream connect error", "text/plain", "upstream connect error"),
        (b"Too many requests\n", "", "Too many requests"),
        (b"Internal Server Error", JSON, "Internal Server Error"),
        (b"\xef\xbb\xbfNo.", "text/plain", "No."),
        (b'{"error": "No."}', "text/plain", "No."),
        (b'\xef\xbb\xbf{"error": "No."}', JSON, "No."),
        ('{"error": "No."}'.encode("utf-16"), JSON, "No."),
        (b"<html><head><title>502 Bad\n Gateway</title></head>", "text/html", "a web page titled '502 Bad Gateway'"),
        (b"<!DOCTYPE html><TITLE lang='en'>A &amp; B</TITLE>", "", "a web page titled 'A & B'"),
        (b"<html><body><h1>Forbidden</h1></body></html>", "text/html", "a web page titled 'Forbidden'"),
        (
            b"<?xml version='1.0'?><Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>",
            "application/xml",
            "a web page titled 'Access Denied'",
        ),
    ],
)
def test_text_and_pages_are_read(body: bytes, content_type: str, message: str):
    shown = error_from(400, body, content_type).message
    assert shown.removesuffix("; probably from a proxy or firewall, not from the API") == message


def test_the_type_decides_in_any_shape():
    body = {"error": {"message": "Bought.", "errorType": "PurchasableEntityAlreadyPurchased"}}
    assert type(error_from(400, msgspec.json.encode(body), JSON)) is AlreadyPurchasedError


@pytest.mark.parametrize("body", [b"<title>Not here</title>", b"no such path", b""])
def test_a_404_without_json_questions_the_base_url(body: bytes):
    error = error_from(404, body, "text/plain")
    assert isinstance(error, NotFoundError)
    assert error.message.endswith("; check base_url: the API's own ends with /api/v1")


def test_a_json_404_of_any_shape_is_the_apis_own():
    assert error_from(404, b'{"detail": "No such audience."}', JSON).message == "No such audience."


def test_a_redirects_page_is_not_its_message():
    assert "redirects to another address" in error_from(302, b"<title>302 Found</title>", "text/html").message


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"secret-token https://example.org/a?sig=canary \x1b[31m\n" + b"x" * 1_000_000, "text/plain"),
        (b"<title>secret-token https://example.org/a?sig=canary</title>" + b"<" * 1_000_000, "text/html"),
        (msgspec.json.encode({"error": {"message": "secret-token https://example.org/a?sig=canary"}}), JSON),
        (msgspec.json.encode({"errors": [{"field": "secret-token", "message": "x?sig=canary" * 99_000}] * 99}), JSON),
        (msgspec.json.encode({"errors": {"secret-token" * 99_000: ["x"]}}), JSON),
    ],
)
def test_messages_are_short_and_hold_no_secrets(body: bytes, content_type: str):
    error = error_from(400, body, content_type)
    assert len(str(error)) < 700
    assert "secret-token" not in str(error)
    assert "canary" not in str(error)
    assert str(error).isprintable()


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["error", "errors", "message", "detail", "code", "type", "loc", "field", "errorType"])
            | st.text(max_size=5),
            inner,
            max_size=5,
        )
    ),
    max_leaves=15,
)


@given(_JSON)
def test_any_json_is_read(document: Any):
    error = read_error_document(document)
    assert error.message is None or error.message.strip()
    assert error.error_type is None or error.error_type


@given(st.binary(max_size=200), st.sampled_from([JSON, "text/html", "text/plain; charset=utf-16", "", "image/png"]))
def test_any_body_is_read(body: bytes, content_type: str):
    read_error_body(body, content_type)
    assert len(str(error_from(500, body, content_type))) < 700


@given(st.text(alphabet=st.characters(codec="utf-8", categories=("L", "N")), min_size=1, max_size=30), _JSON)
def test_the_documented_error_comes_first(message: str, other: Any):
    error = read_error_document({"detail": other, "error": message, "errorType": "Odd"})
    assert error.message is not None
    assert error.message.startswith(message)
    assert error.error_type == "Odd"


@pytest.mark.parametrize("piece", [b"<title", b"<title>", b"<title >a</h1>", b"<h1>a", b"&amp;", b"<"])
def test_hostile_pages_take_linear_time(piece: bytes):
    read_error_body(piece * 200_000, "text/html")
