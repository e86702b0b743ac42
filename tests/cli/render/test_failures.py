from __future__ import annotations

import io

from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from indigo_async.cli.render.failures import FailureGroups, render_failures


def text_of(groups: FailureGroups, *, known: str | None = None) -> str:
    console = Console(file=io.StringIO(), width=200)
    with console.capture() as capture:
        for view in render_failures(groups.groups(), known=known):
            console.print(view)
    return capture.get()


def test_each_kind_of_failure_has_examples():
    groups = FailureGroups()
    for number in range(45):
        groups.add(
            f"c/List {number}", stage="match", error_type="AudienceFailedError", message=f"audience aud-{number}"
        )
    for number in range(11):
        message = f"the server could not read {'the header' if number % 2 else 'any row'} of 'list {number}.csv'"
        groups.add(f"d/List {number}", stage="upload", error_type="AudienceFailedError", message=message)
    text = text_of(groups)
    assert text.index("45 x AudienceFailedError at match") < text.index("11 x AudienceFailedError at upload")
    assert "c/List 0 and 44 more: audience aud-0" in text
    assert "d/List 0 and 5 more: the server could not read any row of 'list 0.csv'" in text
    assert "d/List 1 and 4 more: the server could not read the header of 'list 1.csv'" in text
    assert text.count("Check the CSV") == 2


def test_a_message_shown_elsewhere_is_not_an_example():
    groups = FailureGroups()
    stopped = "GET /audiences: denied; check the token: token=..., INDIGO_API_TOKEN"
    for message in (stopped, f"upload: nothing more is sent, because the batch stopped: {stopped}"):
        groups.add("c/List", stage="upload", error_type="AuthenticationError", message=message)
    text = text_of(groups, known=stopped)
    assert "2 x AuthenticationError" in text
    assert "denied" not in text


FAILURES = st.tuples(
    st.sampled_from(["upload", "match", "purchase"]),
    st.sampled_from(["ServerError", "ApiError"]),
    st.sampled_from(["audience 1 failed", "audience 2 failed", "not found", "$5.00 is too much"]),
)


@given(st.lists(FAILURES, max_size=50))
def test_every_failure_is_counted_once(failures: list[tuple[str, str, str]]):
    groups = FailureGroups()
    for number, (stage, error_type, message) in enumerate(failures):
        groups.add(f"job {number}", stage=stage, error_type=error_type, message=message)
    found = groups.groups()
    assert sum(group.jobs for group in found) == len(failures)
    assert all(sum(example.jobs for example in group.examples) == group.jobs for group in found)
    assert [group.jobs for group in found] == sorted((group.jobs for group in found), reverse=True)
    assert len({(group.stage, group.error_type) for group in found}) == len(found)
