"""`indigo-async quote`: price the exports of a manifest."""

from __future__ import annotations

from indigo_async.cli.exit_codes import ExitCode
from indigo_async.cli.options.batch import BATCH, BatchOptions, Manifest
from indigo_async.cli.options.common import CONNECTION, PACING, ConnectionOptions, PacingOptions

__all__ = ["quote"]


def quote(
    manifest: Manifest,
    *,
    batch: BatchOptions = BATCH,
    pacing: PacingOptions = PACING,
    options: ConnectionOptions = CONNECTION,
) -> ExitCode:
    """Price the exports of a manifest, without purchasing anything."""
    from indigo_async.cli.runners.quote import quote_manifest

    return quote_manifest(manifest, batch, pacing, options)
