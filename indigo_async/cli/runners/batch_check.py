"""`run --check`: all problems of a manifest, or what running it would do. Nothing is sent."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import attrs
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from indigo_async._text import format_dollars
from indigo_async._validation import InputCheck
from indigo_async.cli.client import open_store, require_fence_extra, resolve_settings
from indigo_async.cli.manifest import read_manifest
from indigo_async.cli.options.batch import BatchOptions, TemporalBatchOptions
from indigo_async.cli.options.common import ConnectionOptions
from indigo_async.cli.render.advice import use_option_names
from indigo_async.cli.render.failures import MessageGroup, group_messages
from indigo_async.cli.render.output import Output, replace_control_characters
from indigo_async.cli.render.results import JobTotals, describe_jobs, render_warnings
from indigo_async.cli.report.formatting import format_count
from indigo_async.errors import InvalidInputError, Problem
from indigo_async.files.csv.check import inspect_csv
from indigo_async.files.csv.urls import find_url_warnings
from indigo_async.files.csv.warnings import find_name_warnings
from indigo_async.workflows import AudienceJob
from indigo_async.workflows.batches.conflicts import journal_files
from indigo_async.workflows.batches.jobs import normalized_inputs
from indigo_async.workflows.fence.stores import check_fence, describe_fence
from indigo_async.workflows.recipes.lookalike import MIN_BASE_PEOPLE
from indigo_async.workflows.recipes.match import is_url
from indigo_async.workflows.sharding.split import Shard

__all__ = ["check_batch"]

_MAX_COUNTED_BYTES = 1024 * 1024
"""Only smaller CSVs are read completely."""


def check_batch(
    manifest: Path,
    batch: BatchOptions,
    temporal: TemporalBatchOptions,
    options: ConnectionOptions,
    output: Output,
    *,
    purchase: bool,
    budget_cents: int | None,
    fence: str | None = None,
    shard: Shard | None = None,
) -> None:
    """Check a manifest job by job, without holding the jobs in memory, and show what running it would do.

    Raises:
        InvalidInputError: lists all problems.
    """
    problems: list[Problem] = []
    api_is_local = True
    with _collecting(problems):
        api_is_local = resolve_settings(options).is_loopback
    jobs = _read_jobs(manifest, batch, temporal, options, problems, api_is_local=api_is_local)
    if budget_cents is not None:
        check = InputCheck()
        check.cents("budget_cents", budget_cents)
        problems += check.problems
    if fence is not None:
        check = InputCheck()
        check_fence(check, fence)
        problems += check.problems
        with _collecting(problems):
            require_fence_extra(fence)
    totals, warned_keys, every_job = JobTotals(), set[str](), 0

    def find_warnings() -> Iterator[tuple[str, str]]:
        nonlocal every_job
        for job in jobs:
            every_job += 1
            if shard is not None and not shard.has_customer(job.customer_id):
                continue
            totals.add(job)
            for message in map(use_option_names, _find_warnings(job, api_is_local=api_is_local)):
                warned_keys.add(job.key)
                output.write_json({"type": "warning", "key": job.key, "message": message})
                yield job.key, message

    warnings: Sequence[MessageGroup] = ()
    with _collecting(problems):
        warnings = group_messages(find_warnings())
    if problems:
        raise InvalidInputError(problems)
    plan = _Plan(
        manifest,
        totals,
        journal=batch.journal_path(manifest) if temporal.address is None else None,
        batch=None if temporal.address is None else temporal.batch_name(manifest),
        budget_cents=budget_cents,
        purchase=purchase,
        fence=None if fence is None else describe_fence(fence),
        part=None if shard is None else (shard, every_job),
    )
    output.write_json(plan.to_json())
    output.show(Group(plan.render(), *(render_warnings(len(warned_keys), warnings) if warned_keys else ())))


def _read_jobs(
    manifest: Path,
    batch: BatchOptions,
    temporal: TemporalBatchOptions,
    options: ConnectionOptions,
    problems: list[Problem],
    *,
    api_is_local: bool,
) -> Iterator[AudienceJob]:
    """The jobs as `run` would read them, after a check of the options that they depend on."""
    if temporal.address is not None:
        from indigo_async.cli.runners.temporal import read_manifest_for_workers  # noqa: PLC0415 - optional extra

        return read_manifest_for_workers(manifest, batch)
    if batch.publish is not None:
        with _collecting(problems):
            open_store(batch.publish, options.proxy)
    with _collecting(problems):
        batch.check_journal(manifest)
    return read_manifest(
        manifest,
        defaults=batch.defaults,
        out=batch.out,
        can_publish=api_is_local or batch.publish is not None,
        reserved_files=journal_files(batch.journal_path(manifest)),
    )


@contextmanager
def _collecting(problems: list[Problem]) -> Generator[None]:
    try:
        yield
    except InvalidInputError as error:
        problems += error.problems


def _find_warnings(job: AudienceJob, *, api_is_local: bool) -> Iterator[str]:
    selections, _ = normalized_inputs(job)
    if is_url(job.csv):
        yield from find_url_warnings(str(job.csv), api_is_local=api_is_local)
        yield from find_name_warnings({field: one.column_name for field, one in selections.by_field().items()})
    else:
        yield from inspect_csv(Path(job.csv), selections.by_field()).warnings
        if job.lookalike is not None and _has_few_rows(Path(job.csv)):
            yield (
                f"the CSV has fewer than {MIN_BASE_PEOPLE:,} rows; a lookalike needs a base of at least "
                f"{MIN_BASE_PEOPLE:,} matched people, so the server may refuse it"
            )


def _has_few_rows(path: Path) -> bool:
    """Whether a CSV surely has fewer rows than a lookalike's base needs people: a row has at least one line."""
    with path.open("rb") as file:
        data = file.read(_MAX_COUNTED_BYTES + 1)
    return len(data) <= _MAX_COUNTED_BYTES and len(data.splitlines()) <= MIN_BASE_PEOPLE


