"""Prices, field types and names in the spelling of a dialect."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from typing import Any

from indigo_async.inputs import OptionalFieldType
from indigo_async.sandbox.dialect import Dialect, NameNormalization

__all__ = ["format_field_types", "format_price", "format_status", "normalize_name"]

_TRUNCATED_LENGTH = 20
_FREE_FIELD_NAMES = ["first_name", "last_name"]


def format_price(dialect: Dialect, cents: int, breakdown: object) -> dict[str, Any]:
    """Return the price fields of an export, starting with a contradicting amount, if any."""
    shown: dict[str, Any] = {}
    if dialect.conflicting_cost is not None:
        key, amount = dialect.conflicting_cost
        if key == "costBreakdown.total":
            breakdown = {"total": amount}
        else:
            shown[key] = amount
    shown[dialect.cost_key] = _format_amount(dialect, cents)
    shown["costBreakdown"] = breakdown
    return shown


def _format_amount(dialect: Dialect, cents: int) -> float | str:
    match dialect.cost_format:
        case "integer":
            return cents
        case "float":
            return float(cents)
        case "string":
            return str(cents)
        case "dollars":
            return f"{cents // 100}.{cents % 100:02}"


def format_field_types(dialect: Dialect, field_types: Sequence[OptionalFieldType]) -> list[str]:
    names = [field_type.value for field_type in field_types]
    match dialect.field_types_format:
        case "exact":
            return names
        case "upper":
            return [name.upper() for name in names]
        case "spaced":
            return [name.replace("_", " ").title() for name in names]
        case "camel":
            return [name[0] + name.title().replace("_", "")[1:] for name in names]
        case "with free fields":
            return [*_FREE_FIELD_NAMES, *names]
        case "empty":
            return []


def format_status(dialect: Dialect, status: str) -> str:
    words = status.lower().split("_")
    match dialect.status_format:
        case "exact":
            return status
        case "lower":
            return status.lower()
        case "blanks":
            return " ".join(words).capitalize()
        case "dashes":
            return "-".join(words)
        case "trailing blank":
            return f"{status} "
        case "camel":
            return words[0] + "".join(word.title() for word in words[1:])


def normalize_name(rule: NameNormalization, name: str) -> str:
    """Return an audience's name as the server stores, compares and shows it."""
    match rule:
        case "exact":
            return name
        case "lower":
            return name.lower()
        case "collapsed":
            return " ".join(name.split())
        case "nfc":
            return unicodedata.normalize("NFC", name)
        case "truncated":
            return name[:_TRUNCATED_LENGTH]
