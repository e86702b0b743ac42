"""Whole recipes and batches on servers with unusual response shapes: nothing is created twice."""

from __future__ import annotations

from pathlib import Path

import pytest

from indigo_async.errors import AmbiguousOutcomeError, ApiError, IndigoError
from indigo_async.events import Event
from indigo_async.sandbox import Dialect, Fault, FaultKind, Sandbox
from indigo_async.workflows import AudienceReused, RecipeWarning, run_batch
from tests.support.jobs import make_client, make_job
from tests.support.recipes import (
    CUSTOMER,
    LOOKALIKE,
    POSTS,
    UPLOAD,
    count_posts,
    create_lookalike,
    export_csv,
    match_csv,
)
from tests.support.servers.scripted import respond_with, respond_with_json, sandbox_and_client, server_and_client

DIALECTS = {
    "envelope data": Dialect(envelope="data"),
    "envelope named": Dialect(envelope="named"),
    "byte order mark": Dialect(byte_order_mark=True),
    "envelope and byte order mark": Dialect(envelope="data", byte_order_mark=True, list_shape="object"),
    **{
        f"statuses {spelling}": Dialect(status_format=spelling)
        for spelling in ("lower", "blanks", "dashes", "trailing blank", "camel")
    },
    **{
        f"errors {shape}": Dialect(error_format=shape)
        for shape in ("message", "detail", "nested", "list", "text", "html")
    },
    **{
        f"pages {kind}": Dialect(pagination=kind, page_size=1)
        for kind in ("link header", "next url", "next token", "has more")
    },
    "pages in an envelope": Dialect(pagination="next url", page_size=2, envelope="data"),
    "no counts": Dialect(shows_counts=False),
    "everything at once": Dialect(
        pagination="next url",
        page_size=1,
        envelope="data",
        byte_order_mark=True,
        status_format="blanks",
        error_format="nested",
        id_type="integer",
    ),
}
every_dialect = pytest.mark.parametrize("dialect", DIALECTS.values(), ids=DIALECTS.keys())
both_flows = pytest.mark.parametrize("flow", ["synchronous", "asynchronous"])


@both_flows
@every_dialect
async def test_every_recipe_makes_everything_once(dialect: Dialect, flow: str, tmp_path: Path):
    async with sandbox_and_client(dialect=dialect, export_flow=flow) as (sandbox, client):
        matched = await match_csv(client)
        wider = await create_lookalike(client, matched)
        receipt = await export_csv(client, wider, tmp_path / "donors.csv")
        assert count_posts(sandbox) == dict.fromkeys(POSTS, 1)
        assert sandbox.counts().charged_cents == receipt.export.cost_cents
        await export_csv(client, wider, tmp_path / "again.csv")
        assert count_posts(sandbox) == dict.fromkeys(POSTS, 1)


@every_dialect
async def test_a_batch_makes_everything_once(dialect: Dialect, tmp_path: Path):
    jobs = [make_job(number, tmp_path) for number in range(4)]
    async with Sandbox(lite=True, speed=2_000.0, dialect=dialect) as sandbox, make_client(sandbox) as client:
        for _ in range(2):
            report = await run_batch(client, jobs, journal=tmp_path / "run.sqlite")
            assert report.done == 4, report.failures
        assert count_posts(sandbox) == dict.fromkeys(POSTS, 4)


@pytest.mark.parametrize(
    "dialect",
    [dialect for dialect in DIALECTS.values() if dialect.pagination not in {"next token", "has more"}],
    ids=[name for name, dialect in DIALECTS.items() if dialect.pagination not in {"next token", "has more"}],
)
async def test_lost_responses_and_refusals_do_not_make_anything_twice(dialect: Dialect, tmp_path: Path):
    async with sandbox_and_client(dialect=dialect) as (sandbox, client):
        sandbox.faults.add(*(Fault(kind=FaultKind.DISCONNECT_AFTER, endpoint=endpoint) for endpoint in POSTS[1:]))
        sandbox.faults.add(Fault(kind=FaultKind.ERROR_AFTER, endpoint=POSTS[-1], status=409))
        wider = await create_lookalike(client, await match_csv(client))
        await export_csv(client, wider, tmp_path / "donors.csv")
        assert (sandbox.counts().purchases, sum(sandbox.counts().audiences.values())) == (1, 2)


