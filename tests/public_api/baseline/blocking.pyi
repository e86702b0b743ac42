class IndigoClient:
    def __enter__(self) -> Self: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...
    def __init__(self, *args: Any, **options: Any) -> None: ...
    def close(self) -> None: ...
    create_lookalike_audience: Final
    create_preview_csv_export: Final
    get_audience: Final
    list_audiences: Final
    match_uploaded_csv: Final
    purchase_csv_export: Final
    request: Final
    upload_csv: Final
    with_options: Final

create_lookalike: Final

download_export: Final

def export_audience(*_args: Any, **_options: Any) -> Any: ...

run_batch: Final

run_job: Final

upload_and_match: Final

wait_for_column_selection: Final

wait_for_export: Final

wait_until_active: Final
