"""Tracebacks that are printed with their variables show no token, no signed URL, and nothing of what a server sent."""

from __future__ import annotations

import io
import traceback
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from rich.traceback import Traceback

from indigo_async import workflows
from indigo_async._redaction import SecretBytes, SecretText, redact, sanitize_text
from indigo_async.client import IndigoClient
from indigo_async.errors import ApiError, IndigoError, InvalidInputError, ResponseDecodeError
from tests.support.servers.scripted import respond_with, respond_with_json, server_and_client

PERSON = "Ada Lovelace of 12 Canary Row"
SECRET = "sig-7d1e4c9b" * 8
TOKEN = f"token-{SECRET}"


def printed(error: BaseException) -> str:
    """An error with its causes, the SDK's frames, and their variables, as two programs print them."""
    frames = error.__traceback__
    while frames is not None and "/indigo_async/" not in frames.tb_frame.f_code.co_filename:
        frames = frames.tb_next  # the test itself, which knows the secrets
    error = error.with_traceback(frames)
    plain = "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())
    console = Console(file=io.StringIO(), width=400, record=True)
    console.print(
        Traceback.from_exception(
            type(error), error, error.__traceback__, show_locals=True, locals_max_string=40, locals_max_length=50
        )
    )
    return plain + console.export_text()


def parts_of(secret: str) -> list[str]:
    return [secret[start : start + 10] for start in range(0, len(secret) - 10, 10)]


ODD = {"id": {}, "name": PERSON, "url": f"https://x.example.org/?{SECRET}"}

REFUSAL = {"error": "no", "people": [PERSON], "url": ODD["url"]}

CALLS: dict[str, Callable[[IndigoClient], Awaitable[Any]]] = {
    "get_audience": lambda client: client.get_audience("aud-1"),
    "list_audiences": lambda client: client.list_audiences(),
    "upload_csv": lambda client: client.upload_csv(customer_id="1", url=f"https://x.example.org/a.csv?{SECRET}"),
    "create_preview": lambda client: client.create_preview_csv_export(audience_id="aud-1"),
    "purchase": lambda client: client.purchase_csv_export(export_id="exp-1"),
    "extra of a GET": lambda client: client.get_audience("aud-1", extra={"a": PERSON}),
    "extra of a list": lambda client: client.list_audiences("1", extra={"a": PERSON}),
    "extra of a POST": lambda client: client.purchase_csv_export(export_id="exp-1", extra={"a": {"b": [PERSON]}}),
    "extra of a customer": lambda client: client.for_customer("1").purchase_csv_export(
        export_id="exp-1", extra={"a": PERSON}
    ),
    "wait": lambda client: workflows.wait_until_active(client, "aud-1", customer_id="1", timeout=0.05),
}


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("document", [ODD, REFUSAL], ids=["odd", "error"])
async def test_an_error_about_a_response_does_not_contain_it(name: str, document: object):
    async with server_and_client(respond_with_json(document), token=TOKEN) as (_, client):
        with pytest.raises(IndigoError) as caught:
            await CALLS[name](client)
    shown = printed(caught.value)
    for part in [*parts_of(SECRET), PERSON]:
        assert part not in shown


async def test_an_error_of_a_request_contains_neither_the_request_nor_the_response():
    async with server_and_client(respond_with_json(REFUSAL), token=TOKEN) as (_, client):
        with pytest.raises(ApiError) as caught:
            await client.request("POST", "/people", json={"a": [PERSON]}, params={"b": [PERSON], "c": SECRET})
    shown = printed(caught.value)
    for part in [*parts_of(SECRET), PERSON]:
        assert part not in shown


@pytest.mark.parametrize(
    "call",
    [
        lambda client: client.request("POST", "/people", json={"a": [PERSON, object()]}),
        lambda client: client.request("POST", f"/people?{SECRET}", params={"a": PERSON}),
        lambda client: client.upload_csv(customer_id="", url="https://x.example.org/a.csv", extra={"a": PERSON}),
        lambda client: client.for_customer("1").get_audience({}, extra={"a": PERSON}),
    ],
)
async def test_an_error_about_arguments_does_not_contain_their_texts(call: Callable[[IndigoClient], Awaitable[Any]]):
    client = IndigoClient(TOKEN, base_url="http://127.0.0.1:9")
    with pytest.raises(InvalidInputError) as caught:
        await call(client)
    shown = printed(caught.value)
    for part in [*parts_of(SECRET), PERSON]:
        assert part not in shown


