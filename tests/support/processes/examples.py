"""The environment in which the examples run."""

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
    """A sandbox, a CSV that it can fetch, and environment variables for both."""

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
        """The same for a separate process, whose clients also poll fast."""
        return os.environ | self.environment | {"PYTHONPATH": str(HERE / "fast_polling")}
