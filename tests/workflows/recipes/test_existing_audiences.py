"""Reusing existing audiences: evidence reuses, contradiction stops, doubt never buys."""

from __future__ import annotations

import traceback
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, ClassVar

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from indigo_async._listeners import listen
from indigo_async.errors import ApiError, AudienceExistsError, AudienceFailedError, ServerError
from indigo_async.events import AudienceReused, Event, Stage
from indigo_async.models import Audience, CsvExport, UploadedAudienceCsv, same_id
from indigo_async.workflows.recipes import existing_audiences
from indigo_async.workflows.recipes.context import NullJobLog, RecipeContext
from indigo_async.workflows.recipes.existing_audiences import (
    Evidence,
    ReusableAudience,
    StubState,
    cancel_intents,
    compare_lookalike,
    compare_matched,
    find_reusable,
    get_audience_if_exists,
    is_deleted,
    normalize_url,
    reuse_audience,
    warn_if_unread,
    was_matched,
    was_never_exported,
)
from indigo_async.workflows.recipes.name_index import (
    NameMatch,
    NameSimilarity,
    compare_names,
    normalize_name,
    truncated_keys,
)
from indigo_async.workflows.recipes.next_step import Requested
from indigo_async.workflows.recipes.reconcile import is_final_refusal, says_already_done, says_name_taken
from tests.support.recipes import CUSTOMER
from tests.support.servers.scripted import respond_with_json, server_and_client

URL = "https://files.example.org/lists/donors.csv"


def matched(url: str | None = URL, **fields: Any) -> Audience:
    return Audience(**{"id": 1, "name": "Donors", "uploaded_audience_csv": UploadedAudienceCsv(url=url)} | fields)


def lookalike(base_id: Any, **fields: Any) -> Audience:
    return Audience(id=2, name="Donors+", base_audience_id=base_id, **fields)


@pytest.mark.parametrize(
    "csv", [URL, f"{URL}?X-Amz-Signature=1", f"{URL}?X-Amz-Signature=2#top"], ids=["same", "signed", "with a fragment"]
)
def test_the_same_csv_url_with_any_query_is_evidence(csv: str):
    assert compare_matched(matched(f"{URL}?X-Amz-Signature=9"), csv=csv) == Evidence(
        reason="same name, same CSV URL", not_compared="columns are not compared", is_certain=True
    )


def test_the_same_content_under_any_publisher_url_is_evidence():
    assert compare_matched(matched("https://a.example.org/tmp/77/0f3a.csv?sig=1"), csv="0f3a.csv") == Evidence(
        reason="same name, same CSV content", not_compared="columns are not compared", is_certain=True
    )


@pytest.mark.parametrize(
    "csv",
    [
        "https://files.example.org/lists/others.csv",
        "https://files.example.org/2025/donors.csv",
        "https://elsewhere.example.org/lists/donors.csv",
        "http://files.example.org/lists/donors.csv",
        "https://files.example.org:8443/lists/donors.csv",
        "0f3a.csv",
    ],
)
def test_another_csv_contradicts(csv: str):
    with pytest.raises(
        AudienceExistsError, match="audience 1 already has the name 'Donors' and was made from another CSV"
    ):
        compare_matched(matched(), csv=csv)


@pytest.mark.parametrize("audience", [matched(url=None), matched(uploaded_audience_csv=None)])
def test_a_csv_that_the_server_does_not_show_contradicts_nothing(audience: Audience):
    assert compare_matched(audience, csv=URL) == Evidence(
        reason="same name; the server shows no CSV URL",
        not_compared="the CSV and the columns are not compared",
        is_certain=False,
    )


def test_a_lookalike_with_the_name_is_not_a_match():
    with pytest.raises(AudienceExistsError, match="is a lookalike"):
        compare_matched(lookalike(1), csv=URL)


@pytest.mark.parametrize("status", ["FAILED", "MATCH_ERROR"])
def test_a_failed_audience_with_the_same_name_and_csv_stops(status: str):
    with pytest.raises(AudienceFailedError, match="or ask Indigo to delete audience"):
        compare_matched(matched(status=status), csv=URL)
    with pytest.raises(AudienceFailedError, match="or ask Indigo to delete audience"):
        compare_lookalike(lookalike(1, status=status), base_id=1)


