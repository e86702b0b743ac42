"""A plain client of the sandbox, which knows HTTP and JSON and nothing of the SDK."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import attrs

from indigo_async.sandbox import ManualClock, Sandbox

COLUMNS = {
    "first_name": {"column_name": "First", "is_required": True},
    "last_name": {"column_name": "Last", "is_required": True},
}


@attrs.frozen
class ApiResponse:
    status: int
    body: Any
    headers: Any

    @property
    def error_type(self) -> str | None:
        return self.body.get("errorType")


@attrs.frozen
class SandboxApi:
    """The sandbox under test, its clock, and a session with its token."""

    sandbox: Sandbox
    clock: ManualClock
    session: aiohttp.ClientSession

    async def request(self, method: str, url: str, **options: Any) -> ApiResponse:
        async with self.session.request(method, url, **options) as response:
            is_json = response.content_type == "application/json"
            return ApiResponse(
                response.status, await (response.json() if is_json else response.read()), response.headers
            )

    async def post(self, path: str, **body: Any) -> ApiResponse:
        return await self.request("POST", self.sandbox.base_url + path, json=body)

    async def get(self, path: str, **query: str) -> ApiResponse:
        return await self.request("GET", self.sandbox.base_url + path, params=query)

    async def post_ok(self, path: str, **body: Any) -> Any:
        """Post what must succeed."""
        answer = await self.post(path, **body)
        assert answer.status == 200, answer.body
        return answer.body

    async def advance_time(self, seconds: float = 1_000) -> None:
        await self.sandbox.wait_until_idle()
        self.clock.advance(seconds)

    async def audience(self, audience_id: Any, customer_id: str = "1") -> Any:
        answer = await self.get("/audience", audienceId=str(audience_id), customerId=customer_id)
        assert answer.status == 200, answer.body
        return answer.body

    async def uploaded(self, customer_id: str = "1", url: str = "http://127.0.0.1/people.csv") -> Any:
        """The ID of an audience whose CSV waits for its columns to be selected."""
        stub = await self.post_ok("/upload_csv", customerId=customer_id, url=url)
        await self.advance_time()
        return stub["id"]

    async def matched(self, customer_id: str = "1", name: str = "Donors") -> Any:
        """The ID of an active audience."""
        audience_id = await self.uploaded(customer_id)
        await self.post_ok(
            "/match_uploaded_csv",
            audienceID=audience_id,
            customerId=customer_id,
            audienceName=name,
            columnSelections=COLUMNS,
        )
        await self.advance_time()
        return audience_id

    async def preview(self, audience_id: Any, *field_types: str, customer_id: str = "1") -> Any:
        return await self.post_ok(
            "/create_preview_csv_export",
            audienceId=audience_id,
            customerId=customer_id,
            optionalFieldTypes=list(field_types),
        )

    async def purchased(self, *field_types: str) -> Any:
        """An export of a new audience that was purchased in the synchronous flow."""
        export = await self.preview(await self.matched(), *field_types)
        return await self.post_ok("/purchase_csv_export", exportId=export["id"], customerId="1")


@asynccontextmanager
async def open_api(voters: Any = 1, **settings: Any) -> AsyncGenerator[SandboxApi]:
    """A sandbox, lite unless said otherwise, whose time stands still."""
    clock = ManualClock()
    settings = {"lite": True, "clock": clock} | settings
    async with (
        Sandbox(voters, **settings) as sandbox,
        aiohttp.ClientSession(headers={"Authorization": f"Bearer {sandbox.token}"}) as session,
    ):
        yield SandboxApi(sandbox, clock, session)
