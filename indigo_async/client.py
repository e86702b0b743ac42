"""The API's seven endpoints, one typed coroutine each; `CustomerClient` has them with the customer ID bound."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

import aiohttp
import attrs

from indigo_async._redaction import SecretBytes, secret
from indigo_async._settings import Settings, TokenSource
from indigo_async._transport import codec
from indigo_async._transport.pacing import Pacing
from indigo_async._transport.responses import Endpoint
from indigo_async._transport.retry import RetryPolicy
from indigo_async._transport.transport import SendState, Transport
from indigo_async._validation import InputCheck
from indigo_async.errors import ApiError, CustomerMismatchError, RecordMismatchError, ResponseDecodeError
from indigo_async.events import Listener
from indigo_async.inputs import ColumnSelectionsInput, LookalikeFiltersInput
from indigo_async.models import Audience, CsvExport, RecordId

if TYPE_CHECKING:
    from indigo_async._polling.poller import Poller

__all__ = ["CustomerClient", "IndigoClient"]

T = TypeVar("T")

UPLOAD_CSV = Endpoint("POST", "/upload_csv")
MATCH_UPLOADED_CSV = Endpoint("POST", "/match_uploaded_csv")
GET_AUDIENCE = Endpoint("GET", "/audience")
LIST_AUDIENCES = Endpoint("GET", "/audiences")
CREATE_LOOKALIKE = Endpoint("POST", "/create_lookalike_audience")
CREATE_PREVIEW = Endpoint("POST", "/create_preview_csv_export")
PURCHASE_EXPORT = Endpoint("POST", "/purchase_csv_export")

_MIN_POLL_INTERVAL = 1.0
_MAX_CONCURRENT_DOWNLOADS = 16


class IndigoClient:
    """A connection to the Indigo audiences API, to be used as `async with IndigoClient(token) as client:`.

    One client serves a whole process: its pacing, its connections and its polling are shared by all that is awaited
    on it.

    Args:
        token: the API token, or a function (or coroutine function) that gives it: asked when the client is opened, and
            once more when the server refuses the token at hand, after which the refused request is sent again. Else the
            environment variable `INDIGO_API_TOKEN`, else the file that `INDIGO_API_TOKEN_FILE` names.
        base_url: the API's address; else `INDIGO_BASE_URL`, else the public one. HTTPS, but for loopback.
        timeout: seconds that one attempt of a request may take, connecting included.
        retry: how often and how long a request is tried.
        pacing: how many requests are under way at once.
        poll_interval: seconds between two status checks of an audience; at least 1, except on loopback. After 60
            intervals the checks become rarer, up to 30 seconds apart.
        session: the caller's own session, used and never closed; else one is made.
        on_event: told of everything that is done on this client, requests included, as values of
            `indigo_async.events`; `indigo_async.logs` has one for logging.

    Raises:
        InvalidInputError: no token, or an address that would send it in the clear.
    """

    download_slots: asyncio.Semaphore
    """Bounds the concurrent downloads of exports."""

    def __init__(
        self,
        token: str | TokenSource | None = None,
        *,
        base_url: str | None = None,
        timeout: float = 60.0,
        retry: RetryPolicy | None = None,
        pacing: Pacing | None = None,
        poll_interval: float = 5.0,
        session: aiohttp.ClientSession | None = None,
        on_event: Listener | None = None,
    ) -> None:
        token = secret(token)
        self.settings: Settings = Settings.resolve(token, base_url)
        check = InputCheck()
        check.seconds("timeout", timeout)
        check.seconds("poll_interval", poll_interval)
        check.raise_if_invalid()
        self.poll_interval: float = (
            poll_interval if self.settings.is_loopback else max(poll_interval, _MIN_POLL_INTERVAL)
        )
        self.transport: Transport = Transport(
            self.settings,
            timeout=timeout,
            retry=retry or RetryPolicy(),
            pacing=pacing or Pacing(),
            max_downloads=_MAX_CONCURRENT_DOWNLOADS,
            session=session,
            on_event=on_event,
        )
        self.purchased_exports: dict[str, frozenset[str] | None] = {}
        """Exports that this client purchased, by ID as text, with the paid field types requested (None: unknown)."""
        self.exit_stack: AsyncExitStack = AsyncExitStack()
        """What is closed with the client, the last first."""
        self.poller: Poller | None = None
        """The loop behind all waits on this client; created by `indigo_async._polling`, which is a layer above."""

    def __repr__(self) -> str:
        settings = getattr(self, "settings", None)  # there are none where the arguments were refused
        return f"IndigoClient(base_url={settings.base_url!r})" if settings is not None else "IndigoClient()"

    async def __aenter__(self) -> Self:
        await self.transport.open()
        self.download_slots = asyncio.Semaphore(_MAX_CONCURRENT_DOWNLOADS)
        self.exit_stack.push_async_callback(self.transport.close)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.exit_stack.aclose()

    def for_customer(self, customer_id: str) -> CustomerClient:
        """The same endpoints with the customer ID bound.

        Raises:
            InvalidInputError: the customer ID is no text, or empty.
        """
        check = InputCheck()
        check.customer_id(customer_id)
        check.raise_if_invalid()
        return CustomerClient(self, customer_id)

    async def upload_csv(self, *, customer_id: str, url: str) -> Audience:
        """Have the server fetch a CSV of people. Returns a stub audience, whose CSV is being read.

        Args:
            customer_id: any text that identifies your customer; needed again for everything about this audience.
            url: where the server can fetch the CSV: https, such as a presigned URL.

        Raises:
            InvalidInputError: before anything is sent.
            ApiError, TransportError, ResponseDecodeError, CustomerMismatchError, RecordMismatchError: see
                `indigo_async.errors`.

        Source: reference, "POST /upload_csv".
        """
        url = secret(url)
        check = InputCheck()
        check.customer_id(customer_id)
        check.url("url", url)
        check.raise_if_invalid()
        body = _encode_body({"customerId": customer_id, "url": url})
        return _decode_audience(await self.transport.call(UPLOAD_CSV, body=body), UPLOAD_CSV, customer_id)

    async def match_uploaded_csv(
        self, *, audience_id: RecordId, customer_id: str, audience_name: str, column_selections: ColumnSelectionsInput
    ) -> Audience:
        """Match an uploaded CSV to the voter file. Returns the audience, which is `ACTIVE` some time later.

        Args:
            audience_id: the stub that `upload_csv` returned; its CSV must be `READY_FOR_COLUMN_SELECTION`.
            customer_id: the customer that the CSV was uploaded for.
            audience_name: unique among this customer's audiences.
            column_selections: which CSV column holds which field, and whether a match must agree on it.

        Raises:
            InvalidInputError: before anything is sent, with every broken column rule.
            ApiError, TransportError, ResponseDecodeError, CustomerMismatchError, RecordMismatchError: see
                `indigo_async.errors`.

        Source: reference, "POST /match_uploaded_csv".
        """
        check = InputCheck()
        check.record_id("audience_id", audience_id)
        check.customer_id(customer_id)
        check.text("audience_name", audience_name)
        selections = check.column_selections(column_selections)
        check.raise_if_invalid()
        body = {
            # This endpoint alone spells it audienceID; a server that reads either is served. Source: contract.
            "audienceID": audience_id,
            "audienceId": audience_id,
            "customerId": customer_id,
            "audienceName": audience_name,
            "columnSelections": codec.encode_column_selections(selections),
        }
        return _decode_audience(
            await self.transport.call(MATCH_UPLOADED_CSV, body=_encode_body(body)), MATCH_UPLOADED_CSV, customer_id
        )

    async def get_audience(self, audience_id: RecordId, customer_id: str | None = None) -> Audience:
        """An existing audience, with its exports.

        `customer_id` is needed for an audience made through the API, and not for one made in the app.

        Raises:
            InvalidInputError: before anything is sent.
            NotFoundError: there is none with this ID for this customer.
            ApiError, TransportError, ResponseDecodeError, CustomerMismatchError, RecordMismatchError: see
                `indigo_async.errors`.

        Source: reference, "GET /audience".
        """
        check = InputCheck()
        check.record_id("audience_id", audience_id)
        check.customer_id(customer_id, optional=True)
        check.raise_if_invalid()
        query = {"audienceId": str(audience_id)}
        if customer_id is not None:
            query["customerId"] = customer_id
        audience = _decode_audience(await self.transport.call(GET_AUDIENCE, query=query), GET_AUDIENCE, customer_id)
        check_record_id(GET_AUDIENCE, "audience", requested=audience_id, received=audience.id)
        return audience

    async def list_audiences(self, customer_id: str | None = None) -> list[Audience]:
        """All audiences of a customer, or, without one, of the whole organisation.

        Raises:
            InvalidInputError: before anything is sent.
            ApiError, TransportError, ResponseDecodeError, CustomerMismatchError, RecordMismatchError: see
                `indigo_async.errors`.

        Source: reference, "GET /audiences".
        """
        check = InputCheck()
        check.customer_id(customer_id, optional=True)
        check.raise_if_invalid()
        query = {} if customer_id is None else {"customerId": customer_id}
        audiences = decode_response(
            codec.decode_audiences, await self.transport.call(LIST_AUDIENCES, query=query), LIST_AUDIENCES
        )
        for audience in audiences:
            _check_customer(LIST_AUDIENCES, customer_id, audience.customer_id)
        return audiences

    async def create_lookalike_audience(
        self,
        *,
        base_audience_id: RecordId,
        customer_id: str,
        size: int,
        audience_name: str,
        include_original_audience: bool | None = None,
        filters: LookalikeFiltersInput | None = None,
    ) -> Audience:
        """Grow a lookalike from a matched CSV audience. Returns it; it is `ACTIVE` some time later.

        Args:
            base_audience_id: an audience of at least 1,000 people matched from a CSV.
            customer_id: the new audience's customer; the base's own, where it has one.
            size: how many people are wanted.
            audience_name: unique among this customer's audiences.
            include_original_audience: whether the base's people are in it; None leaves it to the server.
            filters: where the people live; all must hold at once.

        Raises:
            InvalidInputError: before anything is sent.
            ApiError, TransportError, ResponseDecodeError, CustomerMismatchError, RecordMismatchError: see
                `indigo_async.errors`.

        Source: reference, "POST /create_lookalike_audience".
        """
        check = InputCheck()
        check.record_id("base_audience_id", base_audience_id)
        check.customer_id(customer_id)
        check.positive_integer("size", size)
        check.text("audience_name", audience_name)
        if include_original_audience is not None:
            check.boolean("include_original_audience", include_original_audience)
        wanted = check.filters(filters)
        check.raise_if_invalid()
        body = {
            "baseAudienceId": base_audience_id,
            "customerId": customer_id,
            "size": size,
            "audienceName": audience_name,
            "includeOriginalAudience": include_original_audience,
            "filters": codec.encode_filters(wanted) if wanted is not None else None,
        }
        return _decode_audience(
            await self.transport.call(CREATE_LOOKALIKE, body=_encode_body(body)), CREATE_LOOKALIKE, customer_id
        )

    async def create_preview_csv_export(
        self, *, audience_id: RecordId, customer_id: str | None = None, optional_field_types: Sequence[str] = ()
    ) -> CsvExport:
        """Price an export of an audience; this costs nothing. Returns it with its cost in cents.

        Args:
            audience_id: the audience to export.
            customer_id: needed for an audience made through the API.
            optional_field_types: the paid fields to add to the free ones; see `OptionalFieldType`.

        Raises:
            InvalidInputError: before anything is sent.
            ApiError, TransportError, ResponseDecodeError, CustomerMismatchError, RecordMismatchError: see
                `indigo_async.errors`.

        Source: reference, "POST /create_preview_csv_export".
        """
        check = InputCheck()
        check.record_id("audience_id", audience_id)
        check.customer_id(customer_id, optional=True)
        field_types = check.optional_field_types(optional_field_types)
        check.raise_if_invalid()
        body = {"audienceId": audience_id, "customerId": customer_id, "optionalFieldTypes": field_types}
        export = _decode_export(
            await self.transport.call(CREATE_PREVIEW, body=_encode_body(body)), CREATE_PREVIEW, customer_id
        )
        if export.audience is not None:
            check_record_id(CREATE_PREVIEW, "audience", requested=audience_id, received=export.audience.id)
        return export

    async def purchase_csv_export(self, *, export_id: RecordId, customer_id: str | None = None) -> CsvExport:
        """Buy a previewed export. Your organisation is invoiced for its cost.

        The answer has the `download_url`, or, where the server still prepares the CSV, none yet: then
        `workflows.wait_for_export` waits for it.

        Args:
            export_id: the export that `create_preview_csv_export` returned.
            customer_id: needed for an audience made through the API.

        Raises:
            InvalidInputError: before anything is sent.
            AlreadyPurchasedError: it was bought before; nothing was charged now.
            AmbiguousOutcomeError, ServerError: it may have been bought. `workflows.export_audience` finds out.
            ApiError, TransportError, ResponseDecodeError, CustomerMismatchError, RecordMismatchError: see
                `indigo_async.errors`.

        Source: reference, "POST /purchase_csv_export".
        """
        return await send_purchase(self, export_id, customer_id, SendState())


@attrs.frozen
class CustomerClient:
    """One customer's view of an `IndigoClient`; made by `client.for_customer(...)`.

    Each coroutine is that of `IndigoClient` by the same name, which documents it.
    """

    client: IndigoClient
    customer_id: str

    async def upload_csv(self, *, url: str) -> Audience:
        url = secret(url)
        return await self.client.upload_csv(customer_id=self.customer_id, url=url)

    async def match_uploaded_csv(
        self, *, audience_id: RecordId, audience_name: str, column_selections: ColumnSelectionsInput
    ) -> Audience:
        return await self.client.match_uploaded_csv(
            audience_id=audience_id,
            customer_id=self.customer_id,
            audience_name=audience_name,
            column_selections=column_selections,
        )

    async def get_audience(self, audience_id: RecordId) -> Audience:
        return await self.client.get_audience(audience_id, self.customer_id)

    async def list_audiences(self) -> list[Audience]:
        return await self.client.list_audiences(self.customer_id)

    async def create_lookalike_audience(
        self,
        *,
        base_audience_id: RecordId,
        size: int,
        audience_name: str,
        include_original_audience: bool | None = None,
        filters: LookalikeFiltersInput | None = None,
    ) -> Audience:
        return await self.client.create_lookalike_audience(
            base_audience_id=base_audience_id,
            customer_id=self.customer_id,
            size=size,
            audience_name=audience_name,
            include_original_audience=include_original_audience,
            filters=filters,
        )

    async def create_preview_csv_export(
        self, *, audience_id: RecordId, optional_field_types: Sequence[str] = ()
    ) -> CsvExport:
        return await self.client.create_preview_csv_export(
            audience_id=audience_id, customer_id=self.customer_id, optional_field_types=optional_field_types
        )

    async def purchase_csv_export(self, *, export_id: RecordId) -> CsvExport:
        return await self.client.purchase_csv_export(export_id=export_id, customer_id=self.customer_id)


async def send_purchase(
    client: IndigoClient, export_id: RecordId, customer_id: str | None, send_state: SendState
) -> CsvExport:
    """Purchase an export, as `IndigoClient.purchase_csv_export` documents it, and track the request in `send_state`.

    Raises:
        SendTooLateError: nothing was sent before `send_state.send_by`.
    """
    check = InputCheck()
    check.record_id("export_id", export_id)
    check.customer_id(customer_id, optional=True)
    check.raise_if_invalid()
    body = {"exportId": export_id, "customerId": customer_id}
    export = _decode_export(
        await client.transport.call(PURCHASE_EXPORT, body=_encode_body(body), send_state=send_state),
        PURCHASE_EXPORT,
        customer_id,
    )
    check_record_id(PURCHASE_EXPORT, "export", requested=export_id, received=export.id)
    client.purchased_exports.setdefault(str(export_id), None)
    return export


def _encode_body(values: Mapping[str, Any]) -> SecretBytes:
    return SecretBytes(codec.encode_body(values))


def decode_response(decode_document: Callable[[Any, str], T], document: Any, endpoint: Endpoint) -> T:
    """Decode a response. An error keeps no frame that holds the document: tracebacks may be printed with variables.

    Raises:
        ResponseDecodeError: see `decode_document`.
    """
    try:
        return decode_document(document, endpoint.name)
    except (ApiError, ResponseDecodeError) as error:
        unreadable = error.with_traceback(None)
    finally:
        del document
    raise unreadable from None


def _decode_audience(document: Any, endpoint: Endpoint, customer_id: str | None) -> Audience:
    try:
        audience = decode_response(codec.decode_audience, document, endpoint)
    finally:
        del document  # as in `decode_response`
    _check_customer(endpoint, customer_id, audience.customer_id)
    return audience


def _decode_export(document: Any, endpoint: Endpoint, customer_id: str | None) -> CsvExport:
    try:
        export = decode_response(codec.decode_export, document, endpoint)
    finally:
        del document  # as in `decode_response`
    if export.audience is not None:
        _check_customer(endpoint, customer_id, export.audience.customer_id)
    return export


def check_record_id(endpoint: Endpoint, record_kind: str, *, requested: RecordId, received: RecordId | None) -> None:
    """Compare the ID that was requested with the one in the response, as text, where there is one.

    Raises:
        RecordMismatchError: they differ.
    """
    if received is not None and str(requested) != str(received):
        raise RecordMismatchError(
            endpoint=endpoint.name, record_kind=record_kind, requested=requested, received=received
        )


def _check_customer(endpoint: Endpoint, requested: str | None, received: str | None) -> None:
    if requested is not None and received is not None and requested != received:
        raise CustomerMismatchError(endpoint=endpoint.name, requested=requested, received=received)
