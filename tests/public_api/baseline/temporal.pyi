class AudienceWorkflow:
    def __init__(self, job: JobInput) -> None: ...
    def progress(self) -> JobProgress: ...
    async def run(self, job: JobInput) -> JobSummary: ...

class BatchProgress:
    def __init__(
        self,
        *,
        pages: int,
        pages_under_way: int,
        jobs_under_way: int,
        complete: bool,
        so_far: BatchSummary,
        jobs_by_stage: Mapping[str, int] = ...,
        done_earlier: int = ...,
    ) -> None: ...
    complete: bool
    done_earlier: int
    jobs_by_stage: Mapping[str, int]
    jobs_under_way: int
    pages: int
    pages_under_way: int
    so_far: BatchSummary

class BatchSummary:
    def __init__(
        self,
        *,
        done: int = ...,
        failed: int = ...,
        recalled: int = ...,
        quoted_cents: int = ...,
        spent_cents: int = ...,
        failed_by_error: Mapping[str, int] = ...,
        failures: tuple[Failure, ...] = ...,
    ) -> None: ...
    done: int
    failed: int
    failed_by_error: Mapping[str, int]
    failures: tuple[Failure, ...]
    quoted_cents: int
    recalled: int
    spent_cents: int

class BatchWorkflow:
    def __init__(self, state: BatchState) -> None: ...
    async def feed(self, page: Page) -> int: ...
    def progress(self) -> BatchProgress: ...
    async def run(self, state: BatchState) -> BatchSummary: ...

class BudgetWorkflow:
    def __init__(self, ledger: Ledger) -> None: ...
    async def begin(self, request: BeginRequest) -> BeginReply: ...
    async def book(self, bookings: list[Booking]) -> list[Grant]: ...
    async def close(self) -> None: ...
    def ledger(self) -> Ledger: ...
    async def open(self, request: OpenRequest) -> OpenReply: ...
    async def run(self, ledger: Ledger) -> Ledger: ...
    async def set_limit(self, limit_cents: int) -> Ledger: ...
    async def settle(self, settlements: list[Settlement]) -> None: ...

class DeliveredExport:
    def __init__(self, *, path: str, size_bytes: int, sha256: str) -> None: ...
    path: str
    sha256: str
    size_bytes: int

class Failure:
    def __init__(self, *, key: str, workflow_id: str, stage: str, error_type: str, message: str) -> None: ...
    error_type: str
    key: str
    message: str
    stage: str
    workflow_id: str

class JobProgress:
    def __init__(
        self,
        *,
        stage: str,
        matched_id: RecordId | None = ...,
        lookalike_id: RecordId | None = ...,
        quote: Quote | None = ...,
    ) -> None: ...
    lookalike_id: RecordId | None
    matched_id: RecordId | None
    quote: Quote | None
    stage: str

class JobState(StrEnum):
    CANCELED = "canceled"
    DONE = "done"
    FAILED = "failed"
    RUNNING = "running"
    WAITING = "waiting"

class JobStatus:
    def __init__(
        self,
        *,
        key: str,
        customer_id: str,
        audience_name: str,
        state: JobState,
        stage: str = ...,
        error_type: str = ...,
        message: str = ...,
        spent_cents: int = ...,
    ) -> None: ...
    audience_name: str
    customer_id: str
    error_type: str
    key: str
    message: str
    spent_cents: int
    stage: str
    state: JobState

class JobSummary:
    def __init__(
        self,
        *,
        matched_id: RecordId,
        lookalike_id: RecordId | None = ...,
        quote: Quote | None = ...,
        spent_cents: int = ...,
        delivered: DeliveredExport | None = ...,
    ) -> None: ...
    delivered: DeliveredExport | None
    lookalike_id: RecordId | None
    matched_id: RecordId
    quote: Quote | None
    spent_cents: int

class PageWorkflow:
    async def run(self, page: Page) -> BatchSummary: ...

class Quote:
    def __init__(
        self, *, audience_id: RecordId, export_id: RecordId, cost_cents: int | None, downloadable: bool
    ) -> None: ...
    audience_id: RecordId
    cost_cents: int | None
    downloadable: bool
    export_id: RecordId

class ShardWorkflow:
    def __init__(self, task: ShardTask) -> None: ...
    async def drop(self, key: str) -> None: ...
    async def run(self, task: ShardTask) -> BatchSummary: ...

async def cancel_batch(temporal: Client, name: str, *, timeout: float = 600.0) -> BatchSummary: ...
async def connect(
    address: str | None = None,
    *,
    namespace: str | None = None,
    codec: PayloadCodec | None = None,
    runtime: Runtime | None = None,
) -> Client: ...
def create_worker(
    temporal: Client,
    client: IndigoClient,
    *,
    exports: FolderExportStore | ObjectExportStore,
    publisher: Publisher | None = None,
    task_queue: str = TASK_QUEUE,
    max_jobs: int = 10000,
    graceful_seconds: float = 90.0,
) -> Worker: ...
def data_converter(codec: PayloadCodec | None = None) -> DataConverter: ...
async def drop_job(temporal: Client, name: str, key: str, *, timeout: float = 120.0) -> JobStatus: ...
def export_store(location: str, *, proxy: str | None = None) -> FolderExportStore | ObjectExportStore: ...
async def list_jobs(temporal: Client, name: str) -> list[JobStatus]: ...
async def run_batch(
    temporal: Client,
    jobs: Sequence[AudienceJob],
    *,
    name: str,
    task_queue: str = TASK_QUEUE,
    budget_cents: int | None = None,
    continue_changed: bool = False,
    purchase: bool = True,
    max_in_flight: int = 10000,
    shard_size: int = _SHARD_SIZE,
    heartbeat_seconds: float = 30.0,
    job_timeout: float = 14400.0,
    on_progress: Callable[[BatchProgress], object] | None = None,
) -> BatchSummary: ...
async def run_job(
    temporal: Client,
    job: AudienceJob,
    *,
    task_queue: str = TASK_QUEUE,
    purchase: bool = True,
    heartbeat_seconds: float = 30.0,
    timeout: float = 14400.0,
) -> JobSummary: ...