@pytest.mark.parametrize("kind", [SecretText, SecretBytes])
def test_slices_of_a_secret_are_secret(kind: Any):
    secret = kind(TOKEN if kind is SecretText else TOKEN.encode())
    for part in (secret, secret[:10], secret[5:], secret[::2], secret[3:40][:8]):
        assert "hidden" in repr(part)
    assert secret[:5] == (b"token" if kind is SecretBytes else "token")


def test_a_client_with_a_rejected_token_has_a_repr():
    with pytest.raises(InvalidInputError) as caught:
        IndigoClient("two words")
    assert "two words" not in printed(caught.value)
    client = IndigoClient.__new__(IndigoClient)
    assert repr(client) == "IndigoClient()"


async def test_a_clients_repr_is_the_same_before_it_is_open_and_after():
    client = IndigoClient(TOKEN, base_url="http://127.0.0.1:1/api/v1")
    async with client:
        during = repr(client)
    assert repr(client) == during == "IndigoClient(base_url='http://127.0.0.1:1/api/v1')"


FORGED = "no\r\nERROR all is lost\x1b[2J\x1b[31m\u202e\u2028more\x00"


@pytest.mark.parametrize(
    "document", [{"error": FORGED, "errorType": FORGED}, {"error": f"{FORGED} https://x/?{SECRET}"}]
)
@pytest.mark.parametrize("status", [200, 400, 401, 404, 429, 503])
async def test_server_text_cannot_forge_lines_or_colors(document: dict[str, str], status: int):
    async with server_and_client(respond_with_json(document, status), token=TOKEN) as (_, client):
        with pytest.raises(ApiError) as caught:
            await client.upload_csv(customer_id="1", url="https://x.example.org/a.csv")
    for text in (str(caught.value), caught.value.message, caught.value.error_type or ""):
        assert text.isprintable()
        assert SECRET not in text
    assert "no ERROR all is lost" in str(caught.value)


@given(st.text())
def test_sanitized_text_is_one_printable_bounded_line(text: str):
    shown = sanitize_text(text)
    assert len(shown) <= 500
    assert len(shown.splitlines()) <= 1
    assert not any(ord(character) < 32 or character in "\u202e\u2066\u200b\x7f" for character in shown)


@given(
    st.lists(st.sampled_from(["https://a.example/x", "?", "#", "a=b", "bearer ", "<hidden>", " ", "u@", "/"])).map(
        "".join
    )
)
def test_redacting_is_idempotent(text: str):
    assert redact(redact(text)) == redact(text)


@given(st.text("abc ", max_size=100))
def test_sanitizing_keeps_ordinary_text(text: str):
    assert sanitize_text(text) == " ".join(text.split())


async def test_a_body_that_is_not_json_appears_nowhere():
    page = respond_with(200, f"<html>{PERSON} {SECRET}".encode(), content_type="text/html")
    async with server_and_client(page, token=TOKEN) as (_, client):
        with pytest.raises(ResponseDecodeError) as caught:
            await client.get_audience("aud-1")
    shown = printed(caught.value)
    assert PERSON not in shown
    assert SECRET[:10] not in shown


async def test_a_status_with_a_url_is_redacted_in_errors_and_in_the_log(caplog: pytest.LogCaptureFixture):
    status = f"FAILED https://x.example.org/a.csv?{SECRET}"
    shown: list[str] = []
    async with server_and_client(respond_with_json({"id": "aud-1", "status": status}), token=TOKEN) as (_, client):
        with pytest.raises(IndigoError, match="failed") as caught:
            await workflows.wait_until_active(client, "aud-1", customer_id="1", timeout=5)
        shown.append(str(caught.value))
    shown += [record.getMessage() for record in caplog.records]
    assert "FAILED https://x.example.org/a.csv?<hidden>" in shown[0]
    assert not any(SECRET in text for text in shown)
