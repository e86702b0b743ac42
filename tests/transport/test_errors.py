"""Which exception is raised for which response, and that none of them shows a secret."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from indigo_async._redaction import redact
from indigo_async._transport.errors import find_embedded_error, make_error
from indigo_async._transport.responses import Endpoint, FailureReason, NoResponse, Response
from indigo_async.errors import (
    AlreadyPurchasedError,
    AmbiguousOutcomeError,
    ApiError,
    AuthenticationError,
    ConnectionFailedError,
    IndigoError,
    NotFoundError,
    RateLimitedError,
    RequestTimeoutError,
    ResponseDecodeError,
    ServerError,
)

GET = Endpoint("GET", "/audience")
POST = Endpoint("POST", "/upload_csv")
TOKEN = "tok-3f9c1ab77e"
CANARY = "canary-91c4"


def error_from(status: int, body: object = None, *, raw: bytes | None = None, **headers: str) -> ApiError:
    content = msgspec.json.encode(body) if raw is None else raw
    response = Response(status, {name.replace("_", "-"): value for name, value in headers.items()}, content)
    error = make_error(GET, response, secrets=TOKEN)
    assert isinstance(error, ApiError)
    return error


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, ApiError),
        (401, AuthenticationError),
        (403, AuthenticationError),
        (404, NotFoundError),
        (405, ApiError),
        (409, ApiError),
        (422, ApiError),
        (429, RateLimitedError),
        (500, ServerError),
        (502, ServerError),
        (503, ServerError),
        (504, ServerError),
        (302, ApiError),
    ],
)
def test_the_status_selects_the_exception(status: int, kind: type[ApiError]):
    error = error_from(status, {"error": "Not now.", "errorType": "SomeType"})
    assert type(error) is kind
    assert (error.status, error.message, error.error_type, error.endpoint) == (
        status,
        "Not now.",
        "SomeType",
        "GET /audience",
    )


@pytest.mark.parametrize("status", [400, 402, 409, 429, 500])
def test_the_error_type_takes_precedence_over_the_status(status: int):
    body = {"error": "You've already made this purchase.", "errorType": "PurchasableEntityAlreadyPurchased"}
    assert type(error_from(status, body)) is AlreadyPurchasedError


def test_a_rate_limit_error_has_the_retry_after():
    error = error_from(429, {"error": "Slow down."}, retry_after="30")
    assert isinstance(error, RateLimitedError)
    assert error.retry_after == 30.0


@pytest.mark.parametrize(
    ("raw", "content_type", "message"),
    [
        (b"<html><body>Bad gateway</body></html>", "text/html; charset=utf-8", "no message (text/html, 37 bytes)"),
        (b"", "", "no message (no content type, 0 bytes)"),
        (b"null", "application/json", "no message (application/json, 4 bytes)"),
        (b"[5, null]", "application/json", "no message (application/json, 9 bytes)"),
        (b'{"error": {"code": 5}}', "application/json", "no message (application/json, 22 bytes)"),
        (b'{"error": ""}', "application/json", "no message (application/json, 13 bytes)"),
        (b'{"error": "half', "application/json", "no message (application/json, 15 bytes)"),
        (b"[" * 50_000, "application/json", "no message (application/json, 50000 bytes)"),
        (b"\xff\xfe", "text/plain", "no message (text/plain, 2 bytes)"),
        (b"\x00\x01", "text/plain", "no message (text/plain, 2 bytes)"),
    ],
    ids=["html", "empty", "null", "array", "object-error", "empty-error", "half", "deep", "not-utf8", "binary"],
)
def test_a_body_without_a_message_makes_a_clear_error(raw: bytes, content_type: str, message: str):
    error = error_from(502, raw=raw, content_type=content_type)
    assert error.message == f"the server gave {message}"
    assert error.error_type is None


@pytest.mark.parametrize("error_type", [None, 5, "", ["x"], {"a": 1}])
def test_an_error_type_that_is_not_text_is_none(error_type: object):
    assert error_from(400, {"error": "No.", "errorType": error_type}).error_type is None


def test_a_redirect_suggests_checking_the_base_url():
    assert "redirects to another address, which never gets the token; check base_url" in str(error_from(301, raw=b""))


def test_huge_messages_and_types_are_truncated():
    error = error_from(400, {"error": "x" * 1_000_000, "errorType": "y" * 1_000_000})
    assert len(str(error)) < 1_000


@pytest.mark.parametrize(
    ("reason", "kind"),
    [
        (FailureReason.NOT_SENT, ConnectionFailedError),
        (FailureReason.UNTRUSTED, ConnectionFailedError),
        (FailureReason.TIMEOUT, RequestTimeoutError),
        (FailureReason.BROKEN, ConnectionFailedError),
        (FailureReason.UNREADABLE, ResponseDecodeError),
        (FailureReason.TOO_LARGE, ConnectionFailedError),
    ],
)
def test_the_failure_reason_selects_the_exception_of_a_get(reason: FailureReason, kind: type[IndigoError]):
    error = make_error(GET, NoResponse(reason, "the detail"))
    assert type(error) is kind
    assert str(error).startswith(f"GET /audience: {reason.value} (the detail)")


@pytest.mark.parametrize(
    "reason",
    [
        FailureReason.TIMEOUT,
        FailureReason.BROKEN,
        FailureReason.UNREADABLE,
        FailureReason.WEB_PAGE,
        FailureReason.TOO_LARGE,
    ],
)
def test_a_post_without_a_response_is_ambiguous(reason: FailureReason):
    error = make_error(POST, NoResponse(reason, "the detail"))
    assert type(error) is AmbiguousOutcomeError
    assert error.reported_success == (reason is FailureReason.UNREADABLE)
    assert "the server may or may not have processed the request, so check before sending it again" in str(error)


@pytest.mark.parametrize("reason", [reason for reason in FailureReason if reason.nothing_sent])
def test_a_post_that_was_not_sent_is_not_ambiguous(reason: FailureReason):
    error = make_error(POST, NoResponse(reason, "the detail", "the advice"))
    assert type(error) is ConnectionFailedError
    assert error.is_misconfiguration == (reason is not FailureReason.NOT_SENT)
    assert str(error).endswith("(the detail); the advice")


def test_an_error_inside_a_2xx_response_is_an_api_error():
    error = find_embedded_error({"error": "No.", "errorType": "Odd"}, POST)
    assert isinstance(error, ApiError)
    assert (error.status, error.message, error.error_type) == (400, "No.", "Odd")
    purchased = {"error": "Bought.", "errorType": "PurchasableEntityAlreadyPurchased"}
    assert type(find_embedded_error(purchased, POST)) is AlreadyPurchasedError


def test_null_means_that_the_record_does_not_exist():
    assert type(find_embedded_error(None, GET)) is NotFoundError


def test_null_after_a_post_is_not_an_api_error():
    assert find_embedded_error(None, POST) is None


@pytest.mark.parametrize(
    "document",
    [
        {"error": {"message": "No.", "type": "Odd"}},
        {"error": {"message": "No."}, "errorType": "Odd"},
        {"errors": [{"message": "No.", "code": "Odd"}]},
        {"errors": [{"message": "No.", "code": "Odd"}], "data": None, "status": "failed"},
    ],
)
@pytest.mark.parametrize("endpoint", [GET, POST], ids=str)
def test_an_error_of_another_shape_inside_a_2xx_response_is_an_api_error(document: object, endpoint: Endpoint):
    error = find_embedded_error(document, endpoint)
    assert type(error) is ApiError
    assert (error.message, error.error_type) == ("No.", "Odd")


@pytest.mark.parametrize(
    "document",
    [
        {"id": 1, "errors": ["row 7 has no name"]},
        {"audiences": [{"id": 1}], "errors": ["one part is late"]},
        {"error": {"code": 5}},
        {"errors": []},
    ],
)
@pytest.mark.parametrize("endpoint", [GET, POST], ids=str)
def test_what_may_be_a_note_is_not_an_api_error(document: object, endpoint: Endpoint):
    assert find_embedded_error(document, endpoint) is None


def test_an_error_object_beside_a_records_id_is_an_api_error_after_a_post_only():
    document = {"id": "exp-1", "error": {"message": "card declined", "type": "Declined"}}
    assert find_embedded_error(document, GET) is None
    declined = find_embedded_error(document, POST)
    assert declined is not None
    assert (declined.message, declined.error_type) == ("card declined", "Declined")


@pytest.mark.parametrize("document", [{"id": 1, "error": "a warning"}, {"error": None}, {"audiences": []}, [], "error"])
def test_a_record_is_not_an_api_error(document: object):
    assert find_embedded_error(document, GET) is None


def test_an_error_beside_a_records_id_is_an_api_error_after_a_post():
    declined = find_embedded_error({"id": "exp-1", "error": "card declined", "errorType": "Declined"}, POST)
    assert type(declined) is ApiError
    assert (declined.message, declined.error_type) == ("card declined", "Declined")
    already = {"id": "exp-1", "error": "Bought.", "errorType": "PurchasableEntityAlreadyPurchased"}
    assert type(find_embedded_error(already, POST)) is AlreadyPurchasedError


@pytest.mark.parametrize("error", [None, "", " ", False, 0, {}])
def test_an_empty_error_beside_a_records_id_is_not_an_api_error(error: object):
    assert find_embedded_error({"id": 1, "error": error}, POST) is None


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (f"token {TOKEN} is wrong", "token <hidden> is wrong"),
        (f"Authorization: Bearer {CANARY}", "Authorization: Bearer <hidden>"),
        (f"bearer\t{CANARY}, sorry", "bearer <hidden> sorry"),
        (f"see https://example.org/a.csv?sig={CANARY} now", "see https://example.org/a.csv?<hidden> now"),
        (f"see https://example.org/a.csv#{CANARY}", "see https://example.org/a.csv#<hidden>"),
        (f"see https://example.org/a.csv?{CANARY}", "see https://example.org/a.csv?<hidden>"),
        (f"see HTTPS://example.org/a?sig={CANARY}", "see HTTPS://example.org/a?<hidden>"),
        (f"see https://user:{CANARY}@example.org/a", "see https://example.org/a"),
        (f"see https://user:p@{CANARY}@example.org/a", "see https://example.org/a"),
        (f"see s3://{CANARY}@bucket/a?sig={CANARY}", "see s3://bucket/a?<hidden>"),
        (f"'https://example.org/?a={CANARY}' failed", "'https://example.org/?<hidden>' failed"),
        (f"bucket.example.org/a.csv?sig={CANARY}&b=1 failed", "bucket.example.org/a.csv?<hidden> failed"),
    ],
)
def test_secrets_are_redacted_and_the_rest_stays(text: str, shown: str):
    assert redact(text, TOKEN) == shown


@pytest.mark.parametrize("text", ["Is it ready? No.", "https://example.org/a.csv was not found", "a/b#c", "5 > 3?", ""])
def test_text_without_secrets_is_unchanged(text: str):
    assert redact(text, TOKEN) == text


_words = st.text(alphabet=st.characters(codec="utf-8"), max_size=30)
_secrets = st.sampled_from(
    [
        TOKEN,
        f"Bearer {TOKEN}",
        f"Bearer {CANARY}",
        f"https://example.org/a.csv?X-Amz-Signature={CANARY}",
        f"https://example.org/a.csv?{CANARY}",
        f"http://127.0.0.1:1/a?b=c&d={CANARY}#e",
        f"https://{CANARY}@example.org/a",
        f"https://user:{CANARY}@example.org",
        f"files.example.org/a?sig={CANARY}",
    ]
)


@given(
    st.lists(st.tuples(_words, _secrets, _words), min_size=1, max_size=3), st.sampled_from([400, 401, 429, 500, 503])
)
def test_no_surrounding_text_reveals_a_secret(parts: list[tuple[str, str, str]], status: int):
    text = " ".join(f"{before} {secret} {after}" for before, secret, after in parts)
    errors = (
        error_from(status, {"error": text, "errorType": text}),
        make_error(GET, NoResponse(FailureReason.NOT_SENT, text), secrets=TOKEN),
        make_error(POST, NoResponse(FailureReason.BROKEN, text), secrets=TOKEN),
        find_embedded_error({"error": text, "errorType": text}, POST, secrets=TOKEN),
    )
    for error in errors:
        shown = f"{error} {error!r} {vars(error)}"
        assert CANARY not in shown
        assert TOKEN not in shown


@pytest.mark.parametrize("piece", ["http://", "a-", "?", "?a", "bearer ", "x://u@", "://", "a://b?c=", "a@"])
def test_redacting_hostile_text_takes_linear_time(piece: str):
    assert len(redact(piece * 100_000)) > 0  # quadratic time would be minutes


BLOCKED = b"<!DOCTYPE html><html><head><title>Access &amp; Denied</title></head><body>Blocked by ACME.</body></html>"


@pytest.mark.parametrize("status", [401, 403, 405, 406, 451])
@pytest.mark.parametrize("content_type", ["text/html; charset=utf-8", "application/octet-stream"])
def test_a_web_page_is_from_a_proxy_or_firewall_and_not_about_the_token(status: int, content_type: str):
    error = error_from(status, raw=BLOCKED, content_type=content_type)
    assert type(error) is ApiError
    assert "Access & Denied" in str(error)
    assert "probably from a proxy or firewall, not from the API" in str(error)
    assert ("check the token" in str(error)) == (status == 401)


@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.parametrize("body", [b"", b'{"error": "No."}', b"{}"])
def test_an_api_response_suggests_checking_the_token(status: int, body: bytes):
    error = error_from(status, raw=body, content_type="application/json")
    assert type(error) is AuthenticationError
    assert "check the token" in str(error)
    assert "proxy" not in str(error)


@pytest.mark.parametrize(
    ("status", "kind", "hint"),
    [
        (407, ApiError, "a proxy requires a user name and password; add them to its URL"),
        (511, ServerError, "this network requires a login; open any web page in a browser first"),
    ],
)
@pytest.mark.parametrize("body", [b"", BLOCKED])
def test_a_proxy_or_network_that_wants_a_login_is_named(status: int, kind: type[ApiError], hint: str, body: bytes):
    error = error_from(status, raw=body, content_type="text/html")
    assert type(error) is kind
    assert hint in str(error)
    assert "token" not in str(error)


def test_a_web_page_never_shows_the_token():
    page = f"<html><title>{TOKEN} Bearer {CANARY} https://u:{CANARY}@a/?s={CANARY}</title>".encode()
    error = error_from(403, raw=page, content_type="text/html")
    assert TOKEN not in str(error)
    assert CANARY not in str(error)
