"""Column selections as text to paste: Python, or YAML for a manifest of jobs."""

from __future__ import annotations

from indigo_async.inputs import ColumnSelections

__all__ = ["to_python", "to_yaml"]


def to_python(selections: ColumnSelections) -> str:
    """An assignment that makes the same selections, with the import that it needs."""
    chosen = selections.by_field().items()
    lines = [
        f"    {field}=ColumnSelection({_quote_python(one.column_name)}{', required=True' if one.required else ''}),\n"
        for field, one in chosen
    ]
    start = "from indigo_async import ColumnSelection, ColumnSelections\n\ncolumns = ColumnSelections(\n"
    return f"{start}{''.join(lines)})\n"


def to_yaml(selections: ColumnSelections) -> str:
    """The same under the key `column_selections`, as manifests have it."""
    lines = [
        f"  {field}: {{column_name: {_quote_yaml(one.column_name)}, is_required: {str(one.required).lower()}}}\n"
        for field, one in selections.by_field().items()
    ]
    return f"column_selections:\n{''.join(lines)}"


def _quote_python(text: str) -> str:
    shown = repr(text)
    return f'"{text}"' if shown == f"'{text}'" and '"' not in text else shown


def _quote_yaml(text: str) -> str:
    """A double-quoted scalar: whatever the text is, it is no number, date or `no`."""
    shown = (
        f"\\{character}" if character in '"\\' else character if character.isprintable() else f"\\U{ord(character):08x}"
        for character in text
    )
    return f'"{"".join(shown)}"'
