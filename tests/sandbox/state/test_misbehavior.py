"""The sandbox plays servers that are sloppy, stale or wrong: dialects that last, and faults that strike once."""

from __future__ import annotations

from typing import Any

import aiohttp
import pytest

from indigo_async.sandbox import Dialect, Fault, FaultKind
from tests.support.sandbox_http import COLUMNS, SandboxApi, open_api

PURCHASE, PREVIEW, READ = "POST /purchase_csv_export", "POST /create_preview_csv_export", "GET /audience"
PHONES = 1_500 * 4


async def shown(api: SandboxApi, audience_id: Any) -> Any:
    (export,) = (await api.audience(audience_id))["csvExports"]
    return export


async def purchase(api: SandboxApi, export_id: Any) -> Any:
    return await api.post("/purchase_csv_export", exportId=export_id, customerId="1")


@pytest.mark.parametrize(
    ("cost_format", "cost"), [("integer", PHONES), ("float", 6_000.0), ("string", "6000"), ("dollars", "60.00")]
)
async def test_the_price_format_is_configurable(cost_format: Any, cost: object):
    async with open_api(dialect=Dialect(cost_format=cost_format)) as api:
        preview = await api.preview(await api.matched(), "phone")
        assert preview["cost"] == cost
        assert type(preview["cost"]) is type(cost)


async def test_another_amount_may_contradict_the_price():
    async with open_api(dialect=Dialect(conflicting_cost=("price", 50_000))) as api:
        preview = await api.preview(await api.matched(), "phone")
        assert (preview["price"], preview["cost"]) == (50_000, PHONES)
    async with open_api(dialect=Dialect(conflicting_cost=("costBreakdown.total", 50_000))) as api:
        assert (await api.preview(await api.matched(), "phone"))["costBreakdown"] == {"total": 50_000}


@pytest.mark.parametrize(
    ("field_types_format", "names"),
    [
        ("exact", ["vote_history", "phone"]),
        ("upper", ["VOTE_HISTORY", "PHONE"]),
        ("spaced", ["Vote History", "Phone"]),
        ("camel", ["voteHistory", "phone"]),
        ("with free fields", ["first_name", "last_name", "vote_history", "phone"]),
        ("empty", []),
    ],
)
async def test_the_field_types_format_is_configurable(field_types_format: Any, names: list[str]):
    async with open_api(dialect=Dialect(field_types_format=field_types_format)) as api:
        preview = await api.preview(await api.matched(), "vote_history", "phone")
        assert preview["optionalFieldTypes"] == names
        assert preview["cost"] == 1_500 * 5


async def test_an_export_without_a_file_shows_an_empty_url():
    async with open_api(dialect=Dialect(preview_url="empty")) as api:
        assert (await api.preview(await api.matched()))["downloadUrl"] == ""
    async with open_api(dialect=Dialect(preview_url="null")) as api:
        assert (await api.preview(await api.matched()))["downloadUrl"] is None


async def test_a_purchased_export_hides_its_status_and_its_url_for_a_while():
    async with open_api(dialect=Dialect(purchased_status="hidden", url_delay=5.0)) as api:
        audience_id = await api.matched()
        preview = await api.preview(audience_id, "phone")
        assert preview["status"] == "REQUIRES_PAYMENT"
        bought = (await purchase(api, preview["id"])).body
        assert (bought["status"], bought.get("downloadUrl")) == ("", None)
        (listed,) = (await api.get("/audiences")).body[0]["csvExports"]
        assert "downloadUrl" not in listed
        api.clock.advance(5.0)
        assert "downloadUrl" in await shown(api, audience_id)
        (listed,) = (await api.get("/audiences")).body[0]["csvExports"]
        assert "downloadUrl" in listed


async def test_a_repeated_purchase_may_be_charged_again():
    async with open_api(dialect=Dialect(repeated_purchase="charge")) as api:
        preview = await api.preview(await api.matched(), "phone")
        assert [(await purchase(api, preview["id"])).status for _ in range(3)] == [200] * 3
        counts = api.sandbox.counts()
        assert (counts.purchases, counts.charged_cents) == (3, 3 * PHONES)


async def test_an_uploaded_csv_may_be_active_before_it_is_matched():
    async with open_api(dialect=Dialect(stub_status="ACTIVE")) as api:
        stub = await api.uploaded()
        assert (await api.audience(stub))["status"] == "ACTIVE"
        refused = await api.post("/create_preview_csv_export", audienceId=stub, customerId="1", optionalFieldTypes=[])
        assert refused.error_type == "AudienceNotActive"


