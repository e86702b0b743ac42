"""Serve the sandbox in this process."""

from __future__ import annotations

import errno
from functools import partial
from pathlib import Path

import anyio

from indigo_async.errors import InvalidInputError, Problem
from indigo_async.sandbox.command import serve
from indigo_async.sandbox.dialect import ExportFlow

__all__ = ["serve_sandbox"]

_PORT_ERRORS = {
    errno.EADDRINUSE: "is already in use",
    errno.EACCES: "needs administrator rights",
}


def serve_sandbox(
    *,
    port: int,
    voters: str,
    seed: int,
    speed: float,
    lite: bool,
    export_flow: ExportFlow,
    token: str | None,
    requests_per_second: float | None,
    allow_remote_csvs: bool,
) -> None:
    """Serve the API on this machine until Ctrl-C.

    Raises:
        InvalidInputError: the port can't be used.
    """
    try:
        anyio.run(
            partial(
                serve,
                port=port,
                voters=int(voters) if voters.isdecimal() else Path(voters),
                seed=seed,
                speed=speed,
                lite=lite,
                export_flow=export_flow,
                token=token,
                requests_per_second=requests_per_second,
                allow_remote_csvs=allow_remote_csvs,
            )
        )
    except OSError as error:
        if error.errno not in _PORT_ERRORS or error.filename is not None:
            raise
        message = f"port {port} {_PORT_ERRORS[error.errno]}; choose another, or 0 for a free one"
        raise InvalidInputError([Problem("--port", message)]) from error
