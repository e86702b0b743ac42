"""`indigo-async run` in a separate process, with its CPU time and memory."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
import time
from pathlib import Path

import attrs

from benchmarks.support.sandbox_process import SandboxProcess

__all__ = ["CommandRun", "run_command", "write_manifest"]

_SAMPLE_SECONDS = 0.25
_DONE = re.compile(r"^([\d,]+) of [\d,]+ jobs done")


def write_manifest(path: Path, jobs: int, *, jobs_of_a_customer: int) -> None:
    """Write a manifest whose jobs match a list, create a lookalike and export it, one customer after another."""
    with path.open("w") as file:
        for number in range(jobs):
            job = {
                "customer_id": f"customer-{number // jobs_of_a_customer}",
                "audience_name": f"List {number}",
                "csv": f"https://files.example.org/{number}.csv",
                "column_selections": {"first_name": {"column_name": "First", "is_required": True}},
                "lookalike": {"audience_name": f"List {number}, grown", "size": 5_000},
                "export": {"destination": f"exports/{number}.csv"},
            }
            file.write(json.dumps(job) + "\n")


@attrs.frozen(kw_only=True)
class CommandRun:
    """What one run of the command took, and how many jobs it says are done.

    `cpu_seconds` include the start of Python. `memory_mib` are resident sizes at equal intervals.
    """

    cpu_seconds: float
    seconds: float
    memory_mib: list[float]
    done: int
    requests: int

    def memory_at(self, share: float) -> float:
        """The resident size in MiB after this share of the time."""
        return self.memory_mib[min(int(share * len(self.memory_mib)), len(self.memory_mib) - 1)]


def run_command(manifest: Path, sandbox: SandboxProcess, *options: str) -> CommandRun:
    """Run a manifest to its end. `requests` are those that the sandbox counted in the meantime, without downloads."""
    environment = os.environ | {"INDIGO_BASE_URL": sandbox.base_url, "INDIGO_API_TOKEN": sandbox.token}
    command = [sys.executable, "-m", "indigo_async", "run", str(manifest), "--quiet", *options]
    before, started_at = _count_requests(sandbox), time.perf_counter()
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    memory: list[float] = []
    sampling = threading.Thread(target=_sample_memory, args=(process.pid, memory))
    sampling.start()
    results = process.stdout.read()
    sampling.join()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    done = _DONE.search(results)
    assert done is not None, results
    return CommandRun(
        cpu_seconds=usage.ru_utime + usage.ru_stime,
        seconds=time.perf_counter() - started_at,
        memory_mib=memory,
        done=int(done[1].replace(",", "")),
        requests=_count_requests(sandbox) - before,
    )


def _count_requests(sandbox: SandboxProcess) -> int:
    requests = sandbox.counts()["requests"]
    apart = {"GET download", "unknown"}  # reading the counts is unknown to the API
    return sum(sum(statuses.values()) for endpoint, statuses in requests.items() if endpoint not in apart)


def _sample_memory(pid: int, samples: list[float]) -> None:
    """Sample the resident size of a process until it ends."""
    status = Path(f"/proc/{pid}/status")
    while "VmRSS:" in (text := status.read_text()):  # not in a process that has ended
        samples.append(int(text.partition("VmRSS:")[2].split()[0]) / 1024)
        time.sleep(_SAMPLE_SECONDS)
