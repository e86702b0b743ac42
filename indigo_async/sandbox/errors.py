"""Error responses: an HTTP status, a machine-readable type and a message.

API reference: "Errors". `PurchasableEntityAlreadyPurchased` is the only documented type; the others are inferred.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType

__all__ = ["ErrorType", "HttpError"]

_NO_HEADERS: Mapping[str, str] = MappingProxyType({})


class ErrorType(StrEnum):
    """The `errorType` of an error."""

    ALREADY_PURCHASED = "PurchasableEntityAlreadyPurchased"
    AUDIENCE_ALREADY_MATCHED = "AudienceAlreadyMatched"
    AUDIENCE_NAME_TAKEN = "AudienceNameTaken"
    AUDIENCE_NOT_ACTIVE = "AudienceNotActive"
    BASE_AUDIENCE_NOT_ELIGIBLE = "BaseAudienceNotEligible"
    BODY_TOO_LARGE = "BodyTooLarge"
    CSV_NOT_READY = "CsvNotReadyForColumnSelection"
    DOWNLOAD_REFUSED = "DownloadRefused"
    EXPORT_NOT_READY = "ExportNotReady"
    INTERNAL = "InternalError"
    INVALID_COLUMN_SELECTIONS = "InvalidColumnSelections"
    INVALID_PARAMETER = "InvalidParameter"
    MALFORMED_JSON = "MalformedJson"
    METHOD_NOT_ALLOWED = "MethodNotAllowed"
    MISSING_PARAMETER = "MissingParameter"
    NOT_FOUND = "NotFound"
    RATE_LIMITED = "RateLimited"
    UNAUTHORIZED = "Unauthorized"


class HttpError(Exception):
    """An error response."""

    def __init__(
        self, status: int, error_type: ErrorType, message: str, headers: Mapping[str, str] = _NO_HEADERS
    ) -> None:
        self.status = status
        self.error_type = error_type
        self.message = message
        self.headers = headers
        super().__init__(message)
