"""`indigo-async manifest`: generate a manifest for local CSVs, with suggested columns."""

from __future__ import annotations

import glob
import os
import re
import shlex
from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext, suppress
from functools import partial
from pathlib import Path

import attrs
from rich.text import Text

from indigo_async._text import is_encodable
from indigo_async._validation import InputCheck
from indigo_async._version import __version__
from indigo_async.cli.client import resolve_settings
from indigo_async.cli.errors import ErrorReport
from indigo_async.cli.exit_codes import ExitCode
from indigo_async.cli.manifest.generate import DraftJob, DraftSteps, write_json_lines, write_yaml
from indigo_async.cli.options.common import CONNECTION
from indigo_async.cli.render.live import redrawn
from indigo_async.cli.render.output import Output
from indigo_async.cli.report.formatting import format_count
from indigo_async.cli.signals import run_async
from indigo_async.errors import InvalidInputError
from indigo_async.files import ColumnSuggestion, suggest_columns
from indigo_async.files.csv.formats import KINDS_BY_SUFFIX

__all__ = ["generate_manifest"]

_CSV_SUFFIXES = {".csv", ".tsv", ".txt"}
_YAML_SUFFIXES, _JSON_LINES_SUFFIXES = (".yaml", ".yml"), (".jsonl", ".ndjson")
_PLACEHOLDER = re.compile(r"\{([^{}]*)\}")
_SHOWN = 10
_REDRAW_INTERVAL = 0.5


def generate_manifest(
    csvs: Sequence[str],
    customer: str,
    name: str,
    shown: Output,
    *,
    lookalike_size: int | None,
    exports: str | None,
    max_cost_cents: int | None,
    output: Path | None,
) -> ExitCode:
    """Write a manifest for CSVs to the file `output`, or show it without one, and say what to check."""
    check = InputCheck()
    _check_options(check, output, exports, max_cost_cents)
    files, left_out = _find_files(check, csvs)
    folder = Path() if output is None else output.parent
    steps = DraftSteps(
        lookalike_size=lookalike_size,
        exports=None if exports is None else _relative_path(Path(exports), folder),
        max_cost_cents=max_cost_cents or 0,
    )
    jobs = [_name_job(check, path, folder, customer, name) for path in files]
    _check_names(check, files, jobs, has_lookalikes=lookalike_size is not None)
    check.raise_if_invalid()
    jobs = run_async(partial(_add_columns, files, jobs, shown))
    _write(jobs, steps, left_out, output, shown)
    return _report(jobs, left_out, output, shown)


def _check_options(check: InputCheck, output: Path | None, exports: str | None, max_cost_cents: int | None) -> None:
    if max_cost_cents is not None:
        check.cents("--max-cost-cents", max_cost_cents)
        if exports is None:
            check.add("--max-cost-cents", "needs --exports: without it, nothing is exported")
    if output is None:
        return
    if output.suffix.lower() not in (*_YAML_SUFFIXES, *_JSON_LINES_SUFFIXES):
        check.add("--output", f"must end in {', '.join((*_YAML_SUFFIXES, *_JSON_LINES_SUFFIXES))}")
    if not output.parent.is_dir():
        check.add("--output", f"the folder {output.parent} does not exist")
    if os.path.lexists(output):
        check.add("--output", f"{output} exists and is not overwritten; choose another file, or delete it first")


def _find_files(check: InputCheck, arguments: Iterable[str]) -> tuple[list[Path], list[Path]]:
    """The CSVs, each once, and the files in folders that aren't CSVs."""
    files: dict[str, Path] = {}
    left_out: dict[str, Path] = {}
    for path in (path for argument in arguments for path in _expand(check, argument)):
        if not path.is_dir():
            files.setdefault(_absolute(path), path)
            continue
        inside = sorted(one for one in path.iterdir() if one.is_file() and not one.name.startswith("."))
        csvs = {one for one in inside if one.suffix.lower() in _CSV_SUFFIXES}
        for one in inside:
            (files if one in csvs else left_out).setdefault(_absolute(one), one)
        if not csvs:
            check.add(str(path), f"the folder has no files that end in {', '.join(sorted(_CSV_SUFFIXES))}")
    for path in files.values():
        if not path.exists():
            check.add("csv", f"there is no file {str(path)!r}")
        elif not is_encodable(str(path)):
            check.add("csv", f"{str(path)!a} has a name that is not valid Unicode: rename it")
    return list(files.values()), list(left_out.values())


