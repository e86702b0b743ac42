class AudienceJob:
    def __init__(
        self,
        *,
        customer_id: str,
        audience_name: str,
        csv: str | Path,
        column_selections: ColumnSelectionsInput,
        lookalike: LookalikeStep | None = ...,
        export: ExportStep | None = ...,
        key: str = ...,
    ) -> None: ...
    audience_name: str
    column_selections: ColumnSelectionsInput
    csv: str | Path
    customer_id: str
    export: ExportStep | None
    key: str
    lookalike: LookalikeStep | None

AudienceReused = events.AudienceReused

class Batch:
    def __aiter__(self) -> AsyncIterator[JobOutcome]: ...
    async def __anext__(self) -> JobOutcome: ...
    def __init__(
        self,
        client: IndigoClient,
        options: BatchOptions,
        *,
        conflicts: Conflicts,
        budget: Budget,
        counters: BatchCounters,
        open_log: OpenJobLog | None,
        batch_log: JournalJobLog | None = None,
        fence: Fence | None = None,
    ) -> None: ...
    def report(self) -> BatchReport: ...

class BatchReport:
    def __init__(
        self,
        *,
        done: int,
        recalled: int = ...,
        failed: int,
        failed_by_stage: Mapping[str, int],
        failed_by_error: Mapping[str, int],
        failures: tuple[JobFailure, ...],
        canceled: int = ...,
        warned: int = ...,
        warnings: tuple[JobWarning, ...] = ...,
        stopped: str | None,
        quoted_cents: int,
        spent_cents: int,
        spent_this_run_cents: int = ...,
        unresolved_cents: int,
        budget_cents: int | None,
        fence_spent_cents: int | None = ...,
        lost_uploads: int,
        requests: Mapping[str, int],
        failed_requests: Mapping[str, int],
        reads_saved: int,
        stages: Mapping[str, StageTime],
        by_customer: Mapping[str, CustomerTotals] = ...,
        seconds: float,
    ) -> None: ...
    budget_cents: int | None
    by_customer: Mapping[str, CustomerTotals]
    canceled: int
    done: int
    failed: int
    failed_by_error: Mapping[str, int]
    failed_by_stage: Mapping[str, int]
    failed_requests: Mapping[str, int]
    failures: tuple[JobFailure, ...]
    fence_spent_cents: int | None
    lost_uploads: int
    quoted_cents: int
    reads_saved: int
    recalled: int
    requests: Mapping[str, int]
    seconds: float
    spent_cents: int
    spent_this_run_cents: int
    stages: Mapping[str, StageTime]
    stopped: str | None
    def to_json(self) -> dict[str, Any]: ...
    unresolved_cents: int
    warned: int
    warnings: tuple[JobWarning, ...]

class CustomerTotals:
    def __init__(
        self,
        *,
        jobs: int = ...,
        done: int = ...,
        failed: int = ...,
        unfinished: int = ...,
        spent_cents: int = ...,
        spent_this_run_cents: int = ...,
        unresolved_cents: int = ...,
        quoted_cents: int = ...,
        matched: int = ...,
        rows: int = ...,
    ) -> None: ...
    done: int
    failed: int
    jobs: int
    matched: int
    quoted_cents: int
    rows: int
    spent_cents: int
    spent_this_run_cents: int
    unfinished: int
    unresolved_cents: int

DownloadProgressed = events.DownloadProgressed

class EntryKind(StrEnum):
    INTENT = "intent"
    OUTCOME = "outcome"
    PROGRESS = "progress"
    RESULT = "result"
    WITHDRAWAL = "withdrawal"

ExportDownloaded = events.ExportDownloaded

ExportPriced = events.ExportPriced

ExportPurchased = events.ExportPurchased

class ExportReceipt:
    def __init__(self, *, export: CsvExport, path: Path, size_bytes: int, sha256: str) -> None: ...
    export: CsvExport
    path: Path
    sha256: str
    size_bytes: int
    def to_arrow(self) -> pa.Table: ...
    def to_pandas(self) -> pd.DataFrame: ...
    def to_polars(self) -> pl.DataFrame: ...

ExportReused = events.ExportReused

class ExportStep:
    def __init__(
        self,
        *,
        destination: Path | str | None,
        optional_field_types: Sequence[str] = ...,
        max_cost_cents: int = ...,
        reuse_purchased: bool | None = ...,
        allow_empty: bool = ...,
    ) -> None: ...
    allow_empty: bool
    destination: Path | str | None
    max_cost_cents: int
    optional_field_types: Sequence[str]
    reuse_purchased: bool | None

