"""The commands, and how their ends become exit codes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import anyio
from cyclopts import App, Parameter
from cyclopts.exceptions import CycloptsError
from cyclopts.validators import Number
from rich.console import Console

from indigo_async.errors import IndigoError, InvalidInputError

__all__ = ["app", "run"]

_FAILED = 1
_MISUSED = 2
_INTERRUPTED = 130

_POSITIVE = Number(gt=0)
_SPEED_HELP = "How many sandbox seconds pass in a second."

app: App = App(
    name="indigo-async",
    help="Match, grow, price, buy and download voter audiences. Exit codes: 0 done, 1 failed, 2 misused, "
    "130 interrupted.",
)


def run() -> int:
    """Run the command that the arguments name; say in words what went wrong; return the exit code."""
    errors = Console(stderr=True, highlight=False)
    try:
        app(exit_on_error=False, print_error=True)
    except CycloptsError:
        return _MISUSED
    except InvalidInputError as error:
        errors.print(f"indigo-async: {error}", style="red", markup=False, soft_wrap=True)
        return _MISUSED
    except (IndigoError, OSError) as error:
        errors.print(f"indigo-async: {error}", style="red", markup=False, soft_wrap=True)
        return _FAILED
    except ImportError as error:
        errors.print(
            f"indigo-async: {error.name} is not installed; pip install 'indigo-async[cli,sandbox]'",
            style="red",
            markup=False,
            soft_wrap=True,
        )
        return _FAILED
    except KeyboardInterrupt:
        errors.print("indigo-async: interrupted", style="red")
        return _INTERRUPTED
    return 0


@app.command
def demo(
    *,
    out: Annotated[Path, Parameter(help="The folder for the CSVs.")] = Path("indigo-demo"),
    voters: Annotated[int, Parameter(help="How many people the voter file has.", validator=_POSITIVE)] = 100_000,
    people: Annotated[int, Parameter(help="How many people each customer's CSV has.", validator=_POSITIVE)] = 2_000,
    speed: Annotated[float, Parameter(help=_SPEED_HELP, validator=_POSITIVE)] = 20.0,
    seed: Annotated[int, Parameter(help="What people and typos are drawn from.")] = 0,
) -> None:
    """Run the whole cookbook for three customers at once on a sandbox of its own: no account, no network."""
    from indigo_async.cli.demo import DemoOptions, run_demo  # noqa: PLC0415 - needs the extra `sandbox`

    anyio.run(run_demo, DemoOptions(out=out, voters=voters, people=people, speed=speed, seed=seed))


@app.command
def sandbox(
    *,
    port: Annotated[
        int, Parameter(help="The port on 127.0.0.1; 0 finds a free one.", validator=Number(gte=0, lte=65_535))
    ] = 8080,
    voters: Annotated[str, Parameter(help="How many synthetic people, or a CSV or Parquet file of voters.")] = "100000",
    seed: Annotated[int, Parameter(help="What synthetic people are drawn from.")] = 0,
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
    """Serve the API on this machine until interrupted; prints the address and the token to use."""
    from indigo_async.sandbox.command import run as serve  # noqa: PLC0415 - needs the extra `sandbox`

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
