"""Writes manifests: as YAML with comments about what to check, or as JSON Lines."""

from __future__ import annotations

import json
import textwrap
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import attrs

from indigo_async.cli.render.output import replace_control_characters
from indigo_async.files import safe_file_name
from indigo_async.files.csv.suggest import quote_yaml
from indigo_async.inputs import ColumnSelection

__all__ = ["DraftJob", "DraftSteps", "write_json_lines", "write_yaml"]

_COMMENT_WIDTH = 100
_LOOKALIKE_NAME = "{audience_name} lookalike"


@attrs.frozen(kw_only=True)
class DraftJob:
    """A job for one CSV. `problem` says why no columns could be suggested; then there are no `selections`."""

    customer_id: str
    audience_name: str
    csv: str
    selections: Mapping[str, ColumnSelection] = attrs.field(factory=dict[str, ColumnSelection])
    warnings: Sequence[str] = ()
    problem: str | None = None

    @property
    def lookalike_name(self) -> str:
        return _LOOKALIKE_NAME.replace("{audience_name}", self.audience_name)


@attrs.frozen(kw_only=True)
class DraftSteps:
    """What all jobs do after the match. `exports` is the folder for exports."""

    lookalike_size: int | None = None
    exports: str | None = None
    max_cost_cents: int = 0


def write_yaml(jobs: Sequence[DraftJob], steps: DraftSteps, heading: Sequence[str]) -> Iterator[str]:
    """Yield the lines of a YAML manifest. The most common columns are defaults."""
    yield from _comment("", *heading)
    shared = _most_common_columns(jobs)
    if shared or steps.lookalike_size is not None or steps.exports is not None:
        yield "defaults:"
        yield from _columns("  ", shared)
        yield from _steps(steps)
    yield "jobs:"
    for job in jobs:
        if job.problem is not None:
            yield from _comment("  ", f"EDIT: no columns could be suggested. {job.problem}")
        yield from _comment("  ", *(f"CHECK: {warning}" for warning in job.warnings))
        yield f"  - customer_id: {quote_yaml(job.customer_id)}"
        yield f"    audience_name: {quote_yaml(job.audience_name)}"
        yield f"    csv: {quote_yaml(job.csv)}"
        if job.problem is not None:
            yield "    column_selections: null  # `run` refuses this job until its columns are here"
        elif job.selections != shared:
            removed = dict.fromkeys(field for field in shared if field not in job.selections)
            yield from _columns("    ", {**job.selections, **removed})


def _most_common_columns(jobs: Sequence[DraftJob]) -> Mapping[str, ColumnSelection]:
    """The columns of most jobs, in the order of the API's fields; empty if all jobs differ."""
    counts = Counter(tuple(job.selections.items()) for job in jobs if job.selections)
    columns, count = next(iter(counts.most_common(1)), ((), 0))
    return dict(columns) if count > 1 else {}


def _columns(indent: str, selections: Mapping[str, ColumnSelection | None]) -> Iterator[str]:
    if selections:
        yield f"{indent}column_selections:"
    for field, one in selections.items():
        if one is None:
            yield f"{indent}  {field}: null"
        else:
            column = f"column_name: {quote_yaml(one.column_name)}, is_required: {str(one.required).lower()}"
            yield f"{indent}  {field}: {{{column}}}"


def _steps(steps: DraftSteps) -> Iterator[str]:
    if steps.lookalike_size is not None:
        yield "  lookalike:"
        yield f"    audience_name: {quote_yaml(_LOOKALIKE_NAME)}"
        yield f"    size: {steps.lookalike_size}"
    if steps.exports is not None:
        folder = steps.exports.replace("{", "{{").replace("}", "}}")
        meaning = "only free exports are purchased" if not steps.max_cost_cents else "for each export, in cents"
        yield "  export:"
        yield f"    destination: {quote_yaml(f'{folder}/{{customer_id}}/{{audience_name}}.csv')}"
        yield f"    max_cost_cents: {steps.max_cost_cents}  # {meaning}"


def _comment(indent: str, *texts: str) -> Iterator[str]:
    for text in texts:
        for line in textwrap.wrap(replace_control_characters(text), _COMMENT_WIDTH, break_long_words=False):
            yield f"{indent}# {line}"


def write_json_lines(jobs: Sequence[DraftJob], steps: DraftSteps) -> Iterator[str]:
    """Yield the lines of a JSON Lines manifest, which has no defaults and no comments."""
    for job in jobs:
        columns = {
            field: {"column_name": one.column_name, "is_required": one.required}
            for field, one in job.selections.items()
        }
        row: dict[str, Any] = {
            "customer_id": job.customer_id,
            "audience_name": job.audience_name,
            "csv": job.csv,
            "column_selections": columns or None,
        }
        if steps.lookalike_size is not None:
            row["lookalike"] = {"audience_name": job.lookalike_name, "size": steps.lookalike_size}
        if steps.exports is not None:
            file = f"{safe_file_name(job.customer_id)}/{safe_file_name(job.audience_name)}.csv"
            row["export"] = {"destination": f"{steps.exports}/{file}", "max_cost_cents": steps.max_cost_cents}
        yield json.dumps(row)
