from __future__ import annotations

import re
from pathlib import Path

import pytest

from indigo_async.sandbox import Dialect, Fault, FaultKind, ManualClock, Sandbox
from indigo_async.sandbox.people import VoterFile, generate_messy_csv
from tests.support.command_line import RunCommand, is_private

FAST = ("--poll-interval", "0.02")
MATCH = ("--customer", "42", "--name", "Donors", "--required", "first_name=First Name", *FAST)
URL = "https://files.example.org/donors.csv?X-Signature=s3cr3t"


def lite(**options: object) -> Sandbox:
    return Sandbox(lite=True, speed=2_000.0, **options)  # type: ignore[arg-type]


async def test_single_commands_do_the_whole_recipe_and_repeating_them_costs_nothing(
    command_line: RunCommand, tmp_path: Path
):
    out = tmp_path / "donors.csv"
    async with lite() as sandbox:
        matched = await command_line(sandbox, "match", URL, *MATCH, "--json")
        assert matched.exit_code == 0, matched.stderr
        (audience,) = matched.records
        assert (audience["name"], audience["status"], audience["customer_id"]) == ("Donors", "ACTIVE", "42")
        assert "s3cr3t" not in matched.stdout + matched.stderr
        lookalike = ("lookalike", audience["id"], "--customer", "42", "--name", "Wider", "--size", "2000", *FAST)
        (wider,) = (await command_line(sandbox, *lookalike, "--state", "PA", "--state", "OH", "--json")).records
        assert wider["base_audience_id"] == audience["id"]
        export = ("export", wider["id"], "--customer", "42", "--field", "phone", "--out", out, *FAST)
        priced = await command_line(sandbox, *export, "--json")
        (quote,) = priced.records
        assert priced.exit_code == 3
        assert (quote["limit_cents"], quote["spent_cents"], quote["path"]) == (0, 0, None)
        assert f"--max-cost-cents {quote['cost_cents']}" in priced.stderr
        assert sandbox.counts().purchases == 0
        assert not out.exists()
        limit = ("--max-cost-cents", str(quote["cost_cents"]))
        (bought,) = (await command_line(sandbox, *export, *limit, "--json")).records
        assert bought.keys() == quote.keys()
        assert bought["spent_cents"] == quote["cost_cents"] == sandbox.counts().charged_cents
        assert bought["size_bytes"] == out.stat().st_size
        assert is_private(out)
        counts = sandbox.counts()
        for again in (("match", URL, *MATCH), lookalike, (*export, *limit)):
            assert (await command_line(sandbox, *again, "--quiet")).exit_code == 0
        assert sandbox.counts() == counts


async def test_a_base_that_is_too_small_is_reported_besides_the_servers_refusal(command_line: RunCommand):
    async with lite() as sandbox:
        (audience_id,) = await sandbox.seed_audiences(1, "42", size=999)
        grow = ("lookalike", audience_id, "--customer", "42", "--name", "Wider", "--size", "2000", *FAST)
        result = await command_line(sandbox, *grow)
    assert result.exit_code == 1
    warning, error = "999 matched people; a lookalike needs a base of at least 1,000", "BaseAudienceNotEligible"
    assert result.stderr.index(warning) < result.stderr.index(error)


async def test_limit_one_cent_too_low_purchases_nothing_and_shows_the_price(command_line: RunCommand, tmp_path: Path):
    async with lite() as sandbox:
        (audience_id,) = await sandbox.seed_audiences(1, "42")
        export = ("export", audience_id, "--customer", "42", "--field", "phone", "--out", tmp_path / "x.csv", *FAST)
        result = await command_line(sandbox, *export, "--max-cost-cents", "5999")
        assert sandbox.counts().purchases == 0
    assert result.exit_code == 3
    assert "price $60.00" in result.stdout
    assert "the limit is $59.99: nothing was purchased" in result.stderr
    assert "purchase started" not in result.stderr


