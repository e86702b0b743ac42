"""Local files: check a CSV before the upload, publish it where the server can fetch it, and download exports."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from indigo_async.files.csv.coroutines import check_columns, suggest_columns
    from indigo_async.files.csv.suggest import ColumnSuggestion
    from indigo_async.files.downloads.destination import safe_file_name
    from indigo_async.files.downloads.download import DownloadedFile, download
    from indigo_async.files.publishing.local import LocalPublisher
    from indigo_async.files.publishing.object_store import ObjectStorePublisher
    from indigo_async.files.publishing.publisher import Publisher, content_name

__all__ = [
    "ColumnSuggestion",
    "DownloadedFile",
    "LocalPublisher",
    "ObjectStorePublisher",
    "Publisher",
    "check_columns",
    "content_name",
    "download",
    "safe_file_name",
    "suggest_columns",
]

_MODULES = {
    "ColumnSuggestion": "csv.suggest",
    "DownloadedFile": "downloads.download",
    "LocalPublisher": "publishing.local",
    "ObjectStorePublisher": "publishing.object_store",
    "Publisher": "publishing.publisher",
    "check_columns": "csv.coroutines",
    "content_name": "publishing.publisher",
    "download": "downloads.download",
    "safe_file_name": "downloads.destination",
    "suggest_columns": "csv.coroutines",
}


def __getattr__(name: str) -> object:
    """Import names on first use, so that reading a CSV doesn't wait for the HTTP library."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    globals()[name] = value
    return value
