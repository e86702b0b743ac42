"""A lite sandbox in a separate process that tells what was really made, and can be down for a while.

Its process reads commands on its standard input, so that controlling it adds no request to those it counts.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from typing import Any

import anyio
import attrs

from indigo_async.sandbox import Fault, FaultKind, Sandbox
from indigo_async.sandbox.faults import Faults, RequestTarget

__all__ = ["ControlledSandbox", "SandboxCounts", "controlled_sandbox"]

DOWNLOAD = "GET download"


@attrs.frozen(kw_only=True)
class SandboxCounts:
    """What a sandbox served and made.

    `requests` counts by endpoint, without downloads, and `refused` those of them that got a 429. `most_purchases` and
    `most_made` are the highest numbers of purchases of one audience and of audiences of one customer and name.
    """

    requests: dict[str, int]
    refused: int
    downloads: int
    purchases: int
    most_purchases: int
    most_made: int
    charged_cents: int

    @property
    def total(self) -> int:
        return sum(self.requests.values())


@attrs.frozen
class ControlledSandbox:
    base_url: str
    token: str = attrs.field(repr=False)
    process: subprocess.Popen[str] = attrs.field(repr=False)
    lock: threading.Lock = attrs.field(factory=threading.Lock, repr=False)

    def counts(self) -> SandboxCounts:
        return SandboxCounts(**self._send("counts"))

    async def be_down(self, seconds: float) -> None:
        """Break and refuse all connections for some seconds."""
        await asyncio.to_thread(self._send, "down")
        await asyncio.sleep(seconds)
        await asyncio.to_thread(self._send, "up")

    def _send(self, command: str) -> Any:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        with self.lock:
            self.process.stdin.write(f"{command}\n")
            self.process.stdin.flush()
            return json.loads(self.process.stdout.readline())


@contextmanager
def controlled_sandbox(
    *, speed: float, requests_per_second: float | None = None, lists_everything: bool = True
) -> Iterator[ControlledSandbox]:
    """Run a sandbox until the end of the block. It may refuse the list of everything, of no single customer."""
    options = {"speed": speed, "requests_per_second": requests_per_second, "lists_everything": lists_everything}
    command = [sys.executable, "-m", __name__, json.dumps(options)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield ControlledSandbox(*json.loads(process.stdout.readline()), process)
        finally:
            process.kill()


def _count(sandbox: Sandbox) -> SandboxCounts:
    by_endpoint = sandbox.log.count_by_endpoint()
    requests = {endpoint: sum(statuses.values()) for endpoint, statuses in by_endpoint.items()}
    downloads = requests.pop(DOWNLOAD, 0)
    counts = sandbox.counts()
    named = Counter({key: count for key, count in counts.audiences.items() if key[1] is not None})
    return SandboxCounts(
        requests=requests,
        refused=sum(statuses.get("429", 0) for statuses in by_endpoint.values()),
        downloads=downloads,
        purchases=counts.purchases,
        most_purchases=max(counts.purchases_by_audience.values(), default=0),
        most_made=max(named.values(), default=0),
        charged_cents=counts.charged_cents,
    )


class _RefusedLists(Faults):
    """Refuses the list of everything, always."""

    def __bool__(self) -> bool:
        return True

    def trigger(self, target: RequestTarget) -> Fault | None:
        if target.endpoint == "GET /audiences" and target.customer_id is None:
            return Fault(kind=FaultKind.ERROR_BEFORE, status=400, message="customerId is required")
        return None


async def _serve(options: dict[str, Any]) -> None:
    lists_everything = options.pop("lists_everything")
    sandbox = Sandbox(lite=True, log_entries=1_000, **options)
    if not lists_everything:
        sandbox.faults = _RefusedLists(0)
    async with sandbox, AsyncExitStack() as outages:
        print(json.dumps([sandbox.base_url, sandbox.token]), flush=True)
        async for line in anyio.wrap_file(sys.stdin):
            match line.strip():
                case "down":
                    await outages.enter_async_context(sandbox.refuse_connections())
                case "up":
                    await outages.aclose()
                case _:
                    print(json.dumps(attrs.asdict(_count(sandbox))), flush=True)
                    continue
            print("null", flush=True)


if __name__ == "__main__":
    anyio.run(_serve, json.loads(sys.argv[1]))
