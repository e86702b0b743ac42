"""Events as metrics. Attributes have few values (endpoints, stages, kinds of errors), and never name a customer."""

from __future__ import annotations

from functools import cache
from weakref import ref

import attrs
from opentelemetry import metrics
from opentelemetry.metrics import Counter, Histogram, UpDownCounter

from indigo_async.client import IndigoClient
from indigo_async.events import (
    Event,
    ExportPriced,
    ExportPurchased,
    RecipeFailed,
    RecipeFinished,
    RecipeStarted,
    RequestEnded,
    RequestRetried,
    StageFailed,
    StageFinished,
)
from indigo_async.telemetry._attributes import Attributes, ServerAttributes, error_type_for

__all__ = ["MetricsListener", "get_instruments"]

# From OpenTelemetry's semantic conventions for `http.client.request.duration`.
_REQUEST_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10)
_RECIPE_SECONDS = (1, 5, 15, 30, 60, 120, 300, 600, 1_200, 1_800, 3_600, 7_200, 14_400)
_CENTS = (0, 100, 1_000, 5_000, 10_000, 50_000, 100_000, 500_000, 1_000_000)


@attrs.frozen
class _Instruments:
    requests: Histogram
    retries: Counter
    recipes: Histogram
    active_recipes: UpDownCounter
    stages: Histogram
    polls: Counter
    poll_requests: Counter
    prices: Histogram
    spent: Counter


@cache
def get_instruments(provider: metrics.MeterProvider | None) -> _Instruments:
    """The instruments, which all clients of a provider share."""
    meter = metrics.get_meter("indigo_async", meter_provider=provider)
    return _Instruments(
        requests=meter.create_histogram(
            "http.client.request.duration",
            unit="s",
            description="Duration of HTTP client requests.",
            explicit_bucket_boundaries_advisory=_REQUEST_SECONDS,
        ),
        retries=meter.create_counter(
            "indigo.request.retries", unit="{retry}", description="Requests that were sent again."
        ),
        recipes=meter.create_histogram(
            "indigo.recipe.duration",
            unit="s",
            description="Duration of recipes and jobs, including waits.",
            explicit_bucket_boundaries_advisory=_RECIPE_SECONDS,
        ),
        active_recipes=meter.create_up_down_counter(
            "indigo.recipe.active", unit="{recipe}", description="Recipes and jobs in progress."
        ),
        stages=meter.create_histogram(
            "indigo.stage.duration",
            unit="s",
            description="Duration of stages, including waits.",
            explicit_bucket_boundaries_advisory=_RECIPE_SECONDS,
        ),
        polls=meter.create_counter(
            "indigo.polling.polls", unit="{poll}", description="Status checks of audiences that are waited for."
        ),
        poll_requests=meter.create_counter(
            "indigo.polling.requests", unit="{request}", description="Requests made for these status checks."
        ),
        prices=meter.create_histogram(
            "indigo.export.price",
            unit="{cent}",
            description="Prices of previewed exports.",
            explicit_bucket_boundaries_advisory=_CENTS,
        ),
        spent=meter.create_counter("indigo.export.spent", unit="{cent}", description="Amount spent on purchases."),
    )


class MetricsListener:
    """A listener that records the metrics of one client."""

    def __init__(self, instruments: _Instruments, server: ServerAttributes, client: IndigoClient) -> None:
        self._instruments = instruments
        self._server = server
        self._core = ref(client.core)  # which refers to this listener
        stats = client.core.poller.stats if client.core.poller is not None else None
        self._polls = stats.polls if stats is not None else 0
        self._poll_requests: dict[str, int] = dict(stats.requests) if stats is not None else {}

    def __call__(self, event: Event) -> None:
        instruments = self._instruments
        match event:
            case RequestEnded():
                self._record_request(event)
            case RequestRetried(endpoint=endpoint, reason=reason):
                instruments.retries.add(1, self._server.attributes_for(endpoint) | {"error.type": reason})
            case RecipeStarted(recipe=recipe):
                instruments.active_recipes.add(1, {"indigo.recipe": recipe})
            case RecipeFinished(recipe=recipe, seconds=seconds):
                self._record_recipe(recipe, seconds, None)
            case RecipeFailed(recipe=recipe, seconds=seconds, error_type=error_type):
                self._record_recipe(recipe, seconds, error_type)
            case StageFinished(stage=stage, seconds=seconds):
                instruments.stages.record(seconds, {"indigo.stage": stage.value})
            case StageFailed(stage=stage, seconds=seconds, error_type=error_type):
                instruments.stages.record(seconds, {"indigo.stage": stage.value, "error.type": error_type})
            case ExportPriced(cost_cents=int(cents)):
                instruments.prices.record(cents)
            case ExportPurchased(cost_cents=cents):
                instruments.spent.add(cents)
            case _:
                pass

    def _record_request(self, event: RequestEnded) -> None:
        attributes = self._server.attributes_for(event.endpoint)
        if event.status is not None:
            attributes["http.response.status_code"] = event.status
        error_type = error_type_for(event)
        if error_type is not None:
            attributes["error.type"] = error_type
        self._instruments.requests.record(event.seconds, attributes)
        self.count_polls()

    def _record_recipe(self, recipe: str, seconds: float, error_type: str | None) -> None:
        attributes: Attributes = {"indigo.recipe": recipe}
        self._instruments.active_recipes.add(-1, attributes)
        if error_type is not None:
            attributes = attributes | {"error.type": error_type}
        self._instruments.recipes.record(seconds, attributes)
        self.count_polls()

    def count_polls(self) -> None:
        """Add what polling has cost since the last call."""
        core = self._core()
        if core is None or core.poller is None:
            return
        stats = core.poller.stats
        self._instruments.polls.add(stats.polls - self._polls)
        self._polls = stats.polls
        for kind, reads in stats.requests.items():
            self._instruments.poll_requests.add(reads - self._poll_requests.get(kind, 0), {"indigo.polling.kind": kind})
        self._poll_requests = dict(stats.requests)
