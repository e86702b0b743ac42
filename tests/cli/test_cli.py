from __future__ import annotations

import csv
import re
import socket
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest


def run_command(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "indigo_async", *arguments], capture_output=True, text=True, timeout=180, check=False
    )


def test_the_demo_matches_grows_buys_and_downloads_for_three_customers(tmp_path: Path):
    out = tmp_path / "demo"
    ended = run_command(
        "demo", "--out", str(out), "--voters", "40000", "--people", "1500", "--speed", "200", "--seed", "3"
    )
    assert ended.returncode == 0, ended.stderr
    assert all("people; 5,000 were requested" in line for line in ended.stderr.splitlines())
    exports = sorted(out.glob("*-export.csv"))
    assert [path.name for path in exports] == [
        "great-lakes-export.csv",
        "keystone-export.csv",
        "sun-belt-export.csv",
    ]
    for path in exports:
        assert str(path) in ended.stdout
        assert path.stat().st_mode & 0o777 == 0o600
        with path.open(newline="") as file:
            rows = list(csv.reader(file))
        assert "TargetSmart voterbase ID" in rows[0]
        assert len(rows) > 1_500
    assert "First run: 15 POSTs" in ended.stdout
    again = re.search(r"Same jobs, second run: (\d+) POSTs, \d+ reads, (\d+) purchases", ended.stdout)
    assert again is not None
    assert again.groups() == ("0", "0")


def test_a_wrong_option_is_misuse_and_no_traceback():
    ended = run_command("demo", "--votes", "10")
    assert ended.returncode == 2
    assert "--votes" in ended.stdout + ended.stderr
    assert "Traceback" not in ended.stdout + ended.stderr


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
def test_a_value_out_of_bounds_is_misuse_and_no_traceback(arguments: tuple[str, ...]):
    ended = run_command(*arguments)
    assert ended.returncode == 2
    assert arguments[1] in ended.stdout + ended.stderr
    assert "Traceback" not in ended.stdout + ended.stderr


def test_a_voter_file_that_is_not_there_is_told_in_words():
    ended = run_command("sandbox", "--voters", "no-such-file.csv", "--port", "0")
    assert ended.returncode == 2
    assert "no-such-file.csv: can't be read as a voter file" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_port_in_use_is_told_with_the_option_that_names_another():
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
        ended = run_command("sandbox", "--lite", "--port", str(port))
    assert ended.returncode == 2
    assert ended.stdout == ""
    words = f"--port: port {port} is already in use; choose another, or 0 for a free one"
    assert ended.stderr == f"indigo-async: {words}\n"


def test_help_lists_the_commands_and_the_exit_codes():
    ended = run_command("--help")
    assert ended.returncode == 0
    for word in ("demo", "sandbox", "Exit codes", "130"):
        assert word in ended.stdout


def test_help_tells_defaults_that_say_something():
    words = " ".join(run_command("export", "--help").stdout.replace("\N{BOX DRAWINGS LIGHT VERTICAL}", " ").split())
    assert "With 0, only free exports are purchased. [default: 0]" in words
    assert "Seconds between status checks. [default: 5.0]" in words
    for nothing in ("None", "False", "()"):
        assert f"[default: {nothing}]" not in words
