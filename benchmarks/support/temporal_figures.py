"""What a run of a batch took, as printed by `benchmarks.temporal`: figures per job with their goals, and faults."""

from __future__ import annotations

import attrs

from benchmarks.support.controlled_sandbox import SandboxCounts
from benchmarks.support.histories import Histories
from indigo_async._text import format_dollars

__all__ = ["Run", "find_faults", "print_comparison", "print_run"]


@attrs.frozen(kw_only=True)
class Run:
    """One run. `spent_cents` and `reserved_cents` are what the journal or the ledgers say.

    `cpu` has the CPU seconds of all workers, of which `cpu_of_replacements` went into starting workers for killed ones.
    `heartbeat_bytes` is the largest heartbeat seen, and `rates` has the requests per second of each 5 s.
    """

    seconds: float
    done: int
    failed: int
    recalled: int = 0
    spent_cents: int
    reserved_cents: int = 0
    counts: SandboxCounts
    files: int
    cpu: float
    cpu_of_replacements: float = 0.0
    server_cpu: float = 0.0
    histories: Histories = attrs.Factory(Histories)
    heartbeat_bytes: int = 0
    rates: list[float] = attrs.Factory(list)
    failures: list[str] = attrs.Factory(list)


def print_run(name: str, run: Run, jobs: int) -> None:
    """Print what a run did."""
    print(f"{name}: {run.done} done ({run.recalled} recalled), {run.failed} failed in {run.seconds:.0f} s")
    for failure in run.failures[:10]:
        print("  failed:", failure)
    print(f"  purchases {run.counts.purchases}, at most {run.counts.most_purchases} of an audience,", end=" ")
    print(f"at most {run.counts.most_made} audiences of a name; downloads {run.counts.downloads}, files {run.files}")
    charged, spent = format_dollars(run.counts.charged_cents), format_dollars(run.spent_cents)
    print(f"  charged {charged}, spent by the books {spent}, cents still reserved {run.reserved_cents}")
    each = (f"{endpoint} {count / jobs:.2f}" for endpoint, count in sorted(run.counts.requests.items()))
    print("  requests per job:", ", ".join(each))
    if run.histories.events:
        seen = run.histories
        parts = (
            f"{kind} {seen.events[kind] / jobs:.3f} ({seen.workflows[kind]} runs, {seen.size_bytes[kind] / jobs:.0f} B)"
            for kind in sorted(seen.events)
        )
        print("  events per job:", ", ".join(parts))
    if run.rates:
        ordered = sorted(run.rates)
        print(f"  requests per second: median {ordered[len(ordered) // 2]:.1f}, most {ordered[-1]:.1f};", end=" ")
        print(f"{run.counts.refused} refused")


def print_comparison(one: Run, many: Run, *, jobs: int, shard_size: int, has_kills: bool) -> None:
    """Print the figures per job of one process and of Temporal, with their goals."""
    milliseconds = 1_000 / jobs
    rows: list[tuple[str, float | None, float, float | None]] = [
        ("requests, without downloads", one.counts.total / jobs, many.counts.total / jobs, 6.3 if has_kills else 5.4),
        ("downloads", one.counts.downloads / jobs, many.counts.downloads / jobs, None),
        ("history events", None, many.histories.events.total() / jobs, 0.6),
        ("history bytes", None, many.histories.size_bytes.total() / jobs, None),
        ("workflow tasks", None, many.histories.workflow_tasks.total() / jobs, None),
        ("worker CPU, ms", one.cpu * milliseconds, many.cpu * milliseconds, 12.0 if has_kills else 5.0),
        ("  of which to start replacements", None, many.cpu_of_replacements * milliseconds, None),
        ("Temporal server CPU, ms", None, many.server_cpu * milliseconds, 3.0),
        ("bytes of a heartbeat", None, many.heartbeat_bytes / min(shard_size, jobs), 571.0),
    ]
    print(f"{'per job':34}{'one process':>14}{'on Temporal':>14}{'goal':>8}")
    for name, here, there, goal in rows:
        if there:
            shown = ["" if value is None else f"{value:.2f}" for value in (here, there, goal)]
            verdict = "" if goal is None else "reached" if there <= goal else "NOT reached"
            print(f"{name:34}{shown[0]:>14}{shown[1]:>14}{shown[2]:>8}  {verdict}")


def find_faults(run: Run, *, purchases: int, price_cents: int, may_fail: bool) -> list[str]:
    """Name what must not happen, whatever was killed."""
    correct = {
        "jobs failed": run.failed == 0 or may_fail,
        "not one purchase for each job": run.counts.purchases == purchases,
        "an audience was purchased twice": run.counts.most_purchases == 1,
        "an audience was made twice": run.counts.most_made == 1,
        "charged and spent differ": run.counts.charged_cents == run.spent_cents == price_cents * purchases,
        "cents stay reserved": run.reserved_cents == 0,
        "not one file for each purchase": run.files == purchases,
    }
    return [fault for fault, is_correct in correct.items() if not is_correct]
