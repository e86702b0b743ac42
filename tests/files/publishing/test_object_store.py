"""Publish in an object store, against a local S3 server. The sandbox fetches from its signed URLs."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import os
import re
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
from indigo_async.files.publishing import object_store, stores
from indigo_async.inputs import ColumnSelection
from indigo_async.models import Audience
from indigo_async.sandbox import Fault, FaultKind, Sandbox
from indigo_async.sandbox.people import VoterFile, generate_messy_csv
from indigo_async.workflows import AudienceJob, StageStarted, run_batch
from tests.support.servers.s3 import KEY_ID, SECRET_KEY, Bucket, S3Server
from tests.support.servers.scripted import SPEED, Responder, open_client, respond_with, scripted_server

CUSTOMER = "42"
COLUMNS = {
    "first_name": ColumnSelection("First Name", required=True),
    "last_name": ColumnSelection("Last Name", required=True),
    "zip": ColumnSelection("Zip Code"),
}


@pytest.fixture
def donors(tmp_path: Path, voters: VoterFile) -> Path:
    path = tmp_path / "donors.csv"
    path.write_bytes(generate_messy_csv(voters, 300, seed=1))
    return path


@pytest.fixture
def large_csv(tmp_path: Path) -> Path:
    """A file that is uploaded in several parts."""
    path = tmp_path / "large.csv"
    path.write_bytes(b"a,b\n" + b"x" * (object_store._PART_BYTES * 2))
    return path


@pytest.fixture
async def sandbox(voters: VoterFile) -> AsyncGenerator[Sandbox]:
    async with Sandbox(voters, speed=SPEED) as sandbox:
        yield sandbox


@pytest.fixture
def requires_credentials(bucket: Bucket) -> Iterator[None]:
    """Make the server check credentials; it knows no user."""

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
        with urllib.request.urlopen(url) as response:
            return response.read()

    return await anyio.to_thread.run_sync(get)


async def test_a_match_fetches_from_the_store_and_leaves_it_empty(bucket: Bucket, sandbox: Sandbox, donors: Path):
    async with open_client(sandbox) as client:
        publisher = ObjectStorePublisher(bucket.make_store("lists/2026"))
        audience = await match(client, donors, publisher)
    assert audience.size > 0
    url = urlsplit(audience.uploaded_audience_csv.url)
    assert re.fullmatch(f"/{bucket.name}/lists/2026/[0-9a-f]{{32}}/{await content_name(donors)}", url.path)
    assert bucket.objects == {}
    assert publisher._objects == {}


async def test_a_later_run_recognizes_the_audience_by_its_object_name(bucket: Bucket, sandbox: Sandbox, donors: Path):
    async with open_client(sandbox) as client:
        first = await match(client, donors, ObjectStorePublisher(bucket.make_store()))
        again = await match(client, donors, ObjectStorePublisher(bucket.make_store("elsewhere")))
    assert again.id == first.id
    assert sandbox.log.count("POST /match_uploaded_csv") == 1


async def test_a_url_expires_and_allows_only_reading(bucket: Bucket, donors: Path):
    publisher = ObjectStorePublisher(bucket.make_store("a b"), expires_in=600)
    async with publisher.publish(donors) as url:
        assert await read(url) == donors.read_bytes()
        parts = urlsplit(url)
        assert parts.path.rpartition("/")[2] == await content_name(donors)
        assert parse_qs(parts.query)["X-Amz-Expires"] == ["600"]
        assert repr(url) == "'<hidden>'"


async def test_a_large_file_is_uploaded_in_parts(bucket: Bucket, large_csv: Path):
    async with ObjectStorePublisher(bucket.make_store()).publish(large_csv) as url:
        assert hashlib.sha256(await read(url)).digest() == hashlib.sha256(large_csv.read_bytes()).digest()
    assert (bucket.objects, bucket.unfinished_uploads) == ({}, [])


@pytest.mark.parametrize("parts", [1, 2])
async def test_a_file_that_fills_its_parts_exactly_is_complete(bucket: Bucket, tmp_path: Path, parts: int):
    path = tmp_path / "exact.csv"
    path.write_bytes(b"x" * (object_store._PART_BYTES * parts))
    async with ObjectStorePublisher(bucket.make_store()).publish(path):
        (content,) = bucket.objects.values()
        assert len(content) == path.stat().st_size


async def test_the_object_is_removed_after_a_failed_match(
    bucket: Bucket, sandbox: Sandbox, voters: VoterFile, tmp_path: Path
):
    noise = tmp_path / "noise.csv"
    noise.write_bytes(generate_messy_csv(voters, 2_000, seed=1) + b"\x00\x01\x02 no CSV any more")
    async with open_client(sandbox) as client:
        with pytest.raises(AudienceFailedError, match="could not read the CSV"):
            await match(client, noise, ObjectStorePublisher(bucket.make_store()))
    assert bucket.objects == {}


@asynccontextmanager
async def match_in_progress(bucket: Bucket, donors: Path, voters: VoterFile) -> AsyncGenerator[asyncio.Task]:
    """A match that never ends, of a published file."""
    async with Sandbox(voters, speed=1e-6) as sandbox, open_client(sandbox) as client:
        published = asyncio.Event()

        def on_event(event: object) -> None:
            if isinstance(event, StageStarted):
                published.set()

        work = match(client, donors, ObjectStorePublisher(bucket.make_store()), on_event=on_event)
        task = asyncio.create_task(work)
        await published.wait()
        assert len(bucket.objects) == 1
        yield task


async def test_the_object_is_removed_after_a_cancellation(bucket: Bucket, donors: Path, voters: VoterFile):
    async with match_in_progress(bucket, donors, voters) as task:
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert bucket.objects == {}


async def test_the_object_is_removed_after_two_cancellations_in_a_row(bucket: Bucket, donors: Path, voters: VoterFile):
    async with match_in_progress(bucket, donors, voters) as task:
        task.cancel()
        for _ in range(3):
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert bucket.objects == {}


async def test_the_object_is_removed_after_a_canceled_scope(bucket: Bucket, donors: Path):
    async def hold() -> None:
        async with ObjectStorePublisher(bucket.make_store()).publish(donors):
            published.set()
            await anyio.sleep_forever()

    published = anyio.Event()
    async with anyio.create_task_group() as group:
        group.start_soon(hold)
        await published.wait()
        assert len(bucket.objects) == 1
        group.cancel_scope.cancel()
    assert bucket.objects == {}


async def test_a_canceled_upload_leaves_neither_an_object_nor_parts(bucket: Bucket, large_csv: Path, monkeypatch):
    started = asyncio.Event()
    put = object_store._upload_file

    async def put_and_notify(*arguments) -> None:
        started.set()
        await put(*arguments)

    monkeypatch.setattr(object_store, "_upload_file", put_and_notify)
    publisher = ObjectStorePublisher(bucket.make_store())
    task = asyncio.create_task(publisher.publish(large_csv).__aenter__())
    await started.wait()
    while not bucket.unfinished_uploads and not task.done():
        await asyncio.sleep(0)
    assert bucket.unfinished_uploads
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (bucket.objects, bucket.unfinished_uploads) == ({}, [])
    assert publisher._objects == {}


async def test_jobs_that_publish_the_same_file_at_once_share_an_object(bucket: Bucket, donors: Path, tmp_path: Path):
    copy = tmp_path / "copy.csv"
    copy.write_bytes(donors.read_bytes())
    publisher = ObjectStorePublisher(bucket.make_store())
    async with publisher.publish(donors) as first:
        async with publisher.publish(copy) as second:
            assert urlsplit(first).path == urlsplit(second).path
        assert await read(first) == donors.read_bytes()
    assert bucket.objects == {}


async def test_a_file_published_again_during_its_removal_stays_available(bucket: Bucket, donors: Path):
    publisher = ObjectStorePublisher(bucket.make_store())

    async def again(times: int) -> None:
        for _ in range(times):
            async with publisher.publish(donors) as url:
                assert await read(url) == donors.read_bytes()

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
    """A store that carries out removals only when the test says so, whether or not it has responded to them."""

    _delete: Callable[[object, str], Awaitable[object]]
    _requests: list[tuple[object, str]] = attrs.Factory(list)
    has_responded: bool = True

    @property
    def requested_keys(self) -> list[str]:
        return [path for _, path in self._requests]

    async def remove(self, store: object, path: str) -> None:
        self._requests.append((store, path))
        if not self.has_responded:
            raise TimeoutError

    async def carry_out(self) -> None:
        for store, path in self._requests:
            await self._delete(store, path)


@pytest.mark.parametrize("has_responded", [True, False])
async def test_a_late_removal_does_not_remove_what_was_published_since(
    bucket: Bucket, donors: Path, removals: LateRemovals, has_responded: bool
):
    removals.has_responded = has_responded
    publisher = ObjectStorePublisher(bucket.make_store())
    async with publisher.publish(donors):
        pass
    async with publisher.publish(donors) as url:
        await removals.carry_out()
        assert await read(url) == donors.read_bytes()
    await removals.carry_out()
    assert bucket.objects == {}


async def test_jobs_that_end_at_the_same_time_remove_their_object_once(
    bucket: Bucket, donors: Path, removals: LateRemovals
):
    publisher = ObjectStorePublisher(bucket.make_store())
    jobs = [publisher.publish(donors) for _ in range(3)]
    urls = [urlsplit(await job.__aenter__()).path for job in jobs]
    async with asyncio.TaskGroup() as group:
        for job in jobs:
            group.create_task(job.__aexit__(None, None, None))
    assert removals.requested_keys == [urls[0].removeprefix(f"/{bucket.name}/")]
    await removals.carry_out()
    assert bucket.objects == {}


async def test_a_file_can_be_published_again_before_its_removal_has_ended(
    bucket: Bucket, donors: Path, monkeypatch: pytest.MonkeyPatch
):
    started, may_continue = asyncio.Event(), asyncio.Event()
    delete = obstore.delete_async

    async def held(store: S3Store, path: str) -> None:
        started.set()
        await may_continue.wait()
        await delete(store, path)

    monkeypatch.setattr(obstore, "delete_async", held)
    publisher = ObjectStorePublisher(bucket.make_store())
    jobs = [publisher.publish(donors) for _ in range(2)]
    for job in jobs:
        await job.__aenter__()
    removals = asyncio.gather(*(job.__aexit__(None, None, None) for job in jobs))
    await started.wait()
    async with publisher.publish(donors) as url:
        assert not removals.done()
        may_continue.set()
        await removals
        assert await read(url) == donors.read_bytes()
    assert bucket.objects == {}
    assert publisher._objects == {}


async def test_independent_publishers_do_not_remove_each_others_objects(bucket: Bucket, donors: Path):
    first, second = (ObjectStorePublisher(bucket.make_store("lists")) for _ in range(2))
    async with first.publish(donors) as url:
        async with second.publish(donors):
            assert len(bucket.objects) == 2
        assert await read(url) == donors.read_bytes()
    assert bucket.objects == {}


async def test_if_an_upload_is_canceled_a_waiting_job_uploads_the_file_instead(bucket: Bucket, large_csv: Path):
    publisher = ObjectStorePublisher(bucket.make_store())
    first = asyncio.create_task(publisher.publish(large_csv).__aenter__())
    while not bucket.unfinished_uploads:
        await asyncio.sleep(0)
    second = publisher.publish(large_csv)
    waiting = asyncio.create_task(second.__aenter__())
    while publisher._objects[await content_name(large_csv)].users < 2:
        await asyncio.sleep(0)
    first.cancel()
    assert len(await read(await waiting)) == large_csv.stat().st_size
    await second.__aexit__(None, None, None)
    assert (bucket.objects, bucket.unfinished_uploads) == ({}, [])


async def test_a_batch_of_local_files_leaves_the_store_empty(
    bucket: Bucket, sandbox: Sandbox, donors: Path, tmp_path: Path
):
    other = tmp_path / "other.csv"
    other.write_bytes(donors.read_bytes() + b"\n")
    jobs = [
        AudienceJob(
            customer_id=CUSTOMER, audience_name=f"Donors {row}", csv=[donors, other][row % 2], column_selections=COLUMNS
        )
        for row in range(6)
    ]
    async with open_client(sandbox) as client:
        report = await run_batch(client, jobs, publisher=ObjectStorePublisher(bucket.make_store()))
    assert (report.done, report.failed) == (6, 0)
    assert bucket.objects == {}


async def test_after_a_lost_response_the_same_object_is_used(bucket: Bucket, sandbox: Sandbox, donors: Path):
    sandbox.faults.add(Fault(kind=FaultKind.DISCONNECT_AFTER, endpoint="POST /upload_csv"))
    async with open_client(sandbox) as client:
        await match(client, donors, ObjectStorePublisher(bucket.make_store()))
    assert bucket.objects == {}


@pytest.mark.usefixtures("requires_credentials")
async def test_refused_credentials_are_reported(bucket: Bucket, donors: Path):
    publisher = ObjectStorePublisher(bucket.make_store(access_key_id="AKIAWRONG"))
    with pytest.raises(PublishError) as caught:
        await publisher.publish(donors).__aenter__()
    assert str(caught.value) == (
        f'donors.csv could not be published in S3Store(bucket="{bucket.name}"): the store refused the '
        "credentials (InvalidAccessKeyId); check that they are valid and allow writing and deleting"
    )
    assert_no_secret("".join(traceback.format_exception(caught.value)))
    assert (caught.value.__context__, caught.value.__cause__) == (None, None)
    assert publisher._objects == {}


async def test_a_missing_bucket_is_reported(s3_server: S3Server, donors: Path):
    with pytest.raises(
        PublishError, match=r"the location does not exist \(NoSuchBucket\); check the bucket and its region"
    ):
        await ObjectStorePublisher(Bucket(s3_server, "nowhere").make_store()).publish(donors).__aenter__()


async def test_a_missing_file_is_reported(bucket: Bucket, tmp_path: Path):
    with pytest.raises(PublishError, match=r"gone\.csv cannot be read \(No such file or directory\)"):
        await ObjectStorePublisher(bucket.make_store()).publish(tmp_path / "gone.csv").__aenter__()


async def test_a_file_that_changes_during_the_upload_is_not_published_under_its_old_name(
    bucket: Bucket, large_csv: Path, monkeypatch: pytest.MonkeyPatch
):
    async def name_then_change(path: Path) -> str:
        name = await content_name(path)
        await anyio.to_thread.run_sync(path.write_bytes, b"x" * (object_store._PART_BYTES * 2 + 4))
        return name

    monkeypatch.setattr(object_store, "content_name", name_then_change)
    with pytest.raises(PublishError, match=r"large\.csv changed while it was being published"):
        await ObjectStorePublisher(bucket.make_store()).publish(large_csv).__aenter__()
    assert (bucket.objects, bucket.unfinished_uploads) == ({}, [])


async def test_an_object_that_cannot_be_removed_is_logged_and_fails_nothing(
    bucket: Bucket, donors: Path, caplog: pytest.LogCaptureFixture, require_credentials
):
    async with ObjectStorePublisher(bucket.make_store()).publish(donors):
        require_credentials()
    (record,) = [record for record in caplog.records if record.name == "indigo_async"]
    assert f"/{await content_name(donors)} could not be removed from S3Store(" in record.getMessage()
    assert "holds voters' data: the store refused the credentials" in record.getMessage()
    assert_no_secret(record.getMessage())


async def test_an_object_that_a_failed_upload_may_have_left_is_logged_if_it_cannot_be_removed(
    bucket: Bucket, donors: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, require_credentials
):
    put = object_store._upload_file

    async def put_and_lose_the_response(*arguments) -> None:
        await put(*arguments)
        require_credentials()
        raise ConnectionResetError

    monkeypatch.setattr(object_store, "_upload_file", put_and_lose_the_response)
    publisher = ObjectStorePublisher(bucket.make_store())
    with pytest.raises(PublishError):
        await publisher.publish(donors).__aenter__()
    (record,) = [record for record in caplog.records if record.name == "indigo_async"]
    assert "could not be removed" in record.getMessage()
    assert "where a failed upload may have left it, and then holds voters' data" in record.getMessage()
    assert_no_secret(record.getMessage())
    assert publisher._objects == {}


@pytest.fixture
def require_credentials(request: pytest.FixtureRequest):
    """Makes the server check credentials once it is called."""
    return lambda: request.getfixturevalue("requires_credentials")


def assert_no_secret(text: str) -> None:
    for secret in (SECRET_KEY, KEY_ID, "X-Amz-Signature", "X-Amz-Credential"):
        assert secret not in text


async def test_no_secret_is_in_any_log_event_or_repr(
    bucket: Bucket, sandbox: Sandbox, donors: Path, caplog: pytest.LogCaptureFixture
):
    caplog.set_level(logging.DEBUG)
    events: list[object] = []
    publisher = ObjectStorePublisher(bucket.make_store("lists"))
    async with open_client(sandbox) as client:
        await match(client, donors, publisher, on_event=events.append)
    assert repr(publisher) == f'ObjectStorePublisher(S3Store(bucket="{bucket.name}", prefix="lists"))'
    messages = [record.getMessage() for record in caplog.records if record.name != "werkzeug"]  # the server's own
    assert_no_secret(f"{messages}{events}{publisher!r}")


async def test_a_store_can_be_a_url_with_its_configuration():
    config = {"access_key_id": KEY_ID, "secret_access_key": SECRET_KEY, "region": "eu-west-1"}
    publisher = ObjectStorePublisher("s3://our-lists/of/2026", config=config, expires_in=60)
    url = await object_store._sign_url(publisher._store, "x.csv", publisher._expires_in)
    assert url.startswith("https://s3.eu-west-1.amazonaws.com/our-lists/of/2026/x.csv?X-Amz-")
    assert repr(publisher) == "ObjectStorePublisher(s3://our-lists/of/2026)"


async def test_google_urls_are_signed_with_the_key_of_the_service_account():
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


async def test_azure_urls_are_signed_with_the_account_key():
    config = {"account_name": "ours", "account_key": "Y2FuYXJ5"}
    publisher = ObjectStorePublisher("az://lists/2026", config=config, expires_in=60)
    assert isinstance(publisher._store, AzureStore)
    url = urlsplit(await object_store._sign_url(publisher._store, "x.csv", publisher._expires_in))
    assert (url.hostname, url.path) == ("ours.blob.core.windows.net", "/lists/2026/x.csv")
    assert parse_qs(url.query)["sp"] == ["r"]
    assert "Y2FuYXJ5" not in repr(publisher)


@pytest.mark.parametrize("store", ["https://example.org/bucket", "file:///tmp", "bucket", None, 7])
def test_an_invalid_store_is_rejected(store):
    with pytest.raises(InvalidInputError, match="store: must be a URL such as s3://bucket/prefix"):
        ObjectStorePublisher(store)


@pytest.mark.parametrize("seconds", [0, -1, 7 * 24 * 3600 + 1, float("inf"), "60", True])
def test_an_invalid_expiry_is_rejected(seconds):
    with pytest.raises(InvalidInputError, match="expires_in: must be"):
        ObjectStorePublisher("s3://bucket", expires_in=seconds)


def test_configuration_for_an_obstore_store_is_rejected(s3_server: S3Server):
    with pytest.raises(InvalidInputError, match="config: is only for a URL"):
        ObjectStorePublisher(Bucket(s3_server, "lists").make_store(), config={"region": "us-east-1"})


@pytest.mark.parametrize("url", ["s3://user:canary@bucket/x", "az://lists"])
def test_a_url_that_obstore_rejects_is_reported_without_secrets(url: str):
    with pytest.raises(PublishError, match="obstore rejects") as caught:
        ObjectStorePublisher(url, config={"no_such_setting": "canary"})
    assert "canary" not in str(caught.value)
    assert caught.value.__context__ is None


@pytest.fixture
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """No settings of object stores in the environment."""
    for name in list(os.environ):
        if name.startswith(("AWS_", "GOOGLE_", "AZURE_")):
            monkeypatch.delenv(name)


KEYS = {"access_key_id": KEY_ID, "secret_access_key": SECRET_KEY}
NO_METADATA = {"metadata_endpoint": "http://127.0.0.1:1"}


@pytest.mark.usefixtures("no_settings")
@pytest.mark.parametrize(
    ("url", "config", "advice"),
    [
        ("s3://lists", {"bogus": "canary"}, "'bogus' is not an obstore setting for s3://"),
        ("s3://lists", {"profile": "canary"}, "obstore does not read AWS profiles"),
        ("s3://lists", {"access_key_id": KEY_ID}, "its credentials are incomplete; set AWS_ACCESS_KEY_ID and AWS_SEC"),
        ("s3://lists", {"secret_access_key": SECRET_KEY}, "its credentials are incomplete; set AWS_ACCESS_KEY_ID"),
        ("s3://lists", {"skip_signature": "maybe"}, "a setting must be true or false"),
        ("s3://", {}, "the URL must be like s3://bucket/prefix"),
        ("s3://a b", {}, "the URL must be like s3://bucket/prefix"),
        ("s3://lists", {"endpoint": "http://10.0.0.1:9"}, "its endpoint must be https: the CSV holds people's data"),
        (
            "s3://lists",
            {"endpoint": "http://127.0.0.1:9"},
            "for a server on this machine, set allow_http or AWS_ALLOW_HTTP to true",
        ),
        ("az://lists", {}, "no account is set; set AZURE_STORAGE_ACCOUNT_NAME"),
        ("az://lists", {"account_name": "a", "account_key": "!canary"}, "the account key is not a valid key"),
        ("gs://lists", {"service_account": "/canary.json"}, "the service account's key file cannot be read"),
        ("gs://lists", {"service_account_key": "{}"}, "the service account's key is not a complete JSON key file"),
    ],
)
def test_a_configuration_that_cannot_work_is_refused_at_once(url: str, config: dict[str, str], advice: str):
    with pytest.raises(PublishError) as caught:
        ObjectStorePublisher(url, config=config)
    assert advice in str(caught.value)
    assert "canary" not in str(caught.value)
    assert caught.value.__context__ is None
    assert_no_secret(str(caught.value))


@pytest.mark.usefixtures("no_settings")
@pytest.mark.parametrize("allow_http", ["true", True])
@pytest.mark.parametrize("key", ["allow_http", "aws_allow_http", "AWS_ALLOW_HTTP"])
async def test_options_of_the_http_client_are_part_of_the_configuration(
    bucket: Bucket, donors: Path, key: str, allow_http: object
):
    """obstore panics when it finds them among the settings of the store."""
    config = KEYS | {"endpoint": bucket.server.endpoint, "region": "us-east-1", key: allow_http, "timeout": "30s"}
    async with ObjectStorePublisher(f"s3://{bucket.name}", config=config).publish(donors) as url:
        assert await read(url) == donors.read_bytes()


@pytest.mark.usefixtures("no_settings")
@pytest.mark.parametrize("config", [{}, {"timeout": "30s"}])
async def test_a_store_can_be_configured_by_the_environment(
    bucket: Bucket, donors: Path, monkeypatch: pytest.MonkeyPatch, config: dict[str, str]
):
    settings = KEYS | {"endpoint_url": bucket.server.endpoint, "region": "us-east-1", "allow_http": "true"}
    for name, value in settings.items():
        monkeypatch.setenv(f"AWS_{name.upper()}", value)
    async with ObjectStorePublisher(f"s3://{bucket.name}", config=config).publish(donors) as url:
        assert await read(url) == donors.read_bytes()


@pytest.mark.usefixtures("no_settings")
def test_an_endpoint_in_the_environment_is_checked_as_well(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://10.0.0.1:9")
    with pytest.raises(PublishError, match="its endpoint must be https"):
        ObjectStorePublisher("s3://lists")


@pytest.mark.parametrize("value", [None, 1.5, ["us-east-1"]])
def test_a_setting_that_is_not_text_is_rejected(value: object):
    with pytest.raises(InvalidInputError, match=r"^config\.region: must be text, not"):
        ObjectStorePublisher("s3://lists", config={"region": value})


@pytest.mark.usefixtures("no_settings")
@pytest.mark.parametrize("profile", [None, "canary"])
async def test_missing_credentials_are_reported(donors: Path, monkeypatch: pytest.MonkeyPatch, profile: str | None):
    if profile is not None:
        monkeypatch.setenv("AWS_PROFILE", profile)
    monkeypatch.setattr(stores, "_RETRY", {"max_retries": 0})
    publisher = ObjectStorePublisher("s3://lists", config=NO_METADATA)
    with pytest.raises(PublishError) as caught:
        await publisher.publish(donors).__aenter__()
    assert str(caught.value) == (
        "donors.csv could not be published in s3://lists: no credentials were found; set AWS_ACCESS_KEY_ID and "
        "AWS_SECRET_ACCESS_KEY (with temporary ones, AWS_SESSION_TOKEN); obstore does not read AWS profiles or ~/.aws: "
        "`aws configure export-credentials --format env` prints variables that it reads"
    )


def s3_error(status: int, code: str, more: str = "") -> Responder:
    body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>canary</Message>{more}</Error>"
    return respond_with(status, body.encode(), content_type="application/xml")


@pytest.mark.usefixtures("no_settings")
@pytest.mark.parametrize(
    ("answer", "advice"),
    [
        (
            s3_error(403, "AccessDenied"),
            "the credentials lack a permission (AccessDenied); they must allow writing, reading and deleting",
        ),
        (s3_error(403, "SignatureDoesNotMatch"), "the secret key is wrong (SignatureDoesNotMatch)"),
        (s3_error(403, "RequestTimeTooSkewed"), "this machine's clock is wrong (RequestTimeTooSkewed); set it"),
        (s3_error(400, "ExpiredToken"), "the store refused the credentials (ExpiredToken)"),
        (s3_error(404, "NoSuchBucket"), "the location does not exist (NoSuchBucket); check the bucket and its region"),
        (
            s3_error(400, "AuthorizationHeaderMalformed", "<Region>eu-west-1</Region>"),
            "the bucket is in the region eu-west-1 (AuthorizationHeaderMalformed); set AWS_REGION",
        ),
        (respond_with(301), "set AWS_REGION, or the region in the configuration"),
        (s3_error(400, "EntityTooLarge"), "the store could not be reached or failed (EntityTooLarge)"),
    ],
)
async def test_a_store_that_refuses_is_reported_with_what_to_do(donors: Path, answer: Responder, advice: str):
    async with scripted_server(answer) as server:
        config = KEYS | {"endpoint": server.origin, "region": "us-east-1", "allow_http": "true"}
        with pytest.raises(PublishError) as caught:
            await ObjectStorePublisher("s3://lists", config=config).publish(donors).__aenter__()
    assert advice in str(caught.value)
    assert "canary" not in str(caught.value)
    assert_no_secret("".join(traceback.format_exception(caught.value)))


@pytest.mark.usefixtures("no_settings")
async def test_a_store_that_cannot_be_reached_is_reported(donors: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(stores, "_RETRY", {"max_retries": 0})
    config = KEYS | {"endpoint": "http://127.0.0.1:1", "allow_http": "true"}
    with pytest.raises(PublishError, match="the store could not be reached; check its address"):
        await ObjectStorePublisher("s3://lists", config=config).publish(donors).__aenter__()


@pytest.mark.usefixtures("no_settings")
async def test_a_store_without_http_is_reported(bucket: Bucket, donors: Path):
    store = S3Store(bucket.name, config=KEYS | {"endpoint": bucket.server.endpoint})
    with pytest.raises(PublishError, match="its endpoint is plain http, which is not allowed"):
        await ObjectStorePublisher(store).publish(donors).__aenter__()


async def test_a_panic_of_obstore_is_a_publish_error_and_a_cancellation_is_not(
    bucket: Bucket, donors: Path, monkeypatch: pytest.MonkeyPatch
):
    panic = real_panic()
    for raised, expected in ((panic, PublishError), (asyncio.CancelledError(), asyncio.CancelledError)):

        async def fail(*_: object, error: BaseException = raised) -> None:
            raise error

        monkeypatch.setattr(object_store, "_sign_url", fail)
        with pytest.raises(expected):
            await ObjectStorePublisher(bucket.make_store()).publish(donors).__aenter__()
    assert bucket.objects == {}


def real_panic() -> BaseException:
    """A panic of obstore, which it also prints."""
    try:
        S3Store.from_url("s3://lists", config={"allow_http": "true"})
    except BaseException as error:  # noqa: BLE001 - as a panic is
        return error
    pytest.fail("obstore no longer panics: delete what handles it")
