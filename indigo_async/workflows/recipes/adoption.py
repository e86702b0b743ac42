"""When an audience that exists is reused, and what a record or a refusal shows: pure rules.

Evidence reuses, contradiction stops, doubt never buys.
"""

from __future__ import annotations

import re
import unicodedata
from enum import IntEnum
from urllib.parse import unquote, urlsplit

import attrs

from indigo_async._redaction import secret
from indigo_async._text import without_query
from indigo_async._validation import is_loopback_host
from indigo_async.errors import ApiError, AudienceExistsError, AudienceFailedError
from indigo_async.events import Stage
from indigo_async.models import Audience, AudienceStatus, RecordId, is_failure_status

__all__ = [
    "Evidence",
    "NameSimilarity",
    "StubState",
    "compare_lookalike",
    "compare_matched",
    "compare_names",
    "is_deleted",
    "is_final_refusal",
    "normalize_name",
    "normalize_url",
    "people_count",
    "same_id",
    "says_already_done",
    "says_name_taken",
    "truncated_keys",
    "was_matched",
    "was_never_exported",
]

_MIN_PREFIX_LENGTH = 15
"""Characters of a shown name that may be a longer name cut short. A shorter one is more likely another name."""


def same_id(one: RecordId, other: RecordId) -> bool:
    """IDs are compared as text: a server may send 7 in one answer and "7" in another."""
    return str(one) == str(other)


class NameSimilarity(IntEnum):
    """How a name that the server shows compares with the requested one, best first."""

    EXACT = 0
    NORMALIZED = 1
    """The same apart from case, Unicode form and whitespace."""
    TRUNCATED = 2
    """The beginning of the requested name."""


def normalize_name(name: str) -> str:
    """A name in the form in which servers that normalize names agree: NFKC, case-folded, whitespace collapsed."""
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())
    return " ".join(folded.split())


def truncated_keys(key: str, *, longest: int) -> list[str]:
    """The keys that a longer name may have where it was cut short, longest first."""
    ends = range(min(len(key) - 1, longest), _MIN_PREFIX_LENGTH - 1, -1)
    return [key[:end] for end in ends]


def compare_names(shown: str, name: str) -> NameSimilarity | None:
    """How the name of a record compares with the requested one; None where it is another name."""
    if shown == name:
        return NameSimilarity.EXACT
    key, wanted = normalize_name(shown), normalize_name(name)
    if key == wanted:
        return NameSimilarity.NORMALIZED
    return NameSimilarity.TRUNCATED if len(key) >= _MIN_PREFIX_LENGTH and wanted.startswith(key) else None


def normalize_url(url: str) -> str:
    """A URL without what does not say which file it names: query, user, default port, case or spelling of the host."""
    try:
        parts = urlsplit(url)
        host, port = (parts.hostname or "").rstrip("."), parts.port
    except ValueError:  # a server may show anything
        return without_query(url)
    host = "localhost" if is_loopback_host(host) else host
    place = host if port in {None, {"http": 80, "https": 443}.get(parts.scheme)} else f"{host}:{port}"
    return f"{parts.scheme}://{place}{unquote(parts.path) or '/'}"


@attrs.frozen(kw_only=True)
class Evidence:
    """Why an existing audience is reused. `is_certain` says that more than the name was compared."""

    reason: str
    not_compared: str
    is_certain: bool


def compare_matched(existing: Audience, *, csv: str) -> Evidence:
    """On what evidence an audience with our name is the one matched from our CSV.

    `csv` is the CSV's URL, whose query does not count, or the `content_name` under which a publisher serves the file.

    Raises:
        AudienceExistsError: it was made from another CSV, or is a lookalike.
        AudienceFailedError: it has our name and CSV, as far as is shown, and failed.
    """
    csv = secret(csv)
    if existing.base_audience_id is not None:
        raise AudienceExistsError(
            f"audience {existing.id} has the name {existing.name!r} already and is a lookalike; choose another name",
            stage=Stage.MATCH,
            audience=existing,
        )
    url = secret(existing.uploaded_audience_csv.url) if existing.uploaded_audience_csv else None
    by_url = "://" in csv
    if url and not (normalize_url(csv) == normalize_url(url) if by_url else csv == _last_segment(url)):
        raise AudienceExistsError(
            f"audience {existing.id} has the name {existing.name!r} already and was made from another CSV; "
            "choose another name, or use that audience as it is",
            stage=Stage.MATCH,
            audience=existing,
        )
    _raise_if_failed(existing, Stage.MATCH)
    if not url:
        return Evidence(
            reason="same name; the server shows no CSV URL",
            not_compared="the CSV and the columns are not compared",
            is_certain=False,
        )
    return Evidence(
        reason=f"same name, same CSV {'URL' if by_url else 'content'}",
        not_compared="columns are not compared",
        is_certain=True,
    )


