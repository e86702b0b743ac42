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
from tests.support.servers.scripted import respond_with, server_and_client

CUSTOMER = ("--customer", "42")
NAMED = (*CUSTOMER, "--name", "Donors")
URL = "https://files.example.org/donors.csv"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("nope",), ('Unknown command "nope"',)),
        (("audiences", "--bas-url", "x"), ("--base-url", "indigo-async audiences --help")),
        (("audiences", "extra"), ("extra",)),
        (("audiences", "--customer", ""), ("customer_id: must not be empty",)),
        (("audiences", "--base-url", "http://example.org/api/v1"), ("--base-url or INDIGO_BASE_URL: must be https",)),
        (("audience",), ("AUDIENCE_ID",)),
        (("upload",), ("CSV",)),
        (("upload", "no-such.csv", *CUSTOMER), ("there is no file 'no-such.csv'",)),
        (("upload", "http://example.org/x.csv", *CUSTOMER), ("must be https",)),
        (("match", URL), ("--customer",)),
        (("match", *NAMED, "--required", "zip=Zip"), ("give either a CSV or --uploaded",)),
        (("match", URL, *NAMED), ("columns: none given",)),
        (("match", "no-such.csv", *NAMED, "--required", "zip=Zip"), ("there is no file 'no-such.csv'",)),
        (
            ("match", URL, *NAMED, "--required", "first_nme=First", "--optional", "zip", "--optional", "id=ID"),
            ("did you mean 'first_name'?", "--optional zip: must be FIELD=COLUMN", "column_selections.id: must be"),
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
            ("did you mean 'phone'?", "is a folder", "at least 0 cents"),
        ),
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
async def test_misuse_is_told_in_words_and_changes_nothing(
    command_line: RunCommand, arguments: tuple[str, ...], words: tuple[str, ...]
):
    async with Sandbox(lite=True) as sandbox:
        await sandbox.seed_audiences(1, "42")
        ended = await command_line(sandbox, *arguments)
        assert not [entry for entry in sandbox.log.entries if entry.method == "POST"]
    assert (ended.exit_code, ended.stdout) == (2, ""), ended.stderr
    for word in words:
        assert word in ended.stderr


@pytest.mark.parametrize(
    "given", ["6192.9", "50.00", "0x10", "5_000_000", "5,000", "1.0e-1", "1e4", "+5", " 5", "", "none"]
)
async def test_a_whole_number_is_digits_alone_so_that_none_is_rounded(command_line: RunCommand, given: str):
    async with Sandbox(lite=True) as sandbox:
        for command in (
            ("export", "aud-1", *CUSTOMER, "--out", "x.csv", "--max-cost-cents"),
            ("run", "jobs.yaml", "--budget-cents"),
            ("lookalike", "aud-1", *NAMED, "--size"),
        ):
            ended = await command_line(sandbox, *command, given)
            assert (ended.exit_code, ended.stdout) == (2, ""), ended.stderr
            assert f"{command[-1]}: must be a whole number, digits only, such as 20000, not {given!r}" in ended.stderr
        assert sandbox.log.count() == 0


def test_every_option_that_takes_a_whole_number_takes_digits_alone():
    options = {
        argument.name: argument
        for command in _COMMANDS
        for argument in app[command].assemble_argument_collection()
        if re.search(r"\bint\b", str(argument.hint))
    }
    assert {"--max-cost-cents", "--budget-cents", "--size", "--max-stages", "--port", "--seed"} <= options.keys()
    for name, option in options.items():
        assert option.parameter.converter is not None, name
        with pytest.raises(ValueError, match="must be a whole number, digits only"):
            option.parameter.converter(int, [Token(keyword=name, value="50.00")])


async def test_a_token_that_is_missing_refused_or_in_no_file_is_told(command_line: RunCommand):
    async with Sandbox(lite=True) as sandbox:
        missing = await command_line(sandbox, "audiences", INDIGO_API_TOKEN="")
        refused = await command_line(sandbox, "audiences", INDIGO_API_TOKEN="canary-0f9e8d")
        watched = await command_line(sandbox, "watch", "aud-1", INDIGO_API_TOKEN="canary-0f9e8d")
        no_file = await command_line(sandbox, "audiences", INDIGO_API_TOKEN="", INDIGO_API_TOKEN_FILE="/no/such")
        wrong_place = await command_line(sandbox, "audiences", "--base-url", sandbox.base_url.removesuffix("/api/v1"))
    assert missing.exit_code == 2
    assert "INDIGO_API_TOKEN" in missing.stderr
    assert refused.exit_code == 5
    assert "check the token: INDIGO_API_TOKEN, or the file that INDIGO_API_TOKEN_FILE names" in refused.stderr
    assert "token=" not in missing.stderr + refused.stderr + watched.stderr
    assert watched.exit_code == 5
    assert "check the token: INDIGO_API_TOKEN, or" in watched.stderr
    assert "canary-0f9e8d" not in watched.stderr + refused.stdout + refused.stderr
    assert no_file.exit_code == 2
    assert "/no/such (set by INDIGO_API_TOKEN_FILE): No such file or directory. Point it at" in no_file.stderr
    assert wrong_place.exit_code == 1
    assert "check --base-url or INDIGO_BASE_URL: the API's own ends with /api/v1" in wrong_place.stderr


