"""Build and send responses, and apply faults to them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http import HTTPStatus
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeAlias, cast

import anyio.to_thread
import attrs
import msgspec
from aiohttp import web

from indigo_async.sandbox.errors import ErrorType, HttpError
from indigo_async.sandbox.faults import Fault, FaultKind

__all__ = [
    "FileSlice",
    "Response",
    "build_error_response",
    "build_fault_response",
    "drop_connection",
    "edit_rows",
    "send",
]

_CHUNK_BYTES = 1 << 20
_JSON = MappingProxyType({"Content-Type": "application/json"})
_HTML = b"<!DOCTYPE html><html><head><title>Please wait</title></head><body>The application is starting.</body></html>"
_UNKNOWN_STATUS = "UNDER_REVIEW"


@attrs.frozen
class FileSlice:
    """Bytes `start` to `stop` (exclusive) of a file."""

    path: Path
    start: int
    stop: int

    def __len__(self) -> int:
        return self.stop - self.start


@attrs.frozen
class Response:
    """A response before faults are applied."""

    status: int
    body: bytes | FileSlice
    headers: Mapping[str, str] = _JSON


def build_error_response(error: HttpError) -> Response:
    body = msgspec.json.encode({"error": error.message, "errorType": error.error_type})
    return Response(error.status, body, {**_JSON, **error.headers})


def build_fault_response(fault: Fault) -> Response | None:
    """Return the response that a fault sends instead of the real one, if any."""
    match fault.kind:
        case FaultKind.PRICE_RAISED if fault.status == HTTPStatus.TOO_MANY_REQUESTS:
            return build_fault_response(attrs.evolve(fault, kind=FaultKind.RATE_LIMITED))
        case FaultKind.ERROR_BEFORE | FaultKind.ERROR_AFTER | FaultKind.PRICE_RAISED:
            return _build_fault_error(fault, fault.status, ErrorType.INTERNAL, "Something went wrong.", {})
        case FaultKind.HTML_BEFORE | FaultKind.HTML_AFTER:
            return Response(200, _HTML, {"Content-Type": "text/html; charset=utf-8"})
        case FaultKind.RATE_LIMITED:
            return _build_fault_error(
                fault, 429, ErrorType.RATE_LIMITED, "Too many requests.", {"Retry-After": _format_retry_after(fault)}
            )
        case _:
            return None


def _build_fault_error(
    fault: Fault, status: int, error_type: ErrorType, message: str, headers: Mapping[str, str]
) -> Response:
    body = {"error": fault.message or message, "errorType": fault.error_type or error_type}
    return Response(status, msgspec.json.encode(body), {**_JSON, **headers})


def _format_retry_after(fault: Fault) -> str:
    if not fault.retry_after_as_date or isinstance(fault.retry_after, str):
        return str(fault.retry_after)
    return format_datetime(datetime.now(UTC) + timedelta(seconds=fault.retry_after), usegmt=True)


_Row: TypeAlias = dict[str, Any]
_RowEdit: TypeAlias = Callable[[_Row, Fault], _Row | None]


def edit_rows(fault: Fault, reply: Response) -> Response:
    """Edit the rows of a response as the fault says."""
    if reply.status != HTTPStatus.OK or isinstance(reply.body, FileSlice) or fault.kind not in _ROW_EDITS:
        return reply
    answer = _map_rows(msgspec.json.decode(reply.body), fault, _ROW_EDITS[fault.kind])
    return attrs.evolve(reply, body=msgspec.json.encode(answer))


def _map_rows(answer: object, fault: Fault, edit: _RowEdit) -> object:
    """Edit each row of a list, or a single record."""
    if isinstance(answer, list):
        edited = (edit(row, fault) for row in cast("list[_Row]", answer))
        return [row for row in edited if row is not None]
    record = cast("_Row", answer)
    if "audiences" in record:
        return {**record, "audiences": _map_rows(record["audiences"], fault, edit)}
    return edit(record, fault) or record


def _matches_row(row: _Row, fault: Fault) -> bool:
    return fault.matches_audience(row.get("id"), row.get("name", row.get("audienceName")))


def _with_unknown_status(row: _Row, fault: Fault) -> _Row:
    """Replace the status of a record and of its nested records."""
    changed = {**row, "status": _UNKNOWN_STATUS}
    if "uploadedAudienceCsv" in row:
        changed["uploadedAudienceCsv"] = _with_unknown_status(row["uploadedAudienceCsv"], fault)
    if "csvExports" in row:
        changed["csvExports"] = [_with_unknown_status(export, fault) for export in row["csvExports"]]
    return changed


def _without_field(row: _Row, fault: Fault) -> _Row:
    return {key: value for key, value in row.items() if key != fault.field or not _matches_row(row, fault)}


def _with_replaced_field(row: _Row, fault: Fault) -> _Row:
    return _replace_at_path(row, fault.field.split("."), fault.value) if _matches_row(row, fault) else row


def _replace_at_path(value: Any, path: list[str], new: Any) -> Any:
    """Return a copy with `new` at a path; in a list, in each item."""
    if not path:
        return new
    if isinstance(value, list):
        return [_replace_at_path(item, path, new) for item in cast("list[Any]", value)]
    if not isinstance(value, dict):
        return value
    record = cast("_Row", value)
    return {**record, path[0]: _replace_at_path(record.get(path[0]), path[1:], new)}


def _without_row(row: _Row, fault: Fault) -> _Row | None:
    return None if _matches_row(row, fault) else row


_ROW_EDITS: Mapping[FaultKind, _RowEdit] = MappingProxyType(
    {
        FaultKind.UNKNOWN_STATUS: _with_unknown_status,
        FaultKind.FIELD_MISSING: _without_field,
        FaultKind.FIELD_REPLACED: _with_replaced_field,
        FaultKind.ROW_MISSING: _without_row,
    }
)


async def send(request: web.BaseRequest, reply: Response, fault: Fault | None) -> web.StreamResponse:
    """Send a response, with the fault applied to the connection."""
    kind = fault.kind if fault is not None else None
    if kind is FaultKind.DISCONNECT_AFTER:
        return drop_connection(request)
    if kind is None and isinstance(reply.body, bytes):
        return web.Response(status=reply.status, body=reply.body, headers=reply.headers)
    response = web.StreamResponse(status=reply.status, headers=reply.headers)
    size = len(reply.body)
    response.content_length = size + (kind is FaultKind.CONTENT_LENGTH_WRONG)
    await response.prepare(request)
    async for chunk in _read_chunks(reply.body, size // 2 if kind is FaultKind.TRUNCATED_BODY else size):
        await response.write(chunk)
    if kind is FaultKind.TRUNCATED_BODY:
        return drop_connection(request)
    await response.write_eof()
    if request.transport is not None and kind in {FaultKind.CONTENT_LENGTH_WRONG, FaultKind.CLOSED_AFTER_RESPONSE}:
        request.transport.close()
    return response


def drop_connection(request: web.BaseRequest) -> web.StreamResponse:
    """Break the connection. The returned response is never sent."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response()


async def _read_chunks(body: bytes | FileSlice, stop: int) -> AsyncIterator[bytes]:
    """Yield the first `stop` bytes of a body in chunks."""
    for start in range(0, stop, _CHUNK_BYTES):
        size = min(_CHUNK_BYTES, stop - start)
        if isinstance(body, bytes):
            yield body[start : start + size]
        else:
            yield await anyio.to_thread.run_sync(_read_slice, body.path, body.start + start, size)


def _read_slice(path: Path, start: int, size: int) -> bytes:
    with path.open("rb") as file:
        file.seek(start)
        return file.read(size)
