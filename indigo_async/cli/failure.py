"""Show why a command failed."""

from __future__ import annotations

import shlex
import sys
import traceback
from collections.abc import Sequence

import attrs
from cyclopts import App, Argument
from cyclopts.exceptions import CycloptsError, MissingArgumentError, UnusedCliTokensError

from indigo_async._profiles import read_known_tokens
from indigo_async.cli.errors import ErrorReport, describe_error, exit_code_for, find_cause
from indigo_async.cli.exit_codes import ExitCode
from indigo_async.cli.render.output import Output, sanitize

__all__ = ["show_failure"]

_BATCH_COMMANDS = (["run"], ["quote"], ["report"], ["worker"], ["jobs"], ["drop"], ["cancel"])
"""Commands whose errors are about a manifest's fields."""

_BUY_ANOTHER_ADVICE = (
    "With --buy-another, running the same command again may purchase another export. Check the audience's exports "
    "first: indigo-async audience AUDIENCE_ID"
)


def show_failure(error: BaseException, arguments: Sequence[str], app: App) -> ExitCode:
    """Print why a command with these arguments failed, and return its exit code."""
    if isinstance(error, CycloptsError):
        _show_error(arguments, _describe_usage_error(error, app))
        return ExitCode.USAGE_ERROR
    cause = find_cause(error)
    if not isinstance(cause, BrokenPipeError):
        if "--debug" in arguments:
            sys.stderr.write(sanitize("".join(traceback.format_exception(error)), *read_known_tokens()) + "\n")
        _show_error(arguments, describe_error(cause, in_batch=arguments[:1] in _BATCH_COMMANDS))
    return exit_code_for(cause)


def _describe_usage_error(error: CycloptsError, app: App) -> ErrorReport:
    """Say what is wrong with a command line, how to write it, and where to read more."""
    message = _explain_usage(error, app)
    advice = f"See {' '.join(('indigo-async', *(error.command_chain or ())))} --help"
    return ErrorReport(type="UsageError", message=message, advice=advice, text=f"{message}\n{advice}")


def _explain_usage(error: CycloptsError, app: App) -> str:
    chain = tuple(error.command_chain or ())
    match error:
        case MissingArgumentError(keyword=str() as option, argument=Argument() as argument):
            return f"{option} needs a value: {_format_usage(argument)}"
        case MissingArgumentError(argument=Argument() as argument):
            arguments = app[chain[0]].assemble_argument_collection()
            usage = " ".join(
                _format_usage(each) if each.required else f"[{_format_usage(each)}]"
                for each in arguments
                if each.required or each.field_info.is_positional
            )
            name = _format_usage(argument).split()[0]
            return f"{name} is missing\nUsage: indigo-async {chain[0]} {usage} [OPTIONS]"
        case UnusedCliTokensError(unused_tokens=[*unused]):
            return f"unexpected: {shlex.join(unused)}"
        case _:
            return str(error)


def _format_usage(argument: Argument) -> str:
    """An argument as it is written: `--customer CUSTOMER`, or `MANIFEST`."""
    value = argument.name.lstrip("-").replace("-", "_").upper()
    return value if argument.field_info.is_positional else f"{argument.name} {value}"


def _show_error(arguments: Sequence[str], error: ErrorReport) -> None:
    if "--buy-another" in arguments and error.type != "UsageError":
        message = error.message if error.type == "Interrupted" else error.text
        error = attrs.evolve(error, advice=_BUY_ANOTHER_ADVICE, text=f"{message}. {_BUY_ANOTHER_ADVICE}")
    Output(as_json="--json" in arguments).error(error)