def _expand(check: InputCheck, argument: str) -> list[Path]:
    """The path, or the paths that match a pattern, because Windows shells leave patterns to the program."""
    if os.path.lexists(argument) or not glob.has_magic(argument):
        return [Path(argument)]
    found = sorted(map(Path, glob.glob(argument, recursive=True)))  # noqa: PTH207 - Path.glob takes no absolute pattern
    if not found:
        check.add(argument, "no file matches this pattern")
    return found


def _absolute(path: Path) -> str:
    return os.path.abspath(path)  # noqa: PTH100 - without `..`, and without following links


def _name_job(check: InputCheck, path: Path, folder: Path, customer: str, name: str) -> DraftJob:
    values = {"file": path.stem, "folder": path.absolute().parent.name}
    return DraftJob(
        customer_id=_fill(check, "--customer", customer, {"folder": values["folder"]}),
        audience_name=_fill(check, "--name", name, values),
        csv=_relative_path(path, folder),
    )


def _fill(check: InputCheck, option: str, template: str, values: dict[str, str]) -> str:
    """Fill in a template. A value with spaces at its ends loses them."""
    unknown = [text for text in _PLACEHOLDER.findall(template) if text not in values]
    if unknown:
        message = f"unknown placeholder {{{unknown[0]}}}; use {', '.join(f'{{{known}}}' for known in values)}"
        if message not in {problem.message for problem in check.problems}:
            check.add(option, message)
        return ""
    text = _PLACEHOLDER.sub(lambda match: values[match[1]], template).strip()
    return check.text(option, text)


def _relative_path(path: Path, folder: Path) -> str:
    """A path as a manifest in this folder names it. An absolute one is kept."""
    if path.is_absolute():
        return path.as_posix()
    try:
        return Path(os.path.relpath(path, folder)).as_posix()
    except ValueError:  # another drive
        return path.absolute().as_posix()


def _check_names(check: InputCheck, files: Sequence[Path], jobs: Sequence[DraftJob], *, has_lookalikes: bool) -> None:
    """Check that no two audiences of a customer would have the same name."""
    first: dict[tuple[str, str], Path] = {}
    for path, job in zip(files, jobs, strict=True):
        for name in (job.audience_name, *([job.lookalike_name] if has_lookalikes else ())):
            other = first.setdefault((job.customer_id, name), path)
            if other is not path and name:
                check.add(
                    "--name",
                    f"{other} and {path} would both create an audience named {name!r} for customer "
                    f"{job.customer_id!r}; use {{folder}} in --name or in --customer, or rename one",
                )


async def _add_columns(files: Sequence[Path], jobs: Sequence[DraftJob], shown: Output) -> list[DraftJob]:
    """The jobs with suggested columns. A terminal shows how many CSVs were read."""
    completed: list[DraftJob] = []

    def render() -> Text:
        return Text(f"{len(completed):,} of {format_count(len(jobs), 'CSV')} read")

    is_shown = shown.can_redraw and not shown.quiet
    async with redrawn(shown.stderr, render, interval=_REDRAW_INTERVAL) if is_shown else nullcontext():
        for path, job in zip(files, jobs, strict=True):
            completed.append(await _add_suggestion(path, job))
    return completed


async def _add_suggestion(path: Path, job: DraftJob) -> DraftJob:
    try:
        suggestion: ColumnSuggestion = await suggest_columns(path)
    except InvalidInputError as error:
        return attrs.evolve(job, problem="; ".join(problem.message for problem in error.problems))
    return attrs.evolve(job, selections=suggestion.selections.by_field(), warnings=suggestion.warnings)


def _write(
    jobs: Sequence[DraftJob], steps: DraftSteps, left_out: Sequence[Path], output: Path | None, shown: Output
) -> None:
    as_json_lines = _is_json_lines(output, shown)
    lines = write_json_lines(jobs, steps) if as_json_lines else write_yaml(jobs, steps, list(_heading(jobs, left_out)))
    if output is None:
        shown.write_lines(lines)
        return
    with output.open("x", encoding="utf-8", newline="\n") as file:
        file.writelines(f"{line}\n" for line in lines)


