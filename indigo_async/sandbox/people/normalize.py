"""Normalize values that lists spell differently, with DuckDB macros that process whole columns.

Every macro takes and returns text or NULL. It returns NULL if nothing usable is left, such as for a phone number of
zeros. Macros are idempotent, except for those that split a full name or an address.

- `name_letters`: uppercase letters with folded accents: "José-María" becomes JOSEMARIA.
- `given_name`, `family_name`: the same without titles ("Dr."), a trailing middle initial, or suffixes ("Jr."). A single
  letter doesn't count as a given name.
- `given_of_full`, `family_of_full`: parts of "First [Middle] Last [Suffix]" or "Last, First". Surnames keep their
particles
  (de la Cruz, van Dyke).
- `formal_name`: the formal name of a nickname, otherwise the name itself: BILL becomes WILLIAM.
- `city_name`: letters, with Saint, Fort and Mount abbreviated.
- `state_code`: the postal code, also for a state's name.
- `zip_code`: five digits, without the +4, with the leading zeros that spreadsheets drop.
- `phone_digits`: ten digits, without country code and extension.
- `birth_date`: YYYYMMDD. If both orders are possible, month comes before day. Two-digit years are chosen so the person
is an
  adult. Eight digits that aren't a date are kept, so mistyped dates can be compared.
- `house_number`, `street_name`: an address without unit, street type and compass points.
"""

from __future__ import annotations

import duckdb

from indigo_async.sandbox.people.geography import load_state_names

__all__ = ["NICKNAMES", "install_macros"]

NICKNAMES = {
    "ALEXANDER": "ALEX AL",
    "ANDREW": "ANDY DREW",
    "ANTHONY": "TONY",
    "BARBARA": "BARB",
    "BENJAMIN": "BEN",
    "CATHERINE": "CATHY",
    "CHARLES": "CHARLIE CHUCK",
    "CHRISTINE": "CHRISSY TINA",
    "CHRISTOPHER": "CHRIS",
    "DANIEL": "DAN DANNY",
    "DAVID": "DAVE",
    "DEBORAH": "DEB DEBBIE",
    "DONALD": "DON",
    "DOROTHY": "DOT DOTTIE",
    "EDWARD": "ED EDDIE",
    "ELIZABETH": "LIZ BETH BETTY LIZZIE",
    "FRANCES": "FRAN",
    "FREDERICK": "FRED",
    "GERALD": "GERRY",
    "GREGORY": "GREG",
    "JAMES": "JIM JIMMY",
    "JENNIFER": "JEN JENNY",
    "JOHN": "JACK JOHNNY",
    "JOSEPH": "JOE JOEY",
    "JOSHUA": "JOSH",
    "JUDITH": "JUDY",
    "KATHERINE": "KATE KATIE",
    "KENNETH": "KEN KENNY",
    "LAWRENCE": "LARRY",
    "MARGARET": "MAGGIE PEGGY MEG",
    "MATTHEW": "MATT",
    "MICHAEL": "MIKE",
    "NICHOLAS": "NICK",
    "PAMELA": "PAM",
    "PATRICIA": "PAT PATTY",
    "PETER": "PETE",
    "PHILLIP": "PHIL",
    "REBECCA": "BECKY",
    "RICHARD": "RICK DICK RICH",
    "ROBERT": "BOB BOBBY ROB",
    "RONALD": "RON",
    "SAMUEL": "SAM",
    "SANDRA": "SANDY",
    "STEPHEN": "STEVE",
    "SUSAN": "SUE SUZY",
    "THEODORE": "TED",
    "THOMAS": "TOM TOMMY",
    "TIMOTHY": "TIM",
    "VICTORIA": "VICKI",
    "VIRGINIA": "GINNY",
    "WILLIAM": "BILL BILLY WILL",
}

