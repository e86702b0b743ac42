"""The whole cookbook with real matching: a messy CSV on disk becomes a purchased CSV of similar voters."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from indigo_async import workflows
from indigo_async.errors import AudienceFailedError
from indigo_async.inputs import ColumnSelection, ColumnSelections
from indigo_async.sandbox import Sandbox
from indigo_async.sandbox.people import VoterFile, generate_messy_csv
from tests.support.recipes import AMPLE_CENTS
from tests.support.servers.scripted import SPEED, open_client

COLUMNS = ColumnSelections(
    first_name=ColumnSelection("First Name", required=True),
    last_name=ColumnSelection("Last Name", required=True),
    zip=ColumnSelection("Zip Code"),
    dob=ColumnSelection("Birth Date"),
    phone=ColumnSelection("Phone"),
    address=ColumnSelection("Street"),
    id=ColumnSelection("Member ID", required=True),
)


@pytest.mark.parametrize("flow", ["synchronous", "asynchronous"])
async def test_a_messy_file_becomes_a_purchased_csv_with_the_requested_number_of_people(
    flow, voters: VoterFile, tmp_path: Path
):
    people, purchased = tmp_path / "people.csv", tmp_path / "purchased.csv"
    people.write_bytes(generate_messy_csv(voters, 2_000, seed=1))
    async with (
        Sandbox(voters, speed=SPEED, download_lifetime=1e12, export_flow=flow) as sandbox,
        open_client(sandbox) as client,
    ):
        matched = await workflows.upload_and_match(
            client,
            people,
            customer_id="42",
            audience_name="Donors",
            column_selections=COLUMNS,
            publisher=sandbox.file_host,
        )
        assert 1_000 <= matched.size < 2_000
        wider = await workflows.create_lookalike(client, matched, customer_id="42", audience_name="Donors+", size=700)
        receipt = await workflows.export_audience(
            client,
            wider,
            customer_id="42",
            destination=purchased,
            optional_field_types=["phone"],
            max_cost_cents=AMPLE_CENTS,
        )
        assert receipt.export.cost_cents == 700 * 4 == sandbox.counts().charged_cents
    with purchased.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len({row["TargetSmart voterbase ID"] for row in rows}) == 700
    assert any(row["Cell phone number"] for row in rows)


async def test_a_file_that_stops_being_csv_is_reported_by_the_upload(voters: VoterFile, tmp_path: Path):
    noise = tmp_path / "people.csv"
    noise.write_bytes(generate_messy_csv(voters, 2_000, seed=1) + b"\x00\x01\x02 this is no CSV")
    async with Sandbox(voters, speed=SPEED) as sandbox, open_client(sandbox) as client:
        with pytest.raises(AudienceFailedError, match=r"^upload: the server could not read the CSV"):
            await workflows.upload_and_match(
                client,
                noise,
                customer_id="42",
                audience_name="Donors",
                column_selections=COLUMNS,
                publisher=sandbox.file_host,
            )
