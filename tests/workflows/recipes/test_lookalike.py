"""The second recipe: create a lookalike once, whatever goes wrong."""

from __future__ import annotations

from contextlib import suppress
from decimal import Decimal

import attrs
import numpy as np
import pandas as pd
import pytest

from indigo_async.errors import (
    ApiError,
    AudienceExistsError,
    AudienceFailedError,
    InvalidInputError,
    RecordMismatchError,
    WaitTimeoutError,
)
from indigo_async.events import Event, RecipeWarning
from indigo_async.models import Audience
from indigo_async.sandbox import Dialect, Fault, FaultKind, ManualClock
from indigo_async.workflows import AudienceReused
from tests.support.recipes import (
    CSV,
    CUSTOMER,
    LOOKALIKE,
    UNKNOWN_OUTCOMES,
    count_audiences_named,
    count_posts,
    create_lookalike,
    lost_response,
    match_csv,
    seed_audience,
)
from tests.support.servers.scripted import respond_with_json, sandbox_and_client, server_and_client

once_and_twice = pytest.mark.parametrize("times", [1, 2], ids=["once", "twice in a row"])
every_loss = pytest.mark.parametrize("kind", UNKNOWN_OUTCOMES.values(), ids=UNKNOWN_OUTCOMES.keys())


async def test_a_matched_audience_grows():
    async with sandbox_and_client() as (sandbox, client):
        base = await client.get_audience(await seed_audience(sandbox), customer_id=CUSTOMER)
        wider = await create_lookalike(client, base, include_original_audience=True, filters={"states": ["PA"]})
        assert (wider.name, wider.status, wider.base_audience_id) == ("Donors+", "ACTIVE", base.id)
        assert wider.size == 2_000
        assert count_posts(sandbox) == {LOOKALIKE: 1}


async def test_the_base_may_be_an_id():
    async with sandbox_and_client(dialect=Dialect(id_type="integer")) as (sandbox, client):
        base_id = await seed_audience(sandbox)
        assert (await create_lookalike(client, base_id)).base_audience_id == base_id


async def test_run_again_it_reuses_the_audience_and_posts_nothing():
    events: list[Event] = []
    async with sandbox_and_client() as (sandbox, client):
        base_id = await seed_audience(sandbox)
        first = await create_lookalike(client, base_id)
        sandbox.log.clear()
        assert (await create_lookalike(client, base_id, on_event=events.append)).id == first.id
        assert count_posts(sandbox) == {}
    (event,) = [event for event in events if isinstance(event, AudienceReused)]
    assert (event.audience_id, event.evidence) == (first.id, "same name, same base audience")


@pytest.mark.parametrize(
    "dialect", [Dialect(), Dialect(list_omitted_keys={"baseAudienceId"})], ids=["lists show", "omit"]
)
async def test_a_lookalike_of_another_base_is_left_unchanged(dialect: Dialect):
    async with sandbox_and_client(dialect=dialect) as (sandbox, client):
        one, other = await sandbox.seed_audiences(2, CUSTOMER)
        await create_lookalike(client, one)
        with pytest.raises(AudienceExistsError, match=f"is a lookalike of audience {one}, not of {other}"):
            await create_lookalike(client, other)
        assert count_posts(sandbox) == {LOOKALIKE: 1}


@pytest.mark.parametrize(
    "dialect",
    [Dialect(), Dialect(list_omitted_keys={"uploadedAudienceCsv"}), Dialect(shows_csv_url=False)],
    ids=["lists show CSVs", "lists omit them", "no URLs"],
)
async def test_an_audience_of_the_name_that_was_matched_from_a_csv_is_left_alone(dialect: Dialect):
    async with sandbox_and_client(dialect=dialect) as (sandbox, client):
        await match_csv(client, CSV, name="Donors+")
        with pytest.raises(AudienceExistsError, match="was matched from a CSV"):
            await create_lookalike(client, await seed_audience(sandbox))
        assert sandbox.log.count(LOOKALIKE) == 0


async def test_if_no_response_shows_a_base_the_name_is_enough():
    async with sandbox_and_client(dialect=Dialect(shows_base_audience=False)) as (sandbox, client):
        base_id = await seed_audience(sandbox)
        first = await create_lookalike(client, base_id)
        assert (await create_lookalike(client, base_id)).id == first.id


async def test_a_failed_lookalike_is_reported_and_not_reused():
    async with sandbox_and_client() as (sandbox, client):
        base_id = await seed_audience(sandbox)
        sandbox.faults.add(Fault(kind=FaultKind.STAGE_FAILS, endpoint=LOOKALIKE))
        with pytest.raises(AudienceFailedError, match=r"^lookalike: audience .* failed"):
            await create_lookalike(client, base_id)
        with pytest.raises(AudienceFailedError, match="or ask Indigo to delete audience"):
            await create_lookalike(client, base_id)


