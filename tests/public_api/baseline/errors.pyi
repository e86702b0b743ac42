class AlreadyPurchasedError(ApiError): ...

class AmbiguousOutcomeError(TransportError):
    def __init__(self, message: str, *, endpoint: str, reported_success: bool = False) -> None: ...
    reported_success: bool

class ApiError(IndigoError):
    def __init__(self, status: int, message: str, error_type: str | None, endpoint: str) -> None: ...
    advice: str
    endpoint: str
    error_type: str | None
    message: str
    status: int

class AudienceExistsError(WorkflowError): ...
class AudienceFailedError(WorkflowError): ...

class AuthenticationError(ApiError):
    advice = "; check the token: token=..., INDIGO_API_TOKEN, the file that INDIGO_API_TOKEN_FILE names, or the profile"

class BudgetExceededError(WorkflowError):
    def __init__(
        self,
        message: str,
        *,
        stage: str,
        audience: Audience | None = None,
        export: CsvExport | None = None,
        limit_cents: int,
    ) -> None: ...
    export: CsvExport | None
    limit_cents: int

class ClientNotOpenError(IndigoError): ...

class ConnectionFailedError(TransportError):
    def __init__(self, message: str, *, endpoint: str, is_misconfiguration: bool = False) -> None: ...
    is_misconfiguration: bool

class CustomerMismatchError(IndigoError):
    def __init__(self, *, endpoint: str, requested: str, received: str) -> None: ...
    endpoint: str
    received: str
    requested: str

class DownloadError(IndigoError):
    def __init__(self, message: str, *, expired: bool = False) -> None: ...
    expired: bool

class EmptyAudienceError(WorkflowError): ...
class ExportExistsError(WorkflowError): ...

class FenceError(IndigoError):
    def __init__(self, message: str, *, permanent: bool = False) -> None: ...
    permanent: bool

class FenceInUseError(FenceError): ...
class FenceLostError(FenceError): ...

IndigoError = indigo_async.IndigoError

class InvalidInputError(IndigoError, ValueError):
    def __init__(self, problems: Sequence[Problem]) -> None: ...
    problems: tuple[Problem, ...]

class JournalDamagedError(JournalError): ...
class JournalError(IndigoError): ...
class JournalInUseError(JournalError): ...
class JournalMismatchError(JournalError): ...
class JournalVersionError(JournalError): ...
class JournalWriteError(JournalError): ...
class MissingPackageError(IndigoError, ImportError): ...
class NotFoundError(ApiError): ...

class Problem:
    def __init__(self, where: str, message: str) -> None: ...
    message: str
    where: str

class PublishError(IndigoError): ...

class PurchaseInDoubtError(WorkflowError):
    def __init__(
        self, message: str, *, stage: str, audience: Audience | None = None, export: CsvExport | None = None
    ) -> None: ...
    export: CsvExport | None

class RateLimitedError(ApiError):
    def __init__(
        self, status: int, message: str, error_type: str | None, endpoint: str, retry_after: float | None = None
    ) -> None: ...
    retry_after: float | None

class RecordMismatchError(IndigoError):
    def __init__(self, *, endpoint: str, record_kind: str, requested: str | int, received: str | int) -> None: ...
    endpoint: str
    received: str
    record_kind: str
    requested: str

class RequestTimeoutError(TransportError): ...

class ResponseDecodeError(IndigoError):
    def __init__(self, message: str, *, endpoint: str, path: str = "$") -> None: ...
    endpoint: str
    path: str

class ServerError(ApiError): ...

class TransportError(IndigoError):
    def __init__(self, message: str, *, endpoint: str) -> None: ...
    endpoint: str

class WaitTimeoutError(WorkflowError): ...

class WorkflowError(IndigoError):
    def __init__(self, message: str, *, stage: str, audience: Audience | None = None) -> None: ...
    audience: Audience | None
    stage: str
