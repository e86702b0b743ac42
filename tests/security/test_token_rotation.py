"""A token that is refused is asked for once more, and the request is sent again once; a POST, too."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from indigo_async import workflows
from indigo_async._transport.auth import Credentials
from indigo_async.client import IndigoClient
from indigo_async.errors import AuthenticationError, InvalidInputError
from indigo_async.sandbox import Sandbox
from tests.support.servers.scripted import (
    QUICK_RETRY,
    respond_with_json,
    sandbox_and_client,
    server_and_client,
    wait_until,
)

STALE = "canary-stale-token"


class TokenSource:
    """Gives its tokens in turn, the last one for ever."""

    def __init__(self, *tokens: Any) -> None:
        self.tokens = list(tokens)
        self.times_asked = 0
        self.threads: set[int] = set()

    def __call__(self) -> Any:
        self.times_asked += 1
        self.threads.add(threading.get_ident())
        token = self.tokens.pop(0) if len(self.tokens) > 1 else self.tokens[0]
        if isinstance(token, Exception):
            raise token
        return token


def client_with(source: Callable[[], Any] | None, sandbox: Sandbox) -> IndigoClient:
    return IndigoClient(source, base_url=sandbox.base_url, retry=QUICK_RETRY, poll_interval=0.005)


CALLS: dict[str, tuple[str, Callable[[IndigoClient], Awaitable[Any]]]] = {
    "a GET": ("GET /audiences", lambda client: client.list_audiences()),
    "a POST": ("POST /upload_csv", lambda client: client.upload_csv(customer_id="1", url="https://example.org/x.csv")),
}
every_call = pytest.mark.parametrize(("endpoint", "call"), CALLS.values(), ids=CALLS.keys())


@every_call
async def test_a_rejected_token_is_refreshed_and_the_request_is_resent(endpoint: str, call):
    async with sandbox_and_client() as (sandbox, _):
        source = TokenSource(STALE, sandbox.token)
        async with client_with(source, sandbox) as client:
            await call(client)
            await call(client)
        assert source.times_asked == 2
        assert sandbox.log.count(endpoint) == 3
        assert sandbox.log.count(endpoint, carried_out=True) == 2
        assert client.transport.requests[endpoint] == 3


@every_call
async def test_a_source_without_a_new_token_leaves_the_error(endpoint: str, call):
    async with sandbox_and_client() as (sandbox, _):
        source = TokenSource(STALE)
        async with client_with(source, sandbox) as client:
            with pytest.raises(AuthenticationError, match=r"\(401, Unauthorized\)"):
                await call(client)
        assert source.times_asked == 2
        assert sandbox.log.count(endpoint) == 1


@every_call
async def test_a_rejected_new_token_is_an_error(endpoint: str, call):
    async with sandbox_and_client() as (sandbox, _):
        source = TokenSource(STALE, "another", sandbox.token)
        async with client_with(source, sandbox) as client:
            with pytest.raises(AuthenticationError):
                await call(client)
        assert sandbox.log.count(endpoint) == source.times_asked == 2


@pytest.mark.parametrize("given", [RuntimeError(STALE), "two words", "", None, 5], ids=repr)
async def test_a_failing_source_leaves_the_error_and_logs_a_warning(given: object, caplog):
    async with sandbox_and_client() as (sandbox, _), client_with(TokenSource(STALE, given), sandbox) as client:
        with caplog.at_level(logging.WARNING), pytest.raises(AuthenticationError):
            await client.list_audiences()
    assert "the server rejected the token and its source failed: " in caplog.text
    assert STALE not in caplog.text


async def test_concurrent_rejections_refresh_once():
    async with sandbox_and_client() as (sandbox, _):
        source = TokenSource(STALE, sandbox.token)
        async with client_with(source, sandbox) as client:
            await asyncio.gather(*(client.list_audiences(customer_id=str(number)) for number in range(50)))
        assert source.times_asked == 2
        assert sandbox.log.count(carried_out=True) == 50


async def test_rejections_during_a_refresh_share_its_result():
    asked, answer = 0, asyncio.Event()

    async def source() -> str:
        nonlocal asked
        asked += 1
        await answer.wait()
        return STALE

    credentials = Credentials(source)
    for refused, is_another in (("", True), (STALE, False)):
        before = asked
        answer.clear()
        renewals = [asyncio.create_task(credentials.refresh(refused)) for _ in range(50)]
        await wait_until(lambda before=before: asked == before + 1)
        answer.set()
        assert set(await asyncio.gather(*renewals)) == {is_another}
        assert asked == before + 1


async def test_a_recipe_and_its_waits_survive_a_token_change(tmp_path: Path):
    async with sandbox_and_client() as (sandbox, _):
        (audience_id,) = await sandbox.seed_audiences(1, "42", size=1_500)
        source = TokenSource(STALE, sandbox.token)
        async with client_with(source, sandbox) as client:
            wider = await workflows.create_lookalike(
                client, audience_id, customer_id="42", audience_name="Donors+", size=2_000
            )
            await workflows.export_audience(client, wider, customer_id="42", destination=tmp_path / "x.csv")
        assert source.times_asked == 2


async def test_a_plain_function_is_called_in_a_thread():
    async with sandbox_and_client() as (sandbox, _):
        source = TokenSource(sandbox.token)
        async with client_with(source, sandbox) as client:
            await client.list_audiences()
    assert source.threads.isdisjoint({threading.get_ident()})


async def test_a_coroutine_function_is_called_in_the_event_loop():
    threads: list[int] = []
    async with sandbox_and_client() as (sandbox, _):

        async def source() -> str:
            threads.append(threading.get_ident())
            return sandbox.token

        async with client_with(source, sandbox) as client:
            await client.list_audiences()
    assert threads == [threading.get_ident()]


async def test_a_function_may_return_an_awaitable():
    async with sandbox_and_client() as (sandbox, _):

        async def source() -> str:
            return sandbox.token

        async with client_with(TokenSource(source()), sandbox) as client:
            await client.list_audiences()


@pytest.mark.parametrize("given", ["", "two words", None])
async def test_a_source_without_a_token_fails_when_the_client_is_opened(given: object):
    async with sandbox_and_client() as (sandbox, _):
        with pytest.raises(InvalidInputError, match=r"^token: "):
            await client_with(TokenSource(given), sandbox).__aenter__()
        assert len(sandbox.log.entries) == 0


async def test_a_token_file_is_read_again_on_refresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    file = tmp_path / "token"
    file.write_text(f"{STALE}\n")
    monkeypatch.delenv("INDIGO_API_TOKEN", raising=False)
    monkeypatch.setenv("INDIGO_API_TOKEN_FILE", str(file))
    async with sandbox_and_client() as (sandbox, _), client_with(None, sandbox) as client:
        file.write_text(f"{sandbox.token}\n")
        await client.list_audiences()
        assert sandbox.log.count(status=401) == 1


@pytest.mark.parametrize("content", [b"", b"two words", b"\xff\xfe"])
async def test_a_file_without_a_token_is_reported_without_its_content(
    content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    file = tmp_path / "token"
    file.write_bytes(content)
    monkeypatch.delenv("INDIGO_API_TOKEN", raising=False)
    monkeypatch.setenv("INDIGO_API_TOKEN_FILE", str(file))
    with pytest.raises(InvalidInputError, match=r"^token: "):
        await IndigoClient(base_url="http://127.0.0.1:9").__aenter__()


async def test_a_token_file_that_is_missing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("INDIGO_API_TOKEN", raising=False)
    monkeypatch.setenv("INDIGO_API_TOKEN_FILE", str(tmp_path / "token"))
    with pytest.raises(InvalidInputError, match=r"token \(set by INDIGO_API_TOKEN_FILE\): No such file"):
        await IndigoClient(base_url="http://127.0.0.1:9").__aenter__()


async def test_a_token_string_is_never_refreshed():
    async with server_and_client(respond_with_json({"error": "No."}, 401), token=STALE) as (server, client):
        with pytest.raises(AuthenticationError):
            await client.list_audiences()
    assert len(server.requests) == 1
