from __future__ import annotations

import asyncio
import csv
import io
import subprocess
import sys
import threading
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from indigo_async.sandbox import Sandbox
from indigo_async.sandbox.people import MESSY_COLUMNS, VoterFile, generate_messy_csv, parse_csv
from indigo_async.sandbox.state import voter_engine
from tests.support.sandbox_http import ApiResponse, SandboxApi, open_api


@pytest.fixture
async def api(voters: VoterFile) -> AsyncGenerator[SandboxApi]:
    async with open_api(voters, lite=False) as api:
        yield api


def selection(column: str, *, required: bool = False) -> dict[str, Any]:
    assert column in MESSY_COLUMNS
    return {"column_name": column, "is_required": required}


SELECTIONS = {
    "first_name": selection("First Name", required=True),
    "last_name": selection("Last Name", required=True),
    "zip": selection("Zip Code"),
    "dob": selection("Birth Date"),
    "phone": selection("Phone"),
    "id": selection("Member ID", required=True),
}


async def upload(api: SandboxApi, people: bytes) -> Any:
    url = api.sandbox.file_host.put(people, name="people.csv")
    stub = await api.post_ok("/upload_csv", customerId="1", url=url)
    await api.advance_time()
    return await api.audience(stub["id"])


async def match(api: SandboxApi, people: bytes, **changes: Any) -> Any:
    audience = await upload(api, people)
    body = {"audienceName": "Donors", "columnSelections": SELECTIONS} | changes
    await api.post_ok("/match_uploaded_csv", audienceID=audience["id"], customerId="1", **body)
    await api.advance_time()
    return await api.audience(audience["id"])


async def rows(url: str) -> list[dict[str, str]]:
    async with aiohttp.ClientSession() as session, session.get(url) as response:
        assert response.status == 200
        return list(csv.DictReader(io.StringIO((await response.read()).decode())))


async def test_people_are_matched_expanded_priced_and_exported(api: SandboxApi, voters: VoterFile):
    people = generate_messy_csv(voters, 2_000, seed=1)
    uploaded = await upload(api, people)
    assert uploaded["uploadedAudienceCsv"]["rowCount"] == 2_000
    assert uploaded["uploadedAudienceCsv"]["columnNames"] == list(MESSY_COLUMNS)
    matched = await match(api, people)
    assert 1_000 <= matched["size"] < 2_000
    assert matched["uploadedAudienceCsv"]["matchedCount"] == matched["size"]

    base = await api.preview(matched["id"], "phone")
    assert base["cost"] == 4 * matched["size"]
    bought = await rows((await api.post_ok("/purchase_csv_export", exportId=base["id"], customerId="1"))["downloadUrl"])
    table = parse_csv(people)
    assert len(bought) == matched["size"]
    assert {row["Uploaded row ID"] for row in bought} <= set(table.column("Member ID"))

    wider = await api.post_ok(
        "/create_lookalike_audience",
        baseAudienceId=matched["id"],
        customerId="1",
        size=500,
        audienceName="Wider",
        includeOriginalAudience=False,
    )
    await api.advance_time()
    assert (await api.audience(wider["id"]))["size"] == 500
    export = await api.preview(wider["id"], "lookalike_scores")
    export = await api.post_ok("/purchase_csv_export", exportId=export["id"], customerId="1")
    alike = await rows(export["downloadUrl"])
    assert len(alike) == 500
    id_column = "TargetSmart voterbase ID"
    assert not {row[id_column] for row in alike} & {row[id_column] for row in bought}
    assert all(0 <= float(row["Lookalike score"]) <= 1 for row in alike)


async def test_the_asynchronous_flow_writes_the_same_csv(voters: VoterFile):
    people = generate_messy_csv(voters, 300, seed=2)
    exports: list[list[dict[str, str]]] = []
    for flow in ("synchronous", "asynchronous"):
        async with open_api(voters, lite=False, export_flow=flow) as api:
            matched = await match(api, people)
            export = await api.preview(matched["id"], "phone")
            await api.advance_time()
            await api.post_ok("/purchase_csv_export", exportId=export["id"], customerId="1")
            await api.advance_time()
            (kept,) = (await api.audience(matched["id"]))["csvExports"]
            exports.append(await rows(kept["downloadUrl"]))
    assert exports[0] == exports[1]
    assert exports[0]


@pytest.mark.parametrize(
    "content", [b"", b"\x89PNG\r\n\x1a\n\x00\x00", b"<html><body>Log in</body></html>", b'{"a": 1}']
)
async def test_a_file_that_is_not_a_csv_has_a_reason(api: SandboxApi, content: bytes):
    audience = await upload(api, content)
    assert (audience["status"], audience["uploadedAudienceCsv"]["status"]) == ("FAILED", "FAILED")
    assert audience["uploadedAudienceCsv"]["failureReason"] == "NotACsv"
    answer = await api.post(
        "/match_uploaded_csv",
        audienceID=audience["id"],
        customerId="1",
        audienceName="Donors",
        columnSelections=SELECTIONS,
    )
    assert (answer.status, answer.error_type) == (400, "CsvNotReadyForColumnSelection")