def test_the_same_base_is_evidence():
    assert compare_lookalike(lookalike(1), base_id="1") == Evidence(
        reason="same name, same base audience",
        not_compared="size, filters and include_original_audience are not compared",
        is_certain=True,
    )


def test_a_base_that_the_server_does_not_show_contradicts_nothing():
    assert compare_lookalike(lookalike(None), base_id=1) == Evidence(
        reason="same name; the server shows no base audience",
        not_compared="the base, size, filters and include_original_audience are not compared",
        is_certain=False,
    )


def test_another_base_contradicts():
    with pytest.raises(AudienceExistsError, match="is a lookalike of audience 1, not of 7"):
        compare_lookalike(lookalike(1), base_id=7)


def test_an_audience_matched_from_a_csv_is_not_a_lookalike():
    with pytest.raises(AudienceExistsError, match="was matched from a CSV"):
        compare_lookalike(matched(), base_id=1)


def test_a_lookalike_larger_than_requested_contradicts():
    assert compare_lookalike(lookalike(1, size=3_000), base_id=1, max_people=3_000).is_certain
    assert compare_lookalike(lookalike(1, size=3_000), base_id=1).is_certain
    with pytest.raises(AudienceExistsError, match="has 3,001 people, more than the 3,000 that were requested"):
        compare_lookalike(lookalike(1, size=3_001), base_id=1, max_people=3_000)


USE_ANOTHER = "; choose another audience_name, or use audience {} as it is"


@pytest.mark.parametrize(
    ("judge", "existing", "message"),
    [
        (
            lambda existing: compare_matched(existing, csv="0f3a.csv"),
            matched(),
            "match: audience 1 already has the name 'Donors' and was made from another CSV" + USE_ANOTHER.format(1),
        ),
        (
            lambda existing: compare_matched(existing, csv=URL),
            lookalike(7),
            "match: audience 2 already has the name 'Donors+' and is a lookalike" + USE_ANOTHER.format(2),
        ),
        (
            lambda existing: compare_lookalike(existing, base_id=7),
            matched(name=None),
            "lookalike: audience 1 already has the name '' and was matched from a CSV" + USE_ANOTHER.format(1),
        ),
        (
            lambda existing: compare_lookalike(existing, base_id=7),
            lookalike(1),
            "lookalike: audience 2 already has the name 'Donors+' and is a lookalike of audience 1, not of 7"
            + USE_ANOTHER.format(2),
        ),
        (
            lambda existing: compare_lookalike(existing, base_id=1, max_people=3_000),
            lookalike(1, size=3_001),
            "lookalike: audience 2 already has the name 'Donors+' and has 3,001 people, more than the 3,000 that were "
            "requested" + USE_ANOTHER.format(2),
        ),
    ],
)
def test_an_audience_that_contradicts_is_named_with_the_way_out(
    judge: Callable[[Audience], object], existing: Audience, message: str
):
    with pytest.raises(AudienceExistsError) as caught:
        judge(existing)
    assert str(caught.value) == message
    assert caught.value.audience == existing


@pytest.mark.parametrize(
    ("stage", "judge"),
    [
        ("match", lambda existing: compare_matched(existing, csv=URL)),
        ("lookalike", lambda existing: compare_lookalike(existing, base_id=7)),
    ],
)
def test_a_failed_audience_is_named_with_the_way_out(stage: str, judge: Callable[[Audience], object]):
    existing = Audience(id=1, name="Donors", status="FAILED")
    with pytest.raises(AudienceFailedError) as caught:
        judge(existing)
    assert str(caught.value) == (
        f"{stage}: audience 1 already has the name 'Donors' and its status is 'FAILED'; names are unique per customer "
        "and the API cannot delete audiences, so choose another audience_name, or ask Indigo to delete audience 1 "
        "and run this again"
    )
    assert caught.value.audience == existing


