"""The terminal, file or pipe that a command writes to."""

from __future__ import annotations

import os
import sys
from collections.abc import Generator
from contextlib import contextmanager
from typing import IO, Any, NoReturn

from rich.console import Console, ConsoleDimensions

from indigo_async.cli.streams import MIN_WIDTH

__all__ = ["CommandConsole", "create_help_console", "writing_results"]

_PIPE_WIDTH = 240
_HELP_WIDTH = 80


@contextmanager
def writing_results() -> Generator[None]:
    """Name stdout in the error if the block can't write to it, and drop buffered output.

    Raises:
        BrokenPipeError: the reader of the pipe is gone.
        OSError: another write error, such as a full disk.
    """
    try:
        yield
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python's final flush would fail
        if isinstance(error, BrokenPipeError):
            raise
        raise OSError(error.errno, error.strerror, "stdout") from None


class CommandConsole(Console):
    """A console that prints text unchanged, is at least `MIN_WIDTH` wide, and raises its file's errors."""

    def __init__(self, file: IO[str], *, pipe_width: int = _PIPE_WIDTH) -> None:
        super().__init__(
            file=file,
            width=None if file.isatty() or "COLUMNS" in os.environ else pipe_width,
            force_interactive=None if file.isatty() else False,  # FORCE_COLOR affects only colors
            markup=False,
            highlight=False,
            emoji=False,
            soft_wrap=False,
        )

    @property  # type: ignore[misc]
    def size(self) -> ConsoleDimensions:  # pyright: ignore[reportIncompatibleMethodOverride] - only read
        size = super().size
        return ConsoleDimensions(max(MIN_WIDTH, size.width), size.height)

    def print(self, *objects: Any, **options: Any) -> None:
        with writing_results():
            super().print(*objects, **options)

    def on_broken_pipe(self) -> NoReturn:
        raise BrokenPipeError


def create_help_console() -> Console:
    """The console for help texts, which may be piped to a pager."""
    return CommandConsole(sys.stdout, pipe_width=_HELP_WIDTH)
