"""Alternatives to `get_audience`: each peer is a coroutine function that takes an audience ID.

All request the same URL with the same headers over kept-alive connections. Raw aiohttp with orjson is the floor: it
returns an untyped dictionary and has no retries. The generated SDK (`openai`, pointed at loopback) offers the most
similar features: typed records, retries and timeouts.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, TypeAlias

import aiohttp
import httpx
import openai
import orjson
import pydantic

from indigo_async import IndigoClient

__all__ = ["CUSTOMER", "Get", "all_peers"]

CUSTOMER = "42"
_TOKEN = "benchmark-token"
_HEADERS = {"Authorization": f"Bearer {_TOKEN}", "Accept": "application/json"}

Get: TypeAlias = Callable[[str], Awaitable[Any]]


class UploadModel(openai.BaseModel):
    status: str = ""
    url: str | None = None


class ExportModel(openai.BaseModel):
    id: str
    status: str = ""
    download_url: str | None = pydantic.Field(default=None, alias="downloadUrl")
    total_cost: int | None = pydantic.Field(default=None, alias="totalCostInCents")


class AudienceModel(openai.BaseModel):
    id: str
    name: str | None = None
    status: str = ""
    customer_id: str | None = pydantic.Field(default=None, alias="customerId")
    uploaded_audience_csv: UploadModel | None = pydantic.Field(default=None, alias="uploadedAudienceCsv")
    csv_exports: list[ExportModel] = pydantic.Field(default=[], alias="csvExports")


@asynccontextmanager
async def all_peers(base_url: str) -> AsyncGenerator[dict[str, Get]]:
    """Open all peers, by name, with the SDK first."""
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(IndigoClient(_TOKEN, base_url=base_url))
        session = await stack.enter_async_context(aiohttp.ClientSession(headers=_HEADERS))
        limits = httpx.Limits(max_connections=100, max_keepalive_connections=100)
        http = await stack.enter_async_context(httpx.AsyncClient(headers=_HEADERS, timeout=60, limits=limits))
        generated = await stack.enter_async_context(openai.AsyncOpenAI(api_key=_TOKEN, base_url=base_url))

        async def indigo_async(audience_id: str) -> Any:
            return await client.get_audience(audience_id, customer_id=CUSTOMER)

        async def aiohttp_orjson(audience_id: str) -> Any:
            url = f"{base_url}/audience?audienceId={audience_id}&customerId={CUSTOMER}"
            async with session.get(url) as response:
                return orjson.loads(await response.read())

        async def httpx_pydantic(audience_id: str) -> Any:
            response = await http.get(
                f"{base_url}/audience", params={"audienceId": audience_id, "customerId": CUSTOMER}
            )
            response.raise_for_status()
            return AudienceModel.model_validate_json(response.content)

        async def openai_sdk(audience_id: str) -> Any:
            query = {"audienceId": audience_id, "customerId": CUSTOMER}
            return await generated.get("/audience", cast_to=AudienceModel, options={"params": query})

        yield {
            "indigo_async": indigo_async,
            "aiohttp + orjson": aiohttp_orjson,
            "httpx + pydantic": httpx_pydantic,
            "openai's SDK": openai_sdk,
        }
