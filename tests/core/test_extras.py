"""A feature whose extra is not installed names the extra."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

import pytest

from indigo_async._extras import EXTRAS, require_extra, require_packages
from indigo_async.errors import IndigoError, MissingPackageError

BLOCK = """
import sys
from importlib.abc import MetaPathFinder

class Blocked(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {names}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Blocked())
"""

PUBLISHER = "from indigo_async.files import ObjectStorePublisher; ObjectStorePublisher('{}')"
STORE = "from indigo_async.temporal import export_store; export_store('s3://bucket/exports')"
READ = """
from pathlib import Path
from indigo_async.models import CsvExport
from indigo_async.workflows import ExportReceipt
ExportReceipt(export=CsvExport(id=1), path=Path("x.csv"), size_bytes=0, sha256="").{}()
"""
SUGGEST = """
import asyncio
from pathlib import Path
from indigo_async.files import suggest_columns
Path(sys.argv[1]).write_bytes("Pr\u00e9nom,Nom\\n\u00c9lodie,Ren\u00e9\\n".encode("latin-1"))
asyncio.run(suggest_columns(sys.argv[1]))
"""

CASES = [
    *((module, "import indigo_async.sandbox.people", "sandbox") for module in ("numpy", "duckdb")),
    *((module, "from indigo_async.sandbox import Sandbox; Sandbox()", "sandbox") for module in EXTRAS["sandbox"]),
    ("addfips", "from indigo_async.sandbox.people import VoterFile; VoterFile.synthetic(10)", "sandbox"),
    ("opentelemetry", "import indigo_async.telemetry", "otel"),
    ("temporalio", "import indigo_async.temporal", "temporal"),
    ("temporalio", "import indigo_async.temporal.workflows.job", "temporal"),
    *(("obstore", PUBLISHER.format(url), "publish") for url in ("s3://bucket/x", "gs://bucket/x", "az://bucket/x")),
    ("obstore", STORE, "publish"),
    ("charset_normalizer", SUGGEST, "columns"),
]


def run_without(*modules: str, program: str, arguments: Sequence[str] = ()) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", BLOCK.format(names={*modules}) + program, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize(("module", "program", "extra"), CASES)
def test_a_missing_extra_is_named(module: str, program: str, extra: str, tmp_path: Path):
    done = run_without(module, program=program, arguments=[str(tmp_path / "x.csv")])
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("indigo_async.errors.MissingPackageError: ")
    assert last.endswith(f" needs {module}, which is not installed: pip install 'indigo-async[{extra}]'")


@pytest.mark.parametrize(
    ("method", "library"), [("to_pandas", "pandas"), ("to_polars", "polars"), ("to_arrow", "pyarrow")]
)
def test_a_missing_library_without_an_extra_is_named(method: str, library: str):
    done = run_without(library, program=READ.format(method))
    assert done.stderr.strip().endswith(f"needs {library}, which is not installed: pip install {library}")


def test_the_fixtures_name_pytest_and_the_extra():
    done = run_without("pytest", program="import indigo_async.testing")
    assert done.stderr.strip().endswith("indigo_async.testing needs pytest, which is not installed: pip install pytest")


def test_a_test_with_the_fixtures_names_the_extra(tmp_path: Path):
    (tmp_path / "conftest.py").write_text(
        BLOCK.format(names={"duckdb"}) + 'pytest_plugins = ["indigo_async.testing"]\n'
    )
    (tmp_path / "test_it.py").write_text("def test_it(indigo_voters): pass\n")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:schemathesis", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, cwd=tmp_path)
    assert "needs duckdb, which is not installed: pip install 'indigo-async[sandbox]'" in done.stdout


def test_a_lite_sandbox_needs_no_extra():
    program = "import asyncio; from indigo_async.sandbox import Sandbox; Sandbox(lite=True); print('fine')"
    assert run_without(*EXTRAS["sandbox"], program=program).stdout == "fine\n"


@pytest.mark.parametrize("entry", ["-m indigo_async", "-c from~indigo_async.cli~import~main;main()"])
def test_without_its_extra_the_command_says_what_to_install(entry: str, tmp_path: Path):
    (tmp_path / "sitecustomize.py").write_text(BLOCK.format(names={"cyclopts", "rich"}))
    command = [sys.executable, *(part.replace("~", " ") for part in entry.split(" "))]
    environment = {"PYTHONPATH": f"{tmp_path}:{Path(__file__).parents[2]}"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=environment)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        "indigo-async: the command needs cyclopts, rich, which are not installed: pip install 'indigo-async[cli]'\n"
    )


def test_the_error_is_an_import_error_with_the_module():
    with pytest.raises(MissingPackageError) as caught:
        require_packages("this", "pip-name", "json", "no_such_module")
    assert isinstance(caught.value, ImportError)
    assert isinstance(caught.value, IndigoError)
    assert caught.value.name == "no_such_module"
    assert str(caught.value) == "this needs no_such_module, which is not installed: pip install pip-name"


@pytest.mark.parametrize("extra", EXTRAS)
def test_installed_packages_are_not_missing(extra: str):
    require_extra(extra, "this")


def test_the_extras_are_those_of_the_package():
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    modules: dict[str, set[str]] = {}
    for module, distributions in metadata.packages_distributions().items():
        for distribution in distributions:
            modules.setdefault(distribution.lower().replace("_", "-"), set()).add(module)
    for extra, requirements in project["optional-dependencies"].items():
        if extra == "all":
            continue
        names = {requirement.partition(">")[0].lower().replace("_", "-") for requirement in requirements}
        assert len(EXTRAS[extra]) == len(names)
        assert all(modules[name] & set(EXTRAS[extra]) for name in names), extra
