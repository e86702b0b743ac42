"""Putting a local CSV at a URL that the server can fetch, and taking it away again."""

from __future__ import annotations

import hashlib
from contextlib import AbstractAsyncContextManager
from functools import partial
from pathlib import Path
from typing import Protocol

from indigo_async._transport.cancellation import run_in_thread

__all__ = ["Publisher", "content_name"]


class Publisher(Protocol):
    """Something that can serve a local file for as long as a match needs it."""

    def publish(self, path: Path) -> AbstractAsyncContextManager[str]:
        """Serve the file at a URL inside the block, and take it away at its end.

        The last segment of the URL's path must be `content_name(path)`: by it a later run recognises an audience that
        was made from the same people. Several jobs may publish the same file at the same time, and none may take it
        away from another: best give each a place that is never used again.
        """
        ...


async def content_name(path: Path) -> str:
    """A name for a CSV by its content: the same bytes, the same name.

    Raises:
        OSError: the file cannot be read.
    """
    return f"{await run_in_thread(partial(_sha256, path))}.csv"


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
