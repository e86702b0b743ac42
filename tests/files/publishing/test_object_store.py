"""Publishing in an object store, against a server that speaks S3; the sandbox fetches from its signed URLs."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import re
import sys
import traceback
import urllib.request
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import anyio
import attrs
import obstore
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from obstore.store import AzureStore, GCSStore, S3Store

from indigo_async import workflows
from indigo_async.client import IndigoClient
from indigo_async.errors import AudienceFailedError, InvalidInputError, PublishError
from indigo_async.files import ObjectStorePublisher, content_name
from indigo_async.files.publishing import object_store
from indigo_async.inputs import ColumnSelection
from indigo_async.models import Audience
from indigo_async.sandbox import Fault, FaultKind, Sandbox
from indigo_async.sandbox.people import VoterFile, generate_messy_csv
from indigo_async.workflows import AudienceJob, StageStarted, run_batch
from tests.support.servers.s3 import KEY_ID, SECRET_KEY, Bucket, S3Server
from tests.support.servers.scripted import SPEED, open_client

CUSTOMER = "42"
COLUMNS = {
    "first_name": ColumnSelection("First Name", required=True),
    "last_name": ColumnSelection("Last Name", required=True),
    "zip": ColumnSelection("Zip Code"),
}


@pytest.fixture
def people(tmp_path: Path, voters: VoterFile) -> Path:
    path = tmp_path / "people.csv"
    path.write_bytes(generate_messy_csv(voters, 300, seed=1))
    return path


@pytest.fixture
def large(tmp_path: Path) -> Path:
    """A file of several parts."""
    path = tmp_path / "large.csv"
    path.write_bytes(b"a,b\n" + b"x" * (object_store._PART_BYTES * 2))
    return path


@pytest.fixture
async def sandbox(voters: VoterFile) -> AsyncGenerator[Sandbox]:
    async with Sandbox(voters, speed=SPEED) as sandbox:
        yield sandbox


@pytest.fixture
def asks_for_credentials(bucket: Bucket) -> Iterator[None]:
    """The server knows no user, and from now on it looks."""

    def after(requests: int) -> None:
        headers = {"Content-Type": "text/plain"}
        url = f"{bucket.server.endpoint}/moto-api/reset-auth"
        urllib.request.urlopen(urllib.request.Request(url, str(requests).encode(), headers)).close()

    after(0)
    yield
    after(10**9)


async def match(
    client: IndigoClient, csv: Path, publisher: ObjectStorePublisher, name: str = "Donors", **options
) -> Audience:
    return await workflows.upload_and_match(
        client,
        csv,
        customer_id=CUSTOMER,
        audience_name=name,
        column_selections=COLUMNS,
        publisher=publisher,
        **options,
    )


async def read(url: str) -> bytes:
    def get() -> bytes:
        with urllib.request.urlopen(url) as answer:
            return answer.read()

    return await anyio.to_thread.run_sync(get)


async def test_the_whole_recipe_fetches_from_the_store_and_leaves_it_empty(
    bucket: Bucket, sandbox: Sandbox, people: Path
):
    async with open_client(sandbox) as client:
        publisher = ObjectStorePublisher(bucket.make_store("lists/2026"))
        audience = await match(client, people, publisher)
    assert audience.extra["size"] > 0
    url = urlsplit(audience.uploaded_audience_csv.url)
    assert re.fullmatch(f"/{bucket.name}/lists/2026/[0-9a-f]{{32}}/{await content_name(people)}", url.path)
    assert bucket.objects == {}
    assert publisher._objects == {}


async def test_a_later_run_knows_the_audience_by_the_name_of_its_object(bucket: Bucket, sandbox: Sandbox, people: Path):
    async with open_client(sandbox) as client:
        first = await match(client, people, ObjectStorePublisher(bucket.make_store()))
        again = await match(client, people, ObjectStorePublisher(bucket.make_store("elsewhere")))
    assert again.id == first.id
    assert sandbox.log.count("POST /match_uploaded_csv") == 1


async def test_a_url_expires_and_is_signed_for_reading_alone(bucket: Bucket, people: Path):
    publisher = ObjectStorePublisher(bucket.make_store("a b"), expires_in=600)
    async with publisher.publish(people) as url:
        assert await read(url) == people.read_bytes()
        parts = urlsplit(url)
        assert parts.path.rpartition("/")[2] == await content_name(people)
        assert parse_qs(parts.query)["X-Amz-Expires"] == ["600"]
        assert repr(url) == "'<hidden>'"


async def test_a_large_file_goes_up_in_parts(bucket: Bucket, large: Path):
    async with ObjectStorePublisher(bucket.make_store()).publish(large) as url:
        assert hashlib.sha256(await read(url)).digest() == hashlib.sha256(large.read_bytes()).digest()
    assert (bucket.objects, bucket.unfinished_uploads) == ({}, [])


@pytest.mark.parametrize("parts", [1, 2])
async def test_a_file_of_just_as_many_bytes_as_parts_take_is_whole(bucket: Bucket, tmp_path: Path, parts: int):
    path = tmp_path / "even.csv"
    path.write_bytes(b"x" * (object_store._PART_BYTES * parts))
    async with ObjectStorePublisher(bucket.make_store()).publish(path):
        (content,) = bucket.objects.values()
        assert len(content) == path.stat().st_size


async def test_the_object_is_gone_after_a_match_that_failed(
    bucket: Bucket, sandbox: Sandbox, voters: VoterFile, tmp_path: Path
):
    noise = tmp_path / "noise.csv"
    noise.write_bytes(generate_messy_csv(voters, 2_000, seed=1) + b"\x00\x01\x02 no CSV any more")
    async with open_client(sandbox) as client:
        with pytest.raises(AudienceFailedError, match="could not read the CSV"):
            await match(client, noise, ObjectStorePublisher(bucket.make_store()))
    assert bucket.objects == {}


@asynccontextmanager
async def match_in_progress(bucket: Bucket, people: Path, voters: VoterFile) -> AsyncGenerator[asyncio.Task]:
    """A match that never ends, of a file that is published."""
    async with Sandbox(voters, speed=1e-6) as sandbox, open_client(sandbox) as client:
        published = asyncio.Event()

        def note(event: object) -> None:
            if isinstance(event, StageStarted):
                published.set()

        work = match(client, people, ObjectStorePublisher(bucket.make_store()), on_event=note)
        task = asyncio.create_task(work)
        await published.wait()
        assert len(bucket.objects) == 1
        yield task


async def test_the_object_is_gone_after_a_cancellation(bucket: Bucket, people: Path, voters: VoterFile):
    async with match_in_progress(bucket, people, voters) as task:
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert bucket.objects == {}


async def test_the_object_is_gone_after_two_cancellations_in_a_row(bucket: Bucket, people: Path, voters: VoterFile):
    async with match_in_progress(bucket, people, voters) as task:
        task.cancel()
        for _ in range(3):
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert bucket.objects == {}


async def test_the_object_is_gone_after_a_cancelled_scope(bucket: Bucket, people: Path):
    async def hold() -> None:
        async with ObjectStorePublisher(bucket.make_store()).publish(people):
            published.set()
            await anyio.sleep_forever()

    published = anyio.Event()
    async with anyio.create_task_group() as group:
        group.start_soon(hold)
        await published.wait()
        assert len(bucket.objects) == 1
        group.cancel_scope.cancel()
    assert bucket.objects == {}


async def test_an_upload_that_is_cancelled_leaves_neither_an_object_nor_parts(bucket: Bucket, large: Path, monkeypatch):
    started = asyncio.Event()
    put = object_store._upload_file

    async def told(*arguments) -> None:
        started.set()
        await put(*arguments)

    monkeypatch.setattr(object_store, "_upload_file", told)
    publisher = ObjectStorePublisher(bucket.make_store())
    task = asyncio.create_task(publisher.publish(large).__aenter__())
    await started.wait()
    while not bucket.unfinished_uploads and not task.done():
        await asyncio.sleep(0)
    assert bucket.unfinished_uploads
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (bucket.objects, bucket.unfinished_uploads) == ({}, [])
    assert publisher._objects == {}


async def test_jobs_that_publish_one_file_at_once_share_it(bucket: Bucket, people: Path, tmp_path: Path):
    copy = tmp_path / "copy.csv"
    copy.write_bytes(people.read_bytes())
    publisher = ObjectStorePublisher(bucket.make_store())
    async with publisher.publish(people) as first:
        async with publisher.publish(copy) as second:
            assert urlsplit(first).path == urlsplit(second).path
        assert await read(first) == people.read_bytes()
    assert bucket.objects == {}


async def test_a_file_published_again_while_it_is_removed_is_there(bucket: Bucket, people: Path):
    publisher = ObjectStorePublisher(bucket.make_store())

    async def again(times: int) -> None:
        for _ in range(times):
            async with publisher.publish(people) as url:
                assert await read(url) == people.read_bytes()

    async with anyio.create_task_group() as group:
        for _ in range(4):
            group.start_soon(again, 5)
    assert bucket.objects == {}
    assert publisher._objects == {}


@pytest.fixture
def removals(monkeypatch: pytest.MonkeyPatch) -> LateRemovals:
    late = LateRemovals(obstore.delete_async)
    monkeypatch.setattr(obstore, "delete_async", late.remove)
    return late


@attrs.define
class LateRemovals:
    """A store that answers to a removal, if it answers, before it carries it out: when the test says so."""

    _delete: Callable[[object, str], Awaitable[object]]
    _asked: list[tuple[object, str]] = attrs.Factory(list)
    is_answered: bool = True

    @property
    def asked(self) -> list[str]:
        return [path for _, path in self._asked]

    async def remove(self, store: object, path: str) -> None:
        self._asked.append((store, path))
        if not self.is_answered:
            raise TimeoutError

    async def carry_out(self) -> None:
        for store, path in self._asked:
            await self._delete(store, path)


@pytest.mark.parametrize("is_answered", [True, False])
async def test_a_removal_that_the_store_carries_out_late_takes_nothing_that_was_published_since(
    bucket: Bucket, people: Path, removals: LateRemovals, is_answered: bool
):
    removals.is_answered = is_answered
    publisher = ObjectStorePublisher(bucket.make_store())
    async with publisher.publish(people):
        pass
    async with publisher.publish(people) as url:
        await removals.carry_out()
        assert await read(url) == people.read_bytes()
    await removals.carry_out()
    assert bucket.objects == {}


async def test_jobs_that_end_at_once_remove_their_object_once(bucket: Bucket, people: Path, removals: LateRemovals):
    publisher = ObjectStorePublisher(bucket.make_store())
    jobs = [publisher.publish(people) for _ in range(3)]
    urls = [urlsplit(await job.__aenter__()).path for job in jobs]
    async with asyncio.TaskGroup() as group:
        for job in jobs:
            group.create_task(job.__aexit__(None, None, None))
    assert removals.asked == [urls[0].removeprefix(f"/{bucket.name}/")]
    await removals.carry_out()
    assert bucket.objects == {}


async def test_a_file_can_be_published_again_before_its_removal_has_ended(
    bucket: Bucket, people: Path, monkeypatch: pytest.MonkeyPatch
):
    began, goes_on = asyncio.Event(), asyncio.Event()
    delete = obstore.delete_async

    async def held(store: S3Store, path: str) -> None:
        began.set()
        await goes_on.wait()
        await delete(store, path)

    monkeypatch.setattr(obstore, "delete_async", held)
    publisher = ObjectStorePublisher(bucket.make_store())
    jobs = [publisher.publish(people) for _ in range(2)]
    for job in jobs:
        await job.__aenter__()
    removals = asyncio.gather(*(job.__aexit__(None, None, None) for job in jobs))
    await began.wait()
    async with publisher.publish(people) as url:
        assert not removals.done()
        goes_on.set()
        await removals
        assert await read(url) == people.read_bytes()
    assert bucket.objects == {}
    assert publisher._objects == {}


async def test_publishers_that_do_not_know_of_each_other_take_nothing_from_each_other(bucket: Bucket, people: Path):
    one, other = (ObjectStorePublisher(bucket.make_store("lists")) for _ in range(2))
    async with one.publish(people) as url:
        async with other.publish(people):
            assert len(bucket.objects) == 2
        assert await read(url) == people.read_bytes()
    assert bucket.objects == {}


async def test_an_upload_cancelled_under_another_job_is_made_by_that_job(bucket: Bucket, large: Path):
    publisher = ObjectStorePublisher(bucket.make_store())
    first = asyncio.create_task(publisher.publish(large).__aenter__())
    while not bucket.unfinished_uploads:
        await asyncio.sleep(0)
    second = publisher.publish(large)
    waiting = asyncio.create_task(second.__aenter__())
    while publisher._objects[await content_name(large)].users < 2:
        await asyncio.sleep(0)
    first.cancel()
    assert len(await read(await waiting)) == large.stat().st_size
    await second.__aexit__(None, None, None)
    assert (bucket.objects, bucket.unfinished_uploads) == ({}, [])


async def test_a_batch_of_local_files_leaves_the_store_empty(
    bucket: Bucket, sandbox: Sandbox, people: Path, tmp_path: Path
):
    other = tmp_path / "other.csv"
    other.write_bytes(people.read_bytes() + b"\n")
    jobs = [
        AudienceJob(
            customer_id=CUSTOMER, audience_name=f"Donors {row}", csv=[people, other][row % 2], column_selections=COLUMNS
        )
        for row in range(6)
    ]
    async with open_client(sandbox) as client:
        report = await run_batch(client, jobs, publisher=ObjectStorePublisher(bucket.make_store()))
    assert (report.done, report.failed) == (6, 0)
    assert bucket.objects == {}


async def test_a_lost_answer_uploads_from_the_same_object(bucket: Bucket, sandbox: Sandbox, people: Path):
    sandbox.faults.add(Fault(kind=FaultKind.DISCONNECT_AFTER, endpoint="POST /upload_csv"))
    async with open_client(sandbox) as client:
        await match(client, people, ObjectStorePublisher(bucket.make_store()))
    assert bucket.objects == {}


@pytest.mark.usefixtures("asks_for_credentials")
async def test_refused_credentials_are_told(bucket: Bucket, people: Path):
    publisher = ObjectStorePublisher(bucket.make_store(access_key_id="AKIAWRONG"))
    with pytest.raises(PublishError) as caught:
        await publisher.publish(people).__aenter__()
    assert str(caught.value) == (
        f'people.csv could not be published in S3Store(bucket="{bucket.name}"): it refuses the credentials '
        "(InvalidAccessKeyId); are they valid, and may they write and delete there?"
    )
    assert_no_secret("".join(traceback.format_exception(caught.value)))
    assert (caught.value.__context__, caught.value.__cause__) == (None, None)
    assert publisher._objects == {}


async def test_a_bucket_that_is_not_there_is_told(s3_server: S3Server, people: Path):
    with pytest.raises(PublishError, match=r"there is no such place \(NoSuchBucket\); does the bucket exist"):
        await ObjectStorePublisher(Bucket(s3_server, "nowhere").make_store()).publish(people).__aenter__()


async def test_a_file_that_is_gone_is_told(bucket: Bucket, tmp_path: Path):
    with pytest.raises(PublishError, match=r"gone\.csv cannot be read \(No such file or directory\)"):
        await ObjectStorePublisher(bucket.make_store()).publish(tmp_path / "gone.csv").__aenter__()


async def test_a_file_that_changes_meanwhile_is_not_published_under_the_name_of_other_people(
    bucket: Bucket, large: Path, monkeypatch: pytest.MonkeyPatch
):
    async def name_then_change(path: Path) -> str:
        name = await content_name(path)
        await anyio.to_thread.run_sync(path.write_bytes, b"x" * (object_store._PART_BYTES * 2 + 4))
        return name

    monkeypatch.setattr(object_store, "content_name", name_then_change)
    with pytest.raises(PublishError, match=r"large\.csv changed while it was published"):
        await ObjectStorePublisher(bucket.make_store()).publish(large).__aenter__()
    assert (bucket.objects, bucket.unfinished_uploads) == ({}, [])


async def test_an_object_that_cannot_be_removed_is_told_and_fails_nothing(
    bucket: Bucket, people: Path, caplog: pytest.LogCaptureFixture, asks_later
):
    async with ObjectStorePublisher(bucket.make_store()).publish(people):
        asks_later()
    (record,) = [record for record in caplog.records if record.name == "indigo_async"]
    assert f"/{await content_name(people)} could not be removed from S3Store(" in record.getMessage()
    assert "holds people's data: it refuses the credentials" in record.getMessage()
    assert_no_secret(record.getMessage())


async def test_what_a_failed_upload_may_have_left_is_told_where_it_cannot_be_removed(
    bucket: Bucket, people: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, asks_later
):
    put = object_store._upload_file

    async def put_and_lost(*arguments) -> None:
        await put(*arguments)
        asks_later()
        raise ConnectionResetError

    monkeypatch.setattr(object_store, "_upload_file", put_and_lost)
    publisher = ObjectStorePublisher(bucket.make_store())
    with pytest.raises(PublishError):
        await publisher.publish(people).__aenter__()
    (record,) = [record for record in caplog.records if record.name == "indigo_async"]
    assert "could not be removed" in record.getMessage()
    assert "where it may be after a failed upload, and then holds people's data" in record.getMessage()
    assert_no_secret(record.getMessage())
    assert publisher._objects == {}


@pytest.fixture
def asks_later(request: pytest.FixtureRequest):
    """Makes the server look at credentials when it is called."""
    return lambda: request.getfixturevalue("asks_for_credentials")


def assert_no_secret(text: str) -> None:
    for secret in (SECRET_KEY, KEY_ID, "X-Amz-Signature", "X-Amz-Credential"):
        assert secret not in text


async def test_no_secret_is_in_any_log_event_or_repr(
    bucket: Bucket, sandbox: Sandbox, people: Path, caplog: pytest.LogCaptureFixture
):
    caplog.set_level(logging.DEBUG)
    events: list[object] = []
    publisher = ObjectStorePublisher(bucket.make_store("lists"))
    async with open_client(sandbox) as client:
        await match(client, people, publisher, on_event=events.append)
    assert repr(publisher) == f'ObjectStorePublisher(S3Store(bucket="{bucket.name}", prefix="lists"))'
    ours = [record.getMessage() for record in caplog.records if record.name != "werkzeug"]  # which is the server's
    assert_no_secret(f"{ours}{events}{publisher!r}")


async def test_a_store_is_made_from_a_url_and_its_configuration():
    config = {"access_key_id": KEY_ID, "secret_access_key": SECRET_KEY, "region": "eu-west-1"}
    publisher = ObjectStorePublisher("s3://our-lists/of/2026", config=config, expires_in=60)
    url = await object_store._sign_url(publisher._store, "x.csv", publisher._expires_in)
    assert url.startswith("https://s3.eu-west-1.amazonaws.com/our-lists/of/2026/x.csv?X-Amz-")
    assert repr(publisher) == "ObjectStorePublisher(s3://our-lists/of/2026)"


async def test_google_signs_with_the_service_accounts_own_key():
    key = rsa.generate_private_key(65537, 2048).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    account = {"client_email": "us@example.iam.gserviceaccount.com", "private_key": key.decode()}
    account |= {"private_key_id": "1", "gcs_base_url": "https://storage.googleapis.com", "disable_oauth": False}
    config = {"service_account_key": json.dumps(account)}
    publisher = ObjectStorePublisher("gs://our-lists/2026", config=config, expires_in=60)
    assert isinstance(publisher._store, GCSStore)
    url = urlsplit(await object_store._sign_url(publisher._store, "x.csv", publisher._expires_in))
    assert (url.hostname, url.path) == ("storage.googleapis.com", "/our-lists/2026/x.csv")
    assert parse_qs(url.query)["X-Goog-Expires"] == ["60"]


async def test_azure_signs_with_the_accounts_key():
    config = {"account_name": "ours", "account_key": "Y2FuYXJ5"}
    publisher = ObjectStorePublisher("az://lists/2026", config=config, expires_in=60)
    assert isinstance(publisher._store, AzureStore)
    url = urlsplit(await object_store._sign_url(publisher._store, "x.csv", publisher._expires_in))
    assert (url.hostname, url.path) == ("ours.blob.core.windows.net", "/lists/2026/x.csv")
    assert parse_qs(url.query)["sp"] == ["r"]
    assert "Y2FuYXJ5" not in repr(publisher)


@pytest.mark.parametrize("store", ["https://example.org/bucket", "file:///tmp", "bucket", None, 7])
def test_what_is_no_store_is_refused(store):
    with pytest.raises(InvalidInputError, match="store: must be a URL such as s3://bucket/prefix"):
        ObjectStorePublisher(store)


@pytest.mark.parametrize("seconds", [0, -1, 7 * 24 * 3600 + 1, float("inf"), "60", True])
def test_times_that_cannot_be_signed_for_are_refused(seconds):
    with pytest.raises(InvalidInputError, match="expires_in: must be"):
        ObjectStorePublisher("s3://bucket", expires_in=seconds)


def test_a_store_has_its_own_configuration(s3_server: S3Server):
    with pytest.raises(InvalidInputError, match="config: goes with a URL"):
        ObjectStorePublisher(Bucket(s3_server, "lists").make_store(), config={"region": "us-east-1"})


@pytest.mark.parametrize("url", ["s3://user:canary@bucket/x", "az://lists"])
def test_what_obstore_does_not_take_is_told_without_secrets(url: str):
    with pytest.raises(PublishError, match="obstore does not take") as caught:
        ObjectStorePublisher(url, config={"no_such_setting": "canary"})
    assert "canary" not in str(caught.value)
    assert caught.value.__context__ is None


def test_without_obstore_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "obstore.store", None)
    with pytest.raises(ImportError, match=r"pip install 'indigo-async\[publish\]'"):
        ObjectStorePublisher("s3://bucket")
