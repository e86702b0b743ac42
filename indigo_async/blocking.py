"""The recipes, batches and endpoints as plain functions, for scripts and notebooks without asyncio.

Functions and methods take the same arguments, return the same values and raise the same errors as those of the same
names in `indigo_async.workflows` and `indigo_async.IndigoClient`.

While a client is open, a thread runs its event loop:

- Threads may share a client, with its rate limits, connections and polling.
- Ctrl-C, or an exception from a signal handler, cancels the main thread's call. A purchase in flight is checked first
  (20 seconds at most). A second Ctrl-C ends the call without this check.
- `run_batch` reads jobs from an iterator lazily, in the thread that called it, so a generator may read them from a
  database.
- `on_event` and a token function are called in the client's thread. They must be quick, and must not call the client.
- In a notebook, create the client in one cell and use it in others. In a coroutine, use `indigo_async.IndigoClient`
  instead, because a blocking call would block the event loop.
- A client can't be used after a fork, such as in a `multiprocessing` pool: create one in each process.
"""

from __future__ import annotations

import inspect
import weakref
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Coroutine, Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Concatenate, Final, NoReturn, ParamSpec, Self, TypeVar, cast, overload

from indigo_async import client as asyncio_client
from indigo_async import workflows
from indigo_async._client_thread import ClientThread, RunInCaller
from indigo_async._redaction import hide_texts, secret
from indigo_async._validation import InputCheck
from indigo_async.events import Listener
from indigo_async.models import Audience, RecordId
from indigo_async.workflows import AudienceJob, BatchReport, ExportReceipt, PurchasedExport
from indigo_async.workflows.batches.batch import Jobs

__all__ = [
    "IndigoClient",
    "create_lookalike",
    "download_export",
    "export_audience",
    "run_batch",
    "run_job",
    "upload_and_match",
    "wait_for_column_selection",
    "wait_for_export",
    "wait_until_active",
]

P = ParamSpec("P")
T = TypeVar("T")

_NO_MORE_JOBS = object()
_MAY_HOLD_SECRETS = frozenset({"extra", "headers", "json", "params", "proxy", "token"})


def _takes_parameters_of(
    original: Callable[P, object],
) -> Callable[[Callable[..., None]], Callable[Concatenate[Any, P], None]]:
    """Give a method the parameters of a class or function, for type checkers and `help`."""

    def decorate(method: Callable[..., None]) -> Callable[Concatenate[Any, P], None]:
        own, *_ = inspect.signature(method).parameters.values()
        signature = inspect.signature(original)
        cast("Any", method).__signature__ = signature.replace(parameters=[own, *signature.parameters.values()])
        return method

    return decorate


def _blocking(
    function: Callable[Concatenate[asyncio_client.IndigoClient, P], Coroutine[Any, Any, T]],
    implementation: Callable[..., Coroutine[Any, Any, T]] | None = None,
) -> Callable[Concatenate[IndigoClient, P], T]:
    """The blocking version of a coroutine function, with its parameters and docstring.

    `implementation` is called instead of it. As `run_in_caller`, it gets a coroutine function that runs a function in
    the calling thread.
    """

    def call(client: IndigoClient, /, *args: P.args, **options: P.kwargs) -> T:
        # No variable may hold a plain signed URL.
        args = cast("Any", tuple(map(_hide, args)))
        options = cast("Any", _hide_options(options))
        _check_client(client)

        def work(run_in_caller: RunInCaller) -> Coroutine[Any, Any, T]:
            if implementation is None:
                return function(client._client, *args, **options)  # noqa: SLF001 # pyright: ignore[reportPrivateUsage] - of this module
            return implementation(client._client, *args, **options, run_in_caller=run_in_caller)  # noqa: SLF001 # pyright: ignore[reportPrivateUsage] - as above

        return client._thread.call(work)  # noqa: SLF001 # pyright: ignore[reportPrivateUsage] - as above

    return _documented_as(function, call)


def _view(
    function: Callable[Concatenate[asyncio_client.IndigoClient, P], asyncio_client.IndigoClient],
) -> Callable[Concatenate[IndigoClient, P], IndigoClient]:
    """The method that returns a view of a blocking client, from the one of a client."""

    def call(client: IndigoClient, /, *args: P.args, **options: P.kwargs) -> IndigoClient:
        options = cast("Any", _hide_options(options))
        view = object.__new__(IndigoClient)
        view.__dict__ |= vars(client) | {
            "_client": function(client._client, *args, **options),  # noqa: SLF001 # pyright: ignore[reportPrivateUsage] - of this module
            "_original": client,  # which is closed when it is forgotten
        }
        return view

    return _documented_as(function, call)


