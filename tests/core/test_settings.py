"""The base URL and the token: arguments, then the environment."""

from __future__ import annotations

import pytest

from indigo_async._settings import DEFAULT_BASE_URL, Settings
from indigo_async.errors import InvalidInputError


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("INDIGO_API_TOKEN", raising=False)
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
    with pytest.raises(InvalidInputError, match=r"token: no API token; pass token=\.\.\. or set INDIGO_API_TOKEN"):
        Settings.resolve(None, None)


@pytest.mark.parametrize("token", ["two words", "line\n", "tab\t", "nul\0", "naïve", "\udc80"])
def test_a_token_that_cannot_be_sent_is_rejected_without_showing_it(token: str):
    with pytest.raises(
        InvalidInputError, match="token: must be printable ASCII without spaces; was it copied completely\\?"
    ) as caught:
        Settings.resolve(token, None)
    assert token not in str(caught.value)


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
