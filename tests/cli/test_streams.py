"""Commands whose standard streams are closed, full, slow, narrow or unable to show every character."""

from __future__ import annotations

import fcntl
import io
import json
import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

import anyio
import pytest
from rich.console import Console

from indigo_async import ColumnSelection, ColumnSelections, IndigoClient
from indigo_async.cli.errors import ErrorReport
from indigo_async.cli.render.output import Output
from indigo_async.sandbox import Sandbox
from indigo_async.workflows import upload_and_match
from tests.support.processes import ROOT
from tests.support.processes.commands import command, environment_for, write_manifest

FAST = ("--poll-interval", "0.02")


async def run_in_shell(
    sandbox: Sandbox, redirection: str, *arguments: str | Path, **variables: str
) -> subprocess.CompletedProcess[bytes]:
    """Run a command with a shell's redirections."""
    with anyio.fail_after(60):
        return await anyio.run_process(
            ["bash", "-c", f'"$@" {redirection}', "bash", *command(*arguments)],
            env=environment_for(sandbox) | variables,
            check=False,
        )


@pytest.mark.parametrize("encoding", ["latin-1", "ascii"])
async def test_characters_that_the_encoding_lacks_are_escaped(tmp_path: Path, encoding: str):
    csv = tmp_path / "list.csv"
    csv.write_text("First,Prénom 日本\nAda,Zoé\n")
    manifest = write_manifest(tmp_path, 1)
    async with Sandbox(lite=True, speed=2_000.0) as sandbox:
        async with IndigoClient(sandbox.token, base_url=sandbox.base_url, poll_interval=0.02) as client:
            columns = ColumnSelections(first_name=ColumnSelection("First", required=True))
            csv_url = "https://files.example.org/x.csv"
            await upload_and_match(
                client, csv_url, customer_id="42", audience_name="Prénom 日本", column_selections=columns
            )
        run = await run_in_shell(sandbox, "", "run", manifest, *FAST)
        assert run.returncode == 0, run.stderr
        for arguments in (("audiences",), ("columns", csv), ("report", f"{manifest}.journal")):
            result = await run_in_shell(sandbox, "", *arguments, PYTHONIOENCODING=encoding)
            assert result.returncode == 0, result.stderr
            shown = result.stdout.decode(encoding)
            if "report" not in arguments:
                assert ("Prénom" if encoding == "latin-1" else r"Pr\xe9nom") + r" \u65e5\u672c" in shown
            else:
                assert "###" in shown
                assert r"\u" not in shown


async def test_destination_that_the_file_system_encoding_lacks_is_refused(tmp_path: Path):
    manifest = write_manifest(tmp_path, 1, destination="exports/日本.csv")
    plain = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    async with Sandbox(lite=True) as sandbox:
        result = await run_in_shell(sandbox, "", "run", manifest, *FAST, **plain)
    assert result.returncode == 2
    assert b"has characters that file names can't contain here (ascii): set PYTHONUTF8=1" in result.stderr


@pytest.mark.parametrize("columns", ["0", "1", "-5", "many"])
async def test_unusable_width_is_ignored(columns: str):
    async with Sandbox(lite=True) as sandbox:
        await sandbox.seed_audiences(1, "42")
        listed = await run_in_shell(sandbox, "", "audiences", COLUMNS=columns)
        helped = await run_in_shell(sandbox, "", "run", "--help", COLUMNS=columns)
    assert listed.stdout.splitlines()[1].split()[0] == b"aud-1"
    assert b"1 audience in total." in listed.stderr
    assert b"--no-purchase" in helped.stdout
    assert max(map(len, helped.stdout.decode().splitlines())) == 80


@pytest.mark.parametrize("redirection", [">&-", "2>&-", "<&-", "<&- >&- 2>&-", "2>/dev/full"])
async def test_closed_streams_and_a_full_log_stop_nothing(tmp_path: Path, redirection: str):
    manifest = write_manifest(tmp_path, 1)
    async with Sandbox(lite=True, speed=2_000.0) as sandbox:
        result = await run_in_shell(sandbox, redirection, "run", manifest, *FAST)
        assert sandbox.counts().purchases == 1
    assert result.returncode == 0
    assert (b"1 of 1 jobs done" in result.stdout) == (">&-" not in redirection.split())
    assert (b"1 job for 1 customer" in result.stderr) == (redirection in {">&-", "<&-"})
    assert b"Traceback" not in result.stderr


async def test_full_disk_is_named():
    async with Sandbox(lite=True) as sandbox:
        await sandbox.seed_audiences(1, "42")
        for form in ((), ("--json",)):
            result = await run_in_shell(sandbox, ">/dev/full", "audiences", "--quiet", *form)
            assert result.returncode == 1
            if form:
                error = json.loads(result.stderr)["error"]
                assert (error["type"], error["message"]) == ("OSError", "stdout: No space left on device")
            else:
                assert result.stderr == b"indigo-async: stdout: No space left on device\n"


