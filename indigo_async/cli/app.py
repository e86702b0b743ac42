"""The commands, and how their ends become words and exit codes."""

from __future__ import annotations

import logging
import os
import re
import sys
import traceback
from collections.abc import Sequence
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import cast

from cyclopts import App, Parameter
from cyclopts.exceptions import CycloptsError

from indigo_async.cli.exit_codes import EXIT_CODES_HELP, ExitCode, exit_code_for
from indigo_async.cli.render.output import Output, sanitize, use_option_names
from indigo_async.errors import IndigoError

__all__ = ["app", "run"]

_UPLOAD = """\
Have the server read a CSV of people, and wait until it has. Matching it is the next step; `match` does both.

Each upload makes another audience without a name, which is free. Nothing is matched yet."""
_MATCH = """\
Match a CSV of people to the voter file, and wait until that is done.

Run again, it uses the audience of that name if it was made from the same CSV.

  indigo-async match donors.csv --customer 42 --name Donors \\
      --required first_name='First Name' --required last_name='Last Name' \\
      --optional zip=Zip

The fields are first_name, last_name, full_name, city, state, zip, phone, dob, address and id. One field at least must
be required; address must be optional; id, which is only carried along, must be required."""
_LOOKALIKE = """\
Grow a lookalike from an audience that was matched from a CSV, and wait until it is done.

Run again, it uses the audience of that name if it has the same base.

  indigo-async lookalike aud_1 --customer 42 --name 'Donors, wider' \\
      --size 20000 --state PA --state OH"""
_EXPORT = """\
Price an export of an audience, buy it if it costs no more than the limit, and download its CSV.

Without --max-cost-cents it buys nothing: an export that is not free is priced, and the command ends with 3. Run again,
it downloads what was bought and buys nothing, unless --buy-another says so. --export-id never buys.

  indigo-async export aud_1 --customer 42 --out donors.csv --field phone \\
      --max-cost-cents 80000"""
_RUN = """\
Run the jobs of a manifest, all at once: match, grow, price, buy within limits, download.

Run again, it goes on where it was and buys nothing twice. Ctrl-C ends it cleanly. docs/manifest.md tells the format.

  indigo-async run jobs.yaml --budget-cents 5000000 --publish s3://bucket/prefix"""
_QUOTE = """\
Price the exports of a manifest by customer, and buy nothing.

It uploads, matches, grows and previews at the server, all free of charge, since only what exists has a price. A later
`run` of the same manifest buys these same previews."""
_WORKER = """\
Do the stages of jobs that were started on Temporal, until Ctrl-C or SIGTERM. Run as many as there are machines.

What waits is handed over at the end; purchases and downloads under way are ended first. docs/temporal.md tells more.

  indigo-async worker --temporal 127.0.0.1:7233 --exports s3://bucket/exports"""
_WATCH = """\
Show audiences until each is done: active, failed, or waiting for its columns to be chosen.

Nothing is changed at the server. With --json, each change is a line."""
_DOCTOR = """\
Check what has to be right for the other commands: versions, token, address, TLS, clock, and where journals go.

It changes nothing at the server."""

# A command is imported when it is run, and its help is told here, so that `--help` waits for no library.
_COMMANDS = {
    "columns": (
        "indigo_async.cli.commands.columns:columns",
        "Propose which columns of a CSV to match by, with the reasons.",
    ),
    "upload": ("indigo_async.cli.commands.match:upload", _UPLOAD),
    "match": ("indigo_async.cli.commands.match:match", _MATCH),
    "lookalike": ("indigo_async.cli.commands.match:lookalike", _LOOKALIKE),
    "export": ("indigo_async.cli.commands.export:export", _EXPORT),
    "run": ("indigo_async.cli.commands.run:run", _RUN),
    "quote": ("indigo_async.cli.commands.quote:quote", _QUOTE),
    "worker": ("indigo_async.cli.commands.worker:worker", _WORKER),
    "watch": ("indigo_async.cli.commands.watch:watch", _WATCH),
    "doctor": ("indigo_async.cli.commands.doctor:doctor", _DOCTOR),
    "audiences": (
        "indigo_async.cli.commands.audiences:audiences",
        "List the audiences of a customer, or of the organisation.",
    ),
    "audience": ("indigo_async.cli.commands.audiences:audience", "Show one audience with its exports."),
    "report": ("indigo_async.cli.commands.report:report", "Show what a batch did, from its journal."),
    "demo": (
        "indigo_async.cli.commands.sandbox:demo",
        "Run the whole cookbook for three customers at once on a sandbox of its own: no account, no network.",
    ),
    "sandbox": (
        "indigo_async.cli.commands.sandbox:sandbox",
        "Serve the API on this machine until interrupted; prints the address and the token to use.",
    ),
}


