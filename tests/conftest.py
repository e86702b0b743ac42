from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from blockbuster import blockbuster_ctx
from hypothesis import settings

if TYPE_CHECKING:
    from indigo_async.sandbox.people import VoterFile

# The same examples in every run, on machines of any speed; `--hypothesis-profile=explore` looks for new ones.
settings.register_profile("repeatable", derandomize=True, deadline=None, max_examples=60, print_blob=True)
settings.register_profile("explore", deadline=None, max_examples=2_000, print_blob=True)
settings.load_profile("repeatable")

_CACHE = pytest.StashKey[tempfile.TemporaryDirectory[str]]()


def pytest_configure(config: pytest.Config) -> None:
    """Give all processes of this session an empty cache of voter files."""
    if not hasattr(config, "workerinput"):  # workers of pytest-xdist inherit it
        config.stash[_CACHE] = tempfile.TemporaryDirectory()
        os.environ["XDG_CACHE_HOME"] = config.stash[_CACHE].name


def pytest_unconfigure(config: pytest.Config) -> None:
    if _CACHE in config.stash:
        config.stash[_CACHE].cleanup()


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(autouse=True)
def _event_loop_is_never_blocked() -> Iterator[None]:
    """Make a blocking call of the package, within an event loop, an error."""
    with blockbuster_ctx("indigo_async", excluded_modules=["indigo_async.sandbox"]) as detector:
        for name in ("os.path.abspath", "os.getcwd"):  # they ask for the working folder, not for a disk
            detector.functions[name].deactivate()
        # At its end a journal joins its thread, which has nothing left to do.
        detector.functions["threading.Lock.acquire"].can_block_in("journal/journal.py", {"_close"})
        # A client reads its profile, a small file, when it is created.
        for name in ("io.BufferedReader.read", "os.stat"):
            detector.functions[name].can_block_in("indigo_async/_profiles.py", {"read_profile"})
        yield


@pytest.fixture(scope="session")
def voters() -> Iterator[VoterFile]:
    """A small voter file that all tests of a process share; it never changes."""
    from indigo_async.sandbox.people import VoterFile  # noqa: PLC0415 - most tests need no people

    voters = VoterFile.synthetic(5_000, seed=0)
    yield voters
    voters.close()
