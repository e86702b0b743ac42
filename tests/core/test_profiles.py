"""Profiles: the file, which one is used, and that a token never shows or pays for the wrong account."""

from __future__ import annotations

import os
import pickle
import traceback
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from indigo_async._profiles import find_profiles_file, read_known_tokens, read_profile
from indigo_async._settings import Settings
from indigo_async._transport.proxies import Proxies
from indigo_async.client import IndigoClient
from indigo_async.errors import AuthenticationError, InvalidInputError
from indigo_async.sandbox import Sandbox

CANARY = "canary-5d1f-token"


class ProfilesFile:
    def __init__(self, path: Path) -> None:
        self.path = path

    def write(self, text: str, *, mode: int = 0o600) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.write_text(text)
        self.path.chmod(mode)


@pytest.fixture
def profiles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ProfilesFile:
    """The profiles file of this test, where the environment sets nothing else."""
    for name in [name for name in os.environ if name.startswith("INDIGO_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return ProfilesFile(tmp_path / "config" / "indigo-async" / "profiles.toml")


def problems_of(profile: str = "acme", **arguments: Any) -> str:
    with pytest.raises(InvalidInputError) as caught:
        Settings.resolve(None, None, profile=profile, **arguments)
    assert CANARY not in f"{caught.value!s} {caught.value!r} {pickle.dumps(caught.value)!r}"
    assert caught.value.__cause__ is None
    return str(caught.value)


def test_a_profile_has_all_settings(profiles: ProfilesFile):
    profiles.write(
        f"""
        [acme]
        token = " Bearer {CANARY}\\n"
        base_url = "https://acme.example.org/api/v1/"
        proxy = "http://user:{CANARY}@proxy.example.org:3128"

        [other]
        token_file = "other-token"
        """
    )
    settings = Settings.resolve(None, None, profile="acme")
    assert (settings.token, settings.base_url) == (CANARY, "https://acme.example.org/api/v1")
    assert CANARY not in repr(settings)
    assert CANARY not in repr(settings.profile)
    proxy = Proxies.resolve(None, profile=settings.profile).explicit
    assert proxy is not None
    assert proxy.address == "http://proxy.example.org:3128"


def test_the_environment_names_a_profile(profiles: ProfilesFile, monkeypatch: pytest.MonkeyPatch):
    profiles.write('[acme]\ntoken = "one"\n[other]\ntoken = "two"')
    monkeypatch.setenv("INDIGO_PROFILE", "other")
    assert Settings.resolve(None, None).token == "two"
    assert Settings.resolve(None, None, profile="acme").token == "one"
    assert Settings.resolve("three", None).token == "three"
    assert Settings.resolve("three", None).profile is None


def test_without_a_profile_the_file_is_not_read(profiles: ProfilesFile, monkeypatch: pytest.MonkeyPatch):
    profiles.write("not TOML", mode=0o644)
    monkeypatch.setenv("INDIGO_API_TOKEN", "token")
    monkeypatch.setenv("INDIGO_PROFILE", "")
    assert Settings.resolve(None, None).token == "token"


@pytest.mark.parametrize("variable", ["INDIGO_API_TOKEN", "INDIGO_API_TOKEN_FILE"])
@pytest.mark.parametrize("named_by", ["profile=...", "INDIGO_PROFILE"])
def test_another_token_in_the_environment_never_pays(
    profiles: ProfilesFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str, named_by: str
):
    profiles.write(f'[acme]\ntoken = "{CANARY}"')
    file = tmp_path / "token"
    file.write_text("another-account")
    monkeypatch.setenv(variable, str(file) if variable.endswith("FILE") else "another-account")
    profile = "acme" if named_by == "profile=..." else None
    if profile is None:
        monkeypatch.setenv("INDIGO_PROFILE", "acme")
    with pytest.raises(InvalidInputError) as caught:
        Settings.resolve(None, None, profile=profile)
    message = str(caught.value)
    assert f"{variable} holds another token than profile 'acme' of {profiles.path}, which {named_by} names" in message
    assert f"unset {variable}" in message
    assert ("unset INDIGO_PROFILE" if profile is None else "leave out profile=...") in message
    assert CANARY not in message
    assert "another-account" not in message


def test_the_same_token_in_the_environment_is_no_contradiction(profiles: ProfilesFile, monkeypatch: pytest.MonkeyPatch):
    profiles.write('[acme]\ntoken_file = "acme-token"')
    (profiles.path.parent / "acme-token").write_text(f"{CANARY}\n")
    monkeypatch.setenv("INDIGO_API_TOKEN", f"Bearer {CANARY}")
    settings = Settings.resolve(None, None, profile="acme")
    assert callable(settings.token)
    assert settings.token() == CANARY


def test_the_environment_overrides_a_base_url_and_a_proxy(profiles: ProfilesFile, monkeypatch: pytest.MonkeyPatch):
    profiles.write('[acme]\ntoken = "t"\nbase_url = "https://a.example.org"\nproxy = "http://a.example.org:1"')
    monkeypatch.setenv("INDIGO_BASE_URL", "https://b.example.org")
    monkeypatch.setenv("INDIGO_PROXY", "http://b.example.org:1")
    settings = Settings.resolve(None, None, profile="acme")
    assert settings.base_url == "https://b.example.org"
    assert Settings.resolve(None, "https://c.example.org", profile="acme").base_url == "https://c.example.org"
    assert Proxies.resolve(None, profile=settings.profile).explicit is None


def test_a_token_and_a_profile_are_refused(profiles: ProfilesFile):
    profiles.write('[acme]\ntoken = "t"')
    with pytest.raises(InvalidInputError, match="profile: pass token or profile, not both"):
        IndigoClient("token", profile="acme")


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o777])
def test_a_file_that_others_can_read_or_change_is_refused(profiles: ProfilesFile, mode: int):
    profiles.path = profiles.path.with_name("my profiles.toml")
    os.environ["INDIGO_PROFILES_FILE"] = str(profiles.path)
    try:
        profiles.write(f'[acme]\ntoken = "{CANARY}"', mode=mode)
        assert problems_of().endswith(f"chmod 600 '{profiles.path}'")
        profiles.path.chmod(0o600)
        assert Settings.resolve(None, None, profile="acme").token == CANARY
    finally:
        del os.environ["INDIGO_PROFILES_FILE"]


