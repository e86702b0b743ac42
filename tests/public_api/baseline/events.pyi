class AudienceReused(WorkflowEvent):
    def __init__(
        self, *, customer_id: str | None, audience_name: str, audience_id: RecordId, evidence: str
    ) -> None: ...
    audience_id: RecordId
    evidence: str

class DownloadProgressed(WorkflowEvent):
    def __init__(
        self,
        *,
        customer_id: str | None,
        audience_name: str,
        export_id: RecordId,
        size_bytes: int,
        total_bytes: int | None,
    ) -> None: ...
    export_id: RecordId
    size_bytes: int
    total_bytes: int | None

class Event:
    def __init__(self) -> None: ...

class ExportDownloaded(WorkflowEvent):
    def __init__(self, *, customer_id: str | None, audience_name: str, path: Path, size_bytes: int) -> None: ...
    path: Path
    size_bytes: int

class ExportPriced(WorkflowEvent):
    def __init__(
        self, *, customer_id: str | None, audience_name: str, export_id: RecordId, cost_cents: int | None
    ) -> None: ...
    cost_cents: int | None
    export_id: RecordId

class ExportPurchased(WorkflowEvent):
    def __init__(
        self, *, customer_id: str | None, audience_name: str, export_id: RecordId, cost_cents: int
    ) -> None: ...
    cost_cents: int
    export_id: RecordId

class ExportReused(WorkflowEvent):
    def __init__(self, *, customer_id: str | None, audience_name: str, export_id: RecordId, evidence: str) -> None: ...
    evidence: str
    export_id: RecordId

Listener = Callable[[Event], object]

class OutageEnded(Event):
    def __init__(self, *, server: str, seconds: float) -> None: ...
    seconds: float
    server: str

class OutageStarted(Event):
    def __init__(self, *, server: str, reason: str, has_ever_worked: bool) -> None: ...
    has_ever_worked: bool
    reason: str
    server: str

class RecipeFailed(WorkflowEvent):
    def __init__(
        self, *, customer_id: str | None, audience_name: str, recipe: str, seconds: float, stage: Stage, error_type: str
    ) -> None: ...
    error_type: str
    recipe: str
    seconds: float
    stage: Stage

class RecipeFinished(WorkflowEvent):
    def __init__(self, *, customer_id: str | None, audience_name: str, recipe: str, seconds: float) -> None: ...
    recipe: str
    seconds: float

class RecipeStarted(WorkflowEvent):
    def __init__(self, *, customer_id: str | None, audience_name: str, recipe: str) -> None: ...
    recipe: str

class RecipeWarning(WorkflowEvent):
    def __init__(self, *, customer_id: str | None, audience_name: str, stage: Stage, message: str) -> None: ...
    message: str
    stage: Stage

class RequestEnded(Event):
    def __init__(
        self,
        *,
        endpoint: str,
        attempt: int,
        seconds: float,
        status: int | None = ...,
        error_type: str | None = ...,
        request_id: str | None = ...,
        headers: Mapping[str, str] = ...,
        body: str = ...,
    ) -> None: ...
    attempt: int
    body: str
    endpoint: str
    error_type: str | None
    headers: Mapping[str, str]
    request_id: str | None
    seconds: float
    status: int | None

class RequestRetried(Event):
    def __init__(
        self, *, endpoint: str, attempt: int, delay: float, reason: str, request_id: str | None = ...
    ) -> None: ...
    attempt: int
    delay: float
    endpoint: str
    reason: str
    request_id: str | None

class RequestStarted(Event):
    def __init__(self, *, endpoint: str, attempt: int) -> None: ...
    attempt: int
    endpoint: str

class Stage(StrEnum):
    DOWNLOAD = "download"
    LOOKALIKE = "lookalike"
    MATCH = "match"
    PREVIEW = "preview"
    PURCHASE = "purchase"
    UPLOAD = "upload"

class StageFailed(WorkflowEvent):
    def __init__(
        self, *, customer_id: str | None, audience_name: str, stage: Stage, seconds: float, error_type: str
    ) -> None: ...
    error_type: str
    seconds: float
    stage: Stage

class StageFinished(WorkflowEvent):
    def __init__(self, *, customer_id: str | None, audience_name: str, stage: Stage, seconds: float) -> None: ...
    seconds: float
    stage: Stage

class StageStarted(WorkflowEvent):
    def __init__(self, *, customer_id: str | None, audience_name: str, stage: Stage) -> None: ...
    stage: Stage

class StatusChanged(WorkflowEvent):
    def __init__(self, *, customer_id: str | None, audience_name: str, audience_id: RecordId, status: str) -> None: ...
    audience_id: RecordId
    status: str

class WorkflowEvent(Event):
    def __init__(self, *, customer_id: str | None, audience_name: str) -> None: ...
    audience_name: str
    customer_id: str | None

def event_fields(event: Event) -> dict[str, str | int | float]: ...
