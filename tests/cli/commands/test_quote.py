from __future__ import annotations

import os
from pathlib import Path

import anyio

from indigo_async.sandbox import Sandbox
from tests.support.command_line import RunCommand
from tests.support.processes.commands import command, json_lines, write_manifest
from tests.support.recipes import match_rows
from tests.support.servers.scripted import respond_with_json, scripted_server

FAST = ("--poll-interval", "0.02")
FREE = (
    "- {customer_id: c9, audience_name: None, csv: 'https://files.example.org/9.csv', lookalike: null, export: null}\n"
)


def lite() -> Sandbox:
    return Sandbox(lite=True, speed=2_000.0)


async def test_quote_shows_prices_by_customer_and_a_later_run_purchases_the_same_previews(
    command_line: RunCommand, tmp_path: Path
):
    manifest = write_manifest(tmp_path, 5, more=FREE)
    async with lite() as sandbox:
        quoted = await command_line(sandbox, "quote", manifest, "--json", *FAST)
        after_quote = sandbox.counts()
        previews = sandbox.log.count("POST /create_preview_csv_export")
        run = await command_line(sandbox, "run", manifest, "--json", *FAST)
        counts = sandbox.counts()
        assert sandbox.log.count("POST /create_preview_csv_export") == previews == 5
    assert quoted.exit_code == 0, quoted.stderr
    assert after_quote.purchases == 0
    lines = json_lines(quoted.stdout)
    outcomes = [line for line in lines if line["type"] == "outcome"]
    customers = {line["customer_id"]: line for line in lines if line["type"] == "customer"}
    summary = lines[-1]
    assert len(outcomes) == 6
    assert summary["price_cents"] == counts.charged_cents
    assert json_lines(run.stdout)[-1]["spent_cents"] == counts.charged_cents
    assert {name: (line["jobs"], line["priced"]) for name, line in customers.items()} == {
        "c0": (3, 3),
        "c1": (2, 2),
        "c9": (1, 0),
    }
    assert sum(line["total_cents"] for line in customers.values()) == summary["price_cents"]
    assert customers["c9"]["total_cents"] == 0


async def test_quote_shows_the_total_and_the_exports_above_their_limit(command_line: RunCommand, tmp_path: Path):
    manifest = write_manifest(tmp_path, 4, max_cost_cents=1)
    async with lite() as sandbox:
        result = await command_line(sandbox, "quote", manifest, *FAST)
    assert result.exit_code == 0, result.stderr
    assert "uploads, matches, creates lookalikes and previews exports on the server" in result.stderr
    assert "Nothing is purchased" in result.stderr
    rows = [line.split() for line in result.stdout.splitlines()]
    prices = {row[0]: float(row[3].strip("$").replace(",", "")) for row in rows[1:4]}
    assert set(prices) == {"c0", "c1", "all"}
    assert prices["all"] == prices["c0"] + prices["c1"] > 0
    assert "4 exports cost more than export.max_cost_cents allows: `run` would not purchase them." in result.stdout


async def test_quote_shows_warnings_before_anything_is_purchased(command_line: RunCommand, tmp_path: Path):
    manifest = write_manifest(tmp_path, 3)
    async with lite() as sandbox:
        match_rows(sandbox, 20_000, 1_500)
        result = await command_line(sandbox, "quote", manifest, *FAST)
        assert sandbox.counts().purchases == 0
    assert result.exit_code == 0, result.stderr
    assert "3 jobs have warnings" in result.stdout
    assert "and 2 more: only 1,500 of 20,000 rows (7.5%) matched: check the CSV and its columns" in result.stdout


async def test_purchased_exports_are_not_priced_again(command_line: RunCommand, tmp_path: Path):
    manifest = write_manifest(tmp_path, 2)
    async with lite() as sandbox:
        await command_line(sandbox, "run", manifest, *FAST)
        result = await command_line(sandbox, "quote", manifest, "--json", *FAST)
    lines = json_lines(result.stdout)
    assert result.exit_code == 0
    assert lines[-1]["price_cents"] == 0
    assert [line["bought_before"] for line in lines if line["type"] == "customer"] == [1, 1]


async def test_server_messages_are_shown_without_control_characters_and_secrets(tmp_path: Path):
    manifest = write_manifest(tmp_path, 1)
    message = "\x1b]0;owned\x07 sign in at https://files.example.org/a.csv?X-Signature=s3cr3t"
    async with scripted_server(respond_with_json({"error": message}, 401)) as server:
        variables = {"INDIGO_BASE_URL": f"{server.origin}/api/v1", "INDIGO_API_TOKEN": "canary-5e1", "COLUMNS": "200"}
        with anyio.fail_after(60):
            result = await anyio.run_process(
                command("quote", manifest, *FAST), env={**os.environ, **variables}, check=False
            )
    out = result.stdout.decode()
    assert result.returncode == 5
    (stopped,) = [line for line in out.splitlines() if line.startswith("Stopped: ")]
    assert "]0;owned sign in at https://files" in stopped
    for forbidden in ("\x1b", "\x07", "s3cr3t"):
        assert forbidden not in out + result.stderr.decode()