def test_a_missing_profile_lists_the_others(profiles: ProfilesFile):
    profiles.write(f'[acme]\ntoken = "{CANARY}"\n["b & c"]\ntoken = "{CANARY}"')
    message = problems_of("amce")
    assert message.endswith("which profile=... names; it has: 'acme', 'b & c'; did you mean 'acme'?")
    profiles.write("")
    assert problems_of().endswith("it has: none")


def test_a_missing_file_says_what_to_create(profiles: ProfilesFile):
    assert (
        problems_of()
        == f"profile: {profiles.path} does not exist; create it with a table such as [acme] that has a token"
    )


def test_all_mistakes_are_reported_with_their_places(profiles: ProfilesFile):
    profiles.write(
        f"""
        token = "{CANARY}"
        [acme]
        tokn = "{CANARY}"
        base_url = 5
        [two]
        token = "{CANARY} and more"
        token_file = "{CANARY}"
        [three]
        token = ["{CANARY}"]
        [four]
        token = ""
        [five]
        """
    )
    assert problems_of().replace(str(profiles.path), "FILE").splitlines() == [
        "9 problems:",
        "FILE: token: must be in a table, such as [acme] and token = ... below it",
        "FILE: acme.tokn: unknown key; the keys are token, token_file, base_url, proxy; did you mean 'token'?",
        "FILE: acme.base_url: must be text, not int",
        "FILE: acme: needs either token or token_file",
        "FILE: two.token: contains spaces or line breaks; check that nothing else was copied with it",
        "FILE: two: needs either token or token_file",
        "FILE: three.token: must be text, not list",
        "FILE: four.token: must not be empty",
        "FILE: five: needs either token or token_file",
    ]


@pytest.mark.parametrize(
    "text", ["[acme", f'[acme]\ntoken = "{CANARY}', f"[acme]\ntoken = {CANARY}", "a = " + "[" * 9_999]
)
def test_text_that_is_not_toml_is_never_shown(profiles: ProfilesFile, text: str):
    profiles.write(text)
    assert "is not valid TOML" in problems_of()


