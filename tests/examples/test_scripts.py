"""The nightly job and the notebook run unchanged in separate processes."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from indigo_async.workflows.journal import Journal
from tests.support.processes.examples import EXAMPLES, ExampleEnvironment


@pytest.fixture
def lists(tmp_path: Path, example_environment: ExampleEnvironment) -> Path:
    rows = [
        {"customer_id": "42", "audience_name": f"List {number}", "csv": example_environment.csv} for number in range(3)
    ]
    path = tmp_path / "lists.json"
    path.write_text(json.dumps(rows))
    return path


async def start(
    example_environment: ExampleEnvironment, lists: Path, folder: Path, budget_cents: int = 1_000_000
) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, str(EXAMPLES / "nightly.py"), str(lists), str(folder), "--budget-cents", str(budget_cents)),
        env=example_environment.subprocess_environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


async def nightly(
    example_environment: ExampleEnvironment, lists: Path, folder: Path, budget_cents: int = 1_000_000
) -> tuple[int, str, str]:
    process = await start(example_environment, lists, folder, budget_cents)
    out, log = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(), log.decode()


async def test_every_list_is_purchased_once_however_often_the_job_runs(
    example_environment: ExampleEnvironment, lists: Path, tmp_path: Path
):
    for _ in range(2):
        code, out, log = await nightly(example_environment, lists, tmp_path / "state")
        assert code == 0, log
        assert json.loads(out)["done"] == 3
        assert example_environment.sandbox.token not in out + log
    assert example_environment.sandbox.counts().purchases == 3
    assert len(list((tmp_path / "state" / "exports" / "42").glob("List *.csv"))) == 3


async def test_no_name_leads_out_of_the_exports_folder(
    example_environment: ExampleEnvironment, lists: Path, tmp_path: Path
):
    names = ["../../../Donors", "Spring/Gala", ".hidden"]
    rows = [
        {"customer_id": f"{row}/..", "audience_name": name, "csv": example_environment.csv}
        for row, name in enumerate(names)
    ]
    lists.write_text(json.dumps(rows))
    code, _, log = await nightly(example_environment, lists, tmp_path / "state")
    assert code == 0, log
    written = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.csv")}
    assert written == {
        "state/exports/0%2F../%2E.%2F..%2F..%2FDonors.csv",
        "state/exports/1%2F../Spring%2FGala.csv",
        "state/exports/2%2F../%2Ehidden.csv",
    }


async def test_after_a_budget_is_used_up_a_later_run_can_finish(
    example_environment: ExampleEnvironment, lists: Path, tmp_path: Path
):
    code, out, log = await nightly(example_environment, lists, tmp_path / "state", budget_cents=0)
    assert (code, json.loads(out)["failed"]) == (1, 3)
    assert "BudgetExceededError" in log
    assert example_environment.sandbox.counts().purchases == 0
    code, _, log = await nightly(example_environment, lists, tmp_path / "state")
    assert code == 0, log


async def test_a_concurrent_run_exits_at_once(example_environment: ExampleEnvironment, lists: Path, tmp_path: Path):
    folder = tmp_path / "state"
    folder.mkdir()
    async with Journal.open(folder / "journal.sqlite"):
        code, _, log = await nightly(example_environment, lists, folder)
    assert code == 75, log
    assert example_environment.sandbox.log.count() == 0


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("no JSON", "Expecting value"),
        ('[{"customer_id": "42"}]', "lists.json: a list has no 'audience_name'"),
        (
            '[{"customer_id": "", "audience_name": "A", "csv": "https://example.org/a"}]',
            "jobs[0].customer_id: must not be empty",
        ),
    ],
)
async def test_invalid_lists_are_a_usage_error(
    example_environment: ExampleEnvironment, tmp_path: Path, content: str, message: str
):
    (tmp_path / "lists.json").write_text(content)
    code, _, log = await nightly(example_environment, tmp_path / "lists.json", tmp_path / "state")
    assert code == 2, log
    assert message in log
    assert example_environment.sandbox.log.count() == 0


async def test_the_next_run_finishes_a_stopped_one(
    example_environment: ExampleEnvironment, lists: Path, tmp_path: Path
):
    process = await start(example_environment, lists, tmp_path / "state")
    while not example_environment.sandbox.log.count("POST /upload_csv"):
        await asyncio.sleep(0.001)
    process.send_signal(signal.SIGTERM)
    _, log = await process.communicate()
    assert process.returncode == 143, log.decode()
    code, _, text = await nightly(example_environment, lists, tmp_path / "state")
    assert code == 0, text
    assert example_environment.sandbox.counts().purchases == 3


async def test_the_notebook_runs_and_is_saved_without_outputs(
    example_environment: ExampleEnvironment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    for name, value in example_environment.subprocess_environment.items():
        monkeypatch.setenv(name, value)
    notebook = nbformat.read(EXAMPLES / "donors.ipynb", as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells)
    client = NotebookClient(notebook, timeout=60, resources={"metadata": {"path": str(tmp_path)}})
    await client.async_execute()
    shown = [
        output.data["text/plain"] for cell in notebook.cells for output in cell.get("outputs", []) if "data" in output
    ]
    assert "'ACTIVE'" in shown[0]
    assert (tmp_path / "donors-wider.csv").stat().st_size > 0
    assert example_environment.sandbox.counts().purchases == 1
