"""Matches and lookalikes on unexpected servers: renamed, duplicate, odd and refused audiences."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import pytest

from indigo_async.client import IndigoClient
from indigo_async.errors import (
    ApiError,
    AudienceExistsError,
    AudienceFailedError,
    JournalMismatchError,
)
from indigo_async.events import AudienceReused, Event
from indigo_async.workflows import (
    AudienceJob,
    JobOutcome,
    LookalikeStep,
    RecipeWarning,
    start_batch,
)
from indigo_async.workflows.recipes.context import RecipeContext
from indigo_async.workflows.recipes.lookalike import ensure_lookalike
from indigo_async.workflows.recipes.match import ensure_matched
from indigo_async.workflows.recipes.name_index import NameIndex
from tests.support.recipes import COLUMNS, CSV, CUSTOMER, create_lookalike, match_csv
from tests.support.servers.quirky import LOOKALIKE, MATCH, UPLOAD, quirky_server

UNCOMPARED = "size, filters and include_original_audience"
LONG = "Donors of the Keystone State, spring 2024"


def warnings_in(events: list[Event]) -> list[str]:
    return [event.message for event in events if isinstance(event, RecipeWarning)]


def job(**changes: Any) -> AudienceJob:
    fields = {"customer_id": CUSTOMER, "audience_name": "Donors", "csv": CSV, "column_selections": COLUMNS}
    return AudienceJob(**(fields | changes))


def grown(size: int = 2_000, **changes: Any) -> LookalikeStep:
    return LookalikeStep(**({"audience_name": "Donors+", "size": size} | changes))


async def run(client: IndigoClient, journal: Path | None, one: AudienceJob, **options: Any) -> JobOutcome:
    async with start_batch(client, [one], journal=journal, **options) as batch:
        (outcome,) = [outcome async for outcome in batch]
    return outcome


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    return tmp_path / "run.sqlite"


def csv_of(url: str = CSV) -> dict[str, str]:
    return {"status": "READY_FOR_COLUMN_SELECTION", "url": url}


class TestNamesThatTheServerChanges:
    @pytest.mark.parametrize(
        ("name", "stored_name"),
        [
            (LONG, str.casefold),
            (f"{LONG}  \uff21", lambda name: " ".join(name.split()).replace("\uff21", "A")),
            ("Cafe\u0301 donors", lambda name: name.replace("e\u0301", "\u00e9")),
            (LONG, lambda name: name[:20]),
            (LONG, lambda name: name[:20].lower()),
        ],
        ids=["lower case", "NFKC and whitespace", "NFC", "truncated", "truncated, lower case"],
    )
    @pytest.mark.parametrize("with_journal", [True, False], ids=["journal", "no journal"])
    async def test_a_lost_response_keeps_no_later_run_from_finding_its_audience(
        self, journal: Path, name: str, stored_name: Callable[[str], str], *, with_journal: bool
    ):
        path = journal if with_journal else None
        wanted = job(audience_name=name, lookalike=grown(audience_name=f"like {name}"))
        async with quirky_server(stored_name=stored_name, lose=[MATCH, LOOKALIKE]) as (server, client):
            first = await run(client, path, wanted)
            again = await run(client, path, wanted)
            assert (first.error, again.error) == (None, None)
            assert again.result.matched.id == first.result.matched.id
            assert again.result.lookalike.id == first.result.lookalike.id
            assert (
                len(server.audiences_named(stored_name(name)))
                == len(server.audiences_named(stored_name(f"like {name}")))
                == 1
            )
            assert with_journal == (again.warnings == ())

    @pytest.mark.parametrize("shows_names", [True, False])
    async def test_a_list_that_is_capped_hides_no_stub_of_the_journal(self, journal: Path, *, shows_names: bool):
        def refuse(path: str, _: dict[str, Any]) -> tuple[int, dict[str, Any]] | None:
            return (503, {"error": "busy"}) if path == MATCH and server.post_paths.count(MATCH) == 2 else None

        async with quirky_server(most_rows=0, shows_names=shows_names, lose=[MATCH] * 4) as (server, client):
            server.refuse = refuse
            outcome = await run(client, journal, job())
            again = await run(client, journal, job())
        assert (outcome.error, again.error, again.warnings) == (None, None, ())
        assert again.result.matched.id == outcome.result.matched.id == "aud-1"

    async def test_a_name_that_begins_like_another_is_another_audience(self):
        async with quirky_server() as (server, client):
            base = await match_csv(client, name=LONG)
            small = await create_lookalike(client, base.id, name=f"{LONG} +", size=2_000)
            large = await create_lookalike(client, base.id, name=f"{LONG} + and many more", size=9_000)
            other = await match_csv(client, name=f"{LONG}, phones")
            assert len({base.id, small.id, large.id, other.id}) == 4
            assert server.post_paths == [UPLOAD, MATCH, LOOKALIKE, LOOKALIKE, UPLOAD, MATCH]

    @pytest.mark.parametrize("refusal", [(502, {"error": "bad gateway"}), (400, {"error": "the size is too large"})])
    async def test_nor_is_it_this_one_when_a_request_fails(self, journal: Path, refusal: Any):
        async with quirky_server() as (server, client):
            wanted = job(audience_name=LONG, lookalike=grown(9_000, audience_name=f"{LONG} + and many more"))
            base = await run(client, journal, attrs.evolve(wanted, lookalike=None))
            small = await create_lookalike(client, base.result.matched.id, name=f"{LONG} +", size=2_000)
            server.refuse = lambda path, _: refusal if path == LOOKALIKE else None
            assert isinstance((await run(client, journal, wanted)).error, ApiError)
            server.refuse = lambda _path, _body: None
            outcome = await run(client, journal, wanted)
            assert (outcome.error, [one for one in outcome.warnings if "reusing" in one]) == (None, [])
            assert outcome.result.lookalike.id != small.id

    async def test_a_name_in_another_case_and_of_another_csv_is_another_audience(self):
        async with quirky_server() as (server, client):
            server.add(name="donors", uploadedAudienceCsv=csv_of("https://files.example.org/others.csv"))
            assert (await match_csv(client)).name == "Donors"

    async def test_a_normalized_name_without_a_csv_counts_once_the_server_refuses_the_name(self):
        async with quirky_server(stored_name=str.casefold) as (server, client):
            server.add(name="donors")
            assert (await match_csv(client)).id == "aud-1"
            assert server.post_paths == [UPLOAD, MATCH]


class TestNamesakes:
    @pytest.mark.parametrize(
        "dead",
        [
            {"status": "DELETED"},
            {"status": "FAILED"},
            {"customerId": "43"},
            {"hidden": True},
            {"uploadedAudienceCsv": csv_of("https://files.example.org/others.csv")},
            {"baseAudienceId": "aud-9"},
        ],
        ids=["deleted", "failed", "another customer's", "not found", "another CSV", "a lookalike"],
    )
    async def test_the_one_that_fits_is_reused_wherever_it_stands(self, dead: dict[str, Any]):
        async with quirky_server() as (server, client):
            wanted = {"name": "Donors", "uploadedAudienceCsv": csv_of()}
            server.add(**(wanted | dead))
            server.add(**wanted)
            server.add(**(wanted | dead))
            assert (await match_csv(client)).id == "aud-2"
            assert server.post_paths == []

    @pytest.mark.parametrize("dead", [{"status": "DELETED"}, {"hidden": True}, {"customerId": "43"}])
    async def test_a_name_is_free_if_all_its_audiences_are_gone(self, dead: dict[str, Any]):
        async with quirky_server() as (server, client):
            server._is_taken = lambda _: False
            server.add(name="Donors", uploadedAudienceCsv=csv_of(), **dead)
            assert (await match_csv(client)).id == "aud-2"

    @pytest.mark.parametrize(
        ("rest", "error"),
        [
            ({"uploadedAudienceCsv": csv_of("https://files.example.org/others.csv")}, AudienceExistsError),
            ({"status": "FAILED", "uploadedAudienceCsv": csv_of()}, AudienceFailedError),
        ],
    )
    async def test_if_none_fits_the_best_match_stops_the_job(self, rest: dict[str, Any], error: type[Exception]):
        async with quirky_server() as (server, client):
            server.add(name="Donors", status="DELETED")
            server.add(name="Donors", **rest)
            outcome = await run(client, None, job())
            assert isinstance(outcome.error, error)
            assert outcome.stage == "match"
            assert server.post_paths == []

    async def test_a_lookalike_of_the_same_base_is_preferred(self):
        async with quirky_server() as (server, client):
            for base in ("aud-8", "aud-9", "aud-8"):
                server.add(name="Donors+", baseAudienceId=base)
            assert (await create_lookalike(client, "aud-9")).id == "aud-2"
            with pytest.raises(AudienceExistsError, match="is a lookalike of audience aud-8, not of aud-7"):
                await create_lookalike(client, "aud-7")


class TestWhatIsSaidOfAReuse:
    async def test_a_match_names_what_was_not_compared(self):
        events: list[Event] = []
        async with quirky_server() as (server, client):
            server.add(name="Donors", uploadedAudienceCsv=csv_of(), size=5_000)
            await match_csv(client, on_event=events.append)
        assert warnings_in(events) == ["reusing audience aud-1 (same name, same CSV URL); columns are not compared"]

    async def test_a_lookalike_names_what_was_not_compared_and_how_much_smaller_it_is(self):
        events: list[Event] = []
        async with quirky_server() as (server, client):
            server.add(name="Donors+", baseAudienceId="aud-9", size=2_000)
            await create_lookalike(client, "aud-9", size=4_000, on_event=events.append)
        assert warnings_in(events) == [
            f"reusing audience aud-1 (same name, same base audience); {UNCOMPARED} are not compared",
            "audience aud-1 has 2,000 people; 4,000 were requested",
        ]

    @pytest.mark.parametrize(
        ("size", "include", "fits"), [(9_001, None, False), (9_000, None, True), (4_001, False, False)]
    )
    async def test_a_larger_lookalike_is_left_unchanged(self, size: int, include: bool | None, fits: bool):
        async with quirky_server() as (server, client):
            base = server.add(name="Donors", uploadedAudienceCsv=csv_of(), size=5_000)
            server.add(name="Donors+", baseAudienceId="aud-1", size=size)
            audience = await client.get_audience(base["id"], CUSTOMER)
            growing = create_lookalike(client, audience, size=4_000, include_original_audience=include)
            if fits:
                assert (await growing).id == "aud-2"
                return
            with pytest.raises(AudienceExistsError, match=f"has {size:,} people, more than the"):
                await growing

    async def test_an_audience_of_nobody_and_a_base_that_is_too_small(self):
        async with quirky_server(people=0) as (_, client):
            outcome = await run(client, None, job())
            assert [one for one in outcome.warnings if "has 0 people" in one] == list(outcome.warnings) != []
        async with quirky_server(people=999) as (server, client):
            outcome = await run(client, None, job(lookalike=grown()))
            assert server.post_paths[-1] == LOOKALIKE
        assert outcome.warnings == (
            (
                "audience aud-1 has 999 matched people; a lookalike needs a base of at least 1,000, so the server may "
                "refuse it"
            ),
            "audience aud-2 has 999 people; 2,000 were requested",
        )

    async def test_a_job_says_nothing_of_what_it_made_itself(self, journal: Path):
        async with quirky_server() as (_, client):
            for _turn in range(2):
                outcome = await run(client, journal, job(lookalike=grown()))
                assert (outcome.error, outcome.warnings) == (None, ())


class TestStubs:
    @pytest.mark.parametrize("shows_names", [True, False])
    @pytest.mark.parametrize("stub_name", [None, "upload.csv", "Donors"])
    async def test_one_that_is_active_before_its_match_is_matched(self, *, shows_names: bool, stub_name: str | None):
        async with quirky_server(stub_status="ACTIVE", shows_names=shows_names, stub_name=stub_name) as (
            server,
            client,
        ):
            server._is_taken = lambda _: False
            outcome = await run(client, None, job(lookalike=grown()))
            assert outcome.error is None
            assert server.post_paths == [UPLOAD, MATCH, LOOKALIKE]

    async def test_a_name_that_a_stub_gets_from_its_file_is_no_match(self):
        async with quirky_server() as (server, client):
            read = server._read

            def named(path: str, query: dict[str, str]) -> tuple[int, Any]:
                for audience in server.audiences:
                    audience.setdefault("name", "Donors")
                return read(path, query)

            server._read, server._is_taken = named, lambda _: False
            await match_csv(client)
            assert server.post_paths == [UPLOAD, MATCH]

    async def test_it_is_matched_by_the_run_after_the_one_that_uploaded_it(self, journal: Path):
        def refuse(path: str, _: dict[str, Any]) -> tuple[int, dict[str, Any]] | None:
            return (500, {"error": "down"}) if path == MATCH and server.post_paths.count(MATCH) <= 4 else None

        async with quirky_server(stub_status="ACTIVE", shows_names=False) as (server, client):
            server.refuse = refuse
            assert (await run(client, journal, job())).error is not None
            outcome = await run(client, journal, job())
            assert outcome.error is None
            assert server.audiences[0]["matched"]
            assert server.post_paths == [UPLOAD, *[MATCH] * 5]

    async def test_the_wait_does_not_end_on_the_active_of_a_list_from_before_the_match(self):
        async with quirky_server(stub_status="ACTIVE") as (server, client):
            seen: list[str] = []
            read = server._read

            def slow(path: str, query: dict[str, str]) -> tuple[int, Any]:
                """The first two reads after the match still show what was before, or the work."""
                if server.post_paths[-1:] != [MATCH] or len(seen) >= 2:
                    return read(path, query)
                seen.append(path)
                return 200, server._visible_fields(server.audiences[0]) | {
                    "status": "ACTIVE" if len(seen) < 2 else "PROCESSING"
                }

            server._read = slow
            assert (await match_csv(client)).size == 5_000

    async def test_a_match_response_about_another_audience_is_not_a_match(self):
        async with quirky_server() as (server, client):
            server.add(name="Others", uploadedAudienceCsv=csv_of("https://files.example.org/others.csv"))
            server._match = lambda _: (200, server._visible_fields(server.audiences[0]))
            with pytest.raises(AudienceExistsError, match="to the match of audience aud-2 with audience aud-1"):
                await match_csv(client)


class TestRefusals:
    @staticmethod
    def of_columns(_: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]] | None:
        columns = body.get("columnSelections", {})
        wrong = columns and "Frist" in str(columns)
        return (400, {"error": "the CSV has no column Frist"}) if wrong else None

    @pytest.mark.parametrize("lost_first", [False, True], ids=["at once", "after a 502"])
    @pytest.mark.parametrize("shows_names", [True, False])
    async def test_a_refused_match_is_reported_at_once_and_binds_nothing(
        self, journal: Path, *, lost_first: bool, shows_names: bool
    ):
        wrong = job(column_selections={"first_name": {"column_name": "Frist", "is_required": True}})
        async with quirky_server(shows_names=shows_names) as (server, client):

            def refuse(path: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]] | None:
                if lost_first and path == MATCH and server.post_paths.count(MATCH) == 1:
                    return 502, {"error": "bad gateway"}
                return self.of_columns(path, body)

            server.refuse = refuse
            for _turn in range(2):
                outcome = await run(client, journal, wrong)
                assert isinstance(outcome.error, ApiError)
                assert "no column Frist" in str(outcome.error)
            outcome = await run(client, journal, job())
            assert (outcome.error, outcome.warnings) == (None, ())

    async def test_a_csv_corrected_at_its_url_is_uploaded_again_after_a_refusal(self, journal: Path):
        async with quirky_server() as (server, client):
            server.refuse = lambda path, _: (400, {"error": "no column First"}) if path == MATCH else None
            await run(client, journal, job())
            server.refuse = lambda _path, _body: None
            assert (await run(client, journal, job())).error is None
            assert server.post_paths == [UPLOAD, MATCH, UPLOAD, MATCH]

    @pytest.mark.parametrize("status", [409, 425, 503])
    async def test_a_refusal_that_may_pass_keeps_the_journal_bound(self, journal: Path, status: int):
        async with quirky_server(shows_names=False) as (server, client):
            server.refuse = lambda path, _: (status, {"error": "busy"}) if path == LOOKALIKE else None
            first = await run(client, journal, job(lookalike=grown()))
            assert isinstance(first.error, ApiError)
            changed = await run(client, journal, job(lookalike=grown(4_000)))
            assert isinstance(changed.error, JournalMismatchError)

    async def test_an_already_matched_refusal_is_reported_if_no_match_appears(
        self, journal: Path, monkeypatch: pytest.MonkeyPatch
    ):
        monkeypatch.setattr("indigo_async.workflows.recipes.match._UNKNOWN_OUTCOME_SECONDS", 0.1)

        def refuse(path: str, _: dict[str, Any]) -> tuple[int, dict[str, Any]] | None:
            responses = [(502, {"error": "bad gateway"}), (400, {"error": "already full"}), None]
            return responses[min(server.post_paths.count(MATCH), 3) - 1] if path == MATCH else None

        async with quirky_server(shows_names=False) as (server, client):
            server.refuse = refuse
            assert "already full" in str((await run(client, journal, job())).error)
            changed = job(column_selections={"last_name": {"column_name": "Last", "is_required": True}})
            assert (await run(client, journal, changed)).error is None

    async def test_an_earlier_match_is_found_even_if_no_names_are_shown(self):
        async with quirky_server(shows_names=False, lose=[MATCH]) as (server, client):
            read = server._read

            def slow(path: str, query: dict[str, str]) -> tuple[int, Any]:
                """Between the two matches the work goes on."""
                return (
                    (200, server._visible_fields(server.audiences[0]))
                    if server.post_paths == [UPLOAD, MATCH]
                    else read(path, query)
                )

            server._read = slow

            assert (await match_csv(client)).status == "ACTIVE"
            assert server.post_paths == [UPLOAD, MATCH, MATCH]

    async def test_a_lookalike_that_may_have_been_made_keeps_the_journal_bound(self, journal: Path):
        async with quirky_server(shows_names=False, lose=[LOOKALIKE]) as (server, client):
            server.refuse = lambda path, _: (
                (400, {"error": "exists already"}) if path == LOOKALIKE and server.post_paths.count(path) > 1 else None
            )
            assert "exists already" in str((await run(client, journal, job(lookalike=grown()))).error)
            outcome = await run(client, journal, job(lookalike=grown(4_000)))
            assert isinstance(outcome.error, JournalMismatchError)

    async def test_a_lookalike_made_by_an_interrupted_run_is_found_without_a_warning(self, journal: Path):
        async with quirky_server(most_rows=0, lose=[LOOKALIKE]) as (server, client):
            server.refuse = lambda path, _: (
                (503, {"error": "down"}) if path == LOOKALIKE and server.post_paths.count(path) > 1 else None
            )
            assert (await run(client, journal, job(lookalike=grown()))).error is not None
            server.most_rows = None
            outcome = await run(client, journal, job(lookalike=grown()))
            assert (outcome.error, outcome.warnings) == (None, ())
            assert len(server.audiences_named("Donors+")) == 1

    async def test_a_lookalikes_size_may_be_corrected_after_a_refusal(self, journal: Path):
        async with quirky_server() as (server, client):
            server.refuse = lambda path, body: (
                (400, {"error": "size is too large"}) if path == LOOKALIKE and body["size"] > 5_000 else None
            )
            assert isinstance((await run(client, journal, job(lookalike=grown(9_000)))).error, ApiError)
            outcome = await run(client, journal, job(lookalike=grown(4_000)))
            assert (outcome.error, outcome.warnings) == (None, ())
            assert server.post_paths == [UPLOAD, MATCH, LOOKALIKE, LOOKALIKE]


class TestWhatBindsAJournal:
    @pytest.mark.parametrize(
        ("changes", "words"),
        [
            ({"csv": "https://files.example.org/lists/others.csv"}, "matched this audience from another CSV"),
            ({"column_selections": {"last_name": {"column_name": "Last", "is_required": True}}}, "with other columns"),
            ({"lookalike": grown(4_000)}, "made the lookalike with other lookalike settings"),
            ({"lookalike": None}, "made the lookalike with other lookalike settings"),
        ],
        ids=["CSV", "columns", "size", "no lookalike"],
    )
    async def test_what_was_made_from_other_inputs(self, journal: Path, changes: dict[str, Any], words: str):
        async with quirky_server() as (server, client):
            assert (await run(client, journal, job(lookalike=grown()))).error is None
            made = list(server.post_paths)
            outcome = await run(client, journal, attrs.evolve(job(lookalike=grown()), **changes))
            assert isinstance(outcome.error, JournalMismatchError)
            assert words in str(outcome.error)
            assert "Nothing was sent" in str(outcome.error)
            assert "journal recorded" not in str(outcome.error)
            assert server.post_paths == made
            assert (await run(client, journal, job(lookalike=grown()))).error is None

    async def test_another_server(self, journal: Path):
        async with quirky_server() as (_, client):
            await run(client, journal, job())
        async with quirky_server() as (server, client):
            outcome = await run(client, journal, job())
            assert isinstance(outcome.error, JournalMismatchError)
            assert "for another server" in str(outcome.error)
            assert "Check that the server (base_url) and the token are that run's" in str(outcome.error)
            assert "new name" not in str(outcome.error)
            assert server.post_paths == []

    async def test_a_lookalike_added_before_any_was_made_is_made(self, journal: Path):
        async with quirky_server() as (server, client):
            first = await run(client, journal, job())
            outcome = await run(client, journal, job(lookalike=grown()))
            assert (outcome.error, outcome.warnings) == (None, ())
            assert outcome.result.matched.id == first.result.matched.id
            assert server.post_paths == [UPLOAD, MATCH, LOOKALIKE]

    async def test_a_csv_corrected_before_anything_was_matched_is_uploaded_anew(self, journal: Path):
        async with quirky_server(stub_status="FAILED") as (server, client):
            assert isinstance((await run(client, journal, job())).error, AudienceFailedError)
            server.stub_status = "PROCESSING"
            corrected = job(csv="https://files.example.org/lists/corrected.csv")
            assert (await run(client, journal, corrected)).error is None
            assert server.post_paths == [UPLOAD, UPLOAD, MATCH]

    async def test_another_spelling_of_the_same_address_is_the_same(self, journal: Path):
        async with quirky_server() as (server, client):
            await run(client, journal, job(csv="https://Files.example.org:443/lists/donors.csv?sig=1"))
            local = client.settings.base_url.replace("127.0.0.1", "localhost")
            async with IndigoClient("token", base_url=local, poll_interval=0.005) as same:
                outcome = await run(same, journal, job())
            assert (outcome.error, outcome.warnings) == (None, ())
            assert server.post_paths == [UPLOAD, MATCH]


class TestWhatNobodyCanHaveExported:
    """`Run.made`: audiences whose exports need not be read before a preview."""

    async def made(self, client: IndigoClient, *, base_id: str | None = None) -> tuple[str, ...]:
        run = RecipeContext(client, CUSTOMER, "Donors", NameIndex(client))
        if base_id is None:
            await ensure_matched(run, CSV, COLUMNS)
        else:
            wanted = {"name": "Donors+", "size": 2_000, "include_original_audience": None, "filters": None}
            await ensure_lookalike(run, base_id, **wanted)
        return run.created_ids

    async def test_what_this_run_made(self):
        async with quirky_server() as (_, client):
            assert await self.made(client) == ("aud-1",)
            assert await self.made(client, base_id="aud-1") == ("aud-2",)

    @pytest.mark.parametrize("shown", [{"status": "ACTIVE"}, {"csvExports": [{"id": "exp-1"}]}, {"status": ""}])
    async def test_not_what_is_active_or_exported_already_in_its_first_response(self, shown: dict[str, Any]):
        async with quirky_server(shows_names=False) as (server, client):
            for method in ("_match", "_create_lookalike"):
                original = getattr(server, method)
                odd = lambda body, original=original: (200, original(body)[1] | shown)  # noqa: E731 - two of them
                setattr(server, method, odd)
            assert await self.made(client) == ()
            assert await self.made(client, base_id="aud-1") == ()

    async def test_not_what_existed_before(self):
        async with quirky_server(upserts=True, shows_names=False) as (server, client):
            stub = server.add(uploadedAudienceCsv=csv_of(), status="PROCESSING")
            server._upload = lambda _: (200, server._visible_fields(stub))
            assert await self.made(client) == ()
            server.add(name="Donors+", baseAudienceId="aud-1", status="PROCESSING", working=True)
            assert await self.made(client, base_id="aud-1") == ()


class TestAnUpsertingServer:
    async def test_a_lookalike_that_existed_is_judged_and_reported(self):
        async with quirky_server(upserts=True, shows_names=False) as (server, client):
            server.add(name="Donors+", baseAudienceId="aud-9", size=2_000)
            events: list[Event] = []
            assert (await create_lookalike(client, "aud-9", on_event=events.append)).id == "aud-1"
            assert warnings_in(events)[0].startswith("reusing audience aud-1 (same name, same base audience)")
            with pytest.raises(AudienceExistsError, match="is a lookalike of audience aud-9, not of aud-8"):
                await create_lookalike(client, "aud-8")

    async def test_an_upload_that_returns_another_audience_is_left_unchanged(self):
        async with quirky_server() as (server, client):
            server.add(name="Others", uploadedAudienceCsv=csv_of())
            server._upload = lambda _: (200, server._visible_fields(server.audiences[0]))
            with pytest.raises(AudienceExistsError, match="which already exists with the name 'Others'"):
                await match_csv(client)
            assert server.post_paths == [UPLOAD]

    async def test_an_upload_that_returns_the_audience_with_the_name_is_reported_as_a_reuse(self):
        events: list[Event] = []
        async with quirky_server(shows_names=False) as (server, client):
            existing = server.add(name="Donors", uploadedAudienceCsv=csv_of())

            def upload(_: dict[str, Any]) -> tuple[int, Any]:
                server.shows_names = True
                return 200, server._visible_fields(existing)

            server._upload = upload
            assert (await match_csv(client, on_event=events.append)).id == "aud-1"
        assert [event.evidence for event in events if isinstance(event, AudienceReused)] == ["same name, same CSV URL"]
        assert warnings_in(events) == ["reusing audience aud-1 (same name, same CSV URL); columns are not compared"]


CANARY = "canary-3f70"
SIGNED = f"https://files.example.org/lists/donors.csv?X-Amz-Signature={CANARY}"
SIGNED_OTHERS = f"https://files.example.org/lists/others.csv?X-Amz-Signature={CANARY}"


@pytest.mark.parametrize("in_batch", [True, False], ids=["batch", "recipe"])
async def test_an_error_about_a_namesake_holds_no_signed_url(*, in_batch: bool):
    async with quirky_server() as (server, client):
        server.add(name="Donors", uploadedAudienceCsv=csv_of(SIGNED_OTHERS))
        if in_batch:
            error = (await run(client, None, job(csv=SIGNED))).error
        else:
            with pytest.raises(AudienceExistsError) as caught:
                await match_csv(client, SIGNED)
            error = caught.value
    assert isinstance(error, AudienceExistsError)
    text = "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())
    own_frames = [part for part in text.split("  File ") if "indigo_async/" in part]
    assert len(own_frames) >= 3
    assert not any(CANARY in part for part in own_frames)
    assert CANARY not in repr(error.audience)
