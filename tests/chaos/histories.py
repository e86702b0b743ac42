"""Histories of a world: which worlds there are, what goes wrong in them, and the machine that makes histories up."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Coroutine
from typing import Any, ClassVar, TypeVar

import attrs
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from indigo_async.inputs import OptionalFieldType
from indigo_async.sandbox import Dialect, Fault, FaultKind
from tests.chaos.invariants import check_last_run, check_run, open_files
from tests.chaos.world import (
    OVER_LIMIT_CENTS,
    TIMEOUT,
    Disruption,
    EntryPoint,
    Interruption,
    InterruptionKind,
    JobSpec,
    Outage,
    RunResult,
    World,
    WorldSpec,
)
from tests.support.fast_forward import FastForwardLoop

T = TypeVar("T")

POSTS = (
    "POST /upload_csv",
    "POST /match_uploaded_csv",
    "POST /create_lookalike_audience",
    "POST /create_preview_csv_export",
    "POST /purchase_csv_export",
)
READS = ("GET /audience", "GET /audiences", "GET download")
INVALID_VALUES: list[tuple[str, Any]] = [
    ("cost", "12.00"),
    ("csvExports.cost", {"amount": 12}),
    ("csvExports.cost", "12.00"),
    ("csvExports.optionalFieldTypes", ["fax"]),
    ("csvExports", [None]),
    ("name", 5),
    ("status", 5),
    ("customerId", []),
]

job_specs = st.builds(
    JobSpec,
    customer_id=st.sampled_from(["1", "2"]),
    has_lookalike=st.booleans(),
    field_types=st.sampled_from([(), (OptionalFieldType.PHONE,), (OptionalFieldType.ADDRESS, OptionalFieldType.PHONE)]),
    may_purchase=st.integers(0, 7).map(bool),
)
dialects = st.builds(
    Dialect,
    envelope=st.sampled_from(["none", "none", "data", "named"]),
    byte_order_mark=st.booleans(),
    status_format=st.sampled_from(["exact", "exact", "lower", "blanks", "dashes", "trailing blank", "camel"]),
    error_format=st.sampled_from(["error", "error", "message", "detail", "nested", "list", "text", "html"]),
    pagination=st.sampled_from(["none", "none", "link header", "next url"]),
    page_size=st.sampled_from([1, 2, 100]),
    shows_counts=st.booleans(),
    id_type=st.sampled_from(["string", "integer"]),
    numeric_customer_ids=st.booleans(),
    name_key=st.sampled_from(["name", "audienceName"]),
    list_shape=st.sampled_from(["array", "object"]),
    list_omitted_keys=st.sets(st.sampled_from(["status", "csvExports", "uploadedAudienceCsv"])),
    cost_key=st.sampled_from(["cost", "costInCents", "totalCost"]),
    shows_field_types=st.booleans(),
    shows_customer_id=st.booleans(),
    shows_base_audience=st.booleans(),
    shows_csv_url=st.booleans(),
    shows_export_status=st.booleans(),
    cost_format=st.sampled_from(["integer", "integer", "float", "string"]),
    field_types_format=st.sampled_from(["exact", "exact", "upper", "spaced", "camel", "with free fields", "empty"]),
    preview_url=st.sampled_from(["absent", "empty", "null"]),
    purchased_status=st.sampled_from(["ACTIVE", "ACTIVE", "hidden"]),
    url_delay=st.sampled_from([0.0, 0.0, 3.0, 90.0]),
    repeated_purchase=st.sampled_from(["reject", "charge"]),
    stub_status=st.sampled_from(["PROCESSING", "PROCESSING", "ACTIVE"]),
    name_normalization=st.sampled_from(["exact", "exact", "lower", "collapsed", "nfc"]),
    duplicate_names=st.sampled_from(["reject", "reject", "upsert"]),
    list_lag=st.sampled_from([0.0, 0.0, 3.0, 30.0]),
    frozen_lists=st.integers(0, 4).map(lambda number: number == 0),
)


def make_decidable(shape: WorldSpec) -> WorldSpec:
    """The shape, without what no client can cope with: see the guarantees in the documentation.

    An export that shows neither its status nor its URL after a purchase looks like one that is for sale, and a list
    that never changes shows no names to a run that has no journal.
    """
    dialect = shape.dialect
    hides_purchases = dialect.url_delay and (dialect.purchased_status == "hidden" or not dialect.shows_export_status)
    if hides_purchases:
        dialect = attrs.evolve(dialect, repeated_purchase="reject")
    if not shape.journal:
        dialect = attrs.evolve(dialect, frozen_lists=False)
    return attrs.evolve(shape, dialect=dialect)


world_specs = st.builds(
    WorldSpec,
    jobs=st.lists(job_specs, min_size=1, max_size=4).map(tuple),
    journal=st.booleans(),
    flow=st.sampled_from(["synchronous", "asynchronous"]),
    dialect=dialects,
    budget_cents=st.sampled_from([None, None, None, None, 10_000, 20_000]),
    seed=st.integers(0, 999),
).map(make_decidable)


cut_connection_faults = [FaultKind.DISCONNECT_BEFORE, FaultKind.DISCONNECT_AFTER, FaultKind.TRUNCATED_BODY]
html_faults = [FaultKind.HTML_BEFORE, FaultKind.HTML_AFTER]
slow_faults = [FaultKind.DELAY_BEFORE, FaultKind.DELAY_AFTER]
status_faults = [FaultKind.ERROR_BEFORE, FaultKind.ERROR_AFTER]
connection_faults = [FaultKind.STALE_CONNECTION, FaultKind.CLOSED_AFTER_RESPONSE]


@st.composite
def faults(draw: st.DrawFn) -> Fault:
    """Any fault that the API may show. Those that strike by chance do so until they are cleared."""
    kind = draw(
        st.sampled_from(
            [
                *cut_connection_faults,
                *html_faults,
                *slow_faults,
                *status_faults,
                *connection_faults,
                FaultKind.RATE_LIMITED,
                FaultKind.PRICE_RAISED,
                FaultKind.ERROR_INSIDE_SUCCESS,
                FaultKind.WRONG_RECORD,
                FaultKind.FIELD_REPLACED,
                FaultKind.UNKNOWN_STATUS,
                FaultKind.STAGE_FAILS,
                FaultKind.ROW_MISSING,
                FaultKind.FIELD_MISSING,
            ]
        )
    )
    endpoint, field = _fault_target(draw, kind)
    value = None
    if kind is FaultKind.FIELD_REPLACED:
        field, value = draw(st.sampled_from(INVALID_VALUES))
    by_chance = kind is not FaultKind.STAGE_FAILS and draw(st.integers(0, 4)) == 0
    return Fault(
        kind=kind,
        endpoint=endpoint,
        field=field,
        value=value,
        cost_cents=OVER_LIMIT_CENTS,
        times=None if by_chance else draw(st.integers(1, 3)),
        probability=draw(st.sampled_from([0.1, 0.3])) if by_chance else 1.0,
        skip_first=draw(st.integers(0, 4)),
        status=draw(st.sampled_from([500, 502, 503, 504, 400, 402, 408, 409, 425])),
        retry_after=draw(st.sampled_from([0, 1, 30, 600, "9" * 310, 99_999_999])),
        retry_after_as_date=draw(st.booleans()),
        delay=TIMEOUT * 1.5,
    )


_ENDPOINTS: dict[FaultKind, tuple[str, ...]] = {
    FaultKind.ROW_MISSING: READS[1:2],
    FaultKind.PRICE_RAISED: POSTS[4:],
    FaultKind.ERROR_INSIDE_SUCCESS: POSTS,
    FaultKind.WRONG_RECORD: (*POSTS[3:], READS[0]),
    FaultKind.FIELD_REPLACED: (*POSTS, *READS[:2]),
    FaultKind.FIELD_MISSING: (*POSTS, *READS[:2]),
    FaultKind.STAGE_FAILS: POSTS,
}
"""Where a fault can strike; any other kind strikes anywhere."""


def _fault_target(draw: st.DrawFn, kind: FaultKind) -> tuple[str | None, str]:
    """The endpoint that a fault strikes, and the field that is missing from its response."""
    if kind not in _ENDPOINTS:
        return draw(st.none() | st.sampled_from([*POSTS, *POSTS, *READS])), ""
    endpoint = draw(st.sampled_from(_ENDPOINTS[kind]))
    if kind is not FaultKind.FIELD_MISSING:
        return endpoint, ""
    # An audience's own record always has its exports: that is documented, and all that shows a purchase.
    missing = st.sampled_from(["id", "status", "name", "audienceName", "uploadedAudienceCsv", "downloadUrl"])
    return endpoint, draw(missing)


interruptions = st.builds(Interruption, st.sampled_from(list(InterruptionKind)), st.integers(1, 40), st.integers(0, 30))
fault_plans = st.lists(faults(), max_size=6)
outages = st.builds(Outage, st.integers(1, 30), st.sampled_from([0.1, 5.0, 300.0, 7_200.0]))
disruptions = st.none() | interruptions | outages


class Histories(RuleBasedStateMachine):
    """Faults are planned, programs run and are broken off; at the end all is well, and one more batch must finish."""

    totals: ClassVar[Counter[str]] = Counter()
    """What all histories came to."""

    def __init__(self) -> None:
        super().__init__()
        self._runner = asyncio.Runner(loop_factory=FastForwardLoop)
        self.world: World = None  # type: ignore[assignment] - made by the first step

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return self._runner.run(work)

    @initialize(shape=world_specs)
    def begin(self, shape: WorldSpec) -> None:
        loop = self._runner.get_loop()
        assert isinstance(loop, FastForwardLoop)
        self.world = World(shape, loop)
        self._run(self.world.open())

    def add_faults(self, planned: list[Fault]) -> None:
        self.world.sandbox.faults.add(*planned)

    @rule()
    def clear_faults(self) -> None:
        self.world.sandbox.faults.clear()

    @rule(planned=fault_plans, purchase=st.sampled_from([True, True, False]), trouble=disruptions)
    def run_batch(self, planned: list[Fault], purchase: bool, trouble: Disruption) -> None:
        self.add_faults(planned)
        self._checked_run(EntryPoint.BATCH, purchase=purchase, trouble=trouble)

    @precondition(lambda self: not self.world.spec.journal)
    @rule(
        planned=fault_plans,
        way=st.sampled_from([EntryPoint.JOBS, EntryPoint.RECIPES]),
        purchase=st.booleans(),
        trouble=disruptions,
    )
    def run_single_jobs(self, planned: list[Fault], way: EntryPoint, purchase: bool, trouble: Disruption) -> None:
        self.add_faults(planned)
        self._checked_run(way, purchase=purchase, trouble=trouble)

    def _checked_run(self, way: EntryPoint, *, purchase: bool = True, trouble: Disruption = None) -> RunResult:
        async def run() -> RunResult:
            open_before = open_files()
            ran = await self.world.run(way, purchase=purchase, trouble=trouble)
            await check_run(self.world, ran, open_before=open_before)
            return ran

        ran = self._run(run())
        self.totals["runs"] += 1
        self.totals["broken off"] += ran.interrupted
        self.totals.update(f"job: {type(error).__name__ if error else 'done'}" for error in ran.job_errors.values())
        return ran

    def teardown(self) -> None:
        try:
            if self.world is not None:
                self.finish_without_faults()
        finally:
            self.close()

    def finish_without_faults(self) -> None:
        """All is well again: what can be done is done by one more run, and the next finds nothing left to do."""
        self.clear_faults()
        last = self._checked_run(EntryPoint.BATCH)
        check_last_run(self.world, last)
        again = self._checked_run(EntryPoint.BATCH)
        check_last_run(self.world, again)
        dialect = self.world.spec.dialect
        # Under a changed name, an audience is only reused at once if the server also shows what it was made from.
        is_recognized = dialect.name_normalization == "exact" or (dialect.shows_csv_url and dialect.shows_base_audience)
        if is_recognized and not any(last.job_errors.values()):
            assert again.post_count == 0, "a finished batch run again makes no POST"
        self.totals["histories"] += 1
        self.totals["requests"] += len(self.world.log.entries)
        self.totals["purchases"] += self.world.sandbox.counts().purchases
        self.totals.update(f"fault: {entry.fault}" for entry in self.world.log.entries if entry.fault is not None)

    def close(self) -> None:
        if self.world is not None:
            self._run(self.world.close())
        self._runner.close()
