"""Build the inputs of workflows from jobs, checked as workers need them, and jobs from such inputs."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import attrs

from indigo_async._validation import InputCheck
from indigo_async.inputs import ColumnSelections
from indigo_async.temporal.converter import to_json
from indigo_async.temporal.payloads import ExportInput, JobInput, LookalikeInput
from indigo_async.temporal.workers.export_stores import find_destination_problem
from indigo_async.workflows.batches.jobs import (
    AudienceJob,
    ExportStep,
    LookalikeStep,
    compute_identity,
    normalized_inputs,
)

__all__ = ["build_job", "build_job_input", "check_destination"]

_FINGERPRINT_LENGTH = 32


def check_destination(check: InputCheck, where: str, job: AudienceJob) -> None:
    """Check that a job's destination is inside the workers' exports folder or store."""
    destination = None if job.export is None else job.export.destination
    problem = find_destination_problem(str(destination)) if isinstance(destination, (str, Path)) else None
    if problem is not None:
        check.add(where, problem)


async def build_job_input(job: AudienceJob, **options: Any) -> JobInput:
    """Build the input of a checked job's workflow."""
    selections, filters = normalized_inputs(job)
    step, export = job.lookalike, job.export
    job_input = JobInput(
        key=job.key,
        customer_id=job.customer_id,
        audience_name=job.audience_name,
        csv=str(job.csv),
        selections=selections.by_field(),
        lookalike=None
        if step is None
        else LookalikeInput(
            audience_name=step.audience_name,
            size=step.size,
            include_original_audience=step.include_original_audience,
            filters=filters,
        ),
        export=None
        if export is None
        else ExportInput(
            destination=None if export.destination is None else str(export.destination),
            optional_field_types=tuple(export.optional_field_types),
            max_cost_cents=export.max_cost_cents,
            reuse_purchased=export.reuse_purchased,
            allow_empty=export.allow_empty,
        ),
        identity="",
        **options,
    )
    made = await compute_identity(job, base_url="")
    identity = hashlib.sha256(to_json([made.fingerprint, job_input.export, job_input.purchase])).hexdigest()
    return attrs.evolve(job_input, identity=identity, fingerprint=made.fingerprint[:_FINGERPRINT_LENGTH])


def build_job(job: JobInput) -> AudienceJob:
    """Build the job that a worker runs. It only purchases the export, which is delivered afterwards."""
    step, export = job.lookalike, job.export
    return AudienceJob(
        key=job.key,
        customer_id=job.customer_id,
        audience_name=job.audience_name,
        csv=job.csv,
        column_selections=ColumnSelections(**job.selections),
        lookalike=None
        if step is None
        else LookalikeStep(
            audience_name=step.audience_name,
            size=step.size,
            include_original_audience=step.include_original_audience,
            filters=step.filters,
        ),
        export=None
        if export is None
        else ExportStep(
            destination=None,
            optional_field_types=export.optional_field_types,
            max_cost_cents=export.max_cost_cents,
            reuse_purchased=export.reuse_purchased,
            allow_empty=export.allow_empty,
        ),
    )
