"""Local files: check a CSV before the upload, publish it where the server can fetch it, and download exports."""

from indigo_async.files.csv.check import check_columns
from indigo_async.files.csv.suggest import ColumnSuggestion, suggest_columns
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
