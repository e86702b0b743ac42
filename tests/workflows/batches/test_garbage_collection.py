"""Jobs that ended are freed without the garbage collector, since there may be thousands of them."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest

from indigo_async import IndigoClient
from indigo_async.sandbox import Fault, FaultKind, Sandbox
from indigo_async.workflows import AudienceJob, start_batch
from tests.support.jobs import lite_sandbox, make_client, make_jobs

JOBS = 5


@pytest.fixture
def no_collections() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def unwritable(job: AudienceJob) -> AudienceJob:
    assert job.export is not None
    return attrs.evolve(job, export=attrs.evolve(job.export, destination=f"/proc/{job.audience_name}.csv"))


FAULTS = {
    "a refused upload": Fault(kind=FaultKind.ERROR_BEFORE, endpoint="POST /upload_csv", status=400),
    "an upload that failed": Fault(kind=FaultKind.STAGE_FAILS, endpoint="POST /upload_csv"),
    "a match that failed": Fault(kind=FaultKind.STAGE_FAILS, endpoint="POST /match_uploaded_csv"),
    "a lookalike whose answers are lost": Fault(
        kind=FaultKind.DISCONNECT_BEFORE, endpoint="POST /create_lookalike_audience"
    ),
    "a purchase that is refused": Fault(kind=FaultKind.ERROR_BEFORE, endpoint="POST /purchase_csv_export", status=400),
    "a purchase of unknown outcome": Fault(
        kind=FaultKind.ERROR_BEFORE, endpoint="POST /purchase_csv_export", status=500
    ),
    "refused status checks": Fault(kind=FaultKind.ERROR_BEFORE, endpoint="GET /audience", status=400),
    "a download that is refused": Fault(kind=FaultKind.ERROR_BEFORE, endpoint="GET download", status=418),
}


@pytest.mark.usefixtures("no_collections")
@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS.keys())
async def test_a_job_that_failed_on_the_server_is_freed_at_once(fault: Fault, tmp_path: Path):
    async with lite_sandbox() as sandbox, make_client(sandbox, attempts=2) as client:
        sandbox.faults.add(attrs.evolve(fault, times=None))
        await assert_errors_are_freed(client, make_jobs(JOBS, tmp_path))


@pytest.mark.usefixtures("no_collections")
async def test_a_job_that_failed_locally_is_freed_at_once(tmp_path: Path):
    async with lite_sandbox() as sandbox, make_client(sandbox) as client:
        await assert_errors_are_freed(client, [attrs.evolve(job, customer_id="") for job in make_jobs(JOBS, tmp_path)])
        await assert_errors_are_freed(client, [unwritable(job) for job in make_jobs(JOBS, tmp_path)])
        await assert_errors_are_freed(client, make_jobs(JOBS, tmp_path, customer="43", max_cost_cents=1))
    async with Sandbox(lite=True) as sandbox, make_client(sandbox) as client:
        await assert_errors_are_freed(client, make_jobs(JOBS, tmp_path), job_timeout=0.1)


async def test_a_client_stores_the_fields_of_purchased_exports_once(tmp_path: Path):
    async with lite_sandbox() as sandbox, make_client(sandbox) as client:
        async with start_batch(client, make_jobs(JOBS, tmp_path)) as batch:
            assert all([outcome.ok async for outcome in batch])
        fields = list(client.purchased_exports.values())
    assert fields == [frozenset({"phone"})] * JOBS
    assert len({id(each) for each in fields}) == 1


async def assert_errors_are_freed(client: IndigoClient, given: list[AudienceJob], **options: float) -> None:
    """Run jobs that fail, and check that each error is freed once the loop over outcomes drops it."""
    errors: list[weakref.ref[BaseException]] = []
    async with start_batch(client, iter(given), **options) as batch:
        async for outcome in batch:
            assert outcome.error is not None
            errors.append(weakref.ref(outcome.error))
            del outcome
    assert len(errors) == len(given)
    assert [error() for error in errors] == [None] * len(given)
