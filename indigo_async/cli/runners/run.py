"""`indigo-async run`: run the jobs of a manifest."""

from __future__ import annotations

from pathlib import Path

import attrs

from indigo_async._validation import InputCheck
from indigo_async.cli.exit_codes import ExitCode
from indigo_async.cli.options.batch import BATCH, TEMPORAL_BATCH, BatchOptions, TemporalBatchOptions
from indigo_async.cli.options.common import CONNECTION, PACING, ConnectionOptions, PacingOptions
from indigo_async.cli.render.results import render_results, summary_to_json
from indigo_async.cli.runners.batch import explain_exit, run_manifest
from indigo_async.cli.runners.batch_check import check_batch
from indigo_async.cli.signals import run_async

__all__ = ["run_jobs"]

_OPTIONS_OF_WORKERS = (
    "publish",
    "poll_interval",
    "requests_per_second",
    "max_concurrency",
    "profile",
    "base_url",
    "proxy",
)
_TEMPORAL_DIVIDES_JOBS = "has no effect with --temporal, which divides the jobs among its workers itself"
_OPTIONS_OF_ONE_PROCESS = ("journal", "stop_after_failures")


def run_jobs(
    manifest: Path,
    batch: BatchOptions,
    pacing: PacingOptions,
    temporal: TemporalBatchOptions,
    options: ConnectionOptions,
    *,
    purchase: bool,
    budget_cents: int | None,
    fence: str | None,
    only_check: bool,
) -> ExitCode:
    """Run the jobs of a manifest here or on Temporal, and show the results. `only_check` sends nothing."""
    output = options.create_output()
    if temporal.address is not None:
        _reject_options_without_effect(batch, pacing, options, fence=fence)
    else:
        _reject_temporal_options(temporal)
    shard = batch.parse_shard(purchase=purchase, fence=fence)
    if only_check:
        check_batch(
            manifest,
            batch,
            temporal,
            options,
            output,
            purchase=purchase,
            budget_cents=budget_cents,
            fence=fence,
            shard=shard,
        )
        return ExitCode.SUCCESS
    if temporal.address is not None:
        from indigo_async.cli.runners.temporal import run_on_temporal  # noqa: PLC0415 - optional extra

        return run_async(
            lambda: run_on_temporal(manifest, temporal, batch, output, purchase=purchase, budget_cents=budget_cents)
        )
    result = run_async(
        lambda: run_manifest(
            manifest, batch, pacing, options, output, purchase=purchase, budget_cents=budget_cents, fence=fence
        )
    )
    output.write_json(summary_to_json(result))
    output.show(render_results(result))
    if result.exit_code is not ExitCode.SUCCESS:
        output.error(explain_exit(result))
    return result.exit_code


def _reject_options_without_effect(
    batch: BatchOptions, pacing: PacingOptions, options: ConnectionOptions, *, fence: str | None
) -> None:
    """Reject options that `run --temporal` can't honor, because workers send the requests.

    Raises:
        InvalidInputError: lists all of these options.
    """
    problems = InputCheck()
    for given, default in ((batch, BATCH), (pacing, PACING), (options, CONNECTION)):
        changed = _find_changed_fields(given, default)
        for name in sorted(changed.intersection(_OPTIONS_OF_WORKERS)):
            problems.add(_option(name), "workers send the requests: give this option to `indigo-async worker`")
        for name in sorted(changed.intersection(_OPTIONS_OF_ONE_PROCESS)):
            problems.add(_option(name), "has no effect with --temporal, which keeps the state of the jobs itself")
    if fence is not None:
        problems.add("--fence", _TEMPORAL_DIVIDES_JOBS)
    if batch.shard is not None:
        problems.add("--shard", _TEMPORAL_DIVIDES_JOBS)
    problems.raise_if_invalid()


def _reject_temporal_options(temporal: TemporalBatchOptions) -> None:
    """Reject options for Temporal if the command runs in one process, which TEMPORAL_ADDRESS doesn't change.

    Raises:
        InvalidInputError: lists all of these options.
    """
    problems = InputCheck()
    for name in sorted(_find_changed_fields(temporal, TEMPORAL_BATCH)):
        option = "--continue" if name == "continue_changed" else _option(name)
        problems.add(option, "needs --temporal; without it, the jobs run in this process")
    problems.raise_if_invalid()


def _find_changed_fields(given: attrs.AttrsInstance, default: attrs.AttrsInstance) -> set[str]:
    return {
        field.name for field in attrs.fields(type(given)) if getattr(given, field.name) != getattr(default, field.name)
    }


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"