@attrs.frozen
class _Plan:
    """What running a valid manifest would do. `journal` is None on Temporal, and `batch` without it.

    `part`: the shard to run, and how many jobs there are in all shards.
    """

    manifest: Path
    totals: JobTotals
    journal: Path | None = attrs.field(kw_only=True)
    batch: str | None = attrs.field(kw_only=True)
    budget_cents: int | None = attrs.field(kw_only=True)
    purchase: bool = attrs.field(kw_only=True)
    fence: str | None = attrs.field(kw_only=True)
    part: tuple[Shard, int] | None = attrs.field(kw_only=True)

    @property
    def max_spend_cents(self) -> int:
        if not self.purchase:
            return 0
        limit_cents = self.totals.limit_cents
        return limit_cents if self.budget_cents is None else min(limit_cents, self.budget_cents)

    def to_json(self) -> dict[str, object]:
        totals, journal = self.totals, self.journal
        return {
            "type": "check",
            "manifest": str(self.manifest),
            "shard": None if self.part is None else str(self.part[0]),
            "fence": self.fence,
            "jobs": totals.jobs,
            "customers": len(totals.customer_ids),
            "lookalikes": totals.lookalikes,
            "exports": totals.exports,
            "limit_cents": totals.limit_cents,
            "budget_cents": self.budget_cents,
            "max_spend_cents": self.max_spend_cents,
            "journal": None if journal is None else str(journal),
            "journal_exists": journal is not None and journal.exists(),
            "batch": self.batch,
        }

    def render(self) -> RenderableType:
        totals, journal = self.totals, self.journal
        details = Table.grid(padding=(0, 2, 0, 0))
        details.add_column()
        details.add_column(overflow="fold")
        shard = "" if self.part is None else f" in shard {self.part[0]} of {format_count(self.part[1], 'job')}"
        details.add_row("jobs", f"{describe_jobs(totals)}{shard}")
        matched = format_count(totals.jobs, "matched audience")
        lookalikes = f", {format_count(totals.lookalikes, 'lookalike')}" if totals.lookalikes else ""
        details.add_row("creates", f"{matched}{lookalikes}")
        details.add_row("exports", f"{totals.exports:,}{'' if self.purchase else ', priced and not purchased'}")
        details.add_row("spends", self._describe_spending())
        if journal is not None:
            state = "exists; the run continues it" if journal.exists() else "is new"
            details.add_row("journal", replace_control_characters(f"{journal} {state}"))
        if self.batch is not None:
            details.add_row("batch", replace_control_characters(f"{self.batch} on Temporal"))
        if self.fence is not None:
            details.add_row("fence", replace_control_characters(self.fence))
        name = replace_control_characters(self.manifest)
        headline = Text(f"{name}: no problems found. Nothing was sent.", style="bold green")
        return Group(headline, "", details)

    def _describe_spending(self) -> str:
        if not self.purchase or not self.totals.exports:
            return "nothing"
        if not self.max_spend_cents:
            return "nothing: only free exports are purchased"
        most = f"at most {format_dollars(self.max_spend_cents)}"
        if self.budget_cents is None:
            return f"{most}, the sum of export.max_cost_cents"
        limits = f"the sum of export.max_cost_cents is {format_dollars(self.totals.limit_cents)}"
        return f"{most}: the budget is {format_dollars(self.budget_cents)}, and {limits}"
