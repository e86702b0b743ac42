"""The Python blocks of a page, and how each is run.

The blocks of a page are one program, run in their order. A comment before a block, `<!-- test: NAME -->`, prepares it,
and judges it afterwards, by one of `SETUPS`. A block that defines `main` and leaves running it to the reader is run as
a reader would; one that awaits something outside of a function has an open `client`, as a notebook's cell would.
"""

from __future__ import annotations

import ast
import asyncio
import inspect
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import attrs
from markdown_it import MarkdownIt

from indigo_async import ColumnSelection, ColumnSelections, IndigoClient
from indigo_async.files import Publisher, content_name
from indigo_async.sandbox import FileHost
from indigo_async.workflows import AudienceJob
from tests.support.servers.temporal import temporal_server

__all__ = ["Block", "blocks_of", "run_block"]

_SETUP = re.compile(r"<!--\s*test:\s*(.+?)\s*-->")


@attrs.frozen
class Block:
    """Python code on a page, from that line on."""

    page: Path
    line: int
    code: str = attrs.field(repr=False)
    setup: str | None


def blocks_of(page: Path) -> list[Block]:
    blocks: list[Block] = []
    setup = None
    for token in MarkdownIt().parse(page.read_text(encoding="utf-8")):
        if token.type == "html_block" and (named := _SETUP.search(token.content)):
            setup = named[1]
        elif token.type == "fence":
            if token.info.split()[:1] == ["python"]:
                blocks.append(Block(page, token.map[0] + 1, token.content, setup))
            setup = None
    return blocks


def run_block(block: Block, names: dict[str, Any], files: FileHost, folder: Path) -> None:
    """Run a block with the names that the earlier ones of its page have left, in a folder of the test's own."""
    if block.setup == "a test file":
        _run_tests(block, folder)
        return
    prepared = SETUPS[block.setup](names, files, folder) if block.setup is not None else nullcontext()
    with prepared:
        _run(block, names)


def _run(block: Block, names: dict[str, Any]) -> None:
    before = names.get("main")
    source = "\n" * block.line + block.code  # so that tracebacks tell the line of the page
    code = compile(source, str(block.page), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    if code.co_flags & inspect.CO_COROUTINE:
        asyncio.run(_run_with_client(code, names))
        return
    exec(code, names)
    main = names.get("main")
    if main is not before and "asyncio.run(" not in block.code:
        asyncio.run(main())


async def _run_with_client(code: Any, names: dict[str, Any]) -> None:
    async with IndigoClient() as client:
        names["client"] = client
        await eval(code, names)


def _run_tests(block: Block, folder: Path) -> None:
    path = folder / "test_of_the_page.py"
    path.write_text("\n" * block.line + block.code)
    (folder / "pyproject.toml").write_text('[tool.pytest.ini_options]\naddopts = "-p no:asyncio"\n')
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(path)]
    run = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=False)
    assert run.returncode == 0, run.stdout + run.stderr


@contextmanager
def _lists(names: dict[str, Any], _: FileHost, __: Path) -> Iterator[None]:
    names["my_lists"] = [
        SimpleNamespace(customer=f"customer-{n}", name=f"Donors {n}", url=f"https://files.example.org/{n}.csv")
        for n in range(3)
    ]
    yield


@contextmanager
def _bucket(names: dict[str, Any], files: FileHost, folder: Path) -> Iterator[None]:
    """A store of objects with the three functions that a page calls the reader's own, and a use of its `Bucket`."""
    urls: dict[str, str] = {}

    async def upload_to_bucket(path: Path, place: str) -> None:
        urls[place] = files.put(path, name=place.rpartition("/")[2])

    async def remove_from_bucket(place: str) -> None:
        files.remove(urls.pop(place))

    names |= {
        "upload_to_bucket": upload_to_bucket,
        "presigned_url_of": lambda place: f"{urls[place]}?signature=1",
        "remove_from_bucket": remove_from_bucket,
    }
    yield
    asyncio.run(_publish(names["Bucket"](), folder / "donors.csv", urls))
    assert urls == {}


async def _publish(publisher: Publisher, path: Path, there: Mapping[str, str]) -> None:
    """Publish a file twice at once: each publication is there until its own end."""
    path.write_text("First Name\nAda\n")
    async with publisher.publish(path) as url:
        async with publisher.publish(path):
            pass
        assert len(there) == 1
        assert urlsplit(url).path.endswith(f"/{await content_name(path)}")


@contextmanager
def _columns(names: dict[str, Any], _: FileHost, __: Path) -> Iterator[None]:
    names["columns"] = ColumnSelections(first_name=ColumnSelection("First Name", required=True))
    yield


@contextmanager
def _temporal(names: dict[str, Any], _: FileHost, folder: Path) -> Iterator[None]:
    """A Temporal server and a worker of its own, and jobs that nobody has run."""
    jobs = [
        AudienceJob(
            customer_id="42",
            audience_name=f"Donors {number}",
            csv=f"https://files.example.org/{number}.csv",
            column_selections=ColumnSelections(first_name=ColumnSelection("First Name", required=True)),
        )
        for number in range(3)
    ]
    names |= {"job": jobs[0], "jobs": jobs[1:]}
    with temporal_server(folder) as address:
        environment = os.environ | {"TEMPORAL_ADDRESS": address}
        command = [sys.executable, "-m", "indigo_async", "worker", "--exports", "exports", "--poll-interval", "0.05"]
        with subprocess.Popen([*command, "--quiet"], cwd=folder, env=environment) as worker:
            before = os.environ.get("TEMPORAL_ADDRESS")
            os.environ["TEMPORAL_ADDRESS"] = address
            try:
                yield
            finally:
                worker.terminate()
                os.environ.pop("TEMPORAL_ADDRESS")
                if before is not None:
                    os.environ["TEMPORAL_ADDRESS"] = before
    assert names["end"].done == 2


SETUPS: dict[str, Callable[[dict[str, Any], FileHost, Path], AbstractContextManager[None]]] = {
    "bucket": _bucket,
    "columns": _columns,
    "lists": _lists,
    "temporal": _temporal,
}
