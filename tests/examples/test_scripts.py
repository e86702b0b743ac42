"""The nightly job and the notebook run as they are, in processes of their own."""

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
def lists(tmp_path: Path, stage: ExampleEnvironment) -> Path:
    rows = [{"customer_id": "42", "audience_name": f"List {number}", "csv": stage.csv} for number in range(3)]
    path = tmp_path / "lists.json"
    path.write_text(json.dumps(rows))
    return path


async def start(
    stage: ExampleEnvironment, lists: Path, folder: Path, budget_cents: int = 1_000_000
) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, str(EXAMPLES / "nightly.py"), str(lists), str(folder), "--budget-cents", str(budget_cents)),
        env=stage.subprocess_environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


async def nightly(
    stage: ExampleEnvironment, lists: Path, folder: Path, budget_cents: int = 1_000_000
) -> tuple[int, str, str]:
    process = await start(stage, lists, folder, budget_cents)
    out, log = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(), log.decode()


async def test_every_list_is_bought_once_however_often_it_runs(stage: ExampleEnvironment, lists: Path, tmp_path: Path):
    for _ in range(2):
        code, out, log = await nightly(stage, lists, tmp_path / "state")
        assert code == 0, log
        assert json.loads(out)["done"] == 3
        assert stage.sandbox.token not in out + log
    assert stage.sandbox.counts().purchases == 3
    assert len(list((tmp_path / "state" / "exports" / "42").glob("List *.csv"))) == 3


async def test_no_name_leads_out_of_the_folder_of_exports(stage: ExampleEnvironment, lists: Path, tmp_path: Path):
    names = ["../../../Donors", "Spring/Gala", ".hidden"]
    rows = [{"customer_id": f"{row}/..", "audience_name": name, "csv": stage.csv} for row, name in enumerate(names)]
    lists.write_text(json.dumps(rows))
    code, _, log = await nightly(stage, lists, tmp_path / "state")
    assert code == 0, log
    written = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.csv")}
    assert written == {
        "state/exports/0%2F../%2E.%2F..%2F..%2FDonors.csv",
        "state/exports/1%2F../Spring%2FGala.csv",
        "state/exports/2%2F../%2Ehidden.csv",
    }


async def test_a_budget_that_is_used_up_is_a_failure_that_a_later_run_may_mend(
    stage: ExampleEnvironment, lists: Path, tmp_path: Path
):
    code, out, log = await nightly(stage, lists, tmp_path / "state", budget_cents=0)
    assert (code, json.loads(out)["failed"]) == (1, 3)
    assert "BudgetExceededError" in log
    assert stage.sandbox.counts().purchases == 0
    code, _, log = await nightly(stage, lists, tmp_path / "state")
    assert code == 0, log


async def test_a_second_run_at_once_ends_at_once(stage: ExampleEnvironment, lists: Path, tmp_path: Path):
    folder = tmp_path / "state"
    folder.mkdir()
    async with Journal.open(folder / "journal.sqlite"):
        code, _, log = await nightly(stage, lists, folder)
    assert code == 75, log
    assert stage.sandbox.log.count() == 0


@pytest.mark.parametrize(
    "content",
    [
        "no JSON",
        '[{"customer_id": "42"}]',
        '[{"customer_id": "", "audience_name": "A", "csv": "https://example.org/a"}]',
    ],
)
async def test_lists_that_cannot_be_read_are_misuse(stage: ExampleEnvironment, tmp_path: Path, content: str):
    (tmp_path / "lists.json").write_text(content)
    code, _, log = await nightly(stage, tmp_path / "lists.json", tmp_path / "state")
    assert code == 2, log
    assert stage.sandbox.log.count() == 0


async def test_a_run_that_is_stopped_is_ended_by_the_next_one(stage: ExampleEnvironment, lists: Path, tmp_path: Path):
    process = await start(stage, lists, tmp_path / "state")
    while not stage.sandbox.log.count("POST /upload_csv"):
        await asyncio.sleep(0.001)
    process.send_signal(signal.SIGTERM)
    _, log = await process.communicate()
    assert process.returncode == 143, log.decode()
    code, _, text = await nightly(stage, lists, tmp_path / "state")
    assert code == 0, text
    assert stage.sandbox.counts().purchases == 3


async def test_the_notebook_runs_and_is_kept_without_outputs(
    stage: ExampleEnvironment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    for name, value in stage.subprocess_environment.items():
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
    assert stage.sandbox.counts().purchases == 1
