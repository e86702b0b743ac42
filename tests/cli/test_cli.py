from __future__ import annotations

import csv
import os
import re
import signal
import socket
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from tests.support.command_line import RunCommand


def run_command(*arguments: str, columns: int | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "indigo_async", *arguments],
        env=os.environ | ({} if columns is None else {"COLUMNS": str(columns)}),
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )


def test_demo_runs_every_recipe_for_three_customers(tmp_path: Path):
    out = tmp_path / "demo"
    result = run_command(
        *("demo", "--out", str(out), "--voters", "40000", "--people", "1500", "--speed", "200", "--seed", "3"),
        columns=80,
    )
    assert result.returncode == 0, result.stderr
    assert all("people; 5,000 were requested" in line for line in result.stderr.splitlines())
    exports = sorted(out.glob("*-export.csv"))
    assert [path.name for path in exports] == [
        "great-lakes-export.csv",
        "keystone-export.csv",
        "sun-belt-export.csv",
    ]
    for path in exports:
        assert str(path) in result.stdout
        assert path.stat().st_mode & 0o777 == 0o600
        with path.open(newline="") as file:
            rows = list(csv.reader(file))
        assert "TargetSmart voterbase ID" in rows[0]
        assert len(rows) > 1_500
    amounts = r" +1,\d{3} of 1,500 +\d\d% +[\d,]+ +(\$[\d,]+\.\d\d|free) *"
    for customer in ("great-lakes", "keystone", "sun-belt"):
        assert re.search(f"^{customer}{amounts}$", result.stdout, re.MULTILINE)
        assert re.search(rf"^ +\d+\.\d s  {customer} +upload started *$", result.stdout, re.MULTILINE)
    assert "First run: 15 POSTs" in result.stdout
    again = re.search(r"Same jobs, second run: (\d+) POSTs, \d+ reads, (\d+) purchases", result.stdout)
    assert again is not None
    assert again.groups() == ("0", "0")


def test_interrupted_demo_promises_nothing(tmp_path: Path):
    demo = [sys.executable, "-m", "indigo_async", "demo", "--out", str(tmp_path), "--voters", "2000", "--speed", "1"]
    with subprocess.Popen(
        demo, env=os.environ | {"PYTHONUNBUFFERED": "1"}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        while "upload started" not in process.stdout.readline():
            pass
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "interrupted. The sandbox and its audiences are gone; run the same command to start over" in stderr
    assert "resume" not in stderr


async def test_unknown_option_is_a_usage_error(command_line: RunCommand):
    result = await command_line(None, "demo", "--votes", "10")
    assert result.exit_code == 2
    assert "--votes" in result.stdout + result.stderr
    assert "Traceback" not in result.stdout + result.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("sandbox", "--speed", "0"),
        ("sandbox", "--port", "99999"),
        ("sandbox", "--requests-per-second", "-1"),
        ("demo", "--people", "0"),
        ("demo", "--voters", "many"),
    ],
    ids=" ".join,
)
async def test_option_value_out_of_range_is_a_usage_error(command_line: RunCommand, arguments: tuple[str, ...]):
    result = await command_line(None, *arguments)
    assert result.exit_code == 2
    assert arguments[1] in result.stdout + result.stderr
    assert "Traceback" not in result.stdout + result.stderr


def test_missing_voter_file_is_a_usage_error():
    result = run_command("sandbox", "--voters", "no-such-file.csv", "--port", "0")
    assert result.returncode == 2
    assert "no-such-file.csv: can't be read as a voter file" in result.stderr
    assert "Traceback" not in result.stderr


def test_port_in_use_names_the_option():
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
        result = run_command("sandbox", "--lite", "--port", str(port))
    assert result.returncode == 2
    assert result.stdout == ""
    message = f"--port: port {port} is already in use; choose another, or 0 for a free one"
    assert result.stderr == f"indigo-async: {message}\n"


async def test_help_lists_commands_and_exit_codes(command_line: RunCommand):
    result = await command_line(None, "--help")
    assert result.exit_code == 0
    text = " ".join(result.stdout.split())
    for word in ("demo", "sandbox", "Exit codes", "130 stopped by Ctrl-C, SIGTERM or a closed terminal"):
        assert word in text


async def test_help_shows_meaningful_defaults_only(command_line: RunCommand):
    shown = (await command_line(None, "export", "--help")).stdout
    text = " ".join(shown.replace("\N{BOX DRAWINGS LIGHT VERTICAL}", " ").split())
    assert "With 0, only free exports are purchased. [default: 0]" in text
    assert "Seconds between status checks. [default: 5.0]" in text
    for nothing in ("None", "False", "()"):
        assert f"[default: {nothing}]" not in text
