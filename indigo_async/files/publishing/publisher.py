"""Publish a local CSV at a URL that the server can fetch, for as long as a match needs it."""

from __future__ import annotations

import hashlib
from contextlib import AbstractAsyncContextManager
from functools import partial
from pathlib import Path
from typing import Protocol

from indigo_async._transport.cancellation import run_in_thread
from indigo_async.errors import PublishError

__all__ = ["Publisher", "content_name", "unreadable"]


class Publisher(Protocol):
    """Serves a local file for as long as a match needs it."""

    def publish(self, path: Path) -> AbstractAsyncContextManager[str]:
        """Serve the file at a URL inside the block, and remove it at the end.

        The last segment of the URL's path must be `content_name(path)`: a later run uses it to recognize an audience
        that was made from the same file. Several jobs may publish the same file at once, and none may remove it for
        another. The simplest way is to give each a location that is never used again.
        """
        ...


async def content_name(path: Path) -> str:
    """Name a CSV by the SHA-256 of its content, so that equal files have equal names.

    Raises:
        OSError: the file cannot be read.
    """
    return f"{await run_in_thread(partial(_sha256, path))}.csv"


def unreadable(path: Path, error: OSError) -> PublishError:
    """The error about a file that a publisher cannot read."""
    return PublishError(f"{path} cannot be read ({error.strerror or type(error).__name__})")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
