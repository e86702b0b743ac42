from __future__ import annotations

import math
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given

from indigo_async.sandbox import ManualClock, ScaledClock, StageTimes
from indigo_async.sandbox.clock import format_timestamp
from indigo_async.sandbox.state.records import Phase, Stage
from tests.support.sandbox_http import SandboxApi, open_api

times = st.floats(0, 1e6)


@given(times, times, st.booleans(), st.none() | st.just("Reason"))
def test_a_stage_ends_when_it_is_computed_and_due(due: float, now: float, is_computed: bool, failure: str | None):
    work = Stage(due, is_computed=is_computed, failure_reason=failure)
    over = Phase.DONE if failure is None else Phase.FAILED
    assert work.phase(now) is (over if is_computed and now >= due else Phase.RUNNING)
    assert work.complete().phase(max(now, due)) is over


@given(times, times, times, st.booleans())
def test_a_phase_holds_until_its_next_change(due: float, now: float, later: float, is_computed: bool):
    work = Stage(due, is_computed=is_computed)
    if now <= later < work.next_change_at(now):
        assert work.phase(later) is work.phase(now)
    if math.isfinite(work.next_change_at(now)):
        assert work.phase(work.next_change_at(now)) is not work.phase(now)


def test_a_planned_failure_keeps_its_reason():
    assert Stage(0, failure_reason="First").complete("Second").failure_reason == "First"
    assert Stage(0).complete("Second").failure_reason == "Second"


def test_a_manual_clock_moves_forward_only():
    clock = ManualClock()
    clock.advance(2.5)
    clock.advance(0)
    assert clock.now() == 2.5
    with pytest.raises(ValueError, match="back"):
        clock.advance(-1)


def test_a_scaled_clock_multiplies_real_time(monkeypatch: pytest.MonkeyPatch):
    clock = ScaledClock(60, monotonic_start=100.0)
    monkeypatch.setattr("time.monotonic", lambda: 101.5)
    assert clock.now() == 90
    with pytest.raises(ValueError, match="must be"):
        ScaledClock(0)


def test_timestamps_are_utc_in_iso_8601():
    clock = ManualClock(datetime(2026, 1, 1, tzinfo=UTC))
    assert format_timestamp(clock, 90.25) == "2026-01-01T00:01:30.250+00:00"


async def test_each_stage_has_its_own_duration():
    times = StageTimes(upload=1, match=2, lookalike=4, export=8)
    async with open_api(stage_times=times, export_flow="asynchronous") as api:
        stub = await api.post_ok("/upload_csv", customerId="1", url="http://127.0.0.1/x")
        await _changes_after(api, stub["id"], 1, lambda record: record["uploadedAudienceCsv"]["status"])
        columns = {"phone": {"column_name": "x", "is_required": True}}
        await api.post_ok(
            "/match_uploaded_csv", audienceID=stub["id"], customerId="1", audienceName="A", columnSelections=columns
        )
        await _changes_after(api, stub["id"], 2, lambda record: record["status"])
        wider = await api.post_ok(
            "/create_lookalike_audience", baseAudienceId=stub["id"], customerId="1", size=1, audienceName="B"
        )
        await _changes_after(api, wider["id"], 4, lambda record: record["status"])
        export = await api.preview(stub["id"], "phone")
        await _changes_after(api, stub["id"], 8, lambda record: record["csvExports"][0]["status"])
        await api.post_ok("/purchase_csv_export", exportId=export["id"], customerId="1")
        await _changes_after(api, stub["id"], 8, lambda record: record["csvExports"][0]["status"])


async def _changes_after(api: SandboxApi, audience_id: str, seconds: float, status: Callable[[Any], str]) -> None:
    before = status(await api.audience(audience_id))
    await api.advance_time(seconds - 0.001)
    assert status(await api.audience(audience_id)) == before
    await api.advance_time(0.001)
    assert status(await api.audience(audience_id)) != before
