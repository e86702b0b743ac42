"""The first recipe: upload a CSV and match it once, whatever goes wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from indigo_async import workflows
from indigo_async.errors import (
    ApiError,
    AudienceExistsError,
    AudienceFailedError,
    InvalidInputError,
    WaitTimeoutError,
)
from indigo_async.events import Event
from indigo_async.sandbox import Dialect, Fault, FaultKind, ManualClock
from indigo_async.workflows import AudienceReused, StageStarted
from tests.support.recipes import (
    COLUMNS,
    CSV,
    CUSTOMER,
    MATCH,
    UNKNOWN_OUTCOMES,
    UPLOAD,
    count_audiences_named,
    count_posts,
    create_lookalike,
    lost_response,
    match_csv,
    seed_audience,
)
from tests.support.servers.scripted import sandbox_and_client

once_and_twice = pytest.mark.parametrize("times", [1, 2], ids=["once", "twice in a row"])
every_loss = pytest.mark.parametrize("kind", UNKNOWN_OUTCOMES.values(), ids=UNKNOWN_OUTCOMES.keys())


async def test_a_csv_at_a_url_becomes_an_active_audience():
    async with sandbox_and_client() as (sandbox, client):
        audience = await match_csv(client)
        assert (audience.name, audience.status, audience.customer_id) == ("Donors", "ACTIVE", CUSTOMER)
        assert audience.uploaded_audience_csv.url == CSV
        assert count_posts(sandbox) == {UPLOAD: 1, MATCH: 1}


async def test_a_local_file_is_published_for_as_long_as_the_match_takes(tmp_path: Path):
    people = tmp_path / "people.csv"
    people.write_text("First\nAnn\n")
    async with sandbox_and_client() as (sandbox, client):
        audience = await match_csv(client, people, publisher=sandbox.file_host)
        url = audience.uploaded_audience_csv.url
        assert url.startswith(sandbox.base_url.removesuffix("/api/v1"))
        async with client.transport.http.open_url(url, {}, read_timeout=5) as response:
            assert response.status == 404


async def test_the_same_file_is_recognised_in_another_place_by_its_content(tmp_path: Path):
    for name in ("one.csv", "two.csv"):
        (tmp_path / name).write_text("First\nAnn\n")
    async with sandbox_and_client() as (sandbox, client):
        first = await match_csv(client, tmp_path / "one.csv", publisher=sandbox.file_host)
        second = await match_csv(client, str(tmp_path / "two.csv"), publisher=sandbox.file_host)
        assert first.id == second.id
        assert count_posts(sandbox) == {UPLOAD: 1, MATCH: 1}


async def test_run_again_it_reuses_the_audience_and_posts_nothing():
    events: list[Event] = []
    async with sandbox_and_client() as (sandbox, client):
        first = await match_csv(client)
        sandbox.log.clear()
        second = await match_csv(client, CSV.replace("sig=1", "sig=2"), on_event=events.append)
        assert second.id == first.id
        assert count_posts(sandbox) == {}
    (event,) = [event for event in events if isinstance(event, AudienceReused)]
    assert (event.audience_id, event.evidence) == (first.id, "same name, same CSV URL")


async def test_run_again_while_the_match_goes_on_it_waits_for_that_match():
    async with sandbox_and_client(speed=400.0) as (sandbox, client):
        stub = await client.upload_csv(customer_id=CUSTOMER, url=CSV)
        await workflows.wait_for_column_selection(client, stub, customer_id=CUSTOMER)
        await client.match_uploaded_csv(
            audience_id=stub.id, customer_id=CUSTOMER, audience_name="Donors", column_selections=COLUMNS
        )
        sandbox.log.clear()
        assert (await match_csv(client)).status == "ACTIVE"
        assert count_posts(sandbox) == {}


async def test_an_audience_of_the_name_from_another_csv_is_left_alone():
    async with sandbox_and_client() as (sandbox, client):
        await match_csv(client)
        with pytest.raises(AudienceExistsError, match="was made from another CSV") as caught:
            await match_csv(client, CSV.replace("lists", "2025"))
        assert caught.value.audience.name == "Donors"
        assert count_posts(sandbox) == {UPLOAD: 1, MATCH: 1}


async def test_another_csv_is_noticed_where_lists_do_not_show_csvs():
    async with sandbox_and_client(dialect=Dialect(list_omitted_keys={"uploadedAudienceCsv"})) as (_, client):
        await match_csv(client)
        with pytest.raises(AudienceExistsError):
            await match_csv(client, CSV.replace("lists", "2025"))


async def test_if_no_response_shows_a_csv_the_name_is_enough():
    events: list[Event] = []
    async with sandbox_and_client(dialect=Dialect(shows_csv_url=False)) as (_, client):
        first = await match_csv(client)
        assert (await match_csv(client, on_event=events.append)).id == first.id
    assert "same name; the server shows no CSV URL" in [getattr(event, "evidence", "") for event in events]


async def test_a_lookalike_with_the_name_is_left_unchanged():
    async with sandbox_and_client() as (sandbox, client):
        await create_lookalike(client, await seed_audience(sandbox), name="Donors")
        with pytest.raises(AudienceExistsError, match="is a lookalike"):
            await match_csv(client)


async def test_a_failed_audience_with_the_name_is_reported():
    async with sandbox_and_client() as (sandbox, client):
        sandbox.faults.add(Fault(kind=FaultKind.STAGE_FAILS, endpoint=MATCH))
        with pytest.raises(AudienceFailedError, match=r"^match: "):
            await match_csv(client)
        with pytest.raises(AudienceFailedError, match="or ask Indigo to delete audience") as caught:
            await match_csv(client)
        assert caught.value.audience.status == "FAILED"
        assert count_posts(sandbox) == {UPLOAD: 1, MATCH: 1}


async def test_an_unreadable_csv_is_reported_before_anything_is_matched():
    async with sandbox_and_client() as (sandbox, client):
        sandbox.faults.add(Fault(kind=FaultKind.STAGE_FAILS, endpoint=UPLOAD))
        with pytest.raises(AudienceFailedError, match=r"^upload: the server could not read the CSV") as caught:
            await match_csv(client)
        assert caught.value.stage == "upload"
        assert count_posts(sandbox) == {UPLOAD: 1}


async def test_an_audience_made_meanwhile_from_the_same_csv_is_reused():
    async with sandbox_and_client() as (sandbox, client):
        first = await match_csv(client)
        sandbox.faults.add(Fault(kind=FaultKind.ROW_MISSING, endpoint="GET /audiences"))
        assert (await match_csv(client)).id == first.id
        assert count_audiences_named(sandbox, "Donors") == 1


async def test_an_audience_made_meanwhile_from_another_csv_is_left_unchanged():
    async with sandbox_and_client() as (sandbox, client):
        await match_csv(client, CSV.replace("lists", "2025"))
        sandbox.faults.add(Fault(kind=FaultKind.ROW_MISSING, endpoint="GET /audiences"))
        with pytest.raises(AudienceExistsError):
            await match_csv(client)


async def test_the_servers_refusal_is_handed_on():
    async with sandbox_and_client() as (sandbox, client):
        sandbox.faults.add(Fault(kind=FaultKind.ERROR_BEFORE, endpoint=MATCH, status=422))
        with pytest.raises(ApiError) as caught:
            await match_csv(client)
        assert caught.value.status == 422


@every_loss
@once_and_twice
async def test_an_upload_with_an_unknown_outcome_is_sent_again_and_leaves_a_stub_at_most(kind: FaultKind, times: int):
    async with sandbox_and_client() as (sandbox, client):
        sandbox.faults.add(lost_response(UPLOAD, kind, times))
        assert (await match_csv(client)).status == "ACTIVE"
        assert count_audiences_named(sandbox, "Donors") == 1
        assert count_posts(sandbox) == {UPLOAD: 1 + times, MATCH: 1}


@every_loss
@once_and_twice
async def test_a_match_with_an_unknown_outcome_is_found_and_made_once(kind: FaultKind, times: int):
    async with sandbox_and_client() as (sandbox, client):
        sandbox.faults.add(lost_response(MATCH, kind, times))
        assert (await match_csv(client)).status == "ACTIVE"
        assert sandbox.log.count(MATCH, carried_out=True) == 1
        assert count_audiences_named(sandbox, "Donors") == 1


async def test_a_status_never_seen_is_no_evidence_that_a_lost_match_was_carried_out():
    async with sandbox_and_client() as (sandbox, client):

        def disturb(event: Event) -> None:
            if isinstance(event, StageStarted) and event.stage == "match":
                sandbox.faults.add(lost_response(MATCH, FaultKind.DISCONNECT_BEFORE, 1))
                sandbox.faults.add(Fault(kind=FaultKind.UNKNOWN_STATUS, endpoint="GET /audience", times=1))

        assert (await match_csv(client, on_event=disturb, timeout=20)).status == "ACTIVE"
        assert sandbox.log.count(MATCH, carried_out=True) == 1


@every_loss
async def test_a_match_of_unknown_outcome_is_found_where_lists_show_no_names(kind: FaultKind):
    async with sandbox_and_client(dialect=Dialect(list_omitted_keys={"name"})) as (sandbox, client):
        sandbox.faults.add(lost_response(MATCH, kind, 1))
        assert (await match_csv(client)).status == "ACTIVE"
        assert sandbox.log.count(MATCH, carried_out=True) == 1


@pytest.mark.parametrize("name", ["there.csv", "not-there.csv"])
async def test_without_a_publisher_errors_reveal_nothing_about_the_disk(tmp_path: Path, name: str):
    (tmp_path / "there.csv").write_text("Secret score\n1\n")
    async with sandbox_and_client() as (_, client):
        with pytest.raises(InvalidInputError) as caught:
            await match_csv(client, tmp_path / name)
    assert [problem.where for problem in caught.value.problems] == ["csv"]
    assert "is a local file" in str(caught.value)
    assert "Secret" not in str(caught.value)


async def test_a_refusal_after_a_lost_response_is_reported_at_once():
    async with sandbox_and_client(dialect=Dialect(name_key=None)) as (sandbox, client):
        sandbox.faults.add(lost_response(MATCH, FaultKind.DISCONNECT_BEFORE, 1))
        sandbox.faults.add(Fault(kind=FaultKind.ERROR_BEFORE, endpoint=MATCH, status=422))
        with pytest.raises(ApiError) as caught:
            await match_csv(client)
        assert caught.value.status == 422
        assert sandbox.log.count(MATCH) == 2


async def test_a_refusal_after_a_lost_response_is_ignored_if_the_match_was_made():
    async with sandbox_and_client(dialect=Dialect(name_key=None)) as (sandbox, client):
        sandbox.faults.add(lost_response(MATCH, FaultKind.DISCONNECT_AFTER, 1))
        assert (await match_csv(client)).status == "ACTIVE"
        assert sandbox.log.count(MATCH, carried_out=True) == 1


async def test_if_no_response_shows_a_name_nothing_is_reused_and_nothing_made_twice():
    async with sandbox_and_client(dialect=Dialect(name_key=None)) as (sandbox, client):
        await match_csv(client)
        with pytest.raises(ApiError, match="AudienceNameTaken"):
            await match_csv(client)
        assert count_audiences_named(sandbox, "Donors") == 1


async def test_a_deadline_says_how_far_it_came():
    async with sandbox_and_client(clock=ManualClock()) as (sandbox, client):
        with pytest.raises(WaitTimeoutError, match=r"^upload: not done after 0\.2 s") as caught:
            await match_csv(client, timeout=0.2)
        assert caught.value.stage == "upload"
        assert caught.value.audience.uploaded_audience_csv.status == "PROCESSING"
        assert sandbox.log.count(UPLOAD) == 1


@pytest.mark.parametrize(
    ("arguments", "place"),
    [
        ({"csv": "/nowhere/people.csv"}, "csv"),
        ({"csv": 5}, "csv"),
        ({"csv": "http://example.org/people.csv"}, "csv"),
        ({"name": " Donors"}, "audience_name"),
        ({"timeout": 0}, "timeout"),
        ({"timeout": "soon"}, "timeout"),
    ],
)
async def test_an_invalid_argument_is_reported_before_anything_is_sent(arguments: dict[str, object], place: str):
    async with sandbox_and_client() as (sandbox, client):
        with pytest.raises(InvalidInputError) as caught:
            await match_csv(client, **arguments)
        assert [problem.where for problem in caught.value.problems] == [place]
        assert len(sandbox.log.entries) == 0


async def test_a_local_file_needs_somebody_who_publishes_it(tmp_path: Path):
    people = tmp_path / "people.csv"
    people.write_text("First\nAnn\n")
    async with sandbox_and_client() as (sandbox, client):
        with pytest.raises(
            InvalidInputError, match=r"csv: is a local file, .* pass publisher=.*ObjectStorePublisher\('s3://"
        ):
            await match_csv(client, people)
        assert len(sandbox.log.entries) == 0


async def test_a_local_file_is_checked_before_anything_is_sent(tmp_path: Path):
    people = tmp_path / "people.csv"
    people.write_text("\ufeffFirst Name\nAnn\n", encoding="utf-8")
    (tmp_path / "none.csv").touch()
    job = workflows.AudienceJob(
        customer_id=CUSTOMER, audience_name="Donors", csv=tmp_path / "none.csv", column_selections=COLUMNS
    )
    async with sandbox_and_client() as (sandbox, client):
        with pytest.raises(InvalidInputError) as caught:
            await match_csv(client, people, publisher=sandbox.file_host)
        with pytest.raises(InvalidInputError, match=r"jobs\[0\].csv: '.*none.csv' is empty"):
            await workflows.run_batch(client, [job], publisher=sandbox.file_host, purchase=False)
        assert len(sandbox.log.entries) == 0
    assert str(caught.value.problems[0]) == (
        f"column_selections.first_name.column_name: {str(people)!r} has no column 'First'; did you mean 'First Name'? "
        "The CSV's columns: 'First Name'"
    )


async def test_all_invalid_arguments_are_reported_at_once():
    async with sandbox_and_client() as (_, client):
        with pytest.raises(InvalidInputError) as caught:
            await workflows.upload_and_match(
                client, "nowhere.csv", customer_id="", audience_name="", column_selections={}, timeout=-1
            )
    assert [problem.where for problem in caught.value.problems] == [
        "customer_id",
        "audience_name",
        "column_selections",
        "csv",
        "timeout",
    ]
