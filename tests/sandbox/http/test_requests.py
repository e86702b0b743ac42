from __future__ import annotations

import asyncio
import io

import aiohttp
import pytest
from yarl import URL

from indigo_async.errors import IndigoError
from indigo_async.sandbox.errors import HttpError
from indigo_async.sandbox.http.endpoints import ENDPOINTS
from indigo_async.sandbox.http.rate_limit import TokenBucket
from tests.support.sandbox_http import SandboxApi, open_api


@pytest.mark.parametrize("endpoint", ENDPOINTS)
@pytest.mark.parametrize("header", [None, "Bearer wrong", "wrong", "", "Bearer \udcff"])
async def test_every_endpoint_requires_the_token(api: SandboxApi, endpoint: str, header: str | None):
    method, path = endpoint.split()
    headers = {} if header is None else {"Authorization": header}
    async with (
        aiohttp.ClientSession() as stranger,
        stranger.request(method, api.sandbox.base_url + path, headers=headers) as response,
    ):
        assert response.status == 401
        assert response.headers["WWW-Authenticate"] == "Bearer"
        assert (await response.json())["errorType"] == "Unauthorized"
    assert api.sandbox.log.count(endpoint, status=401, carried_out=False) == 1


@pytest.mark.parametrize("endpoint", ENDPOINTS)
async def test_a_wrong_method_gets_the_allowed_one(api: SandboxApi, endpoint: str):
    method, path = endpoint.split()
    answer = await api.request("DELETE", api.sandbox.base_url + path)
    assert (answer.status, answer.headers["Allow"], answer.error_type) == (405, method, "MethodNotAllowed")


@pytest.mark.parametrize("path", ["/api/v1/people", "/api/v1/", "/api/v1", "/audience", "/", "/api/v1/audience/"])
async def test_an_unknown_path_gets_an_api_error(api: SandboxApi, path: str):
    answer = await api.request("GET", api.sandbox.base_url.removesuffix("/api/v1") + path)
    assert (answer.status, set(answer.body)) == (404, {"error", "errorType"})


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'"x"', b"\xff\xfe", b"null", b'{"a":1}{}'])
async def test_a_body_that_is_not_a_json_object_is_rejected(api: SandboxApi, body: bytes):
    answer = await api.request("POST", api.sandbox.base_url + "/upload_csv", data=body)
    assert (answer.status, answer.error_type) == (400, "MalformedJson")


async def test_a_huge_body_is_rejected(api: SandboxApi):
    answer = await api.request("POST", api.sandbox.base_url + "/upload_csv", data=io.BytesIO(b" " * (1 << 21)))
    assert (answer.status, answer.error_type) == (413, "BodyTooLarge")


async def test_a_repeated_query_parameter_is_rejected(api: SandboxApi):
    answer = await api.request("GET", api.sandbox.base_url + "/audiences?customerId=1&customerId=2")
    assert answer.body["error"].startswith("customerId: ")


async def test_null_means_no_customer(api: SandboxApi):
    audience_id = await api.sandbox.seed_app_audience()
    await api.post_ok("/create_preview_csv_export", audienceId=audience_id, customerId=None, optionalFieldTypes=[])


@pytest.mark.parametrize("customer_id", [1, "", " ", ["1"], True])
async def test_a_customer_id_is_text(api: SandboxApi, customer_id: object):
    answer = await api.post("/upload_csv", customerId=customer_id, url="http://127.0.0.1/x")
    assert answer.body["error"].startswith("customerId: ")


async def test_requests_above_the_rate_limit_get_a_429():
    async with open_api(requests_per_second=0.01) as api:
        assert (await api.get("/audiences")).status == 200
        refused = await api.get("/audiences")
        assert (refused.status, refused.error_type) == (429, "RateLimited")
        assert 90 <= int(refused.headers["Retry-After"]) <= 100
        assert api.sandbox.log.count(status=429, carried_out=False) == 1


def test_the_bucket_refills_over_time():
    bucket = TokenBucket(2.0, filled_at=100.0)

    def passes(now: float) -> bool:
        try:
            bucket.acquire(now)
        except HttpError:
            return False
        return True

    assert [passes(100) for _ in range(3)] == [True, True, False]
    assert [passes(100.5) for _ in range(2)] == [True, False]
    assert [passes(3_600) for _ in range(3)] == [True, True, False]


async def test_a_bug_in_the_sandbox_becomes_an_api_error(
    api: SandboxApi, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    def fail(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("indigo_async.sandbox.http.handler.render", fail)
    answer = await api.get("/audiences")
    assert (answer.status, answer.error_type) == (500, "InternalError")
    assert "ZeroDivisionError" in caplog.text


async def test_openapi_needs_no_token(api: SandboxApi):
    async with (
        aiohttp.ClientSession() as stranger,
        stranger.get(api.sandbox.base_url.replace("/api/v1", "/openapi.json")) as response,
    ):
        document = await response.json()
    assert {f"{method.upper()} {path}" for path, item in document["paths"].items() for method in item} == set(ENDPOINTS)


async def test_nothing_works_outside_the_context():
    async with open_api() as api:
        sandbox, url = api.sandbox, api.sandbox.base_url
    with pytest.raises(IndigoError, match="async with"):
        _ = sandbox.base_url
    async with aiohttp.ClientSession() as session:
        with pytest.raises(aiohttp.ClientConnectorError):
            await session.get(url)


async def test_a_malformed_request_is_not_logged(api: SandboxApi, caplog: pytest.LogCaptureFixture):
    url = URL(api.sandbox.base_url)
    reader, writer = await asyncio.open_connection(url.host, url.port)
    writer.write(f"GET / HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {api.sandbox.token}\0\r\n\r\n".encode())
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    assert answer.startswith(b"HTTP/1.0 400")
    assert api.sandbox.token not in caplog.text
