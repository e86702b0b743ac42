from __future__ import annotations

import re
import socket
from contextlib import closing
from pathlib import Path

import pytest
from cyclopts import Token

from indigo_async import IndigoClient, RetryPolicy
from indigo_async.cli.app import _COMMANDS, app
from indigo_async.errors import ConnectionFailedError, NotFoundError, ResponseDecodeError
from indigo_async.sandbox import Sandbox
from tests.support.command_line import RunCommand
from tests.support.processes.commands import write_manifest
from tests.support.servers.scripted import respond_with, server_and_client

CUSTOMER = ("--customer", "42")
NAMED = (*CUSTOMER, "--name", "Donors")
URL = "https://files.example.org/donors.csv"


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("nope",), ('Unknown command "nope"',)),
        (("audiences", "--bas-url", "x"), ("--base-url", "indigo-async audiences --help")),
        (("audiences", "extra"), ("unexpected: extra\nSee indigo-async audiences --help",)),
        (("audiences", "--customer", ""), ("--customer: must not be empty",)),
        (("audiences", "--base-url", "http://example.org/api/v1"), ("--base-url or INDIGO_BASE_URL: must be https",)),
        (("audience",), ("AUDIENCE_ID",)),
        (("upload",), ("CSV",)),
        (("upload", "no-such.csv", *CUSTOMER), ("there is no file 'no-such.csv'",)),
        (("upload", "http://example.org/x.csv", *CUSTOMER), ("must be https",)),
        (
            ("match", URL, "--name", "N"),
            ("--customer is missing\nUsage: indigo-async match [CSV] --customer CUSTOMER --name NAME [OPTIONS]\nSee",),
        ),
        (("match", URL, "--customer", "--name", "N"), ("--customer needs a value: --customer CUSTOMER\nSee",)),
        (("match", URL, *CUSTOMER, "--name"), ("--name needs a value: --name NAME\nSee",)),
        (("run",), ("MANIFEST is missing\nUsage: indigo-async run MANIFEST [OPTIONS]\nSee indigo-async run --help",)),
        (
            ("lookalike", "aud-1"),
            ("--customer is missing\nUsage: indigo-async lookalike BASE --customer CUSTOMER --name NAME --size SIZE",),
        ),
        (("match", *NAMED, "--required", "zip=Zip"), ("give either a CSV or --uploaded",)),
        (("match", URL, *NAMED), ("columns: none given",)),
        (("match", "no-such.csv", *NAMED, "--required", "zip=Zip"), ("there is no file 'no-such.csv'",)),
        (
            ("match", URL, *NAMED, "--required", "first_nme=First", "--optional", "zip", "--optional", "id=ID"),
            ("did you mean 'first_name'?", "--optional zip: must be FIELD=COLUMN", "id: must be"),
        ),
        (("match", URL, *NAMED, "--required", "zip=A", "--optional", "zip=B"), ("zip is given twice",)),
        (("match", URL, *NAMED, "--columns", "no-such.yaml"), ("no-such.yaml: can't be read",)),
        (("match", URL, *NAMED, "--columns", "x.yaml", "--required", "zip=Z"), ("omit --required and --optional",)),
        (("match", URL, *NAMED, "--required", "zip=Z", "--timeout", "0"), ("--timeout",)),
        (("lookalike", "aud-1", *NAMED, "--size", "many"), ("--size",)),
        (("lookalike", "aud-1", *NAMED, "--size", "0"), ("size: must be at least 1",)),
        (("export", "aud-1", *CUSTOMER), ("--out",)),
        (("export", "aud-1", *CUSTOMER, "--out", "x.csv", "--max-cost-cents", "$5"), ("--max-cost-cents",)),
        (
            ("export", "aud-1", *CUSTOMER, "--out", "/", "--field", "phon", "--max-cost-cents", "-1"),
            ("did you mean 'phone'?", "is a folder", "--max-cost-cents: must be at least $0.00"),
        ),
        (("export", "aud-1", *CUSTOMER, "--out", "exports/"), ("--out: 'exports/' is a folder; name a file",)),
        (
            (
                "export",
                "aud-1",
                *CUSTOMER,
                "--out",
                "x",
                "--export-id",
                "e",
                "--field",
                "phone",
                "--buy-another",
                "--allow-empty",
            ),
            (
                "--field: can't be combined with --export-id",
                "purchases nothing: omit --reuse-purchased and --buy-another",
                "purchases nothing: omit --allow-empty",
            ),
        ),
        (("watch",), ("AUDIENCE_IDS",)),
        (("watch", "aud-1", "--poll-interval", "-1"), ("--poll-interval",)),
        (("doctor", "--journals", "x"), ("--journals",)),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
