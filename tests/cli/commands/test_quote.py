from __future__ import annotations

import os
from pathlib import Path

import anyio

from indigo_async.sandbox import Sandbox
from tests.support.processes.commands import command, json_lines, run_command, write_manifest
from tests.support.servers.scripted import respond_with_json, scripted_server

QUICK = ("--poll-interval", "0.02")
FREE = (
    "- {customer_id: c9, audience_name: None, csv: 'https://files.example.org/9.csv', lookalike: null, export: null}\n"
)


def lite() -> Sandbox:
    return Sandbox(lite=True, speed=2_000.0)


async def test_prices_are_told_by_customer_and_a_later_run_buys_these_previews(tmp_path: Path):
    manifest = write_manifest(tmp_path, 5, more=FREE)
    async with lite() as sandbox:
        quoted = await run_command(sandbox, "quote", manifest, "--json", *QUICK)
        nothing = sandbox.counts()
        previews = sandbox.log.count("POST /create_preview_csv_export")
        bought = await run_command(sandbox, "run", manifest, "--json", *QUICK)
        counts = sandbox.counts()
        assert sandbox.log.count("POST /create_preview_csv_export") == previews == 5
    assert quoted.returncode == 0, quoted.stderr
    assert nothing.purchases == 0
    lines = json_lines(quoted.stdout)
    outcomes = [line for line in lines if line["type"] == "outcome"]
    customers = {line["customer_id"]: line for line in lines if line["type"] == "customer"}
    summary = lines[-1]
    assert len(outcomes) == 6
    assert summary["price_cents"] == counts.charged_cents
    assert json_lines(bought.stdout)[-1]["spent_cents"] == counts.charged_cents
    assert {name: (line["jobs"], line["priced"]) for name, line in customers.items()} == {
        "c0": (3, 3),
        "c1": (2, 2),
        "c9": (1, 0),
    }
    assert sum(line["total_cents"] for line in customers.values()) == summary["price_cents"]
    assert customers["c9"]["total_cents"] == 0


async def test_people_see_what_it_does_the_total_and_what_a_run_would_not_buy(tmp_path: Path):
    manifest = write_manifest(tmp_path, 4, max_cost_cents=1)
    async with lite() as sandbox:
        ended = await run_command(sandbox, "quote", manifest, *QUICK)
    assert ended.returncode == 0, ended.stderr
    assert "uploads, matches, creates lookalikes and previews exports on the server" in ended.stderr
    assert "Nothing is purchased" in ended.stderr
    rows = [line.split() for line in ended.stdout.splitlines()]
    prices = {row[0]: float(row[3].strip("$").replace(",", "")) for row in rows[1:4]}
    assert set(prices) == {"c0", "c1", "all"}
    assert prices["all"] == prices["c0"] + prices["c1"] > 0
    assert "4 cost more than their export.max_cost_cents: `run` would not purchase them." in ended.stdout


async def test_what_was_bought_before_is_not_priced_again(tmp_path: Path):
    manifest = write_manifest(tmp_path, 2)
    async with lite() as sandbox:
        await run_command(sandbox, "run", manifest, *QUICK)
        ended = await run_command(sandbox, "quote", manifest, "--json", *QUICK)
    lines = json_lines(ended.stdout)
    assert ended.returncode == 0
    assert lines[-1]["price_cents"] == 0
    assert [line["bought_before"] for line in lines if line["type"] == "customer"] == [1, 1]


async def test_a_server_s_words_steer_no_terminal_and_show_no_secret(tmp_path: Path):
    manifest = write_manifest(tmp_path, 1)
    words = "\x1b]0;owned\x07 sign in at https://files.example.org/a.csv?X-Signature=s3cr3t"
    async with scripted_server(respond_with_json({"error": words}, 401)) as server:
        variables = {"INDIGO_BASE_URL": f"{server.origin}/api/v1", "INDIGO_API_TOKEN": "canary-5e1", "COLUMNS": "200"}
        with anyio.fail_after(60):
            ended = await anyio.run_process(
                command("quote", manifest, *QUICK), env={**os.environ, **variables}, check=False
            )
    out = ended.stdout.decode()
    assert ended.returncode == 5
    (stopped,) = [line for line in out.splitlines() if line.startswith("Stopped: ")]
    assert "]0;owned sign in at https://files" in stopped
    for unfit in ("\x1b", "\x07", "s3cr3t"):
        assert unfit not in out + ended.stderr.decode()