class JobFailure:
    def __init__(
        self, *, key: str, stage: str, audience_id: str | int | None, error_type: str, message: str
    ) -> None: ...
    audience_id: str | int | None
    error_type: str
    key: str
    message: str
    stage: str

class JobOutcome:
    def __init__(
        self,
        *,
        job: AudienceJob,
        result: JobResult | None = ...,
        error: Exception | None = ...,
        stage: Stage,
        audience_id: str | int | None = ...,
        timings: Mapping[Stage, float] = ...,
        warnings: tuple[str, ...] = ...,
        recalled: bool = ...,
    ) -> None: ...
    audience_id: str | int | None
    error: Exception | None
    @property
    def failure(self) -> JobFailure | None: ...
    job: AudienceJob
    @property
    def ok(self) -> bool: ...
    recalled: bool
    result: JobResult | None
    stage: Stage
    timings: Mapping[Stage, float]
    warnings: tuple[str, ...]

class JobResult:
    def __init__(
        self,
        *,
        matched: Audience,
        lookalike: Audience | None = ...,
        quote: CsvExport | None = ...,
        receipt: ExportReceipt | None = ...,
        purchased: PurchasedExport | None = ...,
    ) -> None: ...
    lookalike: Audience | None
    matched: Audience
    purchased: PurchasedExport | None
    quote: CsvExport | None
    receipt: ExportReceipt | None

class JobWarning:
    def __init__(self, *, key: str, message: str) -> None: ...
    key: str
    message: str

Jobs = Iterable[AudienceJob] | AsyncIterable[AudienceJob]

class JournalReader:
    def __init__(self, path: Path) -> None: ...
    def __iter__(self) -> Iterator[JournalRow]: ...
    @property
    def files(self) -> tuple[Path, ...]: ...
    def is_in_use(self) -> bool: ...
    path: Path

JournalRow = StageRow | OutcomeRow | ProgressRow

class LookalikeStep:
    def __init__(
        self,
        *,
        audience_name: str,
        size: int,
        include_original_audience: bool | None = ...,
        filters: LookalikeFiltersInput | None = ...,
    ) -> None: ...
    audience_name: str
    filters: LookalikeFiltersInput | None
    include_original_audience: bool | None
    size: int

class OutcomeRow:
    def __init__(
        self,
        *,
        customer_id: str,
        audience_name: str,
        at: datetime,
        was_rejected: bool = ...,
        stage: str,
        seconds: float,
        timings: Mapping[str, float] = ...,
        audience_id: RecordId | None = ...,
        error_type: str | None = ...,
        error_message: str | None = ...,
        warnings: tuple[str, ...] = ...,
        export_id: str | None = ...,
        quoted_cents: int | None = ...,
        matched: int | None = ...,
        rows: int | None = ...,
        lookalike_size: int | None = ...,
    ) -> None: ...
    at: datetime
    audience_id: RecordId | None
    audience_name: str
    customer_id: str
    error_message: str | None
    error_type: str | None
    export_id: str | None
    lookalike_size: int | None
    matched: int | None
    quoted_cents: int | None
    rows: int | None
    seconds: float
    stage: str
    timings: Mapping[str, float]
    warnings: tuple[str, ...]
    was_rejected: bool

class ProgressRow:
    def __init__(
        self,
        *,
        at: datetime,
        run_started_at: datetime,
        has_ended: bool,
        seconds: float,
        done: int,
        failed: int,
        stopped: str | None = ...,
        budget_cents: int | None = ...,
        lost_uploads: int = ...,
        requests: Mapping[str, int] = ...,
        failed_requests: Mapping[str, int] = ...,
        reads_saved: int = ...,
    ) -> None: ...
    at: datetime
    budget_cents: int | None
    done: int
    failed: int
    failed_requests: Mapping[str, int]
    has_ended: bool
    lost_uploads: int
    reads_saved: int
    requests: Mapping[str, int]
    run_started_at: datetime
    seconds: float
    stopped: str | None

class PurchaseTotals:
    def __init__(self, charged_cents: int = ..., unresolved_cents: int = ...) -> None: ...
    charged_cents: int
    unresolved_cents: int

class PurchasedExport:
    def __init__(self, *, export: CsvExport) -> None: ...
    @property
    def download_url(self) -> str: ...
    export: CsvExport

RecipeFailed = events.RecipeFailed

RecipeFinished = events.RecipeFinished

RecipeStarted = events.RecipeStarted

RecipeWarning = events.RecipeWarning

Stage = events.Stage

StageFailed = events.StageFailed

StageFinished = events.StageFinished

