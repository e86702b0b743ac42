"""The metrics, their units and their attributes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader, Metric

from indigo_async.client import get_poller
from indigo_async.errors import AudienceFailedError
from indigo_async.sandbox import Fault, FaultKind
from indigo_async.telemetry import instrument
from tests.support.observed_recipes import CSV, CUSTOMER, MATCH, UPLOAD, export_csv, match_csv
from tests.support.servers.scripted import sandbox_and_client


class Meters:
    """A meter provider and what it has measured."""

    def __init__(self) -> None:
        self._reader = InMemoryMetricReader()
        self.provider = MeterProvider([self._reader])

    def metrics(self) -> dict[str, Metric]:
        data = self._reader.get_metrics_data()
        assert data is not None
        (scope,) = data.resource_metrics[0].scope_metrics
        return {metric.name: metric for metric in scope.metrics}

    def points(self, name: str) -> list[tuple[dict[str, Any], Any]]:
        return [(dict(point.attributes), point) for point in self.metrics()[name].data.data_points]


async def test_time_money_and_polling_are_measured(tmp_path: Path):
    meters = Meters()
    async with sandbox_and_client() as (sandbox, client):
        instrument(client, meter_provider=meters.provider)
        audience = await match_csv(client)
        await export_csv(client, audience, tmp_path)
        charged = sandbox.counts().charged_cents
        stats = get_poller(client).stats
        reads = sandbox.log.count("GET /audiences") + sandbox.log.count("GET /audience")
    metrics = meters.metrics()
    assert {name: metric.unit for name, metric in metrics.items()} == {
        "http.client.request.duration": "s",
        "indigo.recipe.duration": "s",
        "indigo.recipe.active": "{recipe}",
        "indigo.stage.duration": "s",
        "indigo.polling.polls": "{poll}",
        "indigo.polling.requests": "{request}",
        "indigo.export.price": "{cent}",
        "indigo.export.spent": "{cent}",
    }
    ((_, spent),) = meters.points("indigo.export.spent")
    ((_, price),) = meters.points("indigo.export.price")
    assert spent.value == price.sum == charged > 0
    recipes = {
        attributes["indigo.recipe"]: point.count for attributes, point in meters.points("indigo.recipe.duration")
    }
    assert recipes == {"upload_and_match": 1, "export_audience": 1}
    assert all(point.value == 0 for _, point in meters.points("indigo.recipe.active"))
    stages = [attributes["indigo.stage"] for attributes, _ in meters.points("indigo.stage.duration")]
    assert stages == ["upload", "match", "preview", "purchase", "download"]
    assert sum(point.value for _, point in meters.points("indigo.polling.polls")) == stats.polls
    assert sum(point.value for _, point in meters.points("indigo.polling.requests")) == sum(stats.requests.values())
    gets = [point.count for attributes, point in meters.points("http.client.request.duration") if _is_get(attributes)]
    assert sum(gets) == reads


def _is_get(attributes: dict[str, Any]) -> bool:
    return attributes["http.request.method"] == "GET"


async def test_retries_and_failures_are_measured_by_kind():
    meters = Meters()
    async with sandbox_and_client() as (sandbox, client):
        instrument(client, meter_provider=meters.provider)
        sandbox.faults.add(Fault(kind=FaultKind.ERROR_BEFORE, endpoint=UPLOAD, status=429, times=2))
        sandbox.faults.add(Fault(kind=FaultKind.STAGE_FAILS, endpoint=MATCH))
        with pytest.raises(AudienceFailedError):
            await match_csv(client)
    ((attributes, retries),) = meters.points("indigo.request.retries")
    assert (attributes["url.template"], attributes["error.type"], retries.value) == ("/api/v1/upload_csv", "429", 2)
    failed = {
        (name, attributes["error.type"])
        for name in ("indigo.recipe.duration", "indigo.stage.duration")
        for attributes, _ in meters.points(name)
        if "error.type" in attributes
    }
    assert failed == {(name, "AudienceFailedError") for name in ("indigo.recipe.duration", "indigo.stage.duration")}


async def test_no_attribute_names_a_customer_or_an_audience(tmp_path: Path):
    meters = Meters()
    async with sandbox_and_client() as (sandbox, client):
        instrument(client, meter_provider=meters.provider)
        sandbox.faults.add(Fault(kind=FaultKind.ERROR_BEFORE, endpoint=UPLOAD, status=429))
        await export_csv(client, await match_csv(client, name="Donors of Acme"), tmp_path)
    names = {name for metric in meters.metrics() for attributes, _ in meters.points(metric) for name in attributes}
    values = {
        str(value)
        for metric in meters.metrics()
        for attributes, _ in meters.points(metric)
        for value in attributes.values()
    }
    assert names <= {
        "error.type",
        "http.request.method",
        "http.response.status_code",
        "indigo.polling.kind",
        "indigo.recipe",
        "indigo.stage",
        "server.address",
        "server.port",
        "url.template",
    }
    assert not values & {CUSTOMER, CSV, "Donors of Acme"}


async def test_a_client_that_is_instrumented_twice_is_measured_once(tmp_path: Path):
    meters = Meters()
    async with sandbox_and_client() as (sandbox, client):
        instrument(client, meter_provider=meters.provider)
        audience = await match_csv(client)
        instrument(client, meter_provider=meters.provider)
        await export_csv(client, audience, tmp_path)
        charged = sandbox.counts().charged_cents
        stats = get_poller(client).stats
    ((_, spent),) = meters.points("indigo.export.spent")
    assert spent.value == charged
    assert sum(point.value for _, point in meters.points("indigo.polling.polls")) == stats.polls
    assert sum(point.value for _, point in meters.points("indigo.polling.requests")) == sum(stats.requests.values())
    assert all(point.value == 0 for _, point in meters.points("indigo.recipe.active"))
    measured = sum(point.count for _, point in meters.points("http.client.request.duration"))
    assert measured == sum(client.transport.requests.values())


async def test_another_provider_replaces_the_first():
    first, second = Meters(), Meters()
    async with sandbox_and_client() as (_, client):
        for meters in (first, second):
            instrument(client, meter_provider=meters.provider)
            await client.list_audiences()
    for meters in (first, second):
        ((_, point),) = meters.points("http.client.request.duration")
        assert point.count == 1


async def test_clients_of_one_provider_share_their_instruments():
    meters = Meters()
    for _ in range(2):
        async with sandbox_and_client() as (_, client):
            instrument(client, meter_provider=meters.provider)
            await client.list_audiences()
    assert sum(point.count for _, point in meters.points("http.client.request.duration")) == 2