@pytest.mark.parametrize(
    ("rule", "given", "stored"),
    [
        ("lower", "Donors", "donors"),
        ("collapsed", " Donors  and friends ", "Donors and friends"),
        ("nfc", "Cafe\u0301", "Caf\u00e9"),
        ("truncated", "Donors of the Keystone State", "Donors of the Keysto"),
    ],
)
async def test_names_are_normalized_when_stored_compared_and_shown(rule: Any, given: str, stored: str):
    async with open_api(dialect=Dialect(name_normalization=rule)) as api:
        assert (await api.audience(await api.matched(name=given)))["name"] == stored
        again = await api.post(
            "/match_uploaded_csv",
            audienceID=await api.uploaded(),
            customerId="1",
            audienceName=stored,
            columnSelections=COLUMNS,
        )
        assert again.error_type == "AudienceNameTaken"


@pytest.mark.parametrize("rule", ["upsert", "allow"])
async def test_a_taken_name_may_return_the_existing_audience_or_a_second_one(rule: Any):
    async with open_api(dialect=Dialect(duplicate_names=rule)) as api:
        base = await api.matched()
        for _ in range(2):
            lookalike = await api.post_ok(
                "/create_lookalike_audience", baseAudienceId=base, customerId="1", size=5, audienceName="Donors"
            )
        assert (lookalike["id"] == base) == (rule == "upsert")
        assert api.sandbox.counts().audiences["1", "Donors"] == (1 if rule == "upsert" else 3)


async def test_a_list_shows_only_the_oldest_rows():
    async with open_api(dialect=Dialect(list_limit=2)) as api:
        ids = [await api.matched(name=f"List {number}") for number in range(3)]
        assert [row["id"] for row in (await api.get("/audiences")).body] == ids[:2]


async def test_a_frozen_list_never_changes_and_a_single_get_does():
    async with open_api(dialect=Dialect(frozen_lists=True)) as api:
        stub = (await api.post_ok("/upload_csv", customerId="1", url="http://127.0.0.1/x.csv"))["id"]
        before = (await api.get("/audiences")).body
        await api.advance_time()
        assert (await api.get("/audiences")).body == before
        assert (await api.audience(stub))["uploadedAudienceCsv"]["status"] == "READY_FOR_COLUMN_SELECTION"


async def test_a_lagging_list_shows_past_records():
    async with open_api(dialect=Dialect(list_lag=30.0)) as api:
        audience_id = await api.matched()
        preview = await api.preview(audience_id, "phone")
        assert (await api.get("/audiences")).body[0]["csvExports"] == []
        api.clock.advance(30.0)
        await purchase(api, preview["id"])
        (export,) = (await api.get("/audiences")).body[0]["csvExports"]
        assert export["status"] == "REQUIRES_PAYMENT"
        assert (await shown(api, audience_id))["status"] == "ACTIVE"
        api.clock.advance(30.0)
        (export,) = (await api.get("/audiences")).body[0]["csvExports"]
        assert export["status"] == "ACTIVE"
        await api.post_ok("/upload_csv", customerId="1", url="http://127.0.0.1/x.csv")
        assert len((await api.get("/audiences")).body) == 1


async def test_seeded_audiences_have_a_name_and_a_status():
    async with open_api() as api:
        (failed,) = await api.sandbox.seed_audiences(1, "1", name="Failed", status="FAILED")
        (deleted,) = await api.sandbox.seed_audiences(1, "1", name="Donors", status="DELETED")
        rows = {row["id"]: (row["name"], row["status"]) for row in (await api.get("/audiences")).body}
        assert rows == {failed: ("Failed", "FAILED"), deleted: ("Donors", "DELETED")}
        assert (await api.audience(failed))["status"] == "FAILED"
        assert (await api.get("/audience", audienceId=str(deleted), customerId="1")).status == 404
        await api.matched(name="Donors")


@pytest.mark.parametrize("status", [400, 429, 503])
async def test_a_price_rises_while_a_purchase_fails(status: int):
    async with open_api() as api:
        audience_id = await api.matched()
        preview = await api.preview(audience_id, "phone")
        api.sandbox.faults.add(Fault(kind=FaultKind.PRICE_RAISED, endpoint=PURCHASE, status=status, cost_cents=7))
        answer = await purchase(api, preview["id"])
        assert answer.status == status
        assert ("Retry-After" in answer.headers) == (status == 429)
        assert (await shown(api, audience_id))["cost"] == 7
        assert api.sandbox.counts().charged_cents == 0
        assert (await purchase(api, preview["id"])).status == 200
        assert api.sandbox.counts().charged_cents == 7


