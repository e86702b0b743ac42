"""The public interface breaks nobody's code unnoticed, compared with the recorded one."""

from __future__ import annotations

import pytest

from scripts.public_api import ROOT, Change, find_breaking_changes, read_baseline, render_stubs

STUBS = {
    "indigo_async": """
class Pacing:
    def __init__(self, *, max_concurrency: int = ..., rate: float | None = ...) -> None: ...
    rate: float | None

class IndigoClient:
    async def get_audience(self, audience_id: str, customer_id: str | None = None) -> Audience: ...
""",
    "logs": "def log_events(event: Event) -> None: ...",
}


def test_breaking_changes_are_announced():
    """A fragment of the type `removed` or `changed` announces a change if it mentions the name."""
    notices = "\n".join(
        path.read_text() for kind in ("removed", "changed") for path in (ROOT / "changelog.d").glob(f"*.{kind}.md")
    )
    found = find_breaking_changes(read_baseline(), render_stubs())
    unannounced = [f"{change.path}: {change.what}" for change in found if change.name not in notices]
    assert not unannounced, (
        f"callers break: {unannounced}. Keep the old form working, or announce the change in a fragment of changelog.d,"
        " of the type changed or removed. Was the old form never released? Then run python -m scripts.public_api"
    )


def test_the_baseline_has_a_stub_for_each_public_module():
    assert read_baseline().keys() == render_stubs().keys()


@pytest.mark.parametrize(
    ("old", "new", "path", "what"),
    [
        ("rate: float | None = ...", "rate: float | None", "Pacing.__init__", "parameter is now required (rate)"),
        ("rate: float | None = ...", "rpm: int = ...", "Pacing.__init__", "parameter was removed (rate)"),
        ("rate: float | None = ...", "rate: float = ...", "Pacing.__init__", "type of rate was float | None, is float"),
        ("    rate: float | None\n", "", "Pacing.rate", "public object was removed"),
        (
            "    rate: float | None\n",
            "    rate: str | None\n",
            "Pacing.rate",
            "the type was float | None, is str | None",
        ),
        ("class Pacing", "class Pace", "Pacing", "public object was removed"),
        ("audience_id: str", "id: str", "IndigoClient.get_audience", "parameter was removed (audience_id)"),
        ("-> Audience", "-> Audience | None", "IndigoClient.get_audience", "the result was Audience"),
        ("async def", "def", "IndigoClient.get_audience", "became a coroutine function, or no longer is one"),
        ("get_audience", "read_audience", "IndigoClient.get_audience", "public object was removed"),
    ],
)
def test_a_change_that_breaks_callers_is_found(old: str, new: str, path: str, what: str):
    changed = STUBS | {"indigo_async": STUBS["indigo_async"].replace(old, new, 1)}
    assert changed != STUBS
    found = {change.path: change.what for change in find_breaking_changes(STUBS, changed)}
    assert what in found[f"indigo_async.{path}"]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("rate: float | None = ...", "rate: float | None = ..., burst: int = ..."),
        ("audience_id: str", "audience_id: str | int"),
        ("class Pacing", "class Proxy: ...\nclass Pacing"),
        ("    rate: float | None\n", "    rate: float\n"),
    ],
)
def test_a_change_that_breaks_nobody_is_not_found(old: str, new: str):
    changed = STUBS | {"indigo_async": STUBS["indigo_async"].replace(old, new, 1)}
    assert changed != STUBS
    assert find_breaking_changes(STUBS, changed) == []


def test_a_removed_module_is_found():
    assert [change.path for change in find_breaking_changes(STUBS, {"indigo_async": STUBS["indigo_async"]})] == ["logs"]


def test_a_notice_mentions_the_class_of_a_constructor():
    assert Change("indigo_async.Pacing.__init__", "").name == "Pacing"
    assert Change("logs", "").name == "logs"


def test_the_baseline_shows_constructors_that_attrs_writes():
    assert "def __init__(self, column_name: str, required: bool = ...)" in read_baseline()["indigo_async"]