async def test_a_missing_column_is_rejected(api: SandboxApi, voters: VoterFile):
    audience = await upload(api, generate_messy_csv(voters, 10, seed=3))
    answer = await api.post(
        "/match_uploaded_csv",
        audienceID=audience["id"],
        customerId="1",
        audienceName="Donors",
        columnSelections=SELECTIONS | {"city": {"column_name": "Town", "is_required": False}},
    )
    assert (answer.status, answer.error_type) == (400, "InvalidColumnSelections")
    assert "'Town'" in answer.body["error"]


async def test_filters_apply_and_base_members_are_included_as_requested(api: SandboxApi):
    base = await api.sandbox.seed_app_audience(size=1_200)
    wider = await api.post_ok(
        "/create_lookalike_audience",
        baseAudienceId=base,
        customerId="1",
        size=4_000,
        audienceName="Wider",
        includeOriginalAudience=True,
        filters={"states": ["CA"]},
    )
    await api.advance_time()
    size = (await api.audience(wider["id"]))["size"]
    export = await api.preview(wider["id"], "address")
    export = await api.post_ok("/purchase_csv_export", exportId=export["id"], customerId="1")
    people = await rows(export["downloadUrl"])
    assert 0 < len(people) == size < 4_000
    assert {row["Registration state"] for row in people} == {"CA"}


async def test_statuses_wait_for_both_computation_and_time(
    api: SandboxApi, voters: VoterFile, monkeypatch: pytest.MonkeyPatch
):
    go_on, match_people = threading.Event(), voter_engine.match

    def slow_match(*args: Any) -> Any:
        go_on.wait(10)
        return match_people(*args)

    monkeypatch.setattr(voter_engine, "match", slow_match)
    audience = await upload(api, generate_messy_csv(voters, 100, seed=4))
    await api.post_ok(
        "/match_uploaded_csv",
        audienceID=audience["id"],
        customerId="1",
        audienceName="Donors",
        columnSelections=SELECTIONS,
    )
    api.clock.advance(10_000)
    assert (await api.audience(audience["id"]))["status"] == "PROCESSING"
    assert (await api.get("/audiences")).body[0]["status"] == "PROCESSING"
    go_on.set()
    await api.sandbox.wait_until_idle()
    assert (await api.audience(audience["id"]))["status"] == "ACTIVE"
    assert (await api.get("/audiences")).body[0]["status"] == "ACTIVE"


async def test_a_bug_in_a_stage_becomes_a_failure(
    api: SandboxApi, voters: VoterFile, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    def broken(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("indigo_async.sandbox.state.voter_engine.match", broken)
    assert (await match(api, generate_messy_csv(voters, 100, seed=5)))["status"] == "FAILED"
    assert "ZeroDivisionError" in caplog.text


async def test_a_purchase_in_progress_ends_with_the_sandbox(voters: VoterFile, monkeypatch: pytest.MonkeyPatch):
    begun, go_on = threading.Event(), threading.Event()

    def slow_export(*_: Any, **__: Any) -> bytes:
        begun.set()
        go_on.wait(10)
        return b"late"

    monkeypatch.setattr("indigo_async.sandbox.state.voter_engine.export_csv", slow_export)
    async with open_api(voters, lite=False) as api:
        audience_id = await api.sandbox.seed_app_audience(size=10)
        export = await api.post_ok("/create_preview_csv_export", audienceId=audience_id, optionalFieldTypes=[])
        purchase = asyncio.ensure_future(api.post("/purchase_csv_export", exportId=export["id"]))
        await asyncio.to_thread(begun.wait, 10)
        assert api.sandbox.counts().purchases == 1
        go_on.set()
    (outcome,) = await asyncio.gather(purchase, return_exceptions=True)
    assert isinstance(outcome, (aiohttp.ClientError, ApiResponse))


async def test_voters_may_come_from_a_users_file(tmp_path: Path):
    path = tmp_path / "voters.csv"
    path.write_text("first_name,last_name,reg_zip\nANNE,LEE,19103\nBOB,ROE,19104\n")
    async with open_api(path, lite=False) as api:
        matched = await match(
            api,
            b"First,Last,Zip\nanne,Lee,19103\nsomebody,else,00000\n",
            columnSelections={
                "first_name": {"column_name": "First", "is_required": True},
                "last_name": {"column_name": "Last", "is_required": True},
                "zip": {"column_name": "Zip", "is_required": True},
            },
        )
        assert (matched["status"], matched["size"]) == ("ACTIVE", 1)


async def test_a_shared_voter_file_stays_open(voters: VoterFile):
    async with Sandbox(voters):
        pass
    assert generate_messy_csv(voters, 1, seed=0)


def test_a_lite_sandbox_needs_no_libraries_for_people():
    program = (
        "import asyncio, sys\n"
        "from indigo_async.sandbox import Sandbox\n"
        "async def main():\n"
        "    async with Sandbox(lite=True): pass\n"
        "asyncio.run(main())\n"
        "print(*{'numpy', 'duckdb', 'sklearn'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert not done.stdout.strip()
