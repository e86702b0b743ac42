"""The two kinds of look: at one audience, and at a list. Each is one request, sent once: the next look is its retry."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import attrs

from indigo_async.client import GET_AUDIENCE, LIST_AUDIENCES, check_id, decode
from indigo_async.errors import CustomerMismatchError, IndigoError, ResponseDecodeError
from indigo_async.models import Audience, RecordId
from indigo_async.polling.costs import Cost
from indigo_async.transport import codec
from indigo_async.transport.answers import document_in
from indigo_async.transport.list_view import ListReader, Rows
from indigo_async.transport.session import Transport

__all__ = ["ApiSource", "Source"]

_MOST_BYTES_OF_ONE = 64_000_000


class Source(Protocol):
    """Where looks are answered."""

    @property
    def slot_seconds(self) -> float:
        """What the pacing makes each request cost at least, in seconds of one slot."""
        ...

    async def one(self, audience_id: RecordId, customer_id: str | None) -> tuple[Audience, Cost]:
        """Look at one audience.

        Raises:
            ApiError, TransportError, ResponseDecodeError, CustomerMismatchError: there is no record to show.
        """
        ...

    async def many(self, customer_id: str | None, take: Callable[[Rows], None], *, limit: int) -> Cost:
        """Look at a customer's audiences, or, without one, at all; `take` is given the rows as they come.

        Raises:
            ListTooLongError: it has more than `limit` bytes. Some rows may have been taken.
            ApiError, TransportError, ResponseDecodeError: it was refused, or broke off.
        """
        ...


@attrs.frozen
class ApiSource:
    """The API itself."""

    transport: Transport

    @property
    def slot_seconds(self) -> float:
        return self.transport.slot_seconds

    async def one(self, audience_id: RecordId, customer_id: str | None) -> tuple[Audience, Cost]:
        query = {"audienceId": str(audience_id)} | _customer(customer_id)
        body = _Body()
        seconds = await self.transport.look(GET_AUDIENCE, body, query=query)
        audience = decode(self._audience_in, body.parts, GET_AUDIENCE)
        if customer_id is not None and audience.customer_id not in {None, customer_id}:
            raise CustomerMismatchError(
                endpoint=GET_AUDIENCE.text, asked=customer_id, answered=str(audience.customer_id)
            )
        check_id(GET_AUDIENCE, "audience", asked=audience_id, answered=audience.id)
        return audience, Cost(seconds, body.size)

    def _audience_in(self, parts: list[bytes], endpoint: str) -> Audience:
        document = document_in(b"".join(parts), GET_AUDIENCE, token=self.transport.token)
        return codec.decode_audience(document, endpoint)

    async def many(self, customer_id: str | None, take: Callable[[Rows], None], *, limit: int) -> Cost:
        reader = ListReader(LIST_AUDIENCES, take, limit=limit, token=self.transport.token)
        seconds = await self.transport.look(LIST_AUDIENCES, reader, query=_customer(customer_id), comparable=False)
        try:
            reader.finish()
        except IndigoError as error:
            raise error.with_traceback(None) from None  # deeper frames hold the list
        return Cost(seconds, reader.size)


@attrs.define
class _Body:
    """Keeps a record's bytes, of which there are few."""

    parts: list[bytes] = attrs.field(factory=list[bytes], repr=False)
    size: int = 0

    def begin(self, size: int | None) -> None:
        self._allow(size or 0)

    def feed(self, data: bytes) -> None:
        self.parts.append(data)
        self.size += len(data)
        self._allow(self.size)

    def _allow(self, size: int) -> None:
        if size > _MOST_BYTES_OF_ONE:
            raise ResponseDecodeError("the answer is larger than allowed", endpoint=GET_AUDIENCE.text)


def _customer(customer_id: str | None) -> dict[str, str]:
    return {} if customer_id is None else {"customerId": customer_id}
