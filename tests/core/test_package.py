"""What the package itself shows: its version and its public names, without importing them before they are needed."""

from __future__ import annotations

import pydoc
import subprocess
import sys
from importlib import metadata

import pytest

import indigo_async
from indigo_async import files
from indigo_async.client import IndigoClient


def test_the_version_is_the_one_of_the_distribution():
    assert indigo_async.__version__ == metadata.version("indigo-async")


def test_help_shows_the_client_and_every_public_name():
    text = pydoc.plain(pydoc.render_doc(indigo_async))
    assert "class IndigoClient(builtins.object)" in text
    assert [name for name in indigo_async.__all__ if name not in text] == ["__version__"]
    assert f"VERSION\n    {indigo_async.__version__}\n" in text
    for endpoint in ("upload_csv", "list_audiences", "for_customer"):
        assert callable(getattr(IndigoClient, endpoint))
        assert f"{endpoint}(self" in text


def test_dir_shows_the_public_names():
    assert dir(indigo_async) == sorted(indigo_async.__all__)
    assert all(hasattr(indigo_async, name) for name in dir(indigo_async))


def test_importing_the_package_imports_nothing_else():
    program = "import sys; before = set(sys.modules); import indigo_async; print(*(set(sys.modules) - before))"
    result = subprocess.run([sys.executable, "-S", "-c", program], capture_output=True, text=True, check=True)
    assert {name for name in result.stdout.split() if name.startswith("indigo_async")} == {"indigo_async"}


def test_names_of_files_are_imported_on_first_use():
    assert all(hasattr(files, name) for name in files.__all__)
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = files.nothing  # type: ignore[attr-defined]
    program = "import sys; from indigo_async.files import ColumnSuggestion; print('aiohttp' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout == "False\n"
