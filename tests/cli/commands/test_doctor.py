from __future__ import annotations

from pathlib import Path

import pytest

from indigo_async.sandbox import Sandbox
from tests.support.command_line import CommandResult, RunCommand
from tests.support.servers.proxy import forward_proxy
from tests.support.servers.scripted import respond_with, scripted_server
from tests.support.servers.tls import tls_server, write_authority


def states(result: CommandResult) -> dict[str, str]:
    return {record["check"]: record["state"] for record in result.records}


def advice(result: CommandResult, check: str) -> str:
    return next(f"{record['detail']} {record['advice']}" for record in result.records if record["check"] == check)


async def test_all_checks_pass_with_a_sandbox(command_line: RunCommand, tmp_path: Path):
    async with Sandbox(lite=True) as sandbox:
        result = await command_line(sandbox, "doctor", "--json", "--journal-folder", tmp_path)
        shown = await command_line(sandbox, "doctor", "--journal-folder", tmp_path)
        assert {entry.method for entry in sandbox.log.entries} == {"GET"}
    assert result.exit_code == shown.exit_code == 0
    assert set(states(result).values()) == {"ok"}
    assert list(states(result)) == [line.split()[1] for line in shown.stdout.splitlines()]
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"INDIGO_API_TOKEN": "wrong"}, (5, "accepted", "the token was rejected (401)")),
        (
            {"INDIGO_API_TOKEN": ""},
            (1, "token", "no API token; use --profile, or set INDIGO_API_TOKEN or INDIGO_API_TOKEN_FILE"),
        ),
        ({"INDIGO_API_TOKEN": "", "INDIGO_API_TOKEN_FILE": "/no/such"}, (1, "token", "No such file")),
        ({"INDIGO_BASE_URL": "http://example.org/api/v1"}, (1, "address", "must be https")),
        (
            {"INDIGO_BASE_URL": "http://127.0.0.1:1/api/v1"},
            (1, "reached", "connection refused check the port, and that"),
        ),
    ],
)
async def test_problem_is_reported_with_advice(
    command_line: RunCommand, tmp_path: Path, variables: dict[str, str], expected: tuple[int, str, str]
):
    async with Sandbox(lite=True) as sandbox:
        result = await command_line(sandbox, "doctor", "--json", "--journal-folder", tmp_path, **variables)
    code, check, message = expected
    assert result.exit_code == code
    assert states(result)[check] in {"failed", "refused"}
    assert message in advice(result, check)


async def test_base_url_without_its_path_is_not_the_api(command_line: RunCommand, tmp_path: Path):
    async with Sandbox(lite=True) as sandbox:
        origin = sandbox.base_url.removesuffix("/api/v1")
        result = await command_line(sandbox, "doctor", "--json", "--base-url", origin, "--journal-folder", tmp_path)
    assert result.exit_code == 1
    assert (states(result)["address"], states(result)["API"]) == ("warning", "failed")
    assert "/api/v1" in advice(result, "API")


async def test_missing_tls_and_wrong_clock_are_reported(command_line: RunCommand, tmp_path: Path):
    old = respond_with(401, b"", Date="Mon, 05 Jan 2015 12:00:00 GMT")
    async with scripted_server(old) as server:
        own = {"INDIGO_API_TOKEN": "canary-5d1c", "INDIGO_BASE_URL": f"{server.origin}/api/v1"}
        result = await command_line(None, "doctor", "--json", "--journal-folder", tmp_path, **own)
        own["INDIGO_BASE_URL"] = own["INDIGO_BASE_URL"].replace("http:", "https:")
        secure = await command_line(None, "doctor", "--json", "--journal-folder", tmp_path, **own)
    assert "canary-5d1c" not in result.stdout + result.stderr
    assert states(result)["clock"] == "warning"
    assert "ahead of the server's" in advice(result, "clock")
    assert secure.exit_code == 1
    assert "does not use TLS if it serves plain HTTP, use http://" in advice(secure, "reached")


async def test_readable_token_file_and_missing_folder_are_reported(command_line: RunCommand, tmp_path: Path):
    async with Sandbox(lite=True) as sandbox:
        file = tmp_path / "token"
        file.write_text(sandbox.token)
        file.chmod(0o644)
        own = {"INDIGO_API_TOKEN": "", "INDIGO_API_TOKEN_FILE": str(file)}
        result = await command_line(sandbox, "doctor", "--json", "--journal-folder", tmp_path / "none", **own)
    assert result.exit_code == 1
    assert (states(result)["token"], states(result)["accepted"]) == ("warning", "ok")
    assert f"chmod 600 {file}" in advice(result, "token")
    assert states(result)["journals"] == "failed"
    assert advice(result, "journals").endswith("create the folder, or name another")


def details(result: CommandResult, check: str) -> str:
    return next(record["detail"] for record in result.records if record["check"] == check)


