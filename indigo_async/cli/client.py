"""What commands need to call the API: an open client, and URLs for local CSVs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path

from indigo_async._extras import require_extra
from indigo_async._listeners import listen
from indigo_async._settings import Settings
from indigo_async._transport.cancellation import run_in_thread
from indigo_async._transport.outage import wait_out_outages
from indigo_async._transport.pacing import Pacing
from indigo_async._validation import InputCheck
from indigo_async.cli.options.common import PACING, ConnectionOptions, PacingOptions, WaitOptions
from indigo_async.cli.render.audiences import audience_to_json, render_audience
from indigo_async.cli.render.events import describe_event
from indigo_async.cli.render.output import Output
from indigo_async.cli.signals import run_async
from indigo_async.client import IndigoClient
from indigo_async.errors import InvalidInputError, MissingPackageError, Problem, WaitTimeoutError
from indigo_async.events import Event, Listener, Stage
from indigo_async.files import LocalPublisher, Publisher
from indigo_async.models import Audience
from indigo_async.workflows.recipes.match import check_csv, inspect_input, is_url

__all__ = [
    "create_and_show",
    "create_client",
    "explicit_proxy",
    "open_client",
    "open_publisher",
    "open_store",
    "publish_csv",
    "read_audience",
    "require_fence_extra",
    "resolve_settings",
]

_ANY_TOKEN = "none"  # noqa: S105 - a placeholder that is sent nowhere
_MIN_SECONDS_LEFT = 0.001


def create_client(
    options: ConnectionOptions,
    pacing: PacingOptions = PACING,
    *,
    poll_interval: float = 5.0,
    on_event: Listener | None = None,
) -> IndigoClient:
    """The client for a command's options; the caller opens it.

    Raises:
        InvalidInputError: no token, or a base URL that would send it unencrypted.
    """
    return IndigoClient(
        profile=options.profile,
        base_url=options.base_url,
        proxy=options.proxy,
        pacing=Pacing(max_concurrency=pacing.max_concurrency, requests_per_second=pacing.requests_per_second),
        poll_interval=poll_interval,
        on_event=on_event,
    )


@asynccontextmanager
async def open_client(
    options: ConnectionOptions,
    output: Output,
    pacing: PacingOptions = PACING,
    *,
    poll_interval: float = 5.0,
    on_event: Listener | None = None,
) -> AsyncGenerator[IndigoClient]:
    """An open client. Events inside the block are printed as progress and passed to `on_event`.

    Raises:
        InvalidInputError: no token, or a base URL that would send it unencrypted.
    """

    def report_event(event: Event) -> None:
        if (message := describe_event(event)) is not None:
            output.note(message)
        if on_event is not None:
            on_event(event)

    async with create_client(options, pacing, poll_interval=poll_interval) as client:
        with listen(report_event):
            yield client


def create_and_show(
    create: Callable[[IndigoClient], Awaitable[Audience]], output: Output, options: WaitOptions
) -> Audience:
    """Run a coroutine that creates an audience, and show the audience."""

    async def work() -> Audience:
        async with open_client(options, output, poll_interval=options.poll_interval) as client:
            return await create(client)

    audience = run_async(work)
    output.write_json(audience_to_json(audience))
    output.show(render_audience(audience))
    return audience


async def read_audience(
    client: IndigoClient, audience_id: str, customer: str | None, *, stage: Stage, seconds: float
) -> tuple[Audience, float]:
    """Read the audience that a command is about. Also returns how many of its seconds are left.

    Raises:
        WaitTimeoutError: the server did not respond within that time.
        ApiError, ResponseDecodeError, CustomerMismatchError, RecordMismatchError: it can't be read.
    """
    clock = asyncio.get_running_loop().time
    started_at = clock()
    try:
        with wait_out_outages():
            async with asyncio.timeout(seconds):
                audience = await client.get_audience(audience_id, customer)
    except TimeoutError:
        message = f"audience {audience_id} could not be read within {seconds:g} s; nothing was requested or purchased"
        raise WaitTimeoutError(message, stage=stage) from None
    return audience, max(_MIN_SECONDS_LEFT, seconds - (clock() - started_at))


@asynccontextmanager
async def open_publisher(client: IndigoClient, publish: str | None) -> AsyncGenerator[Publisher | None]:
    """The publisher for local CSVs: an object store, or loopback for a server on this machine; otherwise None.

    Raises:
        InvalidInputError: see `open_store`.
    """
    if publish is not None:
        yield open_store(publish, explicit_proxy(client))
    elif client.settings.is_loopback:
        yield LocalPublisher()
    else:
        yield None


def explicit_proxy(client: IndigoClient) -> str | None:
    """The proxy of `--proxy` or the profile, which object stores use, too."""
    proxy = client.transport.http.proxies.explicit
    return None if proxy is None else proxy.url


def open_store(publish: str, proxy: str | None) -> Publisher:
    """The publisher for `--publish`.

    Raises:
        InvalidInputError: `publish` isn't the URL of an object store, or the extra `publish` is not installed.
    """
    from indigo_async.files.publishing.object_store import ObjectStorePublisher  # noqa: PLC0415 - slow to import

    _require_publish_extra("--publish")
    return ObjectStorePublisher(publish, proxy=proxy)


def require_fence_extra(fence: str) -> None:
    """Check that what `--fence` needs is installed.

    Raises:
        InvalidInputError: the fence is in a bucket, and the extra `publish` is not installed.
    """
    if "://" in fence:
        _require_publish_extra("--fence")


def _require_publish_extra(option: str) -> None:
    try:
        require_extra("publish", option)
    except MissingPackageError:
        message = "needs an extra that is not installed: pip install 'indigo-async[cli,publish]'"
        raise InvalidInputError([Problem(option, message)]) from None


def resolve_settings(options: ConnectionOptions) -> Settings:
    """The settings for a command that sends nothing and needs no token.

    Raises:
        InvalidInputError: the base URL is invalid, or the profile can't be used.
    """
    try:
        return Settings.resolve(None, options.base_url, profile=options.profile)
    except InvalidInputError as error:
        problems = [problem for problem in error.problems if problem.where != "token"]
        if problems:
            raise InvalidInputError(problems) from None
    return Settings.resolve(_ANY_TOKEN, options.base_url)


async def publish_csv(
    stack: AsyncExitStack, client: IndigoClient, csv: str, publisher: Publisher | None, output: Output
) -> str:
    """The CSV's URL, after warnings about the CSV. A local file is published until the stack is closed.

    Raises:
        InvalidInputError: the CSV is neither a URL nor a file that can be published.
    """
    check = InputCheck()
    await run_in_thread(partial(check_csv, check, csv, can_publish=publisher is not None))
    check.raise_if_invalid()
    for warning in (await inspect_input(client, csv, {})).warnings:
        output.note(f"warning: {warning}")
    if is_url(csv) or publisher is None:
        return csv
    return await stack.enter_async_context(publisher.publish(Path(csv)))