_PARTICLES = "AL|BIN|DA|DE|DEL|DER|DI|DOS|DU|EL|LA|LE|LOS|MAC|MC|SAN|ST|TER|VAN|VON"
_SUFFIXES = "JR|SR|II|III|IV|ESQ|MD|PHD"
_TITLES = "DR|HON|MISS|MR|MRS|MS|PROF|REV"
_STREET_WORDS = (
    "ALLEY|AV|AVE|AVENUE|BLVD|BOULEVARD|CIR|CIRCLE|CIRCUIT|CLOSE|COURT|CRES|CRESCENT|CT|DR|DRIVE|HIGHWAY|HWY|LANE|LN|LOOP|"
    "PARKWAY|PIKE|PKWY|PL|PLACE|PLZ|RD|ROAD|SQ|SQUARE|ST|STREET|TER|TERRACE|TRAIL|TRL|WAY|"
    "E|EAST|N|NE|NORTH|NORTHEAST|NORTHWEST|NW|S|SE|SOUTH|SOUTHEAST|SOUTHWEST|SW|W|WEST"
)
_APOSTROPHES = "''\u2019\u2018`"  # the first one is doubled, as SQL requires
_UNIT_WORDS = "APARTMENT|APT|FL|FLOOR|LOT|RM|ROOM|STE|SUITE|TRLR|UNIT"


