"""`indigo-async manifest`: generate a manifest for local CSVs, with suggested columns."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from indigo_async.cli.exit_codes import ExitCode
from indigo_async.cli.options.common import OUTPUT, POSITIVE, OptionalWholeNumber, OutputOptions

__all__ = ["manifest"]


def manifest(
    csvs: Annotated[tuple[str, ...], Parameter(help="CSV files, folders of CSVs, or glob patterns.")],
    /,
    *,
    customer: Annotated[
        str, Parameter(help="The customer ID. {folder} stands for the name of the folder that the CSV is in.")
    ],
    name: Annotated[
        str,
        Parameter(
            help="The names of the audiences. {file} stands for the CSV's name without its suffix, {folder} for the "
            "name of its folder."
        ),
    ] = "{file}",
    lookalike_size: Annotated[
        OptionalWholeNumber, Parameter(help="Also create lookalikes of this many people.", validator=POSITIVE)
    ] = None,
    exports: Annotated[str | None, Parameter(help="Also export the audiences to this folder.")] = None,
    max_cost_cents: Annotated[
        OptionalWholeNumber,
        Parameter(help="The most that each export may cost, in cents. Default: 0, which purchases only free exports."),
    ] = None,
    output: Annotated[
        Path | None,
        Parameter(
            help="Write the manifest to this new file, as YAML (.yaml) or JSON Lines (.jsonl). "
            "Default: YAML on stdout, or JSON Lines with --json."
        ),
    ] = None,
    options: OutputOptions = OUTPUT,
) -> ExitCode:
    """Generate a manifest for local CSVs, with suggested columns."""
    from indigo_async.cli.runners.manifest import generate_manifest

    return generate_manifest(
        csvs,
        customer,
        name,
        options.create_output(),
        lookalike_size=lookalike_size,
        exports=exports,
        max_cost_cents=max_cost_cents,
        output=output,
    )
