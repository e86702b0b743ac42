from __future__ import annotations

import asyncio

import pytest

from indigo_async.errors import AuthenticationError, ServerError
from indigo_async.models import RecordId
from indigo_async.sandbox import Dialect, Fault, FaultKind, Sandbox
from indigo_async.workflows.recipes.name_index import NameIndex, NameMatch, NameSimilarity
from tests.support.jobs import make_client
from tests.support.servers.scripted import respond_with_json, server_and_client


def exact(audience_id: RecordId) -> tuple[NameMatch, ...]:
    return (NameMatch(audience_id, NameSimilarity.EXACT),)


@pytest.mark.parametrize(
    "dialect",
    [
        Dialect(),
        Dialect(name_key="audienceName"),
        Dialect(list_shape="object"),
        Dialect(id_type="integer"),
        Dialect(list_omitted_keys=frozenset({"uploadedAudienceCsv", "csvExports"})),
    ],
    ids=["plain", "audienceName", "in an object", "integer IDs", "short rows"],
)
async def test_an_audience_is_found_by_its_name_in_every_dialect(dialect: Dialect):
    async with Sandbox(lite=True, dialect=dialect) as sandbox, make_client(sandbox) as client:
        ids = await sandbox.seed_audiences(3, "42")
        await sandbox.seed_audiences(3, "43")
        directory = NameIndex(client)
        found = [await directory.find("42", f"Seeded {audience_id}") for audience_id in ids]
        assert found == [exact(audience_id) for audience_id in ids]
        assert await directory.find("42", "Nobody") == ()
        assert await directory.find("43", f"Seeded {ids[0]}") == ()
        assert all(directory.existed_before("42", audience_id) for audience_id in ids)
        assert directory.shows_names("42")
        assert sandbox.log.count("GET /audiences") == 2


async def test_where_no_names_are_shown_nothing_is_found():
    async with Sandbox(lite=True, dialect=Dialect(name_key=None)) as sandbox, make_client(sandbox) as client:
        (audience_id,) = await sandbox.seed_audiences(1, "42")
        directory = NameIndex(client)
        assert await directory.find("42", f"Seeded {audience_id}") == ()
        assert directory.existed_before("42", str(audience_id))
        assert not directory.shows_names("42")


async def test_concurrent_callers_share_one_list():
    async with Sandbox(lite=True) as sandbox, make_client(sandbox) as client:
        directory = NameIndex(client)
        async with asyncio.TaskGroup() as group:
            for number in range(50):
                group.create_task(directory.find("42", f"List {number}"))
        assert sandbox.log.count("GET /audiences") == 1


async def test_a_fresh_list_is_shared_by_callers_that_asked_before_it_was_requested():
    async with Sandbox(lite=True) as sandbox, make_client(sandbox) as client:
        directory = NameIndex(client)
        assert await directory.find("42", "Late") == ()
        async with asyncio.TaskGroup() as group:
            for _ in range(20):
                group.create_task(directory.find_fresh("42", "Late"))
        assert sandbox.log.count("GET /audiences") <= 3


@pytest.mark.parametrize(
    "kind", [FaultKind.DISCONNECT_AFTER, FaultKind.TRUNCATED_BODY, FaultKind.HTML_AFTER, FaultKind.ERROR_AFTER]
)
async def test_a_list_that_fails_is_read_again(kind: FaultKind):
    async with Sandbox(lite=True) as sandbox, make_client(sandbox) as client:
        (audience_id,) = await sandbox.seed_audiences(1, "42")
        sandbox.faults.add(Fault(kind=kind, endpoint="GET /audiences", times=2))
        assert await NameIndex(client).find("42", f"Seeded {audience_id}") == exact(audience_id)


@pytest.mark.parametrize("status", [401, 408, 425])
async def test_a_list_that_is_refused_by_mistake_is_read_again(status: int):
    async with Sandbox(lite=True) as sandbox, make_client(sandbox) as client:
        (audience_id,) = await sandbox.seed_audiences(1, "42")
        await client.get_audience(audience_id, "42")
        sandbox.faults.add(Fault(kind=FaultKind.ERROR_BEFORE, status=status, endpoint="GET /audiences", times=2))
        assert await NameIndex(client).find("42", f"Seeded {audience_id}") == exact(audience_id)


