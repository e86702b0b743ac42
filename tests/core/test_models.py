"""Records are frozen, keep the server's statuses and hide URLs."""

from __future__ import annotations

import attrs
import pytest

from indigo_async.models import (
    Audience,
    AudienceStatus,
    CsvExport,
    ExportStatus,
    UploadedAudienceCsv,
    UploadStatus,
    is_failure_status,
)

SIGNED = "https://files.example.org/x.csv?X-Amz-Signature=canary"


@pytest.mark.parametrize(
    "status", ["FAILED", "failed", "UPLOAD_FAILED", "ERROR", "Rejected", "CANCELLED", "canceled", "EXPIRED", "Deleted"]
)
def test_a_status_that_says_failure_is_a_failure(status: str):
    assert is_failure_status(status)


@pytest.mark.parametrize(
    "status", sorted({*AudienceStatus, *UploadStatus, *ExportStatus, "", "UNDER_REVIEW", "QUEUED"} - {"FAILED"})
)
def test_any_other_status_means_work_in_progress(status: str):
    assert not is_failure_status(status)


def test_known_statuses_compare_with_the_servers_text():
    assert Audience(id=1, status="ACTIVE").status == AudienceStatus.ACTIVE
    assert UploadedAudienceCsv(status="READY_FOR_COLUMN_SELECTION").status == UploadStatus.READY_FOR_COLUMN_SELECTION


def test_reprs_show_no_url_and_no_value_of_extra():
    audience = Audience(
        id=1,
        uploaded_audience_csv=UploadedAudienceCsv(url=SIGNED, extra={"signedUrl": SIGNED}),
        csv_exports=(CsvExport(id=2, download_url=SIGNED, extra={"previewUrl": SIGNED}),),
        extra={"iconUrl": SIGNED},
    )
    shown = repr(audience)
    assert "canary" not in shown
    assert "canary" not in str(audience)
    assert shown.count("<hidden URL>") == 2
    assert all(key in shown for key in ("signedUrl", "previewUrl", "iconUrl"))


def test_the_repr_of_a_record_without_a_url_says_none():
    assert "download_url=None" in repr(CsvExport(id=2))


@pytest.mark.parametrize("record", [Audience(id=1), CsvExport(id=1), UploadedAudienceCsv()])
def test_records_are_frozen(record: object):
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        record.status = "ACTIVE"
