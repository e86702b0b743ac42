"""Publish on loopback, for the sandbox: only the published files, completely, and only while they don't change."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import logging
import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from yarl import URL

from indigo_async import workflows
from indigo_async.client import IndigoClient
from indigo_async.errors import PublishError
from indigo_async.files import LocalPublisher, content_name
from indigo_async.files.publishing import local
from indigo_async.inputs import ColumnSelection
from indigo_async.sandbox import Sandbox
from indigo_async.sandbox.people import VoterFile, generate_messy_csv
from indigo_async.workflows.recipes import match
from tests.support.recipes import COLUMNS, MATCH, UPLOAD, count_posts, match_csv
from tests.support.servers.scripted import SPEED, open_client, sandbox_and_client

TEXT = b"First\nAda\nGrace\n"


@pytest.fixture
def people(tmp_path: Path) -> Path:
    path = tmp_path / "people.csv"
    path.write_bytes(TEXT)
    return path


@asynccontextmanager
async def people_sandbox(voters: VoterFile) -> AsyncGenerator[tuple[Sandbox, IndigoClient]]:
    async with Sandbox(voters, speed=SPEED) as sandbox, open_client(sandbox) as client:
        yield sandbox, client


async def fetch(url: str, method: str = "GET", **headers: str) -> tuple[int, bytes, dict[str, str]]:
    async with aiohttp.ClientSession() as session, session.request(method, url, headers=headers) as response:
        return response.status, await response.read(), {name.lower(): value for name, value in response.headers.items()}


async def test_a_local_csv_is_matched_and_exported_as_on_the_command_line(tmp_path: Path, voters: VoterFile):
    donors = tmp_path / "donors.csv"
    donors.write_bytes(generate_messy_csv(voters, 300, seed=1))
    columns = {
        "first_name": ColumnSelection("First Name", required=True),
        "last_name": ColumnSelection("Last Name", required=True),
    }
    async with people_sandbox(voters) as (_, client):
        matched = await workflows.upload_and_match(
            client,
            donors,
            customer_id="42",
            audience_name="Donors",
            column_selections=columns,
            publisher=LocalPublisher(),
        )
        assert matched.status == "ACTIVE"
        assert URL(matched.uploaded_audience_csv.url).name == await content_name(donors)


async def test_only_the_published_file_is_served_and_only_during_the_block(people: Path):
    (people.parent / "other.csv").write_text("private")
    publisher = LocalPublisher()
    async with publisher.publish(people) as url:
        status, body, headers = await fetch(url)
        assert (status, body, headers["content-type"]) == (200, TEXT, "text/csv")
        host = URL(url).host
        guesses = ["/", "/people.csv", "/other.csv", f"/{URL(url).name}", f"{URL(url).path}/../../other.csv"]
        for guess in guesses:
            assert (await fetch(f"http://{host}:{URL(url).port}{guess}"))[0] == 404
        assert (await fetch(url, "POST"))[0] == 405
    with pytest.raises(aiohttp.ClientConnectorError):
        await fetch(url)


async def test_every_publication_has_a_url_of_its_own_on_one_server(people: Path):
    publisher = LocalPublisher()
    async with publisher.publish(people) as first:
        async with publisher.publish(people) as second:
            assert URL(first).port == URL(second).port
            assert URL(first).parent != URL(second).parent
            assert URL(first).name == URL(second).name == f"{hashlib.sha256(TEXT).hexdigest()}.csv"
        assert (await fetch(second))[0] == 404
        assert (await fetch(first))[0] == 200


async def test_many_files_start_one_server_and_a_canceled_start_leaves_none(
    people: Path, monkeypatch: pytest.MonkeyPatch
):
    starts = 0
    start_server = local._start_server

    async def counted(*args: object) -> object:
        nonlocal starts
        starts += 1
        if starts == 1:
            await asyncio.Event().wait()
        return await start_server(*args)

    monkeypatch.setattr(local, "_start_server", counted)
    publisher = LocalPublisher()
    ports: set[int | None] = set()
    all_published = asyncio.Barrier(20)

    async def publish() -> None:
        async with publisher.publish(people) as url:
            ports.add(URL(url).port)
            await all_published.wait()

    canceled = asyncio.create_task(publish())
    while not starts:
        await asyncio.sleep(0)
    async with asyncio.TaskGroup() as group:
        for _ in range(20):
            group.create_task(publish())
        canceled.cancel()
    assert (starts, len(ports)) == (2, 1)
    assert publisher._server is None
    assert publisher._files == {}


def test_it_works_in_one_event_loop_after_another(people: Path):
    publisher = LocalPublisher()

    async def publish_twice() -> None:
        async def publish() -> None:
            async with publisher.publish(people) as url:
                assert (await fetch(url))[1] == TEXT

        await asyncio.gather(publish(), publish())

    for _ in range(2):
        asyncio.run(publish_twice())


@pytest.mark.parametrize(
    ("asked", "status", "expected"),
    [
        ("bytes=0-4", 206, TEXT[:5]),
        ("bytes=6-", 206, TEXT[6:]),
        ("bytes=-3", 206, TEXT[-3:]),
        ("bytes=6-999", 206, TEXT[6:]),
        (f"bytes={len(TEXT)}-", 416, b""),
        ("bytes=0-1,3-4", 200, TEXT),
        ("lines=1-2", 200, TEXT),
        ("bytes=5-2", 200, TEXT),
    ],
)
async def test_ranges(people: Path, asked: str, status: int, expected: bytes):
    async with LocalPublisher().publish(people) as url:
        found = await fetch(url, Range=asked)
        assert found[:2] == (status, expected)
        if status == 206:
            first = TEXT.index(expected) if expected != TEXT[-3:] else len(TEXT) - 3
            assert found[2]["content-range"] == f"bytes {first}-{first + len(expected) - 1}/{len(TEXT)}"


async def test_a_range_of_another_version_gets_the_whole_file(people: Path):
    async with LocalPublisher().publish(people) as url:
        tag = (await fetch(url))[2]["etag"]
        assert (await fetch(url, Range="bytes=0-4", **{"If-Range": tag}))[0] == 206
        assert (await fetch(url, Range="bytes=0-4", **{"If-Range": '"other"'}))[:2] == (200, TEXT)


async def test_head_shows_the_size_without_the_content(people: Path):
    async with LocalPublisher().publish(people) as url:
        status, body, headers = await fetch(url, "HEAD")
        assert (status, body, headers["content-length"]) == (200, b"", str(len(TEXT)))


async def test_an_empty_file_is_served_as_it_is(tmp_path: Path):
    (tmp_path / "empty.csv").touch()
    async with LocalPublisher().publish(tmp_path / "empty.csv") as url:
        assert (await fetch(url))[:2] == (200, b"")
        assert (await fetch(url, Range="bytes=0-"))[0] == 416


async def test_a_compressed_neighbor_is_not_sent_instead(people: Path):
    Path(f"{people}.gz").write_bytes(gzip.compress(b"an older list"))
    async with LocalPublisher().publish(people) as url:
        assert (await fetch(url, **{"Accept-Encoding": "gzip, br"}))[1] == TEXT


async def test_large_files_are_streamed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(local, "_CHUNK_BYTES", 1_000)
    content = os.urandom(1_000_000)
    (tmp_path / "large.csv").write_bytes(content)
    async with LocalPublisher().publish(tmp_path / "large.csv") as url:
        assert (await fetch(url))[1] == content


async def test_a_server_that_leaves_during_a_transfer_causes_no_log_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    monkeypatch.setattr(local, "_CHUNK_BYTES", 64 * 1024)
    path = tmp_path / "people.csv"
    await asyncio.to_thread(path.write_bytes, b"First\n" + b"Ada\n" * 2_000_000)
    async with LocalPublisher().publish(path) as url:
        for _ in range(3):
            reader, writer = await asyncio.open_connection(URL(url).host, URL(url).port)
            writer.write(f"GET {URL(url).path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            await reader.readexactly(100)
            writer.transport.abort()
        assert len((await fetch(url))[1]) == 8_000_006
    assert not caplog.records


@pytest.mark.parametrize("change", ["append", "replace", "remove"])
async def test_a_file_that_changed_is_not_sent(people: Path, change: str):
    with pytest.raises(PublishError, match=r"people\.csv changed while it was being published"):  # noqa: PT012
        async with LocalPublisher().publish(people) as url:
            if change == "append":
                people.write_bytes(TEXT + b"Alan\n")
            else:
                people.unlink()
            if change == "replace":
                people.write_bytes(TEXT.replace(b"Ada", b"Eve"))
            assert (await fetch(url))[:2] == (410, b"")
            raise ValueError("what the server made of it")


async def test_a_file_that_changes_during_a_transfer_is_not_sent_completely(
    people: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(local, "_CHUNK_BYTES", 4)
    run_in_thread, reads = local.run_in_thread, 0

    async def change_after_two_reads(work: object) -> object:
        nonlocal reads
        if getattr(getattr(work, "func", None), "__name__", "") == "read":
            reads += 1
            if reads == 2:
                people.write_bytes(TEXT.replace(b"Grace", b"Ellen") + b"\n")
        return await run_in_thread(work)

    async with LocalPublisher().publish(people) as url:
        monkeypatch.setattr(local, "run_in_thread", change_after_two_reads)
        with pytest.raises(aiohttp.ClientError):
            await fetch(url)


async def test_an_error_about_an_unchanged_file_is_the_blocks_own(people: Path):
    with pytest.raises(ValueError, match="the block's"):
        async with LocalPublisher().publish(people):
            raise ValueError("the block's")


async def test_a_file_that_cannot_be_read_is_a_publish_error(tmp_path: Path):
    with pytest.raises(PublishError, match=r"missing\.csv cannot be read \(No such file"):
        async with LocalPublisher().publish(tmp_path / "missing.csv"):
            pass


async def test_a_recipe_says_that_the_file_changed(people: Path, voters: VoterFile, monkeypatch: pytest.MonkeyPatch):
    inspect = match.inspect_input

    async def inspect_and_change(*args: object) -> object:
        inspected = await inspect(*args)
        await asyncio.to_thread(people.write_bytes, TEXT + b"Alan\n")
        return inspected

    monkeypatch.setattr(match, "inspect_input", inspect_and_change)
    async with people_sandbox(voters) as (sandbox, client):
        with pytest.raises(PublishError, match="changed while it was being published"):
            await match_csv(client, people, publisher=LocalPublisher())
        assert count_posts(sandbox) == {UPLOAD: 1}


async def test_an_api_elsewhere_cannot_fetch_from_this_machine(people: Path):
    client = IndigoClient("token", base_url="https://indigo.example.org/api/v1")
    with pytest.raises(PublishError, match=r"indigo\.example\.org/api/v1 can't fetch it from here.*ObjectStorePub"):
        async with match._publish(client, LocalPublisher(), people):
            pass


async def test_the_url_is_in_no_log_and_in_no_repr(people: Path, caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.DEBUG)
    publisher = LocalPublisher()
    async with publisher.publish(people) as url:
        await fetch(url)
        secret = URL(url).parent.name
        assert secret in url
        assert secret not in repr([url, publisher, publisher._files])
    assert not any(secret in record.getMessage() for record in caplog.records)


async def test_a_batch_of_local_lists(tmp_path: Path):
    jobs: list[workflows.AudienceJob] = []
    for number in range(5):
        path = tmp_path / f"list{number}.csv"
        path.write_text(f"First\nPerson {number}\n")
        jobs.append(
            workflows.AudienceJob(csv=path, customer_id="42", audience_name=f"List {number}", column_selections=COLUMNS)
        )
    async with sandbox_and_client() as (sandbox, client):
        report = await workflows.run_batch(client, jobs, publisher=LocalPublisher())
        assert (report.done, report.failed) == (5, 0)
        assert count_posts(sandbox) == {UPLOAD: 5, MATCH: 5}
