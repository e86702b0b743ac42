"""Replies, how they are sent, and how each kind of fault shows on the wire."""

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

from indigo_async.sandbox.faults import Fault, FaultKind
from indigo_async.sandbox.refusals import ErrorType, Refusal

__all__ = ["FileSlice", "Reply", "cut", "edit_rows", "error_reply", "instead_of_answer", "send"]

_CHUNK = 1 << 20
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
class Reply:
    """An answer, before anything has happened to it."""

    status: int
    body: bytes | FileSlice
    headers: Mapping[str, str] = _JSON


def error_reply(refusal: Refusal) -> Reply:
    body = msgspec.json.encode({"error": refusal.message, "errorType": refusal.error_type})
    return Reply(refusal.status, body, {**_JSON, **refusal.headers})


def instead_of_answer(fault: Fault) -> Reply | None:
    """What a fault answers in place of the real answer, if it is of that sort."""
    match fault.kind:
        case FaultKind.PRICE_RAISED if fault.status == HTTPStatus.TOO_MANY_REQUESTS:
            return instead_of_answer(attrs.evolve(fault, kind=FaultKind.RATE_LIMITED))
        case FaultKind.STATUS_BEFORE | FaultKind.STATUS_AFTER | FaultKind.PRICE_RAISED:
            return _error_on_demand(fault, fault.status, ErrorType.INTERNAL, "Something went wrong.", {})
        case FaultKind.HTML_BEFORE | FaultKind.HTML_AFTER:
            return Reply(200, _HTML, {"Content-Type": "text/html; charset=utf-8"})
        case FaultKind.RATE_LIMITED:
            return _error_on_demand(
                fault, 429, ErrorType.RATE_LIMITED, "Too many requests.", {"Retry-After": _retry_after(fault)}
            )
        case _:
            return None


def _error_on_demand(
    fault: Fault, status: int, error_type: ErrorType, message: str, headers: Mapping[str, str]
) -> Reply:
    body = {"error": fault.message or message, "errorType": fault.error_type or error_type}
    return Reply(status, msgspec.json.encode(body), {**_JSON, **headers})


def _retry_after(fault: Fault) -> str:
    if not fault.retry_after_as_date or isinstance(fault.retry_after, str):
        return str(fault.retry_after)
    return format_datetime(datetime.now(UTC) + timedelta(seconds=fault.retry_after), usegmt=True)


_Row: TypeAlias = dict[str, Any]
_RowEdit: TypeAlias = Callable[[_Row, Fault], _Row | None]


def edit_rows(fault: Fault, reply: Reply) -> Reply:
    """Change the rows of an answer as the fault says."""
    if reply.status != HTTPStatus.OK or isinstance(reply.body, FileSlice) or fault.kind not in _ROW_EDITS:
        return reply
    answer = _map_rows(msgspec.json.decode(reply.body), fault, _ROW_EDITS[fault.kind])
    return attrs.evolve(reply, body=msgspec.json.encode(answer))


def _map_rows(answer: object, fault: Fault, edit: _RowEdit) -> object:
    """Edit each row of a list, or the one record that the answer is."""
    if isinstance(answer, list):
        edited = (edit(row, fault) for row in cast("list[_Row]", answer))
        return [row for row in edited if row is not None]
    record = cast("_Row", answer)
    if "audiences" in record:
        return {**record, "audiences": _map_rows(record["audiences"], fault, edit)}
    return edit(record, fault) or record


def _is_named(row: _Row, fault: Fault) -> bool:
    return fault.names(row.get("id"), row.get("name", row.get("audienceName")))


def _with_unknown_status(row: _Row, fault: Fault) -> _Row:
    """Change the status of a record and of what is nested in it."""
    changed = {**row, "status": _UNKNOWN_STATUS}
    if "uploadedAudienceCsv" in row:
        changed["uploadedAudienceCsv"] = _with_unknown_status(row["uploadedAudienceCsv"], fault)
    if "csvExports" in row:
        changed["csvExports"] = [_with_unknown_status(export, fault) for export in row["csvExports"]]
    return changed


def _without_field(row: _Row, fault: Fault) -> _Row:
    return {key: value for key, value in row.items() if key != fault.field or not _is_named(row, fault)}


def _with_value(row: _Row, fault: Fault) -> _Row:
    return _replaced(row, fault.field.split("."), fault.value) if _is_named(row, fault) else row


def _replaced(value: Any, path: list[str], new: Any) -> Any:
    """A value with something else at a path; of an array, in each of its members."""
    if not path:
        return new
    if isinstance(value, list):
        return [_replaced(item, path, new) for item in cast("list[Any]", value)]
    if not isinstance(value, dict):
        return value
    record = cast("_Row", value)
    return {**record, path[0]: _replaced(record.get(path[0]), path[1:], new)}


def _without_row(row: _Row, fault: Fault) -> _Row | None:
    return None if _is_named(row, fault) else row


_ROW_EDITS: Mapping[FaultKind, _RowEdit] = MappingProxyType(
    {
        FaultKind.UNKNOWN_STATUS: _with_unknown_status,
        FaultKind.FIELD_MISSING: _without_field,
        FaultKind.FIELD_REPLACED: _with_value,
        FaultKind.ROW_MISSING: _without_row,
    }
)


async def send(request: web.BaseRequest, reply: Reply, fault: Fault | None) -> web.StreamResponse:
    """Send a reply, with what the fault does to it on its way."""
    kind = fault.kind if fault is not None else None
    if kind is FaultKind.CUT_AFTER:
        return cut(request)
    if kind is None and isinstance(reply.body, bytes):
        return web.Response(status=reply.status, body=reply.body, headers=reply.headers)
    response = web.StreamResponse(status=reply.status, headers=reply.headers)
    size = len(reply.body)
    response.content_length = size + (kind is FaultKind.LENGTH_WRONG)
    await response.prepare(request)
    async for chunk in _chunks(reply.body, size // 2 if kind is FaultKind.HALF_BODY else size):
        await response.write(chunk)
    if kind is FaultKind.HALF_BODY:
        return cut(request)
    await response.write_eof()
    if request.transport is not None and kind in {FaultKind.LENGTH_WRONG, FaultKind.CLOSED_AFTER}:
        request.transport.close()
    return response


def cut(request: web.BaseRequest) -> web.StreamResponse:
    """Break the connection. The response that is returned goes nowhere."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response()


async def _chunks(body: bytes | FileSlice, stop: int) -> AsyncIterator[bytes]:
    """The first `stop` bytes of a body, in pieces."""
    for start in range(0, stop, _CHUNK):
        size = min(_CHUNK, stop - start)
        if isinstance(body, bytes):
            yield body[start : start + size]
        else:
            yield await anyio.to_thread.run_sync(_read, body.path, body.start + start, size)


def _read(path: Path, start: int, size: int) -> bytes:
    with path.open("rb") as file:
        file.seek(start)
        return file.read(size)
