from __future__ import annotations

from tests.support.sandbox_http import SandboxApi, open_api


async def test_every_request_is_logged(api: SandboxApi):
    audience_id = await api.matched()
    export = await api.preview(audience_id, "phone")
    await api.get("/audience", audienceId="nothing", customerId="1")
    await api.post_ok("/purchase_csv_export", exportId=export["id"], customerId="1")
    entries = [
        (entry.method, entry.endpoint, entry.audience_id, entry.export_id, entry.status, entry.carried_out)
        for entry in api.sandbox.log.entries
    ]
    assert entries == [
        ("POST", "POST /upload_csv", audience_id, None, 200, True),
        ("POST", "POST /match_uploaded_csv", audience_id, None, 200, True),
        ("POST", "POST /create_preview_csv_export", audience_id, export["id"], 200, True),
        ("GET", "GET /audience", "nothing", None, 404, False),
        ("POST", "POST /purchase_csv_export", audience_id, export["id"], 200, True),
    ]
    assert {entry.customer_id for entry in api.sandbox.log.entries} == {"1"}
    assert [entry.at for entry in api.sandbox.log.entries] == [0, 1_000, 2_000, 2_000, 2_000]


async def test_requests_are_counted_by_criteria(api: SandboxApi):
    audience_id = await api.matched()
    for customer_id in ("1", "1", "2"):
        await api.get("/audience", audienceId=audience_id, customerId=customer_id)
    log = api.sandbox.log
    assert (log.count(), log.count("GET /audience"), log.count("GET /audiences")) == (5, 3, 0)
    assert log.count("GET /audience", status=404) == log.count(carried_out=False) == 1
    assert len(log.find(audience_id=audience_id, customer_id="1")) == 4
    assert len(log.find(endpoint="GET /audience", customer_id="2")) == 1
    log.clear()
    assert (log.count(), len(log.entries)) == (0, 0)


async def test_entries_are_bounded_and_counters_are_not():
    async with open_api(log_entries=10) as api:
        for _ in range(25):
            await api.get("/audiences")
        assert (len(api.sandbox.log.entries), api.sandbox.log.count("GET /audiences")) == (10, 25)


async def test_unknown_routes_share_one_counter(api: SandboxApi):
    for path in ("/a", "/b", "/c"):
        await api.get(path)
    assert api.sandbox.log.count_by_endpoint() == {"unknown": {"404": 3}}


async def test_counts_are_served_to_other_processes(api: SandboxApi):
    export = await api.purchased("phone")
    url = api.sandbox.base_url.replace("/api/v1", "/_sandbox/counts")
    counts = (await api.request("GET", url)).body
    assert (counts["audiences"], counts["purchases"], counts["chargedCents"]) == (1, 1, export["cost"])
    assert counts["requests"]["POST /purchase_csv_export"] == {"200": 1}
