"""The client: the API's seven endpoints, one typed coroutine each."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, NoReturn, Self

import aiohttp

from indigo_async._core import MAX_CONCURRENT_DOWNLOADS, ClientCore
from indigo_async._customer_client import CustomerClient
from indigo_async._exact import to_json
from indigo_async._filters import check_filters
from indigo_async._listeners import combine_listeners
from indigo_async._redaction import SecretBytes, hide_texts, secret
from indigo_async._settings import Settings
from indigo_async._tokens import TokenSource
from indigo_async._transport import codec
from indigo_async._transport.custom_requests import check_endpoint, find_export_ids, parse_custom_response
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
    decode_audience,
    decode_export,
    decode_response,
)
from indigo_async._transport.options import RequestOptions, check_headers, check_user_agent
from indigo_async._transport.pacing import Pacing
from indigo_async._transport.pages import Page
from indigo_async._transport.parameters import Query, check_extra, check_query, encode_body
from indigo_async._transport.proxies import Proxies
from indigo_async._transport.retry import RetryPolicy
from indigo_async._transport.transport import SendState, Transport, parse_page
from indigo_async._validation import InputCheck
from indigo_async.errors import ClientNotOpenError
from indigo_async.events import Listener
from indigo_async.inputs import ColumnSelectionsInput, LookalikeFiltersInput, QueryParameters
from indigo_async.logs import set_up_logging
from indigo_async.models import ApiResponse, Audience, CsvExport, RecordId

if TYPE_CHECKING:
    from indigo_async._polling.poller import Poller

__all__ = ["CustomerClient", "IndigoClient"]

_MIN_POLL_INTERVAL = 1.0
_ROWS_PER_SLICE = 100
_NOT_THE_CLIENT = "this client is a view made by `with_options`: open and close the client that it was made from"


class IndigoClient:
    """A client for the Indigo audiences API: `async with IndigoClient(token) as client:`.

    In a notebook, open it with `client = await IndigoClient(token).open()`, and close it with `await client.aclose()`.
    Use one client per process: everything that uses a client shares its rate limits, connections and polling.

    Every endpoint raises:

    - `InvalidInputError` before anything is sent, with all problems at once.
    - `ApiError` or a subclass after an error response.
    - `TransportError` without a usable response. If the server may have processed a POST, it is an
      `AmbiguousOutcomeError`.
    - `ResponseDecodeError` if the response doesn't have the documented shape.
    - `CustomerMismatchError` or `RecordMismatchError` if the response is about another customer or record.
    - `ClientNotOpenError` if the client is not open, or was opened in another event loop.

    Every endpoint takes `extra`: parameters that this version doesn't know, under the API's own names, as JSON values.

    Args:
        token: the API token, or a function or coroutine function that returns it. The function is called when the
            client is opened and again when the server rejects the token (401); the rejected request is then sent again.
            Default: the environment variable `INDIGO_API_TOKEN`, else the file that `INDIGO_API_TOKEN_FILE` names.
        profile: the name of the profile that has the token; see below. Default: `INDIGO_PROFILE`.
        base_url: the API's URL. Default: `INDIGO_BASE_URL`, else the public API. Must be https, except on loopback.
        timeout: seconds for one attempt of a request, including the time to connect.
        retry: how often and for how long a request is tried.
        headers: headers for every request to the API. They are never sent to other servers, such as download servers,
            and their values are treated as secrets. The client's own headers, such as `Authorization`, can't be
            replaced.
        user_agent: your program and its version, such as `acme-sync/2.1`. It follows the SDK's own `User-Agent`.
        pacing: limits for concurrent requests and requests per second.
        poll_interval: seconds between two status checks of an audience; at least 1, except on loopback. After ten
            intervals, and while an end is unlikely, the checks become rarer, up to 30 seconds apart.
        session: your own aiohttp session. The client doesn't close it, and its settings for proxies and certificates
            apply. Default: the client creates a session.
        proxy: the URL of an HTTP proxy for all requests, `http://user:password@host:port`. Default: what
            `INDIGO_PROXY`, `HTTPS_PROXY`, `HTTP_PROXY` or `ALL_PROXY` name, unless `NO_PROXY` excludes the host.
        on_event: called with every event on this client, including requests: see `indigo_async.events`. To log them,
            pass `indigo_async.logs.log_events`, or set `INDIGO_LOG` to `info` or `debug`.

    Profiles are tables of a TOML file that only you can read (mode 600), `~/.config/indigo-async/profiles.toml` or
    what `INDIGO_PROFILES_FILE` names. Each has a `token` or a `token_file`, and may have a `base_url` and a `proxy`::

        [acme]
        token = "..."

    `INDIGO_BASE_URL` and `INDIGO_PROXY` override a profile. An `INDIGO_API_TOKEN` that isn't the profile's token is an
    error, so that the wrong account never pays. The file is read when the client is created.

    Raises:
        InvalidInputError: there is no token, an argument is invalid, or the profile can't be used.
    """

    def __init__(
        self,
        token: str | TokenSource | None = None,
        *,
        profile: str | None = None,
        base_url: str | None = None,
        timeout: float = 60.0,
        retry: RetryPolicy | None = None,
        headers: Mapping[str, str] | None = None,
        user_agent: str | None = None,
        pacing: Pacing | None = None,
        poll_interval: float = 5.0,
        session: aiohttp.ClientSession | None = None,
        proxy: str | None = None,
        on_event: Listener | None = None,
    ) -> None:
        token, proxy = secret(token), secret(proxy)
        check = InputCheck()
        extra_headers = check_headers(check, headers)
        del headers  # tracebacks must not show their values
        settings = Settings.resolve(token, base_url, profile=profile)
        poll_interval = check.seconds("poll_interval", poll_interval)
        options = RequestOptions(
            timeout=check.seconds("timeout", timeout),
            retry=check.optional("retry", retry, RetryPolicy) or RetryPolicy(),
            user_agent=check_user_agent(check, user_agent),
            extra_headers=extra_headers,
        )
        pacing = check.optional("pacing", pacing, Pacing) or Pacing()
        check.listener(on_event)
        check.raise_if_invalid()
        poll_interval = poll_interval if settings.is_loopback else max(poll_interval, _MIN_POLL_INTERVAL)
        transport = Transport(
            settings,
            options=options,
            pacing=pacing,
            max_downloads=MAX_CONCURRENT_DOWNLOADS,
            max_probe_interval=poll_interval,
            session=session,
            proxies=Proxies.resolve(proxy, profile=settings.profile),
            on_event=combine_listeners(on_event, set_up_logging()),
        )
        self.options: RequestOptions = options
        self.core: ClientCore = ClientCore(settings, transport, options, poll_interval=poll_interval)

    def __repr__(self) -> str:
        core = getattr(self, "core", None)  # missing if the arguments were invalid
        return "IndigoClient()" if core is None else repr(core)

    @property
    def settings(self) -> Settings:
        return self.core.settings

    @property
    def transport(self) -> Transport:
        return self.core.transport

    @property
    def poll_interval(self) -> float:
        return self.core.poll_interval

    @property
    def purchased_exports(self) -> dict[str, frozenset[str] | None]:
        """Exports that this client purchased, by ID as text, with the paid field types requested (None: unknown)."""
        return self.core.purchased_exports

    async def open(self) -> Self:
        """Open the client in the running event loop, and return it. `async with` does this, too.

        Raises:
            ClientNotOpenError: it is open already, it is a view, or its session belongs to another event loop.
            InvalidInputError: the token or the environment's certificates can't be used.
        """
        await self.core.open()
        return self

    async def aclose(self) -> None:
        """Close the client's connections, and end all its waits.

        The client can be opened again. Closing a closed client does nothing.

        Raises:
            ClientNotOpenError: it was opened in another event loop, or it is a view.
        """
        await self.core.close()

    async def __aenter__(self) -> Self:
        return await self.open()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

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

    def with_options(
        self,
        *,
        timeout: float | None = None,
        retry: RetryPolicy | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> IndigoClient:
        """Return a view of this client with other options. Options that you leave out stay the same.

        The view shares everything else with the client: connections, rate limits, outages, polling, and the memory of
        purchases. Use it like a client while this client is open; it is not opened or closed itself. Polling serves all
        waits of a client at once, so it uses the client's own options.

        Args:
            timeout: seconds for one attempt of a request, including the time to connect.
            retry: how often and for how long a request is tried.
            headers: headers to add. They replace the client's headers of the same names.

        Raises:
            InvalidInputError: an option is invalid.
        """
        check = InputCheck()
        extra_headers = check_headers(check, headers)
        del headers  # as in `__init__`
        options = self.options.replace(
            timeout=None if timeout is None else check.seconds("timeout", timeout),
            retry=check.optional("retry", retry, RetryPolicy),
            headers=extra_headers,
        )
        check.raise_if_invalid()
        return _ClientView(self.core, options)

    async def request(
        self, method: str, path: str, *, json: Any = None, params: QueryParameters | None = None
    ) -> ApiResponse:
        """Send a request to an endpoint that this version of the SDK doesn't know.

        The request uses the same authentication, pacing, timeouts and retries as any other, waits out the same outages,
        and raises the same errors. A GET is retried after a failure. Any other request is retried only if it certainly
        wasn't carried out, because the SDK doesn't know whether repeating it is safe.

        Args:
            method: GET, POST, PUT, PATCH or DELETE.
            path: the endpoint's path below `base_url`, such as `/audiences`. Special characters are encoded. A path
                that leaves `base_url` is rejected, so the token is never sent elsewhere.
            json: the body, any JSON value. None sends no body.
            params: the query. A list repeats its parameter. None leaves the parameter out.

        Example::

            response = await client.request("GET", "/organization", params={"verbose": True})
            print(response.status, response.headers["Date"], response.json)
        """
        check = InputCheck()
        endpoint = check_endpoint(check, method, path)
        query = check_query(check, "params", params)
        document = hide_texts(to_json(json, "json", check.add))
        del json, params, path  # tracebacks must not hold people's data
        if endpoint.method == "GET" and document is not None:
            check.add("json", "a GET has no body; pass params=... instead")
        check.raise_if_invalid()
        body = None if document is None else SecretBytes(codec.encode_json(document))
        export_ids = find_export_ids(endpoint, PURCHASE_EXPORT, document, query)
        del document  # as above
        response: ApiResponse = await self.transport.call(
            endpoint, options=self.options, query=query, body=body, parse=parse_custom_response
        )
        for export_id in export_ids:
            self.purchased_exports.setdefault(export_id, None)
        return response

    async def upload_csv(self, *, customer_id: str, url: str, extra: Mapping[str, Any] | None = None) -> Audience:
        """Have the server fetch a CSV of people. Returns a new audience, whose CSV is read in the background.

        Args:
            customer_id: any text that identifies your customer. All later requests about this audience need it.
            url: an https URL from which the server can fetch the CSV, such as a presigned URL.
            extra: further parameters; see `IndigoClient`.

        API reference: POST /upload_csv.
        """
        url = secret(url)
        check = InputCheck()
        customer_id = check.customer_id(customer_id)
        check.url("url", url)
        extra = check_extra(check, extra, UPLOAD_CSV)
        check.raise_if_invalid()
        body = encode_body({"customerId": customer_id, "url": url}, extra)
        return decode_audience(
            await self.transport.call(UPLOAD_CSV, options=self.options, body=body), UPLOAD_CSV, customer_id
        )

    async def match_uploaded_csv(
        self,
        *,
        audience_id: RecordId,
        customer_id: str,
        audience_name: str,
        column_selections: ColumnSelectionsInput,
        extra: Mapping[str, Any] | None = None,
    ) -> Audience:
        """Match an uploaded CSV to the voter file. Returns the audience, which becomes `ACTIVE` once it is matched.

        Args:
            audience_id: the audience that `upload_csv` returned; its CSV must be `READY_FOR_COLUMN_SELECTION`.
            customer_id: the customer for whom the CSV was uploaded.
            audience_name: unique among this customer's audiences.
            column_selections: the CSV column for each field, and whether a match must agree on it.
            extra: further parameters; see `IndigoClient`.

        API reference: POST /match_uploaded_csv.
        """
        check = InputCheck()
        audience_id = check.record_id("audience_id", audience_id)
        customer_id = check.customer_id(customer_id)
        audience_name = check.text("audience_name", audience_name)
        selections = check.column_selections(column_selections)
        extra = check_extra(check, extra, MATCH_UPLOADED_CSV)
        check.raise_if_invalid()
        body = {
            # The reference spells it audienceID for this endpoint only; servers may read either (inferred).
            "audienceID": audience_id,
            "audienceId": audience_id,
            "customerId": customer_id,
            "audienceName": audience_name,
            "columnSelections": codec.encode_column_selections(selections),
        }
        return decode_audience(
            await self.transport.call(MATCH_UPLOADED_CSV, options=self.options, body=encode_body(body, extra)),
            MATCH_UPLOADED_CSV,
            customer_id,
        )

    async def get_audience(
        self, audience_id: RecordId, customer_id: str | None = None, *, extra: QueryParameters | None = None
    ) -> Audience:
        """Return an audience with its exports.

        `customer_id` is required for audiences created through the API, but not for those created in the app.

        Raises:
            NotFoundError: this customer has no audience with this ID.

        API reference: GET /audience.
        """
        check = InputCheck()
        audience_id = check.record_id("audience_id", audience_id)
        customer_id = check.optional_customer_id(customer_id)
        extra = check_query(check, "extra", extra, GET_AUDIENCE)
        check.raise_if_invalid()
        query = {"audienceId": str(audience_id), **extra}
        if customer_id is not None:
            query["customerId"] = customer_id
        audience = decode_audience(
            await self.transport.call(GET_AUDIENCE, options=self.options, query=query), GET_AUDIENCE, customer_id
        )
        check_record_id(GET_AUDIENCE, "audience", requested=audience_id, received=audience.id)
        return audience

    async def list_audiences(
        self, customer_id: str | None = None, *, extra: QueryParameters | None = None
    ) -> list[Audience]:
        """Return all audiences of a customer, or of the whole organization if there is no `customer_id`.

        Links to further pages are followed. A warning is logged if the list says that there is more, but not how to
        read it.

        API reference: GET /audiences.
        """
        check = InputCheck()
        customer_id = check.optional_customer_id(customer_id)
        extra = check_query(check, "extra", extra, LIST_AUDIENCES)
        check.raise_if_invalid()
        first_query: Query = extra if customer_id is None else {"customerId": customer_id, **extra}
        trail = self.transport.start_list(LIST_AUDIENCES, first_query)
        query: Query | None = first_query
        audiences: dict[str, Audience] = {}  # pages may repeat rows that moved
        while query is not None:
            query = trail.follow(await self._read_page(query, customer_id, audiences))
        if trail.unread is not None:
            self.transport.warn_about_unread(LIST_AUDIENCES, trail.unread)
        return list(audiences.values())

    async def _read_page(self, query: Query, customer_id: str | None, audiences: dict[str, Audience]) -> Page:
        """Add a page's audiences by ID, letting other tasks run every 100 rows, which take about 1 ms."""
        document, headers = await self.transport.call(
            LIST_AUDIENCES, options=self.options, query=query, parse=parse_page
        )
        try:
            rows = decode_response(codec.iterate_audiences, document, LIST_AUDIENCES)
            envelope = codec.outline(document)
        finally:
            del document  # as in `decode_response`
        first_id, row_count = None, 0
        for row_count, audience in enumerate(rows, 1):
            check_customer(LIST_AUDIENCES, customer_id, audience.customer_id)
            audience_id = str(audience.id)
            first_id = first_id or audience_id
            audiences.setdefault(audience_id, audience)
            if row_count % _ROWS_PER_SLICE == 0:
                await asyncio.sleep(0)
        return Page(envelope=envelope, headers=headers, row_count=row_count, first_id=first_id)

    async def create_lookalike_audience(
        self,
        *,
        base_audience_id: RecordId,
        customer_id: str,
        size: int,
        audience_name: str,
        include_original_audience: bool | None = None,
        filters: LookalikeFiltersInput | None = None,
        extra: Mapping[str, Any] | None = None,
    ) -> Audience:
        """Create a lookalike of an audience matched from a CSV. Returns it; it becomes `ACTIVE` once it is built.

        Args:
            base_audience_id: an audience with at least 1,000 matched people.
            customer_id: the new audience's customer; the same as the base audience's, if that has one.
            size: the number of people.
            audience_name: unique among this customer's audiences.
            include_original_audience: whether to include the people of the base audience. None: the server's default.
            filters: where the people live; they must match all filters.
            extra: further parameters; see `IndigoClient`.

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
        extra = check_extra(check, extra, CREATE_LOOKALIKE)
        check.raise_if_invalid()
        body = {
            "baseAudienceId": base_audience_id,
            "customerId": customer_id,
            "size": size,
            "audienceName": audience_name,
            "includeOriginalAudience": include_original_audience,
            "filters": codec.encode_filters(checked_filters) if checked_filters is not None else None,
        }
        return decode_audience(
            await self.transport.call(CREATE_LOOKALIKE, options=self.options, body=encode_body(body, extra)),
            CREATE_LOOKALIKE,
            customer_id,
        )

    async def create_preview_csv_export(
        self,
        *,
        audience_id: RecordId,
        customer_id: str | None = None,
        optional_field_types: Sequence[str] = (),
        extra: Mapping[str, Any] | None = None,
    ) -> CsvExport:
        """Preview an export of an audience, free of charge. Returns it with its cost in cents.

        Args:
            audience_id: the audience to export.
            customer_id: required for audiences created through the API.
            optional_field_types: the paid fields to include besides the free ones: see `OptionalFieldType`.
            extra: further parameters; see `IndigoClient`.

        API reference: POST /create_preview_csv_export.
        """
        check = InputCheck()
        audience_id = check.record_id("audience_id", audience_id)
        customer_id = check.optional_customer_id(customer_id)
        field_types = check.optional_field_types(optional_field_types)
        extra = check_extra(check, extra, CREATE_PREVIEW)
        check.raise_if_invalid()
        body = {"audienceId": audience_id, "customerId": customer_id, "optionalFieldTypes": field_types}
        export = decode_export(
            await self.transport.call(CREATE_PREVIEW, options=self.options, body=encode_body(body, extra)),
            CREATE_PREVIEW,
            customer_id,
        )
        if export.audience is not None:
            check_record_id(CREATE_PREVIEW, "audience", requested=audience_id, received=export.audience.id)
        return export

    async def purchase_csv_export(
        self, *, export_id: RecordId, customer_id: str | None = None, extra: Mapping[str, Any] | None = None
    ) -> CsvExport:
        """Purchase a previewed export: your organization is invoiced for its cost.

        The returned export has no `download_url` while the server prepares the CSV: `workflows.wait_for_export` waits
        for it.

        Args:
            export_id: the export that `create_preview_csv_export` returned.
            customer_id: required for audiences created through the API.
            extra: further parameters; see `IndigoClient`.

        Raises:
            AlreadyPurchasedError: the export was purchased before; this call charged nothing.
            AmbiguousOutcomeError, ServerError: the export may have been purchased. `workflows.export_audience` finds
                out.

        API reference: POST /purchase_csv_export.
        """
        extra = hide_texts(extra)
        return await send_purchase(self, export_id, customer_id, SendState(), extra)


class _ClientView(IndigoClient):
    """A client's view with other options. The client itself is opened and closed, not the view."""

    def __init__(self, core: ClientCore, options: RequestOptions) -> None:
        self.core = core
        self.options = options

    async def open(self) -> Self:
        raise ClientNotOpenError(_NOT_THE_CLIENT)

    async def aclose(self) -> None:
        raise ClientNotOpenError(_NOT_THE_CLIENT)


def get_poller(client: IndigoClient) -> Poller:
    """Return the client's polling loop, created on first use.

    Raises:
        ClientNotOpenError: the client is not open.
    """
    return client.core.require_poller()


async def send_purchase(
    client: IndigoClient,
    export_id: RecordId,
    customer_id: str | None,
    send_state: SendState,
    extra: Mapping[str, Any] | None = None,
) -> CsvExport:
    """Purchase an export, as `IndigoClient.purchase_csv_export` documents it, and track the request in `send_state`.

    Raises:
        SendTooLateError: nothing was sent before `send_state.send_by`.
    """
    check = InputCheck()
    export_id = check.record_id("export_id", export_id)
    customer_id = check.optional_customer_id(customer_id)
    extra = check_extra(check, extra, PURCHASE_EXPORT)
    check.raise_if_invalid()
    body = {"exportId": export_id, "customerId": customer_id}
    export = decode_export(
        await client.transport.call(
            PURCHASE_EXPORT, options=client.options, body=encode_body(body, extra), send_state=send_state
        ),
        PURCHASE_EXPORT,
        customer_id,
    )
    check_record_id(PURCHASE_EXPORT, "export", requested=export_id, received=export.id)
    client.purchased_exports.setdefault(str(export_id), None)
    return export
