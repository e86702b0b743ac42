"""The code on the pages passes mypy and Pyright in their strict modes, as a reader's own code would have to."""

from __future__ import annotations

import ast
import inspect
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from textwrap import indent

import pytest

from tests.docs.code_blocks import SETUPS, Block, blocks_of

ROOT = Path(__file__).parent.parent.parent
PAGES = [page for page in (ROOT / "README.md", *sorted((ROOT / "docs").glob("**/*.md"))) if blocks_of(page)]

CONTEXTS = {
    "bucket": """
        from pathlib import Path

        async def upload_to_bucket(path: Path, key: str) -> None: ...
        def presigned_url_of(key: str) -> str: return key
        async def remove_from_bucket(key: str) -> None: ...
    """,
    "columns": """
        from indigo_async import ColumnSelection, ColumnSelections

        columns = ColumnSelections(first_name=ColumnSelection("First Name", required=True))
    """,
    "lists": """
        from collections.abc import Sequence

        class MyList:
            customer: str
            name: str
            url: str

        my_lists: Sequence[MyList] = ()
    """,
    "shards": """
        from indigo_async.workflows import AudienceJob

        jobs: list[AudienceJob] = []
    """,
    "temporal": """
        from indigo_async.workflows import AudienceJob

        jobs: list[AudienceJob] = []
        job = jobs[0]
    """,
}
"""What the names that a page leaves to its reader are, by the setup that gives them when the page is run."""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A reader's project with the code of all pages: a package for each page, a module for each block."""
    folder = tmp_path_factory.mktemp("project")
    for number, page in enumerate(PAGES):
        write_page(page, folder / f"page_{number}")
    settings = {
        "typeCheckingMode": "strict",
        "pythonVersion": "3.11",
        "extraPaths": [str(ROOT)],
        "reportUnusedImport": False,  # a page ends before its reader's program does
        "reportUnusedVariable": False,
    }
    (folder / "pyrightconfig.json").write_text(json.dumps(settings))
    return folder


def write_page(page: Path, folder: Path) -> None:
    """Write the blocks of a page, each at its own lines.

    Each sees the names of those before. Those that await are the body of one function.
    """
    folder.mkdir()
    (folder / "__init__.py").touch()
    earlier = ["from indigo_async import IndigoClient"]
    cells: list[Block] = []
    for block in blocks_of(page):
        if block.setup in CONTEXTS:
            (folder / f"given_{block.setup}.py").write_text(inspect.cleandoc(CONTEXTS[block.setup]))
            earlier.append(f"from .given_{block.setup} import *")
        if awaits(block):
            cells.append(block)
        else:
            imports = "" if block.setup == "a test file" else "; ".join(earlier)
            (folder / f"block_{block.line}.py").write_text(imports + "\n" * block.line + block.code)
            earlier.append(f"from .block_{block.line} import *")
    if cells:
        text = "; ".join(earlier) + "\nasync def cells(client: IndigoClient) -> None:\n"
        for block in cells:
            text += "\n" * (block.line - text.count("\n")) + indent(block.code, "    ")
        (folder / "cells.py").write_text(text)


def awaits(block: Block) -> bool:
    code = compile(block.code, str(block.page), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    return bool(code.co_flags & inspect.CO_COROUTINE)


def test_pages_pass_mypy(project: Path):
    # Blocks use what earlier ones imported, and several may define `main`. The package has its own check.
    options = ["--strict", "--implicit-reexport", "--disable-error-code", "no-redef", "--follow-imports", "silent"]
    check(project, sys.executable, "-m", "mypy", *options, "--python-version", "3.11", "--no-incremental", ".")


def test_pages_pass_pyright(project: Path):
    check(project, sys.executable, "-m", "pyright", "--pythonpath", sys.executable)


def check(project: Path, *command: str) -> None:
    """Fail with the errors that a type checker finds, at the lines of the pages."""
    environment = os.environ | {"MYPYPATH": str(ROOT)}
    run = subprocess.run(
        command, cwd=project, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    if run.returncode != 0:
        report = run.stdout + run.stderr
        for number, page in enumerate(PAGES):
            report = re.sub(rf"\S*page_{number}/\w+\.py", str(page.relative_to(ROOT)), report)
        pytest.fail(report, pytrace=False)


def test_contexts_belong_to_setups():
    assert CONTEXTS.keys() <= SETUPS.keys()
