from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import anyio
import pytest

from indigo_async.sandbox import Dialect, ScaledClock
from indigo_async.sandbox.http.endpoints import ENDPOINTS
from tests.support.sandbox_http import open_api

HOOKS = Path(__file__).with_name("schemathesis_hooks.py")
SEED = 20_261_123


@pytest.mark.parametrize(
    ("dialect", "flow"),
    [
        (Dialect(), "synchronous"),
        (
            Dialect(
                id_type="integer",
                numeric_customer_ids=True,
                name_key="audienceName",
                list_shape="object",
                list_omitted_keys=frozenset({"csvExports"}),
                cost_key="totalCostInCents",
            ),
            "asynchronous",
        ),
    ],
    ids=["default", "other"],
)
async def test_schemathesis_finds_nothing(dialect: Dialect, flow: str, tmp_path: Path):
    async with open_api(dialect=dialect, export_flow=flow, clock=ScaledClock(1e6)) as api:
        base_url = api.sandbox.base_url
        environment = os.environ | {
            "SCHEMATHESIS_HOOKS": str(HOOKS),
            "SANDBOX_BASE_URL": base_url,
            "SANDBOX_TOKEN": api.sandbox.token,
            "SANDBOX_APP_AUDIENCE": json.dumps(await api.sandbox.seed_app_audience()),
        }
        options = [
            "--header",
            f"Authorization: Bearer {api.sandbox.token}",
            "--max-examples",
            "15",
            "--seed",
            str(SEED),
        ]
        checks = ["--checks", "all", "--exclude-checks", "positive_data_acceptance"]
        done = await anyio.run_process(
            [
                sys.executable,
                "-m",
                "schemathesis.cli",
                "run",
                base_url.replace("/api/v1", "/openapi.json"),
                *options,
                *checks,
            ],
            check=False,
            stderr=subprocess.STDOUT,
            env=environment,
            cwd=tmp_path,
        )
        assert done.returncode == 0, done.stdout.decode()
        assert not [
            endpoint for endpoint in api.sandbox.log.count_by_endpoint() if api.sandbox.log.count(endpoint, status=500)
        ]
        succeeded = {
            endpoint for endpoint in api.sandbox.log.count_by_endpoint() if api.sandbox.log.count(endpoint, status=200)
        }
    assert len(succeeded & set(ENDPOINTS)) == len(ENDPOINTS)
