"""The endpoints read every dialect of the sandbox: the spellings that the API reference leaves open."""

from __future__ import annotations

from typing import get_args

import pytest

from indigo_async.sandbox import CostKey, Dialect
from tests.support.servers.scripted import sandbox_and_client

DIALECTS = {
    "default": Dialect(),
    "IDs are numbers": Dialect(id_type="integer"),
    "customer IDs are numbers": Dialect(numeric_customer_ids=True),
    "names are audienceName": Dialect(name_key="audienceName"),
    "no names": Dialect(name_key=None),
    "lists are objects": Dialect(list_shape="object"),
    "lists omit much": Dialect(list_omitted_keys={"csvExports", "uploadedAudienceCsv", "customerId", "name"}),
    "no field types": Dialect(shows_field_types=False),
    "no customer IDs": Dialect(shows_customer_id=False),
    "no base audience": Dialect(shows_base_audience=False),
    "no CSV's URL": Dialect(shows_csv_url=False),
    "no export status": Dialect(shows_export_status=False),
    **{f"the cost is {key}": Dialect(cost_key=key) for key in get_args(CostKey)},
}


@pytest.mark.parametrize("dialect", DIALECTS.values(), ids=DIALECTS.keys())
async def test_every_endpoint_reads_the_dialect(dialect: Dialect):
    async with sandbox_and_client(dialect=dialect) as (sandbox, client):
        (base_id,) = await sandbox.seed_audiences(1, "42")
        base = await client.get_audience(base_id, customer_id="42")
        stub = await client.upload_csv(customer_id="42", url="https://example.org/p.csv")
        wider = await client.create_lookalike_audience(
            base_audience_id=base_id, customer_id="42", size=2_000, audience_name="Wider"
        )
        preview = await client.create_preview_csv_export(
            audience_id=base_id, customer_id="42", optional_field_types=["phone"]
        )
        purchased = await client.purchase_csv_export(export_id=preview.id, customer_id="42")
        listed = {audience.id: audience for audience in await client.list_audiences(customer_id="42")}

    kind = int if dialect.id_type == "integer" else str
    assert all(type(record.id) is kind for record in (base, stub, wider, preview, purchased))
    assert listed.keys() == {base_id, stub.id, wider.id}
    assert base.status == "ACTIVE"
    assert base.name == (f"Seeded {base_id}" if dialect.name_key else None)
    assert base.customer_id == ("42" if dialect.shows_customer_id else None)
    assert wider.base_audience_id == (base_id if dialect.shows_base_audience else None)
    assert (stub.uploaded_audience_csv.url is not None) == dialect.shows_csv_url
    assert listed[base_id].name == (base.name if "name" not in dialect.list_omitted_keys else None)
    assert preview.cost_cents == purchased.cost_cents == 1_500 * 4
    assert preview.cost_breakdown[0]["people"] == 1_500
    assert purchased.optional_field_types == (("phone",) if dialect.shows_field_types else None)
    assert preview.status == ("REQUIRES_PAYMENT" if dialect.shows_export_status else "")
    assert preview.download_url is None
    assert purchased.download_url is not None