async def test_failed_download_is_repeated_by_export_id_without_another_purchase(
    command_line: RunCommand, tmp_path: Path
):
    out = tmp_path / "donors.csv"
    async with lite(dialect=Dialect(shows_field_types=False)) as sandbox:
        (audience_id,) = await sandbox.seed_audiences(1, "42")
        export = ("export", audience_id, "--customer", "42", "--out", out, *FAST)
        limits = ("--field", "phone", "--max-cost-cents", "6000", "--buy-another")
        sandbox.faults.add(Fault(kind=FaultKind.ERROR_BEFORE, endpoint="GET download", status=403, times=2))
        failed = await command_line(sandbox, *export, *limits)
        assert (failed.exit_code, sandbox.counts().purchases) == (1, 1)
        (export_id,) = re.findall(r"`indigo-async export` with --export-id (\S+) downloads it", failed.stderr)
        assert "With --buy-another, running the same command again may purchase another export" in failed.stderr
        got = await command_line(sandbox, *export, "--export-id", export_id, "--json")
        assert (got.exit_code, sandbox.counts().purchases) == (0, 1), got.stderr
    (record,) = got.records
    assert (record["spent_cents"], record["size_bytes"]) == (0, out.stat().st_size)


async def test_uploaded_csv_is_matched_later(command_line: RunCommand):
    async with lite() as sandbox:
        (stub,) = (await command_line(sandbox, "upload", URL, "--customer", "42", *FAST, "--json")).records
        assert stub["csv_status"] == "READY_FOR_COLUMN_SELECTION"
        matched = await command_line(sandbox, "match", "--uploaded", stub["id"], *MATCH, "--json")
        assert (matched.records[0]["id"], matched.records[0]["status"]) == (stub["id"], "ACTIVE")
        assert sandbox.log.count("POST /upload_csv") == 1


async def test_local_file_is_published_to_a_server_on_this_machine(
    command_line: RunCommand, tmp_path: Path, voters: VoterFile
):
    people = tmp_path / "people.csv"
    people.write_bytes(generate_messy_csv(voters, 1_500, seed=1))
    async with Sandbox(voters, speed=2_000.0) as sandbox:
        more = ("--required", "last_name=Last Name", "--optional", "zip=Zip Code")
        result = await command_line(sandbox, "match", people, *MATCH, *more, "--json")
        again = await command_line(sandbox, "match", people, *MATCH, *more, "--json")
        assert sandbox.log.count("POST /upload_csv") == 1
    assert result.exit_code == 0, result.stderr
    record = result.records[0]
    assert record["size"] > 1_000
    assert record["match_rate"] == round(record["matched_count"] / record["row_count"], 4)
    assert again.records[0]["id"] == result.records[0]["id"]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("columns.yaml", "first_name: {column_name: First Name, is_required: true}\nzip: {column_name: Zip}\n"),
        ("columns.json", '{"column_selections": {"first_name": {"column_name": "First", "is_required": true}}}'),
    ],
)
async def test_columns_are_read_from_a_file(command_line: RunCommand, tmp_path: Path, name: str, content: str):
    (tmp_path / name).write_text(content)
    async with lite() as sandbox:
        match = ("match", URL, "--customer", "42", "--name", "Donors", *FAST)
        assert (await command_line(sandbox, *match, "--columns", tmp_path / name)).exit_code == 0
        assert sandbox.log.count("POST /match_uploaded_csv") == 1


async def test_audiences_are_listed_as_a_table_and_as_json(command_line: RunCommand):
    async with lite() as sandbox:
        await sandbox.seed_audiences(2, "42")
        await sandbox.seed_audiences(1, "43")
        of_one = await command_line(sandbox, "audiences", "--customer", "42")
        of_all = await command_line(sandbox, "audiences", "--json")
        of_none = await command_line(sandbox, "audiences", "--customer", "44")
        one = await command_line(sandbox, "audience", of_all.records[0]["id"], "--customer", "42")
    assert [line.split()[0] for line in of_one.stdout.splitlines()] == ["id", *(r["id"] for r in of_all.records[:2])]
    assert "2 audiences for customer 42." in of_one.stderr
    assert len(of_all.records) == 3
    assert len({tuple(record) for record in of_all.records}) == 1
    assert (of_none.exit_code, of_none.stdout) == (0, "")
    assert "ACTIVE" in one.stdout
    assert "1,500" in one.stdout


async def test_control_characters_in_names_are_replaced(command_line: RunCommand):
    async with lite() as sandbox:
        name = "\x1b[31mRed\x1b]0;title\x07"
        await command_line(sandbox, "match", URL, *MATCH[:2], "--name", name, *MATCH[4:])
        listed = await command_line(sandbox, "audiences")
        as_json = await command_line(sandbox, "audiences", "--json")
    assert "Red" in listed.stdout
    assert not {"\x1b", "\x07"} & set(listed.stdout + listed.stderr + as_json.stdout)
    assert as_json.records[0]["name"] == name


