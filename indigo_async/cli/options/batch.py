"""Options of the commands that run manifests, in one process or on Temporal."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import attrs
from cyclopts import Group, Parameter

from indigo_async.cli.options.common import POSITIVE, OptionalWholeNumber, PollInterval, Publish, WholeNumber

if TYPE_CHECKING:
    from indigo_async.workflows.sharding.split import Shard

__all__ = [
    "BATCH",
    "TEMPORAL",
    "TEMPORAL_BATCH",
    "TEMPORAL_QUEUE",
    "BatchName",
    "BatchOptions",
    "Manifest",
    "TemporalBatchOptions",
    "TemporalOptions",
    "TemporalQueueOptions",
    "is_journal",
]

_SQLITE_MAGIC = b"SQLite format 3\0"
_TEMPORAL_GROUP = Group("Temporal", sort_key=9)
_HASH_DIGITS = 6

Manifest = Annotated[Path, Parameter(help="The jobs: a .yaml, .csv or .jsonl file.")]
BatchName = Annotated[str, Parameter(help="The batch's name, which `run --temporal` shows when it starts.")]


@Parameter(name="*", group=Group("Batch", sort_key=5))
@attrs.frozen(kw_only=True)
class BatchOptions:
    """How to run a manifest."""

    defaults: Annotated[Path | None, Parameter(help="A YAML file with default fields for all jobs.")] = None
    out: Annotated[
        Path | None, Parameter(help="The folder for relative destinations. Default: the manifest's folder.")
    ] = None
    journal: Annotated[
        Path | None,
        Parameter(
            help="The file that records progress, so that the batch can resume. "
            "Default: the manifest's path with .journal appended, or .3-of-10.journal with --shard 3/10."
        ),
    ] = None
    shard: Annotated[
        str | None,
        Parameter(
            help="Run only one shard of the jobs, such as 3/10 for the third of ten. All jobs of a customer are in one "
            "shard. Purchases need --fence."
        ),
    ] = None
    publish: Publish = None
    max_in_flight: Annotated[
        WholeNumber, Parameter(help="How many jobs may run at the same time.", validator=POSITIVE)
    ] = 10_000
    stop_after_failures: Annotated[
        OptionalWholeNumber, Parameter(help="Start no more jobs after this many have failed.", validator=POSITIVE)
    ] = None
    timeout: Annotated[
        float,
        Parameter(help="Seconds for each job. The server continues its work after a timeout.", validator=POSITIVE),
    ] = 14_400.0
    poll_interval: PollInterval = 5.0

    def journal_path(self, manifest: Path) -> Path:
        """The journal's path, which is not checked yet."""
        if self.journal is not None:
            return self.journal
        shard = "" if self.shard is None else f".{self.shard.strip().replace('/', '-of-')}"
        return manifest.with_name(f"{manifest.name}{shard}.journal")

    def parse_shard(self, *, purchase: bool, fence: str | None) -> Shard | None:
        """The shard to run; None for all jobs.

        Raises:
            InvalidInputError: it is not one, or it may purchase without a fence.
        """
        from indigo_async._validation import InputCheck
        from indigo_async.workflows.sharding.split import check_shard

        if self.shard is None:
            return None
        check = InputCheck()
        shard = check_shard(check, self.shard, may_purchase=purchase, has_fence=fence is not None)
        check.raise_if_invalid()
        return shard

    def check_journal(self, manifest: Path) -> None:
        """Check that the journal can be used.

        Raises:
            InvalidInputError: its folder does not exist, or another file is at a path given with `--journal`.
        """
        from indigo_async.errors import InvalidInputError, Problem

        path = self.journal_path(manifest)
        if not path.parent.is_dir():
            raise InvalidInputError([Problem("--journal", f"the folder {path.parent} does not exist")])
        if self.journal is not None and path.exists() and not is_journal(path):
            raise InvalidInputError([Problem("--journal", f"{path} exists and is not a journal; choose another file")])


def is_journal(path: Path) -> bool:
    """Whether a path names a journal, which may be damaged: it still has its `.rows` file (or `.lock`, formerly)."""
    if path.is_dir():
        return False
    if any(path.with_name(f"{path.name}{suffix}").exists() for suffix in (".rows", ".lock")):
        return True
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(len(_SQLITE_MAGIC)) == _SQLITE_MAGIC


@Parameter(name="*", group=_TEMPORAL_GROUP)
@attrs.frozen(kw_only=True)
class TemporalOptions:
    """Where Temporal is. Keys and certificates are never options: Temporal's own environment variables set them."""

    address: Annotated[
        str | None,
        Parameter(
            name="--temporal",
            help="Temporal's address, such as 127.0.0.1:7233. For Temporal Cloud, set TEMPORAL_API_KEY, or "
            "TEMPORAL_TLS_CLIENT_CERT_PATH and TEMPORAL_TLS_CLIENT_KEY_PATH.",
        ),
    ] = None
    namespace: Annotated[
        str | None, Parameter(help="Temporal's namespace. Default: TEMPORAL_NAMESPACE, or `default`.")
    ] = None


@Parameter(name="*", group=_TEMPORAL_GROUP)
@attrs.frozen(kw_only=True)
class TemporalQueueOptions(TemporalOptions):
    """Also the task queue."""

    task_queue: Annotated[str, Parameter(help="The task queue that connects `run` with its workers.")] = "indigo"


@Parameter(name="*", group=_TEMPORAL_GROUP)
@attrs.frozen(kw_only=True)
class TemporalBatchOptions(TemporalQueueOptions):
    """Also which batch the manifest's jobs are, and when another worker takes over."""

    name: Annotated[
        str | None,
        Parameter(
            name="--name",
            help="The batch's name, by which later runs find it and its budget. Default: the manifest's file name and "
            "a short hash of its path, such as jobs.yaml-1a2b3c.",
        ),
    ] = None
    continue_changed: Annotated[
        bool,
        Parameter(
            name="--continue",
            negative=(),
            help="Run these jobs in the batch of this name and with its budget, even if it had other jobs before.",
        ),
    ] = False
    heartbeat_seconds: Annotated[
        float,
        Parameter(
            help="Seconds without a heartbeat before another worker takes over a worker's jobs.",
            validator=POSITIVE,
        ),
    ] = 30.0

    def batch_name(self, manifest: Path) -> str:
        """The batch's name. By default, manifests of the same name in different folders have different ones."""
        if self.name is not None:
            return self.name
        import hashlib

        digits = hashlib.sha256(bytes(manifest.resolve())).hexdigest()[:_HASH_DIGITS]
        return f"{manifest.name}-{digits}"


BATCH = BatchOptions()
TEMPORAL = TemporalOptions()
TEMPORAL_QUEUE = TemporalQueueOptions()
TEMPORAL_BATCH = TemporalBatchOptions()