async def test_a_token_that_never_worked_is_not_tried_again():
    async with Sandbox(lite=True) as sandbox, make_client(sandbox) as client:
        sandbox.faults.add(Fault(kind=FaultKind.ERROR_BEFORE, status=401, endpoint="GET /audiences", times=None))
        with pytest.raises(AuthenticationError):
            await NameIndex(client).find("42", "Donors")
        assert sandbox.log.count("GET /audiences") == 1


async def test_a_list_that_never_arrives_is_an_error_and_nothing_is_reused():
    async with Sandbox(lite=True) as sandbox, make_client(sandbox, attempts=3) as client:
        sandbox.faults.add(Fault(kind=FaultKind.ERROR_BEFORE, endpoint="GET /audiences", times=None))
        with pytest.raises(ServerError):
            await NameIndex(client).find("42", "Donors")
        assert sandbox.log.count("GET /audiences") == 3


async def test_an_odd_row_hides_no_other():
    async with Sandbox(lite=True) as sandbox, make_client(sandbox) as client:
        ids = await sandbox.seed_audiences(3, "42")
        sandbox.faults.add(
            Fault(kind=FaultKind.FIELD_MISSING, endpoint="GET /audiences", field="id", audience_id=ids[1])
        )
        directory = NameIndex(client)
        assert await directory.find("42", f"Seeded {ids[0]}") == exact(ids[0])
        assert await directory.find("42", f"Seeded {ids[2]}") == exact(ids[2])


def rows(*audiences: dict[str, object]) -> object:
    return respond_with_json([{"customerId": 42} | audience for audience in audiences])


async def test_of_several_namesakes_the_newest_comes_first_and_those_that_failed_last():
    response = rows(
        {"id": 1, "name": "Donors"},
        {"id": 2, "name": "donors"},
        {"id": 3, "name": "Donors", "status": "ACTIVE"},
        {"id": 4, "name": "Donors", "status": "DELETED"},
        {"id": 5, "name": "Donors", "customerId": "43"},
        {"id": 6, "name": "DONORS", "status": "FAILED"},
    )
    async with server_and_client(response) as (_, client):
        found = await NameIndex(client).find("42", "Donors")
    exact, normalized = NameSimilarity.EXACT, NameSimilarity.NORMALIZED
    assert [(one.id, one.similarity) for one in found] == [
        (3, exact),
        (1, exact),
        (4, exact),
        (2, normalized),
        (6, normalized),
    ]


async def test_names_that_may_be_cut_short_come_last_the_longest_first():
    name = "Donors of the Keystone State, spring 2024"
    cut = [name[:end] for end in (14, 15, 29, 29, 28)]
    async with server_and_client(rows(*({"id": number, "name": one} for number, one in enumerate(cut)))) as (_, client):
        found = await NameIndex(client).find("42", name)
    assert [(one.id, one.similarity) for one in found] == [
        (number, NameSimilarity.TRUNCATED) for number in (3, 2, 4, 1)
    ]


@pytest.mark.parametrize(
    "odd", [{"id": 2, "name": 7}, {"id": 2, "name": {"a": []}}, {"id": 2, "status": 5}, {"id": {}}]
)
async def test_odd_values_of_a_row_hide_no_name(odd: dict[str, object]):
    async with server_and_client(rows({"id": 1, "name": "Donors"}, odd)) as (_, client):
        directory = NameIndex(client)
        assert await directory.find("42", "Donors") == exact(1)
        assert directory.existed_before("42", "2") is (odd["id"] == 2)


async def test_only_the_first_list_says_which_audiences_existed_before():
    async with server_and_client(rows({"id": 1}), rows({"id": 1}, {"id": 2, "name": "Donors"})) as (_, client):
        directory = NameIndex(client)
        assert await directory.find("42", "Donors") == ()
        assert await directory.find_fresh("42", "Donors") == exact(2)
        assert (directory.existed_before("42", 1), directory.existed_before("42", 2)) == (True, False)
        assert not directory.existed_before("43", 1)
