"""The sandbox as a command: print its address and token, then serve until interrupted."""

from __future__ import annotations

import functools
import signal
from collections.abc import Callable
from pathlib import Path

import anyio

from indigo_async.sandbox.dialect import ExportFlow
from indigo_async.sandbox.sandbox import Sandbox

__all__ = ["serve"]


async def serve(
    *,
    voters: int | Path = 100_000,
    seed: int = 0,
    speed: float = 1.0,
    lite: bool = False,
    export_flow: ExportFlow = "synchronous",
    token: str | None = None,
    requests_per_second: float | None = None,
    allow_remote_csvs: bool = False,
    port: int = 8080,
    echo: Callable[[str], object] = functools.partial(print, flush=True),  # noqa: B008 - it has no state
) -> None:
    """Serve until SIGINT or SIGTERM. The parameters are those of `Sandbox`.

    `echo` receives two lines of shell that set the environment variables that a client reads.
    """
    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with Sandbox(
            voters,
            seed=seed,
            speed=speed,
            lite=lite,
            export_flow=export_flow,
            token=token,
            requests_per_second=requests_per_second,
            allow_remote_csvs=allow_remote_csvs,
            port=port,
        ) as sandbox:
            echo(f"export INDIGO_BASE_URL={sandbox.base_url}")
            echo(f"export INDIGO_API_TOKEN={sandbox.token}")
            echo("# Press Ctrl-C to stop. All data is lost when it stops.")
            async for _ in signals:
                return
