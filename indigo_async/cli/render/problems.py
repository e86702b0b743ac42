"""Problems with a command's input as lines of text: the same problem of many lists is one line."""

from __future__ import annotations

import re
from collections.abc import Sequence

from indigo_async.errors import Problem

__all__ = ["format_problems"]

_LINES_SHOWN = 200
_NAMES_SHOWN = 3
_LINE_NUMBER = re.compile(r":\d+(?=:|$)")
_QUOTED = r"""(?<!\w)(?:'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")"""
_LIST = re.compile(rf"^(?:there is no file )?({_QUOTED})")
"""The list that a problem is about, by which its message begins."""
_VARYING = re.compile(rf"{_QUOTED}|\d[\d,.]*")


def format_problems(problems: Sequence[Problem]) -> list[str]:
    """Format problems as lines. If there are too many, show at least one of each kind, and say how many are left out.

    Problems with the same field and message are one line, whichever lists they are about.
    """
    groups: dict[tuple[str, str], list[Problem]] = {}
    for problem in problems:
        groups.setdefault((_find_place(problem), _LIST.sub("*", problem.message)), []).append(problem)
    shown = _choose_groups(list(groups.values()))
    left_out = len(problems) - sum(map(len, shown))
    return [*map(_format_group, shown), *([f"and {left_out:,} more; --json shows all"] if left_out else [])]


def _find_place(problem: Problem) -> str:
    """The place of a problem, whichever line of a file it is in."""
    return _LINE_NUMBER.sub("", problem.where, count=1)


def _choose_groups(groups: Sequence[list[Problem]]) -> list[list[Problem]]:
    """The groups to show, in their order: the first of each kind, and as many others as there is room for."""
    kinds: set[tuple[str, str]] = set()
    first: list[int] = []
    others: list[int] = []
    for number, (problem, *_) in enumerate(groups):
        kind = _find_place(problem), _VARYING.sub("*", problem.message)
        (others if kind in kinds else first).append(number)
        kinds.add(kind)
    return [groups[number] for number in sorted((first + others)[:_LINES_SHOWN])]


def _format_group(group: Sequence[Problem]) -> str:
    """The first problem, and the other lists that have it."""
    first, *others = group
    names = [found[1] for problem in others[:_NAMES_SHOWN] if (found := _LIST.match(problem.message))]
    if not names:
        return str(first)
    more = f" and {len(others) - _NAMES_SHOWN:,} more" if len(others) > _NAMES_SHOWN else ""
    return f"{first} (also {', '.join(names)}{more})"
