from __future__ import annotations

import pytest

from indigo_async.sandbox import CENTS_PER_PERSON
from tests.support.sandbox_http import COLUMNS, SandboxApi, open_api


async def test_upload_returns_a_stub_that_becomes_ready_later(api: SandboxApi):
    stub = await api.post_ok("/upload_csv", customerId="1", url="http://127.0.0.1/people.csv")
    assert (stub["status"], stub["uploadedAudienceCsv"]["status"]) == ("PROCESSING", "PROCESSING")
    assert "name" not in stub
    await api.advance_time(19.9)
    assert (await api.audience(stub["id"]))["uploadedAudienceCsv"]["status"] == "PROCESSING"
    await api.advance_time(0.1)
    ready = await api.audience(stub["id"])
    assert (ready["status"], ready["uploadedAudienceCsv"]["status"]) == ("PROCESSING", "READY_FOR_COLUMN_SELECTION")


@pytest.mark.parametrize("spelling", ["audienceID", "audienceId"])
async def test_match_fills_the_same_audience(api: SandboxApi, spelling: str):
    audience_id = await api.uploaded()
    begun = await api.post_ok(
        "/match_uploaded_csv",
        **{spelling: audience_id},
        customerId="1",
        audienceName="Donors",
        columnSelections=COLUMNS,
    )
    assert (begun["id"], begun["name"], begun["status"]) == (audience_id, "Donors", "PROCESSING")
    assert "size" not in begun
    await api.advance_time(40)
    done = await api.audience(audience_id)
    assert (done["status"], done["size"]) == ("ACTIVE", 1_500)


async def test_a_lookalike_is_a_new_audience_of_the_requested_size(api: SandboxApi):
    base = await api.matched()
    begun = await api.post_ok(
        "/create_lookalike_audience",
        baseAudienceId=base,
        customerId="1",
        size=20_000,
        audienceName="Donors+",
        includeOriginalAudience=False,
        filters={"states": ["PA"], "counties": ["Bucks"]},
    )
    assert begun["id"] != base
    assert begun["baseAudienceId"] == base
    assert begun["status"] == "PROCESSING"
    await api.advance_time(60)
    done = await api.audience(begun["id"])
    assert (done["status"], done["size"]) == ("ACTIVE", 20_000)
    assert "uploadedAudienceCsv" not in done


async def test_a_synchronous_export_is_priced_purchased_and_stored(api: SandboxApi):
    audience_id = await api.matched()
    preview = await api.preview(audience_id, "phone", "vote_history")
    cents = 1_500 * (CENTS_PER_PERSON["phone"] + CENTS_PER_PERSON["vote_history"])
    assert (preview["status"], preview["cost"]) == ("REQUIRES_PAYMENT", cents)
    assert sum(item["cents"] for item in preview["costBreakdown"]) == cents
    assert preview["audience"]["id"] == audience_id
    assert preview["audience"]["size"] == 1_500
    assert "downloadUrl" not in preview
    assert api.sandbox.counts().charged_cents == 0

    purchased = await api.post_ok("/purchase_csv_export", exportId=preview["id"], customerId="1")
    assert (purchased["id"], purchased["status"]) == (preview["id"], "ACTIVE")
    assert purchased["audience"] == {"id": audience_id, "name": "Donors"}
    kept = (await api.audience(audience_id))["csvExports"]
    assert [(export["id"], export["status"]) for export in kept] == [(preview["id"], "ACTIVE")]
    assert "audience" not in kept[0]
    counts = api.sandbox.counts()
    assert counts.purchases_by_export == {preview["id"]: 1}
    assert counts.purchases_by_audience == {audience_id: 1}
    assert counts.charged_cents == cents


async def test_a_free_export_is_purchased_like_any_other(api: SandboxApi):
    export = await api.purchased()
    assert (export["cost"], export["costBreakdown"]) == (0, [])
    assert export["downloadUrl"]
    assert (api.sandbox.counts().purchases, api.sandbox.counts().charged_cents) == (1, 0)