async def test_proxy_in_use_and_its_failures_are_named(command_line: RunCommand, tmp_path: Path):
    base = {"INDIGO_API_TOKEN": "canary-5d1c", "INDIGO_BASE_URL": "https://api.example.org/api/v1"}
    arguments = ("doctor", "--json", "--journal-folder", tmp_path)
    async with forward_proxy(refuse_with=407) as proxy:
        own = base | {"HTTPS_PROXY": proxy.url_with("ann:canary"), "NO_PROXY": ""}
        refused = await command_line(None, *arguments, **own)
    down = await command_line(None, *arguments, "--proxy", proxy.url, **own)
    socks = await command_line(None, *arguments, **own | {"HTTPS_PROXY": "socks5://127.0.0.1:1080"})
    for result in (refused, down, socks):
        assert result.exit_code == 1
        assert "canary" not in result.stdout + result.stderr
        assert "firewall" not in result.stdout
    assert details(refused, "proxy") == f"{proxy.url} (from HTTPS_PROXY)"
    assert f"the proxy {proxy.address} responded 407" in advice(refused, "reached")
    assert "needs a valid user name and password" in advice(refused, "reached")
    assert details(down, "proxy") == f"{proxy.url} (from --proxy)"
    assert f"the proxy {proxy.address}, connection refused check the proxy's URL" in advice(down, "reached")
    assert "HTTPS_PROXY: socks5:// proxies are not supported" in details(socks, "proxy")


async def test_all_checks_pass_through_a_proxy(command_line: RunCommand, tmp_path: Path):
    async with Sandbox(lite=True) as sandbox, forward_proxy() as proxy:
        arguments = ("doctor", "--json", "--journal-folder", tmp_path, "--proxy", proxy.url)
        result = await command_line(sandbox, *arguments)
        assert len(proxy.targets) >= 2
    assert result.exit_code == 0
    assert details(result, "proxy") == f"{proxy.url} (from --proxy)"


async def test_other_commands_use_the_proxy(command_line: RunCommand):
    async with Sandbox(lite=True) as sandbox, forward_proxy() as proxy:
        result = await command_line(sandbox, "audiences", "--proxy", proxy.url)
        assert len(proxy.targets) == 1
        wrong = await command_line(sandbox, "audiences", "--proxy", "socks5://canary@127.0.0.1:1")
    assert result.exit_code == 0
    assert wrong.exit_code == 2
    assert "--proxy: socks5:// proxies are not supported" in wrong.stderr
    assert "canary" not in wrong.stderr


async def test_a_firewalls_page_is_not_mistaken_for_the_api(command_line: RunCommand, tmp_path: Path):
    page = respond_with(403, b"<html><title>Blocked by ACME</title>", Content_Type="text/html")
    async with scripted_server(page) as server:
        own = {"INDIGO_API_TOKEN": "canary-5d1c", "INDIGO_BASE_URL": f"{server.origin}/api/v1"}
        result = await command_line(None, "doctor", "--json", "--journal-folder", tmp_path, **own)
    assert result.exit_code == 1
    assert details(result, "API") == "a web page titled 'Blocked by ACME' (403) responds instead of the API"
    assert "probably from a proxy, a firewall or this network's login" in advice(result, "API")


async def test_certificate_problem_says_why(command_line: RunCommand, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    async with tls_server(respond_with(401)) as server:
        own = {"INDIGO_API_TOKEN": "canary-5d1c", "INDIGO_BASE_URL": f"{server.origin}/api/v1"}
        unknown = await command_line(None, "doctor", "--json", "--journal-folder", tmp_path, **own)
        monkeypatch.setenv("SSL_CERT_FILE", str(write_authority(tmp_path)))
        known = await command_line(None, "doctor", "--json", "--journal-folder", tmp_path, **own)
    assert "the certificate was issued by an unknown authority" in advice(unknown, "reached")
    assert "set SSL_CERT_FILE" in advice(unknown, "reached")
    assert states(known)["reached"] == "ok"


async def test_profile_in_use_is_shown(command_line: RunCommand, tmp_path: Path):
    async with Sandbox(lite=True) as sandbox:
        file = tmp_path / "profiles.toml"
        file.write_text(f'[acme]\ntoken = "{sandbox.token}"\n[mail]\ntoken_file = "missing"\n')
        own = {"INDIGO_PROFILES_FILE": str(file), "INDIGO_PROFILE": "acme", "INDIGO_API_TOKEN": ""}
        file.chmod(0o644)
        readable = await command_line(sandbox, "doctor", "--json", "--journal-folder", tmp_path, **own)
        file.chmod(0o600)
        good = await command_line(sandbox, "doctor", "--json", "--journal-folder", tmp_path, **own)
        other = own | {"INDIGO_API_TOKEN": "another"}
        doubtful = await command_line(sandbox, "doctor", "--json", "--journal-folder", tmp_path, **other)
        mail = own | {"INDIGO_PROFILE": "mail"}
        unreadable = await command_line(sandbox, "doctor", "--json", "--journal-folder", tmp_path, **mail)
    assert readable.exit_code == doubtful.exit_code == unreadable.exit_code == 1
    assert f"chmod 600 {file}" in details(readable, "profile")
    assert (good.exit_code, states(good)["accepted"]) == (0, "ok")
    assert details(good, "profile") == f"'acme' of {file}"
    assert details(good, "token") == "from the profile 'acme'"
    assert "INDIGO_API_TOKEN holds another token" in details(doubtful, "profile")
    assert "reached" not in states(doubtful)
    assert "No such file" in details(unreadable, "token")
