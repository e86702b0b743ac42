"""What a batch tells before its jobs begin: how many they are, what they may spend, and where that is remembered."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from indigo_async._text import format_dollars
from indigo_async.workflows import AudienceJob

__all__ = ["render_start"]


def render_start(
    manifest: Path,
    jobs: Sequence[AudienceJob],
    journal: Path,
    *,
    purchase: bool,
    budget_cents: int | None,
    spent_cents: int,
) -> str:
    """The words. `spent_cents` is what earlier runs with the journal spent, of the budget of them all."""
    customers = len({job.customer_id for job in jobs})
    limit = sum(job.export.max_cost_cents for job in jobs if job.export is not None)
    money = _format_limits(limit, budget_cents, spent_cents) if purchase and limit else "Nothing will be bought"
    return (
        f"{manifest}: {len(jobs):,} job{'s' * (len(jobs) != 1)} for {customers:,} customer{'s' * (customers != 1)}. "
        f"{money}.\nThe journal is {journal}; the same command goes on from it."
    )


def _format_limits(limit: int, budget: int | None, spent: int) -> str:
    if not spent:
        may = limit if budget is None else min(limit, budget)
        return f"They may spend up to {format_dollars(may)}" if may else "Nothing will be bought"
    if budget is None:
        return (
            f"They may spend up to {format_dollars(limit)}; "
            f"earlier runs with this journal spent {format_dollars(spent)}"
        )
    left = min(limit, budget - spent)
    so = f"this one may spend up to {format_dollars(left)}" if left > 0 else "nothing more is bought"
    return f"All runs together may spend {format_dollars(budget)}; earlier ones spent {format_dollars(spent)}, so {so}"
