"""Matches under way in one process, for web services: started once, watched by anybody, ended with the service.

What is started twice is one match. After a restart of the service the same request picks the match up again, since the
recipe adopts the audience that exists.
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
    """One match: where it is, and what has happened so far."""

    customer_id: str
    audience_name: str
    state: str = "running"
    audience_id: str | int | None = None
    error: str | None = None
    events: list[dict[str, str | int | float]] = attrs.Factory(list[dict[str, str | int | float]])
    changed: asyncio.Event = attrs.Factory(asyncio.Event)

    def on_event(self, event: Event) -> None:
        self.events.append({"event": type(event).__name__} | event_fields(event))
        self.notify_watchers()

    def notify_watchers(self) -> None:
        """Wake everybody who watches."""
        self.changed.set()
        self.changed = asyncio.Event()

    def summary(self) -> dict[str, str | int | None]:
        return {"state": self.state, "audience_id": self.audience_id, "error": self.error}

    async def watch(self) -> AsyncGenerator[dict[str, str | int | float]]:
        """What has happened, and then what happens, until the match has ended."""
        seen = 0
        while True:
            news = self.changed
            for event in self.events[seen:]:
                yield event
                seen += 1
            if self.state != "running":
                return
            if seen == len(self.events):
                await news.wait()


class Matches:
    """The matches of a service, by customer and audience name."""

    def __init__(self, client: IndigoClient, group: asyncio.TaskGroup) -> None:
        self._client = client
        self._group = group
        self._matches: dict[tuple[str, str], Match] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, customer_id: str, audience_name: str, csv: str, columns: Mapping[str, ColumnSelection]) -> Match:
        """Start a match, unless it runs or is done already."""
        known = self._matches.get((customer_id, audience_name))
        if known is not None and known.state != "failed":
            return known
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
            match.state, match.error = "failed", str(error)  # made for people, without secrets
        except Exception:  # one match that fails never ends the service
            _logger.exception("a match failed in a way that nobody expected")
            match.state, match.error = "failed", "internal error"
        except asyncio.CancelledError:
            match.state, match.error = "failed", "the service was stopped; the same request picks the match up again"
            raise
        else:
            match.state, match.audience_id = "done", audience.id
        finally:
            match.notify_watchers()


@asynccontextmanager
async def open_matches(client: IndigoClient) -> AsyncGenerator[Matches]:
    """Matches that end with the block; work at the server goes on."""
    async with asyncio.TaskGroup() as group:
        matches = Matches(client, group)
        try:
            yield matches
        finally:
            matches.stop()
