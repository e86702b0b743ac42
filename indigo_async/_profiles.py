"""Profiles, for users with several tokens: a private TOML file with a table per profile."""

from __future__ import annotations

import os
import shlex
import stat
import tomllib
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, cast

import attrs

from indigo_async._redaction import SecretText, hide_texts
from indigo_async._text import did_you_mean
from indigo_async._tokens import check_token, decode_text, normalize_token, read_token_file, token_from_environment
from indigo_async._validation import InputCheck
from indigo_async.errors import InvalidInputError, Problem

__all__ = ["Profile", "find_profiles_file", "read_known_tokens", "read_profile"]

_FILE_VARIABLE = "INDIGO_PROFILES_FILE"
_MAX_SHOWN = 60
_KEYS = ("token", "token_file", "base_url", "proxy")


@attrs.frozen
class Profile:
    """A table of the profiles file: a token, or the file that holds it, and the settings that go with it."""

    name: str
    file: Path
    token: SecretText | None = attrs.field(repr=False, default=None)
    token_file: str = ""
    base_url: str | None = None
    proxy: SecretText | None = attrs.field(repr=False, default=None)

    @property
    def token_source(self) -> SecretText | partial[SecretText]:
        """The token, or the function that reads its file."""
        if self.token is not None:
            return self.token
        return partial(read_token_file, self.token_file, named_by=f"profile {self.name!r}")

    def __str__(self) -> str:
        return f"profile {self.name!r} of {self.file}"


def find_profiles_file(environment: Mapping[str, str] = os.environ, *, is_windows: bool = os.name == "nt") -> Path:
    """Return the path of the profiles file.

    `INDIGO_PROFILES_FILE`, else `indigo-async/profiles.toml` in the folder for settings: `XDG_CONFIG_HOME`, by default
    `~/.config`; on Windows, `APPDATA`.

    Raises:
        InvalidInputError: the path begins with `~`, and there is no home folder.
    """
    variable, default = ("APPDATA", "~/AppData/Roaming") if is_windows else ("XDG_CONFIG_HOME", "~/.config")
    folder = Path(environment.get(variable, ""))
    if not folder.is_absolute():  # the XDG specification ignores these
        folder = Path(default)
    path = Path(environment.get(_FILE_VARIABLE) or folder / "indigo-async" / "profiles.toml")
    try:
        return path.expanduser()
    except RuntimeError:
        message = f"there is no home folder for {path}; set {_FILE_VARIABLE} to the path of the profiles file"
        raise InvalidInputError([Problem("profile", message)]) from None


def read_profile(name: str, *, named_by: str) -> Profile:
    """Read a profile, after checking the whole file. `named_by` says what names it, such as `INDIGO_PROFILE`.

    Raises:
        InvalidInputError: the file can't be read, other users can, or it is invalid; it has no profile of this name;
            or the environment's token is another one than the profile's.
    """
    check = InputCheck()
    check.text("profile", name)
    check.raise_if_invalid()
    path = find_profiles_file()
    tables = _read_tables(check, path)
    check.raise_if_invalid()
    profiles = {key: _parse_profile(check, path, key, table) for key, table in tables.items()}
    check.raise_if_invalid()
    if name not in profiles:
        names = ", ".join(repr(key) for key in sorted(profiles)) or "none"
        check.add(
            "profile",
            f"{path} has no profile {name[:_MAX_SHOWN]!r}, which {named_by} names; it has: {names}"
            f"{did_you_mean(name, profiles)}",
        )
        check.raise_if_invalid()
    _check_environment(check, profiles[name], named_by)
    check.raise_if_invalid()
    return profiles[name]


def read_known_tokens() -> list[SecretText]:
    """Return the tokens of the environment and of all profiles, as far as they can be read, to redact them."""
    sources: list[SecretText | Callable[[], SecretText]] = [token_from_environment()]
    tokens: list[SecretText] = []
    with suppress(InvalidInputError):
        path = find_profiles_file()
        tables = _read_tables(InputCheck(), path)
        sources += [_parse_profile(InputCheck(), path, name, table).token_source for name, table in tables.items()]
    for source in sources:
        with suppress(InvalidInputError):
            tokens.append(source() if callable(source) else source)
    return tokens


def _read_tables(check: InputCheck, path: Path) -> Mapping[str, Any]:
    """Return the file's document, with secret texts. Adds why it can't be used."""
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            if os.name != "nt" and mode & (stat.S_IRWXG | stat.S_IRWXO):
                check.add("profile", f"other users can read or change {path}: chmod 600 {shlex.quote(str(path))}")
                return {}
            text = decode_text(file.read())
        return cast("Mapping[str, Any]", hide_texts(tomllib.loads(text)))
    except FileNotFoundError:
        check.add("profile", f"{path} does not exist; create it with a table such as [acme] that has a token")
    except OSError as error:
        check.add("profile", f"{path}: {error.strerror or type(error).__name__}")
    except (ValueError, RecursionError) as error:  # its frames hold the text, so it is never a cause
        check.add("profile", f"{path} is not valid TOML: {error}")
    return {}


def _parse_profile(check: InputCheck, path: Path, name: str, table: Any) -> Profile:
    """Check a table. Problems name its keys, never its values."""
    place = f"{path}: {name}"
    if not isinstance(table, dict):
        check.add(place, f"must be in a table, such as [acme] and {name} = ... below it")
        return Profile(name, path)
    table = cast("dict[str, Any]", table)
    texts: dict[str, str] = {}
    for key, value in table.items():
        if key not in _KEYS:
            message = f"unknown key; the keys are {', '.join(_KEYS)}{did_you_mean(key, _KEYS)}"
            check.add(f"{place}.{key[:_MAX_SHOWN]}", message)
        elif key == "token" and value:
            texts[key] = normalize_token(value)
            problems = InputCheck()
            check_token(problems, texts[key])
            check.add_nested(place, problems.problems)
        else:
            texts[key] = check.text(f"{place}.{key}", value)
    if ("token" in table) == ("token_file" in table):
        check.add(place, "needs either token or token_file")
    proxy = texts.get("proxy")
    return Profile(
        name,
        path,
        token=SecretText(texts["token"]) if "token" in texts else None,
        token_file=_resolve_path(texts.get("token_file", ""), path.parent),
        base_url=texts.get("base_url"),
        proxy=None if proxy is None else SecretText(proxy),
    )


def _resolve_path(path: str, folder: Path) -> str:
    """Return a path that may be relative to the folder of the profiles file, or begin with `~`."""
    return path if path.startswith("~") else str(folder / path)


def _check_environment(check: InputCheck, profile: Profile, named_by: str) -> None:
    """Check that the environment doesn't hold another token: it may belong to another account, which would pay."""
    in_environment = token_from_environment()
    if not in_environment:
        return
    variable = "INDIGO_API_TOKEN_FILE" if callable(in_environment) else "INDIGO_API_TOKEN"
    tokens = [source() if callable(source) else source for source in (in_environment, profile.token_source)]
    if tokens[0] != tokens[1]:
        check.add(
            "profile",
            f"{variable} holds another token than {profile}, which {named_by} names, so the wrong account could pay; "
            f"to use the profile, unset {variable}; to use {variable}, {_without_profile(named_by)}",
        )


def _without_profile(named_by: str) -> str:
    return f"unset {named_by}" if named_by.isupper() else f"leave out {named_by}"
