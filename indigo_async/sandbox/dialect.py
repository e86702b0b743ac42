"""Dialects: what the API reference leaves open, and how servers may differ in it.

The API reference has no JSON examples, so parts of the responses are inferred. Each such part is a setting here, so
that you can test a client against every variant.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, TypeAlias

import attrs

__all__ = [
    "CostKey",
    "Dialect",
    "Envelope",
    "ErrorFormat",
    "ExportFlow",
    "NameNormalization",
    "Pagination",
    "StatusFormat",
]

ExportFlow: TypeAlias = Literal["synchronous", "asynchronous"]
"""`synchronous`, as in the API reference, or `asynchronous`, as on newer public pages (`IN_PROGRESS` first)."""

CostKey: TypeAlias = Literal[
    "cost",
    "costInCents",
    "costCents",
    "price",
    "priceInCents",
    "priceCents",
    "purchasePrice",
    "totalCost",
    "totalCostInCents",
]


NameNormalization: TypeAlias = Literal["exact", "lower", "collapsed", "nfc", "truncated"]

Envelope: TypeAlias = Literal["none", "data", "named"]
"""`data`: `{"data": ...}` around every record and list. `named`: `audience`, `export` or `audiences` instead."""

ErrorFormat: TypeAlias = Literal["error", "message", "detail", "nested", "list", "text", "html"]
"""`error` is the documented one. `nested`: `{"error": {"message": ...}}`. `list`: `{"errors": [{"message": ...}]}`."""

StatusFormat: TypeAlias = Literal["exact", "lower", "blanks", "dashes", "trailing blank", "camel"]

Pagination: TypeAlias = Literal["none", "link header", "next url", "next token", "has more"]
"""How a list signals more rows. A client can follow the first two; the others don't lead to a next page."""


def _freeze(keys: Iterable[str]) -> frozenset[str]:
    return frozenset(keys)


@attrs.frozen(kw_only=True)
class Dialect:
    """How a server spells, delays, caps or contradicts what the API reference leaves open.

    The defaults are a plausible, honest server.

    Responses: `envelope` is what records and lists are wrapped in, `error_format` the shape of error bodies. With
    `byte_order_mark`, JSON begins with one. `/openapi.json` describes neither these nor pages.

    Records: `status_format` is how statuses are spelled. `shows_counts=False` hides the numbers of people, rows and
    matched rows. `list_omitted_keys` are missing from the rows of `GET /audiences`, for example `csvExports`. With
    `name_key` None, no response contains a name. With `numeric_customer_ids`, customer IDs made of digits are sent as
    numbers. `shows_export_status=False` applies to the synchronous flow only.

    Prices: `cost_format` is how amounts are written ("dollars" means "60.00"). `conflicting_cost` adds a key with an
    amount that contradicts the price; `costBreakdown.total` puts it into the breakdown. `field_types_format` is how
    `optionalFieldTypes` is echoed.

    Purchases: `preview_url` is the `downloadUrl` of an export without a file. A purchased export may have an empty
    status (`purchased_status`), and no URL for `url_delay` sandbox seconds. With `repeated_purchase="charge"`, every
    purchase of the same export is charged.

    Audiences: `stub_status` is the status of an uploaded CSV that hasn't been matched. `name_normalization` is how
    names are stored, compared and shown: as given, in lower case, with collapsed blanks, in Unicode NFC, or cut to 20
    characters. Creating an audience with a taken name is rejected, returns the existing one ("upsert"), or creates
    another one ("allow").

    Lists: `pagination` cuts them into pages of `page_size` rows. `list_limit` shows only the oldest rows. `list_lag`
    shows audiences as they were that many sandbox seconds ago. With `frozen_lists`, a row never changes after a list
    first showed it. A single GET is always current.
    """

    envelope: Envelope = "none"
    error_format: ErrorFormat = "error"
    byte_order_mark: bool = False
    id_type: Literal["string", "integer"] = "string"
    numeric_customer_ids: bool = False
    name_key: Literal["name", "audienceName"] | None = "name"
    status_format: StatusFormat = "exact"
    shows_counts: bool = True
    list_shape: Literal["array", "object"] = "array"
    list_omitted_keys: frozenset[str] = attrs.field(default=frozenset(), converter=_freeze)
    cost_key: CostKey = "cost"
    shows_field_types: bool = True
    shows_customer_id: bool = True
    shows_base_audience: bool = True
    shows_csv_url: bool = True
    shows_export_status: bool = True
    cost_format: Literal["integer", "float", "string", "dollars"] = "integer"
    conflicting_cost: tuple[str, int] | None = None
    field_types_format: Literal["exact", "upper", "spaced", "camel", "with free fields", "empty"] = "exact"
    preview_url: Literal["absent", "empty", "null"] = "absent"
    purchased_status: Literal["ACTIVE", "hidden"] = "ACTIVE"
    url_delay: float = 0.0
    repeated_purchase: Literal["reject", "charge"] = "reject"
    stub_status: Literal["PROCESSING", "ACTIVE"] = "PROCESSING"
    name_normalization: NameNormalization = "exact"
    duplicate_names: Literal["reject", "upsert", "allow"] = "reject"
    pagination: Pagination = "none"
    page_size: int = attrs.field(default=100, validator=attrs.validators.ge(1))
    list_limit: int | None = None
    list_lag: float = 0.0
    frozen_lists: bool = False