@pytest.mark.parametrize("kind", ["message", "detail", "nested", "list", "text", "html"])
async def test_a_refusal_says_why_in_any_shape(kind: str):
    async with sandbox_and_client(dialect=Dialect(error_format=kind)) as (_, client):
        with pytest.raises(ApiError, match="This customer has no such audience"):
            await client.get_audience("aud-none", CUSTOMER)


UNREADABLE = {
    "empty": respond_with(200),
    "no content": respond_with(204),
    "text": respond_with(200, b"OK", content_type="text/plain"),
    "another shape": respond_with_json({"success": True}),
    "a list": respond_with_json([{"id": "aud-1"}, {"id": "aud-2"}]),
    "wrong compression": respond_with(200, b'{"id": "aud-1"}', content_encoding="gzip"),
}


@pytest.mark.parametrize("response", UNREADABLE.values(), ids=UNREADABLE.keys())
async def test_a_csv_is_uploaded_once_if_the_response_is_not_understood(response):
    async with server_and_client(respond_with_json([]), response) as (server, client):
        with pytest.raises(IndigoError, match=f"^{UPLOAD}: "):
            await match_csv(client)
    assert [request.method for request in server.requests] == ["GET", "POST"]


@pytest.mark.parametrize("dialect", [Dialect(), Dialect(shows_counts=False)], ids=["counts", "no counts"])
async def test_the_match_rate_is_shown_where_the_server_provides_it(dialect: Dialect):
    async with sandbox_and_client(dialect=dialect) as (_, client):
        matched = await match_csv(client)
    is_shown = dialect.shows_counts
    assert (matched.size is not None, matched.match_rate is not None) == (is_shown, is_shown)
    assert ("matched" in matched._repr_html_()) == is_shown


@pytest.mark.parametrize("kind", ["link header", "next url"])
async def test_pages_are_followed_and_names_on_later_pages_are_reused(kind: str):
    async with sandbox_and_client(dialect=Dialect(pagination=kind, page_size=2)) as (sandbox, client):
        ids = [(await match_csv(client, name=f"List {number}")).id for number in range(5)]
        assert [audience.id for audience in await client.list_audiences(CUSTOMER)] == ids
        events: list[Event] = []
        assert (await match_csv(client, name="List 4", on_event=events.append)).id == ids[4]
        assert any(isinstance(event, AudienceReused) for event in events)
        assert sandbox.log.count(UPLOAD) == 5


@pytest.mark.parametrize("kind", ["next token", "has more"])
async def test_a_list_that_is_not_complete_is_reported_when_a_name_is_not_found(
    kind: str, caplog: pytest.LogCaptureFixture
):
    async with sandbox_and_client(dialect=Dialect(pagination=kind, page_size=2)) as (sandbox, client):
        for number in range(3):
            await match_csv(client, name=f"List {number}")
        assert len(await client.list_audiences(CUSTOMER)) == 2
        assert "the list says that there are more audiences" in caplog.text
        events: list[Event] = []
        await match_csv(client, name="List 0", on_event=events.append)
        assert not any(
            "says that there are more" in event.message for event in events if isinstance(event, RecipeWarning)
        )
        with pytest.raises(ApiError):
            await match_csv(client, name="List 2", on_event=events.append)
        warnings = [event.message for event in events if isinstance(event, RecipeWarning)]
        assert any("no audience named 'List 2'" in warning for warning in warnings)
        assert sandbox.counts().purchases == 0


@pytest.mark.parametrize("kind", ["next token", "has more"])
async def test_a_lost_lookalike_is_not_requested_again_if_the_list_is_incomplete(kind: str):
    dialect = Dialect(pagination=kind, page_size=1, duplicate_names="allow")
    async with sandbox_and_client(dialect=dialect) as (sandbox, client):
        matched = await match_csv(client)
        sandbox.faults.add(Fault(kind=FaultKind.DISCONNECT_AFTER, endpoint=LOOKALIKE))
        with pytest.raises(AmbiguousOutcomeError) as caught:
            await create_lookalike(client, matched)
        assert "whether the lookalike was created is unknown" in str(caught.value.__cause__)
        assert sandbox.log.count(LOOKALIKE) == 1