@pytest.mark.parametrize(
    ("csv", "shown"),
    [
        (f"{URL}?sig=canary", "https://files.example.org/others.csv"),
        ("https://files.example.org/others.csv", f"{URL}?sig=canary"),
    ],
    ids=["the requested URL", "the record's URL"],
)
def test_an_error_holds_no_signed_url_in_its_frames(csv: str, shown: str):
    try:
        compare_matched(matched(shown), csv=csv)
    except AudienceExistsError as error:
        stack = traceback.TracebackException.from_exception(error, capture_locals=True).stack
        text = str([(frame.name, frame.locals) for frame in stack if frame.filename == existing_audiences.__file__])
    assert "compare_matched" in text
    assert "canary" not in text


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("https://Files.Example.org/a.csv", "https://files.example.org:443/a.csv?sig=1#top"),
        ("http://127.0.0.1:8000/a.csv", "http://localhost:8000/a.csv"),
        ("http://[::1]:80/a.csv", "http://127.0.0.1/a.csv"),
        ("https://user:word@files.example.org/a%20b.csv", "https://files.example.org./a b.csv"),
        ("https://files.example.org", "https://files.example.org/"),
        ("http://[bad/a.csv?sig=1", "http://[bad/a.csv"),
        ("https://files.example.org:bad/a.csv?sig=1", "https://files.example.org:bad/a.csv"),
    ],
)
def test_urls_are_compared_by_what_says_which_file_they_name(one: str, other: str):
    assert normalize_url(one) == normalize_url(other)


@pytest.mark.parametrize(
    ("url", "normal"),
    [
        ("http://127.0.0.1:8000/a.csv?sig=1", "http://localhost:8000/a.csv"),
        ("https://Files.Example.org.:443/a%20b.csv", "https://files.example.org/a b.csv"),
        ("https://files.example.org", "https://files.example.org/"),
        ("file:///lists/a.csv", "file:///lists/a.csv"),
    ],
)
def test_the_normal_form_of_a_url_never_changes_because_journals_hold_it(url: str, normal: str):
    assert normalize_url(url) == normal


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("https://files.example.org/a.csv", "http://files.example.org/a.csv"),
        ("https://files.example.org/a.csv", "https://files.example.org:8443/a.csv"),
        ("https://files.example.org/a.csv", "https://files.example.org/A.csv"),
        ("http://localhost:1/a.csv", "http://localhost:2/a.csv"),
        ("http://[bad/a.csv", "http://[bad/b.csv"),
        ("https://files.example.org/a.csv", "https://files.example.orgX/a.csv"),
        ("http://files.example.org:443/a.csv", "http://files.example.org/a.csv"),
        ("https:///a.csv", "https://XXXX/a.csv"),
    ],
)
def test_other_urls_are_others(one: str, other: str):
    assert normalize_url(one) != normalize_url(other)


@pytest.mark.parametrize(
    ("shown", "name", "like"),
    [
        ("Donors", "Donors", NameSimilarity.EXACT),
        ("donors", "Donors", NameSimilarity.NORMALIZED),
        (" Donors\u00a0 2024", "Donors 2024 ", NameSimilarity.NORMALIZED),
        ("Caf\u00e9", "Cafe\u0301", NameSimilarity.NORMALIZED),
        ("STRASSE", "Straße", NameSimilarity.NORMALIZED),
        ("donors of 2024 ", "Donors of 2024 and 2025", None),
        ("donors of 2024 a", "Donors of 2024 and 2025", NameSimilarity.TRUNCATED),
        ("Donors of 2024 and 2025", "donors of 2024 a", None),
        ("Donors of 2025 a", "Donors of 2024 and 2025", None),
        ("", "Donors", None),
    ],
)
def test_names_are_compared_as_a_server_may_have_stored_them(shown: str, name: str, like: NameSimilarity | None):
    assert compare_names(shown, name) is like


@given(st.text(max_size=40), st.integers(15, 40))
def test_normalizing_is_idempotent_and_every_long_prefix_is_a_key(name: str, longest: int):
    key = normalize_name(name)
    assert normalize_name(key) == key
    assert set(truncated_keys(key, longest=longest)) == {key[:end] for end in range(15, len(key)) if end <= longest}


_CHANGES = ["stub", "named", "alike", "ended", "alike and ended"]
_STUBS = {
    "stub": Audience(id=1, status="PROCESSING"),
    "named": Audience(id=1, status="PROCESSING", name="upload.csv"),
    "alike": Audience(id=1, status="PROCESSING", name="donors"),
    "ended": Audience(id=1, status="ACTIVE"),
    "alike and ended": Audience(id=1, status="FAILED", name="Donors"),
}


