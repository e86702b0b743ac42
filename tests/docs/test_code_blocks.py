"""What the pages show is run as it stands, against a sandbox without people, so that any URL is a CSV."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from anyio.from_thread import start_blocking_portal
from cyclopts.exceptions import CycloptsError

from indigo_async import IndigoClient
from indigo_async.sandbox import Sandbox
from tests.docs.code_blocks import (
    SETUPS,
    SHELL_SETUPS,
    Block,
    blocks_of,
    run_block,
    run_shell_block,
    shell_blocks_of,
)

ROOT = Path(__file__).parent.parent.parent
ALL_PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("**/*.md"))]
PAGES = [page for page in ALL_PAGES if blocks_of(page) or shell_blocks_of(page)]


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    """In a thread and an event loop of its own, since the pages' programs have theirs."""
    with start_blocking_portal() as portal:
        sandbox = Sandbox(lite=True, speed=10_000.0)
        with portal.wrap_async_context_manager(sandbox):
            yield sandbox


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_code_on_a_page_runs(page: Path, sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("INDIGO_API_TOKEN", sandbox.token)
    monkeypatch.setenv("INDIGO_BASE_URL", sandbox.base_url)
    monkeypatch.setitem(IndigoClient.__init__.__kwdefaults__, "poll_interval", 0.005)
    names: dict[str, Any] = {"__name__": "__main__"}
    for block in blocks_of(page):
        run_block(block, names, sandbox.file_host, tmp_path)
    for block in shell_blocks_of(page):
        run_shell_block(block, tmp_path)


def test_every_setup_that_a_page_names_exists():
    named = {block.setup for page in PAGES for block in blocks_of(page) if block.setup is not None}
    assert named <= {*SETUPS, "a program", "a test file"}
    named = {block.setup for page in PAGES for block in shell_blocks_of(page) if block.setup is not None}
    assert named <= {*SHELL_SETUPS}


def test_a_failing_block_reports_the_line_of_its_page(tmp_path: Path, sandbox: Sandbox):
    page = tmp_path / "page.md"
    page.write_text("# A page\n\n<!-- test: lists -->\n\n```python\nmy_lists\n\nraise RuntimeError\n```\n")
    (block,) = blocks_of(page)
    assert block == Block(page, 5, "my_lists\n\nraise RuntimeError\n", "lists")
    with pytest.raises(RuntimeError) as caught:
        run_block(block, {}, sandbox.file_host, tmp_path)
    assert caught.traceback[-1].lineno + 1 == 8


def test_a_block_may_await_and_may_define_a_main(tmp_path: Path, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("INDIGO_API_TOKEN", sandbox.token)
    monkeypatch.setenv("INDIGO_BASE_URL", sandbox.base_url)
    page = tmp_path / "page.md"
    first = "```python\nasync def main():\n    ran.append(1)\n```\n"
    page.write_text(f"{first}\n```python\nran.append(await client.list_audiences())\n```\n")
    names: dict[str, Any] = {"ran": []}
    for block in blocks_of(page):
        run_block(block, names, sandbox.file_host, tmp_path)
    assert names["ran"] == [1, []]


@pytest.mark.parametrize("command", ["indigo-async run jobs.yaml --budget 5", "pip install 'indigo-async[clii]'"])
def test_a_shell_block_with_a_wrong_command_fails(tmp_path: Path, command: str):
    page = tmp_path / "page.md"
    page.write_text(f"```sh\npython3 -m venv .venv && .venv/bin/{command}\n```\n")
    (block,) = shell_blocks_of(page)
    with pytest.raises((CycloptsError, AssertionError)):
        run_shell_block(block, tmp_path)


def test_a_shell_block_that_fails_is_shown(tmp_path: Path):
    page = tmp_path / "page.md"
    page.write_text("<!-- test: run -->\n\n```sh\nls not-there\n```\n")
    (block,) = shell_blocks_of(page)
    with pytest.raises(AssertionError, match="not-there"):
        run_shell_block(block, tmp_path)
