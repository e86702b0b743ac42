"""Checks of names, IDs, URLs, numbers and flags."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from indigo_async._filters import check_filters
from indigo_async._validation import InputCheck, is_loopback_host
from indigo_async.errors import InvalidInputError

CANARY = "canary-5f2b"


def problems_of(method: str, *arguments: object, **options: object) -> list[str]:
    check = InputCheck()
    getattr(check, method)(*arguments, **options)
    return [str(problem) for problem in check.problems]


@pytest.mark.parametrize("value", ["1", "acme", "Ærø Ltd.", "a b", "0"])
def test_a_customer_id_is_any_text(value: str):
    assert problems_of("customer_id", value) == []


def test_an_integer_is_a_customer_id_as_text():
    assert InputCheck().customer_id(42) == "42"


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("", "must not be empty"),
        (" \t", "must not be empty"),
        (" 1", "must not begin or end with whitespace"),
        ("1\n", "must not begin or end with whitespace"),
        ("1\u00a0", "must not begin or end with whitespace"),
        (True, "must be text, not bool"),
        (b"1", "must be text, not bytes"),
        (None, "must be text, not NoneType"),
        ("\udc80", "contains half of a surrogate pair, which can't be encoded"),
    ],
)
def test_any_other_customer_id_is_rejected(value: object, message: str):
    assert problems_of("customer_id", value) == [f"customer_id: {message}"]


def test_an_optional_customer_id_may_be_none():
    assert problems_of("optional_customer_id", None) == []
    assert problems_of("optional_customer_id", "") == ["customer_id: must not be empty"]


@pytest.mark.parametrize("value", ["aud-1", "7", 7, 0, 2**70, "a/b\nc"])
def test_a_record_id_is_text_or_an_integer_as_the_server_sent_it(value: object):
    assert problems_of("record_id", "audience_id", value) == []


@pytest.mark.parametrize("value", [True, False, None, 1.0, b"7", ["7"]])
def test_a_record_id_of_another_type_is_rejected(value: object):
    (problem,) = problems_of("record_id", "audience_id", value)
    assert problem.startswith(
        f"audience_id: must be an ID as the server sent it (text or integer), not {type(value).__name__}"
    )


@pytest.mark.parametrize("value", ["", " ", " 7", "7 "])
def test_a_record_id_is_not_blank(value: str):
    assert len(problems_of("record_id", "audience_id", value)) == 1


@pytest.mark.parametrize(
    "url",
    [
        "https://bucket.example.org/people.csv?X-Amz-Signature=abc",
        "https://example.org:8443/people.csv",
        "http://127.0.0.1:9000/people.csv",
        "http://localhost/people.csv",
        "http://[::1]:9000/people.csv",
    ],
)
def test_a_url_is_https_or_on_loopback(url: str):
    assert problems_of("url", "url", url) == []


@pytest.mark.parametrize(
    "url",
    [
        "http://example.org/people.csv",
        "http://127.0.0.1.example.org/people.csv",
        "http://localhost.example.org/people.csv",
        "http://10.0.0.1/people.csv",
    ],
)
def test_an_unencrypted_url_is_rejected(url: str):
    assert problems_of("url", "url", url) == ["url: must be https: the CSV holds people's data"]


@pytest.mark.parametrize(
    "url", ["people.csv", "/people.csv", "ftp://example.org/p.csv", "file:///p.csv", "https://", "s3://bucket/p.csv"]
)
def test_a_url_that_the_server_cannot_fetch_is_rejected(url: str):
    assert problems_of("url", "url", url) == ["url: must be an http(s) URL that the server can fetch"]


@pytest.mark.parametrize("url", ["https://[::1", "https://example.org:port/p.csv", "https://example.org:99999/p.csv"])
def test_a_malformed_url_is_rejected(url: str):
    assert problems_of("url", "url", url) == ["url: is not a URL"]


@pytest.mark.parametrize("url", [f"https://h/p.csv?sig={CANARY}\n", f"http://h/p.csv?sig={CANARY}", f"{CANARY}://x"])
def test_a_rejected_url_is_never_repeated_because_it_may_be_signed(url: str):
    (problem,) = problems_of("url", "url", url)
    assert CANARY not in problem


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.8.8.8", "::1"])
def test_loopback_is_this_machine(host: str):
    assert is_loopback_host(host)


@pytest.mark.parametrize("host", [None, "", "127.0.0.1.example.org", "127.example.org", "0.0.0.0", "10.0.0.1", "::"])
def test_a_name_that_begins_like_loopback_is_not_loopback(host: str | None):
    assert not is_loopback_host(host)


@pytest.mark.parametrize("size", [1, 1_000, 10**9])
def test_a_size_is_a_positive_integer(size: int):
    assert problems_of("positive_integer", "size", size) == []


@pytest.mark.parametrize(
    ("size", "message"),
    [
        (0, "must be at least 1, not 0"),
        (-5, "must be at least 1, not -5"),
        (True, "must be an integer, not bool"),
        (1.5, "must be an integer, not float 1.5"),
        ("20000", "must be an integer, not str"),
        (None, "must be an integer, not NoneType"),
    ],
)
def test_any_other_size_is_rejected(size: object, message: str):
    assert problems_of("positive_integer", "size", size) == [f"size: {message}"]


@pytest.mark.parametrize("number", [2**63, -(2**63), 10**5_000, -(10**5_000)], ids=["+64", "-64", "+huge", "-huge"])
def test_a_number_of_more_bits_than_json_readers_have_is_rejected(number: int):
    assert len(problems_of("positive_integer", "size", number)) == 1
    assert len(problems_of("cents", "max_cost_cents", number)) == 1


@pytest.mark.parametrize("cents", [0, 1, 10**9])
def test_cents_are_whole_and_not_negative(cents: int):
    assert problems_of("cents", "max_cost_cents", cents) == []


@pytest.mark.parametrize("cents", [-1, True, 1.5, "100", None])
def test_any_other_cents_are_rejected(cents: object):
    assert len(problems_of("cents", "max_cost_cents", cents)) == 1


@pytest.mark.parametrize("seconds", [0.001, 5, 3_600.0])
def test_seconds_are_finite_and_above_zero(seconds: float):
    assert problems_of("seconds", "timeout", seconds) == []


@pytest.mark.parametrize("seconds", [0, -1, math.inf, math.nan, True, "5", None])
def test_any_other_seconds_are_rejected(seconds: object):
    assert len(problems_of("seconds", "timeout", seconds)) == 1


@pytest.mark.parametrize("flag", [1, 0, "yes", None])
def test_a_flag_is_true_or_false(flag: object):
    assert problems_of("boolean", "include", flag) == [f"include: must be True or False, not {type(flag).__name__}"]


def test_problems_are_raised_together_and_a_single_one_as_one_line():
    check = InputCheck()
    check.positive_integer("size", True)
    with pytest.raises(InvalidInputError, match=r"\Asize: must be an integer, not bool\Z"):
        check.raise_if_invalid()
    check.customer_id("")
    with pytest.raises(InvalidInputError, match=r"\A2 problems:\nsize: .*\ncustomer_id: .*\Z"):
        check.raise_if_invalid()


def test_a_check_without_problems_raises_nothing():
    InputCheck().raise_if_invalid()


_ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.binary() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@given(_ANYTHING)
def test_no_value_makes_a_check_crash(value: object):
    check = InputCheck()
    check.customer_id(value)
    check.record_id("id", value)
    check.url("url", value)
    check.boolean("flag", value)
    check.positive_integer("size", value)
    check.seconds("timeout", value)
    check.cents("cents", value)
    check_filters(check, value)
    check.optional_field_types(value)
    check.column_selections(value)


@given(st.text(alphabet="x ", min_size=1_000, max_size=2_000))
def test_problems_shorten_long_values(value: str):
    check = InputCheck()
    check.url("url", value)
    check.customer_id(value)
    check.optional_field_types([value, value])
    check.column_selections({"city": {"column_name": value, "is_required": True}, "zip": {"column_name": value}})
    assert check.problems
    assert all(len(str(problem)) < 400 for problem in check.problems)
