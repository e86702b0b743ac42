"""Run the demo on a local sandbox."""

from __future__ import annotations

import gc
from functools import partial
from pathlib import Path

from indigo_async.cli.errors import ErrorReport
from indigo_async.cli.exit_codes import ExitCode
from indigo_async.cli.render.output import Output
from indigo_async.cli.signals import run_async
from indigo_async.errors import InvalidInputError, Problem

__all__ = ["show_demo"]


def show_demo(*, out: Path, voters: int, people: int, speed: float, seed: int) -> ExitCode:
    """Run every recipe for three customers at once, and show the progress and the results."""
    if out.exists() and not out.is_dir():
        raise InvalidInputError([Problem("--out", f"{out} is not a folder")])
    from indigo_async.cli.runners.demo_batch import DemoOptions, run_demo  # noqa: PLC0415 - optional extra

    try:
        run_async(partial(run_demo, DemoOptions(out=out, voters=voters, people=people, speed=speed, seed=seed)))
    except KeyboardInterrupt:
        message = "interrupted. The sandbox and its audiences are gone"
        Output().error(ErrorReport(type="Interrupted", message=message, advice="run the same command to start over"))
        return ExitCode.INTERRUPTED
    gc.freeze()  # without this, Python spends 0.3 s on garbage as it exits, because scikit-learn has many objects
    return ExitCode.SUCCESS