@pytest.mark.parametrize(
    ("before", "now", "by_itself", "with_a_request"),
    [
        ("stub", "stub", False, False),
        ("stub", "named", False, True),
        ("stub", "alike", True, True),
        ("stub", "ended", False, True),
        ("stub", "alike and ended", True, True),
        ("named", "named", False, False),
        ("named", "alike", True, True),
        ("ended", "ended", False, False),
        ("ended", "alike and ended", True, True),
        ("alike", "alike", False, False),
        ("alike", "alike and ended", False, True),
        ("alike and ended", "alike and ended", False, False),
    ],
)
def test_only_what_a_match_can_have_changed_shows_that_it_was_carried_out(
    before: str, now: str, *, by_itself: bool, with_a_request: bool
):
    state = StubState.of(_STUBS[before], "Donors")
    assert was_matched(_STUBS[now], "Donors", state, match_requested=False) is by_itself
    assert was_matched(_STUBS[now], "Donors", state, match_requested=True) is with_a_request


def test_what_either_record_showed_of_a_stub_counts():
    assert StubState(named=True) | StubState(ended=True) == StubState(named=True, ended=True)
    assert StubState(alike=True) | StubState() == StubState(alike=True)


@pytest.mark.parametrize(
    ("status", "certain"),
    [
        *((status, True) for status in (400, 403, 404, 422, 499)),
        *((status, False) for status in (399, 408, 409, 425, 429, 500, 502)),
    ],
)
def test_a_final_refusal_is_one_that_waiting_does_not_fix(status: int, *, certain: bool):
    assert is_final_refusal(ApiError(status, "no", None, "POST /match_uploaded_csv")) is certain


def test_what_the_servers_own_words_say():
    def refusal(message: str, kind: str | None = None) -> ApiError:
        return ApiError(400, message, kind, "POST /match_uploaded_csv")

    assert says_already_done(refusal("no", "AudienceAlreadyMatched"))
    assert says_already_done(refusal("it was matched ALREADY"))
    assert not says_already_done(refusal("no column Frist"))
    assert says_name_taken(refusal("no", "AudienceNameTaken"))
    assert not says_name_taken(refusal("the column Frist does not exist"))


@pytest.mark.parametrize(
    "message",
    [
        "An audience with this name already exists.",
        "This name is TAKEN",
        "name in use",
        "The name must be unique.",
        "Duplicate audience name",
        "409 Conflict",
    ],
)
def test_servers_say_in_many_ways_that_a_name_is_taken(message: str):
    assert says_name_taken(ApiError(400, message, None, "POST /match_uploaded_csv"))


@pytest.mark.parametrize(
    ("one", "other", "same"), [(7, "7", True), ("a", "a", True), (7, 7, True), (7, 8, False), ("07", 7, False)]
)
def test_ids_are_compared_as_text(one: str | int, other: str | int, *, same: bool):
    assert same_id(one, other) is same


@pytest.mark.parametrize("status", ["DELETED", "deleted", "Deleting"])
def test_a_deleted_audience_frees_its_name(status: str):
    assert is_deleted(status)
    assert not is_deleted("ACTIVE")


@pytest.mark.parametrize(
    ("response", "never"),
    [
        (Audience(id=1, status="PROCESSING"), True),
        (Audience(id=1, status=""), False),
        (Audience(id=1, status="ACTIVE"), False),
        (Audience(id=1, status="active"), False),
        (Audience(id=1, status="FAILED"), False),
        (Audience(id=1, status="PROCESSING", csv_exports=(CsvExport(id=9),)), False),
    ],
)
def test_only_an_audience_still_in_progress_and_without_exports_was_never_exported(response: Audience, *, never: bool):
    assert was_never_exported(response) is never


@pytest.mark.parametrize("field", ["named", "alike", "ended"])
def test_what_one_record_showed_stays_known(field: str):
    shown = StubState(**{field: True})
    assert (StubState() | shown, shown | StubState(), shown | shown) == (shown, shown, shown)


NAME = "Donors of 2024 and 2025"


@attrs.define
class Recipe:
    """A recipe in which existing audiences are judged: what it recorded, and what it told the user."""

    context: RecipeContext
    events: list[Event]
    recorded: list[Any]

    async def find(self, *candidates: tuple[int, NameSimilarity], **options: Any) -> Any:
        matches = [NameMatch(number, similarity) for number, similarity in candidates]
        return await find_reusable(
            self.context, NAME, matches, lambda existing: compare_lookalike(existing, base_id=7), **options
        )


