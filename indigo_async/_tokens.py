"""The API token: where it comes from, and whether it is well formed."""

from __future__ import annotations

import codecs
import os
import re
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import TypeAlias

from indigo_async._redaction import SecretText
from indigo_async._validation import InputCheck
from indigo_async.errors import Problem

__all__ = [
    "TOKEN_FILE_VARIABLE",
    "TokenSource",
    "check_token",
    "decode_text",
    "normalize_token",
    "read_token_file",
    "token_from_environment",
]

TokenSource: TypeAlias = Callable[[], str | Awaitable[str]]
"""Returns the token. Called when a client is opened, and again when the server rejects the current token (401)."""

_TOKEN_VARIABLE = "INDIGO_API_TOKEN"  # noqa: S105 - the variable's name, not a token
TOKEN_FILE_VARIABLE = "INDIGO_API_TOKEN_FILE"  # noqa: S105 - as above


def token_from_environment() -> SecretText | Callable[[], SecretText]:
    path = os.environ.get(TOKEN_FILE_VARIABLE)
    token = normalize_token(os.environ.get(_TOKEN_VARIABLE, ""))
    return partial(read_token_file, path) if path and not token else token


def read_token_file(path: str, *, named_by: str = TOKEN_FILE_VARIABLE) -> SecretText:
    """Read the token from a file. `named_by` says what names the file.

    Raises:
        InvalidInputError: the file can't be read or contains no valid token.
    """
    check = InputCheck()
    token = SecretText()
    try:
        token = normalize_token(decode_text(Path(path).expanduser().read_bytes()))
    except (OSError, RuntimeError, ValueError) as error:  # the home of a user who doesn't exist, or a null byte
        reason = getattr(error, "strerror", None) or str(error)
        check.add("token", f"{reason}; point it at the file that contains the token, or set {_TOKEN_VARIABLE}")
    else:
        if token:
            check_token(check, token)
        else:
            check.add("token", "the file is empty")
    check.problems = [
        Problem(problem.where, f"{path} (set by {named_by}): {problem.message}") for problem in check.problems
    ]
    check.raise_if_invalid()
    return token


def decode_text(data: bytes) -> SecretText:
    """Decode UTF-8, or UTF-16 with a byte order mark, which PowerShell writes. Windows may add a mark to UTF-8, too."""
    is_utf16 = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    return SecretText(data.decode("utf-16" if is_utf16 else "utf-8-sig", errors="replace"))


_BYTE_ORDER_MARKS = "\ufeff\ufffe\u200b"
_QUOTES = ('""', "''", "``", "\u201c\u201d", "\u2018\u2019")
_BEARER = re.compile(r"(?i)(?:authorization\s*:\s*)?bearer(?:\s+|$)")
_PLACEHOLDER = re.compile(
    r"<.*>|\$\{.*\}|\$[A-Z_][A-Z0-9_]*|\$\(.*\)|%[A-Za-z_]+%|\{\{.*\}\}|\[.*\]|x{3,}|\*+|\.{3,}|(?i:change[-_ ]?me)|"
    r"(?i:(?:your|my)(?:[-_ ]?(?:indigo|api|access))*[-_ ]?(?:token|key)(?:[-_ ]?(?:goes)?[-_ ]?here)?)",
    re.DOTALL,
)


def normalize_token(text: str) -> SecretText:
    """Return a token without surrounding whitespace, a pair of quotes, or `Bearer` before it.

    A value that is not text is returned unchanged, for `check_token` to report.
    """
    if not isinstance(text, str):  # pyright: ignore[reportUnnecessaryIsInstance]: callers without a type checker
        return text
    text = _unquote(text)
    prefix = _BEARER.match(text)
    return SecretText(_unquote(text[prefix.end() :]) if prefix else text)


def _unquote(text: str) -> str:
    text = _strip(text)
    return _strip(text[1:-1]) if len(text) > 1 and text[0] + text[-1] in _QUOTES else text


def _strip(text: str) -> str:
    return text.strip().strip(_BYTE_ORDER_MARKS).strip()


def check_token(check: InputCheck, token: str) -> None:
    """Check that a normalized token is well formed. Messages never show it."""
    where = "token"
    if token == "":
        check.add(
            where, f"no API token; pass token=... or profile=..., or set {_TOKEN_VARIABLE} or {TOKEN_FILE_VARIABLE}"
        )
    elif not isinstance(token, str):  # pyright: ignore[reportUnnecessaryIsInstance]: callers without a type checker
        check.add(where, f"must be text, not {type(token).__name__}")
    elif _PLACEHOLDER.fullmatch(token):
        check.add(where, "is a placeholder, such as <token> or $TOKEN; replace it with the API token")
    elif f"{_TOKEN_VARIABLE}=" in token:
        check.add(where, f"must be the token alone, without {_TOKEN_VARIABLE}= before it")
    elif token.startswith("{"):
        check.add(where, "is a JSON document; pass only the token in it")
    elif token.startswith("~/"):
        check.add(where, f"is a file path; set {TOKEN_FILE_VARIABLE} to it")
    elif any(character.isspace() for character in token):
        check.add(where, "contains spaces or line breaks; check that nothing else was copied with it")
    elif not token.isascii():
        check.add(where, "contains characters that are not ASCII; copy the complete token from plain text")
    elif not token.isprintable():
        check.add(where, "contains control characters; copy the token from plain text")
