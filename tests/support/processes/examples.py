"""Where examples perform."""

from __future__ import annotations

import os
from pathlib import Path

import attrs

from indigo_async.sandbox import Sandbox

__all__ = ["EXAMPLES", "ExampleEnvironment"]

HERE = Path(__file__).parent
EXAMPLES = HERE.parents[2] / "examples"


@attrs.frozen
class ExampleEnvironment:
    """A sandbox, a list that it can fetch, and the environment that leads there."""

    sandbox: Sandbox
    csv: str

    @property
    def environment(self) -> dict[str, str]:
        return {
            "INDIGO_API_TOKEN": self.sandbox.token,
            "INDIGO_BASE_URL": self.sandbox.base_url,
            "DONORS_CSV": self.csv,
        }

    @property
    def subprocess_environment(self) -> dict[str, str]:
        """The same for a process of its own, whose clients are quick, too."""
        return os.environ | self.environment | {"PYTHONPATH": str(HERE / "fast_polling")}
