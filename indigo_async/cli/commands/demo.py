"""`indigo-async demo`: every recipe on a local sandbox."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from indigo_async.cli.exit_codes import ExitCode
from indigo_async.cli.options.common import POSITIVE, WholeNumber

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
    ] = 40.0,
    seed: Annotated[WholeNumber, Parameter(help="The random seed for voters and typos.")] = 0,
) -> ExitCode:
    """Run every recipe for three customers at once, on a local sandbox."""
    from indigo_async.cli.runners.demo import show_demo

    return show_demo(out=out, voters=voters, people=people, speed=speed, seed=seed)
