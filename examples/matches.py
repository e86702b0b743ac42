"""Matches in progress in one process, for web services: started once, watched by many, stopped with the service.

Starting a match twice starts it once. After a restart of the service, the same request resumes the match, because the
recipe reuses the existing audience.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager

import attrs

from indigo_async import ColumnSelection, IndigoClient, IndigoError, workflows
from indigo_async.events import Event, event_fields

__all__ = ["Match", "Matches", "open_matches"]

_logger = logging.getLogger(__name__)


@attrs.define(eq=False)
class Match:
    """One match: its state and its events so far."""

    customer_id: str
    audience_name: str
    state: str = "running"
    audience_id: str | int | None = None
    error: str | None = None
    events: list[dict[str, str | int | float]] = attrs.Factory(list[dict[str, str | int | float]])
    changed: asyncio.Event = attrs.Factory(asyncio.Event)

    def on_event(self, event: Event) -> None:
        self.events.append({"event": type(event).__name__, **event_fields(event)})
        self.notify_watchers()

    def notify_watchers(self) -> None:
        """Wake everyone who is watching."""
        self.changed.set()
        self.changed = asyncio.Event()

    def summary(self) -> dict[str, str | int | None]:
        return {"state": self.state, "audience_id": self.audience_id, "error": self.error}

    async def watch(self) -> AsyncGenerator[dict[str, str | int | float]]:
        """Yield past events and then new ones, until the match has ended."""
        seen = 0
        while True:
            changed = self.changed
            for event in self.events[seen:]:
                yield event
                seen += 1
            if self.state != "running":
                return
            if seen == len(self.events):
                await changed.wait()


class Matches:
    """The matches of a service, by customer and audience name."""

    def __init__(self, client: IndigoClient, group: asyncio.TaskGroup) -> None:
        self._client = client
        self._group = group
        self._matches: dict[tuple[str, str], Match] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, customer_id: str, audience_name: str, csv: str, columns: Mapping[str, ColumnSelection]) -> Match:
        """Start a match unless it is running or done."""
        existing = self._matches.get((customer_id, audience_name))
        if existing is not None and existing.state != "failed":
            return existing
        match = self._matches[customer_id, audience_name] = Match(customer_id, audience_name)
        task = self._group.create_task(self._run(match, csv, columns))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return match

    def find(self, customer_id: str, audience_name: str) -> Match | None:
        return self._matches.get((customer_id, audience_name))

    def stop(self) -> None:
        for task in self._tasks:
            task.cancel()

    async def _run(self, match: Match, csv: str, columns: Mapping[str, ColumnSelection]) -> None:
        try:
            audience = await workflows.upload_and_match(
                self._client,
                csv,
                customer_id=match.customer_id,
                audience_name=match.audience_name,
                column_selections=columns,
                on_event=match.on_event,
            )
        except IndigoError as error:
            match.state, match.error = "failed", str(error)  # meant for people, and without secrets
        except Exception:  # a failed match never stops the service
            _logger.exception("a match failed unexpectedly")
            match.state, match.error = "failed", "internal error"
        except asyncio.CancelledError:
            match.state, match.error = "failed", "the service was stopped; the same request resumes the match"
            raise
        else:
            match.state, match.audience_id = "done", audience.id
        finally:
            match.notify_watchers()


@asynccontextmanager
async def open_matches(client: IndigoClient) -> AsyncGenerator[Matches]:
    """Run matches until the end of the block. The server continues its work."""
    async with asyncio.TaskGroup() as group:
        matches = Matches(client, group)
        try:
            yield matches
        finally:
            matches.stop()
