"""Names and files that jobs use are kept in memory or on disk, with the same results."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from indigo_async.workflows.batches.uses import MemoryUses, Uses, uses_on_disk

COUNT = 30_000  # more than SQLite keeps in memory


@pytest.fixture(params=["memory", "disk"])
def uses(request: pytest.FixtureRequest) -> Iterator[Uses]:
    if request.param == "memory":
        yield MemoryUses()
    else:
        with uses_on_disk() as on_disk:
            yield on_disk


def test_the_first_job_keeps_a_key_until_it_is_released(uses: Uses):
    assert uses.find("a") is None
    assert [uses.claim("a", 0), uses.claim("a", 0), uses.claim("a", 1), uses.claim("A", 2)] == [None, 0, 0, None]
    uses.release("a")
    assert uses.claim("a", 3) is None
    assert [uses.find("a"), uses.find("A")] == [3, 2]


def test_a_path_that_is_not_utf8_is_a_key(uses: Uses):
    assert [uses.claim("\udce4.csv", 0), uses.claim("\udce4.csv", 1), uses.claim("\ud800", 2)] == [None, 0, None]
    assert uses.find("\udce4.csv") == 0
    uses.release("\udce4.csv")
    assert uses.find("\udce4.csv") is None


def test_every_key_of_many_is_found(uses: Uses):
    def key(number: int) -> str:
        return f"name 2 42{'x' * 60}{number}"

    assert all(uses.claim(key(number), number) is None for number in range(COUNT))
    assert all(uses.claim(key(number), COUNT) == number for number in range(COUNT))
