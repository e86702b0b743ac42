"""Fences for tests: short leases, and a look at what is stored."""

from __future__ import annotations

from pathlib import Path

import msgspec

from indigo_async.workflows.fence import leases as fence_leases
from indigo_async.workflows.fence.fence import Fence
from indigo_async.workflows.fence.log import _Written
from indigo_async.workflows.fence.state import Entry

__all__ = ["abandon", "read_entries", "shorten_leases"]


def abandon(fence: Fence) -> None:
    """Let a fence end as if its process were killed: it releases neither its jobs nor its lease."""

    async def do_nothing() -> None: ...

    fence._close = do_nothing  # type: ignore[method-assign]


def shorten_leases(*, lease: float) -> None:
    """Let leases last a few seconds instead of a minute, in this process."""
    fence_leases._RENEW_SECONDS = 0.2
    fence_leases._CHECK_SECONDS = 0.1
    fence_leases._LEASE_SECONDS = lease


def read_entries(folder: Path) -> list[Entry]:
    """The entries of the log in a folder, in order."""
    entries = [
        msgspec.json.decode(path.read_bytes(), type=_Written).entry for path in sorted(folder.glob("*/log/[0-9]*"))
    ]
    return [entry for entry in entries if entry is not None]
