"""`indigo-async demo`: every recipe on a local sandbox."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from indigo_async.cli.errors import ErrorReport
from indigo_async.cli.exit_codes import ExitCode
from indigo_async.cli.options.common import POSITIVE, WholeNumber
from indigo_async.cli.render.output import Output
from indigo_async.cli.signals import run_async
from indigo_async.errors import InvalidInputError, Problem

__all__ = ["demo"]


def demo(
    *,
    out: Annotated[Path, Parameter(help="The folder for the CSVs.")] = Path("indigo-demo"),
    voters: Annotated[
        WholeNumber, Parameter(help="How many voters the synthetic voter file has.", validator=POSITIVE)
    ] = 100_000,
    people: Annotated[
        WholeNumber, Parameter(help="How many people each customer's CSV has.", validator=POSITIVE)
    ] = 2_000,
    speed: Annotated[
        float, Parameter(help="How many times faster than real time the server works.", validator=POSITIVE)
    ] = 20.0,
    seed: Annotated[WholeNumber, Parameter(help="The random seed for voters and typos.")] = 0,
) -> ExitCode:
    """Run every recipe for three customers at once, on a local sandbox."""
    if out.exists() and not out.is_dir():
        raise InvalidInputError([Problem("--out", f"{out} is not a folder")])
    from indigo_async.cli.demo_runner import DemoOptions, run_demo  # noqa: PLC0415 - optional extra

    try:
        run_async(partial(run_demo, DemoOptions(out=out, voters=voters, people=people, speed=speed, seed=seed)))
    except KeyboardInterrupt:
        message = "interrupted. The sandbox and its audiences are gone"
        Output().error(ErrorReport(type="Interrupted", message=message, advice="run the same command to start over"))
        return ExitCode.INTERRUPTED
    return ExitCode.SUCCESS
