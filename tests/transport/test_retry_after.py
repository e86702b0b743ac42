"""An absurd `Retry-After` is ignored and logged once."""

from __future__ import annotations

import pytest

from tests.support.servers.scripted import respond_with, respond_with_json, server_and_client

ABSURD = ["9" * 310, "99999999", "1795780000", "Wed, 23 Nov 2133 12:00:30 GMT", "soon", "-1", "NaN"]


@pytest.mark.parametrize("value", ABSURD, ids=lambda value: value[:12])
async def test_an_absurd_retry_after_is_ignored_and_logged_once(value: str, caplog: pytest.LogCaptureFixture):
    rate_limited = respond_with(429, retry_after=value, date="Mon, 23 Nov 2026 12:00:00 GMT")
    async with server_and_client(rate_limited, rate_limited, respond_with_json({"id": 7})) as (server, client):
        assert (await client.get_audience(7)).id == 7
        assert len(server.requests) == 3
    logged = [record.getMessage() for record in caplog.records if "ignored" in record.getMessage()]
    assert len(logged) == 1
    assert value[:40] in logged[0]
    assert len(logged[0]) < 200