@given(text=st.text(max_size=200), token=st.from_regex(r"[a-z]{12}", fullmatch=True))
def test_no_message_shows_a_token(tmp_path_factory: pytest.TempPathFactory, text: str, token: str):
    path = tmp_path_factory.mktemp("profiles") / "profiles.toml"
    path.write_text(f'[acme]\ntoken = "{token}"\n{text}', errors="replace")
    path.chmod(0o600)
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("INDIGO_PROFILES_FILE", str(path))
        environment.setenv("INDIGO_API_TOKEN", "another")
        with pytest.raises(InvalidInputError) as caught:
            read_profile("acme", named_by="INDIGO_PROFILE")
    assert token not in str(caught.value)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_windows_may_write_a_byte_order_mark(profiles: ProfilesFile, encoding: str):
    profiles.write("")
    profiles.path.write_text(f'[acme]\ntoken = "{CANARY}"', encoding=encoding)
    assert Settings.resolve(None, None, profile="acme").token == CANARY


def test_a_token_file_whose_name_has_a_null_byte_is_refused(profiles: ProfilesFile):
    profiles.write('[acme]\ntoken_file = "a\\u0000b"')
    profile = read_profile("acme", named_by="INDIGO_PROFILE")
    assert callable(profile.token_source)
    with pytest.raises(InvalidInputError, match="null byte"):
        profile.token_source()


def test_no_frame_of_an_error_shows_a_token_in_a_list(profiles: ProfilesFile):
    profiles.write(f'[acme]\ntoken = ["{CANARY}"]')
    with pytest.raises(InvalidInputError) as caught:
        read_profile("acme", named_by="INDIGO_PROFILE")
    frames = traceback.TracebackException.from_exception(caught.value, capture_locals=True).stack[1:]
    assert CANARY not in str([frame.locals for frame in frames])


def test_a_base_url_is_checked_where_it_is_written(profiles: ProfilesFile):
    profiles.write('[acme]\ntoken = "t"\nbase_url = "http://example.org"')
    assert f"{profiles.path}: acme.base_url: must be https" in problems_of()


@pytest.mark.parametrize(
    ("environment", "is_windows", "expected"),
    [
        ({}, False, "~/.config/indigo-async/profiles.toml"),
        ({"XDG_CONFIG_HOME": "/etc/mine"}, False, "/etc/mine/indigo-async/profiles.toml"),
        ({"XDG_CONFIG_HOME": "relative"}, False, "~/.config/indigo-async/profiles.toml"),
        ({"APPDATA": "/users/me/AppData/Roaming"}, True, "/users/me/AppData/Roaming/indigo-async/profiles.toml"),
        ({}, True, "~/AppData/Roaming/indigo-async/profiles.toml"),
        ({"INDIGO_PROFILES_FILE": "~/mine.toml", "XDG_CONFIG_HOME": "/etc/mine"}, False, "~/mine.toml"),
    ],
)
def test_where_the_file_is(environment: dict[str, str], expected: str, *, is_windows: bool):
    assert find_profiles_file(environment, is_windows=is_windows) == Path(expected).expanduser()


async def test_a_client_pays_with_the_token_of_its_profile(profiles: ProfilesFile):
    async with Sandbox(lite=True) as sandbox:
        profiles.write(
            f'[acme]\ntoken = "{sandbox.token}"\nbase_url = "{sandbox.base_url}"\n'
            f'[other]\ntoken = "another"\nbase_url = "{sandbox.base_url}"\n'
        )
        async with IndigoClient(profile="acme") as client:
            assert repr(client) == f"IndigoClient(base_url='{sandbox.base_url}', profile='acme')"
            assert await client.list_audiences() == []
        async with IndigoClient(profile="other") as client:
            with pytest.raises(AuthenticationError, match="or the profile"):
                await client.list_audiences()


async def test_the_token_file_of_a_profile_is_read_again_after_a_401(profiles: ProfilesFile):
    async with Sandbox(lite=True) as sandbox:
        profiles.write(f'[acme]\ntoken_file = "token"\nbase_url = "{sandbox.base_url}"')
        file = profiles.path.parent / "token"
        file.write_text("expired")
        async with IndigoClient(profile="acme") as client:
            file.write_text(sandbox.token)
            assert await client.list_audiences() == []


def test_all_known_tokens_can_be_redacted(profiles: ProfilesFile, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("INDIGO_API_TOKEN", "zero")
    assert read_known_tokens() == ["zero"]
    profiles.write(
        'top = 1\n[acme]\ntoken = "one"\n[other]\ntoken_file = "two"\n[missing]\ntoken_file = "no-such-file"'
    )
    (profiles.path.parent / "two").write_text("two")
    assert {"zero", "one", "two"} <= set(read_known_tokens())
