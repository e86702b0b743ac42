"""Every exception of the SDK, in one tree under `IndigoError`.

Messages say what happened, to which audience, in which stage, and what to do next. No message, attribute or repr holds
the API token or a signed URL.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar

import attrs

from indigo_async._redaction import redact, redact_urls
from indigo_async._text import short_repr

if TYPE_CHECKING:
    from indigo_async.models import Audience, CsvExport

__all__ = [
    "AlreadyPurchasedError",
    "AmbiguousOutcomeError",
    "ApiError",
    "AudienceExistsError",
    "AudienceFailedError",
    "AuthenticationError",
    "BudgetExceededError",
    "ClientNotOpenError",
    "ConnectionFailedError",
    "CustomerMismatchError",
    "DownloadError",
    "EmptyAudienceError",
    "ExportExistsError",
    "FenceError",
    "FenceInUseError",
    "FenceLostError",
    "IndigoError",
    "InvalidInputError",
    "JournalDamagedError",
    "JournalError",
    "JournalInUseError",
    "JournalMismatchError",
    "JournalVersionError",
    "JournalWriteError",
    "MissingPackageError",
    "NotFoundError",
    "Problem",
    "PublishError",
    "PurchaseInDoubtError",
    "RateLimitedError",
    "RecordMismatchError",
    "RequestTimeoutError",
    "ResponseDecodeError",
    "ServerError",
    "TransportError",
    "WaitTimeoutError",
    "WorkflowError",
]


class IndigoError(Exception):
    """Base class of all errors of the SDK. They can be copied and pickled with their attributes.

    If there was an HTTP response, these attributes describe it, for your logs and for Indigo's support:

    - `request_id`: the ID by which the server's operators find the request. It comes from the first of these headers:
      `X-Request-Id`, `Request-Id`, `X-Amzn-RequestId`, `X-Amz-Request-Id`, `X-Correlation-Id`, `X-Trace-Id`, `CF-Ray`
      and `traceparent`. None if there is none of them. The error's message ends with it.
    - `headers`: the headers, without cookies, keys, tokens and the queries of URLs. Names are case-insensitive.
    - `body`: the body, at most 4,096 characters, without secrets and without data about people. Of JSON, it shows the
      keys, the error's own messages, and the types of other values. Empty if nothing can be shown.
    """

    request_id: str | None = None
    headers: Mapping[str, str] = MappingProxyType({})
    body: str = ""

    def __str__(self) -> str:
        text = super().__str__()
        return text if self.request_id is None else f"{text} (request ID: {self.request_id})"

    def __reduce__(self) -> tuple[Any, ...]:
        # By default, an exception is rebuilt by calling its class with `args`: here the message, not the arguments.
        return (_rebuild, (type(self), self.args), self.__dict__)


def _rebuild(kind: type[IndigoError], args: tuple[Any, ...]) -> IndigoError:
    return kind.__new__(kind, *args)


class ClientNotOpenError(IndigoError):
    """The client was used where it is not open: outside `async with`, in another event loop, or without its session."""


@attrs.frozen
class Problem:
    """One problem of an input: where it is (an argument, field or row) and what it is."""

    where: str
    message: str

    def __str__(self) -> str:
        return f"{self.where}: {self.message}"


class InvalidInputError(IndigoError, ValueError):
    """Arguments break the API's rules. Raised before anything is sent, with all problems at once."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems: tuple[Problem, ...] = tuple(problems)
        lines = [str(problem) for problem in self.problems]
        super().__init__(lines[0] if len(lines) == 1 else "\n".join([f"{len(lines)} problems:", *lines]))


class MissingPackageError(IndigoError, ImportError):
    """A required package is not installed. The message says how to install it; `name` is its module."""


class TransportError(IndigoError):
    """There is no usable response. `endpoint` names the call, such as `GET /audience`."""

    def __init__(self, message: str, *, endpoint: str) -> None:
        self.endpoint = endpoint
        super().__init__(f"{endpoint}: {message}")


