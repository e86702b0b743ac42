class ApiResponse:
    def __init__(self, *, status: int, headers: Mapping[str, str], json: Any) -> None: ...
    headers: Mapping[str, str]
    json: Any
    status: int

class Audience:
    def __init__(
        self,
        *,
        id: RecordId,
        name: str | None = ...,
        status: str = ...,
        customer_id: str | None = ...,
        base_audience_id: RecordId | None = ...,
        size: int | None = ...,
        matched_count: int | None = ...,
        uploaded_audience_csv: UploadedAudienceCsv | None = ...,
        csv_exports: tuple[CsvExport, ...] = ...,
        extra: Mapping[str, Any] = ...,
    ) -> None: ...
    base_audience_id: RecordId | None
    csv_exports: tuple[CsvExport, ...]
    customer_id: str | None
    def describe_match(self) -> str | None: ...
    def display_fields(self) -> dict[str, object]: ...
    extra: Mapping[str, Any]
    id: RecordId
    @property
    def match_rate(self) -> float | None: ...
    matched_count: int | None
    name: str | None
    @property
    def people_count(self) -> int | None: ...
    size: int | None
    status: str
    uploaded_audience_csv: UploadedAudienceCsv | None

class AudienceStatus(StrEnum):
    ACTIVE = "ACTIVE"
    FAILED = "FAILED"
    PROCESSING = "PROCESSING"

class ColumnSelection:
    def __init__(self, column_name: str, required: bool = ...) -> None: ...
    column_name: str
    required: bool

class ColumnSelections:
    def __init__(
        self,
        *,
        first_name: ColumnSelection | None = ...,
        last_name: ColumnSelection | None = ...,
        full_name: ColumnSelection | None = ...,
        city: ColumnSelection | None = ...,
        state: ColumnSelection | None = ...,
        zip: ColumnSelection | None = ...,
        phone: ColumnSelection | None = ...,
        dob: ColumnSelection | None = ...,
        address: ColumnSelection | None = ...,
        id: ColumnSelection | None = ...,
    ) -> None: ...
    address: ColumnSelection | None
    def by_field(self) -> dict[str, ColumnSelection]: ...
    city: ColumnSelection | None
    dob: ColumnSelection | None
    first_name: ColumnSelection | None
    full_name: ColumnSelection | None
    id: ColumnSelection | None
    last_name: ColumnSelection | None
    phone: ColumnSelection | None
    state: ColumnSelection | None
    zip: ColumnSelection | None

class CsvExport:
    def __init__(
        self,
        *,
        id: RecordId,
        status: str = ...,
        cost_cents: int | None = ...,
        cost_breakdown: Any = ...,
        optional_field_types: tuple[str, ...] | None = ...,
        download_url: str | None = ...,
        audience: Audience | None = ...,
        extra: Mapping[str, Any] = ...,
    ) -> None: ...
    audience: Audience | None
    cost_breakdown: Any
    cost_cents: int | None
    def display_fields(self) -> dict[str, object]: ...
    download_url: str | None
    extra: Mapping[str, Any]
    id: RecordId
    optional_field_types: tuple[str, ...] | None
    status: str

class CustomerClient:
    def __init__(self, client: IndigoClient, customer_id: str) -> None: ...
    client: IndigoClient
    async def create_lookalike_audience(
        self,
        *,
        base_audience_id: RecordId,
        size: int,
        audience_name: str,
        include_original_audience: bool | None = None,
        filters: LookalikeFiltersInput | None = None,
        extra: Mapping[str, Any] | None = None,
    ) -> Audience: ...
    async def create_preview_csv_export(
        self, *, audience_id: RecordId, optional_field_types: Sequence[str] = (), extra: Mapping[str, Any] | None = None
    ) -> CsvExport: ...
    customer_id: str
    async def get_audience(self, audience_id: RecordId, *, extra: QueryParameters | None = None) -> Audience: ...
    async def list_audiences(self, *, extra: QueryParameters | None = None) -> list[Audience]: ...
    async def match_uploaded_csv(
        self,
        *,
        audience_id: RecordId,
        audience_name: str,
        column_selections: ColumnSelectionsInput,
        extra: Mapping[str, Any] | None = None,
    ) -> Audience: ...
    async def purchase_csv_export(
        self, *, export_id: RecordId, extra: Mapping[str, Any] | None = None
    ) -> CsvExport: ...
    async def upload_csv(self, *, url: str, extra: Mapping[str, Any] | None = None) -> Audience: ...

class ExportStatus(StrEnum):
    ACTIVE = "ACTIVE"
    FAILED = "FAILED"
    IN_PROGRESS = "IN_PROGRESS"
    REQUIRES_PAYMENT = "REQUIRES_PAYMENT"

