"""How the sandbox spells what the API's reference leaves open.

The reference lost its JSON examples, so parts of the shape are inferred. Each part has a setting here, so that a client
can be tried against every variant. Source: contract, "Inferred".
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import attrs

__all__ = ["CostKey", "Dialect", "ExportFlow", "NameNormalization"]

ExportFlow: TypeAlias = Literal["synchronous", "asynchronous"]
"""`synchronous` as the reference says; `asynchronous` as newer public pages do: an export is `IN_PROGRESS` first."""

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


@attrs.frozen(kw_only=True)
class Dialect:
    """What servers may spell, delay, cap or contradict. The defaults are the plausible, honest ones.

    `list_omitted_keys` names the keys that rows of `GET /audiences` lack, such as `csvExports`. `name_key` None means
    that no answer carries a name. With `numeric_customer_ids` a customer ID of digits is answered as a number. Where an
    export's status is hidden, it is so in the synchronous flow only: the asynchronous one cannot do without.

    Prices: `cost_format` is how amounts are written ("dollars" as "60.00"). `conflicting_cost` is another key with an
    amount that contradicts the price; the key `costBreakdown.total` puts it into the breakdown. `field_types_format` is
    how `optionalFieldTypes` is echoed.

    Purchases: `preview_url` is what an export without a file shows as `downloadUrl`. A purchased export may show an
    empty status (`purchased_status`), and no URL for `url_delay` sandbox seconds. With `repeated_purchase` "charge",
    each purchase of the same export is charged again.

    Audiences: `stub_status` is the status of an uploaded CSV that was not matched yet. `name_normalization` is how
    names are stored, compared and shown: as given, in lower case, with blanks collapsed, in Unicode's NFC, or cut to 20
    characters. A create under a taken name is refused, answered with the existing audience ("upsert"), or makes a
    second one ("allow").

    Lists: `list_limit` shows only the oldest rows, `list_lag` shows audiences as they were that many sandbox seconds
    ago, and with `frozen_lists` a row stays as it was when a list first showed it. A single GET is always right.
    """

    id_type: Literal["string", "integer"] = "string"
    numeric_customer_ids: bool = False
    name_key: Literal["name", "audienceName"] | None = "name"
    list_shape: Literal["array", "object"] = "array"
    list_omitted_keys: frozenset[str] = attrs.field(default=frozenset(), converter=frozenset[str])
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
    list_limit: int | None = None
    list_lag: float = 0.0
    frozen_lists: bool = False
