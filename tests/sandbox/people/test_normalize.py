from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import date

import duckdb
import pytest
from hypothesis import given
from hypothesis import strategies as st

from indigo_async.sandbox.people.normalize import NICKNAMES, install_macros

MACROS = (
    "name_letters",
    "given_name",
    "family_name",
    "given_of_full",
    "family_of_full",
    "city_name",
    "state_code",
    "zip_code",
    "phone_digits",
    "birth_date",
    "house_number",
)


@pytest.fixture(scope="module")
def normal() -> Iterator[Callable[..., str | None]]:
    connection = duckdb.connect(":memory:")
    install_macros(connection)

    def normal(macro: str, *texts: str | None) -> str | None:
        """What all the texts become."""
        became = connection.execute(f"SELECT DISTINCT {macro}(text) FROM unnest($1::VARCHAR[]) AS t(text)", [texts])
        ((one,),) = became.fetchall()
        return one

    yield normal
    connection.close()


words = st.text(
    st.one_of(st.characters(codec="utf-8", exclude_characters="\0"), st.sampled_from("aeiouJRSTéñØß ,.-'#0123456789/")),
    max_size=24,
)


@pytest.mark.parametrize("macro", MACROS)
@given(text=words)
def test_normalizing_is_idempotent(normal, macro, text):
    once = normal(macro, text)
    if macro in {"given_of_full", "family_of_full"}:
        assert once is None or normal("name_letters", once) == once
    else:
        assert once is None or normal(macro, once) == once


@pytest.mark.parametrize("macro", MACROS)
def test_null_stays_null(normal, macro):
    assert normal(macro, None, "", "   ", "?!", "\u5f20\u4e09") is None


@given(text=words)
def test_names_become_plain_uppercase(normal, text):
    letters = normal("name_letters", text)
    assert letters is None or (letters.isascii() and letters.isalpha() and letters.isupper())
    assert normal("name_letters", f" {text}. ") == letters


@pytest.mark.parametrize(
    ("written", "letters"),
    [
        ("Jos\u00e9-Mar\u00eda", "JOSEMARIA"),
        ("Jose\u0301", "JOSE"),
        ("O\u2019Brien", "OBRIEN"),
        ("O'Brien", "OBRIEN"),
        ("\u00d8ster Stra\u00dfe", "OSTERSTRASSE"),
        ("\u0141ukasz", "LUKASZ"),
        ("de la Cruz 3", "DELACRUZ"),
    ],
)
def test_accents_punctuation_and_digits_are_folded(normal, written, letters):
    assert normal("name_letters", written) == letters


@pytest.mark.parametrize(
    ("written", "given_name"),
    [
        ("Dr. John Q.", "JOHN"),
        ("mary ann", "MARYANN"),
        ("MS", "MS"),
        ("J.", None),
    ],
)
def test_given_names_lose_titles_and_initials(normal, written, given_name):
    assert normal("given_name", written) == given_name


@pytest.mark.parametrize(
    ("written", "surname"),
    [
        ("Smith Jr.", "SMITH"),
        ("Smith, III", "SMITH"),
        ("Smith-Jones PhD", "SMITHJONES"),
        ("van Dyke", "VANDYKE"),
    ],
)
def test_surnames_lose_suffixes(normal, written, surname):
    assert normal("family_name", written) == surname


@pytest.mark.parametrize(
    ("written", "given_name", "surname"),
    [
        ("John Smith", "JOHN", "SMITH"),
        ("SMITH, JOHN Q", "JOHN", "SMITH"),
        ("Smith Jr., John", "JOHN", "SMITH"),
        ("Dr. John Q. Smith, Jr.", "JOHN", "SMITH"),
        ("Smith, Dr. John", "JOHN", "SMITH"),
        ("Maria de la Cruz", "MARIA", "DELACRUZ"),
        ("Garcia Lopez, Ana", "ANA", "GARCIALOPEZ"),
        ("Conor O'Brien III", "CONOR", "OBRIEN"),
        ("Van Morrison", "VAN", "MORRISON"),
        ("Madonna", None, "MADONNA"),
    ],
)
def test_full_names_are_split(normal, written, given_name, surname):
    assert normal("given_of_full", written) == given_name
    assert normal("family_of_full", written) == surname


def test_a_nickname_stands_for_one_name():
    nicknames = [nickname for names in NICKNAMES.values() for nickname in names.split()]
    assert len(nicknames) == len(set(nicknames))
    assert not set(nicknames) & set(NICKNAMES)