async def test_an_asynchronous_export_is_priced_and_written_later():
    async with open_api(export_flow="asynchronous") as api:
        audience_id = await api.matched()

        async def export() -> dict[str, object]:
            return (await api.audience(audience_id))["csvExports"][0]

        preview = await api.preview(audience_id, "phone")
        assert preview["status"] == "IN_PROGRESS"
        assert "cost" not in preview
        early = await api.post("/purchase_csv_export", exportId=preview["id"], customerId="1")
        assert (early.status, early.error_type) == (400, "ExportNotReady")
        await api.advance_time(10)
        assert (await export())["status"] == "REQUIRES_PAYMENT"
        assert (await export())["cost"] == 1_500 * CENTS_PER_PERSON["phone"]

        purchased = await api.post_ok("/purchase_csv_export", exportId=preview["id"], customerId="1")
        assert purchased["status"] == "IN_PROGRESS"
        assert "downloadUrl" not in purchased
        again = await api.post("/purchase_csv_export", exportId=preview["id"], customerId="1")
        assert again.error_type == "PurchasableEntityAlreadyPurchased"
        await api.advance_time(10)
        assert (await export())["status"] == "ACTIVE"
        assert (await export())["downloadUrl"]
        assert api.sandbox.counts().purchases == 1


async def test_asynchronous_free_export_needs_no_purchase():
    async with open_api(export_flow="asynchronous") as api:
        audience_id = await api.matched()
        preview = await api.preview(audience_id)
        assert preview["status"] == "IN_PROGRESS"
        await api.advance_time(10)
        export = (await api.audience(audience_id))["csvExports"][0]
        assert (export["status"], export["cost"]) == ("ACTIVE", 0)
        assert export["downloadUrl"]
        bought = await api.post("/purchase_csv_export", exportId=preview["id"], customerId="1")
        assert bought.error_type == "PurchasableEntityAlreadyPurchased"
        assert api.sandbox.counts().purchases == 0


async def test_a_second_purchase_is_rejected_with_the_documented_message(api: SandboxApi):
    export = await api.purchased("phone")
    again = await api.post("/purchase_csv_export", exportId=export["id"], customerId="1")
    assert again.status == 400
    assert again.body == {
        "error": "You've already made this purchase.",
        "errorType": "PurchasableEntityAlreadyPurchased",
    }
    assert api.sandbox.counts().purchases_by_export == {export["id"]: 1}


async def test_each_field_type_is_priced_once(api: SandboxApi):
    audience_id = await api.matched()
    once, twice = await api.preview(audience_id, "phone"), await api.preview(audience_id, "phone", "phone")
    assert once["cost"] == twice["cost"]
    assert twice["optionalFieldTypes"] == ["phone"]


async def test_lists_contain_the_customers_audiences_or_all_audiences(api: SandboxApi):
    first, second = await api.matched("1"), await api.matched("2")
    assert [row["id"] for row in (await api.get("/audiences", customerId="1")).body] == [first]
    assert [row["id"] for row in (await api.get("/audiences")).body] == [first, second]
    assert (await api.get("/audiences", customerId="nobody")).body == []


async def test_a_list_row_equals_the_single_record(api: SandboxApi):
    audience_id = await api.matched()
    await api.preview(audience_id, "phone")
    assert (await api.get("/audiences")).body == [await api.audience(audience_id)]


async def test_seeded_audiences_are_many_active_and_usable_as_bases(api: SandboxApi):
    ids = await api.sandbox.seed_audiences(10_000, "big")
    rows = (await api.get("/audiences", customerId="big")).body
    assert [row["id"] for row in rows] == ids
    assert {row["status"] for row in rows} == {"ACTIVE"}
    await api.post_ok(
        "/create_lookalike_audience", baseAudienceId=ids[0], customerId="big", size=1, audienceName="Wider"
    )