async def test_a_price_rises_while_the_connection_breaks():
    async with open_api() as api:
        audience_id = await api.matched()
        preview = await api.preview(audience_id, "phone")
        api.sandbox.faults.add(Fault(kind=FaultKind.PRICE_RAISED, endpoint=PURCHASE, disconnect=True))
        with pytest.raises(aiohttp.ServerDisconnectedError):
            await purchase(api, preview["id"])
        assert (await shown(api, audience_id))["cost"] == 900_000


async def test_a_purchase_is_charged_more_than_quoted():
    async with open_api() as api:
        audience_id = await api.matched()
        preview = await api.preview(audience_id, "phone")
        api.sandbox.faults.add(Fault(kind=FaultKind.OVERCHARGED, endpoint=PURCHASE, cost_cents=50_000))
        assert (await purchase(api, preview["id"])).body["cost"] == 50_000
        assert (await shown(api, audience_id))["cost"] == api.sandbox.counts().charged_cents == 50_000


async def test_a_record_may_contain_an_error():
    async with open_api() as api:
        preview = await api.preview(await api.matched(), "phone")
        api.sandbox.faults.add(Fault(kind=FaultKind.ERROR_INSIDE_SUCCESS, endpoint=PURCHASE))
        answer = await purchase(api, preview["id"])
        assert (answer.status, answer.body["id"], answer.body["error"]) == (200, preview["id"], "card declined")
        assert api.sandbox.counts().purchases == 0


async def test_a_response_may_be_about_another_record():
    async with open_api() as api:
        first, second = await api.matched(name="A"), await api.matched(name="B")
        api.sandbox.faults.add(Fault(kind=FaultKind.WRONG_RECORD, endpoint=READ))
        assert (await api.audience(first))["id"] == second
        api.sandbox.faults.add(Fault(kind=FaultKind.WRONG_RECORD, endpoint=PREVIEW, times=2))
        assert (await api.preview(first))["id"] == "other"
        assert (await api.preview(second))["audience"]["id"] == first


async def test_a_field_may_have_another_value():
    async with open_api() as api:
        audience_id = await api.matched()
        await api.preview(audience_id, "phone")
        api.sandbox.faults.add(
            Fault(kind=FaultKind.FIELD_REPLACED, endpoint=READ, field="csvExports.cost", value="12.00"),
            Fault(kind=FaultKind.FIELD_REPLACED, endpoint="GET /audiences", field="name", value=5),
        )
        assert (await shown(api, audience_id))["cost"] == "12.00"
        assert (await api.get("/audiences")).body[0]["name"] == 5


async def test_an_error_has_the_given_message_and_retry_after():
    async with open_api() as api:
        api.sandbox.faults.add(
            Fault(
                kind=FaultKind.RATE_LIMITED,
                retry_after="9" * 310,
                error_type="QuotaExceeded",
                message="Your monthly quota is used up.",
            )
        )
        answer = await api.get("/audiences")
        assert answer.body == {"error": "Your monthly quota is used up.", "errorType": "QuotaExceeded"}
        assert answer.headers["Retry-After"] == "9" * 310


async def test_a_download_may_be_late_partial_or_mislabeled():
    async with open_api() as api:
        url = (await api.purchased("phone"))["downloadUrl"]
        api.sandbox.faults.add(
            Fault(kind=FaultKind.DOWNLOAD_NOT_READY, endpoint="GET download"),
            Fault(kind=FaultKind.RANGE_SHORT, endpoint="GET download"),
        )
        plain: dict[str, Any] = {"skip_auto_headers": ["Authorization"]}

        async def fetch(**headers: str) -> Any:
            async with api.session.get(url, headers=headers, **plain) as response:
                return response.status, response.headers, await response.read()

        del api.session.headers["Authorization"]
        assert (await fetch())[0] == 202
        status, headers, body = await fetch(Range="bytes=10-")
        total = int(headers["Content-Range"].rpartition("/")[2])
        assert status == 206
        assert headers["Content-Range"] == f"bytes 10-{9 + len(body)}/{total}"
        assert 0 < len(body) < total - 10
