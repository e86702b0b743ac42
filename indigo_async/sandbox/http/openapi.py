"""The OpenAPI 3.1 description of the API in the sandbox's dialect."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

import attrs
import msgspec

from indigo_async.inputs import CANONICAL_FIELDS, OptionalFieldType
from indigo_async.models import AudienceStatus, ExportStatus, UploadStatus
from indigo_async.sandbox.dialect import Dialect, ExportFlow
from indigo_async.sandbox.errors import ErrorType
from indigo_async.sandbox.http.endpoints import ENDPOINTS
from indigo_async.sandbox.http.parameters import FILTER_KEYS, HTTP_URL_PATTERN, NOT_BLANK_PATTERN

__all__ = ["build_openapi"]

_Json: TypeAlias = dict[str, Any]

_TEXT: _Json = {"type": "string", "pattern": NOT_BLANK_PATTERN}
_TEXTS: _Json = {"type": "array", "items": _TEXT}
_TIMESTAMP: _Json = {"type": "string", "format": "date-time"}
_CENTS: _Json = {"type": "integer", "minimum": 0, "description": "Whole US cents."}
_COUNT: _Json = {"type": "integer", "minimum": 0}
_URL: _Json = {"type": "string", "format": "uri"}
_FIELD_TYPES: _Json = {"type": "array", "items": {"type": "string", "enum": list(OptionalFieldType)}}


def build_openapi(base_url: str, dialect: Dialect, export_flow: ExportFlow) -> bytes:
    """Return the description of the seven endpoints as JSON."""
    document: _Json = {
        "openapi": "3.1.0",
        "info": {"title": "Indigo audiences API (sandbox)", "version": "1"},
        "servers": [{"url": base_url}],
        "security": [{"token": []}],
        "paths": _paths(dialect),
        "components": {
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
            "schemas": _schemas(dialect, export_flow),
        },
    }
    return msgspec.json.encode(document)


def _ref(name: str) -> _Json:
    return {"$ref": f"#/components/schemas/{name}"}


def _nullable(schema: _Json) -> _Json:
    """Return the schema of an optional body field. Null means absent."""
    return {"anyOf": [schema, {"type": "null"}]}


def _object(required: Mapping[str, _Json], optional: Mapping[str, _Json], *, is_closed: bool = True) -> _Json:
    return {
        "type": "object",
        "properties": {**required, **optional},
        "required": list(required),
        **({"additionalProperties": False} if is_closed else {}),
    }


@attrs.frozen
class _Link:
    """An endpoint that takes the ID in a response as a parameter."""

    operation_id: str
    parameter: str
    is_query: bool = False


_READ_LINK = _Link("audience", "audienceId", is_query=True)
_MATCH_LINK = _Link("match_uploaded_csv", "audienceID")
_LOOKALIKE_LINK = _Link("create_lookalike_audience", "baseAudienceId")
_PREVIEW_LINK = _Link("create_preview_csv_export", "audienceId")
_PURCHASE_LINK = _Link("purchase_csv_export", "exportId")


@attrs.frozen
class _Operation:
    """An endpoint's parameters (in the query for GET, otherwise in the body) and its response schema."""

    summary: str
    response: _Json
    required: Mapping[str, _Json]
    optional: Mapping[str, _Json] = attrs.field(factory=dict[str, _Json])
    links: tuple[_Link, ...] = ()
    has_record_id: bool = True


