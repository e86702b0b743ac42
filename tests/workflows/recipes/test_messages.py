"""Error messages never repeat the server's text as it came."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from indigo_async import IndigoClient
from indigo_async.errors import IndigoError
from indigo_async.models import Audience, CsvExport
from indigo_async.workflows import create_lookalike, wait_for_column_selection, wait_for_export, wait_until_active
from indigo_async.workflows.recipes.download import choose_purchased
from indigo_async.workflows.recipes.existing_audiences import compare_lookalike, compare_matched
from indigo_async.workflows.recipes.existing_exports import choose_export
from tests.support.servers.scripted import respond_with_json, server_and_client

CANARY = "canary-91c2"
STATUS = f"FAILED\x1b[31m\n2026-01-01 INFO all is well https://files.example.org/x?sig={CANARY} {'x' * 5_000}"
UNCLEAR = STATUS.replace("FAILED", "ODD")


def assert_sanitized(message: str) -> None:
    assert CANARY not in message
    assert "x1b" not in message
    assert "\\n" not in message
    assert len(message.splitlines()) == 1
    assert len(message) < 1_000
    assert "all is well https://files.example.org/x" in message


def audience_with_export(status: str) -> Audience:
    return Audience(
        id="aud-1", csv_exports=(CsvExport(id="exp-1", status=status, cost_cents=100, optional_field_types=("phone",)),)
    )


@pytest.mark.parametrize(
    "judge",
    [
        lambda: compare_matched(Audience(id=1, name="Donors", status=STATUS), csv="https://files.example.org/a.csv"),
        lambda: compare_lookalike(Audience(id=1, name="Donors", status=STATUS), base_id=2),
        lambda: choose_export(audience_with_export(STATUS), frozenset({"phone"}), reuse_purchased=None),
        lambda: choose_export(audience_with_export(UNCLEAR), frozenset({"phone"}), reuse_purchased=None),
        lambda: choose_purchased(audience_with_export(STATUS), export_id="exp-1", wanted=None),
    ],
    ids=["match", "lookalike", "failed export", "unclear export", "download"],
)
def test_statuses_are_sanitized_when_records_are_judged(judge: Callable[[], object]):
    with pytest.raises(IndigoError) as caught:
        judge()
    assert_sanitized(str(caught.value))


async def test_statuses_are_sanitized_when_waits_fail():
    record = {
        "id": "aud-1",
        "status": STATUS,
        "uploadedAudienceCsv": {"status": STATUS},
        "csvExports": [{"id": "exp-1", "status": STATUS}],
    }
    async with server_and_client(respond_with_json(record)) as (_, client):
        for wait in (
            wait_until_active(client, "aud-1", customer_id=None),
            wait_for_column_selection(client, "aud-1", customer_id=None),
            wait_for_export(client, "exp-1", audience="aud-1", customer_id=None),
        ):
            with pytest.raises(IndigoError) as caught:
                await wait
            assert_sanitized(str(caught.value))


async def test_the_status_of_a_base_is_sanitized():
    base = Audience(id=1, status=UNCLEAR)
    with pytest.raises(IndigoError) as caught:
        await create_lookalike(IndigoClient("token"), base, customer_id="1", audience_name="Donors+", size=10)
    assert_sanitized(str(caught.value))
