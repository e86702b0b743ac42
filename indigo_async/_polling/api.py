"""The two requests that polls consist of: reading one audience, and reading a list.

Each is sent once. The next poll is its retry.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import attrs

from indigo_async._polling.cost_model import Cost
from indigo_async._transport import codec
from indigo_async._transport.audience_list import ListReader, ListTooLongError, RowSlice
from indigo_async._transport.endpoints import (
    GET_AUDIENCE,
    LIST_AUDIENCES,
    check_customer,
    check_record_id,
    decode_response,
)
from indigo_async._transport.errors import parse_json_response
from indigo_async._transport.options import RequestOptions
from indigo_async._transport.response_details import add_latest_details
from indigo_async._transport.transport import Transport
from indigo_async.errors import IndigoError, ResponseDecodeError
from indigo_async.models import Audience, RecordId

__all__ = ["AudienceApi"]

_MAX_RECORD_BYTES = 64_000_000


@attrs.frozen
class AudienceApi:
    """The requests of polls over HTTP. Tests replace it."""

    transport: Transport
    options: RequestOptions

    @property
    def slot_seconds(self) -> float:
        """The least time for which a request occupies a pacing slot."""
        return self.transport.slot_seconds

    @property
    def has_outage(self) -> bool:
        """Whether all requests are waiting because the server is down."""
        return self.transport.outage is not None

    @property
    def has_worked(self) -> bool:
        """Whether the server has accepted the token before."""
        return self.transport.first_success.is_set()

    async def read_one(self, audience_id: RecordId, customer_id: str | None) -> tuple[Audience, Cost]:
        """Read one audience.

        Raises:
            ApiError, TransportError, ResponseDecodeError, CustomerMismatchError, RecordMismatchError: no valid record.
        """
        query = {"audienceId": str(audience_id)} | _customer_query(customer_id)
        body = _RecordBody()
        seconds = await self.transport.stream(GET_AUDIENCE, body, options=self.options, query=query)
        audience = decode_response(self._decode_audience, body.parts, GET_AUDIENCE)
        check_customer(GET_AUDIENCE, customer_id, audience.customer_id)
        check_record_id(GET_AUDIENCE, "audience", requested=audience_id, received=audience.id)
        return audience, Cost(seconds, body.size)

    def _decode_audience(self, parts: list[bytes], endpoint: str) -> Audience:
        document = parse_json_response(b"".join(parts), GET_AUDIENCE, secrets=self.transport.secrets(self.options))
        return codec.decode_audience(document, endpoint)

    async def read_list(
        self,
        customer_id: str | None,
        on_rows: Callable[[RowSlice], None],
        *,
        limit: int,
        on_unread: Callable[[str], None] | None = None,
    ) -> Cost:
        """Read a customer's audiences, or all of them; `on_rows` receives the rows as they arrive.

        Links to further pages are followed. If the list says that there is more but not how to read it, `on_unread` is
        called with the key or header that says so.

        Raises:
            ListTooLongError: the list has more than `limit` bytes; some of its rows may have been received.
            ApiError, TransportError, ResponseDecodeError: the list could not be read; likewise.
        """
        first_query = _customer_query(customer_id)
        trail = self.transport.start_list(LIST_AUDIENCES, first_query)
        query: Mapping[str, str] | None = first_query
        seconds, size = 0.0, 0
        while query is not None:
            secrets = self.transport.secrets(self.options)
            reader = ListReader(LIST_AUDIENCES, on_rows, max_bytes=limit - size, secrets=secrets)
            try:
                seconds += await self.transport.stream(
                    LIST_AUDIENCES, reader, options=self.options, query=query, measure_latency=False
                )
                query = trail.follow(reader.finish())
            except ListTooLongError as error:
                if size == 0:
                    raise
                raise ListTooLongError(size + error.size, is_exact=False) from None
            except IndigoError as error:
                raise add_latest_details(error).with_traceback(None) from None  # deeper frames hold the list
            size += reader.size
        if trail.unread is not None:
            self.transport.warn_about_unread(LIST_AUDIENCES, trail.unread)
            if on_unread is not None:
                on_unread(trail.unread)
        return Cost(seconds, size)


@attrs.define
class _RecordBody:
    """Collects the bytes of one record."""

    parts: list[bytes] = attrs.field(factory=list[bytes], repr=False)
    size: int = 0

    def begin(self, size: int | None, _: Mapping[str, str], /) -> None:
        self._check_size(size or 0)

    def feed(self, data: bytes) -> None:
        self.parts.append(data)
        self.size += len(data)
        self._check_size(self.size)

    def _check_size(self, size: int) -> None:
        if size > _MAX_RECORD_BYTES:
            raise ResponseDecodeError("the response is too large", endpoint=GET_AUDIENCE.name)


def _customer_query(customer_id: str | None) -> dict[str, str]:
    return {} if customer_id is None else {"customerId": customer_id}
