from __future__ import annotations

import os
import pwd
import shutil
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import duckdb
import pytest

from indigo_async.sandbox.people import VoterFile, cache
from tests.support.processes import ROOT

NAME = "3-0"


class Source:
    """Fills databases, and counts them."""

    fills = 0

    def fill(self, connection: duckdb.DuckDBPyConnection) -> None:
        self.fills += 1
        connection.execute("CREATE TABLE people AS SELECT range AS voter, 'Ann ' || range AS name FROM range(50_000)")
        connection.execute("CREATE MACRO twice(x) AS 2 * x")

    def check(self) -> None:
        """Open the database, and check what it holds."""
        with cache.open_cached_database(NAME, self.fill) as connection:
            (total,) = connection.execute(
                "SELECT twice(sum(voter)) FROM people WHERE name = 'Ann ' || voter"
            ).fetchall()
        assert total == (50_000 * 49_999,)


@pytest.fixture
def source() -> Source:
    return Source()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of an empty cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "indigo-async" / "voters"


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_database_is_created_once(folder: Path, source: Source):
    source.check()
    (created,) = folder.iterdir()
    content = created.read_bytes()
    source.check()
    assert source.fills == 1
    assert list(folder.iterdir()) == [created]
    assert created.read_bytes() == content


def test_databases_are_private_and_never_change(folder: Path, source: Source):
    source.check()
    (created,) = folder.iterdir()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE(created.stat().st_mode) == 0o600
    with (
        cache.open_cached_database(NAME, source.fill) as connection,
        pytest.raises(duckdb.InvalidInputException, match="read-only"),
    ):
        connection.execute("DELETE FROM people")


def test_several_connections_share_a_database(folder: Path, source: Source):
    with cache.open_cached_database(NAME, source.fill):
        source.check()
        source.check()
    assert source.fills == 1
    assert len(names(folder)) == 1


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


DAMAGE: dict[str, Callable[[Path], object]] = {
    "a flipped bit": flip_a_bit,
    "cut off": lambda path: path.write_bytes(path.read_bytes()[:-4_096]),
    "empty": lambda path: path.write_bytes(b""),
    "another file": lambda path: path.write_text("not a database"),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_database_is_replaced(folder: Path, source: Source, damage: Callable[[Path], object]):
    source.check()
    (created,) = folder.iterdir()
    damage(created)
    damaged = created.read_bytes()
    source.check()
    source.check()
    assert source.fills == 2
    (replaced,) = folder.iterdir()
    assert replaced.read_bytes() != damaged


def test_something_else_under_the_name_of_a_database_is_left_alone(folder: Path, source: Source):
    source.check()
    (created,) = folder.iterdir()
    created.unlink()
    created.mkdir()
    source.check()
    assert source.fills == 2
    assert created.is_dir()


@pytest.mark.parametrize("changed", ["__version__", "metadata.version"])
def test_another_version_uses_other_databases(
    folder: Path, source: Source, monkeypatch: pytest.MonkeyPatch, changed: str
):
    source.check()
    replacement = "0.0.0" if changed == "__version__" else lambda package: f"0.0.0 of {package}"
    with monkeypatch.context() as patch:
        patch.setattr(f"indigo_async.sandbox.people.cache.{changed}", replacement)
        cache._version.cache_clear()
        source.check()
        source.check()
    cache._version.cache_clear()
    source.check()
    assert source.fills == 2
    assert len(names(folder)) == 2


def test_other_code_uses_other_databases(tmp_path: Path):
    """The version changes with the code that generates people."""
    shutil.copytree(ROOT / "indigo_async", tmp_path / "indigo_async", ignore=shutil.ignore_patterns("__pycache__"))
    program = [sys.executable, "-c", "from indigo_async.sandbox.people import cache; print(cache._version())"]

    def version() -> str:
        return subprocess.run(
            program, cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(tmp_path)}, check=True, capture_output=True
        ).stdout.decode()

    before = version()
    assert version() == before
    with (tmp_path / "indigo_async" / "sandbox" / "people" / "states.py").open("a") as code:
        code.write("# one more line\n")
    assert version() != before


