"""Properties of decoding for documents of right and wrong types, on both paths of the decoder."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from indigo_async._transport import codec
from indigo_async.errors import ResponseDecodeError
from indigo_async.models import Audience

CANARY = "canary-7d1e"
ID_KEYS = ("id", "audienceId", "audienceID")
NAME_KEYS = ("name", "audienceName")
COST_KEYS = (
    "cost",
    "costInCents",
    "costCents",
    "price",
    "priceInCents",
    "priceCents",
    "purchasePrice",
    "totalCost",
    "totalCostInCents",
)
MODELED = {*ID_KEYS, *NAME_KEYS, "status", "customerId", "baseAudienceId", "uploadedAudienceCsv", "csvExports"}

_scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
_json = st.recursive(
    _scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
_unknown_keys = st.dictionaries(st.text(max_size=8).filter(lambda key: key not in MODELED), _json, max_size=3)
_ids = st.integers(min_value=0) | st.text(min_size=1)


@st.composite
def _object(
    draw: st.DrawFn, required: dict[tuple[str, ...], Any], optional: dict[tuple[str, ...], Any]
) -> dict[str, Any]:
    """Draw an object with unknown keys, and with one spelling of each modeled key."""
    chosen = required | {keys: values for keys, values in optional.items() if draw(st.booleans())}
    return draw(_unknown_keys) | {draw(st.sampled_from(keys)): draw(values) for keys, values in chosen.items()}


def _documents(
    *, ids: st.SearchStrategy[Any], texts: st.SearchStrategy[Any], cents: st.SearchStrategy[Any]
) -> st.SearchStrategy[dict[str, Any]]:
    """Audiences with a CSV and exports, made from these IDs, texts and amounts."""
    exports = _object(
        {("id", "exportId"): ids},
        {
            COST_KEYS: cents,
            ("status",): texts,
            ("downloadUrl",): texts,
            ("optionalFieldTypes",): st.lists(texts, max_size=2),
        },
    )
    return _object(
        {ID_KEYS: ids},
        {
            NAME_KEYS: texts,
            ("status",): texts,
            ("customerId",): ids,
            ("uploadedAudienceCsv",): _object({}, {("status",): texts, ("url",): texts}),
            ("csvExports",): st.lists(exports, max_size=2),
        },
    )


_right = _documents(ids=_ids, texts=st.text(), cents=st.integers(min_value=0))
_possibly_wrong = _documents(ids=_ids | _json, texts=st.text() | _json, cents=_json)
_anything = _right | _possibly_wrong | _json


def _first_of(document: dict[str, Any], keys: tuple[str, ...]) -> Any:
    return next((document[key] for key in keys if document.get(key) is not None), None)


def _decode_error(document: object) -> ResponseDecodeError | None:
    try:
        codec.decode_audience(document, "GET /audience")
    except ResponseDecodeError as error:
        return error
    return None


@given(_right)
def test_a_document_of_the_documented_types_decodes_to_its_values(document: dict[str, Any]):
    audience = codec.decode_audience(document, "GET /audience")
    assert audience.id == _first_of(document, ID_KEYS)
    assert audience.name == _first_of(document, NAME_KEYS)
    assert audience.status == document.get("status", "")
    assert [export.cost_cents for export in audience.csv_exports] == [
        _first_of(export, COST_KEYS) for export in document.get("csvExports", [])
    ]
    assert audience.extra == {key: value for key, value in document.items() if key not in MODELED}


@given(_anything)
def test_both_paths_of_the_decoder_agree(document: object):
    try:
        expected = codec._structure_unusual(document, Audience)
    except codec._MISFITS:
        expected = None
    try:
        assert codec._structure_row(document) == expected
    except codec._MISFITS:
        assert expected is None


@given(_anything)
def test_detailed_validation_changes_no_outcome(document: object):
    try:
        expected = codec._structure_row(document)
    except codec._MISFITS:
        expected = None
    try:
        assert codec.decode_audience(document, "GET /audience") == expected
    except ResponseDecodeError:
        assert expected is None


@given(_possibly_wrong)
def test_a_document_is_rejected_only_for_an_unreadable_id(document: dict[str, Any]):
    error = _decode_error(document)
    used = _first_of(document, ID_KEYS)
    readable = isinstance(used, (str, int)) and not isinstance(used, bool) and used != ""
    assert (error is None) or not readable


@given(_anything)
def test_anything_is_decoded_or_rejected_with_a_path(document: object):
    error = _decode_error(document)
    assert error is None or error.path.startswith("$")


_canaries = st.just(CANARY) | st.just([CANARY]) | st.just({CANARY: CANARY})


@given(_documents(ids=_ids | _canaries, texts=_canaries, cents=_canaries | st.integers()))
def test_an_error_never_shows_values_of_the_document(document: dict[str, Any]):
    assert CANARY not in str(_decode_error(document))


@given(st.binary())
def test_any_bytes_are_json_or_rejected(body: bytes):
    try:
        codec.decode_document(body, "GET /audience")
    except ResponseDecodeError:
        return
