"""The API's endpoints, and how their responses are decoded and checked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from indigo_async._transport import codec
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
    "decode_audience",
    "decode_export",
    "decode_response",
]

T = TypeVar("T")

UPLOAD_CSV = Endpoint("POST", "/upload_csv", Audience, ("customerId", "url"))
MATCH_UPLOADED_CSV = Endpoint(
    "POST", "/match_uploaded_csv", Audience, ("audienceId", "customerId", "audienceName", "columnSelections")
)
GET_AUDIENCE = Endpoint("GET", "/audience", Audience, ("audienceId", "customerId"))
LIST_AUDIENCES = Endpoint("GET", "/audiences", parameters=("customerId",))
CREATE_LOOKALIKE = Endpoint(
    "POST",
    "/create_lookalike_audience",
    Audience,
    ("baseAudienceId", "customerId", "size", "audienceName", "includeOriginalAudience", "filters"),
)
CREATE_PREVIEW = Endpoint(
    "POST", "/create_preview_csv_export", CsvExport, ("audienceId", "customerId", "optionalFieldTypes")
)
PURCHASE_EXPORT = Endpoint("POST", "/purchase_csv_export", CsvExport, ("exportId", "customerId"))


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


def decode_audience(document: Any, endpoint: Endpoint, customer_id: str | None) -> Audience:
    """Decode an audience, and check that it belongs to the customer.

    Raises:
        ApiError, ResponseDecodeError, CustomerMismatchError: it can't be read, or is another customer's.
    """
    try:
        audience = decode_response(codec.decode_audience, document, endpoint)
    finally:
        del document  # as in `decode_response`
    check_customer(endpoint, customer_id, audience.customer_id)
    return audience


def decode_export(document: Any, endpoint: Endpoint, customer_id: str | None) -> CsvExport:
    """Decode an export, and check that its audience belongs to the customer.

    Raises:
        ApiError, ResponseDecodeError, CustomerMismatchError: it can't be read, or is another customer's.
    """
    try:
        export = decode_response(codec.decode_export, document, endpoint)
    finally:
        del document  # as in `decode_response`
    if export.audience is not None:
        check_customer(endpoint, customer_id, export.audience.customer_id)
    return export
