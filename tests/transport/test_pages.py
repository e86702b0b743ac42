"""Pages of lists: which signals count as more rows, which links are followed, and when the client stops."""

from __future__ import annotations

from typing import Any

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from indigo_async._polling.api import AudienceApi
from indigo_async._transport.pages import Page, PageTrail
from tests.support.servers.scripted import server_and_client

LIST = URL("https://app.example.org/api/v1/audiences?customerId=1")


def page(envelope: dict[str, Any] | None = None, *, link: str = "", rows: int = 2, first_id: str | None = "a") -> Page:
    return Page(envelope=envelope or {}, headers={"link": link}, row_count=rows, first_id=first_id)


def follow(envelope: dict[str, Any] | None = None, *, link: str = "") -> tuple[dict[str, str] | None, str | None]:
    trail = PageTrail(LIST)
    query = trail.follow(page(envelope, link=link))
    return (None if query is None else dict(query)), trail.unread


@pytest.mark.parametrize(
    "url",
    [
        "https://app.example.org/api/v1/audiences?customerId=1&page=2",
        "https://app.example.org:443/api/v1/audiences/?customerId=1&page=2#top",
        "https://user:secret@app.example.org/api/v1/audiences?customerId=1&page=2",
        "http://app.example.org/api/v1/audiences?customerId=1&page=2",
        "/audiences?customerId=1&page=2",
        "?customerId=1&page=2",
    ],
)
def test_a_link_to_the_list_itself_is_followed(url: str):
    expected = {"customerId": "1", "page": "2"}
    trail = PageTrail(LIST)
    assert dict(trail.follow(page({"next": url})) or {}) == expected
    assert trail.list_url == LIST.with_query(expected)
    for envelope in ({"links": {"next": url}}, {"data": {"_links": {"next": {"href": url}}}}, {"@odata.nextLink": url}):
        assert follow(envelope)[0] == expected
    for link in (f'<{url}>; rel="next"', f"</x>; rel=prev, <{url}>; title=a; rel=next", f'<{url}>; rel="next last"'):
        assert follow(link=link)[0] == expected


@pytest.mark.parametrize(
    "url",
    [
        "https://elsewhere.example.org/api/v1/audiences?page=2",
        "https://app.example.org:8443/api/v1/audiences?page=2",
        "http://app.example.org:8080/api/v1/audiences?page=2",
        "https://app.example.org/api/v1/exports?page=2",
        "https://app.example.org.evil.example/audiences?page=2",
        "//elsewhere.example.org/audiences?page=2",
        "https://[broken/audiences?page=2",
    ],
)
def test_a_link_elsewhere_is_reported_and_not_followed(url: str):
    assert follow({"next": url}) == (None, "next")
    assert follow(link=f'<{url}>; rel="next"') == (None, "Link")


@pytest.mark.parametrize(
    ("envelope", "sign"),
    [
        ({"nextPageToken": "abc"}, "nextPageToken"),
        ({"next": "abc"}, "next"),
        ({"next": 2}, "next"),
        ({"nextPage": 2}, "nextPage"),
        ({"hasMore": True}, "hasMore"),
        ({"pagination": {"has_next": True}}, "has_next"),
        ({"data": {"pageInfo": {"hasNextPage": True, "endCursor": "x"}}}, "hasNextPage"),
        ({"meta": {"next_cursor": "x"}}, "next_cursor"),
        ({"total": 3}, "total"),
        ({"next": "?page=2", "links": {"next": "?page=3"}}, "next"),
    ],
)
def test_what_is_not_a_link_is_reported_and_not_guessed(envelope: dict[str, Any], sign: str):
    assert follow(envelope) == (None, sign)