async def test_usage_error_is_explained_and_changes_nothing(
    command_line: RunCommand, arguments: tuple[str, ...], expected: tuple[str, ...]
):
    async with Sandbox(lite=True) as sandbox:
        await sandbox.seed_audiences(1, "42")
        result = await command_line(sandbox, *arguments)
        assert not [entry for entry in sandbox.log.entries if entry.method == "POST"]
    assert (result.exit_code, result.stdout) == (2, ""), result.stderr
    for message in expected:
        assert message in result.stderr


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The working folder, with a manifest and something else."""
    write_manifest(tmp_path, 1)
    (tmp_path / "some.txt").write_text("not a journal")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "code", "expected"),
    [
        (
            "run jobs.yaml --journal no/such/folder/run.journal",
            2,
            "--journal: the folder no/such/folder does not exist",
        ),
        ("quote jobs.yaml --journal no/run.journal", 2, "--journal: the folder no does not exist"),
        ("run jobs.yaml --journal some.txt", 2, "--journal: some.txt exists and is not a journal; choose another file"),
        ("quote jobs.yaml --journal jobs.yaml", 2, "--journal: jobs.yaml exists and is not a journal"),
        ("run jobs.yaml --journal .", 2, "--journal: . exists and is not a journal"),
        ("run no-such.yaml", 2, "no-such.yaml: cannot be read"),
        ("run jobs.yaml --out some.txt", 2, "is not writable"),
        ("run jobs.yaml --budget-cents -1", 2, "--budget-cents: must be at least $0.00"),
        ("report some.txt --html page.html", 2, "some.txt is not a journal"),
        ("report no/run.journal --html page.html", 2, "no/run.journal does not exist"),
        ("export aud-9 --customer 42 --out exports/x.csv", 1, "no such audience"),
        ("demo --out some.txt", 2, "--out: some.txt is not a folder"),
    ],
)
async def test_refusals_create_nothing(
    command_line: RunCommand, folder: Path, arguments: str, code: int, expected: str
):
    async with Sandbox(lite=True) as sandbox:
        result = await command_line(sandbox, *arguments.split())
    assert (result.exit_code, result.stdout) == (code, ""), result.stderr
    assert expected in result.stderr
    assert {path.name for path in folder.rglob("*")} == {"jobs.yaml", "some.txt"}


@pytest.mark.parametrize(
    "given", ["6192.9", "50.00", "0x10", "5_000_000", "5,000", "1.0e-1", "1e4", "+5", " 5", "", "none"]
)
async def test_whole_numbers_take_digits_only(command_line: RunCommand, given: str):
    async with Sandbox(lite=True) as sandbox:
        for command in (
            ("export", "aud-1", *CUSTOMER, "--out", "x.csv", "--max-cost-cents"),
            ("run", "jobs.yaml", "--budget-cents"),
            ("lookalike", "aud-1", *NAMED, "--size"),
        ):
            result = await command_line(sandbox, *command, given)
            assert (result.exit_code, result.stdout) == (2, ""), result.stderr
            assert f"{command[-1]}: must be a whole number, digits only, such as 20000, not {given!r}" in result.stderr
        assert sandbox.log.count() == 0


def test_every_int_option_takes_digits_only():
    options = {
        argument.name: argument
        for command in _COMMANDS
        for argument in app[command].assemble_argument_collection()
        if re.search(r"\bint\b", str(argument.hint))
    }
    assert {"--max-cost-cents", "--budget-cents", "--size", "--max-jobs", "--port", "--seed"} <= options.keys()
    for name, option in options.items():
        assert option.parameter.converter is not None, name
        with pytest.raises(ValueError, match="must be a whole number, digits only"):
            option.parameter.converter(int, [Token(keyword=name, value="50.00")])


async def test_token_problems_are_explained(command_line: RunCommand):
    async with Sandbox(lite=True) as sandbox:
        missing = await command_line(sandbox, "audiences", INDIGO_API_TOKEN="")
        refused = await command_line(sandbox, "audiences", INDIGO_API_TOKEN="canary-0f9e8d")
        watched = await command_line(sandbox, "watch", "aud-1", INDIGO_API_TOKEN="canary-0f9e8d")
        no_file = await command_line(sandbox, "audiences", INDIGO_API_TOKEN="", INDIGO_API_TOKEN_FILE="/no/such")
        wrong_place = await command_line(sandbox, "audiences", "--base-url", sandbox.base_url.removesuffix("/api/v1"))
    assert missing.exit_code == 2
    assert "INDIGO_API_TOKEN" in missing.stderr
    assert refused.exit_code == 5
    assert "check the token: INDIGO_API_TOKEN, the file that INDIGO_API_TOKEN_FILE names" in refused.stderr
    assert "token=" not in missing.stderr + refused.stderr + watched.stderr
    assert watched.exit_code == 5
    assert "check the token: INDIGO_API_TOKEN, the file" in watched.stderr
    assert "canary-0f9e8d" not in watched.stderr + refused.stdout + refused.stderr
    assert no_file.exit_code == 2
    assert "/no/such (set by INDIGO_API_TOKEN_FILE): No such file or directory; point it at" in no_file.stderr
    assert wrong_place.exit_code == 1
    assert "check --base-url or INDIGO_BASE_URL: the API's own ends with /api/v1" in wrong_place.stderr


async def test_bug_is_called_a_bug_and_shows_its_traceback_only_with_debug(
    command_line: RunCommand, monkeypatch: pytest.MonkeyPatch
):
    async def broken(self: IndigoClient, customer_id: str | None = None) -> None:
        raise TypeError(f"with {self.transport.token}, of {customer_id}")

    monkeypatch.setattr(IndigoClient, "list_audiences", broken)
    async with Sandbox(lite=True) as sandbox:
        result = await command_line(sandbox, "audiences", *CUSTOMER)
        debugged = await command_line(sandbox, "audiences", *CUSTOMER, "--debug")
    assert result.exit_code == debugged.exit_code == 1
    assert "this is a bug in indigo-async" in result.stderr
    assert "(TypeError)" in result.stderr
    assert "of 42" not in result.stderr
    assert "TypeError: with <hidden>, of 42" in debugged.stderr


async def test_traceback_shows_neither_the_token_nor_control_characters(
    command_line: RunCommand, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    async def broken(_: IndigoClient, customer_id: str | None = None) -> None:
        raise TypeError(f"\x1b]0;owned\x07with canary-f11e, of {customer_id}")

    monkeypatch.setattr(IndigoClient, "list_audiences", broken)
    (tmp_path / "token").write_text("canary-f11e\n")
    async with Sandbox(lite=True) as sandbox:
        result = await command_line(
            sandbox,
            *("audiences", *CUSTOMER, "--debug"),
            INDIGO_API_TOKEN="",
            INDIGO_API_TOKEN_FILE=str(tmp_path / "token"),
        )
    assert (
        "TypeError: \N{REPLACEMENT CHARACTER}]0;owned\N{REPLACEMENT CHARACTER}with <hidden>, of 42\n" in result.stderr
    )
    assert "Traceback (most recent call last):\n" in result.stderr
    assert not {"\x1b", "\x07"} & set(result.stderr)
    assert "canary-f11e" not in result.stderr


@pytest.mark.parametrize(
    ("errors", "code", "expected"),
    [
        ((TimeoutError(2, "no such luck"),), 1, "indigo-async: no such luck\n"),
        ((KeyboardInterrupt(),), 130, "interrupted"),
        ((TimeoutError(2, "no such luck"), TimeoutError(2, "nor that")), 1, "indigo-async: no such luck\n"),
        ((ValueError("a"), TypeError("b")), 1, "(ExceptionGroup)"),
    ],
)
async def test_exception_group_of_one_type_is_reported_as_a_single_error(
    command_line: RunCommand,
    monkeypatch: pytest.MonkeyPatch,
    errors: tuple[BaseException, ...],
    code: int,
    expected: str,
):
    async def broken(_: IndigoClient, customer_id: str | None = None) -> None:
        raise BaseExceptionGroup("", [BaseExceptionGroup(f"of {customer_id}", errors)])

    monkeypatch.setattr(IndigoClient, "list_audiences", broken)
    async with Sandbox(lite=True) as sandbox:
        result = await command_line(sandbox, "audiences", *CUSTOMER)
    assert (result.exit_code, result.stdout) == (code, "")
    assert expected in result.stderr


async def test_completion_is_installed_for_the_shell(command_line: RunCommand, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    result = await command_line(None, "--install-completion", "--shell", "bash")
    assert result.exit_code == 0, result.stderr
    (script,) = [path for path in tmp_path.rglob("*") if path.name.startswith("indigo-async")]
    for word in ("export", "doctor", "--max-cost-cents"):
        assert word in script.read_text()


async def test_refused_connection_has_a_short_message():
    with closing(socket.socket()) as unused:
        unused.bind(("127.0.0.1", 0))  # bound but not listening: connections are refused
        host, port = unused.getsockname()
        base_url = f"http://{host}:{port}/api/v1"
        async with IndigoClient("canary-77", base_url=base_url, retry=RetryPolicy(attempts=1)) as client:
            with pytest.raises(ConnectionFailedError) as caught:
                await client.list_audiences()
    message = f"no connection could be made ({host}:{port}, connection refused); check base_url and the network"
    assert str(caught.value) == f"GET /audiences: {message}"


async def test_html_instead_of_json_says_to_check_the_address():
    page = respond_with(200, b"<html></html>", content_type="text/html")
    nothing = respond_with(404, b"<html></html>", content_type="text/html")
    async with server_and_client(page, nothing, retry=RetryPolicy(attempts=1)) as (_, client):
        for kind in (ResponseDecodeError, NotFoundError):
            with pytest.raises(kind, match="check base_url: the API's own ends with /api/v1"):
                await client.list_audiences()