def test_the_databases_that_were_unused_for_longest_are_deleted(
    folder: Path, source: Source, monkeypatch: pytest.MonkeyPatch
):
    def open_named(name: str) -> None:
        cache.open_cached_database(name, source.fill).close()

    def kept() -> set[str]:
        return {name.partition("-")[0] for name in names(folder)}

    for age, name in ((300, "first"), (200, "second"), (100, "third")):
        open_named(name)
        (path,) = folder.glob(f"{name}-*")
        os.utime(path, (time.time() - age,) * 2)
    open_named("first")
    monkeypatch.setattr(cache, "_MAX_BYTES", int(2.5 * path.stat().st_size))
    open_named("fourth")
    assert kept() == {"first", "fourth"}
    monkeypatch.setattr(cache, "_MAX_BYTES", 1)
    open_named("fifth")
    assert kept() == {"fifth"}


def test_what_killed_processes_left_behind_is_deleted_after_a_day(folder: Path, source: Source):
    for age in (3_600, 90_000):
        unfinished = folder / f"unfinished-{age}"
        unfinished.mkdir(parents=True)
        (unfinished / "voters.duckdb").write_bytes(b"half")
        os.utime(unfinished, (time.time() - age,) * 2)
    source.check()
    assert [name for name in names(folder) if name.startswith("unfinished")] == ["unfinished-3600"]


def test_a_failed_creation_leaves_nothing(folder: Path):
    def fail(connection: duckdb.DuckDBPyConnection) -> None:
        connection.execute("CREATE TABLE people AS SELECT 1 AS voter")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cache.open_cached_database(NAME, fail)
    assert names(folder) == []


@pytest.mark.usefixtures("no_cache")
def test_without_a_cache_folder_databases_are_in_memory(source: Source):
    source.check()
    source.check()
    assert source.fills == 2


def test_without_a_home_folder_databases_are_in_memory(source: Source, monkeypatch: pytest.MonkeyPatch):
    def find_nobody(user: int) -> pwd.struct_passwd:
        raise KeyError(user)

    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.delenv("HOME")
    monkeypatch.setattr(pwd, "getpwuid", find_nobody)  # a user of a container
    source.check()
    source.check()
    assert source.fills == 2


@pytest.mark.parametrize("is_damaged", [False, True])
def test_a_read_only_cache_is_used_and_never_an_error(
    source: Source, monkeypatch: pytest.MonkeyPatch, *, is_damaged: bool
):
    user = os.geteuid()
    with tempfile.TemporaryDirectory() as home:
        monkeypatch.setenv("XDG_CACHE_HOME", home)
        source.check()
        (created,) = Path(home).glob("*/*/*")
        if is_damaged:
            flip_a_bit(created)
        created.chmod(0o444)
        for parent in list(created.parents)[:3]:
            parent.chmod(0o555)
        try:
            os.seteuid(65_534 if user == 0 else user)  # root may write everywhere
            source.check()
        finally:
            os.seteuid(user)
            for parent in list(created.parents)[:3]:
                parent.chmod(0o755)
        assert [path.name for path in Path(home).glob("*/*/*")] == [created.name]
    assert source.fills == 1 + is_damaged


def test_a_full_disk_is_never_an_error(folder: Path):
    program = (
        "from tests.sandbox.people.test_cache import Source; source = Source(); source.check(); print(source.fills)"
    )
    limited = ["sh", "-c", 'ulimit -f 200; exec "$@"', "sh"]  # no file may grow past 100 KiB
    done = subprocess.run([*limited, sys.executable, "-c", program], cwd=ROOT, check=True, capture_output=True)
    assert int(done.stdout) == 2
    assert names(folder) == []


def test_processes_that_create_the_same_database_at_once_all_get_it(folder: Path):
    program = """
from tests.sandbox.people.test_cache import Source
source = Source()
fill = source.fill
def wait(connection):
    print("creating", flush=True)
    input()
    fill(connection)
source.fill = wait
source.check()
print(source.fills)
"""
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", program], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "creating\n"
    assert [process.communicate("\n")[0] for process in processes] == ["1\n", "1\n"]
    assert [process.returncode for process in processes] == [0, 0]
    assert all(name.startswith(f"{NAME}-") for name in names(folder))
    source = Source()
    source.check()
    assert source.fills == 0


def test_people_are_the_same_with_and_without_the_cache(folder: Path, request: pytest.FixtureRequest):
    def contents() -> list[object]:
        voters = VoterFile.synthetic(300, seed=4)
        with voters.cursor() as cursor:
            found = [cursor.execute(f"SELECT * FROM {table} ORDER BY voter").fetchall() for table in ("voters", "keys")]
        voters.close()
        return found

    created, cached = contents(), contents()
    assert len(names(folder)) == 1
    request.getfixturevalue("no_cache")
    assert created == cached == contents()
