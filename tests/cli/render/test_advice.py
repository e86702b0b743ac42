from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from indigo_async import errors
from indigo_async.cli.render import advice
from indigo_async.cli.render.advice import advice_for, use_option_names


def test_all_advice_is_about_existing_errors():
    of_temporal = {"CancelledError", "TerminatedError"}
    assert set(advice._ADVICE) <= set(errors.__all__) | of_temporal


@pytest.mark.parametrize("error_type", ["ApiError", "CustomerMismatchError", "NotFoundError"])
def test_running_again_is_not_advised_if_it_cannot_help(error_type: str):
    text = advice_for(error_type)
    assert "Running the batch again" in text
    assert "Run the batch again" not in text


def test_unknown_error_advises_running_again():
    assert advice_for("SomeOtherError").startswith("Run the batch again")


DANGEROUS = re.compile(
    r"(?i)another.*journal|new journal|begin a new|start a new|false to (buy|purchase)|(buy|purchase) another"
    r"|without .*journal"
)


@pytest.mark.parametrize("error_type", sorted(errors.__all__))
def test_no_advice_could_purchase_twice_or_lose_the_journal(error_type: str):
    assert not DANGEROUS.search(advice_for(error_type))


def test_no_message_recommends_what_could_purchase_twice():
    """Messages are texts in the source: none that is raised or printed may recommend it."""
    package = Path(errors.__file__).parent
    found = [
        f"{path.name}: {node.value}"
        for path in sorted(package.rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and not node.value.strip().count("\n")
        if re.search(
            r"(?i)begin a new journal|new journal|another (name or )?--journal|reuse_purchased=False to", node.value
        )
    ]
    assert found == []


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        (
            "workflows.wait_until_active continues waiting for audience aud-1",
            "`indigo-async watch` continues waiting for audience aud-1",
        ),
        (
            "workflows.download_export(..., export_id='exp-1') downloads the purchased export",
            "`indigo-async export` with --export-id exp-1 downloads the purchased export",
        ),
        (
            "the same call might purchase another, because of reuse_purchased=False: leave that out",
            "the same command might purchase another, because of --buy-another: leave that out",
        ),
    ],
)
def test_advice_after_a_timeout_names_commands(message: str, shown: str):
    assert use_option_names(message, in_batch=False) == shown


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ("check base_url: the API's own ends with /api/v1", "check --base-url or INDIGO_BASE_URL: the API's own ends"),
        ("base_url: must be an http(s) URL", "--base-url or INDIGO_BASE_URL: must be"),
        ("the keys are token, token_file, base_url, proxy", "the keys are token, token_file, base_url, proxy"),
        ("unknown key; did you mean 'base_url'?", "unknown key; did you mean 'base_url'?"),
        ("profiles.toml: acme.base_url: must be text", "profiles.toml: acme.base_url: must be text"),
    ],
)
def test_keys_of_the_profiles_file_are_not_options(message: str, shown: str):
    assert use_option_names(message).startswith(shown)


def test_advice_about_a_changed_server_is_not_to_rename_the_job():
    text = advice_for("JournalMismatchError")
    assert "another server" in text
    assert "Undo that change" in text
