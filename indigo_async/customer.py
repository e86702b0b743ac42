"""`CustomerClient`: the endpoints of a client with the customer ID bound, for services that serve many customers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import attrs

from indigo_async._redaction import secret
from indigo_async.inputs import ColumnSelectionsInput, LookalikeFiltersInput
from indigo_async.models import Audience, CsvExport, RecordId

if TYPE_CHECKING:
    from indigo_async.client import IndigoClient

__all__ = ["CustomerClient"]


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
