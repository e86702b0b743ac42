from __future__ import annotations

from typing import get_args

import pytest

from indigo_async.sandbox import CostKey, Dialect
from tests.support.sandbox_http import open_api


@pytest.mark.parametrize("ids", ["string", "integer"])
async def test_ids_have_the_same_type_everywhere(ids: str):
    kind = {"string": str, "integer": int}[ids]
    async with open_api(dialect=Dialect(id_type=ids)) as api:
        export = await api.purchased()
        assert isinstance(export["id"], kind)
        assert isinstance(export["audience"]["id"], kind)
        other = str(export["id"]) if ids == "integer" else 1
        refused = await api.post("/purchase_csv_export", exportId=other, customerId="1")
        assert refused.status == 404
        async with api.session.get(
            export["downloadUrl"], headers={"Authorization": ""}, skip_auto_headers=["Authorization"]
        ) as response:
            assert response.status == 400


@pytest.mark.parametrize("digits", [5_000, 20])
async def test_a_huge_number_is_not_an_id(digits: int):
    async with open_api(dialect=Dialect(id_type="integer", numeric_customer_ids=True)) as api:
        assert (await api.get("/audience", audienceId="1" * digits, customerId="1")).status == 404
        stub = await api.post_ok("/upload_csv", customerId="1" * digits, url="http://127.0.0.1/x")
        assert stub["customerId"] == "1" * digits


@pytest.mark.parametrize("name_key", ["name", "audienceName", None])
async def test_the_name_key_is_configurable(name_key: str | None):
    async with open_api(dialect=Dialect(name_key=name_key)) as api:
        record = await api.audience(await api.matched())
        assert [key for key in ("name", "audienceName") if record.get(key) == "Donors"] == [name_key] * bool(name_key)


async def test_a_list_may_be_wrapped_and_its_rows_may_lack_keys():
    dialect = Dialect(list_shape="object", list_omitted_keys=frozenset({"csvExports", "name"}))
    async with open_api(dialect=dialect) as api:
        audience_id = await api.matched()
        whole = await api.audience(audience_id)
        listed = (await api.get("/audiences")).body
        assert listed == {"audiences": [{key: whole[key] for key in whole if key not in {"csvExports", "name"}}]}


@pytest.mark.parametrize("cost_key", get_args(CostKey))
async def test_the_cost_key_is_configurable(cost_key: CostKey):
    async with open_api(dialect=Dialect(cost_key=cost_key)) as api:
        preview = await api.preview(await api.matched(), "phone")
        assert [key for key in get_args(CostKey) if key in preview] == [cost_key]


async def test_hidden_fields_appear_nowhere():
    dialect = Dialect(
        shows_field_types=False,
        shows_customer_id=False,
        shows_base_audience=False,
        shows_csv_url=False,
        shows_export_status=False,
    )
    async with open_api(dialect=dialect) as api:
        base = await api.matched()
        export = await api.preview(base)
        wider = await api.post_ok(
            "/create_lookalike_audience", baseAudienceId=base, customerId="1", size=1, audienceName="Wider"
        )
        record = await api.audience(base)
        assert not {"customerId", "baseAudienceId"} & {*record, *wider, *export["audience"]}
        assert "url" not in record["uploadedAudienceCsv"]
        assert not {"status", "optionalFieldTypes"} & set(export)


async def test_the_asynchronous_flow_always_shows_an_exports_status():
    async with open_api(dialect=Dialect(shows_export_status=False), export_flow="asynchronous") as api:
        assert (await api.preview(await api.matched()))["status"] == "IN_PROGRESS"


async def test_a_numeric_customer_id_may_be_a_number():
    async with open_api(dialect=Dialect(numeric_customer_ids=True)) as api:
        shown = [
            (await api.post_ok("/upload_csv", customerId=customer_id, url="http://127.0.0.1/x"))["customerId"]
            for customer_id in ("42", "x42")
        ]
        assert shown == [42, "x42"]
