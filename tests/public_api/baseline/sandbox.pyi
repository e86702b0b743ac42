CENTS_PER_PERSON: Mapping[OptionalFieldType, int]

class Clock(Protocol):
    def now(self) -> float: ...
    @property
    def started_at(self) -> datetime: ...

CostKey = Literal[
    "cost",
    "costInCents",
    "costCents",
    "price",
    "priceInCents",
    "priceCents",
    "purchasePrice",
    "totalCost",
    "totalCostInCents",
]

class Counts:
    def __init__(
        self,
        *,
        audiences: Mapping[tuple[str | None, str | None], int],
        purchases_by_export: Mapping[RecordId, int],
        purchases_by_audience: Mapping[RecordId, int],
        charged_cents: int,
    ) -> None: ...
    audiences: Mapping[tuple[str | None, str | None], int]
    charged_cents: int
    @property
    def purchases(self) -> int: ...
    purchases_by_audience: Mapping[RecordId, int]
    purchases_by_export: Mapping[RecordId, int]

class Dialect:
    def __init__(
        self,
        *,
        envelope: Envelope = ...,
        error_format: ErrorFormat = ...,
        byte_order_mark: bool = ...,
        id_type: Literal["string", "integer"] = ...,
        numeric_customer_ids: bool = ...,
        name_key: Literal["name", "audienceName"] | None = ...,
        status_format: StatusFormat = ...,
        shows_counts: bool = ...,
        list_shape: Literal["array", "object"] = ...,
        list_omitted_keys: frozenset[str] = ...,
        cost_key: CostKey = ...,
        shows_field_types: bool = ...,
        shows_customer_id: bool = ...,
        shows_base_audience: bool = ...,
        shows_csv_url: bool = ...,
        shows_export_status: bool = ...,
        cost_format: Literal["integer", "float", "string", "dollars"] = ...,
        conflicting_cost: tuple[str, int] | None = ...,
        field_types_format: Literal["exact", "upper", "spaced", "camel", "with free fields", "empty"] = ...,
        preview_url: Literal["absent", "empty", "null"] = ...,
        purchased_status: Literal["ACTIVE", "hidden"] = ...,
        url_delay: float = ...,
        repeated_purchase: Literal["reject", "charge"] = ...,
        stub_status: Literal["PROCESSING", "ACTIVE"] = ...,
        name_normalization: NameNormalization = ...,
        duplicate_names: Literal["reject", "upsert", "allow"] = ...,
        pagination: Pagination = ...,
        page_size: int = ...,
        list_limit: int | None = ...,
        list_lag: float = ...,
        frozen_lists: bool = ...,
    ) -> None: ...
    byte_order_mark: bool
    conflicting_cost: tuple[str, int] | None
    cost_format: Literal["integer", "float", "string", "dollars"]
    cost_key: CostKey
    duplicate_names: Literal["reject", "upsert", "allow"]
    envelope: Envelope
    error_format: ErrorFormat
    field_types_format: Literal["exact", "upper", "spaced", "camel", "with free fields", "empty"]
    frozen_lists: bool
    id_type: Literal["string", "integer"]
    list_lag: float
    list_limit: int | None
    list_omitted_keys: frozenset[str]
    list_shape: Literal["array", "object"]
    name_key: Literal["name", "audienceName"] | None
    name_normalization: NameNormalization
    numeric_customer_ids: bool
    page_size: int
    pagination: Pagination
    preview_url: Literal["absent", "empty", "null"]
    purchased_status: Literal["ACTIVE", "hidden"]
    repeated_purchase: Literal["reject", "charge"]
    shows_base_audience: bool
    shows_counts: bool
    shows_csv_url: bool
    shows_customer_id: bool
    shows_export_status: bool
    shows_field_types: bool
    status_format: StatusFormat
    stub_status: Literal["PROCESSING", "ACTIVE"]
    url_delay: float

ExportFlow = Literal["synchronous", "asynchronous"]

class Fault:
    def __init__(
        self,
        *,
        kind: FaultKind,
        endpoint: str | None = ...,
        times: int | None = ...,
        skip_first: int = ...,
        probability: float = ...,
        customer_id: str | None = ...,
        audience_id: RecordId | None = ...,
        audience_name: str | None = ...,
        status: int = ...,
        disconnect: bool = ...,
        retry_after: int | str = ...,
        retry_after_as_date: bool = ...,
        delay: float = ...,
        field: str = ...,
        value: Any = ...,
        cost_cents: int = ...,
        error_type: str | None = ...,
        message: str | None = ...,
    ) -> None: ...
    audience_id: RecordId | None
    audience_name: str | None
    cost_cents: int
    customer_id: str | None
    delay: float
    disconnect: bool
    @property
    def edits_rows(self) -> bool: ...
    endpoint: str | None
    error_type: str | None
    field: str
    kind: FaultKind
    def matches(self, target: RequestTarget) -> bool: ...
    def matches_audience(self, audience_id: RecordId | None, audience_name: str | None) -> bool: ...
    message: str | None
    probability: float
    retry_after: int | str
    retry_after_as_date: bool
    skip_first: int
    status: int
    times: int | None
    value: Any