def _implemented_by(function: Callable[..., Any]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Replace a function that only declares overloads. Through `_blocking`, mypy would keep only the first one."""
    return lambda _: function


def _documented_as(original: Callable[..., object], function: Callable[P, T]) -> Callable[P, T]:
    """Give a function the name, the docstring and the signature of the original."""
    function.__name__, function.__qualname__ = original.__name__, original.__qualname__
    function.__doc__, function.__annotations__ = original.__doc__, original.__annotations__
    cast("Any", function).__signature__ = inspect.signature(original)
    return function


def _check_client(client: object) -> None:
    if not isinstance(client, IndigoClient):
        check, kind = InputCheck(), type(client)
        check.add("client", f"must be an indigo_async.blocking.IndigoClient, not {kind.__module__}.{kind.__qualname__}")
        check.raise_if_invalid()


def _hide(value: object) -> object:
    return secret(value) if isinstance(value, str) and "://" in value else value


def _hide_options(options: Mapping[str, Any]) -> dict[str, Any]:
    return {name: hide_texts(value) if name in _MAY_HOLD_SECRETS else _hide(value) for name, value in options.items()}


class IndigoClient:
    """A client for the Indigo audiences API in code without asyncio. It is open as soon as it is created.

    Close it with a `with` block or with `close()`. Otherwise it is closed when it is garbage-collected, or when the
    program ends. It has the same parameters, endpoints and errors as `indigo_async.IndigoClient`.
    """

    @_takes_parameters_of(asyncio_client.IndigoClient)
    def __init__(self, *args: Any, **options: Any) -> None:
        args = tuple(map(secret, args))
        options = _hide_options(options)
        self._client = asyncio_client.IndigoClient(*args, **options)
        self._thread = ClientThread(self._client)
        # Only `stop`: a garbage collection may happen in any thread, and must not wait.
        weakref.finalize(self, self._thread.stop).atexit = False

    def __repr__(self) -> str:
        client = getattr(self, "_client", None)  # missing if the arguments were invalid
        return "blocking.IndigoClient()" if client is None else f"blocking.{client!r}"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __reduce__(self) -> NoReturn:
        self._client.__reduce__()

    def close(self) -> None:
        """Close the client, and cancel calls in other threads. Purchases in flight are checked first."""
        self._thread.close()

    with_options: Final = _view(asyncio_client.IndigoClient.with_options)
    request: Final = _blocking(asyncio_client.IndigoClient.request)
    upload_csv: Final = _blocking(asyncio_client.IndigoClient.upload_csv)
    match_uploaded_csv: Final = _blocking(asyncio_client.IndigoClient.match_uploaded_csv)
    get_audience: Final = _blocking(asyncio_client.IndigoClient.get_audience)
    list_audiences: Final = _blocking(asyncio_client.IndigoClient.list_audiences)
    create_lookalike_audience: Final = _blocking(asyncio_client.IndigoClient.create_lookalike_audience)
    create_preview_csv_export: Final = _blocking(asyncio_client.IndigoClient.create_preview_csv_export)
    purchase_csv_export: Final = _blocking(asyncio_client.IndigoClient.purchase_csv_export)


async def _run_batch(
    client: asyncio_client.IndigoClient, jobs: Jobs, *, run_in_caller: RunInCaller, **options: Any
) -> BatchReport:
    if isinstance(jobs, Iterable) and not isinstance(jobs, (Sequence, AsyncIterable)):
        jobs = _read_in_caller(jobs, run_in_caller)
    return await workflows.run_batch(client, jobs, **options)


async def _read_in_caller(jobs: Iterable[AudienceJob], run_in_caller: RunInCaller) -> AsyncGenerator[AudienceJob]:
    """Read jobs in the calling thread, which may own what they are read from, such as a database cursor."""
    iterator = await run_in_caller(iter, jobs)
    while (job := await run_in_caller(next, iterator, _NO_MORE_JOBS)) is not _NO_MORE_JOBS:
        yield job


upload_and_match: Final = _blocking(workflows.upload_and_match)
create_lookalike: Final = _blocking(workflows.create_lookalike)
download_export: Final = _blocking(workflows.download_export)
run_job: Final = _blocking(workflows.run_job)
run_batch: Final = _blocking(workflows.run_batch, _run_batch)
wait_for_column_selection: Final = _blocking(workflows.wait_for_column_selection)
wait_until_active: Final = _blocking(workflows.wait_until_active)
wait_for_export: Final = _blocking(workflows.wait_for_export)


@overload
def export_audience(
    client: IndigoClient,
    /,
    audience: Audience | RecordId,
    *,
    customer_id: str | None,
    destination: Path | str,
    optional_field_types: Sequence[str] = (),
    max_cost_cents: int = 0,
    reuse_purchased: bool | None = None,
    allow_empty: bool = False,
    timeout: float = ...,
    on_event: Listener | None = None,
) -> ExportReceipt: ...
@overload
def export_audience(
    client: IndigoClient,
    /,
    audience: Audience | RecordId,
    *,
    customer_id: str | None,
    destination: None,
    optional_field_types: Sequence[str] = (),
    max_cost_cents: int = 0,
    reuse_purchased: bool | None = None,
    allow_empty: bool = False,
    timeout: float = ...,
    on_event: Listener | None = None,
) -> PurchasedExport: ...
@_implemented_by(_blocking(workflows.export_audience))
def export_audience(*_args: Any, **_options: Any) -> Any:
    """Declare the overloads. The decorator replaces this function."""
