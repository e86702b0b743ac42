"""When an audience that exists is reused, and what a record or a refusal shows: pure rules.

Evidence reuses, contradiction stops, doubt never buys.
"""

from __future__ import annotations

import re
import unicodedata
from enum import IntEnum
from urllib.parse import unquote, urlsplit

import attrs

from indigo_async.errors import ApiError, AudienceExistsError, AudienceFailedError
from indigo_async.hidden import hidden
from indigo_async.inputs import is_loopback_host
from indigo_async.models import Audience, AudienceStatus, RecordId, means_failure
from indigo_async.workflows.events import Stage

__all__ = [
    "Evidence",
    "Likeness",
    "StubState",
    "adopt_lookalike",
    "adopt_matched",
    "comparable_url",
    "is_certain_refusal",
    "is_gone",
    "is_unexported",
    "likeness",
    "name_key",
    "people_count",
    "prefixes",
    "same_id",
    "says_already",
    "says_taken",
    "was_matched",
]

_SHORTEST_PREFIX = 15
"""Characters of a shown name that may be a longer name cut short. A shorter one is more likely another name."""


def same_id(one: RecordId, other: RecordId) -> bool:
    """IDs are compared as text: a server may send 7 in one answer and "7" in another."""
    return str(one) == str(other)


class Likeness(IntEnum):
    """How a name that the server shows compares with the requested one, best first."""

    EXACT = 0
    NORMALIZED = 1
    """The same apart from case, Unicode form and whitespace."""
    TRUNCATED = 2
    """The beginning of the requested name."""


def name_key(name: str) -> str:
    """A name in the form in which servers that normalize names agree: NFKC, case-folded, whitespace collapsed."""
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())
    return " ".join(folded.split())


def prefixes(key: str, *, longest: int) -> list[str]:
    """The keys that a longer name may have where it was cut short, longest first."""
    ends = range(min(len(key) - 1, longest), _SHORTEST_PREFIX - 1, -1)
    return [key[:end] for end in ends]


def likeness(shown: str, name: str) -> Likeness | None:
    """How the name of a record compares with the requested one; None where it is another name."""
    if shown == name:
        return Likeness.EXACT
    key, wanted = name_key(shown), name_key(name)
    if key == wanted:
        return Likeness.NORMALIZED
    return Likeness.TRUNCATED if len(key) >= _SHORTEST_PREFIX and wanted.startswith(key) else None


def comparable_url(url: str) -> str:
    """A URL without what does not say which file it names: query, user, default port, case or spelling of the host."""
    try:
        parts = urlsplit(url)
        host, port = (parts.hostname or "").rstrip("."), parts.port
    except ValueError:  # a server may show anything
        return _without_query(url)
    host = "localhost" if is_loopback_host(host) else host
    place = host if port in {None, {"http": 80, "https": 443}.get(parts.scheme)} else f"{host}:{port}"
    return f"{parts.scheme}://{place}{unquote(parts.path) or '/'}"


def _without_query(url: str) -> str:
    return url.partition("?")[0].partition("#")[0]


@attrs.frozen(kw_only=True)
class Evidence:
    """Why an existing audience is reused. `is_certain` says that more than the name was compared."""

    found: str
    not_compared: str
    is_certain: bool


def adopt_matched(found: Audience, *, csv: str) -> Evidence:
    """On what evidence an audience with our name is the one matched from our CSV.

    `csv` is the CSV's URL, whose query does not count, or the `content_name` under which a publisher serves the file.

    Raises:
        AudienceExistsError: it was made from another CSV, or is a lookalike.
        AudienceFailedError: it has our name and CSV, as far as is shown, and failed.
    """
    csv = hidden(csv)
    if found.base_audience_id is not None:
        raise AudienceExistsError(
            f"audience {found.id} has the name {found.name!r} already and is a lookalike; choose another name",
            stage=Stage.MATCH,
            audience=found,
        )
    url = hidden(found.uploaded_audience_csv.url) if found.uploaded_audience_csv else None
    by_url = "://" in csv
    if url and not (comparable_url(csv) == comparable_url(url) if by_url else csv == _last_segment(url)):
        raise AudienceExistsError(
            f"audience {found.id} has the name {found.name!r} already and was made from another CSV; "
            "choose another name, or use that audience as it is",
            stage=Stage.MATCH,
            audience=found,
        )
    _refuse_failed(found, Stage.MATCH)
    if not url:
        return Evidence(
            found="same name; the server shows no CSV URL",
            not_compared="the CSV and the columns are not compared",
            is_certain=False,
        )
    return Evidence(
        found=f"same name, same CSV {'URL' if by_url else 'content'}",
        not_compared="columns are not compared",
        is_certain=True,
    )


