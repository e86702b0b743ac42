"""Object stores are reached through the same proxies as the API, and trust `SSL_CERT_FILE`."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from obstore.store import S3Store
from yarl import URL

from indigo_async._transport.proxies import Proxies
from indigo_async.errors import InvalidInputError, PublishError
from indigo_async.files import ObjectStorePublisher
from indigo_async.temporal import export_store
from indigo_async.temporal.workers.export_stores import ObjectExportStore
from tests.support.servers.proxy import ForwardProxy, forward_proxy
from tests.support.servers.s3 import KEY_ID, REGION, SECRET_KEY, Bucket
from tests.support.servers.scripted import ScriptedServer, respond_with
from tests.support.servers.tls import server_context, tls_server, write_authority

STORE = "store.example.org"
KEYS = {"access_key_id": KEY_ID, "secret_access_key": SECRET_KEY, "region": REGION}


@pytest.fixture(autouse=True)
def _no_proxy_variables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for name in ("INDIGO_PROXY", "HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    monkeypatch.setenv("SSL_CERT_FILE", str(write_authority(tmp_path)))


@pytest.fixture
def csv(tmp_path: Path) -> Path:
    path = tmp_path / "people.csv"
    path.write_text("First,Last\nAnn,Lee\n")
    return path


@asynccontextmanager
async def store_behind_proxy() -> AsyncGenerator[tuple[ScriptedServer, ForwardProxy]]:
    """A store that can only be reached through a proxy, under a public name."""
    async with (
        tls_server(respond_with(200, b"", ETag='"1"'), context=server_context(STORE)) as server,
        forward_proxy({f"{STORE}:443": URL(server.origin).port or 0}) as proxy,
    ):
        yield server, proxy


async def publish(publisher: ObjectStorePublisher, csv: Path) -> None:
    async with publisher.publish(csv):
        pass


@pytest.mark.parametrize("name", ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "INDIGO_PROXY"])
async def test_the_environments_proxy_is_used(name: str, csv: Path, monkeypatch: pytest.MonkeyPatch):
    async with store_behind_proxy() as (server, proxy):
        monkeypatch.setenv(name, proxy.url)
        await publish(ObjectStorePublisher("s3://lists", config=KEYS | {"endpoint": f"https://{STORE}"}), csv)
        assert server.requests[0].method == "PUT"
        assert set(proxy.targets) == {f"{STORE}:443"}


async def test_the_callers_proxy_takes_precedence_and_is_not_shown(csv: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("INDIGO_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", "*")
    async with store_behind_proxy() as (server, proxy):
        own = {"config": KEYS | {"endpoint": f"https://{STORE}"}, "proxy": proxy.url_with("ann:canary")}
        publisher = ObjectStorePublisher("s3://lists", **own)
        await publish(publisher, csv)
        assert server.requests[0].method == "PUT"
    assert "canary" not in repr(publisher)


async def test_a_store_on_this_machine_is_reached_directly(bucket: Bucket, csv: Path, monkeypatch: pytest.MonkeyPatch):
    def publisher(proxy: str | None) -> ObjectStorePublisher:
        options = {"allow_http": True} | Proxies.resolve(proxy).object_store_options()
        config = KEYS | {"endpoint": bucket.server.endpoint}
        return ObjectStorePublisher(S3Store(bucket.name, config=config, client_options=options))

    async with forward_proxy() as proxy:
        monkeypatch.setenv("INDIGO_PROXY", proxy.url)
        await publish(publisher(None), csv)
        assert proxy.targets == []
        await publish(publisher(proxy.url), csv)
        assert len(proxy.targets) > 0


def test_a_proxy_that_cannot_be_used_is_refused(monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(InvalidInputError, match=r"^proxy: socks5:// proxies are not supported"):
        ObjectStorePublisher("s3://lists", config=KEYS, proxy="socks5://canary@127.0.0.1:1")
    monkeypatch.setenv("INDIGO_PROXY", "socks5://canary@127.0.0.1:1")
    with pytest.raises(InvalidInputError, match=r"^INDIGO_PROXY: socks5:// proxies are not supported"):
        export_store("s3://exports")


def test_a_proxy_is_only_for_stores_given_as_urls(bucket: Bucket):
    with pytest.raises(InvalidInputError, match="proxy: is only for a URL"):
        ObjectStorePublisher(bucket.make_store(), proxy="http://127.0.0.1:9")


def test_the_proxy_of_an_export_store_is_not_shown(monkeypatch: pytest.MonkeyPatch):
    for name, value in KEYS.items():
        monkeypatch.setenv(f"AWS_{name.upper()}", value)
    store = export_store("s3://exports/2026", proxy="http://ann:canary@127.0.0.1:9")
    assert isinstance(store, ObjectExportStore)
    assert "canary" not in repr(store)


async def test_an_unknown_authority_is_a_publish_error(csv: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("SSL_CERT_FILE")
    async with store_behind_proxy() as (server, proxy):
        config = KEYS | {"endpoint": f"https://{STORE}"}
        publisher = ObjectStorePublisher("s3://lists", config=config, proxy=proxy.url)
        with pytest.raises(PublishError):
            await publish(publisher, csv)
        assert server.requests == []
