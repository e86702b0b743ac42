"""The code on a page, and how each block is run.

The blocks of a page are one program, run in their order. A comment before a block, `<!-- test: NAME -->`, prepares it,
and judges it afterwards, by one of `SETUPS`. A block that defines `main` and leaves running it to the reader is run as
a reader would; one that awaits something outside of a function has an open `client`, as a notebook's cell would.

A shell block without such a comment installs something, or never ends: only its commands are checked. With one of
`SHELL_SETUPS`, it is run by bash.
"""

from __future__ import annotations

import ast
import asyncio
import inspect
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch
from urllib.parse import urlsplit

import attrs
from markdown_it import MarkdownIt
from moto.server import ThreadedMotoServer

from indigo_async import ColumnSelection, ColumnSelections, IndigoClient
from indigo_async._extras import EXTRAS
from indigo_async.cli.app import app as command_line
from indigo_async.files import Publisher, content_name
from indigo_async.sandbox import FileHost
from indigo_async.workflows import AudienceJob
from tests.support.processes import fast_polling
from tests.support.servers.s3 import KEY_ID, REGION, SECRET_KEY, S3Server
from tests.support.servers.temporal import temporal_server

__all__ = ["SETUPS", "SHELL_SETUPS", "Block", "blocks_of", "run_block", "run_shell_block", "shell_blocks_of"]

_ROOT = Path(__file__).parents[2]
_FAST_POLLING = Path(fast_polling.__file__).parent
_EXTRAS = re.compile(r"indigo[-_]async\[([a-z,]+)\]")
_SETUP = re.compile(r"<!--\s*test:\s*(.+?)\s*-->")


@attrs.frozen
class Block:
    """Code on a page, from that line on."""

    page: Path
    line: int
    code: str = attrs.field(repr=False)
    setup: str | None


def blocks_of(page: Path) -> list[Block]:
    """The Python blocks of a page."""
    return _blocks_of(page, "python")


def shell_blocks_of(page: Path) -> list[Block]:
    return _blocks_of(page, "sh")


def _blocks_of(page: Path, language: str) -> list[Block]:
    blocks: list[Block] = []
    setup = None
    for token in MarkdownIt().parse(page.read_text(encoding="utf-8")):
        if token.type == "html_block" and (named := _SETUP.search(token.content)):
            setup = named[1]
        elif token.type == "fence":
            if token.info.split()[:1] == [language]:
                blocks.append(Block(page, token.map[0] + 1, token.content, setup))
            setup = None
    return blocks


def run_block(block: Block, names: dict[str, Any], files: FileHost, folder: Path) -> None:
    """Run a block with the names that the earlier ones of its page have left, in a folder of the test's own."""
    if block.setup in _IN_A_PROCESS:
        _IN_A_PROCESS[block.setup](block, folder)
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
        if names["client"] is not client:  # a cell that opens a client leaves closing it to a later one
            await names["client"].aclose()


def _run_tests(block: Block, folder: Path) -> None:
    path = folder / "test_of_the_page.py"
    path.write_text("\n" * block.line + block.code)
    (folder / "pyproject.toml").write_text('[tool.pytest.ini_options]\naddopts = "-p no:asyncio -p no:schemathesis"\n')
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(path)]
    run = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=False)
    assert run.returncode == 0, run.stdout + run.stderr


