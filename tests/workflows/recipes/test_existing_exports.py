"""Judging existing exports: evidence reuses, contradiction stops, doubt never buys."""

from __future__ import annotations

from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from indigo_async.errors import ExportExistsError
from indigo_async.inputs import OptionalFieldType
from indigo_async.models import Audience, CsvExport
from indigo_async.workflows.recipes.existing_exports import (
    ExportChoice,
    ExportState,
    FieldMatch,
    RecordedExports,
    choose_export,
    export_state,
    find_export,
    known_fields,
    match_fields,
    may_cost,
    needs_wait,
)

PHONE = frozenset({"phone"})


@pytest.mark.parametrize(
    ("export", "state"),
    [
        (CsvExport(id=1, download_url="https://x"), ExportState.DOWNLOADABLE),
        (CsvExport(id=1, download_url="https://x", status="IN_PROGRESS"), ExportState.DOWNLOADABLE),
        (CsvExport(id=1, download_url="https://x", status="UNDER_REVIEW"), ExportState.DOWNLOADABLE),
        (CsvExport(id=1, download_url="https://x", status="REQUIRES_PAYMENT"), ExportState.UNCLEAR),
        (CsvExport(id=1, status="IN_PROGRESS"), ExportState.IN_PROGRESS),
        (CsvExport(id=1, status="in_progress"), ExportState.IN_PROGRESS),
        (CsvExport(id=1, status="In Progress"), ExportState.IN_PROGRESS),
        (CsvExport(id=1, status="REQUIRES_PAYMENT"), ExportState.FOR_SALE),
        (CsvExport(id=1, status="requires payment"), ExportState.FOR_SALE),
        (CsvExport(id=1, status="PREVIEW"), ExportState.FOR_SALE),
        (CsvExport(id=1, status=""), ExportState.FOR_SALE),
        (CsvExport(id=1, status=" "), ExportState.FOR_SALE),
        (CsvExport(id=1, status="ACTIVE"), ExportState.ACTIVE_WITHOUT_URL),
        (CsvExport(id=1, status="UNDER_REVIEW"), ExportState.UNCLEAR),
        (CsvExport(id=1, status="PURCHASED"), ExportState.UNCLEAR),
        (CsvExport(id=1, status="FAILED"), ExportState.FAILED),
        (CsvExport(id=1, status="PAYMENT_FAILED"), ExportState.FAILED),
        (CsvExport(id=1, status="EXPIRED"), ExportState.FAILED),
    ],
)
def test_the_state_of_an_export_comes_from_its_url_and_status(export: CsvExport, state: ExportState):
    assert export_state(export) is state


@given(st.text(max_size=20))
def test_only_a_status_that_means_unpaid_or_none_is_for_sale(status: str):
    if export_state(CsvExport(id=1, status=status)) is ExportState.FOR_SALE:
        words = status.upper()
        assert not words.strip() or "PAY" in words or "PAID" in words or "PREVIEW" in words or "PURCHASED" in words


def test_an_export_is_found_by_its_id_as_text():
    exports = [CsvExport(id=7), CsvExport(id="x")]
    assert find_export(exports, "7") is exports[0]
    assert find_export(exports, "y") is None


def fields_of(types: Any, wanted: set[str], cost: int | None = 100) -> FieldMatch:
    return match_fields(CsvExport(id=1, optional_field_types=types, cost_cents=cost), frozenset(wanted))


@pytest.mark.parametrize(
    "types",
    [
        ("phone",),
        ("PHONE",),
        (" Phone ",),
        ("phone", "phone"),
        ("first_name", "last_name", "phone"),
        ("First Name", "phone", "voterbaseId"),
    ],
)
def test_another_spelling_of_the_same_field_types_is_the_same(types: tuple[str, ...]):
    assert fields_of(types, {"phone"}) is FieldMatch.SAME
    assert fields_of(types, {"address"}) is FieldMatch.OTHER
    assert fields_of(types, set()) is FieldMatch.OTHER


@pytest.mark.parametrize(
    "name", ["vote_history", "Vote History", "voteHistory", "VOTE-HISTORY", "vote.history", "VoteHistory"]
)
def test_separators_and_case_make_no_difference(name: str):
    assert fields_of((name, "phone"), {"phone", "vote_history"}) is FieldMatch.SAME


@pytest.mark.parametrize("types", [None, ("fax",), ("phone", "fax"), ("",), ("phone_number",)])
def test_what_is_not_understood_is_unknown_and_not_different(types: tuple[str, ...] | None):
    assert fields_of(types, {"phone"}) is FieldMatch.UNKNOWN
    assert fields_of(types, set()) is FieldMatch.UNKNOWN


