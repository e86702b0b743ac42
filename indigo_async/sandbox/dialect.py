"""How the sandbox spells what the API's reference leaves open.

The reference lost its JSON examples, so parts of the shape are inferred. Each part has a setting here, so that a client
can be tried against every variant. Source: contract, "Inferred".
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import attrs

__all__ = ["CostKey", "Dialect", "ExportFlow"]

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


@attrs.frozen(kw_only=True)
class Dialect:
    """The inferred parts of the API's JSON. The defaults are the plausible ones.

    `list_omits` names the keys that rows of `GET /audiences` lack, such as `csvExports`. `name_key` None means that
    no answer carries a name. With `numeric_customer_ids` a customer ID of digits is answered as a number. Where an
    export's status is hidden, it is so in the synchronous flow only: the asynchronous one cannot do without.
    """

    ids: Literal["text", "integer"] = "text"
    numeric_customer_ids: bool = False
    name_key: Literal["name", "audienceName"] | None = "name"
    list_shape: Literal["array", "object"] = "array"
    list_omits: frozenset[str] = attrs.field(default=frozenset(), converter=frozenset[str])
    cost_key: CostKey = "cost"
    shows_field_types: bool = True
    shows_customer_id: bool = True
    shows_base_audience: bool = True
    shows_csv_url: bool = True
    shows_export_status: bool = True
