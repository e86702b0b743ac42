"""An aiohttp.web service that matches lists: `python aiohttp_service.py`, on port 8080.

One client serves all requests; pass it the service's own `ClientSession` if it has one. The token and the base URL come
from `INDIGO_API_TOKEN` and `INDIGO_BASE_URL`. Put your own authentication in front of these endpoints to decide who may
access which customer.
"""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncGenerator

from aiohttp import web
from matches import Match, Matches, open_matches

from indigo_async import ColumnSelection, IndigoClient
from indigo_async.logs import log_events

__all__ = ["make_app"]

MATCHES = web.AppKey("matches", Matches)
PATH = "/customers/{customer_id}/audiences/{audience_name}"

routes = web.RouteTableDef()


async def share_client(app: web.Application) -> AsyncGenerator[None]:
    async with IndigoClient(on_event=log_events) as client, open_matches(client) as matches:
        app[MATCHES] = matches
        yield


@routes.put(PATH)
async def start(request: web.Request) -> web.Response:
    try:
        body = await request.json()
        csv = body["csv"]
        columns = {
            field: ColumnSelection(column["column_name"], required=column.get("required", False))
            for field, column in body["columns"].items()
        }
    except (AttributeError, KeyError, TypeError, ValueError):
        raise web.HTTPBadRequest(text="expected: {csv, columns: {field: {column_name, required}}}") from None
    match = request.app[MATCHES].start(
        request.match_info["customer_id"], request.match_info["audience_name"], csv, columns
    )
    return web.json_response(match.summary(), status=202)


@routes.get(PATH)
async def state(request: web.Request) -> web.Response:
    return web.json_response(_find_match(request).summary())


@routes.get(f"{PATH}/events")
async def events(request: web.Request) -> web.StreamResponse:
    match = _find_match(request)
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(request)
    async for event in match.watch():
        await response.write(f"data: {json.dumps(event)}\n\n".encode())
    return response


def _find_match(request: web.Request) -> Match:
    match = request.app[MATCHES].find(request.match_info["customer_id"], request.match_info["audience_name"])
    if match is None:
        raise web.HTTPNotFound(text="no such match in this process; PUT it to start or resume it")
    return match


def make_app() -> web.Application:
    app = web.Application()
    app.cleanup_ctx.append(share_client)
    app.add_routes(routes)
    return app


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    web.run_app(make_app(), host="127.0.0.1", port=8080, shutdown_timeout=10)
