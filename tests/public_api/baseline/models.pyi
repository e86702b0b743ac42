ApiResponse = indigo_async.ApiResponse

Audience = indigo_async.Audience

AudienceStatus = indigo_async.AudienceStatus

CsvExport = indigo_async.CsvExport

ExportStatus = indigo_async.ExportStatus

KNOWN_STATUSES = {str(status): str(status) for kind in (AudienceStatus, UploadStatus, ExportStatus) for status in kind}

RecordId = str | int

UploadStatus = indigo_async.UploadStatus

UploadedAudienceCsv = indigo_async.UploadedAudienceCsv

def is_failure_status(status: str) -> bool: ...
def normalize_status(status: str) -> str: ...
def same_id(first: RecordId, second: RecordId) -> bool: ...
