"""Alternatives to `get_audience`: each peer is a coroutine function that takes an audience ID.

All request the same URL with the token over kept-alive connections. Except for the floor, raw aiohttp with orjson, each
has a timeout, retries failures, and returns typed records, as an engineer would put it together today. Rate limits are
so high that they never make a request wait.
"""

from __future__ import annotations

import asyncio
import importlib
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import aiohttp
import aiohttp_retry
import httpx
import openai
import orjson
import pydantic
import tenacity
from aiolimiter import AsyncLimiter

from indigo_async import IndigoClient
from indigo_async.events import Event
from indigo_async.sandbox import Dialect
from indigo_async.sandbox.http.openapi import build_openapi

__all__ = ["CUSTOMER", "FLOOR", "SDK", "TOOLKIT", "Get", "all_peers", "sdk_variants"]

SDK = "indigo_async"
FLOOR = "aiohttp + orjson"
TOOLKIT = "aiohttp + aiohttp-retry + aiolimiter + pydantic"

CUSTOMER = "42"
_TOKEN = "benchmark-token"
_HEADERS = {"Authorization": f"Bearer {_TOKEN}", "Accept": "application/json"}
_TIMEOUT = 60.0
_ATTEMPTS = 6
_CONNECTIONS = 100
_RETRIED_STATUSES = frozenset({429, 500, 502, 503, 504})

Get: TypeAlias = Callable[[str], Awaitable[Any]]


def _audience_model(base: type[pydantic.BaseModel]) -> type[Any]:
    """Describe an audience, as the sandbox sends it, with this base class."""

    class Upload(base):
        status: str
        url: str | None = None
        row_count: int | None = pydantic.Field(default=None, alias="rowCount")
        matched_count: int | None = pydantic.Field(default=None, alias="matchedCount")

    class CostItem(base):
        optional_field_type: str = pydantic.Field(alias="optionalFieldType")
        people: int
        cents_per_person: int = pydantic.Field(alias="centsPerPerson")
        cents: int

    class Export(base):
        id: str
        status: str
        created_at: datetime = pydantic.Field(alias="createdAt")
        optional_field_types: list[str] = pydantic.Field(alias="optionalFieldTypes")
        cost: int
        cost_breakdown: list[CostItem] = pydantic.Field(alias="costBreakdown")
        download_url: str | None = pydantic.Field(default=None, alias="downloadUrl")

    class Audience(base):
        id: str
        name: str | None = None
        status: str
        customer_id: str | None = pydantic.Field(default=None, alias="customerId")
        created_at: datetime = pydantic.Field(alias="createdAt")
        size: int | None = None
        uploaded_audience_csv: Upload | None = pydantic.Field(default=None, alias="uploadedAudienceCsv")
        csv_exports: list[Export] = pydantic.Field(default=[], alias="csvExports")

    return Audience


_Audience = _audience_model(pydantic.BaseModel)
_OpenaiAudience = _audience_model(openai.BaseModel)


@asynccontextmanager
async def all_peers(base_url: str) -> AsyncGenerator[dict[str, Get]]:
    """Open all peers, by name, with the SDK first."""
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(IndigoClient(_TOKEN, base_url=base_url))

        async def indigo_async(audience_id: str) -> Any:
            return await client.get_audience(audience_id, customer_id=CUSTOMER)

        yield {
            SDK: indigo_async,
            FLOOR: await stack.enter_async_context(_floor(base_url)),
            TOOLKIT: await stack.enter_async_context(_toolkit(base_url)),
            "httpx + tenacity + pydantic": await stack.enter_async_context(_httpx_peer(base_url)),
            "openai on httpx2": await stack.enter_async_context(_openai_peer(base_url, None)),
            "openai on aiohttp": await stack.enter_async_context(_openai_peer(base_url, openai.DefaultAioHttpClient())),
            "openapi-python-client": await stack.enter_async_context(_generated_peer(base_url)),
        }


@asynccontextmanager
async def sdk_variants(base_url: str) -> AsyncGenerator[dict[str, Get]]:
    """The SDK without and with a listener, and through a view with another timeout; the plain one first."""
    events: Counter[type[Event]] = Counter()

    def count(event: Event) -> None:
        events[type(event)] += 1

    async with (
        IndigoClient(_TOKEN, base_url=base_url) as plain,
        IndigoClient(_TOKEN, base_url=base_url, on_event=count) as observed,
    ):
        clients = {
            "plain": plain,
            "with a listener": observed,
            "through a view with another timeout": plain.with_options(timeout=30),
        }
        yield {name: partial(client.get_audience, customer_id=CUSTOMER) for name, client in clients.items()}


@asynccontextmanager
async def _floor(base_url: str) -> AsyncGenerator[Get]:
    """No timeout but aiohttp's own, no retries, an untyped dictionary."""
    async with aiohttp.ClientSession(headers=_HEADERS) as session:

        async def get(audience_id: str) -> Any:
            query = {"audienceId": audience_id, "customerId": CUSTOMER}
            async with session.get(f"{base_url}/audience", params=query) as response:
                return orjson.loads(await response.read())

        yield get


