"""The API's seven endpoints, one typed coroutine each; `CustomerClient` has them with the customer ID bound."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from types import TracebackType
from typing import TYPE_CHECKING, Any, NoReturn, Self, TypeVar

import aiohttp
import attrs

from indigo_async._filters import check_filters
from indigo_async._listeners import combine_listeners
from indigo_async._redaction import SecretBytes, secret
from indigo_async._settings import Settings
from indigo_async._tokens import TokenSource
from indigo_async._transport import codec
from indigo_async._transport.endpoints import (
    CREATE_LOOKALIKE,
    CREATE_PREVIEW,
    GET_AUDIENCE,
    LIST_AUDIENCES,
    MATCH_UPLOADED_CSV,
    PURCHASE_EXPORT,
    UPLOAD_CSV,
    check_customer,
    check_record_id,
    decode_response,
)
from indigo_async._transport.pacing import Pacing
from indigo_async._transport.pages import Page
from indigo_async._transport.proxies import Proxies
from indigo_async._transport.responses import Endpoint
from indigo_async._transport.retry import RetryPolicy
from indigo_async._transport.transport import SendState, Transport
from indigo_async._validation import InputCheck
from indigo_async.errors import ClientNotOpenError
from indigo_async.events import Listener
from indigo_async.inputs import ColumnSelectionsInput, LookalikeFiltersInput
from indigo_async.logs import set_up_logging
from indigo_async.models import Audience, CsvExport, RecordId

if TYPE_CHECKING:
    from indigo_async._polling.poller import Poller

__all__ = ["CustomerClient", "IndigoClient"]

T = TypeVar("T")

_MIN_POLL_INTERVAL = 1.0
_MAX_CONCURRENT_DOWNLOADS = 16


class IndigoClient:
    """A client for the Indigo audiences API: `async with IndigoClient(token) as client:`.

    One client serves a whole process: everything that uses it shares its rate limits, connections and polling.

    Every endpoint raises:

    - `InvalidInputError` before anything is sent, with all problems at once.
    - `ApiError` or a subclass after an error response.
    - `TransportError` without a usable response. If the server may have processed a POST, it is an
      `AmbiguousOutcomeError`.
    - `ResponseDecodeError` if the response doesn't have the documented shape.
    - `CustomerMismatchError` or `RecordMismatchError` if the response is about another customer or record.
    - `ClientNotOpenError` outside `async with`, or in an event loop other than the one that opened the client.

    Args:
        token: the API token, or a function or coroutine function that returns it. The function is called when the
            client is opened and again when the server rejects the token (401); the rejected request is then sent again.
            Default: the environment variable `INDIGO_API_TOKEN`, else the file that `INDIGO_API_TOKEN_FILE` names.
        profile: the profile that has the token, for people with several; see below. Default: `INDIGO_PROFILE`.
        base_url: the API's URL. Default: `INDIGO_BASE_URL`, else the public API. Must be https, except on loopback.
        timeout: seconds for one attempt of a request, including the connection.
        retry: how often and how long a request is tried.
        pacing: limits for concurrent requests and requests per second.
        poll_interval: seconds between two status checks of an audience; at least 1, except on loopback. After 60
            intervals the checks become rarer, up to 30 seconds apart.
        session: your own aiohttp session, which is not closed. Its own settings decide about proxies and certificates.
            Default: the client creates one.
        proxy: the URL of an HTTP proxy for all requests, `http://user:password@host:port`. Default: what
            `INDIGO_PROXY`, `HTTPS_PROXY`, `HTTP_PROXY` or `ALL_PROXY` name, unless `NO_PROXY` excludes the host.
        on_event: called with every event on this client, including requests: see `indigo_async.events`. To log them,
            pass `indigo_async.logs.log_events`, or set `INDIGO_LOG` to `info` or `debug`.

    Profiles are tables of a TOML file that only you can read (mode 600), `~/.config/indigo-async/profiles.toml` or
    what `INDIGO_PROFILES_FILE` names. Each has a `token` or a `token_file`, and may have a `base_url` and a `proxy`:

        [acme]
        token = "..."

    `INDIGO_BASE_URL` and `INDIGO_PROXY` override a profile. An `INDIGO_API_TOKEN` that isn't the profile's token is an
    error, so that the wrong account never pays. The file is read when the client is created.

    Raises:
        InvalidInputError: there is no token, an argument is invalid, or the profile can't be used.
    """

    download_slots: asyncio.Semaphore
    """Bounds the concurrent downloads of exports."""

    def __init__(
        self,
        token: str | TokenSource | None = None,
        *,
        profile: str | None = None,
        base_url: str | None = None,
        timeout: float = 60.0,
        retry: RetryPolicy | None = None,
        pacing: Pacing | None = None,
        poll_interval: float = 5.0,
        session: aiohttp.ClientSession | None = None,
        proxy: str | None = None,
        on_event: Listener | None = None,
    ) -> None:
        token, proxy = secret(token), secret(proxy)
        self.settings: Settings = Settings.resolve(token, base_url, profile=profile)
        check = InputCheck()
        timeout = check.seconds("timeout", timeout)
        poll_interval = check.seconds("poll_interval", poll_interval)
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
            max_probe_interval=self.poll_interval,
            session=session,
            proxies=Proxies.resolve(proxy, profile=self.settings.profile),
            on_event=combine_listeners(on_event, set_up_logging()),
        )
        self.purchased_exports: dict[str, frozenset[str] | None] = {}
        """Exports that this client purchased, by ID as text, with the paid field types requested (None: unknown)."""
        self.exit_stack: AsyncExitStack = AsyncExitStack()
        """What is closed with the client, in reverse order."""
        self.poller: Poller | None = None
        """The loop behind all waits on this client; created by `indigo_async._polling`, which is a layer above."""

    def __repr__(self) -> str:
        settings = getattr(self, "settings", None)  # missing if the arguments were invalid
        if settings is None:
            return "IndigoClient()"
        profile = f", profile={settings.profile.name!r}" if settings.profile is not None else ""
        return f"IndigoClient(base_url={settings.base_url!r}{profile})"

    async def __aenter__(self) -> Self:
        self._forget_closed_loop()
        await self.transport.open()
        self.download_slots = asyncio.Semaphore(_MAX_CONCURRENT_DOWNLOADS)
        self.exit_stack.push_async_callback(self.transport.close)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._forget_closed_loop()
        self.transport.http.require_own_loop()
        await self.exit_stack.aclose()

    def _forget_closed_loop(self) -> None:
        """Drop resources of an event loop that was closed while the client was open, as in a notebook."""
        if self.transport.http.forget_closed_loop():
            self.exit_stack.pop_all()
            self.poller = None

    def __reduce__(self) -> NoReturn:
        raise ClientNotOpenError("a client cannot be pickled or copied: create one in each process")

    def for_customer(self, customer_id: str) -> CustomerClient:
        """Return the same endpoints with the customer ID bound.

        Raises:
            InvalidInputError: the customer ID is empty or not text.
        """
        check = InputCheck()
        customer_id = check.customer_id(customer_id)
        check.raise_if_invalid()
        return CustomerClient(self, customer_id)

    async def upload_csv(self, *, customer_id: str, url: str) -> Audience:
        """Have the server fetch a CSV of people. Returns a new audience, whose CSV is read in the background.

        Args:
            customer_id: any text that identifies your customer. All later requests about this audience need it.
            url: an https URL from which the server can fetch the CSV, such as a presigned URL.

        API reference: POST /upload_csv.
        """
        url = secret(url)
        check = InputCheck()
        customer_id = check.customer_id(customer_id)
        check.url("url", url)
        check.raise_if_invalid()
        body = _encode_body({"customerId": customer_id, "url": url})
        return _decode_audience(await self.transport.call(UPLOAD_CSV, body=body), UPLOAD_CSV, customer_id)

    async def match_uploaded_csv(
        self, *, audience_id: RecordId, customer_id: str, audience_name: str, column_selections: ColumnSelectionsInput
    ) -> Audience:
        """Match an uploaded CSV to the voter file. Returns the audience, which becomes `ACTIVE` once it is matched.

        Args:
            audience_id: the audience that `upload_csv` returned; its CSV must be `READY_FOR_COLUMN_SELECTION`.
            customer_id: the customer for whom the CSV was uploaded.
            audience_name: unique among this customer's audiences.
            column_selections: the CSV column for each field, and whether a match must agree on it.

        API reference: POST /match_uploaded_csv.
        """
        check = InputCheck()
        audience_id = check.record_id("audience_id", audience_id)
        customer_id = check.customer_id(customer_id)
        audience_name = check.text("audience_name", audience_name)
        selections = check.column_selections(column_selections)
        check.raise_if_invalid()
        body = {
            # The reference spells it audienceID for this endpoint only; servers may read either (inferred).
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
        """Return an audience with its exports.

        `customer_id` is required for audiences created through the API, but not for those created in the app.

        Raises:
            NotFoundError: this customer has no audience with this ID.

        API reference: GET /audience.
        """
        check = InputCheck()
        audience_id = check.record_id("audience_id", audience_id)
        customer_id = check.optional_customer_id(customer_id)
        check.raise_if_invalid()
        query = {"audienceId": str(audience_id)}
        if customer_id is not None:
            query["customerId"] = customer_id
        audience = _decode_audience(await self.transport.call(GET_AUDIENCE, query=query), GET_AUDIENCE, customer_id)
        check_record_id(GET_AUDIENCE, "audience", requested=audience_id, received=audience.id)
        return audience

    async def list_audiences(self, customer_id: str | None = None) -> list[Audience]:
        """Return all audiences of a customer, or of the whole organization if there is no `customer_id`.

        Links to further pages are followed. A warning is logged if the list says that there is more, but not how to
        read it.

        API reference: GET /audiences.
        """
        check = InputCheck()
        customer_id = check.optional_customer_id(customer_id)
        check.raise_if_invalid()
        first_query = {} if customer_id is None else {"customerId": customer_id}
        trail = self.transport.start_list(LIST_AUDIENCES, first_query)
        query: Mapping[str, str] | None = first_query
        audiences: dict[str, Audience] = {}  # pages may repeat rows that moved
        while query is not None:
            rows, page = await self._read_page(query)
            for audience in rows:
                check_customer(LIST_AUDIENCES, customer_id, audience.customer_id)
                audiences.setdefault(str(audience.id), audience)
            query = trail.follow(page)
        if trail.unread is not None:
            self.transport.warn_about_unread(LIST_AUDIENCES, trail.unread)
        return list(audiences.values())

    async def _read_page(self, query: Mapping[str, str]) -> tuple[list[Audience], Page]:
        headers: list[Mapping[str, str]] = []
        document = await self.transport.call(LIST_AUDIENCES, query=query, on_headers=headers.append)
        try:
            rows = decode_response(codec.decode_audiences, document, LIST_AUDIENCES)
            envelope = codec.outline(document)
        finally:
            del document  # as in `decode_response`
        first_id = str(rows[0].id) if rows else None
        return rows, Page(envelope=envelope, headers=headers[-1], row_count=len(rows), first_id=first_id)

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
        """Create a lookalike of an audience matched from a CSV. Returns it; it becomes `ACTIVE` once it is built.

        Args:
            base_audience_id: an audience with at least 1,000 matched people.
            customer_id: the new audience's customer; the same as the base audience's, if that has one.
            size: the number of people.
            audience_name: unique among this customer's audiences.
            include_original_audience: whether to include the people of the base audience. None: the server's default.
            filters: where the people live; they must match all filters.

        API reference: POST /create_lookalike_audience.
        """
        check = InputCheck()
        base_audience_id = check.record_id("base_audience_id", base_audience_id)
        customer_id = check.customer_id(customer_id)
        size = check.positive_integer("size", size)
        audience_name = check.text("audience_name", audience_name)
        if include_original_audience is not None:
            include_original_audience = check.boolean("include_original_audience", include_original_audience)
        checked_filters = check_filters(check, filters)
        check.raise_if_invalid()
        body = {
            "baseAudienceId": base_audience_id,
            "customerId": customer_id,
            "size": size,
            "audienceName": audience_name,
            "includeOriginalAudience": include_original_audience,
            "filters": codec.encode_filters(checked_filters) if checked_filters is not None else None,
        }
        return _decode_audience(
            await self.transport.call(CREATE_LOOKALIKE, body=_encode_body(body)), CREATE_LOOKALIKE, customer_id
        )

    async def create_preview_csv_export(
        self, *, audience_id: RecordId, customer_id: str | None = None, optional_field_types: Sequence[str] = ()
    ) -> CsvExport:
        """Preview an export of an audience, free of charge. Returns it with its cost in cents.

        Args:
            audience_id: the audience to export.
            customer_id: required for audiences created through the API.
            optional_field_types: the paid fields to include besides the free ones: see `OptionalFieldType`.

        API reference: POST /create_preview_csv_export.
        """
        check = InputCheck()
        audience_id = check.record_id("audience_id", audience_id)
        customer_id = check.optional_customer_id(customer_id)
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
        """Purchase a previewed export: your organization is invoiced for its cost.

        The returned export has no `download_url` while the server prepares the CSV: `workflows.wait_for_export` waits
        for it.

        Args:
            export_id: the export that `create_preview_csv_export` returned.
            customer_id: required for audiences created through the API.

        Raises:
            AlreadyPurchasedError: the export was purchased before; this call charged nothing.
            AmbiguousOutcomeError, ServerError: the export may have been purchased. `workflows.export_audience` finds
                out.

        API reference: POST /purchase_csv_export.
        """
        return await send_purchase(self, export_id, customer_id, SendState())


@attrs.frozen
class CustomerClient:
    """The endpoints of an `IndigoClient` for one customer; created by `client.for_customer(...)`.

    Each method calls the one of the same name on `IndigoClient`; see there.
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


