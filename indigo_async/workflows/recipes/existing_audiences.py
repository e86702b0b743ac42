"""Reusing existing audiences: what their records show, which one fits, and what the user should know.

Reuse needs evidence, a contradiction stops, and doubt never purchases.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from copy import copy
from typing import TypeAlias
from urllib.parse import unquote, urlsplit

import attrs

from indigo_async._redaction import sanitize_text, secret
from indigo_async._text import without_query
from indigo_async._validation import is_loopback_host
from indigo_async.errors import AudienceExistsError, AudienceFailedError, CustomerMismatchError, NotFoundError
from indigo_async.events import AudienceReused, Stage
from indigo_async.models import Audience, AudienceStatus, RecordId, is_failure_status, same_id
from indigo_async.workflows.recipes.context import RecipeContext
from indigo_async.workflows.recipes.name_index import NameMatch, NameSimilarity, compare_names
from indigo_async.workflows.recipes.next_step import Requested
from indigo_async.workflows.recipes.waits import is_active, wait_active

__all__ = [
    "Evidence",
    "NotReusable",
    "ReusableAudience",
    "StubState",
    "cancel_intents",
    "compare_lookalike",
    "compare_matched",
    "find_reusable",
    "get_audience_if_exists",
    "is_deleted",
    "normalize_url",
    "report_audience_reuse",
    "reuse_audience",
    "warn_if_unread",
    "was_matched",
    "was_never_exported",
]

_MAX_CANDIDATES = 20


@attrs.frozen(kw_only=True)
class Evidence:
    """Why an existing audience is reused. `is_certain`: more than the name was compared."""

    reason: str
    not_compared: str
    is_certain: bool


@attrs.frozen
class ReusableAudience:
    """An existing audience that fits, and the evidence."""

    audience: Audience
    evidence: Evidence


NotReusable: TypeAlias = AudienceExistsError | AudienceFailedError
"""Why an existing audience with the requested name stops the job."""


def normalize_url(url: str) -> str:
    """Reduce a URL to what identifies the file: no query, user, default port, or case or alias of the host."""
    try:
        parts = urlsplit(url)
        host, port = (parts.hostname or "").rstrip("."), parts.port
    except ValueError:  # a server may show anything
        return without_query(url)
    host = "localhost" if is_loopback_host(host) else host
    authority = host if port in {None, {"http": 80, "https": 443}.get(parts.scheme)} else f"{host}:{port}"
    return f"{parts.scheme}://{authority}{unquote(parts.path) or '/'}"


def _last_segment(url: str) -> str:
    return without_query(url).rpartition("/")[2]


def compare_matched(existing: Audience, *, csv: str) -> Evidence:
    """Judge whether an audience with the requested name was matched from this CSV.

    `csv` is the CSV's URL, whose query is ignored, or the `content_name` under which a publisher serves the file.

    Raises:
        AudienceExistsError: it was made from another CSV, or is a lookalike.
        AudienceFailedError: nothing shows another CSV, and it failed.
    """
    csv = secret(csv)
    if existing.base_audience_id is not None:
        raise _exists_error(existing, Stage.MATCH, "is a lookalike")
    url = secret(existing.uploaded_audience_csv.url) if existing.uploaded_audience_csv else None
    by_url = "://" in csv
    if url and not (normalize_url(csv) == normalize_url(url) if by_url else csv == _last_segment(url)):
        raise _exists_error(existing, Stage.MATCH, "was made from another CSV")
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
    """Judge whether an audience with the requested name is the requested lookalike of this base.

    `max_people` is the most people that the requested lookalike can have.

    Raises:
        AudienceExistsError: it has another base, was matched from a CSV, or has more people.
        AudienceFailedError: nothing shows another base, and it failed.
    """
    if existing.uploaded_audience_csv is not None:
        raise _exists_error(existing, Stage.LOOKALIKE, "was matched from a CSV")
    base_shown = existing.base_audience_id
    if base_shown is not None and not same_id(base_shown, base_id):
        raise _exists_error(existing, Stage.LOOKALIKE, f"is a lookalike of audience {base_shown}, not of {base_id}")
    people = existing.people_count
    if people is not None and max_people is not None and people > max_people:
        problem = f"has {people:,} people, more than the {max_people:,} that were requested"
        raise _exists_error(existing, Stage.LOOKALIKE, problem)
    _raise_if_failed(existing, Stage.LOOKALIKE)
    if base_shown is None:
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


def _exists_error(existing: Audience, stage: Stage, problem: str) -> AudienceExistsError:
    return AudienceExistsError(
        f"audience {existing.id} already has the name {_quote(existing.name)} and {problem}; choose another "
        f"audience_name, or use audience {existing.id} as it is",
        stage=stage,
        audience=existing,
    )


def _raise_if_failed(existing: Audience, stage: Stage) -> None:
    if is_failure_status(existing.status):
        raise AudienceFailedError(
            f"audience {existing.id} already has the name {_quote(existing.name)} and its status is "
            f"{_quote(existing.status)}; names are unique per customer and the API cannot delete audiences, so choose "
            f"another audience_name, or ask Indigo to delete audience {existing.id} and run this again",
            stage=stage,
            audience=existing,
        )


def _quote(text: str | None) -> str:
    return repr(sanitize_text(text or ""))


def is_deleted(status: str) -> bool:
    """Whether a status says that the audience was deleted, so its name may be free again."""
    return "DELET" in status.upper()


@attrs.frozen(kw_only=True)
class StubState:
    """What a stub showed before it was matched: a later record shows by comparison whether it was.

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
        """What either record showed. A record from a list may show less."""
        return StubState(
            named=self.named or other.named, alike=self.alike or other.alike, ended=self.ended or other.ended
        )