@pytest.mark.parametrize(
    ("wanted", "cost", "match"),
    [
        ({"phone"}, 100, FieldMatch.UNKNOWN),
        ({"phone"}, None, FieldMatch.UNKNOWN),
        ({"phone"}, 0, FieldMatch.OTHER),
        (set[str](), 100, FieldMatch.UNKNOWN),
        (set[str](), 0, FieldMatch.SAME),
        (set[str](), None, FieldMatch.SAME),
    ],
)
def test_an_empty_list_is_believed_only_where_no_money_can_be_lost(
    wanted: set[str], cost: int | None, match: FieldMatch
):
    assert fields_of((), wanted, cost) is match
    assert fields_of(("first_name",), wanted, cost) is match


@given(
    st.sets(st.sampled_from(list(OptionalFieldType)), min_size=1),
    st.randoms(),
    st.sampled_from([str.upper, str.title, str.lower]),
    st.sampled_from(["_", " ", "-", " - "]),
)
def test_any_echo_of_the_same_field_types_is_the_same(types: set[str], random: Any, case: Any, separator: str):
    echo = [case(name).replace("_", separator) for name in types for _ in range(random.randint(1, 2))]
    random.shuffle(echo)
    assert fields_of(tuple(echo), set(types)) is FieldMatch.SAME


def purchased_export(number: int, types: tuple[str, ...] | None = ("phone",)) -> CsvExport:
    return CsvExport(id=number, download_url="https://x", optional_field_types=types, cost_cents=_cost(types))


def unpaid_export(number: int, types: tuple[str, ...] | None = ("phone",)) -> CsvExport:
    return CsvExport(id=number, status="REQUIRES_PAYMENT", optional_field_types=types, cost_cents=_cost(types))


def in_progress(number: int, types: tuple[str, ...] | None = ("phone",)) -> CsvExport:
    return CsvExport(id=number, status="IN_PROGRESS", optional_field_types=types, cost_cents=_cost(types))


def active(number: int, types: tuple[str, ...] | None = ("phone",)) -> CsvExport:
    return CsvExport(id=number, status="ACTIVE", optional_field_types=types, cost_cents=_cost(types))


def failed(number: int, types: tuple[str, ...] | None = ("phone",)) -> CsvExport:
    return CsvExport(id=number, status="FAILED", optional_field_types=types, cost_cents=_cost(types))


def unclear(number: int, types: tuple[str, ...] | None = ("phone",)) -> CsvExport:
    return CsvExport(id=number, status="UNDER_REVIEW", optional_field_types=types, cost_cents=_cost(types))


def _cost(types: tuple[str, ...] | None) -> int | None:
    return None if types is None else 100 * len(types)


def choose(
    exports: list[CsvExport], reuse_purchased: bool | None = None, wanted: frozenset[str] = PHONE, **known: Any
) -> ExportChoice | None:
    audience = Audience(id="aud-1", csv_exports=tuple(exports))
    return choose_export(audience, wanted, reuse_purchased=reuse_purchased, recorded=RecordedExports(**known))


@pytest.mark.parametrize(
    ("exports", "reuse_purchased", "chosen"),
    [
        ([], None, None),
        ([purchased_export(1)], None, 1),
        ([purchased_export(1)], False, 1),
        ([purchased_export(1), purchased_export(2)], None, 2),
        ([purchased_export(1, ("address", "phone"))], None, None),
        ([purchased_export(1, ())], None, None),
        ([unpaid_export(1)], None, 1),
        ([unpaid_export(1), unpaid_export(2)], None, 2),
        ([unpaid_export(1), purchased_export(2)], None, 2),
        ([purchased_export(1), unpaid_export(2)], None, 1),
        ([unpaid_export(1, ())], None, None),
        ([unpaid_export(1, None)], None, None),
        ([failed(1)], False, None),
        ([failed(1, None)], False, None),
        ([failed(1, ())], None, None),
        ([failed(1), purchased_export(2)], None, 2),
        ([failed(1), in_progress(2)], None, "wait for 2"),
        ([purchased_export(1, None)], True, 1),
        ([purchased_export(1, None)], False, None),
        ([purchased_export(1, None), purchased_export(2)], None, 2),
        ([purchased_export(1, None), unpaid_export(2)], False, 2),
        ([in_progress(1, ())], None, None),
        ([in_progress(1)], None, "wait for 1"),
        ([in_progress(1), unpaid_export(2)], None, "wait for 1"),
        ([in_progress(1, None)], None, "wait for 1"),
        ([in_progress(1, None)], False, None),
        ([in_progress(1), purchased_export(2)], None, 2),
        ([active(1)], None, "wait for 1"),
        ([active(1)], True, "wait for 1"),
        ([active(1)], False, "wait for 1"),
        ([active(1), unpaid_export(2)], None, "wait for 1"),
        ([active(1, None)], None, "wait for 1"),
        ([active(1, None)], False, None),
        ([unclear(1, ())], None, None),
    ],
)
def test_the_export_that_serves_is_chosen(
    exports: list[CsvExport], chosen: int | str | None, *, reuse_purchased: bool | None
):
    choice = choose(exports, reuse_purchased)
    if choice is not None and not choice.is_purchased and needs_wait(choice.export):
        assert chosen == f"wait for {choice.export.id}"
    else:
        assert (choice.export.id if choice else None) == chosen


