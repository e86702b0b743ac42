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

from rich.table import Table
from rich.text import Text

from indigo_async._profiles import Profile
from indigo_async._settings import Settings
from indigo_async._tokens import TOKEN_FILE_VARIABLE, read_token_file
from indigo_async._version import __version__
from indigo_async.cli.exit_codes import ExitCode
from indigo_async.cli.options.common import ConnectionOptions
from indigo_async.cli.render.advice import use_option_names
from indigo_async.cli.render.output import Output, format_file_size, replace_control_characters
from indigo_async.cli.runners.server_checks import Check, CheckStatus, check_server
from indigo_async.cli.signals import run_async
from indigo_async.errors import InvalidInputError, Problem

__all__ = ["check_everything"]

_OLDEST_PYTHON = (3, 11)
_LOW_DISK_SPACE_BYTES = 1_000_000_000
_WIDTHS = (7, 8, None)
_STYLES = {
    CheckStatus.OK: "green",
    CheckStatus.WARNING: "yellow",
    CheckStatus.FAILED: "red",
    CheckStatus.REFUSED: "red",
}


def check_everything(journal_folder: Path, options: ConnectionOptions) -> ExitCode:
    """Check everything that the commands need, and show each check."""
    output = options.create_output()
    statuses: set[CheckStatus] = set()

    def report(check: Check) -> None:
        statuses.add(check.status)
        _print_check(output, check)

    for check in (*_check_installation(), _check_journal_folder(journal_folder)):
        report(check)
    settings, checks = _check_settings(options.profile, options.base_url)
    for check in checks:
        report(check)
    has_token = all(check.name == "address" or check.status is not CheckStatus.FAILED for check in checks)
    if settings is not None:

        async def report_server_checks() -> None:
            async for check in check_server(settings, options.proxy, has_token=has_token):
                report(check)

        run_async(report_server_checks)
    if CheckStatus.REFUSED in statuses:
        return ExitCode.UNAUTHENTICATED
    return ExitCode.FAILED if CheckStatus.FAILED in statuses else ExitCode.SUCCESS


def _check_settings(profile_name: str | None, base_url: str | None) -> tuple[Settings | None, list[Check]]:
    """Check the profile, the token and the base URL without the server. None if the server can't be checked."""
    try:
        settings = Settings.resolve(None, base_url, profile=profile_name)
    except InvalidInputError as error:
        checks = [_check_for_problem(problem) for problem in error.problems]
        is_address_known = not any(check.name in {"address", "profile"} for check in checks)
        return Settings.resolve("none", base_url) if is_address_known else None, checks
    profile = settings.profile
    used = [] if profile is None else [Check("profile", CheckStatus.OK, f"{profile.name!r} of {profile.file}")]
    return settings, [*used, _check_token_source(profile)]


def _check_for_problem(problem: Problem) -> Check:
    name = {"token": "token", "base_url": "address"}.get(problem.where, "profile")
    is_in_file = name == "profile" and problem.where != name
    message = use_option_names(problem.message)
    return Check(name, CheckStatus.FAILED, f"{problem.where}: {message}" if is_in_file else message)


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


def _check_token_source(profile: Profile | None) -> Check:
    """Check where the token comes from, without showing it."""
    if profile is not None and profile.token is not None:
        return Check("token", CheckStatus.OK, f"from the profile {profile.name!r}")
    if profile is None and os.environ.get("INDIGO_API_TOKEN"):
        return Check("token", CheckStatus.OK, "from INDIGO_API_TOKEN")
    named_by = TOKEN_FILE_VARIABLE if profile is None else f"profile {profile.name!r}"
    path = Path(os.environ[TOKEN_FILE_VARIABLE] if profile is None else profile.token_file).expanduser()
    try:
        read_token_file(str(path), named_by=named_by)
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
