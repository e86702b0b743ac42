"""A FastAPI service that matches lists: `uvicorn fastapi_service:app --timeout-graceful-shutdown 10`.

One client serves all requests, so that they share its pacing, connections and polling. The token and the API's URL come
from `INDIGO_API_TOKEN` and `INDIGO_BASE_URL`. Put your own authentication in front of these endpoints to decide who may
access which customer.
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import TypedDict

from fastapi import FastAPI, HTTPException, Request
from fastapi.responses import StreamingResponse
from matches import Match, Matches, open_matches
from pydantic import BaseModel

from indigo_async import ColumnSelection, IndigoClient
from indigo_async.logs import log_events

__all__ = ["app"]

PATH = "/customers/{customer_id}/audiences/{audience_name}"


class State(TypedDict):
    matches: Matches


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncGenerator[State]:
    async with IndigoClient(on_event=log_events) as client, open_matches(client) as matches:
        yield {"matches": matches}


app = FastAPI(lifespan=lifespan)


class Column(BaseModel):
    column_name: str
    required: bool = False


class MatchRequest(BaseModel):
    csv: str
    columns: dict[str, Column]


@app.put(PATH, status_code=202)
async def start(
    customer_id: str, audience_name: str, body: MatchRequest, request: Request
) -> dict[str, str | int | None]:
    columns = {
        field: ColumnSelection(column.column_name, required=column.required) for field, column in body.columns.items()
    }
    return _matches(request).start(customer_id, audience_name, body.csv, columns).summary()


@app.get(PATH)
async def state(customer_id: str, audience_name: str, request: Request) -> dict[str, str | int | None]:
    return _find_match(request, customer_id, audience_name).summary()


@app.get(f"{PATH}/events")
async def events(customer_id: str, audience_name: str, request: Request) -> StreamingResponse:
    match = _find_match(request, customer_id, audience_name)

    async def lines() -> AsyncGenerator[str]:
        async for event in match.watch():
            yield f"data: {json.dumps(event)}\n\n"

    return StreamingResponse(lines(), media_type="text/event-stream")


def _matches(request: Request) -> Matches:
    matches: Matches = request.state.matches
    return matches


def _find_match(request: Request, customer_id: str, audience_name: str) -> Match:
    match = _matches(request).find(customer_id, audience_name)
    if match is None:
        raise HTTPException(404, "no such match in this process; PUT it to start or resume it")
    return match
