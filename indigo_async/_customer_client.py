"""The endpoints for one customer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import attrs

from indigo_async._redaction import hide_texts, secret
from indigo_async.inputs import ColumnSelectionsInput, LookalikeFiltersInput, QueryParameters
from indigo_async.models import Audience, CsvExport, RecordId

if TYPE_CHECKING:
    from indigo_async.client import IndigoClient

__all__ = ["CustomerClient"]


@attrs.frozen
class CustomerClient:
    """The endpoints of an `IndigoClient` for one customer; created by `client.for_customer(...)`.

    Each method calls the one of the same name on `IndigoClient`; see there.
    """

    client: IndigoClient
    customer_id: str

    async def upload_csv(self, *, url: str, extra: Mapping[str, Any] | None = None) -> Audience:
        url = secret(url)
        extra = hide_texts(extra)
        return await self.client.upload_csv(customer_id=self.customer_id, url=url, extra=extra)

    async def match_uploaded_csv(
        self,
        *,
        audience_id: RecordId,
        audience_name: str,
        column_selections: ColumnSelectionsInput,
        extra: Mapping[str, Any] | None = None,
    ) -> Audience:
        extra = hide_texts(extra)
        return await self.client.match_uploaded_csv(
            audience_id=audience_id,
            customer_id=self.customer_id,
            audience_name=audience_name,
            column_selections=column_selections,
            extra=extra,
        )

    async def get_audience(self, audience_id: RecordId, *, extra: QueryParameters | None = None) -> Audience:
        extra = hide_texts(extra)
        return await self.client.get_audience(audience_id, self.customer_id, extra=extra)

    async def list_audiences(self, *, extra: QueryParameters | None = None) -> list[Audience]:
        extra = hide_texts(extra)
        return await self.client.list_audiences(self.customer_id, extra=extra)

    async def create_lookalike_audience(
        self,
        *,
        base_audience_id: RecordId,
        size: int,
        audience_name: str,
        include_original_audience: bool | None = None,
        filters: LookalikeFiltersInput | None = None,
        extra: Mapping[str, Any] | None = None,
    ) -> Audience:
        extra = hide_texts(extra)
        return await self.client.create_lookalike_audience(
            base_audience_id=base_audience_id,
            customer_id=self.customer_id,
            size=size,
            audience_name=audience_name,
            include_original_audience=include_original_audience,
            filters=filters,
            extra=extra,
        )

    async def create_preview_csv_export(
        self,
        *,
        audience_id: RecordId,
        optional_field_types: Sequence[str] = (),
        extra: Mapping[str, Any] | None = None,
    ) -> CsvExport:
        extra = hide_texts(extra)
        return await self.client.create_preview_csv_export(
            audience_id=audience_id,
            customer_id=self.customer_id,
            optional_field_types=optional_field_types,
            extra=extra,
        )

    async def purchase_csv_export(self, *, export_id: RecordId, extra: Mapping[str, Any] | None = None) -> CsvExport:
        extra = hide_texts(extra)
        return await self.client.purchase_csv_export(export_id=export_id, customer_id=self.customer_id, extra=extra)
