"""The base URL and the token: arguments, then the environment."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from indigo_async._settings import DEFAULT_BASE_URL, Settings
from indigo_async._tokens import read_token_file
from indigo_async.errors import InvalidInputError


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("INDIGO_API_TOKEN", raising=False)
    monkeypatch.delenv("INDIGO_API_TOKEN_FILE", raising=False)
    monkeypatch.delenv("INDIGO_BASE_URL", raising=False)


def test_the_default_base_url_is_the_documented_one():
    assert Settings.resolve("token", None).base_url == "https://app.indigo.engineering/api/v1" == DEFAULT_BASE_URL


def test_the_environment_is_used_without_arguments(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("INDIGO_API_TOKEN", "from-environment")
    monkeypatch.setenv("INDIGO_BASE_URL", "https://example.org/v2")
    assert Settings.resolve(None, None) == Settings("https://example.org/v2", "from-environment")


def test_arguments_take_precedence_over_the_environment(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("INDIGO_API_TOKEN", "from-environment")
    monkeypatch.setenv("INDIGO_BASE_URL", "https://example.org/v2")
    assert Settings.resolve("argument", "https://example.net") == Settings("https://example.net", "argument")


def test_a_trailing_slash_makes_no_difference():
    assert Settings.resolve("token", "https://example.org/api/").base_url == "https://example.org/api"


def test_the_error_for_a_missing_token_lists_the_ways_to_pass_it():
    with pytest.raises(
        InvalidInputError, match=r"token: no API token; pass token=\.\.\. or profile=\.\.\., or set INDIGO_API_TOKEN"
    ):
        Settings.resolve(None, None)


@pytest.mark.parametrize(
    "text",
    [
        "tok-1\n",
        "\r\n tok-1 \t",
        "\ufefftok-1",
        '"tok-1"',
        "'tok-1'",
        "`tok-1`",
        "\u201ctok-1\u201d",
        "\u00a0tok-1\u00a0",
        "Bearer tok-1",
        "bearer  tok-1\n",
        "BEARER\ttok-1",
        "Authorization: Bearer tok-1",
        '"Bearer tok-1"',
        'Bearer "tok-1"',
        '\ufeff "Authorization: Bearer tok-1"\r\n',
    ],
)
def test_text_around_a_token_is_removed(text: str, monkeypatch: pytest.MonkeyPatch):
    assert Settings.resolve(text, None).token == "tok-1"
    monkeypatch.setenv("INDIGO_API_TOKEN", text)
    assert Settings.resolve(None, None).token == "tok-1"


@pytest.mark.parametrize(
    "token", ["token", "a", "a=b", "x/y+z==", "Bearertok", "bearer-1", "$2b$10$abc", "<a", "ey.J.x"]
)
def test_an_unusual_token_is_unchanged(token: str):
    assert Settings.resolve(token, None).token == token


@given(
    st.text(
        alphabet=st.characters(min_codepoint=33, max_codepoint=126, exclude_characters="\"'`<>$%{}[]*.~xX"), min_size=1
    )
)
def test_any_printable_token_is_used_as_it_is(token: str):
    assume(not re.match("(?i)bearer$|authorization|your|my|change", token))
    assert Settings.resolve(token, None).token == token


@pytest.mark.parametrize(
    ("token", "message"),
    [
        ("two words-canary", "contains spaces or line breaks; check that nothing else was copied with it"),
        ("first-canary\nsecond", "contains spaces or line breaks"),
        ("first-canary\u00a0second", "contains spaces or line breaks"),
        ("Bearer two canary", "contains spaces or line breaks"),
        ("nul\0canary", "contains control characters"),
        ("esc\x1bcanary", "contains control characters"),
        ("naïve-canary", "contains characters that are not ASCII"),
        ("zero\u200bwidth-canary", "contains characters that are not ASCII"),
        ("\udc80canary", "contains characters that are not ASCII"),
        ("canary-1234…", "contains characters that are not ASCII"),
        ("<canary-token>", "is a placeholder"),
        ("$CANARY_TOKEN", "is a placeholder"),
        ("${CANARY_TOKEN}", "is a placeholder"),
        ("$(cat canary-token)", "is a placeholder"),
        ("%CANARY_TOKEN%", "is a placeholder"),
        ("{{ canary }}", "is a placeholder"),
        ("[canary]", "is a placeholder"),
        ("your-token-here", "is a placeholder"),
        ("YOUR_API_TOKEN", "is a placeholder"),
        ("your_indigo_api_key", "is a placeholder"),
        ("my-token", "is a placeholder"),
        ("changeme", "is a placeholder"),
        ("xxxxxxxx", "is a placeholder"),
        ("********", "is a placeholder"),
        ("...", "is a placeholder"),
        ("INDIGO_API_TOKEN=canary", "must be the token alone, without INDIGO_API_TOKEN= before it"),
        ("export INDIGO_API_TOKEN=canary", "must be the token alone"),
        ('{"token": "canary"}', "is a JSON document"),
        ("~/canary", "is a file path; set INDIGO_API_TOKEN_FILE to it"),
        ("Bearer", "no API token"),
        ('""', "no API token"),
        ("\n", "no API token"),
    ],
)
def test_an_invalid_token_is_rejected_and_never_shown(token: str, message: str):
    with pytest.raises(InvalidInputError, match=f"token: {re.escape(message)}") as caught:
        Settings.resolve(token, None)
    assert "canary" not in str(caught.value).lower()


@pytest.mark.parametrize(
    "content",
    [b"tok-1", b"tok-1\r\n", b"\xef\xbb\xbftok-1\n", "tok-1\r\n".encode("utf-16"), b'"tok-1"', b"Bearer tok-1\n"],
)
def test_a_token_file_is_read_as_editors_write_it(content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "t").write_bytes(content)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert read_token_file("~/t") == "tok-1"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty"),
        (b"\xef\xbb\xbf\n", "the file is empty"),
        (b"two canary", "contains spaces or line breaks"),
        (b"INDIGO_API_TOKEN=canary\n", "must be the token alone"),
        (None, "No such file or directory; point it at the file that contains the token, or set INDIGO_API_TOKEN"),
    ],
)
def test_a_token_file_without_a_token_says_why(
    content: bytes | None, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    if content is not None:
        (tmp_path / "t").write_bytes(content)
    monkeypatch.setenv("HOME", str(tmp_path))
    shown = f"token: ~/t (set by INDIGO_API_TOKEN_FILE): {message}"
    with pytest.raises(InvalidInputError, match=re.escape(shown)) as caught:
        read_token_file("~/t")
    assert "canary" not in str(caught.value)


def test_a_blank_token_variable_is_the_same_as_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "t").write_text("tok-1")
    monkeypatch.setenv("INDIGO_API_TOKEN", " ")
    monkeypatch.setenv("INDIGO_API_TOKEN_FILE", str(tmp_path / "t"))
    source = Settings.resolve(None, None).token
    assert callable(source)
    assert source() == "tok-1"


def test_a_token_that_is_not_text_is_rejected():
    with pytest.raises(InvalidInputError, match="token: must be text, not int"):
        Settings.resolve(5, None)


@pytest.mark.parametrize("url", ["http://example.org", "http://127.0.0.1.example.org/api", "http://10.0.0.1/"])
def test_the_token_is_never_sent_unencrypted(url: str):
    with pytest.raises(InvalidInputError, match="base_url: must be https"):
        Settings.resolve("token", url)


@pytest.mark.parametrize("url", ["http://127.0.0.1:8080/api/v1", "http://localhost:1", "http://[::1]:1"])
def test_loopback_is_exempt_from_https(url: str):
    settings = Settings.resolve("token", url)
    assert settings.base_url == url
    assert settings.is_loopback


def test_another_host_is_not_on_loopback():
    assert not Settings.resolve("token", None).is_loopback


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("", "must not be empty"),
        ("https://example.org/api\n", "must not begin or end with whitespace"),
        ("https://exam ple.org/api", "must not contain spaces"),
        ("https://example.org/a\npi", "must not contain spaces"),
        ("example.org/api", "must be an absolute https URL"),
        ("ftp://example.org", "must be an absolute https URL"),
        ("https://", "must be an absolute https URL"),
        ("https://example.org:port", "is not a URL"),
        ("https://[::1", "is not a URL"),
        ("https://a..b", "is not a URL"),
        (f"https://{'a' * 64}.example.org", "is not a URL"),
        ("https://user@example.org", "must not contain a user name"),
        ("https://user:pass@example.org", "must not contain a user name"),
        ("https://@example.org", "must not contain a user name"),
        ("https://example.org/api?key=1", "must not contain a user name, password, query or fragment"),
        ("https://example.org/api?", "must not contain a user name, password, query or fragment"),
        ("https://example.org/api#top", "must not contain a user name, password, query or fragment"),
        ("https://example.org/api#", "must not contain a user name, password, query or fragment"),
        (5, "must be text, not int"),
    ],
)
def test_an_invalid_base_url_is_rejected(url: object, message: str):
    with pytest.raises(InvalidInputError, match=f"base_url: {message}"):
        Settings.resolve("token", url)


def test_all_problems_are_reported_at_once():
    with pytest.raises(InvalidInputError) as caught:
        Settings.resolve("", "http://user@example.org")
    assert [problem.where for problem in caught.value.problems] == ["token", "base_url", "base_url"]


def test_the_token_is_in_no_repr():
    assert "canary" not in repr(Settings.resolve("canary", None))
