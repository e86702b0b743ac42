class ColumnSuggestion:
    def __init__(
        self,
        *,
        path: Path,
        selections: ColumnSelections,
        reasons: Mapping[str, str],
        left_out: Mapping[str, str],
        warnings: tuple[str, ...],
        encoding: str,
        delimiter: str,
        rows_sampled: int,
    ) -> None: ...
    delimiter: str
    encoding: str
    left_out: Mapping[str, str]
    path: Path
    reasons: Mapping[str, str]
    rows_sampled: int
    selections: ColumnSelections
    warnings: tuple[str, ...]

class DownloadedFile:
    def __init__(self, path: Path, size_bytes: int, sha256: str) -> None: ...
    path: Path
    sha256: str
    size_bytes: int

class LocalPublisher:
    def __init__(self) -> None: ...
    async def publish(self, path: Path) -> AsyncGenerator[str]: ...

class ObjectStorePublisher:
    def __init__(
        self,
        store: str | SigningStore,
        *,
        config: Mapping[str, str] | None = None,
        expires_in: float = _DEFAULT_EXPIRY_SECONDS,
        proxy: str | None = None,
    ) -> None: ...
    async def publish(self, path: Path) -> AsyncGenerator[str]: ...

class Publisher(Protocol):
    def publish(self, path: Path) -> AbstractAsyncContextManager[str]: ...

async def check_columns(path: Path | str, column_selections: ColumnSelectionsInput) -> None: ...
async def content_name(path: Path) -> str: ...
async def download(
    transport: Transport,
    url: str,
    destination: Path,
    *,
    retry: RetryPolicy,
    read_timeout: float = 60.0,
    source: str | None = None,
    refresh_url: UrlRefresher | None = None,
    on_progress: ProgressCallback | None = None,
) -> DownloadedFile: ...
def safe_file_name(text: str) -> str: ...
async def suggest_columns(path: Path | str) -> ColumnSuggestion: ...
