"""A cache of synthetic voter files on disk, so that each is generated only once.

Each is a DuckDB database, `<name>-<version>-<checksum>.duckdb`, in the user's cache folder. The version identifies the
code and the packages that generated it. Files never change: they are written under another name, renamed, and opened
read-only, so several processes can share one, and create the same one at once. A file that doesn't have its checksum is
deleted and generated again. Where the cache can't be used, databases are created in memory.
"""

from __future__ import annotations

import functools
import hashlib
import logging
import shutil
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from importlib import metadata
from pathlib import Path

import duckdb
from platformdirs import user_cache_path

from indigo_async._version import __version__

__all__ = ["create_database", "open_cached_database"]

_log = logging.getLogger(__name__)

_MAX_BYTES = 500_000_000
"""The size of the cache. When it is exceeded, the files that were unused for longest are deleted."""

_UNFINISHED_PREFIX = "unfinished-"
_MAX_UNFINISHED_SECONDS = 86_400.0
"""The age at which a folder that a killed process left behind is deleted."""

_GENERATORS = ("addfips", "duckdb", "names", "numpy", "zipcodes")
"""The packages whose versions decide what a generated database contains."""


def open_cached_database(name: str, fill: Callable[[duckdb.DuckDBPyConnection], None]) -> duckdb.DuckDBPyConnection:
    """Open a database that `fill` creates if it isn't in the cache. Read-only, unless it is in memory."""
    try:
        folder = user_cache_path("indigo-async", appauthor=False) / "voters"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        prefix = f"{name}-{_version()}"
        path = _find(folder, prefix) or _create(folder, prefix, fill)
        return duckdb.connect(str(path), read_only=True)
    except (OSError, duckdb.Error, metadata.PackageNotFoundError, RuntimeError) as error:  # the last: no home folder
        _log.debug("the cache of voter files can't be used: %s", error)
    return create_database(":memory:", fill)


def create_database(path: str, fill: Callable[[duckdb.DuckDBPyConnection], None]) -> duckdb.DuckDBPyConnection:
    """Create a database at a path that doesn't exist, or `:memory:`."""
    connection = duckdb.connect(path)
    try:
        fill(connection)
    except BaseException:
        connection.close()
        raise
    return connection


@functools.cache
def _version() -> str:
    """Identify the code and the packages that generate databases."""
    digest = hashlib.sha256(__version__.encode())
    for file in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(file.read_bytes())
    for package in _GENERATORS:
        digest.update(f"{package} {metadata.version(package)}\n".encode())
    return digest.hexdigest()[:16]


def _checksum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "blake2b").hexdigest()[:16]


def _find(folder: Path, prefix: str) -> Path | None:
    """Return an intact database. Delete damaged ones."""
    for path in folder.glob(f"{prefix}-*.duckdb"):
        if path.name == f"{prefix}-{_checksum(path)}.duckdb":
            with suppress(OSError):  # the folder may be read-only
                path.touch()
            return path
        path.unlink(missing_ok=True)
    return None


def _create(folder: Path, prefix: str, fill: Callable[[duckdb.DuckDBPyConnection], None]) -> Path:
    with tempfile.TemporaryDirectory(prefix=_UNFINISHED_PREFIX, dir=folder) as unfinished:
        created = Path(unfinished) / "voters.duckdb"
        with create_database(str(created), fill) as connection:
            connection.execute("CHECKPOINT")  # `close` does it, too, but hides a full disk
        created.chmod(0o600)
        path = created.replace(folder / f"{prefix}-{_checksum(created)}.duckdb")
    with suppress(OSError):
        _delete_oldest(folder)
    return path


def _delete_oldest(folder: Path) -> None:
    """Delete the files that were unused for longest, and what killed processes left behind."""
    files = sorted(((path.stat(), path) for path in folder.glob("*.duckdb")), key=lambda pair: -pair[0].st_mtime)
    total = 0
    for rank, (status, path) in enumerate(files):
        total += status.st_size
        if rank and total > _MAX_BYTES:
            path.unlink(missing_ok=True)
    for path in folder.glob(f"{_UNFINISHED_PREFIX}*"):
        if time.time() - path.stat().st_mtime > _MAX_UNFINISHED_SECONDS:
            shutil.rmtree(path, ignore_errors=True)
