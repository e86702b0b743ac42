"""Histories of a world: which worlds there are, what goes wrong in them, and the machine that makes histories up."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Coroutine
from typing import Any, ClassVar, TypeVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule
from patient_time import PatientLoop
from truth import check_last_run, check_run, open_files
from world import TIMEOUT, Break, End, JobShape, Outage, Ran, Shape, Trouble, Way, World

from indigo_async.inputs import OptionalFieldType
from indigo_async.sandbox import Dialect, Fault, FaultKind

T = TypeVar("T")

POSTS = (
    "POST /upload_csv",
    "POST /match_uploaded_csv",
    "POST /create_lookalike_audience",
    "POST /create_preview_csv_export",
    "POST /purchase_csv_export",
)
READS = ("GET /audience", "GET /audiences", "GET download")

job_shapes = st.builds(
    JobShape,
    customer_id=st.sampled_from(["1", "2"]),
    grows=st.booleans(),
    field_types=st.sampled_from([(), (OptionalFieldType.PHONE,), (OptionalFieldType.ADDRESS, OptionalFieldType.PHONE)]),
    may_buy=st.integers(0, 7).map(bool),
)
dialects = st.builds(
    Dialect,
    ids=st.sampled_from(["text", "integer"]),
    numeric_customer_ids=st.booleans(),
    name_key=st.sampled_from(["name", "audienceName"]),
    list_shape=st.sampled_from(["array", "object"]),
    list_omits=st.sets(st.sampled_from(["status", "csvExports", "uploadedAudienceCsv"])),
    cost_key=st.sampled_from(["cost", "costInCents", "totalCost"]),
    shows_field_types=st.booleans(),
    shows_customer_id=st.booleans(),
    shows_base_audience=st.booleans(),
    shows_csv_url=st.booleans(),
    shows_export_status=st.booleans(),
)


shapes = st.builds(
    Shape,
    jobs=st.lists(job_shapes, min_size=1, max_size=4).map(tuple),
    journal=st.booleans(),
    flow=st.sampled_from(["synchronous", "asynchronous"]),
    dialect=dialects,
    budget_cents=st.sampled_from([None, None, None, None, 10_000, 20_000]),
    seed=st.integers(0, 999),
)


broken_connections = [FaultKind.CUT_BEFORE, FaultKind.CUT_AFTER, FaultKind.HALF_BODY]
pages = [FaultKind.HTML_BEFORE, FaultKind.HTML_AFTER]
slow = [FaultKind.SLOW_BEFORE, FaultKind.SLOW_AFTER]
statuses = [FaultKind.STATUS_BEFORE, FaultKind.STATUS_AFTER]
connections = [FaultKind.STALE, FaultKind.CLOSED_AFTER]


@st.composite
def faults(draw: st.DrawFn) -> Fault:
    """Any fault that the API may show. Those that strike by chance do so until they are cleared."""
    kind = draw(
        st.sampled_from(
            [
                *broken_connections,
                *pages,
                *slow,
                *statuses,
                *connections,
                FaultKind.RATE_LIMITED,
                FaultKind.UNKNOWN_STATUS,
                FaultKind.WORK_FAILS,
                FaultKind.ROW_MISSING,
                FaultKind.FIELD_MISSING,
            ]
        )
    )
    endpoint, field = _where(draw, kind)
    by_chance = kind is not FaultKind.WORK_FAILS and draw(st.integers(0, 4)) == 0
    return Fault(
        kind=kind,
        endpoint=endpoint,
        field=field,
        times=None if by_chance else draw(st.integers(1, 3)),
        probability=draw(st.sampled_from([0.1, 0.3])) if by_chance else 1.0,
        after=draw(st.integers(0, 4)),
        status=draw(st.sampled_from([500, 502, 503, 504])),
        retry_after=draw(st.sampled_from([0, 1, 30, 600])),
        retry_after_as_date=draw(st.booleans()),
        delay=TIMEOUT * 1.5,
    )


def _where(draw: st.DrawFn, kind: FaultKind) -> tuple[str | None, str]:
    """The endpoint that a fault strikes, and the field that is missing from its answer."""
    match kind:
        case FaultKind.ROW_MISSING:
            return "GET /audiences", ""
        case FaultKind.WORK_FAILS:
            return draw(st.sampled_from(POSTS)), ""
        case FaultKind.FIELD_MISSING:
            # An audience's own record always has its exports: that is documented, and all that shows a purchase.
            missing = st.sampled_from(["id", "status", "name", "audienceName", "uploadedAudienceCsv", "downloadUrl"])
            return draw(st.sampled_from([*POSTS, *READS[:2]])), draw(missing)
        case _:
            return draw(st.none() | st.sampled_from([*POSTS, *POSTS, *READS])), ""


ends = st.builds(Break, st.sampled_from(list(End)), st.integers(1, 40), st.integers(0, 30))
plans = st.lists(faults(), max_size=6)
outages = st.builds(Outage, st.integers(1, 30), st.sampled_from([0.1, 5.0, 300.0, 7_200.0]))
troubles = st.none() | ends | outages


class Histories(RuleBasedStateMachine):
    """Faults are planned, programs run and are broken off; at the end all is well, and one more batch must finish."""

    tally: ClassVar[Counter[str]] = Counter()
    """What all histories came to."""

    def __init__(self) -> None:
        super().__init__()
        self._runner = asyncio.Runner(loop_factory=PatientLoop)
        self.world: World = None  # type: ignore[assignment] - made by the first step

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return self._runner.run(work)

    @initialize(shape=shapes)
    def begin(self, shape: Shape) -> None:
        loop = self._runner.get_loop()
        assert isinstance(loop, PatientLoop)
        self.world = World(shape, loop)
        self._run(self.world.open())

    def plan(self, planned: list[Fault]) -> None:
        self.world.sandbox.faults.add(*planned)

    @rule()
    def clear(self) -> None:
        self.world.sandbox.faults.clear()

    @rule(planned=plans, purchase=st.sampled_from([True, True, False]), trouble=troubles)
    def run_batch(self, planned: list[Fault], purchase: bool, trouble: Trouble) -> None:
        self.plan(planned)
        self._checked_run(Way.BATCH, purchase=purchase, trouble=trouble)

    @precondition(lambda self: not self.world.shape.journal)
    @rule(planned=plans, way=st.sampled_from([Way.JOBS, Way.RECIPES]), purchase=st.booleans(), trouble=troubles)
    def run_alone(self, planned: list[Fault], way: Way, purchase: bool, trouble: Trouble) -> None:
        self.plan(planned)
        self._checked_run(way, purchase=purchase, trouble=trouble)

    def _checked_run(self, way: Way, *, purchase: bool = True, trouble: Trouble = None) -> Ran:
        async def run() -> Ran:
            open_before = open_files()
            ran = await self.world.run(way, purchase=purchase, trouble=trouble)
            await check_run(self.world, ran, open_before=open_before)
            return ran

        ran = self._run(run())
        self.tally["runs"] += 1
        self.tally["broken off"] += ran.broken_off
        self.tally.update(f"job: {type(error).__name__ if error else 'done'}" for error in ran.ends.values())
        return ran

    def teardown(self) -> None:
        try:
            if self.world is not None:
                self.end_well()
        finally:
            self.close()

    def end_well(self) -> None:
        """All is well again: what can be done is done by one more run, and the next finds nothing left to do."""
        self.clear()
        last = self._checked_run(Way.BATCH)
        check_last_run(self.world, last)
        again = self._checked_run(Way.BATCH)
        check_last_run(self.world, again)
        if not any(last.ends.values()):
            assert again.posts == 0, "a finished batch run again makes no POST"
        self.tally["histories"] += 1
        self.tally["requests"] += len(self.world.log.entries)
        self.tally["purchases"] += self.world.sandbox.counts().purchases
        self.tally.update(f"fault: {entry.fault}" for entry in self.world.log.entries if entry.fault is not None)

    def close(self) -> None:
        if self.world is not None:
            self._run(self.world.close())
        self._runner.close()