async def test_a_lookalike_made_meanwhile_is_reused():
    async with sandbox_and_client() as (sandbox, client):
        base_id = await seed_audience(sandbox)
        first = await create_lookalike(client, base_id)
        sandbox.faults.add(Fault(kind=FaultKind.ROW_MISSING, endpoint="GET /audiences"))
        assert (await create_lookalike(client, base_id)).id == first.id
        assert count_audiences_named(sandbox, "Donors+") == 1


@pytest.mark.parametrize("by_id", [True, False], ids=["an ID", "a record"])
@pytest.mark.parametrize(
    ("size", "dialect", "warns"),
    [(999, Dialect(), True), (1_000, Dialect(), False), (999, Dialect(shows_counts=False), False)],
    ids=["too small", "large enough", "no counts"],
)
async def test_a_small_base_is_reported_before_the_lookalike_is_requested(
    by_id: bool, size: int, dialect: Dialect, warns: bool
):
    requests_at_warning: list[int] = []

    def listen(event: Event) -> None:
        if isinstance(event, RecipeWarning) and "999 matched people; a lookalike needs" in event.message:
            requests_at_warning.append(sandbox.log.count(LOOKALIKE))

    async with sandbox_and_client(dialect=dialect) as (sandbox, client):
        base_id = await seed_audience(sandbox, size=size)
        base = base_id if by_id else await client.get_audience(base_id, CUSTOMER)
        with suppress(ApiError):
            await create_lookalike(client, base, on_event=listen)
        assert requests_at_warning == ([0] if warns else [])
        assert sandbox.log.count(LOOKALIKE) == 1


async def test_the_check_of_the_base_is_one_request_and_never_fails_the_recipe():
    async with sandbox_and_client() as (sandbox, client):
        base_id = await seed_audience(sandbox)
        sandbox.faults.add(Fault(kind=FaultKind.ERROR_BEFORE, status=404, endpoint="GET /audience", times=1))
        before = sandbox.log.count("GET /audience")
        assert (await create_lookalike(client, base_id)).status == "ACTIVE"
        assert sandbox.log.count("GET /audience") > before
        assert count_audiences_named(sandbox, "Donors+") == 1


async def test_the_matched_count_decides_whether_a_base_is_too_small():
    async with sandbox_and_client() as (sandbox, client):
        base = await client.get_audience(await seed_audience(sandbox, size=5_000), CUSTOMER)
        events: list[Event] = []
        await create_lookalike(client, attrs.evolve(base, matched_count=800), on_event=events.append)
    (warning,) = (event.message for event in events if isinstance(event, RecipeWarning))
    assert warning.startswith(f"audience {base.id} has 800 matched people; a lookalike needs a base of at least 1,000")


async def test_a_base_of_fewer_than_a_thousand_people_is_refused_by_the_server():
    async with sandbox_and_client() as (sandbox, client):
        with pytest.raises(ApiError, match="BaseAudienceNotEligible"):
            await create_lookalike(client, await seed_audience(sandbox, size=999))
        assert count_audiences_named(sandbox, "Donors+") == 0


@pytest.mark.parametrize(
    ("base", "message"),
    [
        (Audience(id=2, status="ACTIVE", base_audience_id=1), "is a lookalike itself"),
        (Audience(id=2, status="PROCESSING"), "is not ACTIVE yet"),
        (True, "must be an ID"),
        ("", "must not be empty"),
    ],
)
async def test_an_invalid_base_is_refused_before_anything_is_sent(base: object, message: str):
    async with sandbox_and_client() as (sandbox, client):
        with pytest.raises(InvalidInputError, match=f"^base: .*{message}"):
            await create_lookalike(client, base)
        assert len(sandbox.log.entries) == 0


async def test_values_of_numpy_and_pandas_are_sent_as_exact_json():
    async with server_and_client(respond_with_json([]), respond_with_json(ACTIVE)) as (server, client):
        await create_lookalike(
            client,
            np.int64(7),
            size=np.float64(2_000),
            include_original_audience=np.bool_(True),
            filters={
                "states": np.array(["PA", "NJ"]),
                "counties": pd.Series(["42003"]),
                "ages": {"min": Decimal(18), "max": np.int8(60)},
            },
            timeout=Decimal(60),
        )
    (body,) = (request.json for request in server.requests if request.method == "POST")
    assert body == {
        "baseAudienceId": 7,
        "customerId": CUSTOMER,
        "size": 2_000,
        "audienceName": "Donors+",
        "includeOriginalAudience": True,
        "filters": {"states": ["PA", "NJ"], "counties": ["42003"], "ages": {"min": 18, "max": 60}},
    }


ACTIVE = {"id": 8, "customerId": CUSTOMER, "name": "Donors+", "status": "ACTIVE", "baseAudienceId": 7, "size": 2_000}