@asynccontextmanager
async def _toolkit(base_url: str) -> AsyncGenerator[Get]:
    """aiohttp, and a well-known library for each of the other tasks."""
    timeout = aiohttp.ClientTimeout(total=_TIMEOUT)
    async with aiohttp.ClientSession(headers=_HEADERS, timeout=timeout) as session:
        retry = aiohttp_retry.ExponentialRetry(
            attempts=_ATTEMPTS,
            start_timeout=0.5,
            max_timeout=20,
            statuses=set(_RETRIED_STATUSES),
            exceptions={aiohttp.ClientError, TimeoutError},
        )
        client = aiohttp_retry.RetryClient(session, retry_options=retry)
        slots = asyncio.Semaphore(64)
        limiter = AsyncLimiter(1_000_000, 1)

        async def get(audience_id: str) -> Any:
            query = {"audienceId": audience_id, "customerId": CUSTOMER}
            async with slots, limiter, client.get(f"{base_url}/audience", params=query) as response:
                response.raise_for_status()
                return _Audience.model_validate_json(await response.read())

        yield get


def _is_transient(error: BaseException) -> bool:
    if isinstance(error, httpx.HTTPStatusError):
        return error.response.status_code in _RETRIED_STATUSES
    return isinstance(error, httpx.TransportError)


@asynccontextmanager
async def _httpx_peer(base_url: str) -> AsyncGenerator[Get]:
    limits = httpx.Limits(max_connections=_CONNECTIONS, max_keepalive_connections=_CONNECTIONS)
    async with httpx.AsyncClient(base_url=base_url, headers=_HEADERS, timeout=_TIMEOUT, limits=limits) as client:

        @tenacity.retry(
            stop=tenacity.stop_after_attempt(_ATTEMPTS),
            wait=tenacity.wait_random_exponential(multiplier=0.5, max=20),
            retry=tenacity.retry_if_exception(_is_transient),
        )
        async def get(audience_id: str) -> Any:
            response = await client.get("/audience", params={"audienceId": audience_id, "customerId": CUSTOMER})
            response.raise_for_status()
            return _Audience.model_validate_json(response.content)

        yield get


@asynccontextmanager
async def _openai_peer(base_url: str, http_client: Any) -> AsyncGenerator[Get]:
    """The SDK with the most users of those that Stainless generates, pointed at loopback: typed records, retries."""
    async with openai.AsyncOpenAI(
        api_key=_TOKEN, base_url=base_url, timeout=_TIMEOUT, max_retries=_ATTEMPTS - 1, http_client=http_client
    ) as client:

        async def get(audience_id: str) -> Any:
            query = {"audienceId": audience_id, "customerId": CUSTOMER}
            return await client.get("/audience", cast_to=_OpenaiAudience, options={"params": query})

        yield get


@asynccontextmanager
async def _generated_peer(base_url: str) -> AsyncGenerator[Get]:
    """A client that openapi-python-client generates from the sandbox's document, with tenacity around its call."""
    with _generated_package(base_url) as name:
        module = importlib.import_module(f"{name}.client")
        audience = importlib.import_module(f"{name}.api.default.audience")
        limits = httpx.Limits(max_connections=_CONNECTIONS, max_keepalive_connections=_CONNECTIONS)
        async with module.AuthenticatedClient(
            base_url=base_url,
            token=_TOKEN,
            timeout=httpx.Timeout(_TIMEOUT),
            raise_on_unexpected_status=True,
            httpx_args={"limits": limits},
        ) as client:

            @tenacity.retry(
                stop=tenacity.stop_after_attempt(_ATTEMPTS),
                wait=tenacity.wait_random_exponential(multiplier=0.5, max=20),
                retry=tenacity.retry_if_exception(lambda error: isinstance(error, httpx.TransportError))
                | tenacity.retry_if_result(lambda response: response.status_code in _RETRIED_STATUSES),
            )
            async def request(audience_id: str) -> Any:
                return await audience.asyncio_detailed(client=client, audience_id=audience_id, customer_id=CUSTOMER)

            async def get(audience_id: str) -> Any:
                return (await request(audience_id)).parsed

            yield get


@contextmanager
def _generated_package(base_url: str) -> Iterator[str]:
    """Generate the client into a temporary folder, and make it importable. Yields the package's name."""
    name = "indigo_generated"
    with tempfile.TemporaryDirectory(prefix="indigo-generated-") as folder:
        document = Path(folder, "openapi.json")
        document.write_bytes(build_openapi(base_url, Dialect(), "asynchronous"))
        program = Path(sys.executable).with_name("openapi-python-client")
        output = Path(folder, name)
        subprocess.run(
            [program, "generate", "--path", document, "--output-path", output, "--meta", "none"],
            check=True,
            stdout=subprocess.DEVNULL,
        )
        sys.path.insert(0, folder)
        try:
            yield name
        finally:
            sys.path.remove(folder)
            for module in [module for module in sys.modules if module.partition(".")[0] == name]:
                del sys.modules[module]
