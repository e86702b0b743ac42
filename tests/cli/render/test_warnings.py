"""Job warnings are shown in the terminal, in JSON and in the report, each kind once."""

from __future__ import annotations

import json
from pathlib import Path

from indigo_async.cli.render.failures import group_messages
from indigo_async.sandbox import Sandbox
from tests.support.command_line import RunCommand
from tests.support.processes.commands import write_manifest

FAST = ("--poll-interval", "0.02")


def test_warnings_are_grouped_regardless_of_ids_and_numbers():
    groups = group_messages(
        [
            ("a", "reusing audience aud-1 (same name); columns are not compared"),
            ("b", "reusing audience aud-2 (same name); columns are not compared"),
            ("c", "export 9 was quoted at $60.00 and charged at $500.00"),
        ]
    )
    assert [(group.jobs, group.key) for group in groups] == [(2, "a"), (1, "c")]
    assert groups[0].text == "a and 1 more: reusing audience aud-1 (same name); columns are not compared"


async def test_reuse_warning_is_shown_once_in_results_json_and_report(command_line: RunCommand, tmp_path: Path):
    manifest = write_manifest(tmp_path, 3)
    page = tmp_path / "report.html"
    async with Sandbox(lite=True, speed=2_000.0) as sandbox:
        first = await command_line(sandbox, "run", manifest, *FAST)
        assert "warnings" not in first.stdout
        for journal in tmp_path.glob("*.journal*"):
            journal.unlink()
        again = await command_line(sandbox, "run", manifest, *FAST)
        report = await command_line(sandbox, "report", tmp_path / "jobs.yaml.journal", "--html", page)
        summary = await command_line(sandbox, "report", tmp_path / "jobs.yaml.journal")
        for journal in tmp_path.glob("*.journal*"):
            journal.unlink()
        as_json = await command_line(sandbox, "run", manifest, *FAST, "--json")
    assert "3 jobs have warnings" in again.stdout
    assert "and 2 more: reusing audience" in again.stdout
    assert "columns are not compared" in again.stdout
    assert "reusing audience" not in again.stderr
    lines = [json.loads(line) for line in as_json.stdout.splitlines()]
    assert all(
        any("reusing export" in text for text in line["warnings"]) for line in lines if line["type"] == "outcome"
    )
    assert lines[-1]["warned"] == 3
    assert "Warnings about 3 jobs" in summary.stdout
    assert "columns are not compared" in summary.stdout
    assert report.exit_code == 0, report.stderr
    assert 'id="warnings"' in page.read_text()
