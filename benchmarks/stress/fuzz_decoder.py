"""Fuzz everything that reads a response, guided by coverage, with Atheris (`pip install atheris`) until stopped.

    python benchmarks/stress/fuzz_decoder.py [corpus folder] [-max_total_time=60] [other options of libFuzzer]

It stops with the offending bytes in a file `crash-...` if a reader raises an unexpected error, or an error that repeats
the response.
"""

from __future__ import annotations

import sys

import atheris

with atheris.instrument_imports(include=["indigo_async"]):
    from indigo_async._transport import codec
    from indigo_async._transport.audience_list import ListReader, RowSlice
    from indigo_async._transport.errors import find_embedded_error, make_error
    from indigo_async._transport.responses import Endpoint, Response
    from indigo_async.errors import ApiError, ResponseDecodeError

AUDIENCE, AUDIENCES = Endpoint("GET", "/audience"), Endpoint("GET", "/audiences")
CANARY = b"canary"


def read_record(body: bytes) -> None:
    document = codec.decode_document(body, AUDIENCE.name)
    find_embedded_error(document, AUDIENCE)
    codec.decode_export(document, AUDIENCE.name)


def read_audiences(body: bytes) -> None:
    codec.decode_audiences(codec.decode_document(body, AUDIENCES.name), AUDIENCES.name)


def read_list(body: bytes) -> None:
    def take(rows: RowSlice) -> None:
        list(rows.iter_listed("1"))
        for index, view in enumerate(rows.rows):
            if view is not None:
                _ = view.key, view.csv_exports, view.uploaded_audience_csv
            rows.decode_record(index)

    reader = ListReader(AUDIENCES, take, max_bytes=1_000_000, secrets="")
    for start in range(0, len(body), 64):
        reader.feed(body[start : start + 64])
    reader.finish()


def read_error(body: bytes) -> None:
    make_error(AUDIENCE, Response(400, {}, body))


def read_all(body: bytes) -> None:
    for read in (read_record, read_audiences, read_list, read_error):
        try:
            read(body)
        except ResponseDecodeError as error:
            if CANARY in str(error).encode() and CANARY in body:
                raise AssertionError("an error repeats the response") from error
        except ApiError:
            pass  # callers may read the server's message


if __name__ == "__main__":
    atheris.Setup(sys.argv, read_all)
    atheris.Fuzz()