class ConnectionFailedError(TransportError):
    """No connection could be made, so nothing was sent; or the connection of a GET was lost.

    `is_misconfiguration` is true if the cause is probably a setting and not an outage: an unknown host name, a
    certificate that isn't trusted, a port without TLS, or a proxy that refuses. In these cases, nothing was sent.
    """

    def __init__(self, message: str, *, endpoint: str, is_misconfiguration: bool = False) -> None:
        self.is_misconfiguration = is_misconfiguration
        super().__init__(message, endpoint=endpoint)


class RequestTimeoutError(TransportError):
    """There was no response within the request's timeout."""


class AmbiguousOutcomeError(TransportError):
    """A POST was sent and its outcome is unknown: the server may or may not have carried it out.

    Check the server before sending it again. The recipes in `indigo_async.workflows` do. `reported_success` is true
    after a 2xx response whose body could not be read: the server probably carried out the POST.
    """

    def __init__(self, message: str, *, endpoint: str, reported_success: bool = False) -> None:
        self.reported_success = reported_success
        super().__init__(message, endpoint=endpoint)


class ResponseDecodeError(IndigoError):
    """A 2xx response is not JSON, or does not have the documented shape.

    `path` is the place in the document, such as `$.audiences` or `$.id`. The body itself is never shown.
    """

    def __init__(self, message: str, *, endpoint: str, path: str = "$") -> None:
        self.endpoint = endpoint
        self.path = path
        super().__init__(f"{endpoint}: {message} at {path}")


class ApiError(IndigoError):
    """The server responded with an error.

    `status` is the HTTP status, `message` the server's message, `error_type` its machine-readable type or None, and
    `endpoint` the call, such as `POST /upload_csv`.
    """

    advice: ClassVar[str] = ""
    """What to do next, at the end of the message."""

    def __init__(self, status: int, message: str, error_type: str | None, endpoint: str) -> None:
        self.status = status
        self.message = message
        self.error_type = error_type
        self.endpoint = endpoint
        kind = f"{status}, {error_type}" if error_type else str(status)
        super().__init__(f"{endpoint}: {message} ({kind}){self.advice}")


class AuthenticationError(ApiError):
    """The token is missing, wrong, or not allowed to do this (401, 403)."""

    advice = "; check the token: token=..., INDIGO_API_TOKEN, the file that INDIGO_API_TOKEN_FILE names, or the profile"


class NotFoundError(ApiError):
    """This customer has no such record (404). Another customer may have it."""


class RateLimitedError(ApiError):
    """Too many requests (429), and the retry policy allows no further attempt.

    `retry_after` is the wait that the server asks for, in seconds, or None.
    """

    def __init__(
        self, status: int, message: str, error_type: str | None, endpoint: str, retry_after: float | None = None
    ) -> None:
        self.retry_after = retry_after
        super().__init__(status, message, error_type, endpoint)


class AlreadyPurchasedError(ApiError):
    """The export has already been purchased (`PurchasableEntityAlreadyPurchased`)."""


class ServerError(ApiError):
    """The server failed (5xx). A POST may still have been carried out."""


class CustomerMismatchError(IndigoError):
    """A response is about another customer than the one requested. It is not returned."""

    def __init__(self, *, endpoint: str, requested: str, received: str) -> None:
        self.endpoint = endpoint
        self.requested = requested
        self.received = received
        super().__init__(
            f"{endpoint}: requested customer {requested!r}, but the response is about customer {received!r}"
        )


class RecordMismatchError(IndigoError):
    """A response is about another audience or export than the one requested. It is not returned.

    `record_kind` says which IDs were compared, such as `audience` or `export`. IDs are compared as text.
    """

    def __init__(self, *, endpoint: str, record_kind: str, requested: str | int, received: str | int) -> None:
        self.endpoint = endpoint
        self.record_kind = record_kind
        self.requested: str = str(requested)
        self.received: str = str(received)
        super().__init__(
            f"{endpoint}: requested {record_kind} {short_repr(self.requested)}, but the response is about "
            f"{record_kind} {short_repr(self.received)}"
        )