async def test_names_and_fips_codes_are_sent_as_they_are():
    filters = {"states": ["PA", "34"], "counties": ["42003", "Erie County, PA"], "congressional_districts": ["4212"]}
    async with server_and_client(respond_with_json([]), respond_with_json(ACTIVE)) as (server, client):
        events: list[Event] = []
        await create_lookalike(client, 7, filters=filters, on_event=events.append)
    (body,) = (request.json for request in server.requests if request.method == "POST")
    assert body["filters"] == {
        "states": ["PA", "34"],
        "counties": ["42003", "Erie County, PA"],
        "congressionalDistricts": ["4212"],
    }
    assert not [event for event in events if isinstance(event, RecipeWarning)]


async def test_a_state_that_is_not_a_code_is_sent_with_a_warning():
    async with server_and_client(respond_with_json([]), respond_with_json(ACTIVE)) as (server, client):
        events: list[Event] = []
        await create_lookalike(client, 7, filters={"states": ["Pennsylvania", "NJ"]}, on_event=events.append)
    (body,) = (request.json for request in server.requests if request.method == "POST")
    assert body["filters"] == {"states": ["Pennsylvania", "NJ"]}
    (warning,) = (event.message for event in events if isinstance(event, RecipeWarning))
    assert warning.startswith("the filter states has 'Pennsylvania': a state is usually two capital letters")


async def test_all_invalid_arguments_are_reported_at_once():
    async with sandbox_and_client() as (_, client):
        with pytest.raises(InvalidInputError) as caught:
            await create_lookalike(client, None, name="", size=True, filters={"states": []}, timeout=0)
    assert {problem.where for problem in caught.value.problems} == {
        "audience_name",
        "size",
        "filters.states",
        "base",
        "timeout",
    }


@every_loss
@once_and_twice
async def test_a_lookalike_with_an_unknown_outcome_is_found_and_made_once(kind: FaultKind, times: int):
    async with sandbox_and_client() as (sandbox, client):
        base_id = await seed_audience(sandbox)
        sandbox.faults.add(lost_response(LOOKALIKE, kind, times))
        assert (await create_lookalike(client, base_id)).status == "ACTIVE"
        assert sandbox.log.count(LOOKALIKE, carried_out=True) == 1
        assert count_audiences_named(sandbox, "Donors+") == 1


@pytest.mark.parametrize("kind", [FaultKind.DISCONNECT_AFTER, FaultKind.ERROR_AFTER])
async def test_without_names_in_lists_a_lookalike_made_unseen_is_reported_and_not_made_again(kind: FaultKind):
    async with sandbox_and_client(dialect=Dialect(list_omitted_keys={"name"})) as (sandbox, client):
        base_id = await seed_audience(sandbox)
        sandbox.faults.add(lost_response(LOOKALIKE, kind, 1))
        with pytest.raises(ApiError, match="AudienceNameTaken"):
            await create_lookalike(client, base_id)
        assert count_audiences_named(sandbox, "Donors+") == 1


@pytest.mark.parametrize("kind", [FaultKind.DISCONNECT_BEFORE, FaultKind.ERROR_BEFORE])
async def test_without_names_in_lists_a_lookalike_that_was_not_made_is_made(kind: FaultKind):
    async with sandbox_and_client(dialect=Dialect(list_omitted_keys={"name"})) as (sandbox, client):
        base_id = await seed_audience(sandbox)
        sandbox.faults.add(lost_response(LOOKALIKE, kind, 1))
        assert (await create_lookalike(client, base_id)).status == "ACTIVE"
        assert count_audiences_named(sandbox, "Donors+") == 1


async def test_a_deadline_says_how_far_it_came():
    clock = ManualClock()
    async with sandbox_and_client(clock=clock) as (sandbox, client):
        base_id = await seed_audience(sandbox)
        with pytest.raises(WaitTimeoutError, match=r"^lookalike: not done after 0\.2 s") as caught:
            await create_lookalike(client, base_id, timeout=0.2)
        assert (caught.value.stage, caught.value.audience.status) == ("lookalike", "PROCESSING")
        clock.advance(1_000)
        await sandbox.wait_until_idle()
        assert (await create_lookalike(client, base_id)).id == caught.value.audience.id
        assert count_posts(sandbox) == {LOOKALIKE: 1}


async def test_a_lookalike_of_another_base_is_not_used():
    made = {"id": 1, "baseAudienceId": 8, "status": "PROCESSING"}
    answers = [respond_with_json([]), respond_with_json({"id": 7, "status": "ACTIVE"}), respond_with_json(made)]
    async with server_and_client(*answers) as (server, client):
        with pytest.raises(RecordMismatchError, match=r"requested base audience '7', .* about base audience '8'"):
            await create_lookalike(client, 7)
    assert [request.method for request in server.requests] == ["GET", "GET", "POST"]