def _operations(dialect: Dialect) -> dict[str, _Operation]:
    """Describe each endpoint. API reference: "Endpoints"."""
    record_id: _Json = {"type": "integer"} if dialect.id_type == "integer" else _TEXT
    customer, optional_customer = {"customerId": _TEXT}, {"customerId": _nullable(_TEXT)}
    audience, export = _ref("Audience"), _ref("ExportWithAudience")
    rows: _Json = {"type": "array", "items": _ref("AudienceRow")}
    return {
        "POST /upload_csv": _Operation(
            "Upload a CSV of people to match to the voter file.",
            audience,
            {**customer, "url": {"type": "string", "pattern": HTTP_URL_PATTERN}},
            links=(_READ_LINK, _MATCH_LINK),
            has_record_id=False,
        ),
        "POST /match_uploaded_csv": _Operation(
            "Match an uploaded CSV to the voter file.",
            audience,
            {"audienceID": record_id, **customer, "audienceName": _TEXT, "columnSelections": _ref("ColumnSelections")},
            links=(_READ_LINK, _LOOKALIKE_LINK, _PREVIEW_LINK),
        ),
        "GET /audience": _Operation(
            "Retrieve an audience.", audience, {"audienceId": record_id}, {"customerId": _TEXT}
        ),
        "POST /create_preview_csv_export": _Operation(
            "Price an export of an audience.",
            export,
            {"audienceId": record_id, "optionalFieldTypes": _FIELD_TYPES},
            optional_customer,
            links=(_PURCHASE_LINK,),
        ),
        "POST /purchase_csv_export": _Operation(
            "Purchase an export.", export, {"exportId": record_id}, optional_customer
        ),
        "POST /create_lookalike_audience": _Operation(
            "Create a lookalike of a matched audience.",
            audience,
            {
                "baseAudienceId": record_id,
                **customer,
                "size": {"type": "integer", "minimum": 1},
                "audienceName": _TEXT,
            },
            {"includeOriginalAudience": _nullable({"type": "boolean"}), "filters": _nullable(_ref("Filters"))},
            links=(_READ_LINK, _PREVIEW_LINK),
        ),
        "GET /audiences": _Operation(
            "Retrieve the audiences of a customer or of the whole organization.",
            rows if dialect.list_shape == "array" else _object({"audiences": rows}, {}),
            {},
            {"customerId": _TEXT},
            has_record_id=False,
        ),
    }


def _paths(dialect: Dialect) -> _Json:
    operations = _operations(dialect)
    paths: _Json = {}
    for endpoint in ENDPOINTS:
        method, path = endpoint.split()
        paths.setdefault(path, {})[method.lower()] = _describe_operation(method, path, operations[endpoint])
    return paths


def _describe_operation(method: str, path: str, operation: _Operation) -> _Json:
    described: _Json = {
        "operationId": path.removeprefix("/"),
        "summary": operation.summary,
        "responses": _describe_responses(operation),
    }
    if method == "GET":
        described["parameters"] = [
            {"name": name, "in": "query", "required": name in operation.required, "schema": schema}
            for name, schema in {**operation.required, **operation.optional}.items()
        ]
    else:
        schema = _object(operation.required, operation.optional, is_closed=False)
        described["requestBody"] = {"required": True, "content": {"application/json": {"schema": schema}}}
    return described


def _describe_responses(operation: _Operation) -> _Json:
    def answer(description: str, schema: _Json, headers: _Json) -> _Json:
        return {"description": description, "headers": headers, "content": {"application/json": {"schema": schema}}}

    refusals: dict[str, tuple[str, _Json]] = {
        "400": ("A parameter is missing or invalid, or the record's state doesn't allow this.", {}),
        "401": ("The token is missing or invalid.", {"WWW-Authenticate": {"schema": {"type": "string"}}}),
        "413": ("The request is too large.", {}),
        "429": ("Too many requests.", {"Retry-After": {"required": True, "schema": {"type": "string"}}}),
        "500": ("The server failed.", {}),
    }
    if operation.has_record_id:
        refusals["404"] = ("This customer has no such record.", {})
    errors = {status: answer(text, _ref("Error"), headers) for status, (text, headers) in refusals.items()}
    done = answer("Done, or started.", operation.response, {})
    if operation.links:
        done["links"] = {link.operation_id: _describe_link(link) for link in operation.links}
    return {"200": done, **errors}


def _describe_link(link: _Link) -> _Json:
    """Link the response's ID and the request's customer to another endpoint."""
    values = {link.parameter: "$response.body#/id", "customerId": "$request.body#/customerId"}
    key = "parameters" if link.is_query else "requestBody"
    return {"operationId": link.operation_id, key: values}


def _schemas(dialect: Dialect, export_flow: ExportFlow) -> _Json:
    row = _audience(dialect)
    for key in dialect.list_omitted_keys:
        row["properties"].pop(key, None)
    row["required"] = [key for key in row["required"] if key in row["properties"]]
    return {
        "Audience": _audience(dialect),
        "AudienceRow": row,
        "UploadedAudienceCsv": _upload(dialect),
        "Export": _export(dialect, export_flow, {}),
        "ExportWithAudience": _export(dialect, export_flow, {"audience": _object(*_summary(dialect, is_whole=False))}),
        "Error": _object({"error": {"type": "string"}, "errorType": {"type": "string", "enum": list(ErrorType)}}, {}),
        "ColumnSelections": _column_selections(),
        "Filters": {
            "type": "object",
            "properties": {key: _nullable(_TEXTS) for key in FILTER_KEYS},
            "additionalProperties": False,
            "description": "People must match all filters. Places are names or FIPS codes.",
        },
    }


