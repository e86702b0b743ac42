"""`indigo-async columns`: suggest which CSV columns to match by, ready to paste or save."""

from __future__ import annotations

from pathlib import Path

import attrs

from indigo_async.cli.render.output import Output, make_table
from indigo_async.files.csv.column_names import show_exactly, visible_name
from indigo_async.files.csv.suggest import ColumnSuggestion, read_suggestion, to_python, to_yaml

__all__ = ["show_suggestion"]


def show_suggestion(csv: Path, output: Output) -> None:
    """Suggest which columns of a CSV to match by, and show them with the reasons."""
    suggestion = read_suggestion(csv)
    output.write_json(_to_json(suggestion))
    _print_suggestion(output, suggestion)


def _to_json(suggestion: ColumnSuggestion) -> dict[str, object]:
    """The suggestion as a JSON object that `match --columns` can read."""
    return {
        "path": str(suggestion.path),
        "column_selections": {
            field: {"column_name": selection.column_name, "is_required": selection.required}
            for field, selection in suggestion.selections.by_field().items()
        },
        **attrs.asdict(suggestion, filter=attrs.filters.exclude("path", "selections")),
    }


def _show_name(name: str) -> str:
    """A column's name, quoted if it has stray spaces or invisible characters that are easy to miss."""
    return name if name == visible_name(name) else show_exactly(name)


def _print_suggestion(output: Output, suggestion: ColumnSuggestion) -> None:
    rows = [
        (field, _show_name(selection.column_name), "yes" if selection.required else "no", suggestion.reasons[field])
        for field, selection in suggestion.selections.by_field().items()
    ]
    output.show(make_table({"field": "left", "column": "left", "required": "left", "reason": "left"}, rows))
    if suggestion.left_out:
        output.show("")
        left_out = [(_show_name(name), reason) for name, reason in suggestion.left_out.items()]
        output.show(make_table({"not used": "left", "reason": "left"}, left_out))
    output.show(
        f"\nIn Python:\n\n{to_python(suggestion.selections)}\nIn a manifest:\n\n{to_yaml(suggestion.selections)}"
    )
    for warning in suggestion.warnings:
        output.note(f"Check this: {warning}.")
    output.note(f"Based on {suggestion.rows_sampled:,} rows of {suggestion.path} ({suggestion.encoding}).")
