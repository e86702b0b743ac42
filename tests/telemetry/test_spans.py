"""A recipe, its stages and their requests form a tree of spans, however many run at once, without secrets."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from aiohttp import web
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from indigo_async import IndigoClient, RetryPolicy, workflows
from indigo_async.errors import AudienceFailedError, ConnectionFailedError, WaitTimeoutError
from indigo_async.sandbox import Fault, FaultKind, Sandbox
from indigo_async.sandbox.http.signed_urls import UrlSigner
from indigo_async.telemetry import instrument
from indigo_async.workflows import AudienceJob, ExportStep, LookalikeStep
from tests.support.observed_recipes import COLUMNS, CSV, match_csv
from tests.support.servers.scripted import open_client, sandbox_and_client, server_and_client

STAGES = ["upload", "match", "lookalike", "preview", "purchase", "download"]


class Recorder:
    """A tracer provider and its finished spans."""

    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()
        self.provider = TracerProvider()
        self.provider.add_span_processor(SimpleSpanProcessor(self._exporter))

    @property
    def spans(self) -> tuple[ReadableSpan, ...]:
        return self._exporter.get_finished_spans()

    def named(self, name: str) -> list[ReadableSpan]:
        return [span for span in self.spans if span.name == name]

    def path_of(self, span: ReadableSpan) -> list[str]:
        """The names of the spans from the root to this one."""
        by_id = {span.context.span_id: span for span in self.spans}
        names = [span.name]
        while span.parent is not None:
            span = by_id[span.parent.span_id]
            names.insert(0, span.name)
        return names


@asynccontextmanager
async def recorded(**options: Any) -> AsyncGenerator[tuple[Sandbox, IndigoClient, Recorder]]:
    recorder = Recorder()
    async with sandbox_and_client(**options) as (sandbox, client):
        instrument(client, tracer_provider=recorder.provider)
        yield sandbox, client, recorder


def job(number: int, folder: Path) -> AudienceJob:
    return AudienceJob(
        customer_id=f"customer-{number % 3}",
        audience_name=f"List {number}",
        csv=CSV,
        column_selections=COLUMNS,
        lookalike=LookalikeStep(audience_name=f"List {number}, grown", size=2_000),
        export=ExportStep(destination=folder / f"{number}.csv", optional_field_types=["phone"], max_cost_cents=10**7),
    )


async def test_a_job_is_a_tree_of_its_stages_and_their_requests(tmp_path: Path):
    async with recorded() as (_, client, recorder):
        await workflows.run_job(client, job(1, tmp_path))
    (recipe,) = recorder.named("indigo.run_job")
    assert recipe.parent is None
    assert recipe.attributes == {
        "indigo.recipe": "run_job",
        "indigo.customer_id": "customer-1",
        "indigo.audience_name": "List 1",
    }
    stages = [span for span in recorder.spans if span.parent and span.parent.span_id == recipe.context.span_id]
    assert [span.name for span in stages if span.kind is SpanKind.INTERNAL] == [f"indigo.{stage}" for stage in STAGES]
    posts = {span.name: recorder.path_of(span)[:-1] for span in recorder.spans if span.name.startswith("POST")}
    assert posts == {
        "POST /api/v1/upload_csv": ["indigo.run_job", "indigo.upload"],
        "POST /api/v1/match_uploaded_csv": ["indigo.run_job", "indigo.match"],
        "POST /api/v1/create_lookalike_audience": ["indigo.run_job", "indigo.lookalike"],
        "POST /api/v1/create_preview_csv_export": ["indigo.run_job", "indigo.preview"],
        "POST /api/v1/purchase_csv_export": ["indigo.run_job", "indigo.purchase"],
    }
    assert all(span.status.status_code is StatusCode.UNSET for span in recorder.spans)


async def test_a_request_span_follows_the_http_client_conventions():
    async with recorded() as (sandbox, client, recorder):
        await client.list_audiences("42")
        port = urlsplit(sandbox.base_url).port
    (span,) = recorder.spans
    assert span.kind is SpanKind.CLIENT
    assert span.attributes == {
        "http.request.method": "GET",
        "http.response.status_code": 200,
        "indigo.request_id": "req-1",
        "server.address": "127.0.0.1",
        "server.port": port,
        "url.full": f"http://127.0.0.1:{port}/api/v1/audiences",
        "url.template": "/api/v1/audiences",
    }


async def test_polls_belong_to_no_recipe():
    async with recorded() as (_, client, recorder):
        await match_csv(client)
    polls = [span for span in recorder.spans if span.name in {"GET /api/v1/audience", "GET /api/v1/audiences"}]
    assert sum(span.parent is None for span in polls) >= 2
    statuses = [event.attributes["indigo.status"] for event in recorder.named("indigo.match")[0].events]
    assert statuses[-1] == "ACTIVE"


async def test_the_spans_of_concurrent_jobs_never_mix(tmp_path: Path):
    async with recorded() as (_, client, recorder):
        report = await workflows.run_batch(client, [job(number, tmp_path) for number in range(100)])
    assert report.done == 100
    recipes = {span.context.span_id: span for span in recorder.named("indigo.job")}
    assert len({span.context.trace_id for span in recipes.values()}) == len(recipes) == 100
    stages = Counter(span.name for span in recorder.spans if span.kind is SpanKind.INTERNAL)
    assert stages == {"indigo.job": 100} | {f"indigo.{stage}": 100 for stage in STAGES}
    for span in recorder.spans:
        if span.parent is not None and span.parent.span_id in recipes and "indigo.stage" in span.attributes:
            about = recipes[span.parent.span_id].attributes["indigo.audience_name"]
            assert span.attributes["indigo.audience_name"] == about


async def test_the_callers_span_is_the_recipes_parent_and_is_current_again_afterwards():
    async with recorded() as (_, client, recorder):
        with recorder.provider.get_tracer("service").start_as_current_span("POST /matches") as outer:
            await match_csv(client)
            assert trace.get_current_span() is outer
    (recipe,) = recorder.named("indigo.upload_and_match")
    assert recorder.path_of(recipe) == ["POST /matches", "indigo.upload_and_match"]


async def test_a_failed_stage_marks_only_itself_and_its_recipe():
    async with recorded() as (sandbox, client, recorder):
        sandbox.faults.add(Fault(kind=FaultKind.STAGE_FAILS, endpoint="POST /match_uploaded_csv"))
        with pytest.raises(AudienceFailedError):
            await match_csv(client)
    failed = {span.name: span.attributes["error.type"] for span in recorder.spans if not span.status.is_ok}
    assert failed == {
        "indigo.match": "AudienceFailedError",
        "indigo.upload_and_match": "AudienceFailedError",
    }
    assert trace.get_current_span() is trace.INVALID_SPAN


async def test_each_attempt_of_a_request_is_a_span_and_each_retry_an_event():
    async with recorded() as (sandbox, client, recorder):
        sandbox.faults.add(Fault(kind=FaultKind.ERROR_BEFORE, endpoint="GET /audiences", status=503, times=2))
        await client.list_audiences("42")
    attempts = [
        (span.attributes["http.response.status_code"], span.attributes.get("http.request.resend_count"))
        for span in recorder.spans
    ]
    assert attempts == [(503, None), (503, 1), (200, 2)]
    assert [span.attributes.get("error.type") for span in recorder.spans] == ["503", "503", None]


async def test_a_request_without_a_response_has_its_reason():
    once = RetryPolicy(attempts=1)
    async with recorded(client={"retry": once}) as (sandbox, client, recorder), sandbox.refuse_connections():
        with pytest.raises(ConnectionFailedError):
            await client.list_audiences()
    (span,) = recorder.spans
    assert span.attributes["error.type"] == "not_sent"
    assert "http.response.status_code" not in span.attributes


async def test_canceling_a_request_ends_its_span():
    async def never(_: web.BaseRequest) -> web.StreamResponse:
        await asyncio.Event().wait()
        return web.Response()

    recorder = Recorder()
    async with server_and_client(never) as (server, client):
        instrument(client, tracer_provider=recorder.provider)
        asking = asyncio.create_task(client.list_audiences())
        await server.request_received.wait()
        asking.cancel()
        await asyncio.wait([asking])
    assert [span.attributes["error.type"] for span in recorder.spans] == ["CancelledError"]


async def test_a_recipe_that_times_out_has_that_error_type():
    async with recorded(speed=1.0) as (_, client, recorder):
        with pytest.raises(WaitTimeoutError):
            await workflows.upload_and_match(
                client, CSV, customer_id="42", audience_name="Donors", column_selections=COLUMNS, timeout=0.05
            )
    (recipe,) = recorder.named("indigo.upload_and_match")
    assert recipe.attributes["error.type"] == "WaitTimeoutError"


async def test_no_span_shows_a_token_a_signature_or_a_query(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    plain = UrlSigner.url_for
    monkeypatch.setattr(UrlSigner, "url_for", lambda links, of: f"{plain(links, of)}&canary=canary-download-7a1c")
    recorder = Recorder()
    async with Sandbox(lite=True, speed=10_000.0, token="canary-token-0c2e") as sandbox, open_client(sandbox) as client:
        instrument(client, tracer_provider=recorder.provider)
        sandbox.faults.add(Fault(kind=FaultKind.ERROR_AFTER, endpoint="POST /purchase_csv_export", status=502))
        sandbox.faults.add(Fault(kind=FaultKind.ERROR_BEFORE, endpoint="POST /upload_csv", status=429))
        await workflows.run_job(client, job(1, tmp_path))
    seen = "\n".join(span.to_json() for span in recorder.spans)
    assert "indigo.ExportPurchased" in seen
    assert "canary" not in seen
    assert "customerId" not in seen


async def test_a_client_that_is_not_instrumented_creates_no_spans():
    async with recorded() as (sandbox, _, recorder), open_client(sandbox) as other:
        await other.list_audiences("42")
    assert recorder.spans == ()


async def test_a_client_that_is_instrumented_twice_has_one_tree_of_spans():
    seen: list[object] = []
    async with recorded(client={"on_event": seen.append}) as (_, client, recorder):
        instrument(client, tracer_provider=recorder.provider)
        await match_csv(client)
    names = Counter(span.name for span in recorder.spans)
    assert (names["indigo.upload_and_match"], names["indigo.upload"], names["indigo.match"]) == (1, 1, 1)
    assert recorder.path_of(recorder.named("indigo.match")[0]) == ["indigo.upload_and_match", "indigo.match"]
    assert names["POST /api/v1/upload_csv"] == 1
    assert seen