def _record_id(dialect: Dialect) -> _Json:
    return {"type": "integer" if dialect.id_type == "integer" else "string"}


def _summary(dialect: Dialect, *, is_whole: bool) -> tuple[_Json, _Json]:
    """Return the required and optional fields of an audience. Nested audiences have only some of them."""
    status: _Json = {"status": {"type": "string", "enum": list(AudienceStatus)}}
    created: _Json = {"createdAt": _TIMESTAMP}
    required: _Json = {"id": _record_id(dialect)}
    optional: _Json = {"size": _COUNT}
    (required if is_whole else optional).update(status | created)
    if dialect.name_key is not None:
        optional[dialect.name_key] = {"type": "string"}
    if dialect.shows_customer_id:
        optional["customerId"] = {"type": ["string", "integer"] if dialect.numeric_customer_ids else "string"}
    if dialect.shows_base_audience:
        optional["baseAudienceId"] = _record_id(dialect)
    return required, optional


def _audience(dialect: Dialect) -> _Json:
    required, optional = _summary(dialect, is_whole=True)
    exports: _Json = {"csvExports": {"type": "array", "items": _ref("Export")}}
    return _object(required | exports, optional | {"uploadedAudienceCsv": _ref("UploadedAudienceCsv")})


def _upload(dialect: Dialect) -> _Json:
    return _object(
        {
            "status": {"type": "string", "enum": list(UploadStatus)},
            **({"url": {"type": "string"}} if dialect.shows_csv_url else {}),
        },
        {
            "rowCount": _COUNT,
            "matchedCount": _COUNT,
            "columnNames": {"type": "array", "items": {"type": "string"}},
            "failureReason": {"type": "string"},
        },
    )


def _export(dialect: Dialect, export_flow: ExportFlow, nested: _Json) -> _Json:
    required: _Json = {"id": _record_id(dialect), "createdAt": _TIMESTAMP, **nested}
    if dialect.shows_export_status or export_flow == "asynchronous":
        hidden = [""] if dialect.purchased_status == "hidden" else []
        required["status"] = {"type": "string", "enum": [*ExportStatus, *hidden]}
    if dialect.shows_field_types:
        is_exact = dialect.field_types_format == "exact"
        required["optionalFieldTypes"] = _FIELD_TYPES if is_exact else {"type": "array", "items": {"type": "string"}}
    item = _object(
        {
            "optionalFieldType": {"type": "string", "enum": list(OptionalFieldType)},
            "people": _COUNT,
            "centsPerPerson": _CENTS,
            "cents": _CENTS,
        },
        {},
    )
    price: _Json = {"costBreakdown": {"type": "array", "items": item}}
    if dialect.conflicting_cost is not None:
        key, _ = dialect.conflicting_cost
        price |= {"costBreakdown": {"type": "object"}} if key == "costBreakdown.total" else {key: _CENTS}
    price[dialect.cost_key] = {"string": {"type": "string"}, "dollars": {"type": "string"}}.get(
        dialect.cost_format, _CENTS
    )
    url = _URL if dialect.preview_url == "absent" else {"type": ["string", "null"]}
    return _object(required, price | {"downloadUrl": url})


def _column_selections() -> _Json:
    """Describe column selections. API reference: "More details about column selections"."""

    def selection(is_required: _Json) -> _Json:
        return _object({"column_name": _TEXT, "is_required": is_required}, {})

    kinds: dict[str, _Json] = {"address": {"const": False}, "id": {"const": True}}
    not_required = {"properties": {"is_required": {"const": False}}}
    none_required = {"properties": {field: not_required for field in CANONICAL_FIELDS if field not in kinds}}
    two_names = {"required": ["full_name"], "anyOf": [{"required": ["first_name"]}, {"required": ["last_name"]}]}
    return {
        "type": "object",
        "properties": {field: selection(kinds.get(field, {"type": "boolean"})) for field in CANONICAL_FIELDS},
        "additionalProperties": False,
        "not": {"anyOf": [none_required, two_names]},
        "description": "At least one matching field is required; no CSV column may be used for two fields.",
    }
