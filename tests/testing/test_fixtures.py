"""The fixtures in projects of their own, as users have them: under AnyIO's plugin, and under pytest-asyncio."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

CONFTEST = 'pytest_plugins = ["indigo_async.testing"]\n'
BACKEND = """
import pytest

@pytest.fixture(scope="session")
def anyio_backend():
    return "asyncio"
"""
TESTS = """
import pytest
from indigo_async import workflows

seen = []

@pytest.mark.parametrize("number", range(3))
async def test_each_test_has_its_own_sandbox(indigo_sandbox, indigo_client, indigo_voters, number):
    assert await indigo_client.list_audiences() == []
    (audience_id,) = await indigo_sandbox.seed_audiences(1, "42")
    assert [audience.id for audience in await indigo_client.list_audiences("42")] == [audience_id]
    seen.append((indigo_sandbox.base_url, id(indigo_voters)))
    assert len({voters for _, voters in seen}) == 1

async def test_purchases_can_be_counted(indigo_sandbox, indigo_client, tmp_path):
    (audience_id,) = await indigo_sandbox.seed_audiences(1, "42")
    receipt = await workflows.export_audience(
        indigo_client, audience_id, customer_id="42", destination=tmp_path / "people.csv",
        optional_field_types=["phone"], max_cost_cents=1_000_000,
    )
    (bought,) = indigo_sandbox.log.find(endpoint="POST /purchase_csv_export", customer_id="42")
    assert bought.export_id == receipt.export.id
    assert indigo_sandbox.counts().charged_cents == receipt.export.cost_cents > 0
"""

ANYIO_ALONE = 'addopts = "-p no:asyncio"\n'
PROJECTS = {
    "AnyIO in its auto mode": (f'{ANYIO_ALONE}anyio_mode = "auto"', CONFTEST + BACKEND, TESTS),
    "AnyIO by marks": (ANYIO_ALONE, CONFTEST + BACKEND, f"import pytest\npytestmark = pytest.mark.anyio\n{TESTS}"),
    "pytest-asyncio in its auto mode": (
        'asyncio_mode = "auto"\nasyncio_default_fixture_loop_scope = "function"',
        CONFTEST,
        TESTS,
    ),
}


@pytest.mark.parametrize("project", PROJECTS)
def test_the_fixtures_work_in_a_project(tmp_path: Path, project: str):
    options, conftest, tests = PROJECTS[project]
    (tmp_path / "pyproject.toml").write_text(f'[tool.pytest.ini_options]\nfilterwarnings = ["error"]\n{options}\n')
    (tmp_path / "conftest.py").write_text(conftest)
    (tmp_path / "test_mine.py").write_text(tests)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:schemathesis"]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    assert "4 passed" in run.stdout
