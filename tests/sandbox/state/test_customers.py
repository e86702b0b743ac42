from __future__ import annotations

import pytest

from tests.support.sandbox_http import COLUMNS, SandboxApi


@pytest.mark.parametrize("customer", [{"customerId": "2"}, {}])
async def test_another_customers_records_are_not_found(api: SandboxApi, customer: dict[str, str]):
    audience_id = await api.matched("1")
    export = await api.preview(audience_id, "phone")
    answers = [
        await api.get("/audience", audienceId=audience_id, **customer),
        await api.post("/create_preview_csv_export", audienceId=audience_id, optionalFieldTypes=[], **customer),
        await api.post("/purchase_csv_export", exportId=export["id"], **customer),
    ]
    assert [(answer.status, answer.error_type) for answer in answers] == [(404, "NotFound")] * 3
    assert api.sandbox.counts().purchases == 0


async def test_another_customers_audience_cannot_be_used(api: SandboxApi):
    base, stub = await api.matched("1"), await api.uploaded("1")
    lookalike = await api.post(
        "/create_lookalike_audience", baseAudienceId=base, customerId="2", size=1, audienceName="Wider"
    )
    match = await api.post(
        "/match_uploaded_csv", audienceID=stub, customerId="2", audienceName="Mine", columnSelections=COLUMNS
    )
    assert (lookalike.status, match.status) == (404, 404)


async def test_an_app_audience_needs_no_customer(api: SandboxApi):
    audience_id = await api.sandbox.seed_app_audience()
    found = await api.get("/audience", audienceId=audience_id)
    assert found.status == 200
    assert "customerId" not in found.body
    export = await api.post_ok("/create_preview_csv_export", audienceId=audience_id, optionalFieldTypes=["phone"])
    bought = await api.post_ok("/purchase_csv_export", exportId=export["id"])
    assert bought["downloadUrl"]
    assert (await api.get("/audience", audienceId=audience_id, customerId="anyone")).status == 200


async def test_an_app_audience_is_a_base_for_every_customer(api: SandboxApi):
    base = await api.sandbox.seed_app_audience()
    wider = await api.post_ok(
        "/create_lookalike_audience", baseAudienceId=base, customerId="7", size=10, audienceName="Wider"
    )
    assert wider["customerId"] == "7"
    assert (await api.get("/audience", audienceId=wider["id"])).status == 404


async def test_an_app_audience_appears_only_in_the_list_of_all_audiences(api: SandboxApi):
    audience_id = await api.sandbox.seed_app_audience()
    assert [row["id"] for row in (await api.get("/audiences")).body] == [audience_id]
    assert (await api.get("/audiences", customerId="1")).body == []
