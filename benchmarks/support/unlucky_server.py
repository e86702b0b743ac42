"""A server with a fixed latency that responds to a random share of requests with 429, at any rate.

    python -m benchmarks.support.unlucky_server LATENCY_MS SHARE_OF_429S

It accepts only requests without bodies, so it needs little CPU. Its first line of output is its origin.
"""

from __future__ import annotations

import asyncio
import random
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager

_BODY = b'{"id":"aud_1","name":"Donors","status":"ACTIVE","customerId":"42"}'
_HEADERS = b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n"
_OK = b"HTTP/1.1 200 OK\r\n" + _HEADERS % len(_BODY) + _BODY
_REFUSAL = b"HTTP/1.1 429 Too Many Requests\r\n" + _HEADERS % 2 + b"{}"


class _Connection(asyncio.Protocol):
    def __init__(self, latency: float, share: float) -> None:
        self._latency, self._share = latency, share

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        assert data.endswith(b"\r\n\r\n"), "not a whole request"
        response = _REFUSAL if random.random() < self._share else _OK
        asyncio.get_running_loop().call_later(self._latency, self._transport.write, response)


@contextmanager
def unlucky_server(*, latency_ms: float, share: float) -> Generator[str]:
    """Run the server in a separate process until the end of the block. Yields its origin."""
    command = [sys.executable, "-m", "benchmarks.support.unlucky_server", str(latency_ms), str(share)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
    finally:
        process.terminate()
        process.wait(timeout=30)


async def _serve(latency_ms: float, share: float) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Connection(latency_ms / 1e3, share), "127.0.0.1", 0)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_serve(float(sys.argv[1]), float(sys.argv[2])))
