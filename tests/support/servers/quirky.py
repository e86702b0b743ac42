"""A small server written from the API reference, with the quirks that a test asks for."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any

import attrs
import msgspec
from aiohttp import web

from indigo_async.client import IndigoClient
from tests.support.servers.scripted import server_and_client

UPLOAD, MATCH, LOOKALIKE = "/upload_csv", "/match_uploaded_csv", "/create_lookalike_audience"
POSTS = (UPLOAD, MATCH, LOOKALIKE)

ErrorResponse = tuple[int, dict[str, Any]]


@attrs.define(slots=False)
class QuirkyServer:
    """The server's audiences and its quirks.

    `stored_name` changes names before they are stored; a stub shows `stub_status` and `stub_name` before its match; a
    list shows at most `most_rows`. `refuse` may refuse a POST before anything is done; each path in `lose` fails with
    502 once, after the work. With `upserts`, a lookalike with an existing name returns the existing audience.
    """

    stored_name: Callable[[str], str] = str
    shows_names: bool = True
    stub_status: str = "PROCESSING"
    stub_name: str | None = None
    most_rows: int | None = None
    people: int = 5_000
    upserts: bool = False
    refuse: Callable[[str, dict[str, Any]], ErrorResponse | None] = lambda _path, _body: None
    lose: list[str] = attrs.Factory(list)
    audiences: list[dict[str, Any]] = attrs.Factory(list)
    post_paths: list[str] = attrs.Factory(list)
    post_bodies: list[dict[str, Any]] = attrs.Factory(list)

    def add(self, **fields: Any) -> dict[str, Any]:
        """Add an audience that no request made."""
        audience = {"id": f"aud-{len(self.audiences) + 1}", "customerId": "42", "status": "ACTIVE", "csvExports": []}
        self.audiences.append(audience | fields)
        return self.audiences[-1]

    def audiences_named(self, name: str) -> list[dict[str, Any]]:
        return [audience for audience in self.audiences if audience.get("name") == name]

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        path = request.path.removeprefix("/api/v1")
        if request.method == "GET":
            return _reply(*self._read(path, dict(request.query)))
        body = msgspec.json.decode(await request.read())
        self.post_paths.append(path)
        self.post_bodies.append(body)
        refusal = self.refuse(path, body)
        if refusal is not None:
            return _reply(*refusal)
        status, document = {UPLOAD: self._upload, MATCH: self._match, LOOKALIKE: self._create_lookalike}[path](body)
        if status == 200 and path in self.lose:
            self.lose.remove(path)
            return _reply(502, {"error": "bad gateway"})
        return _reply(status, document)

    def _read(self, path: str, query: dict[str, str]) -> tuple[int, Any]:
        for audience in self.audiences:
            if audience.pop("working", False):
                audience |= {"status": "ACTIVE", "size": self.people}
        if path == "/audiences":
            rows = [self._visible_fields(audience) for audience in self.audiences]
            return 200, rows if self.most_rows is None else rows[: self.most_rows]
        found = self._find(query["audienceId"])
        return (404, {"error": "no such audience"}) if found is None else (200, self._visible_fields(found))

    def _find(self, audience_id: str) -> dict[str, Any] | None:
        return next((each for each in self.audiences if each["id"] == audience_id and not each.get("hidden")), None)

    def _visible_fields(self, audience: dict[str, Any]) -> dict[str, Any]:
        hidden_keys = {"working", "matched", "hidden"} | (set() if self.shows_names else {"name"})
        return {key: value for key, value in audience.items() if key not in hidden_keys}

    def _upload(self, body: dict[str, Any]) -> tuple[int, Any]:
        csv = {"status": "READY_FOR_COLUMN_SELECTION", "url": body["url"]}
        stub = self.add(customerId=body["customerId"], status=self.stub_status, uploadedAudienceCsv=csv)
        if self.stub_name is not None:
            stub["name"] = self.stub_name
        return 200, self._visible_fields(stub)

    def _match(self, body: dict[str, Any]) -> tuple[int, Any]:
        stub = self._find(body["audienceId"])
        if stub is None:
            return 404, {"error": "no such audience"}
        if stub.get("matched"):
            return 400, {"error": "this audience was matched already", "errorType": "AudienceAlreadyMatched"}
        name = self.stored_name(body["audienceName"])
        if self._is_taken(name):
            return 400, {"error": "the name is taken", "errorType": "AudienceNameTaken"}
        stub |= {"name": name, "matched": True, "status": "PROCESSING", "working": True}
        return 200, self._visible_fields(stub)

    def _create_lookalike(self, body: dict[str, Any]) -> tuple[int, Any]:
        name = self.stored_name(body["audienceName"])
        if self._is_taken(name):
            if self.upserts:
                return 200, self._visible_fields(self.audiences_named(name)[0])
            return 400, {"error": "the name is taken", "errorType": "AudienceNameTaken"}
        made = self.add(name=name, status="PROCESSING", working=True, baseAudienceId=body["baseAudienceId"])
        return 200, self._visible_fields(made)

    def _is_taken(self, name: str) -> bool:
        return any(
            audience["status"] != "DELETED" and not audience.get("hidden") for audience in self.audiences_named(name)
        )


def _reply(status: int, document: object) -> web.StreamResponse:
    return web.Response(status=status, body=msgspec.json.encode(document), content_type="application/json")


@asynccontextmanager
async def quirky_server(**quirks: Any) -> AsyncGenerator[tuple[QuirkyServer, IndigoClient]]:
    """Run such a server, with a fast client."""
    server = QuirkyServer(**quirks)
    async with server_and_client(server.handle) as (_, client):
        yield server, client