def _run_program(block: Block, folder: Path) -> None:
    """Run a block as a program by itself, with its own sandbox."""
    path = folder / "first.py"
    path.write_text("\n" * block.line + block.code)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("INDIGO_")}
    environment["PYTHONPATH"] = str(_ROOT)
    run = subprocess.run(
        [sys.executable, str(path)],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr


_IN_A_PROCESS: dict[str | None, Callable[[Block, Path], None]] = {
    "a program": _run_program,
    "a test file": _run_tests,
}


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
def _local_files(_: dict[str, Any], __: FileHost, folder: Path) -> Iterator[None]:
    _write_lists(folder)
    yield


def _write_lists(folder: Path) -> None:
    (folder / "lists").mkdir(exist_ok=True)
    for name in ("donors", "members", "volunteers"):
        text = f"First Name,Last Name,Zip Code\nAda,{name.title()},19103\nGrace,{name.title()},19104\n"
        (folder / "lists" / f"{name}.csv").write_text(text)


@contextmanager
def _profiles(_: dict[str, Any], __: FileHost, folder: Path) -> Iterator[None]:
    """The page's profile, with the sandbox's token and address instead of those of the environment."""
    token, base_url = os.environ["INDIGO_API_TOKEN"], os.environ["INDIGO_BASE_URL"]
    path = folder / "profiles.toml"
    path.touch(mode=0o600)
    path.write_text(f'[acme]\ntoken = "{token}"\nbase_url = "{base_url}"\n')
    with patch.dict(os.environ, {"INDIGO_PROFILES_FILE": str(path)}):
        del os.environ["INDIGO_API_TOKEN"], os.environ["INDIGO_BASE_URL"]
        yield


@contextmanager
def _bucket_of_the_page() -> Iterator[S3Server]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        address = f"http://{host}:{port}"
        S3Server(address).create_bucket("my-bucket")
        settings = {
            "AWS_ACCESS_KEY_ID": KEY_ID,
            "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
            "AWS_REGION": REGION,
            "AWS_ENDPOINT_URL": address,
            "AWS_ALLOW_HTTP": "true",
        }
        with patch.dict(os.environ, settings):
            yield S3Server(address)
    finally:
        server.stop()


@contextmanager
def _s3(_: dict[str, Any], __: FileHost, folder: Path) -> Iterator[None]:
    """The page's bucket, and a file to publish in it."""
    _write_lists(folder)
    with _bucket_of_the_page() as server:
        yield
        assert server.objects("my-bucket") == {}


@contextmanager
def _shards(names: dict[str, Any], _: FileHost, __: Path) -> Iterator[None]:
    """The page's bucket, and jobs of several customers."""
    names["jobs"] = _make_jobs(3)
    with _bucket_of_the_page() as server:
        yield
        assert server.objects("my-bucket")
    assert names["report"].fence_spent_cents == 0


def _make_jobs(count: int) -> list[AudienceJob]:
    return [
        AudienceJob(
            customer_id="42",
            audience_name=f"Donors {number}",
            csv=f"https://files.example.org/{number}.csv",
            column_selections=ColumnSelections(first_name=ColumnSelection("First Name", required=True)),
        )
        for number in range(count)
    ]


@contextmanager
def _temporal(names: dict[str, Any], _: FileHost, folder: Path) -> Iterator[None]:
    """A Temporal server and a worker of its own, and jobs that nobody has run."""
    jobs = _make_jobs(3)
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
    "local files": _local_files,
    "a notebook": lambda *_: nullcontext(),
    "profiles": _profiles,
    "s3": _s3,
    "shards": _shards,
    "temporal": _temporal,
}


def run_shell_block(block: Block, folder: Path) -> None:
    """Check the commands of a shell block, and run it where it can be run."""
    for line in _logical_lines(block.code):
        _check_command(line)
    if block.setup is None:
        return
    SHELL_SETUPS[block.setup](block.page, folder)
    command = folder / "bin" / "indigo-async"
    command.parent.mkdir(exist_ok=True)
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m indigo_async "$@"\n')
    command.chmod(0o755)
    environment = os.environ | {
        "PATH": f"{command.parent}:{os.environ['PATH']}",
        "PYTHONPATH": f"{_FAST_POLLING}:{_ROOT}",
        "COLUMNS": "200",
    }
    script = ["bash", "-euo", "pipefail", "-c", block.code]
    run = subprocess.run(script, cwd=folder, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert run.returncode == 0, f"{block}\n{run.stdout}{run.stderr}"


def _logical_lines(script: str) -> list[list[str]]:
    """The commands of a script, as words. Those after `&&`, `|` and `;` count, too."""
    lexer = shlex.shlex(script.replace("\\\n", " ").replace("\n", " ; "), posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    lines: list[list[str]] = [[]]
    for word in lexer:
        if set(word) <= {";", "&", "|"}:
            lines.append([])
        else:
            lines[-1].append(word)
    return [line for line in lines if line]


def _check_command(words: list[str]) -> None:
    """Check that the options of `indigo-async` exist, and the extras that are installed."""
    program = Path(words[0]).name
    if program == "indigo-async":
        arguments = words[1 : words.index(">")] if ">" in words else words[1:]
        if not {"--help", "--install-completion"} & {*arguments}:
            command_line.parse_args(arguments, exit_on_error=False, print_error=False)
    elif "install" in words:
        extras = {extra for word in words for match in _EXTRAS.findall(word) for extra in match.split(",")}
        assert extras <= {*EXTRAS, "all"}, f"unknown extras: {words}"


def _no_setup(_: Path, __: Path) -> None:
    pass


def _a_manifest(page: Path, folder: Path) -> None:
    """Write the manifest that the page shows, and the lists that it names."""
    _write_lists(folder)
    (manifest,) = _blocks_of(page, "yaml")
    (folder / "jobs.yaml").write_text(manifest.code)


SHELL_SETUPS: dict[str, Callable[[Path, Path], None]] = {
    "a manifest": _a_manifest,
    "run": _no_setup,
}
