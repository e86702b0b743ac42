"""`indigo-async doctor`: check everything that the other commands need."""

from __future__ import annotations

import os
import re
import shutil
import sqlite3
import stat
import sys
import tempfile
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from rich.table import Table
from rich.text import Text

from indigo_async._settings import Settings
from indigo_async._tokens import TOKEN_FILE_VARIABLE, read_token_file
from indigo_async._version import __version__
from indigo_async.cli.errors import ExitCode
from indigo_async.cli.options.common import CONNECTION, ConnectionOptions
from indigo_async.cli.render.advice import use_option_names
from indigo_async.cli.render.output import Output, format_file_size, replace_control_characters
from indigo_async.cli.server_checks import Check, CheckStatus, check_server
from indigo_async.cli.signals import run_async
from indigo_async.errors import InvalidInputError

__all__ = ["doctor"]

_OLDEST_PYTHON = (3, 11)
_LOW_DISK_SPACE_BYTES = 1_000_000_000
_WIDTHS = (7, 8, None)
_STYLES = {
    CheckStatus.OK: "green",
    CheckStatus.WARNING: "yellow",
    CheckStatus.FAILED: "red",
    CheckStatus.REFUSED: "red",
}


def doctor(
    *,
    journal_folder: Annotated[Path, Parameter(help="The folder where `run` will keep its journal.")] = Path(),
    options: ConnectionOptions = CONNECTION,
) -> ExitCode:
    """Check everything that the other commands need."""
    output = options.create_output()
    statuses: set[CheckStatus] = set()

    def report(check: Check) -> None:
        statuses.add(check.status)
        _print_check(output, check)

    for check in (*_check_installation(), _check_journal_folder(journal_folder)):
        report(check)
    problems = _find_settings_problems(options.base_url)
    has_token = "token" not in problems
    report(_check_token_source() if has_token else Check("token", CheckStatus.FAILED, problems["token"]))
    if "base_url" in problems:
        report(Check("address", CheckStatus.FAILED, problems["base_url"]))
    else:
        settings = Settings.resolve(None if has_token else "none", options.base_url)

        async def report_server_checks() -> None:
            async for check in check_server(settings, options.proxy, has_token=has_token):
                report(check)

        run_async(report_server_checks)
    if CheckStatus.REFUSED in statuses:
        return ExitCode.UNAUTHENTICATED
    return ExitCode.FAILED if CheckStatus.FAILED in statuses else ExitCode.SUCCESS


def _find_settings_problems(base_url: str | None) -> dict[str, str]:
    """Problems with the token or the base URL that can be found without the server."""
    try:
        Settings.resolve(None, base_url)
    except InvalidInputError as error:
        return {problem.where: use_option_names(problem.message) for problem in error.problems}
    return {}


def _print_check(output: Output, check: Check) -> None:
    output.write_json(
        {"check": check.name, "state": check.status.value, "detail": check.detail, "advice": check.advice}
    )
    line = Table.grid(padding=(0, 2, 0, 0))
    for width in _WIDTHS:
        line.add_column(width=width, overflow="fold")
    line.add_row(
        Text(check.status.value, _STYLES[check.status]),
        Text(check.name, "bold"),
        replace_control_characters(check.detail),
    )
    if check.advice:
        line.add_row("", "", Text(replace_control_characters(check.advice), "yellow"))
    output.show(line)


def _check_installation() -> Iterator[Check]:
    """Check the versions of Python, the SDK and its dependencies."""
    version = ".".join(str(part) for part in sys.version_info[:3])
    is_new_enough = sys.version_info >= _OLDEST_PYTHON
    yield Check(
        "python",
        CheckStatus.OK if is_new_enough else CheckStatus.FAILED,
        f"{version}, on {sys.platform}",
        None if is_new_enough else "Python 3.11 or newer is required",
    )
    too_old: list[str] = []
    core: list[str] = []
    for name, minimum, is_extra in _requirements():
        try:
            installed = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
        if not is_extra:
            core.append(f"{name} {installed}")
        if _parse_version(installed) < _parse_version(minimum):
            too_old.append(f"{name} {installed} is older than {minimum}")
    yield Check(
        "packages",
        CheckStatus.FAILED if too_old else CheckStatus.OK,
        f"indigo-async {__version__} with {', '.join(core)}",
        f"{'; '.join(too_old)}: pip install --upgrade 'indigo-async[all]'" if too_old else None,
    )


def _requirements() -> Iterator[tuple[str, str, bool]]:
    """The SDK's dependencies: name, minimum version, and whether only an extra needs it."""
    for requirement in dict.fromkeys(metadata.requires("indigo-async") or ()):
        parts = re.match(r"([A-Za-z0-9._-]+)\s*>=\s*([0-9.]+)", requirement)
        if parts is not None:
            yield parts[1], parts[2], "extra ==" in requirement


def _parse_version(version: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", version)[:3]]


def _check_token_source() -> Check:
    """Check where the token comes from, without showing it."""
    if os.environ.get("INDIGO_API_TOKEN"):
        return Check("token", CheckStatus.OK, "from INDIGO_API_TOKEN")
    path = Path(os.environ[TOKEN_FILE_VARIABLE]).expanduser()
    try:
        read_token_file(str(path))
    except InvalidInputError as error:
        return Check("token", CheckStatus.FAILED, error.problems[0].message)
    if path.stat().st_mode & (stat.S_IRGRP | stat.S_IROTH):
        return Check("token", CheckStatus.WARNING, f"from {path}, which other users can read", f"chmod 600 {path}")
    return Check("token", CheckStatus.OK, f"from {path}")


def _check_journal_folder(folder: Path) -> Check:
    """Check that the folder can hold a journal: SQLite's locks and write-ahead log must work there."""
    try:
        with tempfile.TemporaryDirectory(dir=folder, prefix=".indigo-doctor-") as trial:
            connection = sqlite3.connect(Path(trial) / "trial.sqlite")
            try:
                mode = connection.execute("PRAGMA journal_mode=WAL").fetchone()[0]
                connection.execute("CREATE TABLE trial (number INTEGER)")
            finally:
                connection.close()
            free = shutil.disk_usage(trial).free
    except (OSError, sqlite3.Error) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        advice = "use a folder on a local disk" if folder.is_dir() else "create the folder, or name another"
        return Check("journals", CheckStatus.FAILED, f"{folder.absolute()}: {reason}", advice)
    if mode != "wal":
        advice = "use a folder on a local disk: journals need SQLite's write-ahead log"
        return Check("journals", CheckStatus.FAILED, f"{folder.absolute()}: no write-ahead log", advice)
    detail = f"{folder.absolute()} is writable, {format_file_size(free)} free"
    return Check("journals", CheckStatus.WARNING if free < _LOW_DISK_SPACE_BYTES else CheckStatus.OK, detail)
