"""The commands, and how their ends become words and exit codes."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence
from importlib import metadata

from cyclopts import App
from cyclopts.exceptions import CycloptsError

from indigo_async.cli.exits import EXIT_CODES, Exit, exit_of
from indigo_async.cli.output import Output
from indigo_async.errors import IndigoError
from indigo_async.hidden import hide_secrets

__all__ = ["app", "run"]

# A command is imported when it is run, and its help is told here, so that `--help` waits for no library.
_COMMANDS = {
    "audiences": ("indigo_async.cli.looking:audiences", "List the audiences of a customer, or of the organisation."),
    "audience": ("indigo_async.cli.looking:audience", "Show one audience with its exports."),
    "demo": (
        "indigo_async.cli.local:demo",
        "Run the whole cookbook for three customers at once on a sandbox of its own: no account, no network.",
    ),
    "sandbox": (
        "indigo_async.cli.local:sandbox",
        "Serve the API on this machine until interrupted; prints the address and the token to use.",
    ),
}

app = App(
    name="indigo-async",
    help="Match, grow, price, buy and download voter audiences.",
    help_epilogue=EXIT_CODES,
    help_format="plaintext",
    version=lambda: metadata.version("indigo-async"),
    suppress_keyboard_interrupt=False,
)
for _name, (_path, _help) in _COMMANDS.items():
    app.command(_path, name=_name, help=_help)
app.register_install_completion_command(  # pyright: ignore[reportUnknownMemberType] - cyclopts leaves kwargs untyped
    help="Teach bash, zsh or fish to complete these commands."
)


def run(arguments: Sequence[str] | None = None) -> int:
    """Run the command that the arguments name; say in words what went wrong; return the exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        ended: object = app(given, exit_on_error=False, print_error=False, result_action="return_value")
        sys.stdout.flush()
    except CycloptsError as error:
        command = " ".join(["indigo-async", *(error.command_chain or ())])
        Output().error(f"{error}\nSee {command} --help")
        return Exit.MISUSED
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - whatever it is, it is told in words
        _tell(error, with_traceback="--debug" in given)
        return exit_of(error)
    return ended if isinstance(ended, int) else Exit.DONE


def _tell(error: BaseException, *, with_traceback: bool) -> None:
    if isinstance(error, BrokenPipeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or the interpreter's last flush complains
        return
    if with_traceback:
        trace = "".join(traceback.format_exception(error))
        sys.stderr.write(hide_secrets(trace, os.environ.get("INDIGO_API_TOKEN", "")))
    Output().error(_words_for(error))


def _words_for(error: BaseException) -> str:
    match error:
        case KeyboardInterrupt():
            return "interrupted; what the server was asked to do goes on, and the same command picks it up"
        case IndigoError():
            return str(error)
        case ImportError():
            return f"{_missing(error)} is not installed; pip install 'indigo-async[all]'"
        case OSError(strerror=str() as what):
            return f"{error.filename}: {what}" if error.filename else what
        case _:
            version = metadata.version("indigo-async")
            return (
                f"this is a bug in indigo-async {version} ({type(error).__name__}). Please report it, with what the "
                "same command shows with --debug; no token is in that."
            )


def _missing(error: ImportError) -> str:
    cause = error.__cause__
    return (cause.name if isinstance(cause, ImportError) else error.name) or "a library"
