"""Histories that once failed a check, as short as they can be; each is one that the machine made up."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from indigo_async.sandbox import Dialect, Fault, FaultKind
from tests.chaos.histories import Histories
from tests.chaos.world import TIMEOUT, Disruption, EntryPoint, Interruption, InterruptionKind, JobSpec, WorldSpec

FREE = JobSpec(field_types=())
HIDDEN_STATUS = Dialect(shows_export_status=False)
PREVIEW, PURCHASE = "POST /create_preview_csv_export", "POST /purchase_csv_export"


@pytest.fixture
def history() -> Iterator[Histories]:
    """A history that ends well after what the test has done in it."""
    history = Histories()
    try:
        yield history
        history.finish_without_faults()
    finally:
        history.close()


@pytest.mark.parametrize(
    "trouble", [None, Interruption(InterruptionKind.CANCELLED, 12), Interruption(InterruptionKind.KILLED, 12)], ids=str
)
def test_a_purchase_is_carried_out_and_its_response_comes_too_late(history: Histories, trouble: Disruption):
    history.begin(WorldSpec(jobs=(JobSpec(), FREE), journal=False))
    late = Fault(kind=FaultKind.DELAY_AFTER, endpoint=PURCHASE, times=2, delay=1.5 * TIMEOUT)
    history.run_batch([late], purchase=True, trouble=trouble)


@pytest.mark.parametrize("journal", [True, False])
@pytest.mark.parametrize("dialect", [Dialect(), HIDDEN_STATUS], ids=["shown", "hidden"])
@pytest.mark.parametrize("endpoint", [PREVIEW, PURCHASE])
def test_an_export_fails(history: Histories, endpoint: str, dialect: Dialect, journal: bool):
    history.begin(WorldSpec(jobs=(FREE, JobSpec()), journal=journal, dialect=dialect))
    history.run_batch([Fault(kind=FaultKind.STAGE_FAILS, endpoint=endpoint)], purchase=True, trouble=None)


def test_an_export_failed_with_an_undocumented_status(history: Histories):
    history.begin(
        WorldSpec(jobs=(JobSpec(has_lookalike=False),), journal=False, dialect=Dialect(shows_field_types=False))
    )
    history.run_batch([Fault(kind=FaultKind.STAGE_FAILS, endpoint=PURCHASE)], purchase=True, trouble=None)
    after_the_match = Fault(kind=FaultKind.UNKNOWN_STATUS, endpoint="GET /audience", times=None, skip_first=1)
    history.run_batch([after_the_match], purchase=True, trouble=None)


def test_a_budget_per_run_purchases_what_the_last_run_could_not(history: Histories):
    history.begin(
        WorldSpec(jobs=(JobSpec(has_lookalike=False), JobSpec(has_lookalike=False)), journal=False, budget_cents=10_000)
    )
    history.run_batch([], purchase=True, trouble=None)
    history.run_single_jobs([], EntryPoint.RECIPES, purchase=False, trouble=None)
