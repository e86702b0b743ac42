"""The log of a fence: numbered objects that are only ever created, and a snapshot so that opening stays cheap."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Protocol

import attrs
import msgspec

from indigo_async.errors import FenceError
from indigo_async.workflows.fence.state import Entry, FenceState, Replies, Snapshot

__all__ = ["FOLDERS", "OWNERS", "FenceLog", "FenceStore", "StoredObject"]

OWNERS = "owners"
_LOG = "log"
FOLDERS = (_LOG, OWNERS)
"""The folders of a fence: entries, and the leases of owners."""

_FORMAT = 1
_SNAPSHOT = "snapshot.json"
_ENTRIES_PER_SNAPSHOT = 100
_PURCHASES_PER_DELAY = 10_000
"""For each time as many purchases, snapshots are written less often, because they are larger."""

_WAIT_SECONDS = 0.2
_MAX_CONCURRENT_READS = 16


@attrs.frozen
class StoredObject:
    """An object and when it was written, in seconds by the store's own clock."""

    content: bytes
    written_at: float


class FenceStore(Protocol):
    """A bucket or a shared folder. Names are relative paths.

    Every method raises `FenceError`, with `permanent` if trying again is useless.
    """

    @property
    def label(self) -> str:
        """The place, for messages."""
        ...

    async def create(self, name: str, content: bytes) -> bool:
        """Create an object with its whole content, unless it exists. Returns whether it was created."""
        ...

    async def replace(self, name: str, content: bytes) -> None:
        """Write an object, whether it exists or not. Readers see the old or the new content, never a mixture."""
        ...

    async def read(self, name: str) -> StoredObject | None:
        """Read an object; None if there is none."""
        ...

    async def delete(self, name: str) -> None:
        """Delete an object, if it exists."""
        ...

    def close(self) -> None:
        """Let go of what is open. Requests in flight may still be carried out."""
        ...


@attrs.frozen
class _Header:
    format: int


@attrs.frozen(kw_only=True)
class _Written:
    """The content of an object of the log: an entry, or the state after `applied` entries."""

    format: int = _FORMAT
    entry: Entry | None = None
    applied: int = 0
    state: Snapshot | None = None


class FenceLog:
    """One process's copy of the state, which reads entries of others and appends its own."""

    def __init__(self, store: FenceStore) -> None:
        self.state: FenceState = FenceState()
        self.applied: int = 0
        """The number of the last entry that is applied to the state."""
        self._store = store
        self._awaited: dict[str, Replies | None] = {}
        """The replies to entries that are being appended. Kept when an attempt fails, since it may have succeeded."""
        self._snapshot_at = 0
        self._due_snapshot: bytes | None = None

    async def open(self) -> None:
        """Read the snapshot and all entries since.

        Raises:
            FenceError: the store cannot be read, or holds something else.
        """
        stored = await self._store.read(_SNAPSHOT)
        if stored is not None:
            snapshot = self._decode(_SNAPSHOT, stored.content)
            if snapshot.state is None:
                raise self._damaged_error(_SNAPSHOT)
            self.state, self.applied = FenceState.restore(snapshot.state), snapshot.applied
            self._snapshot_at = self.applied
        await self.read_new()
        if (
            self.applied - self._snapshot_at >= self._entries_per_snapshot()
        ):  # the process that should have written it ended
            self._prepare_snapshot()

    async def append(self, entry: Entry) -> Replies:
        """Append an entry, and apply everything up to it. May be called again with the same entry after an error.

        Raises:
            FenceError: the store failed, and the entry may be in the log or not.
        """
        self._awaited.setdefault(entry.id, None)
        while (replies := self._awaited[entry.id]) is None:
            number = self.applied + 1
            if await self._store.create(_entry_name(number), _encode(_Written(entry=entry))):
                self._apply(entry)
                if number % self._entries_per_snapshot() == 0:
                    self._prepare_snapshot()
            else:
                # If the response to an earlier attempt was lost, one of the new entries is this one.
                await self.read_new()
                if self.applied < number:  # the store does not show it yet
                    await asyncio.sleep(_WAIT_SECONDS)
        del self._awaited[entry.id]
        return replies

    async def read_new(self) -> None:
        """Read and apply the entries that others appended.

        Raises:
            FenceError: the store failed, or an entry is not one.
        """
        ahead = 1
        while True:
            for stored in await self._read_ahead(ahead):
                if stored is None:
                    return
                name = _entry_name(self.applied + 1)
                entry = self._decode(name, stored.content).entry
                if entry is None:
                    raise self._damaged_error(name)
                self._apply(entry)
            ahead = min(2 * ahead, _MAX_CONCURRENT_READS)

    async def write_due_snapshot(self) -> None:
        """Write the snapshot that became due, if any.

        Raises:
            FenceError: the store failed. Opening takes longer until someone writes the next one.
        """
        snapshot, self._due_snapshot = self._due_snapshot, None
        if snapshot is not None:
            await self._store.replace(_SNAPSHOT, snapshot)

    async def _read_ahead(self, count: int) -> Sequence[StoredObject | None]:
        names = [_entry_name(self.applied + 1 + ahead) for ahead in range(count)]
        return await asyncio.gather(*map(self._store.read, names))

    def _apply(self, entry: Entry) -> None:
        self.applied += 1
        replies = self.state.apply(entry)
        if entry.id in self._awaited:
            self._awaited[entry.id] = replies

    def _entries_per_snapshot(self) -> int:
        return _ENTRIES_PER_SNAPSHOT * (1 + len(self.state.purchases) // _PURCHASES_PER_DELAY)

    def _prepare_snapshot(self) -> None:
        self._snapshot_at = self.applied
        self._due_snapshot = _encode(_Written(applied=self.applied, state=self.state.snapshot()))

    def _decode(self, name: str, content: bytes) -> _Written:
        try:
            if msgspec.json.decode(content, type=_Header).format != _FORMAT:
                raise FenceError(
                    f"{self._store.label}: {name} was written by a version of this SDK with another format; use the "
                    "same version on all machines",
                    permanent=True,
                )
            return msgspec.json.decode(content, type=_Written)
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise self._damaged_error(name) from None

    def _damaged_error(self, name: str) -> FenceError:
        return FenceError(
            f"{self._store.label}: {name} is not what was written. Restore it, or check on the server which exports "
            "were purchased before you use another fence",
            permanent=True,
        )


def _entry_name(number: int) -> str:
    return f"{_LOG}/{number:08}.json"


def _encode(written: _Written) -> bytes:
    return msgspec.json.encode(written)
