"""Failures and warnings by kind, with advice and examples, for `run`, `quote` and `report`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

import attrs
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.text import Text

from indigo_async._redaction import redact
from indigo_async.cli.render.advice import advice_for, use_option_names
from indigo_async.cli.render.output import replace_control_characters

__all__ = ["EXAMPLES_SHOWN", "FailureGroup", "FailureGroups", "MessageGroup", "group_messages", "render_failures"]

_IDS = re.compile(r"\b(?:audience |export |request ID: )[^\s,;:()]+|(?<!\w)'[^']*'|\d[\d,.]*")
_REQUEST_ID = re.compile(r" \(request ID: [^()]*\)")
_MAX_MESSAGES = 1_000
_KINDS_SHOWN = 20
EXAMPLES_SHOWN = 3


@attrs.frozen(kw_only=True)
class MessageGroup:
    """Jobs with the same message apart from IDs, names and numbers. `key` and `message` are the first job's."""

    jobs: int
    key: str
    message: str

    @property
    def text(self) -> str:
        others = f" and {self.jobs - 1:,} more" if self.jobs > 1 else ""
        return f"{self.key}{others}: {self.message}"


@attrs.frozen(kw_only=True)
class FailureGroup:
    """Jobs that failed in the same stage with the same type of error. `examples` are their kinds of messages."""

    error_type: str
    stage: str
    jobs: int
    examples: Sequence[MessageGroup]

    @property
    def advice(self) -> str:
        return advice_for(self.error_type)


@attrs.define
class FailureGroups:
    """Groups failures one at a time. It stores one message of each kind, so it doesn't grow with the number of jobs."""

    _counts: dict[tuple[str, str], int] = attrs.Factory(dict[tuple[str, str], int])
    _messages: dict[tuple[str, str], dict[str, MessageGroup]] = attrs.Factory(
        dict[tuple[str, str], dict[str, MessageGroup]]
    )

    def add(self, key: str, *, stage: str, error_type: str, message: str) -> None:
        """Count the failure of the job with this key."""
        kind = error_type, stage
        self._counts[kind] = self._counts.get(kind, 0) + 1
        _count_message(self._messages.setdefault(kind, {}), key, redact(use_option_names(message)))

    def groups(self) -> list[FailureGroup]:
        """The failures by kind, the most frequent first."""
        groups = [
            FailureGroup(error_type=kind[0], stage=kind[1], jobs=jobs, examples=_sort(self._messages[kind]))
            for kind, jobs in self._counts.items()
        ]
        return sorted(groups, key=lambda group: (-group.jobs, group.error_type, group.stage))


def group_messages(messages: Iterable[tuple[str, str]]) -> list[MessageGroup]:
    """Group pairs of job key and message by kind of message, the most frequent first."""
    groups: dict[str, MessageGroup] = {}
    for key, message in messages:
        _count_message(groups, key, message)
    return _sort(groups)


def _count_message(groups: dict[str, MessageGroup], key: str, message: str) -> None:
    kind = _IDS.sub("*", message)
    group = groups.get(kind)
    if group is not None:
        groups[kind] = attrs.evolve(group, jobs=group.jobs + 1)
    elif len(groups) < _MAX_MESSAGES:
        groups[kind] = MessageGroup(jobs=1, key=key, message=message)


def _sort(groups: dict[str, MessageGroup]) -> list[MessageGroup]:
    return sorted(groups.values(), key=lambda group: -group.jobs)


def render_failures(groups: Sequence[FailureGroup], *, known: str | None = None) -> Iterator[RenderableType]:
    """Each kind of failure with its count, advice, and examples. `known` is a message that is shown elsewhere."""
    known = None if known is None else redact(use_option_names(known))
    for group in groups[:_KINDS_SHOWN]:
        heading = Text(f"{group.jobs:,} x {replace_control_characters(group.error_type)}", style="red")
        if group.stage:
            heading.append(f" at {replace_control_characters(group.stage)}", style="dim")
        yield Group(heading, Padding(Group(Text(group.advice), *_render_examples(group, known)), (0, 0, 0, 4)))
    if len(groups) > _KINDS_SHOWN:
        yield Text(f"and {len(groups) - _KINDS_SHOWN:,} other kinds; --json shows all", style="red")


def _render_examples(group: FailureGroup, known: str | None) -> Iterator[Text]:
    ending = None if known is None else _REQUEST_ID.sub("", known)  # each job's request has its own
    examples = [
        example
        for example in group.examples
        if ending is None or not _REQUEST_ID.sub("", example.message).endswith(ending)
    ]
    for example in examples[:EXAMPLES_SHOWN]:
        text = " ".join(replace_control_characters(line) for line in example.text.splitlines())
        yield Text(text, style="dim")
    others = len(examples) - EXAMPLES_SHOWN
    if others > 0:
        yield Text(f"and {others:,} other messages; --json shows all", style="dim")
