from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.servers.s3 import Bucket, S3Server


@pytest.fixture(scope="session")
def s3_server() -> Iterator[S3Server]:
    from moto.server import ThreadedMotoServer  # noqa: PLC0415 - slow to import

    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield S3Server(f"http://{host}:{port}")
    server.stop()


@pytest.fixture
def bucket(s3_server: S3Server, tmp_path: Path) -> Bucket:
    """A separate bucket for each test."""
    return s3_server.create_bucket(
        f"{tmp_path.parent.name}-{tmp_path.name}".replace("_", "-").strip("-")[-60:].strip("-").lower()
    )
