"""Everything that the command prints names options and manifest fields, never Python names."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from indigo_async import errors
from indigo_async.cli.app import _COMMANDS, app
from indigo_async.cli.manifest.fields import FIELDS
from indigo_async.cli.render.advice import advice_for, use_option_names

PACKAGE = Path(errors.__file__).parent
UNREACHABLE = {"sandbox", "telemetry", "testing.py", "notebook.py"}
"""Parts whose texts no command prints as errors or warnings."""
PYTHON_ONLY = {
    # Commands open and close their clients, send no requests of their own, and their batches have journals.
    "was never closed: use `async with`",
    "a GET has no body",
    "must not contain a query or fragment",
    "the client is not open",
    "the client is already open",
    "this SDK needs asyncio",
    "the batch has ended: iterate over it",
    "this batch may purchase exports and has no journal",
    # Types and arguments that commands and manifests don't pass on.
    "must be an indigo_async.",
    "must be a function that takes one event",
    "must be an AudienceJob",
    "must be an iterable of AudienceJobs",
    "must be ColumnSelections or a mapping",
    "must be a ColumnSelection or a mapping",
    "must be LookalikeFilters or a mapping",
}
PYTHON = re.compile(
    r"\bworkflows\.|\bclient\.|\bindigo_async\.|\basync with\b|\b[a-z_]{3,}\((?!s\))|"
    r"\b(?!(first|last|full)_name=)[a-z]+_[a-z_]+=|"
    r"\b[a-z]+=(\.\.\.|True|False|None|Path)|\b(True|False|None(?!-Match))\b|[Tt]he same call\b|\bcall [a-z]+_[a-z_]+"
)
COLUMN_FIELDS = {"column_name", "is_required", "first_name", "last_name", "full_name"}
"""Names in a file with columns."""
OPTIONS = {
    name for command in _COMMANDS for argument in app[command].assemble_argument_collection() for name in argument.names
}


def texts_in(node: ast.AST) -> Iterator[str]:
    """The texts of a syntax tree without docstrings. What an f-string inserts becomes `1`."""
    for child in ast.iter_child_nodes(node):
        match child:
            case ast.Expr(value=ast.Constant()):
                pass
            case ast.Constant(value=str() as text):
                yield text
            case ast.JoinedStr(values=values):
                yield "".join(str(part.value) if isinstance(part, ast.Constant) else "1" for part in values)
                for part in values:
                    yield from texts_in(part)
            case _:
                yield from texts_in(child)


def messages() -> Iterator[tuple[str, str]]:
    """Every text in the package that reads like a message, with its file."""
    for path in sorted(PACKAGE.rglob("*.py")):
        if UNREACHABLE.isdisjoint(path.relative_to(PACKAGE).parts):
            for text in texts_in(ast.parse(path.read_text())):
                is_message = " " in text.strip() and not re.match(
                    r"(?s)(PRAGMA|, required=)|.*(from indigo_async import|\\b)", text
                )
                if is_message and not any(text.startswith(start) or start in text for start in PYTHON_ONLY):
                    yield path.name, text


ALL = sorted(set(messages()))


@pytest.mark.parametrize("in_batch", [True, False])
def test_no_message_has_python_names(in_batch: bool):
    shown = [(name, use_option_names(text, in_batch=in_batch)) for name, text in ALL if name != "advice.py"]
    assert [(name, text) for name, text in shown if PYTHON.search(text)] == []
    assert len(shown) > 500


def test_messages_of_a_command_without_a_manifest_name_no_fields():
    fields = {name for field in FIELDS for name in field.split(".") if "_" in name} - COLUMN_FIELDS
    pattern = re.compile(rf"(?<![\w-])({'|'.join(sorted(fields))})\b")
    found = {name for _, text in ALL if pattern.search(use_option_names(text, in_batch=False)) for name in [text]}
    manifest_only = {text for text in found if re.search(r"--max-cost|export\.|lookalike", text)}
    assert found - manifest_only == set()


@pytest.mark.parametrize("error_type", [*sorted(errors.__all__), "SomeOtherError"])
@pytest.mark.parametrize("in_batch", [True, False])
def test_advice_names_only_what_can_be_typed(error_type: str, in_batch: bool):
    advice = advice_for(error_type, in_batch=in_batch)
    assert not PYTHON.search(advice)
    assert set(re.findall(r"--[a-z-]+", advice)) <= OPTIONS
    fields = set(re.findall(r"\b[a-z]+(?:[._][a-z]+)*_[a-z_]+\b", advice))
    assert fields <= (set(FIELDS) if in_batch else set())
    assert ("batch" in advice) <= in_batch


def test_python_advice_becomes_options():
    message = "To download it, pass reuse_purchased=True, or call workflows.download_export(..., export_id='e-1')"
    assert use_option_names(message) == (
        "To download it, set export.reuse_purchased to true, or run `indigo-async export` with --export-id e-1"
    )
    assert use_option_names(message, in_batch=False) == (
        "To download it, use --reuse-purchased, or run `indigo-async export` with --export-id e-1"
    )


def test_no_message_shows_an_amount_in_cents():
    assert [text for _, text in ALL if re.search(r"\d cents\b", text)] == []
