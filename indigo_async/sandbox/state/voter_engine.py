"""The engine with people: real reading, matching, expanding and exporting in a bounded number of threads."""

from __future__ import annotations

import functools
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

import aiohttp
import anyio
import anyio.to_thread
import attrs

from indigo_async.inputs import ColumnSelection, LookalikeFilters, OptionalFieldType
from indigo_async.sandbox.people import (
    NotACsvError,
    VoterFile,
    build_lookalike,
    export_csv,
    match,
    parse_csv,
    sample_voters,
)
from indigo_async.sandbox.state.engine import StageError, save_csv
from indigo_async.sandbox.state.fetch import FetchLimits, fetch_csv
from indigo_async.sandbox.state.records import CsvFile, Members, UploadedTable

__all__ = ["VoterEngine", "open_voter_engine"]

T = TypeVar("T")


@attrs.frozen
class VoterEngine:
    """An engine on a voter file. Every computation uses one of the limiter's threads."""

    voters: VoterFile
    seed: int
    session: aiohttp.ClientSession
    fetch_limits: FetchLimits
    threads: anyio.CapacityLimiter

    async def _run_in_thread(self, function: Callable[[], T]) -> T:
        return await anyio.to_thread.run_sync(function, limiter=self.threads)

    async def read_csv(self, url: str) -> UploadedTable:
        data = await fetch_csv(self.session, url, self.fetch_limits)
        try:
            table = await self._run_in_thread(functools.partial(parse_csv, data))
        except NotACsvError:
            raise StageError("NotACsv") from None
        return UploadedTable(len(table), tuple(table.columns), table)

    async def match(self, table: UploadedTable, selections: Mapping[str, ColumnSelection]) -> Members:
        found = await self._run_in_thread(
            functools.partial(match, self.voters, _require_content(table.table), selections)
        )
        return Members(len(found.voters), found.voters, found.row_ids)

    async def build_lookalike(
        self, base: Members, *, size: int, include_base: bool, filters: LookalikeFilters | None
    ) -> Members:
        found = await self._run_in_thread(
            functools.partial(
                build_lookalike,
                self.voters,
                _require_content(base.voters),
                size=size,
                include_base=include_base,
                filters=filters,
                seed=self.seed,
            )
        )
        return Members(len(found.voters), found.voters, scores=found.scores)

    async def export(self, members: Members, field_types: tuple[OptionalFieldType, ...], destination: Path) -> CsvFile:
        def write() -> CsvFile:
            data = export_csv(
                self.voters,
                _require_content(members.voters),
                optional_field_types=field_types,
                row_ids=members.row_ids,
                scores=members.scores,
            )
            return save_csv(data, destination)

        return await self._run_in_thread(write)

    async def sample(self, size: int) -> Members:
        drawn = await self._run_in_thread(functools.partial(sample_voters, self.voters, size, seed=self.seed))
        return Members(len(drawn), drawn)


def _require_content(content: T | None) -> T:
    """Return a value that only a lite engine leaves out."""
    if content is None:
        raise TypeError("these people come from a lite engine")
    return content


@asynccontextmanager
async def open_voter_engine(
    voters: int | Path | VoterFile, seed: int, threads: int, limits: FetchLimits
) -> AsyncGenerator[VoterEngine]:
    """Create or read the voter file. Close it afterward, unless the caller passed it."""
    limiter = anyio.CapacityLimiter(threads)
    match voters:
        case int():
            opened = await anyio.to_thread.run_sync(lambda: VoterFile.synthetic(voters, seed=seed))
        case Path():
            opened = await anyio.to_thread.run_sync(VoterFile.from_file, voters)
        case VoterFile():
            opened = voters
    try:
        async with aiohttp.ClientSession() as session:
            yield VoterEngine(opened, seed, session, limits, limiter)
    finally:
        if opened is not voters:
            await anyio.to_thread.run_sync(opened.close)
