"""What a stage was made from: pure rules. A row binds its job only to the inputs that its own stage used."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from indigo_async.workflows.events import Stage

__all__ = ["Binding", "is_binding", "without_inputs"]

_KEY = "inputs"
_PARTS = ("server", "csv", "columns", "lookalike")
_PARTS_OF_STAGE = {Stage.UPLOAD: _PARTS[:2], Stage.MATCH: _PARTS[:3]}
"""Later stages use all of them: what is exported is the lookalike where there is one."""

_WORDS = {
    "server": "for another server",
    "csv": "from another CSV",
    "columns": "with other columns",
    "lookalike": "with other lookalike settings (name, size, filters or include_original_audience)",
}
_DONE = {
    Stage.MATCH: "matched this audience",
    Stage.LOOKALIKE: "made the lookalike",
    Stage.PURCHASE: "purchased an export",
}


def is_binding(stage: Stage) -> bool:
    """Whether a job may not go on with other inputs than those of this stage.

    An upload and a preview are free and made again. A match and a lookalike take a name for good, a purchase costs.
    """
    return stage in _DONE


@attrs.frozen
class Binding:
    """The inputs that a job has now, a hash for each part. Without any, nothing is recorded and nothing is compared.

    `is_same_job` says whether the whole job is the one that the journal first saw, for rows that have no inputs:
    earlier versions wrote none.
    """

    inputs: Mapping[str, str] = attrs.Factory(dict[str, str])
    is_same_job: bool = True

    def bound(self, stage: Stage, facts: Mapping[str, Any]) -> Mapping[str, Any]:
        """A stage's facts with the inputs that the stage uses."""
        return {**facts, _KEY: self._inputs_of(stage)} if self.inputs else facts

    def changes(self, stage: Stage, facts: Mapping[str, Any]) -> tuple[str, ...]:
        """The parts of the job that were other ones when a row was written; none where it is the same."""
        recorded: Mapping[str, str] = facts.get(_KEY) or {}
        if not recorded or not self.inputs:
            return () if self.is_same_job else ("job",)
        return tuple(part for part, used in self._inputs_of(stage).items() if recorded.get(part) != used)

    def explain(self, stage: Stage, changes: tuple[str, ...]) -> str:
        """What an earlier run did, and from what, in words."""
        words = [_WORDS[part] for part in changes if part in _WORDS]
        if not words:
            return f"an earlier run {_DONE[stage]} from another CSV, with other columns or with another lookalike"
        return f"an earlier run {_DONE[stage]} {' and '.join(words)}"

    def _inputs_of(self, stage: Stage) -> dict[str, str]:
        return {part: self.inputs.get(part, "") for part in _PARTS_OF_STAGE.get(stage, _PARTS)}


def without_inputs(facts: dict[str, Any]) -> dict[str, Any]:
    """A stage's facts as the stage wrote them."""
    facts.pop(_KEY, None)
    return facts
