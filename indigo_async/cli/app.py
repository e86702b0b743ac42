"""The command-line application: its commands and help texts, and how they end."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence

from cyclopts import App, Parameter

from indigo_async._version import __version__
from indigo_async.cli.exit_codes import EXIT_CODES_HELP, ExitCode
from indigo_async.cli.render.console import create_help_console, writing_results

__all__ = ["app", "run"]

# Their help is here, so that `indigo-async --help` imports none of them. A command imports what it does when it runs.
_COMMANDS = {
    "columns": "Suggest which columns of a CSV to match by, with the reasons.",
    "manifest": """\
Generate a manifest for local CSVs, with suggested columns, for `run`.

The manifest permits no spending unless you pass --max-cost-cents. Comments say what to check. If no columns can be
suggested for a CSV, its job is marked with EDIT, and `run` refuses the manifest until you add its columns.

  indigo-async manifest 'lists/*.csv' --customer 42 --output jobs.yaml""",
    "upload": """\
Upload a CSV and wait until the server has read it, without matching it. `match` does both.

Each upload creates another unnamed audience, which is free.""",
    "match": """\
Match a CSV to the voter file and wait for the result.

If an audience with this name was already made from the same CSV, it is reused.

  indigo-async match donors.csv --customer 42 --name Donors \\
      --required first_name='First Name' --required last_name='Last Name' \\
      --optional zip=Zip

Fields: first_name, last_name, full_name, city, state, zip, phone, dob, address and id. At least one must be required.
An address must be optional. An id must be required; it isn't matched, only passed through to exports.""",
    "lookalike": """\
Create a lookalike of an audience that was matched from a CSV, and wait for the result.

If an audience with this name and the same base already exists, it is reused.

  indigo-async lookalike aud_1 --customer 42 --name 'Donors lookalike' \\
      --size 20000 --state PA --state OH""",
    "export": """\
Price an export of an audience, purchase it if it costs no more than the limit, and download its CSV.

Without --max-cost-cents, only free exports are purchased: for others, the command shows the price and exits with 3.
Running the command again downloads what was purchased and purchases nothing, except with --buy-another. --export-id
never purchases.

  indigo-async export aud_1 --customer 42 --out donors.csv --field phone \\
      --max-cost-cents 80000""",
    "run": """\
Run the jobs of a manifest concurrently: match, create a lookalike, price, purchase within limits, download.

Run the command again to resume: nothing is purchased twice. Ctrl-C stops it cleanly.
"Manifests" in the documentation describes the format.

  indigo-async run jobs.yaml --budget-cents 5000000 --publish s3://bucket/prefix""",
    "quote": """\
Price the exports of a manifest by customer, without purchasing anything.

Only existing audiences have prices, so this uploads, matches, creates lookalikes and previews exports on the server,
which is free. A later `run` of the same manifest purchases these previews.""",
    "worker": """\
Work on jobs started with `run --temporal`, until Ctrl-C or SIGTERM. Start one worker per machine.

When it stops, it finishes purchases and downloads in flight and hands waiting jobs over to other workers. See
"Temporal" in the documentation.

  indigo-async worker --temporal 127.0.0.1:7233 --exports s3://bucket/exports""",
    "jobs": """\
Show the jobs of a batch that `run --temporal` started: state, stage and error of each.

Needs no worker. The stages of running jobs are as old as the last heartbeat of their worker. Without --temporal,
TEMPORAL_ADDRESS is used.

  indigo-async jobs jobs.yaml-1a2b3c --state failed --customer 42""",
    "drop": """\
Stop one running job of a batch that `run --temporal` started. The others continue.

The outcome of a purchase in flight is checked first. To run the job after all, run the batch again.

  indigo-async drop jobs.yaml-1a2b3c 42/Donors""",
    "cancel": """\
Cancel a batch that `run --temporal` started, with all of its jobs.

The outcomes of purchases in flight are checked first, and counted in the budget. To run the jobs that are not done,
run the batch again.

  indigo-async cancel jobs.yaml-1a2b3c""",
    "watch": """\
Show audiences until each is done: active, failed, or waiting for a column selection.

Changes nothing on the server. With --json, writes a line per change.""",
    "doctor": """\
Check everything that the other commands need: versions, token, proxy, TLS, clock and journal folder.

Changes nothing on the server.""",
    "audiences": "List the audiences of a customer, or of the whole organization.",
    "audience": "Show one audience with its exports.",
    "report": "Summarize a batch from its journal.",
    "demo": "Run every recipe for three customers at once on a local sandbox. Needs no account and no network.",
    "sandbox": "Serve the API on this machine until Ctrl-C. Prints the address and token to use.",
}


def _reflow(text: str) -> str:
    """Join the lines of each paragraph, so that help fits the terminal. Indented lines (examples) are kept."""
    return re.sub(r"(?<=\S)\n(?=\S)", " ", text)


def _format_default(value: object) -> str | None:
    """The default to show in help; None hides it."""
    return None if value is None or value is False or value == () else str(value)


app: App = App(
    name="indigo-async",
    help="Match lists to the voter file, create lookalikes, and price, purchase and download exports.",
    help_epilogue=EXIT_CODES_HELP,
    help_format="plaintext",
    default_parameter=Parameter(negative_iterable=(), show_default=_format_default),
    version=__version__,
    suppress_keyboard_interrupt=False,
)
for _name, _help in _COMMANDS.items():
    app.command(f"indigo_async.cli.commands.{_name}:{_name}", name=_name, help=_reflow(_help))
app.command(
    "indigo_async.cli.completion:install_completion",
    name="--install-completion",
    help="Install tab completion for bash, zsh or fish.",
)


def run(arguments: Sequence[str] | None = None) -> int:
    """Run a command, print its error if it fails, and return the exit code. Uses `sys.argv` by default."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    try:
        result: object = app(
            arguments,
            console=create_help_console(),
            exit_on_error=False,
            print_error=False,
            result_action="return_value",
        )
        with writing_results():
            sys.stdout.flush()
    except (Exception, KeyboardInterrupt, BaseExceptionGroup) as error:  # noqa: BLE001 - shown as messages
        from indigo_async.cli.failure import show_failure  # noqa: PLC0415 - most commands succeed

        return show_failure(error, arguments, app)
    return result if isinstance(result, int) else ExitCode.SUCCESS
