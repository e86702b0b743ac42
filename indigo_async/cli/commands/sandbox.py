"""`indigo-async sandbox`: a local server with the whole API."""

from __future__ import annotations

from typing import Annotated, Literal

from cyclopts import Parameter
from cyclopts.validators import Number

from indigo_async.cli.options.common import POSITIVE, WholeNumber

__all__ = ["sandbox"]


def sandbox(
    *,
    port: Annotated[
        WholeNumber, Parameter(help="The port on 127.0.0.1; 0 picks a free one.", validator=Number(gte=0, lte=65_535))
    ] = 8080,
    voters: Annotated[
        str, Parameter(help="The number of synthetic voters, or a CSV or Parquet file of voters.")
    ] = "100000",
    seed: Annotated[WholeNumber, Parameter(help="The random seed for synthetic voters.")] = 0,
    speed: Annotated[
        float, Parameter(help="How many times faster than real time the server works.", validator=POSITIVE)
    ] = 1.0,
    lite: Annotated[bool, Parameter(help="Serve statuses and made-up sizes only, without voters.")] = False,
    export_flow: Annotated[
        Literal["synchronous", "asynchronous"],
        Parameter(help="How exports work: as in the API reference (synchronous), or with the newer flow."),
    ] = "synchronous",
    token: Annotated[str | None, Parameter(help="The token to accept. Default: a random one.")] = None,
    requests_per_second: Annotated[
        float | None, Parameter(help="Respond with 429 to requests above this rate.", validator=POSITIVE)
    ] = None,
    allow_remote_csvs: Annotated[bool, Parameter(help="Fetch CSVs from other machines, too.")] = False,
) -> None:
    """Serve the API on this machine until Ctrl-C."""
    from indigo_async.cli.runners.sandbox import serve_sandbox

    serve_sandbox(
        port=port,
        voters=voters,
        seed=seed,
        speed=speed,
        lite=lite,
        export_flow=export_flow,
        token=token,
        requests_per_second=requests_per_second,
        allow_remote_csvs=allow_remote_csvs,
    )