def _is_json_lines(output: Path | None, shown: Output) -> bool:
    return shown.as_json if output is None else output.suffix.lower() in _JSON_LINES_SUFFIXES


def _heading(jobs: Sequence[DraftJob], left_out: Sequence[Path]) -> Iterator[str]:
    csvs = format_count(len(jobs), "CSV")
    yield f"Generated by indigo-async {__version__} for {csvs}. Check it, then try `run --check`."
    to_edit = sum(job.problem is not None for job in jobs)
    if to_edit:
        yield f"{format_count(to_edit, 'job needs', 'jobs need')} columns before `run` accepts this: search for EDIT."
    if left_out:
        yield f"Left out (not CSVs): {', '.join(map(_describe_other_file, left_out))}"


def _describe_other_file(path: Path) -> str:
    kind = KINDS_BY_SUFFIX.get(path.suffix.lower())
    return str(path) if kind is None else f"{path} ({kind[0]}: {kind[1]})"


def _report(jobs: Sequence[DraftJob], left_out: Sequence[Path], output: Path | None, shown: Output) -> ExitCode:
    """Say what was written and what to do next."""
    to_check = [job for job in jobs if job.warnings]
    has_comments = not _is_json_lines(output, shown)
    to_edit = [job for job in jobs if job.problem is not None]
    if output is not None:
        shown.write_json(
            {
                "type": "manifest",
                "path": str(output),
                "jobs": len(jobs),
                "to_check": len(to_check),
                "to_edit": len(to_edit),
                "left_out": [str(path) for path in left_out],
            }
        )
    if left_out:
        some = ", ".join(map(_describe_other_file, left_out[:_SHOWN]))
        more = f" and {len(left_out) - _SHOWN:,} more" if len(left_out) > _SHOWN else ""
        shown.note(f"Left out {format_count(len(left_out), 'file')} that are not CSVs: {some}{more}")
    where = "the manifest" if output is None else str(output)
    checks = ""
    if to_check:
        checks = (
            f"; {len(to_check):,} with something to check{' (search for CHECK)' if has_comments else ', see below'}"
        )
    shown.note(f"{format_count(len(jobs), 'job')} in {where}{checks}.")
    if not has_comments:
        _note_warnings(to_check, shown)
    if to_edit:
        message = f"no columns could be suggested for {format_count(len(to_edit), 'CSV')}, so `run` refuses {where}"
        jobs_to_edit = "this job, or delete it" if len(to_edit) == 1 else "these jobs, or delete them"
        advice = f"Add column_selections to {jobs_to_edit}"
        lines = [job.problem or "" for job in to_edit[:_SHOWN]]
        if len(to_edit) > _SHOWN:
            lines.append(f"and {len(to_edit) - _SHOWN:,} more{': search for EDIT' if has_comments else ''}")
        shown.error(
            ErrorReport(
                type="ManifestIncomplete",
                message=message,
                advice=advice,
                problems=tuple({"where": job.csv, "message": job.problem} for job in to_edit),
                text="\n".join([f"{message}. {advice}:", *lines]),
            )
        )
        return ExitCode.FAILED
    if output is not None:
        shown.note(_describe_next_step(output))
    return ExitCode.SUCCESS


def _describe_next_step(output: Path) -> str:
    """The command that checks the manifest, with what local CSVs need."""
    command = f"indigo-async run {shlex.quote(str(output))} --check"
    return (
        f"Next: {command}" if _is_server_local() else f"Next, with your bucket: {command} --publish s3://bucket/prefix"
    )


def _is_server_local() -> bool:
    with suppress(InvalidInputError):  # the next command reports it
        return resolve_settings(CONNECTION).is_loopback
    return False


def _note_warnings(jobs: Sequence[DraftJob], shown: Output) -> None:
    """Show what comments in YAML would say."""
    for job in jobs[:_SHOWN]:
        shown.note(f"  {job.csv}: {'; '.join(job.warnings)}")
    if len(jobs) > _SHOWN:
        shown.note(f"  and {len(jobs) - _SHOWN:,} more; write the manifest as YAML to see all")
