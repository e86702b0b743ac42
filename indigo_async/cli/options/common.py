"""The options that commands share, so that each is told once."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import AsyncGenerator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias, TypeVar

import attrs
from cyclopts import Group, Parameter, Token
from cyclopts.validators import Number

from indigo_async.cli.options.numbers import parse_whole_number
from indigo_async.cli.render.output import Output

if TYPE_CHECKING:
    from indigo_async.client import IndigoClient
    from indigo_async.events import Event, Listener

__all__ = [
    "CONNECTION",
    "OUTPUT",
    "WAITING",
    "AudienceId",
    "ConnectionOptions",
    "Customer",
    "OptionalCustomer",
    "OptionalWholeNumber",
    "OutputOptions",
    "WaitOptions",
    "WholeNumber",
    "open_client",
    "run_async",
]

T = TypeVar("T")

_POSITIVE = Number(gt=0)
_CONNECTION_GROUP = Group("Connection", sort_key=10)
_OUTPUT_GROUP = Group("Output", sort_key=11)


def _convert_whole_number(_: type, tokens: Sequence[Token]) -> int:
    """Convert an option's value; cyclopts by itself takes `50.00` for 50 and rounds `6192.9`."""
    return parse_whole_number(tokens[0].value)


WholeNumber: TypeAlias = Annotated[int, Parameter(converter=_convert_whole_number)]
"""What every option that takes a whole number is, an amount of money above all."""
OptionalWholeNumber: TypeAlias = Annotated[int | None, Parameter(converter=_convert_whole_number)]
AudienceId: TypeAlias = Annotated[str, Parameter(help="The audience's ID.")]
Customer: TypeAlias = Annotated[
    str, Parameter("--customer", help="The customer ID: any text that identifies your customer.")
]
OptionalCustomer: TypeAlias = Annotated[
    str | None,
    Parameter(
        "--customer",
        help="The customer ID; not needed for what was made in the app.",
    ),
]


@Parameter(name="*", group=_CONNECTION_GROUP)
@attrs.frozen(kw_only=True)
class ConnectionOptions:
    """Where the API is. The token is never an option, since other users of a machine can read those."""

    base_url: Annotated[
        str | None,
        Parameter(
            help="The API's address; else INDIGO_BASE_URL, else the public one. The token: INDIGO_API_TOKEN, "
            "or INDIGO_API_TOKEN_FILE, which names a file that holds it."
        ),
    ] = None


@Parameter(name="*", group=_CONNECTION_GROUP)
@attrs.frozen(kw_only=True)
class WaitOptions:
    """How long and how often to look at what is not done yet. Both are in seconds."""

    timeout: Annotated[
        float,
        Parameter(help="Seconds for the whole command; the server's work goes on.", validator=_POSITIVE),
    ] = 14_400.0
    poll_interval: Annotated[float, Parameter(help="Seconds between two looks.", validator=_POSITIVE)] = 5.0


@Parameter(name="*", group=_OUTPUT_GROUP)
@attrs.frozen(kw_only=True)
class OutputOptions:
    """What is written where."""

    json: Annotated[bool, Parameter(negative=(), help="One JSON object a line on stdout, for machines.")] = False
    quiet: Annotated[bool, Parameter(negative=(), help="Results and errors only.")] = False
    debug: Annotated[bool, Parameter(negative=(), help="Show tracebacks of errors, without secrets.")] = False

    def create_output(self) -> Output:
        """The output that these options ask for."""
        return Output(as_json=self.json, quiet=self.quiet)


CONNECTION = ConnectionOptions()
WAITING = WaitOptions()
OUTPUT = OutputOptions()


@asynccontextmanager
async def open_client(
    connection: ConnectionOptions, output: Output, *, poll_interval: float = 5.0, on_event: Listener | None = None
) -> AsyncGenerator[IndigoClient]:
    """An open client. Whatever happens in the block is told in lines of progress, and to `on_event`.

    Raises:
        InvalidInputError: no token, or an address that would send it in the clear.
    """
    from indigo_async.cli.render.events import make_event_printer  # noqa: PLC0415 - as above
    from indigo_async.client import IndigoClient  # noqa: PLC0415 - the help should not wait for the HTTP library
    from indigo_async.events import listen  # noqa: PLC0415 - as above

    narrate = make_event_printer(output)

    def report_event(event: Event) -> None:
        narrate(event)
        if on_event is not None:
            on_event(event)

    async with IndigoClient(base_url=connection.base_url, poll_interval=poll_interval) as client:
        with listen(report_event):
            yield client


def run_async(work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run a coroutine function to its end. SIGTERM ends it as Ctrl-C does: promptly, and tidily."""
    if threading.current_thread() is not threading.main_thread():  # signals are the main thread's alone
        return asyncio.run(work())

    def interrupt(*_: object) -> None:
        signal.raise_signal(signal.SIGINT)

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        return asyncio.run(work())
    finally:
        signal.signal(signal.SIGTERM, before)