class DownloadError(IndigoError):
    """An export's CSV could not be downloaded completely. The destination is unchanged.

    `expired` is true if the server no longer accepts the URL, so that a new one may help.
    """

    def __init__(self, message: str, *, expired: bool = False) -> None:
        self.expired = expired
        super().__init__(message)


class PublishError(IndigoError):
    """A local CSV could not be published at a URL for the server, so no audience was made from it."""


class WorkflowError(IndigoError):
    """A recipe failed. `stage` says where; `audience` is its last known record, with redacted URLs.

    `audience` is None if none had been made yet.
    """

    def __init__(self, message: str, *, stage: str, audience: Audience | None = None) -> None:
        self.stage = stage
        self.audience: Audience | None = redact_urls(audience)
        super().__init__(f"{stage}: {redact(message)}")


class AudienceFailedError(WorkflowError):
    """The server reports that the audience, its CSV or its export failed."""


class WaitTimeoutError(WorkflowError):
    """The timeout passed first. The message says what was requested and what the same call would do."""


class BudgetExceededError(WorkflowError):
    """The price is above the limit or cannot be read. Nothing was purchased."""

    def __init__(
        self,
        message: str,
        *,
        stage: str,
        audience: Audience | None = None,
        export: CsvExport | None = None,
        limit_cents: int,
    ) -> None:
        self.export: CsvExport | None = redact_urls(export)
        self.limit_cents = limit_cents
        super().__init__(message, stage=stage, audience=audience)


class AudienceExistsError(WorkflowError):
    """The customer has an audience of this name that was made from another CSV or another base audience."""


class ExportExistsError(WorkflowError):
    """A purchased export has unknown fields, so another purchase might pay for the same fields twice."""


class EmptyAudienceError(WorkflowError):
    """The audience to export is empty. Nothing was purchased. Pass `allow_empty=True` to export it anyway."""


class PurchaseInDoubtError(WorkflowError):
    """An export may or may not have been purchased, and the server's records don't show which.

    Nothing more is purchased, and the price stays reserved in the budget. The same call later reads the server's record
    before it does anything else. `export` is the export's last known record.
    """

    def __init__(
        self, message: str, *, stage: str, audience: Audience | None = None, export: CsvExport | None = None
    ) -> None:
        self.export: CsvExport | None = redact_urls(export)
        super().__init__(message, stage=stage, audience=audience)


class JournalError(IndigoError):
    """A batch's journal cannot be used, so nothing more is sent. The message names its path."""


class JournalInUseError(JournalError):
    """The journal is already open, in this process or another. Retry after it has been closed."""


class JournalVersionError(JournalError):
    """The journal was written by a version of this SDK with another format."""


class JournalMismatchError(JournalError):
    """The journal has a job of this customer and name with other inputs."""


class JournalDamagedError(JournalError):
    """The file is not a journal, or some of its contents are changed or lost."""


class JournalWriteError(JournalError):
    """The journal could not be written: the disk is full or failing, the file is read-only, or it was closed.

    The entry may not be on disk. All later writes fail, too.
    """


class FenceError(IndigoError):
    """The fence that runs share cannot be used, so nothing more is purchased. The message names its place.

    `permanent` is true if trying again is useless until the cause is fixed.
    """

    def __init__(self, message: str, *, permanent: bool = False) -> None:
        self.permanent = permanent
        super().__init__(message)


class FenceInUseError(FenceError):
    """Another run has this job, and it is alive. Nothing was sent. Retry after that run has ended."""


class FenceLostError(FenceError):
    """Another run took over the jobs of this run, which had stopped renewing its lease. It purchases nothing more."""