@pytest.mark.parametrize(
    "envelope",
    [
        {},
        {"next": None, "nextPageToken": "", "hasMore": False, "total": 2, "count": 99},
        {"next": "", "links": {"next": None, "prev": "?page=1"}},
        {"nextPageToken": None, "total": "many", "truncated": "no"},
        {"page": 1, "cursor": "here"},
    ],
)
def test_a_list_that_does_not_say_that_there_is_more_is_complete(envelope: dict[str, Any]):
    assert follow(envelope) == (None, None)
    assert follow(envelope, link='<?page=1>; rel="prev"') == (None, None)


def test_a_total_counts_the_rows_of_all_pages():
    trail = PageTrail(LIST)
    assert trail.follow(page({"total": 4, "next": "?page=2"}, first_id="a")) is not None
    assert trail.follow(page({"total": 4, "next": None}, first_id="c")) is None
    assert trail.unread is None


def test_a_link_to_a_page_that_was_read_ends_the_trail():
    trail = PageTrail(LIST)
    assert trail.follow(page({"next": "?page=2"}, first_id="a")) is not None
    assert trail.follow(page({"next": "?customerId=1"}, first_id="b")) is None
    assert trail.unread == "next"


def test_pages_that_repeat_their_rows_end_the_trail():
    trail = PageTrail(LIST)
    assert trail.follow(page({"next": "?page=2"})) is not None
    assert trail.follow(page({"next": "?page=3"})) is None
    assert trail.unread == "next"


def test_the_number_of_pages_is_limited():
    trail = PageTrail(LIST)
    followed = 0
    while trail.follow(page({"next": f"?page={followed}"}, rows=0, first_id=None)) is not None:
        followed += 1
    assert followed == 999
    assert trail.unread == "next"


_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text(max_size=20)
    | st.sampled_from(["?page=2", "//x/y", "http://["]),
    lambda inner: st.dictionaries(st.sampled_from(["next", "links", "href", "hasMore", "total", "data"]), inner),
    max_leaves=10,
)


@given(st.dictionaries(st.sampled_from(["next", "links", "nextPageToken", "data", "other"]), _VALUES), st.text())
def test_the_list_is_never_left(envelope: dict[str, Any], link: str):
    trail = PageTrail(LIST)
    query = trail.follow(page(envelope, link=f'<{link}>; rel="next"'))
    assert trail.list_url.with_query(None) == LIST.with_query(None)
    assert query is None or trail.unread is not None


async def serve_endless_pages(request: web.BaseRequest) -> web.Response:
    number = int(request.query.get("page", "1"))
    rows = [{"id": f"aud-{number}", "customerId": "1"}]
    link = f'<http://{request.host}/audiences?customerId=1&page={number + 1}>; rel="next"'
    return web.json_response(rows, headers={"Link": link} if number < 5 else {})


async def test_pages_are_followed_by_calls_and_by_polls():
    async with server_and_client(serve_endless_pages) as (server, client):
        expected = [f"aud-{number}" for number in range(1, 6)]
        assert [audience.id for audience in await client.list_audiences("1")] == expected
        polled: list[object] = []

        def add(rows: Any) -> None:
            polled.extend(row.id for row in rows.rows)

        cost = await AudienceApi(client.transport, client.options).read_list("1", add, limit=1_000_000)
        assert polled == expected
        assert cost.size_bytes == 5 * len('[{"id": "aud-1", "customerId": "1"}]')
        assert len(server.requests) == 10
        assert {request.headers["authorization"] for request in server.requests} == {"Bearer token"}


async def test_nothing_is_sent_to_the_server_that_a_link_names():
    async with server_and_client(serve_endless_pages) as (elsewhere, _):

        async def serve(_: web.BaseRequest) -> web.Response:
            return web.json_response({"audiences": [{"id": "aud-1"}], "next": f"{elsewhere.origin}/audiences?page=2"})

        async with server_and_client(serve) as (server, client):
            assert len(await client.list_audiences()) == 1
            await AudienceApi(client.transport, client.options).read_list(None, lambda _: None, limit=1_000_000)
            assert len(server.requests) == 2
        assert elsewhere.requests == []
