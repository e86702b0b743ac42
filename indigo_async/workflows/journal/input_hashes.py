"""What a stage was made from: pure rules. A row binds its job only to the inputs that its own stage used."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from indigo_async.events import Stage

__all__ = ["InputHashes", "is_permanent", "strip_hashes"]

_KEY = "inputs"
_PARTS = ("server", "csv", "columns", "lookalike")
_PARTS_OF_STAGE = {Stage.UPLOAD: _PARTS[:2], Stage.MATCH: _PARTS[:3]}
"""Later stages use all of them: what is exported is the lookalike where there is one."""

_CHANGE_TEXT = {
    "server": "for another server",
    "csv": "from another CSV",
    "columns": "with other columns",
    "lookalike": "with other lookalike settings (name, size, filters or include_original_audience)",
}
_STAGE_TEXT = {
    Stage.MATCH: "matched this audience",
    Stage.LOOKALIKE: "made the lookalike",
    Stage.PURCHASE: "purchased an export",
}


def is_permanent(stage: Stage) -> bool:
    """Whether a job may not go on with other inputs than those of this stage.

    An upload and a preview are free and made again. A match and a lookalike take a name for good, a purchase costs.
    """
    return stage in _STAGE_TEXT


@attrs.frozen
class InputHashes:
    """The inputs that a job has now, a hash for each part. Without any, nothing is recorded and nothing is compared.

    `is_same_job` says whether the whole job is the one that the journal first saw, for rows that have no inputs:
    earlier versions wrote none.
    """

    by_part: Mapping[str, str] = attrs.Factory(dict[str, str])
    is_same_job: bool = True

    def add_to(self, stage: Stage, facts: Mapping[str, Any]) -> Mapping[str, Any]:
        """A stage's facts with the inputs that the stage uses."""
        return {**facts, _KEY: self._hashes_of(stage)} if self.by_part else facts

    def changed_parts(self, stage: Stage, facts: Mapping[str, Any]) -> tuple[str, ...]:
        """The parts of the job that were other ones when a row was written; none where it is the same."""
        recorded: Mapping[str, str] = facts.get(_KEY) or {}
        if not recorded or not self.by_part:
            return () if self.is_same_job else ("job",)
        return tuple(part for part, used in self._hashes_of(stage).items() if recorded.get(part) != used)

    def describe_change(self, stage: Stage, changes: tuple[str, ...]) -> str:
        """What an earlier run did, and from what, in words."""
        words = [_CHANGE_TEXT[part] for part in changes if part in _CHANGE_TEXT]
        if not words:
            return f"an earlier run {_STAGE_TEXT[stage]} from another CSV, with other columns or with another lookalike"
        return f"an earlier run {_STAGE_TEXT[stage]} {' and '.join(words)}"

    def _hashes_of(self, stage: Stage) -> dict[str, str]:
        return {part: self.by_part.get(part, "") for part in _PARTS_OF_STAGE.get(stage, _PARTS)}


def strip_hashes(facts: dict[str, Any]) -> dict[str, Any]:
    """A stage's facts as the stage wrote them."""
    facts.pop(_KEY, None)
    return facts