class IndigoClient:
    async def __aenter__(self) -> Self: ...
    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...
    def __init__(
        self,
        token: str | TokenSource | None = None,
        *,
        profile: str | None = None,
        base_url: str | None = None,
        timeout: float = 60.0,
        retry: RetryPolicy | None = None,
        headers: Mapping[str, str] | None = None,
        user_agent: str | None = None,
        pacing: Pacing | None = None,
        poll_interval: float = 5.0,
        session: aiohttp.ClientSession | None = None,
        proxy: str | None = None,
        on_event: Listener | None = None,
    ) -> None: ...
    async def aclose(self) -> None: ...
    core: ClientCore
    async def create_lookalike_audience(
        self,
        *,
        base_audience_id: RecordId,
        customer_id: str,
        size: int,
        audience_name: str,
        include_original_audience: bool | None = None,
        filters: LookalikeFiltersInput | None = None,
        extra: Mapping[str, Any] | None = None,
    ) -> Audience: ...
    async def create_preview_csv_export(
        self,
        *,
        audience_id: RecordId,
        customer_id: str | None = None,
        optional_field_types: Sequence[str] = (),
        extra: Mapping[str, Any] | None = None,
    ) -> CsvExport: ...
    def for_customer(self, customer_id: str) -> CustomerClient: ...
    async def get_audience(
        self, audience_id: RecordId, customer_id: str | None = None, *, extra: QueryParameters | None = None
    ) -> Audience: ...
    async def list_audiences(
        self, customer_id: str | None = None, *, extra: QueryParameters | None = None
    ) -> list[Audience]: ...
    async def match_uploaded_csv(
        self,
        *,
        audience_id: RecordId,
        customer_id: str,
        audience_name: str,
        column_selections: ColumnSelectionsInput,
        extra: Mapping[str, Any] | None = None,
    ) -> Audience: ...
    async def open(self) -> Self: ...
    options: RequestOptions
    @property
    def poll_interval(self) -> float: ...
    async def purchase_csv_export(
        self, *, export_id: RecordId, customer_id: str | None = None, extra: Mapping[str, Any] | None = None
    ) -> CsvExport: ...
    @property
    def purchased_exports(self) -> dict[str, frozenset[str] | None]: ...
    async def request(
        self, method: str, path: str, *, json: Any = None, params: QueryParameters | None = None
    ) -> ApiResponse: ...
    @property
    def settings(self) -> Settings: ...
    @property
    def transport(self) -> Transport: ...
    async def upload_csv(self, *, customer_id: str, url: str, extra: Mapping[str, Any] | None = None) -> Audience: ...
    def with_options(
        self,
        *,
        timeout: float | None = None,
        retry: RetryPolicy | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> IndigoClient: ...

class IndigoError(Exception):
    body: str
    headers: Mapping[str, str]
    request_id: str | None

class LookalikeFilters:
    def __init__(
        self,
        *,
        states: Sequence[str] | None = ...,
        counties: Sequence[str] | None = ...,
        congressional_districts: Sequence[str] | None = ...,
        upper_state_legislative_districts: Sequence[str] | None = ...,
        lower_state_legislative_districts: Sequence[str] | None = ...,
        extra: Mapping[str, Any] = ...,
    ) -> None: ...
    congressional_districts: Sequence[str] | None
    counties: Sequence[str] | None
    extra: Mapping[str, Any]
    lower_state_legislative_districts: Sequence[str] | None
    states: Sequence[str] | None
    upper_state_legislative_districts: Sequence[str] | None

class OptionalFieldType(StrEnum):
    ADDRESS = "address"
    ISSUE_SCORES = "issue_scores"
    LOOKALIKE_SCORES = "lookalike_scores"
    MEDIA_SCORES = "media_scores"
    PHONE = "phone"
    SUPPORT_SCORES = "support_scores"
    TURNOUT_SCORES = "turnout_scores"
    VOTE_HISTORY = "vote_history"

class Pacing:
    def __init__(self, *, max_concurrency: int = ..., requests_per_second: float | None = ...) -> None: ...
    max_concurrency: int
    requests_per_second: float | None

class RetryPolicy:
    def __init__(
        self, *, attempts: int = ..., timeout: float = ..., wait_initial: float = ..., wait_max: float = ...
    ) -> None: ...
    attempts: int
    def backoff(self, attempt: int, jitter: float) -> float: ...
    timeout: float
    wait_initial: float
    wait_max: float

class UploadStatus(StrEnum):
    FAILED = "FAILED"
    PROCESSING = "PROCESSING"
    READY_FOR_COLUMN_SELECTION = "READY_FOR_COLUMN_SELECTION"

class UploadedAudienceCsv:
    def __init__(
        self,
        *,
        status: str = ...,
        url: str | None = ...,
        row_count: int | None = ...,
        matched_count: int | None = ...,
        extra: Mapping[str, Any] = ...,
    ) -> None: ...
    extra: Mapping[str, Any]
    matched_count: int | None
    row_count: int | None
    status: str
    url: str | None

__version__: str

blocking: Module

errors: Module

workflows: Module