async def test_a_bug_is_called_a_bug_and_shows_its_traceback_to_who_asks_alone(
    command_line: RunCommand, monkeypatch: pytest.MonkeyPatch
):
    async def broken(self: IndigoClient, customer_id: str | None = None) -> None:
        raise TypeError(f"with {self.transport.token}, of {customer_id}")

    monkeypatch.setattr(IndigoClient, "list_audiences", broken)
    async with Sandbox(lite=True) as sandbox:
        ended = await command_line(sandbox, "audiences", *CUSTOMER)
        debugged = await command_line(sandbox, "audiences", *CUSTOMER, "--debug")
    assert ended.exit_code == debugged.exit_code == 1
    assert "this is a bug in indigo-async" in ended.stderr
    assert "(TypeError)" in ended.stderr
    assert "of 42" not in ended.stderr
    assert "TypeError: with <hidden>, of 42" in debugged.stderr


async def test_a_traceback_shows_no_token_of_a_file_and_steers_no_terminal(
    command_line: RunCommand, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    async def broken(_: IndigoClient, customer_id: str | None = None) -> None:
        raise TypeError(f"\x1b]0;owned\x07with canary-f11e, of {customer_id}")

    monkeypatch.setattr(IndigoClient, "list_audiences", broken)
    (tmp_path / "token").write_text("canary-f11e\n")
    async with Sandbox(lite=True) as sandbox:
        ended = await command_line(
            sandbox,
            *("audiences", *CUSTOMER, "--debug"),
            INDIGO_API_TOKEN="",
            INDIGO_API_TOKEN_FILE=str(tmp_path / "token"),
        )
    assert "TypeError: \N{REPLACEMENT CHARACTER}]0;owned\N{REPLACEMENT CHARACTER}with <hidden>, of 42\n" in ended.stderr
    assert "Traceback (most recent call last):\n" in ended.stderr
    assert not {"\x1b", "\x07"} & set(ended.stderr)
    assert "canary-f11e" not in ended.stderr


@pytest.mark.parametrize(
    ("errors", "code", "words"),
    [
        ((TimeoutError(2, "no such luck"),), 1, "indigo-async: no such luck\n"),
        ((KeyboardInterrupt(),), 130, "interrupted"),
        ((TimeoutError(2, "no such luck"), TimeoutError(2, "nor that")), 1, "indigo-async: no such luck\n"),
        ((ValueError("a"), TypeError("b")), 1, "(ExceptionGroup)"),
    ],
)
async def test_what_tasks_side_by_side_failed_of_is_told_as_if_it_were_alone(
    command_line: RunCommand,
    monkeypatch: pytest.MonkeyPatch,
    errors: tuple[BaseException, ...],
    code: int,
    words: str,
):
    async def broken(_: IndigoClient, customer_id: str | None = None) -> None:
        raise BaseExceptionGroup("", [BaseExceptionGroup(f"of {customer_id}", errors)])

    monkeypatch.setattr(IndigoClient, "list_audiences", broken)
    async with Sandbox(lite=True) as sandbox:
        ended = await command_line(sandbox, "audiences", *CUSTOMER)
    assert (ended.exit_code, ended.stdout) == (code, "")
    assert words in ended.stderr


async def test_completion_is_installed_where_the_shell_looks(command_line: RunCommand, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    ended = await command_line(None, "--install-completion", "--shell", "bash")
    assert ended.exit_code == 0, ended.stderr
    (script,) = [path for path in tmp_path.rglob("*") if path.name.startswith("indigo-async")]
    for word in ("export", "doctor", "--max-cost-cents"):
        assert word in script.read_text()


async def test_an_address_where_nothing_listens_is_told_in_the_system_s_words_alone():
    with closing(socket.socket()) as unused:
        unused.bind(("127.0.0.1", 0))  # bound and not listening: refused, and nobody else's
        host, port = unused.getsockname()
        base_url = f"http://{host}:{port}/api/v1"
        async with IndigoClient("canary-77", base_url=base_url, retry=RetryPolicy(attempts=1)) as client:
            with pytest.raises(ConnectionFailedError) as caught:
                await client.list_audiences()
    words = f"no connection could be made ({host}:{port}, connection refused); check base_url and the network"
    assert str(caught.value) == f"GET /audiences: {words}"


async def test_a_page_instead_of_json_says_to_check_the_address():
    page = respond_with(200, b"<html></html>", content_type="text/html")
    nothing = respond_with(404, b"<html></html>", content_type="text/html")
    async with server_and_client(page, nothing, retry=RetryPolicy(attempts=1)) as (_, client):
        for kind in (ResponseDecodeError, NotFoundError):
            with pytest.raises(kind, match="check base_url: the API's own ends with /api/v1"):
                await client.list_audiences()