@asynccontextmanager
async def recipe(*records: Audience | None) -> AsyncGenerator[Recipe]:
    """A recipe on a server that has these audiences, read in this order; None is a 404."""
    responders = [
        respond_with_json({"error": "gone"}, 404)
        if record is None
        else respond_with_json(
            {"id": record.id, "name": record.name, "status": record.status}
            | ({"baseAudienceId": record.base_audience_id} if record.base_audience_id is not None else {})
        )
        for record in records
    ]
    recorded: list[Any] = []

    class JobLog(NullJobLog):
        async def record_result(self, stage: Stage, facts: Mapping[str, Any]) -> None:
            recorded.append((stage, dict(facts)))

    events: list[Event] = []
    async with server_and_client(*responders) as (_, client):
        with listen(events.append):
            yield Recipe(RecipeContext(client, CUSTOMER, NAME, job_log=JobLog()), events, recorded)


def shown(number: int, name: str | None = NAME, base: int | None = 7, status: str = "ACTIVE") -> Audience:
    return Audience(id=number, name=name, base_audience_id=base, status=status)


EXACT, NORMALIZED, TRUNCATED = NameSimilarity
SIMILAR, SHORT = NAME.upper(), "Donors of 2024 and"


@pytest.mark.parametrize(
    ("records", "similarity", "options", "found"),
    [
        # The name itself is enough, whatever else the server hides.
        ([shown(1)], EXACT, {}, 1),
        ([shown(1, base=None)], EXACT, {}, 1),
        ([shown(1, name=None, base=None)], EXACT, {}, 1),
        # A similar name counts with the same base, or once the server refused the name.
        ([shown(1, name=SIMILAR)], NORMALIZED, {}, 1),
        ([shown(1, name=SIMILAR, base=None)], NORMALIZED, {}, None),
        ([shown(1, name=SIMILAR, base=None)], NORMALIZED, {"is_name_taken": True}, 1),
        ([shown(1, name=None, base=None)], NORMALIZED, {}, None),
        # A name cut short counts only with permission, and only with the same base.
        ([shown(1, name=SHORT)], TRUNCATED, {}, None),
        ([shown(1, name=SHORT)], TRUNCATED, {"allow_truncated": True}, 1),
        ([shown(1, name=SHORT, base=None)], TRUNCATED, {"allow_truncated": True, "is_name_taken": True}, None),
        ([shown(1, name=SHORT)], EXACT, {}, None),
        ([shown(1, name=SHORT)], EXACT, {"allow_truncated": True}, 1),
        # Its own record decides, not the list.
        ([shown(1, name="Another name")], EXACT, {}, None),
        ([None], EXACT, {}, None),
        ([shown(1, status="DELETED")], EXACT, {}, None),
    ],
)
async def test_an_audience_is_reused_by_what_its_own_record_shows(
    records: list[Audience | None], similarity: NameSimilarity, options: dict[str, bool], found: int | None
):
    async with recipe(*records) as run:
        result = await run.find((1, similarity), **options)
        assert (result.audience.id if isinstance(result, ReusableAudience) else result) == found


async def test_the_first_candidate_that_fits_is_reused_whatever_stands_before_it():
    records = [None, shown(3, status="DELETED"), shown(4, name="Another"), shown(5, base=8), shown(6), shown(7)]
    async with recipe(*records) as run:
        result = await run.find((1, TRUNCATED), *((number, EXACT) for number in (2, 3, 4, 5, 6, 7)))
        assert isinstance(result, ReusableAudience)
        assert result.audience.id == 6
        assert result.evidence.reason == "same name, same base audience"


async def test_of_several_that_contradict_the_first_with_the_name_itself_stops_the_job():
    async with recipe(shown(1, name=SIMILAR, base=8), shown(2, base=8), shown(3, base=9)) as run:
        result = await run.find((1, NORMALIZED), (2, EXACT), (3, EXACT))
        assert isinstance(result, AudienceExistsError)
        assert "audience 2 already has the name" in str(result)
        assert result.__traceback__ is None