@pytest.mark.parametrize(
    "exports",
    [
        [purchased_export(1, None)],
        [purchased_export(1, None), unpaid_export(2)],
        [purchased_export(1, ("fax",))],
        [attrs.evolve(purchased_export(1, ()), cost_cents=None)],
    ],
)
def test_a_purchase_with_unknown_fields_stops_without_advice_to_purchase_another(exports: list[CsvExport]):
    with pytest.raises(ExportExistsError, match="export 1 of audience aud-1 was purchased before") as caught:
        choose(exports)
    assert "pass reuse_purchased=True, or call workflows.download_export(..., export_id=1)" in str(caught.value)
    assert "False" not in str(caught.value)


@pytest.mark.parametrize("reuse_purchased", [None, True])
def test_an_export_of_unknown_fields_and_status_stops(*, reuse_purchased: bool | None):
    unknown = attrs.evolve(unclear(1, None), cost_cents=100)
    with pytest.raises(ExportExistsError, match=r"export 1 of audience aud-1 has the status 'UNDER_REVIEW'"):
        choose([unknown], reuse_purchased)
    assert choose([unknown], reuse_purchased=False) is None
    assert choose([attrs.evolve(unknown, cost_cents=0)]) is None


@pytest.mark.parametrize("reuse_purchased", [None, True, False])
def test_the_wanted_fields_in_an_unknown_status_stop_whatever_the_caller_says(*, reuse_purchased: bool | None):
    for export in (unclear(1), attrs.evolve(purchased_export(1), status="REQUIRES_PAYMENT")):
        with pytest.raises(ExportExistsError, match=r"so it may have been purchased before; nothing was purchased now"):
            choose([export], reuse_purchased)


def test_a_preview_of_this_job_in_an_unknown_status_is_still_the_one():
    choice = choose([unclear(1)], previews=frozenset({"1"}))
    assert choice is not None
    assert not choice.is_purchased


@pytest.mark.parametrize("exports", [[failed(1)], [failed(1, None)], [unpaid_export(2), failed(1)]])
@pytest.mark.parametrize("reuse_purchased", [None, True])
def test_a_failed_export_that_may_have_been_paid_stops(exports: list[CsvExport], *, reuse_purchased: bool | None):
    with pytest.raises(
        ExportExistsError, match=r"export 1 of audience aud-1 failed \(its status is 'FAILED'\) and may have been"
    ):
        choose(exports, reuse_purchased)


@pytest.mark.parametrize(
    ("export", "wanted"),
    [
        (CsvExport(id=1, status="FAILED", optional_field_types=()), frozenset()),
        (CsvExport(id=1, status="FAILED", optional_field_types=("phone",), cost_cents=0), PHONE),
        (CsvExport(id=1, status="FAILED", cost_cents=0), PHONE),
    ],
)
def test_a_failed_export_that_cost_nothing_is_made_again(export: CsvExport, wanted: frozenset[str]):
    assert choose([export], wanted=wanted) is None


@pytest.mark.parametrize(
    "shown", [unpaid_export(1, None), unpaid_export(1), active(1), unclear(1, None), in_progress(1)]
)
@pytest.mark.parametrize("reuse_purchased", [None, True, False])
def test_what_was_purchased_for_certain_is_never_for_sale(shown: CsvExport, *, reuse_purchased: bool | None):
    choice = choose([shown], reuse_purchased, purchased=frozenset({"1"}), fields={"1": PHONE})
    assert choice is not None
    assert choice.is_purchased


def test_what_was_purchased_with_other_fields_is_another_export():
    assert choose([purchased_export(1, None)], purchased=frozenset({"1"}), fields={"1": frozenset({"address"})}) is None


def test_an_export_that_this_client_purchased_is_not_purchased_again():
    with pytest.raises(ExportExistsError, match="was purchased before"):
        choose([unpaid_export(1, None)], purchased=frozenset({"1"}))