class StageRow:
    def __init__(
        self,
        *,
        customer_id: str,
        audience_name: str,
        at: datetime,
        kind: EntryKind,
        stage: str,
        audience_id: RecordId | None = ...,
        base_audience_id: RecordId | None = ...,
        export_id: RecordId | None = ...,
        field_types: tuple[str, ...] | None = ...,
        cost_cents: int | None = ...,
        path: Path | None = ...,
        size_bytes: int | None = ...,
        sha256: str | None = ...,
    ) -> None: ...
    at: datetime
    audience_id: RecordId | None
    audience_name: str
    base_audience_id: RecordId | None
    cost_cents: int | None
    customer_id: str
    export_id: RecordId | None
    field_types: tuple[str, ...] | None
    kind: EntryKind
    path: Path | None
    sha256: str | None
    size_bytes: int | None
    stage: str

StageStarted = events.StageStarted

class StageTime:
    def __init__(self, *, jobs: int, total_seconds: float, longest_seconds: float) -> None: ...
    jobs: int
    longest_seconds: float
    total_seconds: float

StatusChanged = events.StatusChanged

WorkflowEvent = events.WorkflowEvent

async def create_lookalike(
    client: IndigoClient,
    base: Audience | RecordId,
    *,
    customer_id: str,
    audience_name: str,
    size: int,
    include_original_audience: bool | None = None,
    filters: LookalikeFiltersInput | None = None,
    timeout: float = DEFAULT_TIMEOUT,
    on_event: Listener | None = None,
) -> Audience: ...
async def download_export(
    client: IndigoClient,
    audience: Audience | RecordId,
    *,
    customer_id: str | None,
    destination: Path | str,
    export_id: RecordId | None = None,
    optional_field_types: Sequence[str] | None = None,
    timeout: float = DEFAULT_TIMEOUT,
    on_event: Listener | None = None,
) -> ExportReceipt: ...
async def export_audience(
    client: IndigoClient,
    audience: Audience | RecordId,
    *,
    customer_id: str | None,
    destination: Path | str | None,
    optional_field_types: Sequence[str] = (),
    max_cost_cents: int = 0,
    reuse_purchased: bool | None = None,
    allow_empty: bool = False,
    timeout: float = DEFAULT_TIMEOUT,
    on_event: Listener | None = None,
) -> ExportReceipt | PurchasedExport: ...
def read_journal(path: Path | str) -> JournalReader: ...
async def run_batch(
    client: IndigoClient,
    jobs: Jobs,
    *,
    max_in_flight: int = 10000,
    journal: Path | str | None = None,
    fence: Path | str | SigningStore | None = None,
    shard: str | None = None,
    budget_cents: int | None = None,
    purchase: bool = True,
    publisher: Publisher | None = None,
    job_timeout: float = DEFAULT_TIMEOUT,
    stop_after_failures: int | None = None,
    on_event: Listener | None = None,
) -> BatchReport: ...
async def run_job(
    client: IndigoClient,
    job: AudienceJob,
    *,
    publisher: Publisher | None = None,
    purchase: bool = True,
    timeout: float = DEFAULT_TIMEOUT,
    on_event: Listener | None = None,
) -> JobResult: ...
async def start_batch(
    client: IndigoClient,
    jobs: Jobs,
    *,
    max_in_flight: int = 10000,
    journal: Path | str | None = None,
    fence: Path | str | SigningStore | None = None,
    shard: str | None = None,
    budget_cents: int | None = None,
    purchase: bool = True,
    publisher: Publisher | None = None,
    job_timeout: float = DEFAULT_TIMEOUT,
    stop_after_failures: int | None = None,
    on_event: Listener | None = None,
) -> AsyncGenerator[Batch]: ...
def sum_purchases(rows: Iterable[JournalRow]) -> PurchaseTotals: ...
async def upload_and_match(
    client: IndigoClient,
    csv: str | Path,
    *,
    customer_id: str,
    audience_name: str,
    column_selections: ColumnSelectionsInput,
    publisher: Publisher | None = None,
    timeout: float = DEFAULT_TIMEOUT,
    on_event: Listener | None = None,
) -> Audience: ...
async def wait_for_column_selection(
    client: IndigoClient, audience: Audience | RecordId, *, customer_id: str | None, timeout: float = DEFAULT_TIMEOUT
) -> Audience: ...
async def wait_for_export(
    client: IndigoClient,
    export: CsvExport | RecordId,
    *,
    audience: Audience | RecordId,
    customer_id: str | None,
    purchased: bool = False,
    timeout: float = DEFAULT_TIMEOUT,
) -> CsvExport: ...
async def wait_until_active(
    client: IndigoClient, audience: Audience | RecordId, *, customer_id: str | None, timeout: float = DEFAULT_TIMEOUT
) -> Audience: ...
