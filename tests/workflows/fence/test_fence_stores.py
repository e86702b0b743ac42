from __future__ import annotations

import asyncio
import errno
import os
import stat
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web
from obstore.store import S3Store

from indigo_async._transport.proxies import Proxies
from indigo_async._validation import InputCheck
from indigo_async.errors import FenceError, MissingPackageError
from indigo_async.workflows.fence.leases import Leases
from indigo_async.workflows.fence.log import FenceStore
from indigo_async.workflows.fence.stores import BucketStore, FolderStore, check_fence, open_fence_store
from tests.support.servers.s3 import Bucket

NO_PROXIES = Proxies.resolve(None)


@pytest.fixture(params=["folder", "bucket"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> FenceStore:
    if request.param == "folder":
        (tmp_path / "fence").mkdir()
        return open_fence_store(tmp_path / "fence", "part", proxies=NO_PROXIES)
    return open_fence_store(request.getfixturevalue("bucket").make_store("a/b"), "part", proxies=NO_PROXIES)


@pytest.fixture
def folder_store(tmp_path: Path) -> FolderStore:
    return FolderStore(tmp_path, "part")


async def test_an_object_is_created_once_and_may_be_replaced_and_deleted(store: FenceStore):
    assert await store.read("log/1") is None
    assert await store.create("log/1", b"first")
    assert not await store.create("log/1", b"second")
    stored = await store.read("log/1")
    assert stored is not None
    assert stored.content == b"first"
    await store.replace("log/1", b"third")
    again = await store.read("log/1")
    assert again is not None
    assert again.content == b"third"
    assert again.written_at >= stored.written_at > 0
    await store.delete("log/1")
    await store.delete("log/1")
    assert await store.read("log/1") is None


async def test_only_this_user_can_read_a_folder(folder_store: FolderStore, tmp_path: Path):
    await folder_store.create("log/1", b"1")
    await folder_store.replace("owners/1", b"1")
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.rglob("*")}
    assert modes == {"part": 0o700, "log": 0o700, "owners": 0o700, "1": 0o600}


async def test_readers_of_a_folder_never_see_half_a_file(
    folder_store: FolderStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    is_synced, may_go_on = threading.Event(), threading.Event()

    def sync_slowly(descriptor: int) -> None:
        if stat.S_ISREG(os.fstat(descriptor).st_mode):
            is_synced.set()
            assert may_go_on.wait(30)

    monkeypatch.setattr(os, "fsync", sync_slowly)
    creating = asyncio.create_task(folder_store.create("log/1", b"x" * 100_000))
    while not is_synced.is_set():
        await asyncio.sleep(0.001)
    assert await folder_store.read("log/1") is None
    may_go_on.set()
    assert await creating
    assert [path.name for path in (tmp_path / "part" / "log").iterdir()] == ["1"]


def test_a_folder_that_is_not_there_is_refused_because_a_share_may_not_be_mounted(tmp_path: Path):
    with pytest.raises(FenceError, match="does not exist: create the folder once"):
        open_fence_store(tmp_path / "missing", "part", proxies=NO_PROXIES)
    assert list(tmp_path.iterdir()) == []


async def test_a_folder_that_vanishes_is_not_created_again(folder_store: FolderStore, tmp_path: Path):
    (tmp_path / "part" / "log").rmdir()
    with pytest.raises(FenceError, match="check that it is mounted") as caught:
        await folder_store.create("log/1", b"1")
    assert caught.value.permanent


async def test_a_file_system_without_hard_links_is_refused(
    folder_store: FolderStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def refuse(*_: object) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "link", refuse)
    with pytest.raises(FenceError, match="no hard links") as caught:
        await folder_store.create("log/1", b"1")
    assert caught.value.permanent
    assert list((tmp_path / "part" / "log").iterdir()) == []


@asynccontextmanager
async def careless_s3() -> AsyncIterator[S3Store]:
    """A server that creates objects whatever `If-None-Match` says, as older S3-compatible stores do."""

    async def respond(request: web.Request) -> web.Response:
        await request.read()
        return web.Response(headers={"ETag": '"1"'})

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", respond)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        host, port = runner.addresses[0]
        yield _make_store(f"http://{host}:{port}")
    finally:
        await runner.cleanup()


def _make_store(endpoint: str) -> S3Store:
    keys = {"access_key_id": "a", "secret_access_key": "b", "region": "us-east-1", "endpoint": endpoint}
    retry = {"max_retries": 0}
    return S3Store("bucket", config=keys, client_options={"allow_http": True}, retry_config=retry)  # type: ignore[arg-type]


async def test_a_store_that_creates_an_object_twice_is_refused():
    async with careless_s3() as careless:
        with pytest.raises(FenceError, match="honors conditional writes") as caught:
            await Leases(BucketStore(careless, "bucket", "part"), "owner").take()
    assert caught.value.permanent


async def test_an_outage_of_a_bucket_may_pass_and_a_missing_bucket_does_not(bucket: Bucket):
    unreachable = BucketStore(_make_store("http://127.0.0.1:9"), "s3://bucket", "part")
    with pytest.raises(FenceError, match="could not be reached") as caught:
        await unreachable.create("log/1", b"1")
    assert not caught.value.permanent
    missing = BucketStore(Bucket(bucket.server, "missing").make_store(), "s3://missing", "part")
    with pytest.raises(FenceError, match="does not exist") as caught:
        await missing.create("log/1", b"1")
    assert caught.value.permanent


def test_a_url_is_opened_with_the_environment_and_a_rejected_one_is_explained(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    store = open_fence_store("s3://user:secret@bucket/lists", "part", proxies=NO_PROXIES)
    assert store.label == "the fence s3://bucket/lists"
    with pytest.raises(FenceError, match="AZURE_STORAGE_ACCOUNT_NAME"):
        open_fence_store("az://container/lists", "part", proxies=NO_PROXIES)


def test_a_bucket_needs_the_extra(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("indigo_async._extras.find_spec", lambda _: None)
    with pytest.raises(MissingPackageError, match=r"a fence in a bucket needs obstore.*indigo-async\[publish\]"):
        open_fence_store("s3://bucket/lists", "part", proxies=NO_PROXIES)


@pytest.mark.parametrize("place", ["https://example.org/x", "ftp://x", 7, "", b"x"])
def test_what_is_no_place_is_refused(place: object):
    check = InputCheck()
    check_fence(check, place)
    assert [problem.where for problem in check.problems] == ["fence"]
