"""Whatever is asked in whatever order, what the sandbox promises holds. No sockets: endpoints are plain coroutines."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import attrs
import hypothesis.strategies as st
import msgspec
from hypothesis import given, settings

from indigo_async.sandbox import ManualClock
from indigo_async.sandbox.dialect import Dialect
from indigo_async.sandbox.errors import HttpError
from indigo_async.sandbox.http.endpoints import ENDPOINTS, Backend, EndpointRequest
from indigo_async.sandbox.http.parameters import Parameters
from indigo_async.sandbox.http.rendering import RenderContext, render
from indigo_async.sandbox.http.signed_urls import UrlSigner
from indigo_async.sandbox.state.background import BackgroundTasks
from indigo_async.sandbox.state.engine import LiteEngine
from indigo_async.sandbox.state.records import StageTimes
from indigo_async.sandbox.state.store import Store

Flow = Literal["synchronous", "asynchronous"]
CUSTOMERS = ("1", "2")
NAMES = ("A", "B", "C", "D", "E", "F")
ORDER = {"PROCESSING": 0, "READY_FOR_COLUMN_SELECTION": 2, "ACTIVE": 2, "FAILED": 3}
COLUMNS = {"phone": {"column_name": "x", "is_required": True}}


@attrs.frozen
class World:
    """A sandbox without its server."""

    clock: ManualClock
    service: Backend
    rendering: RenderContext

    async def ask(self, endpoint: str, parameters: dict[str, Any], failure: str | None = None) -> Any:
        """What the endpoint answers, or None where it refuses."""
        with contextlib.suppress(HttpError):
            answer = await ENDPOINTS[endpoint](self.service, EndpointRequest(Parameters(parameters), failure))
            return msgspec.json.decode(render(self.rendering, answer))
        return None


@contextlib.contextmanager
def new_world(flow: Flow) -> Iterator[World]:
    clock, store = ManualClock(), Store("integer")
    with tempfile.TemporaryDirectory() as folder:
        service = Backend(
            clock=clock,
            store=store,
            engine=LiteEngine(),
            background_tasks=BackgroundTasks(),
            stage_times=StageTimes(),
            export_flow=flow,
            export_folder=Path(folder),
            dialect=Dialect(id_type="integer"),
        )
        links = UrlSigner("http://127.0.0.1", clock, 100)
        yield World(
            clock,
            service,
            RenderContext(
                clock=clock, store=store, url_signer=links, dialect=Dialect(id_type="integer"), export_flow=flow
            ),
        )


@attrs.frozen
class Step:
    """A request about one of the records that exist by then, mostly by its owner, after some time."""

    endpoint: str
    pick: int
    is_stranger: bool
    name: str
    field_types: list[str]
    failure: str | None
    wait: float


steps = st.builds(
    Step,
    endpoint=st.sampled_from([*(endpoint for endpoint in ENDPOINTS if endpoint.startswith("POST"))]),
    pick=st.integers(0, 50),
    is_stranger=st.sampled_from([False, False, False, False, True]),
    name=st.sampled_from(NAMES),
    field_types=st.lists(st.sampled_from(["phone", "address"]), max_size=2),
    failure=st.sampled_from([None, None, None, None, None, "Failed"]),
    wait=st.sampled_from([0.0, 5.0, 20.0, 60.0]),
)


@attrs.define
class StepHistory:
    """What was made and bought, by the answers."""

    audiences: list[tuple[int, str]] = attrs.Factory(list)
    exports: list[tuple[int, str]] = attrs.Factory(list)
    bought: Counter[int] = attrs.Factory(Counter)
    charged_cents: int = 0

    def parameters(self, step: Step) -> dict[str, Any]:
        """The request that a step means: among the latest records, so that few requests come too late."""
        known = self.exports if step.endpoint == "POST /purchase_csv_export" else self.audiences
        record_id, owner = known[-1 - step.pick % min(len(known), 6)] if known else (0, "1")
        stranger = "2" if owner == "1" else "1"
        customer_id = CUSTOMERS[step.pick % 2] if step.endpoint == "POST /upload_csv" else owner
        return {
            "customerId": stranger if step.is_stranger else customer_id,
            **dict.fromkeys(("audienceID", "audienceId", "baseAudienceId", "exportId"), record_id),
            "audienceName": step.name,
            "url": "http://127.0.0.1/x",
            "columnSelections": COLUMNS,
            "size": 1 + step.pick * 100,
            "optionalFieldTypes": step.field_types,
        }

    def note(self, step: Step, customer_id: str, answer: dict[str, Any]) -> None:
        if step.endpoint == "POST /purchase_csv_export":
            self.bought[answer["id"]] += 1
            self.charged_cents += answer["cost"]
        elif step.endpoint == "POST /create_preview_csv_export":
            self.exports.append((answer["id"], customer_id))
        elif step.endpoint != "POST /match_uploaded_csv":
            self.audiences.append((answer["id"], customer_id))


@settings(max_examples=100)
@given(st.sampled_from(["synchronous", "asynchronous"]), st.lists(steps, min_size=30, max_size=80))
def test_the_sandbox_keeps_its_invariants(flow: Flow, steps: list[Step]):
    asyncio.run(run_steps(flow, steps))


def test_step_histories_reach_purchases():
    """The story that proves the test above to be about something."""
    calm = Step("", 0, is_stranger=False, name="A", field_types=["phone"], failure=None, wait=60.0)
    endpoints = (
        "POST /upload_csv",
        "POST /match_uploaded_csv",
        "POST /create_preview_csv_export",
        "POST /purchase_csv_export",
    )
    for flow in ("synchronous", "asynchronous"):
        steps = [attrs.evolve(calm, endpoint=endpoint) for endpoint in (*endpoints, endpoints[-1])]
        assert asyncio.run(run_steps(flow, steps)).bought.total() == 1


async def run_steps(flow: Flow, steps: list[Step]) -> StepHistory:
    story = StepHistory()
    progress: dict[tuple[str, int], int] = {}
    with new_world(flow) as world:
        for step in steps:
            parameters = story.parameters(step)
            answer = await world.ask(step.endpoint, parameters, step.failure)
            if answer is not None:
                story.note(step, parameters["customerId"], answer)
            await world.service.background_tasks.wait_until_idle()
            assert_invariants(progress, await assert_list_matches_reads(world))
            world.clock.advance(step.wait)
            assert_invariants(progress, await assert_list_matches_reads(world))
        counts = world.service.store.counts()
    assert counts.purchases_by_export == story.bought
    assert all(count == 1 for count in story.bought.values())
    assert counts.charged_cents == story.charged_cents
    return story


def assert_invariants(progress: dict[tuple[str, int], int], rows: list[Any]) -> None:
    assert_progress(progress, rows)
    assert_unique_names(rows)


async def assert_list_matches_reads(world: World) -> list[Any]:
    """The whole list, whose kept rows must say what is true now; URLs may differ in when they expire."""
    rows: list[Any] = await world.ask("GET /audiences", {})
    for row in rows:
        record = await world.ask("GET /audience", {"audienceId": row["id"], "customerId": row["customerId"]})
        assert without_urls(row) == without_urls(record)
    return rows


def without_urls(record: Any) -> Any:
    exports = [export | {"downloadUrl": "downloadUrl" in export} for export in record["csvExports"]]
    return record | {"csvExports": exports}


def assert_progress(progress: dict[tuple[str, int], int], rows: list[Any]) -> None:
    """A status never goes back, and the last ones are final."""
    for row in rows:
        stages = [("audience", row["id"], row["status"])]
        if "uploadedAudienceCsv" in row:
            stages.append(("upload", row["id"], row["uploadedAudienceCsv"]["status"]))
        for kind, record_id, status in stages:
            rank = ORDER[status]
            before = progress.get((kind, record_id), rank)
            assert rank == before or (rank > before and before < 2)
            progress[kind, record_id] = rank


def assert_unique_names(rows: list[Any]) -> None:
    named = Counter((row["customerId"], row["name"]) for row in rows if "name" in row)
    assert all(count == 1 for count in named.values())
