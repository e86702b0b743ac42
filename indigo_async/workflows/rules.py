"""When something that exists is ours: pure rules. Evidence adopts, contradiction stops, and doubt never buys."""

from __future__ import annotations

from indigo_async.errors import AudienceExistsError, AudienceFailedError
from indigo_async.hidden import hidden
from indigo_async.models import Audience, RecordId, means_failure
from indigo_async.workflows.events import Stage

__all__ = ["adopt_lookalike", "adopt_matched", "same_id"]


def same_id(one: RecordId, other: RecordId) -> bool:
    """IDs are compared as text: a server may send 7 in one answer and "7" in another."""
    return str(one) == str(other)


def adopt_matched(found: Audience, *, csv: str) -> str:
    """On what evidence an audience of our name is the one matched from our CSV.

    `csv` is the CSV's URL, whose query does not count, or the `content_name` under which a publisher serves the file.

    Raises:
        AudienceExistsError: it was made from another CSV, or is a lookalike.
        AudienceFailedError: it is ours by name, and failed.
    """
    if found.base_audience_id is not None:
        raise AudienceExistsError(
            f"audience {found.id} has the name {found.name!r} already and is a lookalike; choose another name",
            stage=Stage.MATCH,
            audience=found,
        )
    url = hidden(found.uploaded_audience_csv.url) if found.uploaded_audience_csv else None
    if url is not None and _without_query(csv) not in {_without_query(url), _last_segment(url)}:
        raise AudienceExistsError(
            f"audience {found.id} has the name {found.name!r} already and was made from another CSV; "
            "choose another name, or use that audience as it is",
            stage=Stage.MATCH,
            audience=found,
        )
    _refuse_failed(found, Stage.MATCH)
    return "its name and its CSV are ours" if url is not None else "its name is ours; the server shows no CSV"


def adopt_lookalike(found: Audience, *, base_id: RecordId) -> str:
    """On what evidence an audience of our name is our lookalike.

    Raises:
        AudienceExistsError: it has another base, or was matched from a CSV.
        AudienceFailedError: it is ours by name, and failed.
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
    _refuse_failed(found, Stage.LOOKALIKE)
    known = found.base_audience_id is not None
    return "its name and its base are ours" if known else "its name is ours; the server shows no base"


def _refuse_failed(found: Audience, stage: Stage) -> None:
    if means_failure(found.status):
        raise AudienceFailedError(
            f"audience {found.id} ({found.name!r}) exists and its status is {found.status!r}; "
            "choose another name, since names are unique for a customer",
            stage=stage,
            audience=found,
        )


def _without_query(url: str) -> str:
    return url.partition("?")[0].partition("#")[0]


def _last_segment(url: str) -> str:
    return _without_query(url).rpartition("/")[2]