def was_matched(stub: Audience, name: str, before: StubState, *, match_requested: bool) -> bool:
    """Whether a stub's record shows that it was matched. Only what the match can have changed counts.

    `match_requested`: a match request may have been carried out. Only then does another name, or a final status, show
    a match.
    """
    if stub.name is not None and not before.alike:
        return compare_names(stub.name, name) is not None or (match_requested and not before.named)
    return match_requested and not before.ended and _is_finished(stub.status)


def was_never_exported(response: Audience) -> bool:
    """Whether the response to the request that made an audience shows that nobody can have exported it yet.

    It is still in progress and has no exports. A server that returns an audience it already had shows otherwise.
    """
    return bool(response.status) and not _is_finished(response.status) and not response.csv_exports


def _is_finished(status: str) -> bool:
    return status.upper() == AudienceStatus.ACTIVE or is_failure_status(status)


async def get_audience_if_exists(context: RecipeContext, audience_id: RecordId) -> Audience | None:
    """Read an audience with a single GET; None if the customer has none with this ID.

    Raises:
        ApiError, TransportError, ResponseDecodeError: it can't be read.
    """
    try:
        return await context.get_audience(audience_id)
    except (NotFoundError, CustomerMismatchError):
        return None


async def find_reusable(
    context: RecipeContext,
    name: str,
    candidates: Iterable[NameMatch],
    compare: Callable[[Audience], Evidence],
    *,
    allow_truncated: bool = False,
    is_name_taken: bool = False,
) -> ReusableAudience | NotReusable | None:
    """Return the first candidate that fits by its own record, else why the best one stops the job.

    A name that is only similar counts if the CSV or the base is the same, and never stops a job: most servers tell
    such names apart. A truncated name counts only with `allow_truncated`: it appeared after our own request, or the
    server refused the name. With `is_name_taken` (the server refused the name), a normalized name counts as the name
    itself. `compare` judges a record.
    """
    misfit: NotReusable | None = None
    for candidate in list(candidates)[:_MAX_CANDIDATES]:
        if candidate.similarity is NameSimilarity.TRUNCATED and not allow_truncated:
            continue
        found = await get_audience_if_exists(context, candidate.id)
        if found is None or is_deleted(found.status):
            continue
        similarity = candidate.similarity if found.name is None else compare_names(found.name, name)
        if similarity is None or (similarity is NameSimilarity.TRUNCATED and not allow_truncated):
            continue
        has_name = similarity is NameSimilarity.EXACT or (is_name_taken and similarity is NameSimilarity.NORMALIZED)
        try:
            evidence = compare(found)
        except (AudienceExistsError, AudienceFailedError) as error:
            if has_name and misfit is None:
                misfit = error.with_traceback(None)
            continue
        if has_name or evidence.is_certain:
            return ReusableAudience(found, evidence)
    return misfit


async def reuse_audience(
    context: RecipeContext, stage: Stage, candidate: ReusableAudience | NotReusable, *, made_by_this_job: bool = False
) -> Audience:
    """Use an existing audience for a stage, and report that. Returns it when it is active.

    The user is warned unless it was `made_by_this_job`.

    Raises:
        AudienceExistsError, AudienceFailedError: the candidate isn't reusable.
    """
    if not isinstance(candidate, ReusableAudience):
        raise copy(candidate)  # the original would form a reference cycle with the frames that hold it
    found, evidence = candidate.audience, candidate.evidence
    report_audience_reuse(context, found, evidence, made_by_this_job=made_by_this_job)
    await context.job_log.record_result(stage, {"audience_id": found.id})
    context.audience, context.requested = found, Requested.ACCEPTED
    return found if is_active(found) else await wait_active(context, found.id)


def report_audience_reuse(
    context: RecipeContext, found: Audience, evidence: Evidence, *, made_by_this_job: bool = False
) -> None:
    """Report that an existing audience is used. The user is warned unless it was `made_by_this_job`."""
    warning = f"reusing audience {found.id} ({evidence.reason}); {evidence.not_compared}"
    context.report_reuse(
        AudienceReused,
        warning=None if made_by_this_job else warning,
        audience_id=found.id,
        evidence=evidence.reason,
    )


def warn_if_unread(context: RecipeContext, name: str) -> None:
    """If part of the list can't be read, warn that an audience with this name may exist although none was found.

    The server decides: names are unique per customer, so it rejects a name that is taken.
    """
    unread = context.name_index.describe_unread(context.required_customer_id, name)
    if unread is not None:
        context.warn(f"{unread}; a new one is created unless the server rejects the name")


async def cancel_intents(context: RecipeContext, stage: Stage) -> None:
    """Record that no request of a stage was carried out: the server refused the last one for good."""
    while context.job_log.open_intent(stage) is not None:
        await context.job_log.cancel_intent(stage)