async def test_a_similar_name_that_contradicts_stops_only_once_the_server_refused_the_name():
    async with recipe(shown(1, name=SIMILAR, base=8)) as run:
        assert await run.find((1, NORMALIZED)) is None
        assert isinstance(await run.find((1, NORMALIZED), is_name_taken=True), AudienceExistsError)


async def test_at_most_twenty_candidates_are_read():
    async with recipe(*[None] * 20, shown(21)) as run:
        assert await run.find(*((number, EXACT) for number in range(1, 22))) is None
        assert sum(run.context.client.transport.requests.values()) == 20


@pytest.mark.parametrize("made_by_this_job", [True, False])
async def test_a_reuse_is_recorded_reported_and_explained(*, made_by_this_job: bool):
    async with recipe() as run:
        evidence = Evidence(reason="same name", not_compared="columns are not compared", is_certain=False)
        chosen = ReusableAudience(shown(1), evidence)
        options = {"made_by_this_job": True} if made_by_this_job else {}
        assert await reuse_audience(run.context, Stage.MATCH, chosen, **options) is chosen.audience
        assert run.recorded == [(Stage.MATCH, {"audience_id": 1})]
        assert (run.context.audience, run.context.requested) == (chosen.audience, Requested.ACCEPTED)
        reused = AudienceReused(customer_id=CUSTOMER, audience_name=NAME, audience_id=1, evidence="same name")
        assert run.events[0] == reused
        warned = ("reusing audience 1 (same name); columns are not compared",)
        assert run.context.warnings == (() if made_by_this_job else warned)


async def test_an_audience_still_in_progress_is_waited_for():
    async with recipe(shown(1, status="ACTIVE")) as run:
        evidence = Evidence(reason="same name", not_compared="columns are not compared", is_certain=False)
        chosen = ReusableAudience(shown(1, status="PROCESSING"), evidence)
        assert (await reuse_audience(run.context, Stage.MATCH, chosen)).status == "ACTIVE"
        assert run.context.client.transport.requests.total() == 1


async def test_an_audience_that_is_not_reusable_stops_the_job_with_a_copy_of_the_error():
    error = AudienceExistsError("taken", stage=Stage.MATCH, audience=shown(1))
    async with recipe() as run:
        with pytest.raises(AudienceExistsError, match="taken") as caught:
            await reuse_audience(run.context, Stage.MATCH, error)
        assert caught.value is not error
        assert caught.value.audience == shown(1)
        assert run.recorded == run.events == []


async def test_a_record_that_cannot_be_read_is_no_proof_that_the_audience_is_gone():
    async with server_and_client(respond_with_json({}, 502)) as (_, client):
        with pytest.raises(ServerError):
            await get_audience_if_exists(RecipeContext(client, CUSTOMER, NAME), 1)


async def test_another_customers_audience_is_not_this_customers():
    async with server_and_client(respond_with_json({"id": 1, "customerId": "7"})) as (_, client):
        assert await get_audience_if_exists(RecipeContext(client, CUSTOMER, NAME), 1) is None


async def test_an_unreadable_part_of_the_list_is_a_warning():
    async with recipe() as run:
        warn_if_unread(run.context, NAME)
        assert run.context.warnings == ()
        run.context.name_index._unread["another customer"] = "cursor"
        warn_if_unread(run.context, NAME)
        assert run.context.warnings == ()
        run.context.name_index._unread[CUSTOMER] = "nextPage"
        warn_if_unread(run.context, NAME)
        (warning,) = run.context.warnings
        assert warning == (
            f"no audience named '{NAME}' is in the list, but the list says that there are more audiences (nextPage) "
            "and not how to read them; a new one is created unless the server rejects the name"
        )


async def test_a_final_refusal_cancels_every_open_intent_of_its_stage():
    class JobLog(NullJobLog):
        open: ClassVar = {Stage.MATCH: 2, Stage.UPLOAD: 1}

        def open_intent(self, stage: Stage) -> Mapping[str, Any] | None:
            return {} if self.open[stage] else None

        async def cancel_intent(self, stage: Stage) -> None:
            self.open[stage] -= 1

    async with recipe() as run:
        run.context.job_log = JobLog()
        await cancel_intents(run.context, Stage.MATCH)
        assert JobLog.open == {Stage.MATCH: 0, Stage.UPLOAD: 1}
