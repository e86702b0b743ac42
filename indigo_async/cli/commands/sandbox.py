"""`indigo-async demo` and `indigo-async sandbox`: what needs no account."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter
from cyclopts.validators import Number

from indigo_async.cli.options.common import WholeNumber, run_async
from indigo_async.errors import InvalidInputError, Problem

__all__ = ["demo", "sandbox"]

_POSITIVE = Number(gt=0)
_PORT_ERRORS = {errno.EADDRINUSE: "it is in use", errno.EACCES: "only an administrator may listen there"}
"""Why the system gives a port to nobody, or not to us."""
_SPEED_HELP = "How many sandbox seconds pass in a second."


def demo(
    *,
    out: Annotated[Path, Parameter(help="The folder for the CSVs.")] = Path("indigo-demo"),
    voters: Annotated[
        WholeNumber, Parameter(help="How many people the voter file has.", validator=_POSITIVE)
    ] = 100_000,
    people: Annotated[
        WholeNumber, Parameter(help="How many people each customer's CSV has.", validator=_POSITIVE)
    ] = 2_000,
    speed: Annotated[float, Parameter(help=_SPEED_HELP, validator=_POSITIVE)] = 20.0,
    seed: Annotated[WholeNumber, Parameter(help="What people and typos are drawn from.")] = 0,
) -> None:
    """Run the whole cookbook for three customers at once."""
    from indigo_async.cli.commands.demo import DemoOptions, run_demo  # noqa: PLC0415 - needs the extra `sandbox`

    run_async(lambda: run_demo(DemoOptions(out=out, voters=voters, people=people, speed=speed, seed=seed)))


def sandbox(
    *,
    port: Annotated[
        WholeNumber, Parameter(help="The port on 127.0.0.1; 0 finds a free one.", validator=Number(gte=0, lte=65_535))
    ] = 8080,
    voters: Annotated[str, Parameter(help="How many synthetic people, or a CSV or Parquet file of voters.")] = "100000",
    seed: Annotated[WholeNumber, Parameter(help="What synthetic people are drawn from.")] = 0,
    speed: Annotated[float, Parameter(help=_SPEED_HELP, validator=_POSITIVE)] = 1.0,
    lite: Annotated[bool, Parameter(help="Statuses and invented sizes only, no people.")] = False,
    export_flow: Annotated[
        Literal["synchronous", "asynchronous"], Parameter(help="As the reference tells exports, or the newer flow.")
    ] = "synchronous",
    token: Annotated[str | None, Parameter(help="The token to accept; else a random one.")] = None,
    requests_per_second: Annotated[
        float | None, Parameter(help="Above this rate requests are answered 429.", validator=_POSITIVE)
    ] = None,
    allow_remote_csvs: Annotated[bool, Parameter(help="Fetch CSVs from other machines than this one.")] = False,
) -> None:
    """Serve the API on this machine until interrupted."""
    from indigo_async.sandbox.command import run as serve  # noqa: PLC0415 - needs the extra `sandbox`

    try:
        serve(
            port=port,
            voters=int(voters) if voters.isdecimal() else Path(voters),
            seed=seed,
            speed=speed,
            lite=lite,
            export_flow=export_flow,
            token=token,
            requests_per_second=requests_per_second,
            allow_remote_csvs=allow_remote_csvs,
        )
    except OSError as error:
        if error.errno not in _PORT_ERRORS or error.filename is not None:
            raise
        words = f"{port} cannot be had here ({_PORT_ERRORS[error.errno]}): give another, or 0, which finds a free one"
        raise InvalidInputError([Problem("--port", words)]) from error
