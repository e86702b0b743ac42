"""Serve local CSVs at URLs, because `POST /upload_csv` accepts only URLs."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import quote

import anyio
import anyio.to_thread
import attrs

from indigo_async.sandbox.errors import ErrorType, HttpError
from indigo_async.sandbox.http.responses import FileSlice, Response

__all__ = ["FILES_PATH", "FileHost"]

FILES_PATH = "/files/"


@attrs.define
class FileHost:
    """Serves files at unguessable URLs, to this machine only, until they are removed."""

    _origin: str
    _files: dict[str, Path | bytes] = attrs.field(factory=dict[str, Path | bytes], init=False, repr=False)

    def put(self, content: Path | bytes, *, name: str = "people.csv") -> str:
        """Serve a file or bytes at a new URL that ends in `name`."""
        path = f"{FILES_PATH}{secrets.token_urlsafe(16)}/{quote(name, safe='')}"
        self._files[path] = content
        return self._origin + path

    def remove(self, url: str) -> None:
        """Stop serving a URL. Removing it twice is not an error."""
        self._files.pop(url.removeprefix(self._origin), None)

    @asynccontextmanager
    async def publish(self, path: Path) -> AsyncGenerator[str]:
        """Serve a file until the block ends, at a URL that ends in the SHA-256 of its content (a `files.Publisher`)."""
        url = self.put(path, name=f"{await anyio.to_thread.run_sync(_hash_file, path)}.csv")
        try:
            yield url
        finally:
            self.remove(url)

    async def serve(self, raw_path: str) -> Response:
        """Build the response to a request for a file.

        Raises:
            HttpError: 404, if the URL is unknown.
        """
        content = self._files.get(raw_path)
        headers = {"Content-Type": "text/csv"}
        if isinstance(content, bytes):
            return Response(200, content, headers)
        if content is not None:
            try:
                size = (await anyio.Path(content).stat()).st_size
            except OSError:
                pass
            else:
                return Response(200, FileSlice(content, 0, size), headers)
        raise HttpError(404, ErrorType.NOT_FOUND, "No file is served here.")


def _hash_file(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