def compare_lookalike(existing: Audience, *, base_id: RecordId, max_people: int | None = None) -> Evidence:
    """On what evidence an audience with our name is our lookalike. `max_people` is the most that ours can have.

    Raises:
        AudienceExistsError: it has another base, was matched from a CSV, or is larger than ours can be.
        AudienceFailedError: it has our name and base, as far as is shown, and failed.
    """
    if existing.uploaded_audience_csv is not None:
        raise AudienceExistsError(
            f"audience {existing.id} has the name {existing.name!r} already and was matched from a CSV; choose another name",
            stage=Stage.LOOKALIKE,
            audience=existing,
        )
    if existing.base_audience_id is not None and not same_id(existing.base_audience_id, base_id):
        raise AudienceExistsError(
            f"audience {existing.id} has the name {existing.name!r} already and is a lookalike of audience "
            f"{existing.base_audience_id}, not of {base_id}; choose another name",
            stage=Stage.LOOKALIKE,
            audience=existing,
        )
    people = people_count(existing)
    if people is not None and max_people is not None and people > max_people:
        raise AudienceExistsError(
            f"audience {existing.id} has the name {existing.name!r} already and has {people:,} people, more than the "
            f"{max_people:,} that were requested; choose another name",
            stage=Stage.LOOKALIKE,
            audience=existing,
        )
    _raise_if_failed(existing, Stage.LOOKALIKE)
    if existing.base_audience_id is None:
        return Evidence(
            reason="same name; the server shows no base audience",
            not_compared="the base, size, filters and include_original_audience are not compared",
            is_certain=False,
        )
    return Evidence(
        reason="same name, same base audience",
        not_compared="size, filters and include_original_audience are not compared",
        is_certain=True,
    )


def _raise_if_failed(existing: Audience, stage: Stage) -> None:
    if is_failure_status(existing.status):
        raise AudienceFailedError(
            f"audience {existing.id} ({existing.name!r}) exists and its status is {existing.status!r}; "
            "choose another name, since names are unique for a customer",
            stage=stage,
            audience=existing,
        )


def _last_segment(url: str) -> str:
    return without_query(url).rpartition("/")[2]


def is_deleted(status: str) -> bool:
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
            alike=audience.name is not None and compare_names(audience.name, name) is not None,
            ended=_is_finished(audience.status),
        )

    def __or__(self, other: StubState) -> StubState:
        """What either record showed: one of them may come from a list, which shows less."""
        return StubState(
            named=self.named or other.named, alike=self.alike or other.alike, ended=self.ended or other.ended
        )


def was_matched(stub: Audience, name: str, before: StubState, *, match_requested: bool) -> bool:
    """Whether a stub of ours was matched, as far as its record shows: only what the match can have changed counts.

    `match_requested` says that a match request may have been carried out. Only then does a name unlike ours, or the end
    of the work, show that it was.
    """
    if stub.name is not None and not before.alike:
        return compare_names(stub.name, name) is not None or (match_requested and not before.named)
    return match_requested and not before.ended and _is_finished(stub.status)


def _is_finished(status: str) -> bool:
    return status.upper() == AudienceStatus.ACTIVE or is_failure_status(status)


def was_never_exported(response: Audience) -> bool:
    """Whether the response to the request that made an audience shows that nobody can have exported it yet.

    It is still in progress and has no exports. A server that answers with an audience it already had shows otherwise.
    """
    return bool(response.status) and not _is_finished(response.status) and not response.csv_exports


_UNCERTAIN_STATUSES = frozenset({408, 409, 425, 429})
_NAME_TAKEN = re.compile(r"(?i)already|taken|in use|unique|duplicate|conflict")


def is_final_refusal(error: ApiError) -> bool:
    """Whether the server refused a request for good: a 4xx that is not about time, load or another request."""
    return 400 <= error.status < 500 and error.status not in _UNCERTAIN_STATUSES  # noqa: PLR2004 - HTTP's own classes


def says_already_done(error: ApiError) -> bool:
    """Whether the server's own words say that the request was carried out before."""
    return "already" in f"{error.error_type} {error.message}".casefold()


def says_name_taken(error: ApiError) -> bool:
    """Whether the server's own words say that an audience of the requested name exists."""
    return _NAME_TAKEN.search(f"{error.error_type} {error.message}") is not None


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
