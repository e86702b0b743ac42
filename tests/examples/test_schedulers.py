"""The tasks for Airflow, Prefect and Dagster run unchanged, also after one was killed in the middle of its purchases.

`nox -s schedulers` installs each scheduler in an environment of its own. Its telemetry is off.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import sys
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

import attrs
import pytest

from tests.support.processes.examples import EXAMPLES, ExampleEnvironment

LISTS = 20


@attrs.frozen
class Scheduler:
    """How to run the example's task once, with the scheduler's own command."""

    package: str
    example: str
    command: tuple[str, ...]
    prepare: tuple[str, ...] | None = None

    def environment(self, example: ExampleEnvironment, folder: Path) -> dict[str, str]:
        """Everything that the scheduler and the task read, with the scheduler's own state in the folder."""
        state = folder / self.package
        state.mkdir()
        (folder / "fence").mkdir()
        connection = {"conn_type": "http", "host": example.sandbox.base_url, "password": example.sandbox.token}
        (state / "dagster.yaml").write_text("telemetry:\n  enabled: false\n")
        (state / "dags").mkdir()
        for name in (self.example, "nightly.py"):
            shutil.copy(EXAMPLES / name, state / "dags")
        return example.subprocess_environment | {
            "INDIGO_FOLDER": str(folder),
            "INDIGO_FENCE": str(folder / "fence"),
            "DO_NOT_TRACK": "1",
            "SCARF_ANALYTICS": "false",
            "AIRFLOW_CONN_INDIGO": json.dumps(connection),
            "AIRFLOW_HOME": str(state),
            "AIRFLOW__CORE__DAGS_FOLDER": str(state / "dags"),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "false",
            "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "false",
            "DAGSTER_HOME": str(state),
            "PREFECT_HOME": str(state),
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
        }


SCHEDULERS = [
    Scheduler(
        "airflow",
        "airflow_dag.py",
        ("-m", "airflow", "dags", "test", "indigo_lists"),
        prepare=("-m", "airflow", "db", "migrate"),
    ),
    Scheduler(
        "airflow",
        "airflow_shards.py",
        ("-m", "airflow", "dags", "test", "indigo_shards"),
        prepare=("-m", "airflow", "db", "migrate"),
    ),
    Scheduler("prefect", "prefect_flow.py", ("prefect_flow.py",)),
    Scheduler("prefect", "prefect_shards.py", ("prefect_shards.py",)),
    Scheduler(
        "dagster", "dagster_job.py", ("-m", "dagster", "job", "execute", "-f", "dagster_job.py", "-j", "indigo_lists")
    ),
]


@pytest.fixture(params=SCHEDULERS, ids=lambda scheduler: scheduler.example)
def scheduler(request: pytest.FixtureRequest) -> Scheduler:
    if find_spec(request.param.package) is None:
        pytest.skip(f"{request.param.package} is not installed; `nox -s schedulers` has it")
    return request.param


@attrs.frozen
class Task:
    """The example's task and where its output goes."""

    example: ExampleEnvironment
    folder: Path
    command: tuple[str, ...]
    environment: dict[str, str]

    async def start(self, *command: str) -> asyncio.subprocess.Process:
        with (self.folder / "output.log").open("ab") as output:
            return await asyncio.create_subprocess_exec(
                sys.executable,
                *(command or self.command),
                cwd=next(self.folder.glob("*/dags")),
                env=self.environment,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    async def run(self, *command: str) -> int:
        process = await self.start(*command)
        try:
            return await process.wait()
        finally:
            stop(process, signal.SIGKILL)

    def output(self) -> str:
        return (self.folder / "output.log").read_text()


def stop(process: asyncio.subprocess.Process, number: signal.Signals) -> None:
    """Send a signal to a process and all that it started, even if it has ended itself."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, number)


@pytest.fixture
async def task(scheduler: Scheduler, example_environment: ExampleEnvironment, tmp_path: Path) -> Task:
    rows = [
        {"customer_id": str(number), "audience_name": f"List {number}", "csv": example_environment.csv}
        for number in range(LISTS)
    ]
    (tmp_path / "lists.json").write_text(json.dumps(rows))
    environment = scheduler.environment(example_environment, tmp_path)
    task = Task(example_environment, tmp_path, scheduler.command, environment)
    if scheduler.prepare is not None:
        assert await task.run(*scheduler.prepare) == 0, task.output()
    return task


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
async def test_a_task_that_was_ended_is_retried_and_purchases_nothing_twice(task: Task, number: signal.Signals):
    sandbox = task.example.sandbox
    ended = await task.start()
    while not sandbox.counts().purchases:
        assert ended.returncode is None, task.output()
        await asyncio.sleep(0.001)
    stop(ended, number)
    await ended.wait()
    stop(ended, signal.SIGKILL)  # what it started
    for _ in range(2):  # the retry, and the next scheduled run
        assert await task.run() == 0, task.output()
        assert sandbox.counts().purchases == LISTS
    assert len(list(task.folder.glob("exports/*/List *.csv"))) == LISTS
    assert sandbox.token not in task.output()