def _reflow(text: str) -> str:
    """A help text whose paragraphs take the terminal's width; indented lines, which are examples, stay as they are."""
    return re.sub(r"(?<=\S)\n(?=\S)", " ", text)


def _format_default(value: object) -> str | None:
    """A default as the help tells it: not that nothing is given, which goes without saying."""
    return None if value is None or value is False or value == () else str(value)


app: App = App(
    name="indigo-async",
    help="Match, grow, price, buy and download voter audiences.",
    help_epilogue=EXIT_CODES_HELP,
    help_format="plaintext",
    default_parameter=Parameter(negative_iterable=(), show_default=_format_default),
    version=lambda: metadata.version("indigo-async"),
    suppress_keyboard_interrupt=False,
)
for _name, (_path, _help) in _COMMANDS.items():
    app.command(_path, name=_name, help=_reflow(_help))
app.register_install_completion_command(  # pyright: ignore[reportUnknownMemberType] - cyclopts leaves kwargs untyped
    help="Teach bash, zsh or fish to complete these commands."
)


def run(arguments: Sequence[str] | None = None) -> int:
    """Run the command that the arguments name; say in words what went wrong; return the exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    log, silent = logging.getLogger("indigo_async.recipes"), logging.NullHandler()
    propagates, log.propagate = log.propagate, False  # commands show the warnings of jobs beside their progress
    log.addHandler(silent)  # without a handler, logging would write them to stderr
    try:
        ended: object = app(given, exit_on_error=False, print_error=False, result_action="return_value")
        sys.stdout.flush()
    except CycloptsError as error:
        command = " ".join(["indigo-async", *(error.command_chain or ())])
        Output().error(f"{error}\nSee {command} --help")
        return ExitCode.USAGE_ERROR
    except (Exception, KeyboardInterrupt, BaseExceptionGroup) as error:  # noqa: BLE001 - all are told in words
        cause = _find_cause(error)
        _print_error(cause, traced=error if "--debug" in given else None)
        return ExitCode.USAGE_ERROR if _is_token_file_error(cause) else exit_code_for(cause)
    finally:
        log.removeHandler(silent)
        log.propagate = propagates
    return ended if isinstance(ended, int) else ExitCode.SUCCESS


def _find_cause(error: BaseException) -> BaseException:
    """What tasks side by side failed of, where that is one thing, however deep in groups it is."""
    leaves = _flatten_group(error)
    return leaves[0] if len({type(leaf) for leaf in leaves}) == 1 else error


def _flatten_group(error: BaseException) -> list[BaseException]:
    if not isinstance(error, BaseExceptionGroup):
        return [error]
    inner = cast("BaseExceptionGroup[BaseException]", error).exceptions
    return [leaf for one in inner for leaf in _flatten_group(one)]


def _print_error(error: BaseException, *, traced: BaseException | None) -> None:
    if isinstance(error, BrokenPipeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or the interpreter's last flush complains
        return
    if traced is not None:
        sys.stderr.write(sanitize("".join(traceback.format_exception(traced)), _read_token()) + "\n")
    Output().error(_describe_error(error))


def _read_token() -> str:
    """The token that commands take, to be hidden; nothing where none can be found."""
    token, path = os.environ.get("INDIGO_API_TOKEN", ""), os.environ.get("INDIGO_API_TOKEN_FILE")
    if path and not token:
        with suppress(OSError):
            return Path(path).read_text(errors="replace").strip()
    return token


def _describe_error(error: BaseException) -> str:
    match error:
        case KeyboardInterrupt():
            return "interrupted; what the server was asked to do goes on, and the same command picks it up"
        case IndigoError():
            return use_option_names(str(error))
        case ImportError():
            return f"{_missing_package(error)} is not installed; pip install 'indigo-async[all]'"
        case OSError(strerror=str() as what) if _is_token_file_error(error):
            return (
                f"{error.filename} (which INDIGO_API_TOKEN_FILE names): {what}. Let it name the file that holds the "
                "token, or set INDIGO_API_TOKEN"
            )
        case OSError(strerror=str() as what):
            return what if error.filename is None else f"{error.filename}: {what}"
        case _:
            version = metadata.version("indigo-async")
            return (
                f"this is a bug in indigo-async {version} ({type(error).__name__}). Please report it, with what the "
                "same command shows with --debug; no token is in that."
            )


def _is_token_file_error(error: BaseException) -> bool:
    """Whether the token could not be read. It is read before anything is sent; later failures leave the old one."""
    path = os.environ.get("INDIGO_API_TOKEN_FILE")
    return isinstance(error, OSError) and path is not None and error.filename == str(Path(path))


def _missing_package(error: ImportError) -> str:
    cause = error.__cause__
    return (cause.name if isinstance(cause, ImportError) else error.name) or "a library"
