"""A folder in memory, where writing and syncing files costs the least."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["memory_folder"]


@contextmanager
def memory_folder() -> Iterator[Path]:
    """Make a temporary folder: in memory on Linux, on a disk elsewhere."""
    shared_memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=shared_memory if shared_memory.is_dir() else None) as folder:
        yield Path(folder)
