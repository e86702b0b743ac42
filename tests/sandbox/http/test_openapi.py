"""The sandbox's OpenAPI document, as generators of clients read it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import jsonschema
import msgspec
from hypothesis import given
from hypothesis import strategies as st

from indigo_async.inputs import CANONICAL_FIELDS, ColumnSelection
from indigo_async.sandbox import Dialect
from indigo_async.sandbox.errors import HttpError
from indigo_async.sandbox.http.openapi import build_openapi
from indigo_async.sandbox.http.parameters import check_column_selections

DOCUMENT = msgspec.json.decode(build_openapi("http://127.0.0.1:8000/api/v1", Dialect(), "asynchronous"))
COLUMN_SELECTIONS = DOCUMENT["components"]["schemas"]["ColumnSelections"]


def find_models(node: Any) -> Iterator[dict[str, Any]]:
    """Find the schemas that a generator makes classes of. It doesn't read `not`."""
    if isinstance(node, dict):
        if "properties" in node:
            yield node
        for key, value in node.items():
            if key != "not":
                yield from find_models(value)
    elif isinstance(node, list):
        for item in node:
            yield from find_models(item)


def test_clients_can_be_generated():
    """openapi-python-client 0.29 writes `!= Trueand not isinstance(...)` for an optional property with a `const`."""
    models = list(find_models(DOCUMENT))
    assert len(models) > len(DOCUMENT["components"]["schemas"])
    for model in models:
        optional = {
            name: schema for name, schema in model["properties"].items() if name not in model.get("required", [])
        }
        assert [name for name, schema in optional.items() if "const" in schema] == []


@given(required=st.dictionaries(st.sampled_from(CANONICAL_FIELDS), st.booleans()))
def test_column_selections_are_described_as_the_sandbox_checks_them(required: dict[str, bool]):
    selections = {field: ColumnSelection(field, is_required) for field, is_required in required.items()}
    try:
        check_column_selections(selections, None)
    except HttpError:
        is_accepted = False
    else:
        is_accepted = True
    body = {field: {"column_name": field, "is_required": is_required} for field, is_required in required.items()}
    assert jsonschema.Draft202012Validator(COLUMN_SELECTIONS).is_valid(body) is is_accepted