def adopt_lookalike(found: Audience, *, base_id: RecordId, most_people: int | None = None) -> Evidence:
    """On what evidence an audience with our name is our lookalike. `most_people` is the most that ours can have.

    Raises:
        AudienceExistsError: it has another base, was matched from a CSV, or is larger than ours can be.
        AudienceFailedError: it has our name and base, as far as is shown, and failed.
    """
    if found.uploaded_audience_csv is not None:
        raise AudienceExistsError(
            f"audience {found.id} has the name {found.name!r} already and was matched from a CSV; choose another name",
            stage=Stage.LOOKALIKE,
            audience=found,
        )
    if found.base_audience_id is not None and not same_id(found.base_audience_id, base_id):
        raise AudienceExistsError(
            f"audience {found.id} has the name {found.name!r} already and is a lookalike of audience "
            f"{found.base_audience_id}, not of {base_id}; choose another name",
            stage=Stage.LOOKALIKE,
            audience=found,
        )
    people = people_count(found)
    if people is not None and most_people is not None and people > most_people:
        raise AudienceExistsError(
            f"audience {found.id} has the name {found.name!r} already and has {people:,} people, more than the "
            f"{most_people:,} that were requested; choose another name",
            stage=Stage.LOOKALIKE,
            audience=found,
        )
    _refuse_failed(found, Stage.LOOKALIKE)
    if found.base_audience_id is None:
        return Evidence(
            found="same name; the server shows no base audience",
            not_compared="the base, size, filters and include_original_audience are not compared",
            is_certain=False,
        )
    return Evidence(
        found="same name, same base audience",
        not_compared="size, filters and include_original_audience are not compared",
        is_certain=True,
    )


def _refuse_failed(found: Audience, stage: Stage) -> None:
    if means_failure(found.status):
        raise AudienceFailedError(
            f"audience {found.id} ({found.name!r}) exists and its status is {found.status!r}; "
            "choose another name, since names are unique for a customer",
            stage=stage,
            audience=found,
        )


def _last_segment(url: str) -> str:
    return _without_query(url).rpartition("/")[2]


def is_gone(status: str) -> bool:
    """Whether a status says that the audience was deleted, so that its name may be free again."""
    return "DELET" in status.upper()


@attrs.frozen(kw_only=True)
class StubState:
    """What a stub looked like before it was matched, so that a later record shows whether the match changed it.

    `named`: it had a name; `alike`: one like the requested name; `ended`: its status was ACTIVE or a failure.
    """

    named: bool = False
    alike: bool = False
    ended: bool = False

    @classmethod
    def of(cls, audience: Audience, name: str) -> StubState:
        return cls(
            named=audience.name is not None,
            alike=audience.name is not None and likeness(audience.name, name) is not None,
            ended=_has_ended(audience.status),
        )

    def __or__(self, other: StubState) -> StubState:
        """What either record showed: one of them may come from a list, which shows less."""
        return StubState(
            named=self.named or other.named, alike=self.alike or other.alike, ended=self.ended or other.ended
        )


def was_matched(stub: Audience, name: str, before: StubState, *, requested: bool) -> bool:
    """Whether a stub of ours was matched, as far as its record shows: only what the match can have changed counts.

    `requested` says that a match request may have been carried out. Only then does a name unlike ours, or the end of
    the work, show that it was.
    """
    if stub.name is not None and not before.alike:
        return likeness(stub.name, name) is not None or (requested and not before.named)
    return requested and not before.ended and _has_ended(stub.status)


def _has_ended(status: str) -> bool:
    return status.upper() == AudienceStatus.ACTIVE or means_failure(status)


def is_unexported(made: Audience) -> bool:
    """Whether the response to the request that made an audience shows that nobody can have exported it yet.

    It is still in progress and has no exports. A server that answers with an audience it already had shows otherwise.
    """
    return bool(made.status) and not _has_ended(made.status) and not made.csv_exports


_UNCERTAIN_STATUSES = frozenset({408, 409, 425, 429})
_TAKEN = re.compile(r"(?i)already|taken|in use|unique|duplicate|conflict")


def is_certain_refusal(error: ApiError) -> bool:
    """Whether the server refused a request for good: a 4xx that is not about time, load or another request."""
    return 400 <= error.status < 500 and error.status not in _UNCERTAIN_STATUSES  # noqa: PLR2004 - HTTP's own classes


def says_already(error: ApiError) -> bool:
    """Whether the server's own words say that the request was carried out before."""
    return "already" in f"{error.error_type} {error.message}".casefold()


def says_taken(error: ApiError) -> bool:
    """Whether the server's own words say that an audience of the requested name exists."""
    return _TAKEN.search(f"{error.error_type} {error.message}") is not None


_COUNT_KEYS = ("size", "audienceSize", "matchedCount", "matchedSize", "peopleCount", "count", "total")
_CSV_COUNT_KEYS = ("matchedCount", "matchedSize", "peopleCount")
"""Other counts of an uploaded CSV may be its rows or its bytes."""


def people_count(audience: Audience) -> int | None:
    """How many people an audience has; None where the server does not show it. Source: contract, "Inferred"."""
    csv = audience.uploaded_audience_csv
    shown = [audience.extra.get(key) for key in _COUNT_KEYS]
    shown += [csv.extra.get(key) for key in _CSV_COUNT_KEYS] if csv is not None else []
    counts = (count for count in shown if isinstance(count, int) and not isinstance(count, bool) and count >= 0)
    return next(counts, None)
