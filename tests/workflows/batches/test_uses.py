"""Names and files that jobs use are kept in memory or on disk, with the same results."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from indigo_async.workflows.batches.uses import MemoryUses, Use, Uses, uses_on_disk

COUNT = 30_000  # more than SQLite keeps in memory


@pytest.fixture(params=["memory", "disk"])
def uses(request: pytest.FixtureRequest) -> Iterator[Uses]:
    if request.param == "memory":
        yield MemoryUses()
    else:
        with uses_on_disk() as on_disk:
            yield on_disk


def by(number: int, name: str = "") -> Use:
    return Use(f"42/{number}", number, name)


def test_the_first_job_keeps_a_key_until_it_is_released(uses: Uses):
    assert uses.find("a") is None
    found = [uses.claim("a", by(0)), uses.claim("a", by(0)), uses.claim("a", by(1)), uses.claim("A", by(2, "A"))]
    assert found == [None, by(0), by(0), None]
    uses.release("a")
    assert uses.claim("a", by(3)) is None
    assert [uses.find("a"), uses.find("A")] == [by(3), by(2, "A")]


def test_a_path_that_is_not_utf8_is_a_key(uses: Uses):
    path, other = "\udce4.csv", "\ud800"
    assert [uses.claim(path, by(0, path)), uses.claim(path, by(1)), uses.claim(other, by(2))] == [
        None,
        by(0, path),
        None,
    ]
    assert uses.find(path) == by(0, path)
    uses.release(path)
    assert uses.find(path) is None


def test_every_key_of_many_is_found(uses: Uses):
    def key(number: int) -> str:
        return f"name 2 42{'x' * 60}{number}"

    assert all(uses.claim(key(number), by(number)) is None for number in range(COUNT))
    assert all(uses.claim(key(number), by(COUNT)) == by(number) for number in range(COUNT))
