"""Warnings about jobs, grouped for people: thousands of reuses are one line."""

from __future__ import annotations

import re
from collections.abc import Iterable

import attrs

__all__ = ["WarningGroup", "group_warnings"]

_IDS = re.compile(r"\b(audience|export) [^\s,;:(]+|\d[\d,]*")


@attrs.frozen(kw_only=True)
class WarningGroup:
    """Jobs with the same kind of warning, which may differ in IDs and numbers. `key` and `message` are the first's."""

    jobs: int
    key: str
    message: str

    @property
    def text(self) -> str:
        others = f" and {self.jobs - 1:,} more" if self.jobs > 1 else ""
        return f"{self.key}{others}: {self.message}"


def group_warnings(warnings: Iterable[tuple[str, str]]) -> list[WarningGroup]:
    """Group warnings, given as keys of jobs and messages; the most frequent kind first."""
    groups: dict[str, WarningGroup] = {}
    for key, message in warnings:
        kind = _IDS.sub("*", message)
        known = groups.get(kind, WarningGroup(jobs=0, key=key, message=message))
        groups[kind] = attrs.evolve(known, jobs=known.jobs + 1)
    return sorted(groups.values(), key=lambda group: -group.jobs)
