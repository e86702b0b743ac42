"""Local files: putting a CSV where the server can fetch it, and downloading exports."""

from indigo_async.files.download import Downloaded, download
from indigo_async.files.object_store import ObjectStorePublisher
from indigo_async.files.publish import Publisher, content_name

__all__ = ["Downloaded", "ObjectStorePublisher", "Publisher", "content_name", "download"]
