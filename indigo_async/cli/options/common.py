"""Options shared by several commands."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, TypeAlias

import attrs
from cyclopts import Group, Parameter, Token
from cyclopts.validators import Number

if TYPE_CHECKING:
    from indigo_async.cli.render.output import Output

__all__ = [
    "CONNECTION",
    "OUTPUT",
    "PACING",
    "POSITIVE",
    "WAITING",
    "AudienceId",
    "ConnectionOptions",
    "Csv",
    "Customer",
    "NewAudienceName",
    "OptionalCustomer",
    "OptionalWholeNumber",
    "OutputOptions",
    "PacingOptions",
    "PollInterval",
    "Publish",
    "WaitOptions",
    "WholeNumber",
    "parse_whole_number",
]

_CONNECTION_GROUP = Group("Connection", sort_key=10)
_OUTPUT_GROUP = Group("Output", sort_key=11)
_WHOLE_NUMBER = re.compile(r"-?[0-9]{1,18}")
_MAX_SHOWN = 40

POSITIVE = Number(gt=0, lt=math.inf)


def parse_whole_number(text: str) -> int:
    """Parse an integer strictly: digits only, so that `50.00` (dollars?), `5,000` and `1e4` are rejected.

    Raises:
        ValueError: the text isn't a whole number, or has more than 18 digits.
    """
    if _WHOLE_NUMBER.fullmatch(text) is None:
        raise ValueError(f"must be a whole number, digits only, such as 20000, not {text[:_MAX_SHOWN]!r}")
    return int(text)


def _convert_whole_number(_: type, tokens: Sequence[Token]) -> int:
    """Convert an option's value. By default cyclopts reads `50.00` as 50 and rounds `6192.9`."""
    return parse_whole_number(tokens[0].value)


WholeNumber: TypeAlias = Annotated[int, Parameter(converter=_convert_whole_number)]
OptionalWholeNumber: TypeAlias = Annotated[int | None, Parameter(converter=_convert_whole_number)]
Csv: TypeAlias = Annotated[str, Parameter(help="The CSV: a local file, or a URL that the server can fetch.")]
NewAudienceName: TypeAlias = Annotated[
    str, Parameter("--name", help="The new audience's name, unique for this customer.")
]
AudienceId: TypeAlias = Annotated[str, Parameter(help="The audience's ID.")]
Customer: TypeAlias = Annotated[
    str, Parameter("--customer", help="The customer ID: any text that identifies your customer.")
]
OptionalCustomer: TypeAlias = Annotated[
    str | None, Parameter("--customer", help="The customer ID. Not needed for audiences made in the web app.")
]
Publish: TypeAlias = Annotated[
    str | None,
    Parameter(
        "--publish",
        help="Where to upload local CSVs while the server reads them: s3://bucket/prefix, gs://... or az://.... "
        "Not needed for a server on this machine.",
    ),
]
PollInterval: TypeAlias = Annotated[float, Parameter(help="Seconds between status checks.", validator=POSITIVE)]


@Parameter(name="*")
@attrs.frozen(kw_only=True)
class OutputOptions:
    """What to write and how."""

    json: Annotated[
        bool,
        Parameter(
            negative=(), group=_OUTPUT_GROUP, help="Write results to stdout and errors to stderr as JSON, one per line."
        ),
    ] = False
    quiet: Annotated[bool, Parameter(negative=(), group=_OUTPUT_GROUP, help="Show only results and errors.")] = False
    debug: Annotated[bool, Parameter(negative=(), group=_OUTPUT_GROUP, help="Show tracebacks, without secrets.")] = (
        False
    )

    def create_output(self) -> Output:
        """The `Output` for these options."""
        from indigo_async.cli.render.output import Output

        return Output(as_json=self.json, quiet=self.quiet)


@Parameter(name="*")
@attrs.frozen(kw_only=True)
class ConnectionOptions(OutputOptions):
    """Also where the API is. The token is never an option because other users of a machine can see command lines."""

    profile: Annotated[
        str | None,
        Parameter(
            group=_CONNECTION_GROUP,
            help="The profile whose token to use, from ~/.config/indigo-async/profiles.toml. Default: INDIGO_PROFILE.",
        ),
    ] = None
    base_url: Annotated[
        str | None,
        Parameter(
            group=_CONNECTION_GROUP,
            help="The API's base URL. Default: INDIGO_BASE_URL, or the public API. The token comes from "
            "INDIGO_API_TOKEN, from the file named by INDIGO_API_TOKEN_FILE, or from the profile.",
        ),
    ] = None
    proxy: Annotated[
        str | None,
        Parameter(
            group=_CONNECTION_GROUP,
            help="An HTTP proxy for all requests: http://host:port. Default: INDIGO_PROXY, HTTPS_PROXY or "
            "ALL_PROXY; NO_PROXY lists exceptions. Set a URL with a password in a variable, not here.",
        ),
    ] = None


@Parameter(name="*")
@attrs.frozen(kw_only=True)
class PacingOptions:
    """Upper limits for requests; see `Pacing`."""

    requests_per_second: Annotated[
        float | None,
        Parameter(
            group=_CONNECTION_GROUP,
            help="Send at most this many requests per second. Default: no limit other than the server's own, which "
            "is detected.",
            validator=POSITIVE,
        ),
    ] = None
    max_concurrency: Annotated[
        WholeNumber,
        Parameter(group=_CONNECTION_GROUP, help="The most requests in flight at the same time.", validator=POSITIVE),
    ] = 64


@Parameter(name="*")
@attrs.frozen(kw_only=True)
class WaitOptions(ConnectionOptions):
    """Also how long to wait and how often to check, in seconds."""

    timeout: Annotated[
        float,
        Parameter(
            group=_CONNECTION_GROUP,
            help="Seconds to wait at most. The server continues its work after a timeout.",
            validator=POSITIVE,
        ),
    ] = 14_400.0
    poll_interval: Annotated[PollInterval, Parameter(group=_CONNECTION_GROUP)] = 5.0


OUTPUT = OutputOptions()
CONNECTION = ConnectionOptions()
PACING = PacingOptions()
WAITING = WaitOptions()