async def test_watch_ends_when_each_audience_is_done(command_line: RunCommand):
    async with lite() as sandbox:
        (known,) = await sandbox.seed_audiences(1, "42")
        (stub,) = (await command_line(sandbox, "upload", URL, "--customer", "42", *FAST, "--json")).records
        watched = await command_line(sandbox, "watch", known, stub["id"], "--customer", "42", *FAST, "--json")
        missing = await command_line(sandbox, "watch", known, "aud-99", "--customer", "42", *FAST)
    assert watched.exit_code == 0
    assert {(record["id"], record["done"]) for record in watched.records} == {(known, True), (stub["id"], True)}
    assert missing.exit_code == 1
    assert "NOT FOUND" in missing.stdout
    assert "aud-99: GET /audience" in missing.stderr


async def test_watch_ends_after_its_timeout(command_line: RunCommand):
    async with Sandbox(lite=True, clock=ManualClock()) as sandbox:
        upload = await command_line(sandbox, "upload", URL, "--customer", "42", *FAST, "--timeout", "0.1")
        assert upload.exit_code == 4
        result = await command_line(sandbox, "watch", "aud-1", "--customer", "42", *FAST, "--timeout", "0.1")
    assert result.exit_code == 4
    assert "work already requested continues on the server" in result.stderr
    assert "PROCESSING" in result.stdout


async def test_empty_export_is_purchased_only_with_allow_empty(command_line: RunCommand, tmp_path: Path):
    async with lite() as sandbox:
        (audience_id,) = await sandbox.seed_audiences(1, "42", size=0)
        export = ("export", audience_id, "--customer", "42", "--out", tmp_path / "x.csv", *FAST)
        refused = await command_line(sandbox, *export)
        assert (refused.exit_code, sandbox.counts().purchases) == (1, 0)
        assert "has 0 people" in refused.stderr
        assert "use --allow-empty to export it anyway" in refused.stderr
        allowed = await command_line(sandbox, *export, "--allow-empty")
        assert (allowed.exit_code, sandbox.counts().purchases) == (0, 1), allowed.stderr


async def test_the_status_of_a_csv_is_shown_until_it_is_matched(command_line: RunCommand):
    async with lite() as sandbox:
        uploaded = await command_line(sandbox, "upload", URL, "--customer", "42", *FAST)
        matched = await command_line(sandbox, "match", URL, *MATCH)
    assert "READY_FOR_COLUMN_SELECTION" in uploaded.stdout
    assert "ACTIVE" in matched.stdout
    assert "READY_FOR_COLUMN_SELECTION" not in matched.stdout


async def test_reuse_is_printed_once(command_line: RunCommand, tmp_path: Path):
    async with lite() as sandbox:
        match = ("match", URL, *MATCH)
        await command_line(sandbox, *match)
        matched = await command_line(sandbox, *match)
        (audience_id,) = await sandbox.seed_audiences(1, "42")
        export = ("export", audience_id, "--customer", "42", "--out", tmp_path / "x.csv", *FAST)
        await command_line(sandbox, *export)
        exported = await command_line(sandbox, *export)
    assert matched.stderr.count("reusing audience") == 1
    assert "columns are not compared" in matched.stderr
    assert exported.stderr.count("reusing export") == 1


async def test_watch_does_not_take_a_server_that_is_down_for_a_missing_audience(command_line: RunCommand):
    async with lite() as sandbox:
        sandbox.faults.add(Fault(kind=FaultKind.DISCONNECT_BEFORE, times=None))
        result = await command_line(sandbox, "watch", "aud-1", *FAST, "--timeout", "0.2")
    assert result.exit_code == 4
    assert "no response has shown aud-1 so far; check the IDs, --customer and the connection" in result.stderr
    assert "not found" not in result.stderr


@pytest.mark.parametrize("command_name", ["export", "lookalike"])
async def test_timeout_also_bounds_the_first_read(command_line: RunCommand, tmp_path: Path, command_name: str):
    options = {
        "export": ("--out", tmp_path / "out.csv"),
        "lookalike": ("--customer", "42", "--name", "Grown", "--size", "10"),
    }
    async with Sandbox(lite=True) as sandbox:
        sandbox.faults.add(Fault(kind=FaultKind.ERROR_BEFORE, status=503, times=None))
        result = await command_line(sandbox, command_name, "aud-1", *options[command_name], "--timeout", "0.4")
    assert result.exit_code == 4
    assert "audience aud-1 could not be read within 0.4 s" in result.stderr
