"""The columns of the voter file, and the headers of those that exports contain.

The headers are inferred from public examples. Headers of paid field types and column names are made up. Your own voter
files use these column names.
"""

from __future__ import annotations

from datetime import date

import attrs

from indigo_async.inputs import OptionalFieldType

__all__ = ["COLUMNS", "ELECTIONS", "ISSUES", "MEDIA", "VOTER_FILE_DATE", "Column", "exported_columns"]

VOTER_FILE_DATE = date(2026, 11, 1)
"""The date of the synthetic voter file. Ages are relative to it."""

ELECTIONS: tuple[tuple[int, str], ...] = (
    (2018, "general"),
    (2020, "primary"),
    (2020, "general"),
    (2022, "primary"),
    (2022, "general"),
    (2024, "primary"),
    (2024, "general"),
    (2026, "primary"),
)
ISSUES: tuple[str, ...] = ("abortion", "climate", "crime", "healthcare", "immigration", "labor")
MEDIA: tuple[str, ...] = ("broadcast", "radio", "social", "streaming")


@attrs.frozen
class Column:
    """One column of the voter file.

    `sql_type` is a DuckDB type. `header` is its name in exports, or None if exports don't contain it. `field_type` is
    its paid field type, or None if it is free.
    """

    name: str
    sql_type: str = "VARCHAR"
    header: str | None = None
    field_type: OptionalFieldType | None = None


def _identity_columns() -> list[Column]:
    return [
        Column("voterbase_id", header="TargetSmart voterbase ID"),
        Column("state_voter_id", header="State voter ID"),
        Column("county_voter_id", header="County voter ID"),
        Column("first_name", header="First name"),
        Column("middle_name", header="Middle name"),
        Column("last_name", header="Last name"),
        Column("name_suffix", header="Name suffix"),
        Column("dob", "DATE", "Date of birth"),
        Column("gender", header="Gender"),
        Column("ethnicity", header="Ethnicity"),
        Column("party", header="Party registration"),
        Column("reg_date", "DATE", "Registration date"),
    ]


def _place_columns() -> list[Column]:
    addresses = [
        Column(f"{short}_{part}", header=f"{long} {shown}", field_type=OptionalFieldType.ADDRESS)
        for short, long in (("reg", "Registration"), ("mail", "Mailing"))
        for part, shown in (("address", "address"), ("city", "city"), ("state", "state"), ("zip", "ZIP code"))
    ]
    districts = [Column(name) for name in ("county", "congressional_district", "upper_district", "lower_district")]
    return [*addresses, *districts]


def _score_columns() -> list[Column]:
    columns = [
        Column(f"{kind}_{issue}", "FLOAT", f"{issue.capitalize()} issue {kind} score", OptionalFieldType.ISSUE_SCORES)
        for issue in ISSUES
        for kind in ("salience", "support")
    ]
    columns += [
        Column(f"media_{kind}", "FLOAT", f"{kind.capitalize()} media score", OptionalFieldType.MEDIA_SCORES)
        for kind in MEDIA
    ]
    columns += [
        Column(f"support_{party}", "FLOAT", f"{party.capitalize()} support score", OptionalFieldType.SUPPORT_SCORES)
        for party in ("democratic", "republican")
    ]
    columns += [
        Column(f"turnout_{kind}", "FLOAT", f"{kind.capitalize()} turnout score", OptionalFieldType.TURNOUT_SCORES)
        for kind in ("general", "primary")
    ]
    return columns


COLUMNS: tuple[Column, ...] = (
    *_identity_columns(),
    *_place_columns(),
    Column("cell_phone", header="Cell phone number", field_type=OptionalFieldType.PHONE),
    *(
        Column(f"voted_{year}_{kind}", "BOOLEAN", f"Voted in {year} {kind}", OptionalFieldType.VOTE_HISTORY)
        for year, kind in ELECTIONS
    ),
    *_score_columns(),
)


def exported_columns(field_type: OptionalFieldType | None) -> list[Column]:
    """Return the exported columns of a paid field type, or the free ones for None."""
    return [column for column in COLUMNS if column.header is not None and column.field_type is field_type]