def get_poller(client: IndigoClient) -> Poller:
    """Return the client's polling loop, created on first use.

    Raises:
        ClientNotOpenError: the client is used outside `async with`.
    """
    from indigo_async._polling.api import AudienceApi  # noqa: PLC0415 - a client that never waits needs none
    from indigo_async._polling.poller import Poller  # noqa: PLC0415 - as above

    client.transport.require_open()
    if client.poller is None:
        # The poller must not refer to the client: a reference cycle would keep both alive.
        client.poller = Poller(AudienceApi(client.transport), client.exit_stack, interval=client.poll_interval)
    return client.poller


async def send_purchase(
    client: IndigoClient, export_id: RecordId, customer_id: str | None, send_state: SendState
) -> CsvExport:
    """Purchase an export, as `IndigoClient.purchase_csv_export` documents it, and track the request in `send_state`.

    Raises:
        SendTooLateError: nothing was sent before `send_state.send_by`.
    """
    check = InputCheck()
    export_id = check.record_id("export_id", export_id)
    customer_id = check.optional_customer_id(customer_id)
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


def _decode_audience(document: Any, endpoint: Endpoint, customer_id: str | None) -> Audience:
    try:
        audience = decode_response(codec.decode_audience, document, endpoint)
    finally:
        del document  # as in `decode_response`
    check_customer(endpoint, customer_id, audience.customer_id)
    return audience


def _decode_export(document: Any, endpoint: Endpoint, customer_id: str | None) -> CsvExport:
    try:
        export = decode_response(codec.decode_export, document, endpoint)
    finally:
        del document  # as in `decode_response`
    if export.audience is not None:
        check_customer(endpoint, customer_id, export.audience.customer_id)
    return export
