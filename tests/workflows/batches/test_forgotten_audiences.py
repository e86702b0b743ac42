from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

from indigo_async.workflows import run_batch
from tests.support.jobs import count_posts, lite_sandbox, make_client, make_jobs


async def test_audiences_missing_on_the_server_are_reported_and_not_made_again(tmp_path: Path):
    journal = tmp_path / "run.sqlite"
    async with lite_sandbox() as first, make_client(first) as client:
        assert (await run_batch(client, make_jobs(1, tmp_path), journal=journal)).done == 1
        port = urlsplit(first.base_url).port
    (tmp_path / "0.csv").unlink()
    async with lite_sandbox(port=port) as second, make_client(second) as client:
        report = await run_batch(client, make_jobs(1, tmp_path), journal=journal)
        assert count_posts(second) == 0
    (failure,) = report.failures
    assert failure.error_type == "NotFoundError"
    assert "the journal recorded audience" in failure.message
    assert "Check that the server (base_url) and the token are that run's" in failure.message
