"""`indigo-async columns`: which columns of a CSV hold what a match needs, ready to be pasted or saved."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import attrs
from cyclopts import Parameter

from indigo_async.cli.options.common import OUTPUT, OutputOptions, run_async
from indigo_async.cli.render.output import Output, make_table
from indigo_async.files import ColumnSuggestion, suggest_columns
from indigo_async.files.csv.suggest import to_python, to_yaml

__all__ = ["columns"]


def columns(
    csv: Annotated[Path, Parameter(help="A CSV of people on this machine.")], *, output: OutputOptions = OUTPUT
) -> None:
    """Propose which columns of a CSV to match by, with the reasons."""
    out = output.create_output()
    suggestion = run_async(partial(suggest_columns, csv))
    out.write_json(_to_json(suggestion))
    _print_suggestion(out, suggestion)


def _to_json(suggestion: ColumnSuggestion) -> dict[str, object]:
    """The suggestion as one JSON object, which `match --columns` reads, too."""
    return {
        "path": str(suggestion.path),
        "column_selections": {
            field: {"column_name": selection.column_name, "is_required": selection.required}
            for field, selection in suggestion.selections.by_field().items()
        },
        **attrs.asdict(suggestion, filter=attrs.filters.exclude("path", "selections")),
    }


def _print_suggestion(out: Output, suggestion: ColumnSuggestion) -> None:
    chosen = suggestion.selections.by_field()
    rows = [
        (field, selection.column_name, "yes" if selection.required else "no", suggestion.reasons[field])
        for field, selection in chosen.items()
    ]
    out.show(make_table({"field": "left", "column": "left", "required": "left", "why": "left"}, rows))
    if suggestion.left_out:
        out.show("")
        out.show(make_table({"left out": "left", "why": "left"}, suggestion.left_out.items()))
    out.show(f"\nIn Python:\n\n{to_python(suggestion.selections)}\nIn a manifest:\n\n{to_yaml(suggestion.selections)}")
    for warning in suggestion.warnings:
        out.note(f"Look at this: {warning}.")
    out.note(f"Judged by {suggestion.rows_sampled:,} rows of {suggestion.path} ({suggestion.encoding}).")