@pytest.mark.parametrize("arguments", ["--help", "run --help", "--version"])
async def test_closed_output_pipe_ends_help_like_any_command(arguments: str):
    async with Sandbox(lite=True) as sandbox:
        result = await run_in_shell(sandbox, "| head -n 0; exit ${PIPESTATUS[0]}", *arguments.split())
    assert (result.returncode, result.stderr) == (141, b"")


def read_to_end(descriptor: int) -> str:
    with os.fdopen(descriptor) as file:
        return file.read()


async def test_slow_reader_of_a_non_blocking_pipe_gets_everything():
    async with Sandbox(lite=True) as sandbox:
        await sandbox.seed_audiences(300, "42")
        reader, writer = os.pipe()
        fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4_096)
        os.set_blocking(writer, False)
        process = await anyio.open_process(
            command("audiences", "--json", "--quiet"), env=environment_for(sandbox), stdout=writer
        )
        os.close(writer)
        with anyio.fail_after(60):
            written = await anyio.to_thread.run_sync(read_to_end, reader)
            assert await process.wait() == 0
        await process.aclose()
    assert len([json.loads(line) for line in written.splitlines()]) == 300


async def test_reader_that_goes_away_stops_a_batch_safely(tmp_path: Path):
    jobs = 40
    manifest = write_manifest(tmp_path, jobs)
    async with Sandbox(lite=True, speed=2_000.0) as sandbox:
        stopped = await run_in_shell(
            sandbox, "| head -n 1; exit ${PIPESTATUS[0]}", "run", manifest, "--json", "--max-in-flight", "2", *FAST
        )
        purchased = sandbox.counts().purchases
        resumed = await run_in_shell(sandbox, "", "run", manifest, *FAST)
        counts = sandbox.counts()
    assert stopped.returncode == 141
    (error,) = [json.loads(line)["error"] for line in stopped.stderr.splitlines() if line.startswith(b"{")]
    assert error["message"].endswith("so the batch stops after checking purchases in flight")
    assert error["advice"].startswith("Resume with: ")
    assert 1 <= purchased < jobs
    assert resumed.returncode == 0
    assert set(counts.purchases_by_export.values()) == {1}
    assert counts.purchases == jobs


@pytest.mark.parametrize("variables", [{"FORCE_COLOR": "1"}, {"TERM": "dumb"}])
async def test_progress_is_only_redrawn_in_a_terminal_that_can(tmp_path: Path, variables: dict[str, str]):
    manifest = write_manifest(tmp_path, 1)
    controller, terminal = pty.openpty()
    async with Sandbox(lite=True, speed=2_000.0) as sandbox:
        result = await anyio.run_process(
            command("run", manifest, *FAST),
            env=environment_for(sandbox) | variables,
            stderr=terminal if "TERM" in variables else subprocess.PIPE,
        )
    os.close(terminal)
    stderr = os.read(controller, 65_536) if "TERM" in variables else result.stderr
    os.close(controller)
    assert b"Progress is saved in" in stderr
    assert b"\x1b[?25l" not in stderr
    assert b"\x1b[2K" not in stderr


@pytest.mark.parametrize("in_terminal", [True, False])
def test_text_is_wrapped_at_words_in_a_terminal_only(in_terminal: bool):
    console = Console(file=io.StringIO(), width=30, force_terminal=in_terminal, color_system=None)
    output = Output()
    output.stderr = console
    message = "aud-1 has 3,538 people; 5,000 were requested\n  indigo-async run a-rather-long-name.yaml"
    output.error(ErrorReport(type="Error", message=message))
    assert isinstance(console.file, io.StringIO)
    *message, command_line = map(str.rstrip, console.file.getvalue().splitlines())
    assert command_line == "  indigo-async run a-rather-long-name.yaml"
    whole = "indigo-async: aud-1 has 3,538 people; 5,000 were requested"
    assert message == (["indigo-async: aud-1 has 3,538", "people; 5,000 were requested"] if in_terminal else [whole])


def run_with_module(folder: Path, name: str, code: str, *prefix: str) -> subprocess.CompletedProcess[bytes]:
    """Run a command that imports a module with this code instead of the library of that name."""
    (folder / f"{name}.py").write_text(f"import signal\n{code}")
    return subprocess.run(
        [*prefix, sys.executable, "-m", "indigo_async", "--version"],
        env=os.environ | {"PYTHONPATH": f"{folder}:{ROOT}"},
        cwd=folder,
        capture_output=True,
        timeout=60,
        check=False,
    )


def test_ctrl_c_during_imports_ends_the_command_silently(tmp_path: Path):
    result = run_with_module(tmp_path, "cyclopts", "signal.raise_signal(signal.SIGINT)")
    assert (result.returncode, result.stderr) == (-signal.SIGINT, b"")


def test_ctrl_c_stays_ignored_in_a_background_job(tmp_path: Path):
    code = "signal.raise_signal(signal.SIGINT)\nraise SystemExit(7)"
    result = run_with_module(tmp_path, "cyclopts", code, "bash", "-c", 'trap "" INT; exec "$@"', "bash")
    assert (result.returncode, result.stderr) == (7, b"")
