"""Every exception of the SDK, in one tree under `IndigoError`.

Messages are for people: what happened, to which audience and stage, what to do next. No message, attribute or
repr holds the API token or a signed URL.
"""

from __future__ import annotations

from collections.abc import Sequence
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
    "IndigoError",
    "InvalidInputError",
    "JournalDamagedError",
    "JournalError",
    "JournalInUseError",
    "JournalMismatchError",
    "JournalVersionError",
    "JournalWriteError",
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
    """Anything that the SDK raises on purpose. It can be copied and pickled with what it knows, for other processes."""

    def __reduce__(self) -> tuple[Any, ...]:
        # Exceptions are rebuilt by calling their class with `args`, which are the message here, not the arguments.
        return (_rebuild, (type(self), self.args), self.__dict__)


def _rebuild(kind: type[IndigoError], args: tuple[Any, ...]) -> IndigoError:
    return kind.__new__(kind, *args)


class ClientNotOpenError(IndigoError):
    """The client was used outside `async with`."""


@attrs.frozen
class Problem:
    """One thing that is wrong with an input: where (argument, field, row) and what."""

    where: str
    message: str

    def __str__(self) -> str:
        return f"{self.where}: {self.message}"


class InvalidInputError(IndigoError, ValueError):
    """An input breaks the API's rules. Raised before anything is sent, with all problems at once."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems: tuple[Problem, ...] = tuple(problems)
        lines = [str(problem) for problem in self.problems]
        super().__init__(lines[0] if len(lines) == 1 else "\n".join([f"{len(lines)} problems:", *lines]))


class TransportError(IndigoError):
    """The server gave no usable answer. `endpoint` names the call, such as `GET /audience`."""

    def __init__(self, message: str, *, endpoint: str) -> None:
        self.endpoint = endpoint
        super().__init__(f"{endpoint}: {message}")


class ConnectionFailedError(TransportError):
    """No connection could be made, so nothing was carried out; or, for a GET, it broke."""


class RequestTimeoutError(TransportError):
    """The answer did not come within the request's timeout."""


class AmbiguousOutcomeError(TransportError):
    """A POST was sent and its answer is unknown: the server may or may not have carried it out.

    Look at the server before sending it again. The recipes in `indigo_async.workflows` do.
    """


class ResponseDecodeError(IndigoError):
    """The server answered with something that is not the documented shape.

    `path` says where in the document, such as `$.csvExports[0].cost`. The body itself is never shown.
    """

    def __init__(self, message: str, *, endpoint: str, path: str = "$") -> None:
        self.endpoint = endpoint
        self.path = path
        super().__init__(f"{endpoint}: {message} at {path}")


class ApiError(IndigoError):
    """The server refused the request.

    `status` is the HTTP status, `message` the server's own words, `error_type` its machine-readable type where
    it gave one, `endpoint` the call, such as `POST /upload_csv`.
    """

    advice: ClassVar[str] = ""
    """What to do next, where the kind of error tells it."""

    def __init__(self, status: int, message: str, error_type: str | None, endpoint: str) -> None:
        self.status = status
        self.message = message
        self.error_type = error_type
        self.endpoint = endpoint
        kind = f"{status}, {error_type}" if error_type else str(status)
        super().__init__(f"{endpoint}: {message} ({kind}){self.advice}")


class AuthenticationError(ApiError):
    """The token is missing, wrong or not allowed to do this (401, 403)."""

    advice = "; check the token: token=..., INDIGO_API_TOKEN, or the file that INDIGO_API_TOKEN_FILE names"


class NotFoundError(ApiError):
    """No such record for this customer (404). A record of another customer is not found either."""


class RateLimitedError(ApiError):
    """Too many requests (429), longer than the retry budget allows to wait.

    `retry_after` is the server's wish in seconds, where it gave one.
    """

    def __init__(
        self, status: int, message: str, error_type: str | None, endpoint: str, retry_after: float | None = None
    ) -> None:
        self.retry_after = retry_after
        super().__init__(status, message, error_type, endpoint)


class AlreadyPurchasedError(ApiError):
    """The export was purchased before (`PurchasableEntityAlreadyPurchased`)."""


class ServerError(ApiError):
    """The server failed (5xx). After a POST the work may still have been done."""


class CustomerMismatchError(IndigoError):
    """An answer is about another customer than the one asked for. It is not handed out."""

    def __init__(self, *, endpoint: str, requested: str, received: str) -> None:
        self.endpoint = endpoint
        self.requested = requested
        self.received = received
        super().__init__(f"{endpoint}: asked about customer {requested!r}, the answer is about customer {received!r}")


class RecordMismatchError(IndigoError):
    """A response is about another audience or export than the one requested. It is not returned.

    `record_kind` is the ID that was compared, such as `audience` or `export`. IDs are compared as text.
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
    """An export's CSV could not be downloaded whole. The destination is as it was.

    `expired` is true where the server no longer honours the URL, so that a fresh one may help.
    """

    def __init__(self, message: str, *, expired: bool = False) -> None:
        self.expired = expired
        super().__init__(message)


class PublishError(IndigoError):
    """A local CSV could not be put at a URL for the server, so nothing was made from it."""


class WorkflowError(IndigoError):
    """A recipe could not be finished. `stage` says where, `audience` is its last known state, its URLs unsigned.

    `audience` is None where no audience had been made yet.
    """

    def __init__(self, message: str, *, stage: str, audience: Audience | None = None) -> None:
        self.stage = stage
        self.audience: Audience | None = redact_urls(audience)
        super().__init__(f"{stage}: {redact(message)}")


class AudienceFailedError(WorkflowError):
    """The server says that the audience, its CSV or its export failed."""


class WaitTimeoutError(WorkflowError):
    """The deadline passed first. The work at the server goes on; the same call made again picks it up."""


class BudgetExceededError(WorkflowError):
    """The price is above what the caller allowed, or cannot be read. Nothing was bought."""

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
    """An audience of this name exists for the customer and was made from other people or another base."""


class ExportExistsError(WorkflowError):
    """A purchased export exists whose fields are unknown, so buying again might be buying twice."""


class EmptyAudienceError(WorkflowError):
    """The audience to export holds nobody. Nothing was bought; `allow_empty=True` exports it anyway."""


class PurchaseInDoubtError(WorkflowError):
    """An export may or may not have been purchased, and the server's records do not settle it. Nothing more is bought.

    Its price stays reserved in the budget. The same call reads the server again before it does anything. `export` is
    the export's last known record.
    """

    def __init__(
        self, message: str, *, stage: str, audience: Audience | None = None, export: CsvExport | None = None
    ) -> None:
        self.export: CsvExport | None = redact_urls(export)
        super().__init__(message, stage=stage, audience=audience)


class JournalError(IndigoError):
    """A batch's journal cannot be relied on, so nothing more may be sent under it. The message names its path."""


class JournalInUseError(JournalError):
    """Another process, or this one, has the journal open. It can be opened when that one has closed it or ended."""


class JournalVersionError(JournalError):
    """The journal was written by a version of this SDK that keeps it in another form."""


class JournalMismatchError(JournalError):
    """The journal knows a job of this customer and name that had other inputs."""


class JournalDamagedError(JournalError):
    """The file is no journal, or what was written to it is altered or lost. It is never taken for an empty one."""


class JournalWriteError(JournalError):
    """The journal could not be written: the disk is full or failing, the file is read-only, or it was closed.

    What was to be written is not known to be on disk. Every later write fails too.
    """