@pytest.mark.parametrize("reuse_purchased", [None, True, False])
def test_a_purchase_in_the_journal_that_failed_blocks_another_whatever_the_caller_says(*, reuse_purchased: bool | None):
    with pytest.raises(ExportExistsError, match=r"failed \(its status is 'FAILED'\)"):
        choose([failed(1)], reuse_purchased, blocking=frozenset({"1"}), fields={"1": PHONE})


def test_unreadable_exports_stop_unless_one_is_known_to_fit():
    odd = Audience(id=1, extra={"csvExports": [None]})
    with pytest.raises(ExportExistsError, match="cannot be read"):
        choose_export(odd, PHONE, reuse_purchased=None)
    known = attrs.evolve(odd, csv_exports=(purchased_export(1),))
    choice = choose_export(known, PHONE, reuse_purchased=None)
    assert choice is not None
    assert choice.export.id == 1


_types = st.none() | st.sampled_from([(), ("phone",), ("address",), ("phone", "address"), ("fax",)])
_exports = st.builds(
    lambda make, types, number: make(number, types),
    st.sampled_from([purchased_export, unpaid_export, in_progress, active, failed, unclear]),
    _types,
    st.integers(0, 99),
)


@given(st.lists(_exports, max_size=6, unique_by=lambda export: export.id), st.sampled_from([None, True, False]))
def test_what_is_chosen_holds_the_wanted_fields_unless_the_caller_took_the_doubt(
    exports: list[CsvExport], reuse_purchased: bool | None
):
    try:
        choice = choose(exports, reuse_purchased)
    except ExportExistsError:
        return
    if choice is None:
        assert not any(export == purchased_export(export.id) for export in exports)
        assert reuse_purchased is False or not any(export == purchased_export(export.id, None) for export in exports)
    elif not needs_wait(choice.export) and match_fields(choice.export, PHONE) is not FieldMatch.SAME:
        assert reuse_purchased
        assert match_fields(choice.export, PHONE) is FieldMatch.UNKNOWN
        assert choice.is_purchased


@given(st.lists(_exports, max_size=6, unique_by=lambda export: export.id), st.sampled_from([None, True, False]))
def test_nothing_is_purchased_if_an_export_has_the_wanted_fields(
    exports: list[CsvExport], reuse_purchased: bool | None
):
    paid = [
        export
        for export in exports
        if export in (purchased_export(export.id), active(export.id), in_progress(export.id))
    ]
    try:
        choice = choose(exports, reuse_purchased)
    except ExportExistsError:
        return
    if paid:
        assert choice is not None
        assert export_state(choice.export) is not ExportState.FOR_SALE


IN_PROGRESS_SAME = "in progress with the same field types"
PREVIEW_SAME = "a preview with the same field types"
EARLIER = "purchased earlier with the same field types"
BY_US = "already purchased by this job or this process"
UNREAD_REUSE = "purchased earlier, and reused because of reuse_purchased=True; field types are not compared"


@pytest.mark.parametrize(
    ("exports", "reuse_purchased", "recorded", "choice"),
    [
        ([purchased_export(1), purchased_export(2)], None, {}, (2, EARLIER, True)),
        ([in_progress(1), active(2)], None, {}, (2, IN_PROGRESS_SAME, False)),
        ([in_progress(1, None), active(2, None)], None, {}, (2, "in progress with unknown field types", False)),
        ([purchased_export(1, None), purchased_export(2, None)], True, {}, (2, UNREAD_REUSE, True)),
        ([unpaid_export(1), unpaid_export(2)], None, {}, (2, PREVIEW_SAME, False)),
        ([unpaid_export(1)], False, {}, (1, PREVIEW_SAME, False)),
        ([unpaid_export(1, None)], None, {}, None),
        # What this job or client purchased comes first, unless it failed.
        ([unpaid_export(1), purchased_export(2)], None, {"purchased": frozenset({"1"})}, (1, BY_US, True)),
        ([failed(1), purchased_export(2)], None, {"purchased": frozenset({"1"})}, (2, EARLIER, True)),
        ([unpaid_export(1, None)], True, {"purchased": frozenset({"1"})}, (1, UNREAD_REUSE, True)),
        # A preview of this job is one in any status that isn't known to be another.
        ([unclear(1)], None, {"previews": frozenset({"1"})}, (1, PREVIEW_SAME, False)),
        (
            [unclear(1), unpaid_export(2)],
            None,
            {"previews": frozenset({"1"})},
            (2, PREVIEW_SAME, False),
        ),
        ([failed(1)], None, {"previews": frozenset({"1"})}, None),
        # What was recorded about field types counts, whatever the server shows.
        ([purchased_export(1, None)], None, {"fields": {"1": PHONE}}, (1, EARLIER, True)),
        ([purchased_export(1)], None, {"fields": {"1": frozenset({"address"})}}, None),
    ],
)
def test_the_choice_says_why_and_whether_it_was_paid(
    exports: list[CsvExport],
    reuse_purchased: bool | None,
    recorded: dict[str, Any],
    choice: tuple[int, str, bool] | None,
):
    chosen = choose(exports, reuse_purchased, **recorded)
    assert (None if chosen is None else (chosen.export.id, chosen.evidence, chosen.is_purchased)) == choice