class FaultKind(StrEnum):
    CLOSED_AFTER_RESPONSE = "closed after response"
    CONTENT_LENGTH_WRONG = "content length wrong"
    DELAY_AFTER = "delay after"
    DELAY_BEFORE = "delay before"
    DISCONNECT_AFTER = "disconnect after"
    DISCONNECT_BEFORE = "disconnect before"
    DOWNLOAD_NOT_READY = "download not ready"
    ERROR_AFTER = "error after"
    ERROR_BEFORE = "error before"
    ERROR_INSIDE_SUCCESS = "error inside success"
    ETAG_CHANGED = "etag changed"
    FIELD_MISSING = "field missing"
    FIELD_REPLACED = "field replaced"
    HTML_AFTER = "html after"
    HTML_BEFORE = "html before"
    INVALID_CONTENT_ENCODING = "invalid content encoding"
    OVERCHARGED = "overcharged"
    PRICE_RAISED = "price raised"
    RANGE_IGNORED = "range ignored"
    RANGE_SHIFTED = "range shifted"
    RANGE_SHORT = "range short"
    RATE_LIMITED = "rate limited"
    ROW_MISSING = "row missing"
    STAGE_FAILS = "stage fails"
    STALE_CONNECTION = "stale connection"
    TRUNCATED_BODY = "truncated body"
    UNKNOWN_STATUS = "unknown status"
    WRONG_RECORD = "wrong record"

class Faults:
    def __init__(self, seed: int) -> None: ...
    def add(self, *faults: Fault) -> None: ...
    def clear(self) -> None: ...
    def trigger(self, target: RequestTarget) -> Fault | None: ...

class FileHost:
    def __init__(self, origin: str) -> None: ...
    async def publish(self, path: Path) -> AsyncGenerator[str]: ...
    def put(self, content: Path | bytes, *, name: str = "people.csv") -> str: ...
    def remove(self, url: str) -> None: ...
    async def serve(self, raw_path: str) -> Response: ...

class LogEntry:
    def __init__(
        self,
        *,
        at: float,
        method: str,
        endpoint: str,
        customer_id: str | None = ...,
        audience_id: RecordId | None = ...,
        export_id: RecordId | None = ...,
        status: int | None,
        carried_out: bool,
        fault: FaultKind | None = ...,
        request_id: str | None = ...,
    ) -> None: ...
    at: float
    audience_id: RecordId | None
    carried_out: bool
    customer_id: str | None
    endpoint: str
    export_id: RecordId | None
    fault: FaultKind | None
    method: str
    request_id: str | None
    status: int | None

class ManualClock:
    def __init__(self, started_at: datetime = ...) -> None: ...
    def advance(self, seconds: float) -> None: ...
    def now(self) -> float: ...
    started_at: datetime

class RequestLog:
    def __init__(self, entries: deque[LogEntry], counts: Counter[_CountKey]) -> None: ...
    def add(self, entry: LogEntry) -> None: ...
    def clear(self) -> None: ...
    def count(
        self,
        endpoint: str | None = None,
        *,
        status: int | None = None,
        carried_out: bool | None = None,
        fault: FaultKind | None = None,
    ) -> int: ...
    def count_by_endpoint(self) -> dict[str, dict[str, int]]: ...
    entries: deque[LogEntry]
    def find(
        self,
        *,
        endpoint: str | None = None,
        customer_id: str | None = None,
        audience_id: RecordId | None = None,
        export_id: RecordId | None = None,
    ) -> list[LogEntry]: ...

class Sandbox:
    async def __aenter__(self) -> Self: ...
    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None: ...
    def __init__(
        self,
        voters: int | Path | VoterFile = 100000,
        *,
        seed: int = 0,
        speed: float = 1.0,
        clock: Clock | None = None,
        lite: bool = False,
        export_flow: ExportFlow = "synchronous",
        stage_times: StageTimes | None = None,
        dialect: Dialect | None = None,
        token: str | None = None,
        requests_per_second: float | None = None,
        allow_remote_csvs: bool = False,
        download_lifetime: float = 3600.0,
        port: int = 0,
        threads: int = 2,
        log_entries: int = 100000,
    ) -> None: ...
    @property
    def base_url(self) -> str: ...
    clock: Clock
    def counts(self) -> Counts: ...
    faults: Faults
    @property
    def file_host(self) -> FileHost: ...
    log: RequestLog
    async def refuse_connections(self) -> AsyncGenerator[None]: ...
    async def seed_app_audience(self, *, size: int = 1500) -> RecordId: ...
    async def seed_audiences(
        self,
        count: int,
        customer_id: str | None,
        *,
        size: int = 1500,
        name: str | None = None,
        status: str | None = None,
    ) -> list[RecordId]: ...
    def set_price(self, export_id: RecordId, cents: int) -> None: ...
    token: str
    async def wait_until_idle(self) -> None: ...

class ScaledClock:
    def __init__(self, speed: float = ..., started_at: datetime = ..., monotonic_start: float = ...) -> None: ...
    monotonic_start: float
    def now(self) -> float: ...
    speed: float
    started_at: datetime

class StageTimes:
    def __init__(
        self, *, upload: float = ..., match: float = ..., lookalike: float = ..., export: float = ...
    ) -> None: ...
    export: float
    lookalike: float
    match: float
    upload: float
