"""Checks of what callers pass, made before anything is sent.

`InputCheck` collects all problems of a call and raises them together as one `InvalidInputError`.
"""

from __future__ import annotations

import ipaddress
import math
import re
import socket
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar, cast
from urllib.parse import urlsplit

import attrs

from indigo_async._exact import INTEGER_LIMIT, describe_kind, to_integer, to_list, to_plain, to_real
from indigo_async._text import did_you_mean, format_dollars, is_encodable, short_repr
from indigo_async.errors import InvalidInputError, Problem
from indigo_async.inputs import (
    CANONICAL_FIELDS,
    ColumnSelection,
    ColumnSelections,
    ColumnSelectionsInput,
    OptionalFieldType,
)
from indigo_async.models import RecordId

__all__ = ["InputCheck", "is_loopback_host", "is_private_host"]

T = TypeVar("T")


@lru_cache(maxsize=64)  # each download asks three times about a few hosts, and an answer takes 4 to 10 µs
def is_loopback_host(host: str | None) -> bool:
    """Whether a host is this machine, the only one that may be reached over plain http."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host or "").is_loopback
    except ValueError:  # a name such as 127.0.0.1.example.org, which may resolve to any address
        return False


def is_private_host(host: str | None) -> bool:
    """Whether a host is a private address or a name of this machine. Other names are not resolved.

    An IPv6 address that embeds an IPv4 address is public only if both are. See RFC 6890 (addresses), RFC 6761
    (`localhost`) and RFC 6052 (NAT64).
    """
    name = _normalize_host(host or "").rstrip(".").lower()
    try:
        address = ipaddress.ip_address(name.partition("%")[0])
    except ValueError:
        try:
            address = ipaddress.ip_address(socket.inet_aton(name))  # as resolvers do: 127.1, 0x7f000001, 2130706433
        except (OSError, ValueError):
            return name == "localhost" or name.endswith(".localhost")
    if isinstance(address, ipaddress.IPv4Address):
        return not _is_public(address)
    embedded = address.ipv4_mapped or (_embedded_ipv4(address) if address in _NAT64 else None)
    if embedded is not None:
        return not _is_public(embedded)
    public = [_is_public(address), *map(_is_public, _tunneled_ipv4_addresses(address))]
    return address not in _GLOBAL_UNICAST or not all(public)


_MAX_ID_BITS = 1024
_PLAIN_URL = re.compile(r"https://[a-z0-9.-]+/[^?#]*", re.ASCII)
"""Most URLs, which need no parsing: that takes a tenth of the time in which a row of a manifest is checked."""
_OPTIONAL_FIELD_TYPES = tuple(option.value for option in OptionalFieldType)

_GLOBAL_UNICAST = ipaddress.IPv6Network("2000::/3")
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_ISATAP = frozenset({0x00005EFE, 0x02005EFE})


def _normalize_host(host: str) -> str:
    """Normalize a host as resolvers do: full-width digits and ideographic full stops become ASCII."""
    if host.isascii():
        return host
    try:
        return host.encode("idna").decode()
    except UnicodeError:
        return host


def _is_public(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    return address.is_global and not address.is_multicast


def _embedded_ipv4(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address:
    """Return the last 32 bits."""
    return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)


def _tunneled_ipv4_addresses(address: ipaddress.IPv6Address) -> list[ipaddress.IPv4Address]:
    """Return the IPv4 addresses that a 6to4, Teredo or ISATAP address leads to."""
    endpoints = [address.sixtofour] if address.sixtofour else list(address.teredo or ())
    return [*endpoints, _embedded_ipv4(address)] if (int(address) >> 32) & 0xFFFFFFFF in _ISATAP else endpoints


def _parse_selection(value: object) -> ColumnSelection | str:
    """Return the selection, or a message if the value is not one."""
    if isinstance(value, ColumnSelection):
        return value
    if not isinstance(value, Mapping):
        return "must be a ColumnSelection or a mapping with column_name and is_required"
    mapping = cast("Mapping[str, Any]", value)
    unknown = sorted(str(key) for key in mapping if key not in {"column_name", "is_required"})
    if unknown:
        return f"unknown key {short_repr(unknown[0])}; the keys are column_name and is_required"
    if "column_name" not in mapping:
        return "column_name is missing"
    return ColumnSelection(mapping["column_name"], mapping.get("is_required", False))


@attrs.define
class InputCheck:
    """Collects the problems of a call's arguments; `raise_if_invalid` raises them together.

    Each check is named after the type that it checks for, and returns the value in its plain form. Use
    a returned value only after `raise_if_invalid`, because an invalid value has no plain form.
    """

    problems: list[Problem] = attrs.Factory(list[Problem])

    def add(self, where: str, message: str) -> None:
        self.problems.append(Problem(where, message))

    def add_nested(self, where: str, problems: Iterable[Problem]) -> None:
        """Add the problems of a part, prefixed with the part's place."""
        self.problems += [Problem(f"{where}.{problem.where}", problem.message) for problem in problems]

    def raise_if_invalid(self) -> None:
        """Raise `InvalidInputError` if there are problems."""
        if self.problems:
            raise InvalidInputError(self.problems)

    def text(self, where: str, value: object) -> str:
        """Check for a non-empty string without whitespace at its ends.

        Messages never repeat the text, which may be a signed URL.
        """
        text = to_plain(value)
        if not isinstance(text, str):
            self.add(where, f"must be text, not {describe_kind(text)}")
        elif not text.strip():
            self.add(where, "must not be empty")
        elif text != text.strip():
            self.add(where, "must not begin or end with whitespace")
        elif not is_encodable(text):
            self.add(where, "contains half of a surrogate pair, which can't be encoded")
        else:
            return text
        return ""

    def column_name(self, where: str, value: object) -> str:
        """Check for non-empty text. Whitespace at its ends is kept, because the server looks for the exact name."""
        text = to_plain(value)
        if isinstance(text, str) and text.strip() and is_encodable(text):
            return text
        return self.text(where, text)

    def customer_id(self, value: object) -> str:
        """Check for a customer ID: any text, or an integer, which becomes text."""
        plain = to_plain(value)
        return self.text(
            "customer_id", str(plain) if type(plain) is int and plain.bit_length() <= _MAX_ID_BITS else plain
        )

    def optional_customer_id(self, value: object) -> str | None:
        return None if value is None else self.customer_id(value)

    def record_id(self, where: str, value: object) -> RecordId:
        plain = to_plain(value)
        if isinstance(plain, str):
            return self.text(where, plain)
        if type(plain) is int and plain.bit_length() <= _MAX_ID_BITS:
            return plain
        self.add(where, f"must be an ID as the server sent it (text or integer), not {describe_kind(plain)}")
        return ""

    def url(self, where: str, value: object) -> None:
        """Check for an absolute https URL; http is accepted on loopback only, since the CSV holds people's data."""
        text = self.text(where, value)
        if not text or _PLAIN_URL.fullmatch(text):
            return
        try:
            parts = urlsplit(text)
            host = parts.hostname
            _ = parts.port
        except ValueError:
            self.add(where, "is not a URL")
            return
        if parts.scheme not in {"http", "https"} or not host:
            self.add(where, "must be an http(s) URL that the server can fetch")
        elif parts.scheme == "http" and not is_loopback_host(host):
            self.add(where, "must be https: the CSV holds people's data")

    def boolean(self, where: str, value: object) -> bool:
        plain = to_plain(value)
        if not isinstance(plain, bool):
            self.add(where, f"must be True or False, not {describe_kind(plain)}")
        return plain is True

    def path(self, where: str, value: object) -> Path:
        if not isinstance(value, (str, Path)):
            self.add(where, f"must be a path, not {describe_kind(value)}")
        elif not str(value) or "\0" in str(value):
            self.add(where, "must not be empty or contain a null byte")
        else:
            return Path(value)
        return Path()

    def optional(self, where: str, value: object, kind: type[T]) -> T | None:
        """Check for None or an instance of a class of the SDK."""
        if value is None or isinstance(value, kind):
            return value
        self.add(where, f"must be a {kind.__name__}, not {describe_kind(value)}")
        return None

    def listener(self, value: object) -> None:
        if value is not None and not callable(value):
            self.add("on_event", f"must be a function that takes one event, not {describe_kind(value)}")

    def positive_integer(self, where: str, value: object) -> int:
        number = to_integer(value)
        if number is None:
            self.add(where, f"must be an integer, not {describe_kind(to_plain(value))}")
        elif number < 1:
            self.add(where, f"must be at least 1, not {short_repr(number)}")
        elif number >= INTEGER_LIMIT:
            self.add(where, "must be an integer of at most 63 bits")
        return number or 0

    def seconds(self, where: str, value: object, *, may_be_zero: bool = False) -> float:
        """Check for a finite number of seconds above 0, or of at least 0."""
        seconds = to_real(value)
        if seconds is None:
            self.add(where, f"must be seconds (a number), not {describe_kind(to_plain(value))}")
        elif not 0 <= seconds < math.inf or (seconds == 0 and not may_be_zero):
            least = "at least" if may_be_zero else "more than"
            self.add(where, f"must be {least} 0 seconds and finite, not {short_repr(seconds)}")
        return seconds or 0

    def positive_number(self, where: str, value: object) -> float:
        """Check for a finite number above 0."""
        number = to_real(value)
        if number is None:
            self.add(where, f"must be a number, not {describe_kind(to_plain(value))}")
        elif not 0 < number < math.inf:
            self.add(where, f"must be more than 0 and finite, not {short_repr(number)}")
        return number or 0

    def cents(self, where: str, value: object) -> int:
        """Check for whole cents of at least 0."""
        number = to_integer(value)
        if number is None:
            self.add(where, f"must be whole cents (an integer), not {describe_kind(to_plain(value))}")
        elif number < 0:
            self.add(where, f"must be at least {format_dollars(0)}")
        elif number >= INTEGER_LIMIT:
            self.add(where, "must be an integer of at most 63 bits")
        return number or 0

    def column_selections(self, value: ColumnSelectionsInput) -> dict[str, ColumnSelection]:
        """Check all rules about columns (API reference: More details about column selections)."""
        where = "column_selections"
        given: Mapping[Any, Any]
        if isinstance(value, ColumnSelections):
            given = value.by_field()
        elif isinstance(value, Mapping):  # pyright: ignore[reportUnnecessaryIsInstance]: callers without a type checker
            given = value
        else:
            self.add(where, f"must be ColumnSelections or a mapping, not {type(value).__name__}")
            return {}
        chosen = self._selections_by_field(where, given)
        self._check_column_rules(where, chosen)
        return chosen

    def _selections_by_field(self, where: str, given: Mapping[Any, Any]) -> dict[str, ColumnSelection]:
        chosen: dict[str, ColumnSelection] = {}
        for key, raw in given.items():
            field: Any = to_plain(key)
            path = f"{where}.{field}"
            if field not in CANONICAL_FIELDS:
                hint = did_you_mean(field, CANONICAL_FIELDS)
                self.add(path, f"is not a field of the API; the fields are {', '.join(CANONICAL_FIELDS)}{hint}")
                continue
            selection = _parse_selection(raw)
            if isinstance(selection, str):
                self.add(path, selection)
                continue
            column = self.column_name(f"{path}.column_name", selection.column_name)
            required = self.boolean(f"{path}.is_required", selection.required)
            if (type(selection.column_name), type(selection.required)) != (str, bool):
                selection = ColumnSelection(column, required)
            chosen[field] = selection
        return chosen

    def _check_column_rules(self, where: str, chosen: Mapping[str, ColumnSelection]) -> None:
        required = {field for field, selection in chosen.items() if selection.required is True}
        if not required - {"id", "address"}:
            self.add(where, "at least one matching field must be required (id does not match anything)")
        if "full_name" in chosen and ("first_name" in chosen or "last_name" in chosen):
            self.add(f"{where}.full_name", "excludes first_name and last_name: give one or the other")
        if "address" in required:
            self.add(f"{where}.address", "must be optional: matching on addresses is too unreliable to be required")
        if "id" in chosen and "id" not in required:
            self.add(f"{where}.id", "must be required")
        first_field: dict[str, str] = {}
        for field, selection in chosen.items():
            column = selection.column_name
            if not column:
                continue  # already reported
            first = first_field.setdefault(column, field)
            if first != field:
                self.add(f"{where}.{field}", f"column {short_repr(column)} is already used for {first}")

    def optional_field_types(self, value: object) -> tuple[str, ...]:
        """Check for known paid field types, each at most once. The list may be empty."""

        def check(where: str, item: object) -> str:
            if isinstance(item, str) and item in _OPTIONAL_FIELD_TYPES:
                return item
            hint, known = did_you_mean(item, _OPTIONAL_FIELD_TYPES), ", ".join(_OPTIONAL_FIELD_TYPES)
            self.add(where, f"{short_repr(item)} is not a field type; the types are {known}{hint}")
            return ""

        return self.strings("optional_field_types", value, check, may_be_empty=True)

    def strings(
        self, where: str, value: object, check: Callable[[str, object], str], *, may_be_empty: bool = False
    ) -> tuple[str, ...]:
        """Check a list of text, each item with `check`, which returns the item or, if it is invalid, empty text."""
        items = to_list(value)
        if items is None:
            self.add(where, "must be a list of text")
            return ()
        if not items and not may_be_empty:
            self.add(where, "must not be empty: leave it out instead")
        found = (check(f"{where}[{index}]", to_plain(item)) for index, item in enumerate(items))
        counts = Counter(item for item in found if item)
        for item in sorted(item for item, count in counts.items() if count > 1):
            self.add(where, f"names {short_repr(item)} more than once")
        return tuple(counts)
