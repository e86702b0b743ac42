from __future__ import annotations

from pathlib import Path

import pytest

from indigo_async.sandbox import Sandbox
from tests.support.command_line import CommandResult, RunCommand
from tests.support.servers.scripted import respond_with, scripted_server


def states(ended: CommandResult) -> dict[str, str]:
    return {record["check"]: record["state"] for record in ended.records}


def advice(ended: CommandResult, check: str) -> str:
    return next(f"{record['detail']} {record['advice']}" for record in ended.records if record["check"] == check)


async def test_all_is_well_with_a_sandbox(command_line: RunCommand, tmp_path: Path):
    async with Sandbox(lite=True) as sandbox:
        ended = await command_line(sandbox, "doctor", "--json", "--journal-folder", tmp_path)
        shown = await command_line(sandbox, "doctor", "--journal-folder", tmp_path)
        assert {entry.method for entry in sandbox.log.entries} == {"GET"}
    assert ended.exit_code == shown.exit_code == 0
    assert set(states(ended).values()) == {"ok"}
    assert list(states(ended)) == [line.split()[1] for line in shown.stdout.splitlines()]
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"INDIGO_API_TOKEN": "wrong"}, (5, "accepted", "the token was rejected (401)")),
        ({"INDIGO_API_TOKEN": ""}, (1, "token", "is missing: set INDIGO_API_TOKEN")),
        ({"INDIGO_API_TOKEN": "", "INDIGO_API_TOKEN_FILE": "/no/such"}, (1, "token", "No such file")),
        ({"INDIGO_BASE_URL": "http://example.org/api/v1"}, (1, "address", "must be https")),
        ({"INDIGO_BASE_URL": "http://127.0.0.1:1/api/v1"}, (1, "reached", "nothing listens there")),
    ],
)
async def test_what_is_wrong_is_told_with_what_to_do(
    command_line: RunCommand, tmp_path: Path, variables: dict[str, str], expected: tuple[int, str, str]
):
    async with Sandbox(lite=True) as sandbox:
        ended = await command_line(sandbox, "doctor", "--json", "--journal-folder", tmp_path, **variables)
    code, check, words = expected
    assert ended.exit_code == code
    assert states(ended)[check] in {"failed", "refused"}
    assert words in advice(ended, check)


async def test_an_address_without_its_path_is_not_the_api(command_line: RunCommand, tmp_path: Path):
    async with Sandbox(lite=True) as sandbox:
        origin = sandbox.base_url.removesuffix("/api/v1")
        ended = await command_line(sandbox, "doctor", "--json", "--base-url", origin, "--journal-folder", tmp_path)
    assert ended.exit_code == 1
    assert (states(ended)["address"], states(ended)["API"]) == ("warning", "failed")
    assert "/api/v1" in advice(ended, "API")


async def test_a_server_that_speaks_no_tls_or_another_time_is_told(command_line: RunCommand, tmp_path: Path):
    old = respond_with(401, b"", Date="Mon, 05 Jan 2015 12:00:00 GMT")
    async with scripted_server(old) as server:
        own = {"INDIGO_API_TOKEN": "canary-5d1c", "INDIGO_BASE_URL": f"{server.origin}/api/v1"}
        ended = await command_line(None, "doctor", "--json", "--journal-folder", tmp_path, **own)
        own["INDIGO_BASE_URL"] = own["INDIGO_BASE_URL"].replace("http:", "https:")
        secure = await command_line(None, "doctor", "--json", "--journal-folder", tmp_path, **own)
    assert "canary-5d1c" not in ended.stdout + ended.stderr
    assert states(ended)["clock"] == "warning"
    assert "ahead of the server's" in advice(ended, "clock")
    assert secure.exit_code == 1
    assert "no TLS" in advice(secure, "reached")


async def test_a_token_file_that_others_can_read_and_a_folder_that_is_none_are_told(
    command_line: RunCommand, tmp_path: Path
):
    async with Sandbox(lite=True) as sandbox:
        file = tmp_path / "token"
        file.write_text(sandbox.token)
        file.chmod(0o644)
        own = {"INDIGO_API_TOKEN": "", "INDIGO_API_TOKEN_FILE": str(file)}
        ended = await command_line(sandbox, "doctor", "--json", "--journal-folder", tmp_path / "none", **own)
    assert ended.exit_code == 1
    assert (states(ended)["token"], states(ended)["accepted"]) == ("warning", "ok")
    assert f"chmod 600 {file}" in advice(ended, "token")
    assert states(ended)["journals"] == "failed"
