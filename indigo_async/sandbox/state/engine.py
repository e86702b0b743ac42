"""What the endpoints do with people, and the lite engine, which needs none."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import anyio.to_thread
import attrs

from indigo_async.inputs import ColumnSelection, LookalikeFilters, OptionalFieldType
from indigo_async.sandbox.state.records import CsvFile, Members, UploadedTable

__all__ = ["Engine", "LiteEngine", "StageError", "save_csv"]


class StageError(Exception):
    """A stage failed. The message is the reason that the API shows."""


class Engine(Protocol):
    """Reads, matches, expands and exports. Each method may take long, doesn't block, and may raise `StageError`."""

    async def read_csv(self, url: str) -> UploadedTable:
        """Fetch and read an uploaded CSV."""
        ...

    async def match(self, table: UploadedTable, selections: Mapping[str, ColumnSelection]) -> Members:
        """Match the rows of a CSV to voters."""
        ...

    async def build_lookalike(
        self, base: Members, *, size: int, include_base: bool, filters: LookalikeFilters | None
    ) -> Members:
        """Find the voters most similar to the base audience."""
        ...

    async def export(self, members: Members, field_types: tuple[OptionalFieldType, ...], destination: Path) -> CsvFile:
        """Write the people to a CSV at `destination`."""
        ...

    async def sample(self, size: int) -> Members:
        """Draw voters with something in common, for seeded audiences."""
        ...


def save_csv(data: bytes, destination: Path) -> CsvFile:
    """Write an export's bytes to the folder that downloads are served from."""
    destination.write_bytes(data)
    return CsvFile(destination, len(data), f'"{hashlib.sha256(data).hexdigest()[:32]}"')


_LITE_VOTER_COUNT = 250_000_000
_LITE_CSV = b"voterbase_id,first_name,last_name\r\n" + b"".join(b"LITE-%05d,ANN,LITE\r\n" % row for row in range(50))


@attrs.define
class LiteEngine:
    """An engine without people: made-up sizes, and the same small CSV for every export. Nothing is fetched or computed.

    Every uploaded CSV has `row_count` rows, of which `matched_count` match.
    """

    row_count: int = 2_000
    matched_count: int = 1_500
    _csv: CsvFile | None = None

    async def read_csv(self, url: str) -> UploadedTable:
        del url
        return UploadedTable(self.row_count)

    async def match(self, table: UploadedTable, selections: Mapping[str, ColumnSelection]) -> Members:
        del table, selections
        return Members(self.matched_count)

    async def build_lookalike(
        self, base: Members, *, size: int, include_base: bool, filters: LookalikeFilters | None
    ) -> Members:
        del base, include_base, filters
        return Members(min(size, _LITE_VOTER_COUNT))

    async def export(self, members: Members, field_types: tuple[OptionalFieldType, ...], destination: Path) -> CsvFile:
        del members, field_types
        if self._csv is None:
            self._csv = await anyio.to_thread.run_sync(save_csv, _LITE_CSV, destination)
        return self._csv

    async def sample(self, size: int) -> Members:
        return Members(size)
