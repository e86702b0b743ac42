"""`--profile`: which token commands use, and which commands they advise to run."""

from __future__ import annotations

from pathlib import Path

import anyio
import pytest

from indigo_async.cli.app import _COMMANDS, app
from indigo_async.sandbox import Sandbox
from tests.support.command_line import CommandResult, RunCommand
from tests.support.manifests import write_examples
from tests.support.processes.commands import command, environment_for, write_manifest

FAST = ("--poll-interval", "0.02")
OFFLINE = {"cancel", "columns", "demo", "drop", "jobs", "manifest", "report", "sandbox"}
"""Commands that send the API nothing. Three of them talk to Temporal only."""


@pytest.fixture
def profiles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "profiles.toml"
    monkeypatch.setenv("INDIGO_PROFILES_FILE", str(path))
    return path


def write_profiles(path: Path, sandbox: Sandbox) -> None:
    path.touch(mode=0o600)
    path.write_text(
        f'[acme]\ntoken = "{sandbox.token}"\nbase_url = "{sandbox.base_url}"\n'
        f'[other]\ntoken = "canary-2b7"\nbase_url = "{sandbox.base_url}"\n'
    )


def test_every_command_that_sends_requests_takes_a_profile():
    takes = {
        command
        for command in _COMMANDS
        if any("--profile" in argument.names for argument in app[command].assemble_argument_collection())
    }
    assert takes == set(_COMMANDS) - OFFLINE


async def test_a_profile_gives_token_and_address(command_line: RunCommand, profiles: Path, tmp_path: Path):
    write_examples(tmp_path)

    async def run(*arguments: str | Path, **variables: str) -> CommandResult:
        return await command_line(None, *arguments, **variables)

    async with Sandbox(lite=True, speed=2_000.0) as sandbox:
        write_profiles(profiles, sandbox)
        await sandbox.seed_audiences(1, "42")
        listed = await run("audiences", "--customer", "42", "--profile", "acme", "--json")
        checked = await run("run", tmp_path / "jobs.yaml", "--check", "--profile", "acme")
        ran = await run("run", tmp_path / "jobs.yaml", "--no-purchase", "--profile", "acme", *FAST)
        doctor = await run("doctor", "--profile", "acme", "--journal-folder", tmp_path)
        rejected = await run("audiences", "--profile", "other", INDIGO_PROFILE="acme")
        assert sandbox.token not in doctor.stdout + ran.stdout + ran.stderr
    assert (listed.exit_code, len(listed.records)) == (0, 1), listed.stderr
    assert (checked.exit_code, ran.exit_code) == (0, 0), checked.stderr + ran.stderr
    assert "'acme' of" in doctor.stdout
    assert rejected.exit_code == 5
    assert "canary-2b7" not in rejected.stderr


async def test_a_profile_that_cannot_be_used_is_explained(command_line: RunCommand, profiles: Path, tmp_path: Path):
    async with Sandbox(lite=True) as sandbox:
        write_profiles(profiles, sandbox)
        unknown = await command_line(None, "audiences", "--profile", "acne")
        mixed = await command_line(sandbox, "audiences", "--profile", "other")
        on_temporal = await command_line(
            None, "run", write_manifest(tmp_path, 1), "--temporal", "127.0.0.1:1", "--profile", "acme"
        )
        assert sandbox.log.count() == 0
    assert (unknown.exit_code, mixed.exit_code, on_temporal.exit_code) == (2, 2, 2)
    assert (
        "has no profile 'acne', which --profile names; it has: 'acme', 'other'; did you mean 'acme'?" in unknown.stderr
    )
    assert "to use INDIGO_API_TOKEN, leave out --profile" in mixed.stderr
    assert "--profile: workers send the requests: give this option to `indigo-async worker`" in on_temporal.stderr


async def test_advised_commands_name_the_profile(command_line: RunCommand, profiles: Path, tmp_path: Path):
    manifest = write_manifest(tmp_path, 1, max_cost_cents=1)
    async with Sandbox(lite=True, speed=2_000.0) as sandbox:
        write_profiles(profiles, sandbox)
        url = "https://files.example.org/x.csv"
        uploaded = await command_line(None, "upload", url, "--customer", "42", "--profile", "acme", *FAST)
        failed = await anyio.run_process(
            command("run", manifest, "--profile", "acme", *FAST),
            env=environment_for(sandbox) | {"INDIGO_PROFILES_FILE": str(profiles)},
            check=False,
        )
    assert "--uploaded aud-1 --customer 42 --profile acme --name ... " in uploaded.stderr
    assert failed.returncode == 3, failed.stderr
    *_, advice, resume = failed.stderr.decode().splitlines()
    assert "resume with:" in advice
    assert "--profile acme" in resume