def _sql_quote(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _sql_map(pairs: dict[str, str]) -> str:
    """Return a DuckDB MAP literal."""
    return "MAP {" + ", ".join(f"{_sql_quote(key)}: {_sql_quote(value)}" for key, value in pairs.items()) + "}"


def _macro_definitions() -> dict[str, str]:
    """The body of each macro by its signature. Later ones use earlier ones."""
    formal = {short: name for name, shorts in NICKNAMES.items() for short in shorts.split()}
    states = {"".join(filter(str.isalpha, name.upper())): postal for name, postal in load_state_names().items()}
    return {
        # letters that strip_accents doesn't handle
        "folded(x)": """upper(strip_accents(replace(replace(replace(replace(
            translate(x, 'ØøŁłĐđÐðı', 'OoLlDdDdi'), 'ß', 'ss'), 'Æ', 'AE'), 'æ', 'ae'), 'œ', 'oe')))""",
        "name_letters(x)": "nullif(regexp_replace(folded(x), '[^A-Z]', '', 'g'), '')",
        # apostrophes and hyphens join words, commas stay, everything else separates words
        "name_words(x)": rf"""trim(regexp_replace(regexp_replace(regexp_replace(
            folded(x), '[{_APOSTROPHES}.-]', '', 'g'), '[^A-Z,]+', ' ', 'g'), ' *, *', ', ', 'g'), ' ,')""",
        "without_suffix(x)": rf"trim(regexp_replace(x, '(\w),? (?:{_SUFFIXES})\b', '\1', 'g'), ' ,')",
        "without_title(x)": f"regexp_replace(x, '^(?:{_TITLES}) ', '')",
        "long_enough(x)": "CASE WHEN length(x) > 1 THEN x END",
        "given_name(x)": "long_enough(name_letters(regexp_replace(without_title(name_words(x)), ' [A-Z]$', '')))",
        "family_name(x)": "name_letters(without_suffix(name_words(x)))",
        "full_words(x)": "without_title(without_suffix(name_words(x)))",
        "given_of_words(w)": rf"""long_enough(name_letters(CASE
            WHEN contains(w, ',') THEN regexp_extract(w, ', (?:(?:{_TITLES}) )?(\w+)', 1)
            WHEN contains(w, ' ') THEN regexp_extract(w, '^\w+') END))""",
        "family_of_words(w)": rf"""name_letters(CASE
            WHEN contains(w, ',') THEN regexp_extract(w, '^[^,]+')
            ELSE regexp_extract(regexp_replace(w, '^\w+ ', ''), '\b(?:(?:{_PARTICLES}) )*\w+$') END)""",
        "given_of_full(x)": "given_of_words(full_words(x))",
        "family_of_full(x)": "family_of_words(full_words(x))",
        "formal_name(x)": f"coalesce({_sql_map(formal)}[x], x)",
        "city_name(x)": r"""name_letters(regexp_replace(regexp_replace(regexp_replace(
            name_words(x), '^SAINT ', 'ST '), '^FORT ', 'FT '), '^MOUNT ', 'MT '))""",
        "state_code(x)": f"coalesce({_sql_map(states)}[name_letters(x)], name_letters(x))",
        "whole_number(x)": r"regexp_replace(trim(x), '^(\d+)\.0+$', '\1')",
        "zip_code(x)": r"""nullif(lpad(nullif(
            regexp_extract(whole_number(x), '^(\d{3,5})(?:[ -]?\d{4})?$', 1), ''), 5, '0'), '00000')""",
        "phone_digits(x)": r"""nullif(regexp_extract(regexp_replace(
            regexp_replace(lower(whole_number(x)), 'e?x.*$', ''), '\D', '', 'g'), '^1?([2-9]\d{9})$', 1), '')""",
        # one kind of separator, without the time of day
        "date_parts(x)": r"""trim(regexp_replace(regexp_replace(
            whole_number(x), '[T ]\d{1,2}:\d\d.*$', ''), '[^A-Za-z0-9]+', '/', 'g'), '/')""",
        "plausible(d)": "CASE WHEN year(d) BETWEEN 1880 AND year(current_date) THEN d END",
        "adult(d)": "CASE WHEN d > current_date - INTERVAL 17 YEAR THEN d - INTERVAL 100 YEAR ELSE d END",
        "parsed_date(p)": r"""CASE
            WHEN regexp_full_match(p, '(19|20)\d{6}') THEN try_strptime(p, ['%Y%m%d', '%Y%d%m'])
            WHEN regexp_full_match(p, '\d{8}') THEN try_strptime(p, ['%m%d%Y', '%d%m%Y'])
            WHEN regexp_full_match(p, '\d{4}/\d+/\d+') THEN try_strptime(p, ['%Y/%m/%d', '%Y/%d/%m'])
            WHEN regexp_full_match(p, '\d+/\d+/\d{4}') THEN try_strptime(p, ['%m/%d/%Y', '%d/%m/%Y'])
            WHEN regexp_full_match(p, '\d+/\d+/\d\d') THEN adult(try_strptime(p, ['%m/%d/%y', '%d/%m/%y']))
            WHEN regexp_full_match(p, '.*[A-Za-z].*\d{4}')
            THEN try_strptime(p, ['%b/%d/%Y', '%B/%d/%Y', '%d/%b/%Y', '%d/%B/%Y'])
            WHEN regexp_full_match(p, '.*[A-Za-z].*')
            THEN adult(try_strptime(p, ['%b/%d/%y', '%B/%d/%y', '%d/%b/%y', '%d/%B/%y'])) END""",
        "eight_digits(p)": r"CASE WHEN regexp_full_match(p, '(18|19|20)\d{6}') THEN p END",
        # 1900-01-01 stands for an unknown date
        "birth_date_of(p)": """nullif(
            coalesce(strftime(plausible(parsed_date(p)), '%Y%m%d'), eight_digits(replace(p, '/', ''))), '19000101')""",
        "birth_date(x)": "birth_date_of(date_parts(x))",
        "address_words(x)": rf"""trim(regexp_replace(regexp_replace(
            folded(x), '[{_APOSTROPHES}.]', '', 'g'), '[^A-Z0-9#]+', ' ', 'g'))""",
        "house_number(x)": r"nullif(regexp_extract(address_words(x), '\d+'), '')",
        "street_words(x)": rf"""regexp_replace(regexp_replace(
            address_words(x), '^\d+[A-Z]? ', ''), ' ?#.*$| (?:{_UNIT_WORDS}) .*$', '')""",
        "street_core(w)": rf"""nullif(regexp_replace(
            trim(regexp_replace(w || ' ', '\b(?:{_STREET_WORDS})\b', '', 'g')), '[^A-Z0-9]', '', 'g'), '')""",
        "street_name(x)": "coalesce(street_core(street_words(x)), nullif(replace(street_words(x), ' ', ''), ''))",
        "whole_address(house, street)": "CASE WHEN street IS NOT NULL THEN concat_ws(' ', house, street) END",
        "near_name(a, b)": """damerau_levenshtein(a, b) <= least(2, least(length(a), length(b)) // 3)
            OR (least(length(a), length(b)) > 2 AND (starts_with(a, b) OR starts_with(b, a)))
            OR (least(length(a), length(b)) > 3 AND (ends_with(a, b) OR ends_with(b, a)))""",
        "day_and_month_swapped(date)": "substr(date, 1, 4) || substr(date, 7, 2) || substr(date, 5, 2)",
    }


def install_macros(connection: duckdb.DuckDBPyConnection) -> None:
    """Create the macros in the connection's database."""
    for signature, body in _macro_definitions().items():
        connection.execute(f"CREATE OR REPLACE MACRO {signature} AS {body}")
