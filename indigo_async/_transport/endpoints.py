"""The API's endpoints, and the checks that every response of theirs passes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from indigo_async._transport.response_details import add_latest_details
from indigo_async._transport.responses import Endpoint
from indigo_async.errors import ApiError, CustomerMismatchError, RecordMismatchError, ResponseDecodeError
from indigo_async.models import Audience, CsvExport, RecordId

__all__ = [
    "CREATE_LOOKALIKE",
    "CREATE_PREVIEW",
    "GET_AUDIENCE",
    "LIST_AUDIENCES",
    "MATCH_UPLOADED_CSV",
    "PURCHASE_EXPORT",
    "UPLOAD_CSV",
    "check_customer",
    "check_record_id",
    "decode_response",
]

T = TypeVar("T")

UPLOAD_CSV = Endpoint("POST", "/upload_csv", Audience)
MATCH_UPLOADED_CSV = Endpoint("POST", "/match_uploaded_csv", Audience)
GET_AUDIENCE = Endpoint("GET", "/audience", Audience)
LIST_AUDIENCES = Endpoint("GET", "/audiences")
CREATE_LOOKALIKE = Endpoint("POST", "/create_lookalike_audience", Audience)
CREATE_PREVIEW = Endpoint("POST", "/create_preview_csv_export", CsvExport)
PURCHASE_EXPORT = Endpoint("POST", "/purchase_csv_export", CsvExport)


def decode_response(decode_document: Callable[[Any, str], T], document: Any, endpoint: Endpoint) -> T:
    """Decode a response without leaving the document in an error's frames: loggers may print their variables.

    Raises:
        ApiError, ResponseDecodeError: see `decode_document`.
    """
    try:
        return decode_document(document, endpoint.name)
    except (ApiError, ResponseDecodeError) as error:
        unreadable = add_latest_details(error, document).with_traceback(None)
    finally:
        del document
    raise unreadable from None


def check_record_id(endpoint: Endpoint, record_kind: str, *, requested: RecordId, received: RecordId | None) -> None:
    """Check that a response is about the requested record. IDs are compared as text.

    Raises:
        RecordMismatchError: the IDs differ.
    """
    if received is not None and str(requested) != str(received):
        raise add_latest_details(
            RecordMismatchError(endpoint=endpoint.name, record_kind=record_kind, requested=requested, received=received)
        )


def check_customer(endpoint: Endpoint, requested: str | None, received: str | None) -> None:
    if requested is not None and received is not None and requested != received:
        raise add_latest_details(CustomerMismatchError(endpoint=endpoint.name, requested=requested, received=received))