def test_nicknames_become_formal_names(normal):
    assert normal("formal_name", "BILL") == normal("formal_name", "WILLIAM") == "WILLIAM"
    assert normal("formal_name", "ZEBEDIAH") == "ZEBEDIAH"


@pytest.mark.parametrize(
    ("written", "code"),
    [("Pennsylvania", "PA"), ("pa", "PA"), ("P.A.", "PA"), ("new york", "NY"), ("District of Columbia", "DC")],
)
def test_states_become_postal_codes(normal, written, code):
    assert normal("state_code", written) == code


@pytest.mark.parametrize(
    ("written", "city"), [("Saint Louis", "STLOUIS"), ("St. Louis", "STLOUIS"), ("Ft. Worth", "FTWORTH")]
)
def test_cities_have_one_spelling(normal, written, city):
    assert normal("city_name", written) == city


@given(code=st.integers(1, 99_999), four=st.integers(0, 9_999))
def test_zips_lose_the_plus_four_and_regain_leading_zeros(normal, code, four):
    zip_code = f"{code:05d}"
    ways = [zip_code, f"{zip_code}-{four:04d}", f"{zip_code} {four:04d}", f"{zip_code}{four:04d}"]
    ways += [str(code), f"{code}.0"] if code > 99 else []
    assert normal("zip_code", *ways) == zip_code


@pytest.mark.parametrize("written", ["00000", "12", "K1A 0B1", "123456", "n/a"])
def test_an_invalid_zip_is_null(normal, written):
    assert normal("zip_code", written) is None


@given(area=st.integers(200, 999), exchange=st.integers(0, 999), line=st.integers(0, 9_999))
def test_phones_become_ten_digits(normal, area, exchange, line):
    a, b, c = f"{area}", f"{exchange:03d}", f"{line:04d}"
    ways = [
        f"({a}) {b}-{c}",
        f"{a}-{b}-{c}",
        f"{a}.{b}.{c}",
        f"+1 {a} {b} {c}",
        f"1{a}{b}{c}",
        f"{a}{b}{c}.0",
        f"{a}-{b}-{c} ext. 12",
        f"{a}-{b}-{c} x1",
    ]
    assert normal("phone_digits", *ways) == a + b + c


@pytest.mark.parametrize("written", ["0000000000", "555-0123", "1234567890", "44 20 7946 0958", "none"])
def test_an_invalid_phone_is_null(normal, written):
    assert normal("phone_digits", written) is None


@given(day=st.dates(date(1905, 1, 2), date(2004, 12, 31)))
def test_all_common_date_formats_are_read(normal, day):
    ways = [
        f"{day:%Y-%m-%d}",
        f"{day:%Y/%m/%d}",
        f"{day:%Y%m%d}",
        f"{day:%m/%d/%Y}",
        f"{day.month}/{day.day}/{day.year}",
        f"{day:%m-%d-%Y}",
        f"{day:%B %d, %Y}",
        f"{day:%b %d %Y}",
        f"{day:%d-%b-%Y}",
        f"{day:%d %B %Y}",
        f"{day:%Y-%m-%d}T00:00:00",
        f"{day:%Y-%m-%d} 00:00:00",
        f"{day:%m%d%Y}",
    ]
    ways += [f"{day:%m/%d/%y}", f"{day:%d-%b-%y}"] if day.year > 1930 else []
    ways += [f"{day:%d/%m/%Y}", f"{day:%d.%m.%Y}"] if day.day > 12 else []
    assert normal("birth_date", *ways) == f"{day:%Y%m%d}"


def test_two_digit_years_belong_to_adults(normal):
    assert normal("birth_date", "3/5/20") == "19200305"
    assert normal("birth_date", "3/5/99") == "19990305"


def test_a_mistyped_date_keeps_its_digits_and_a_placeholder_does_not(normal):
    assert normal("birth_date", "1984-10-45") == "19841045"
    assert normal("birth_date", "01/01/1900") is None
    assert normal("birth_date", "unknown") is None


@pytest.mark.parametrize(
    ("written", "house", "street"),
    [
        ("123 N. Main St., Apt 4", "123", "MAIN"),
        ("123 Main Street #4", "123", "MAIN"),
        ("123B OAK AVENUE", "123", "OAK"),
        ("45 12th St", "45", "12TH"),
        ("PO Box 12", "12", "POBOX12"),
        ("P.O. BOX 12", "12", "POBOX12"),
        ("12 North St", "12", "NORTHST"),
        ("Elm Court", None, "ELM"),
    ],
)
def test_addresses_are_a_house_and_a_street(normal, written, house, street):
    assert normal("house_number", written) == house
    assert normal("street_name", written) == street