ODD_URL = attrs.evolve(purchased_export(1), status="REQUIRES_PAYMENT")
STOPS = [
    (
        [purchased_export(3, None)],
        (
            "export 3 of audience aud-1 was purchased before, but the server does not clearly show its field types; "
            "nothing was purchased now. To download it, pass reuse_purchased=True, or call "
            "workflows.download_export(..., export_id=3)"
        ),
    ),
    (
        [unclear(1)],
        (
            "export 1 of audience aud-1 has the status 'UNDER_REVIEW', so it may have been purchased before; nothing "
            "was purchased now. Run this again when its status changes, or ask Indigo"
        ),
    ),
    (
        [ODD_URL],
        (
            "export 1 of audience aud-1 has the status 'REQUIRES_PAYMENT' and a download URL, so it may have been "
            "purchased before; nothing was purchased now. Run this again when its status changes, or ask Indigo"
        ),
    ),
    (
        [failed(1)],
        (
            "export 1 of audience aud-1 failed (its status is 'FAILED') and may have been purchased before; nothing "
            "was purchased now. Ask Indigo whether you were charged for it"
        ),
    ),
]


@pytest.mark.parametrize(("exports", "message"), STOPS)
def test_a_doubt_stops_with_the_export_the_reason_and_the_next_step(exports: list[CsvExport], message: str):
    with pytest.raises(ExportExistsError) as caught:
        choose(exports)
    assert str(caught.value) == f"preview: {message}"
    assert caught.value.audience is not None
    assert [export.id for export in caught.value.audience.csv_exports] == [export.id for export in exports]


def test_exports_that_cannot_be_read_stop_with_the_reason_and_the_next_step():
    odd = Audience(id="aud-1", extra={"csvExports": [None]})
    with pytest.raises(ExportExistsError) as caught:
        choose_export(odd, PHONE, reuse_purchased=None)
    assert str(caught.value) == (
        "preview: some exports of audience aud-1 cannot be read (csvExports has an unexpected shape), so one of them "
        "may have been purchased before; nothing was purchased now. Ask Indigo about this audience"
    )
    assert caught.value.audience == odd
    assert choose_export(odd, PHONE, reuse_purchased=False) is None


@pytest.mark.parametrize(
    ("export", "costs"),
    [
        (CsvExport(id=1, cost_cents=0, optional_field_types=("phone",)), False),
        (CsvExport(id=1, cost_cents=1, optional_field_types=()), True),
        (CsvExport(id=1, optional_field_types=()), False),
        (CsvExport(id=1, optional_field_types=("phone",)), True),
        (CsvExport(id=1), True),
    ],
)
def test_only_a_price_of_zero_or_the_standard_fields_alone_are_certainly_free(export: CsvExport, *, costs: bool):
    assert may_cost(export) is costs


@pytest.mark.parametrize(
    "unpaid", ["Awaiting-Payment", "needs payment", "NOT_PURCHASED", "payment\trequired", "unpaid"]
)
def test_every_spelling_of_unpaid_is_for_sale_and_contradicts_a_download_url(unpaid: str):
    assert export_state(CsvExport(id=1, status=unpaid)) is ExportState.FOR_SALE
    assert export_state(CsvExport(id=1, status=unpaid, download_url="https://x")) is ExportState.UNCLEAR


@pytest.mark.parametrize(
    ("types", "cost", "known"),
    [
        (None, 0, None),
        (("Phone", "first name"), 100, frozenset({"phone"})),
        (("phone", "fax"), 100, None),
        ((), 0, frozenset[str]()),
        ((), None, frozenset[str]()),
        ((), 100, None),
        (("dob",), 100, None),
        (("dob",), 0, frozenset[str]()),
    ],
)
def test_the_paid_field_types_are_known_only_if_all_are_understood(
    types: tuple[str, ...] | None, cost: int | None, known: frozenset[str] | None
):
    assert known_fields(CsvExport(id=1, optional_field_types=types, cost_cents=cost)) == known
