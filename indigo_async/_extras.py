"""Check that the packages of an extra are installed."""

from __future__ import annotations

import shlex
from contextlib import suppress
from importlib.util import find_spec
from types import MappingProxyType

from indigo_async.errors import MissingPackageError

__all__ = ["EXTRAS", "require_extra", "require_packages"]

EXTRAS = MappingProxyType(
    {
        "cli": ("charset_normalizer", "cyclopts", "jinja2", "rich", "yaml"),
        "columns": ("charset_normalizer",),
        "otel": ("opentelemetry",),
        "publish": ("obstore",),
        "sandbox": ("addfips", "duckdb", "names", "numpy", "platformdirs", "sklearn", "zipcodes"),
        "temporal": ("temporalio",),
    }
)
"""The modules that each extra installs, as in `pyproject.toml`."""


def require_extra(extra: str, feature: str) -> None:
    """Check that an extra is installed, without importing its packages. `feature` names what needs it.

    Raises:
        MissingPackageError: the message names the extra.
    """
    require_packages(feature, f"indigo-async[{extra}]", *EXTRAS[extra])


def require_packages(feature: str, install: str, *modules: str) -> None:
    """Check that modules are installed, without importing them. `install` is the argument for `pip install`.

    Raises:
        MissingPackageError: one of them is not installed.
    """
    missing = [module for module in modules if not _is_installed(module)]
    if missing:
        verb = "is" if len(missing) == 1 else "are"
        raise MissingPackageError(
            f"{feature} needs {', '.join(missing)}, which {verb} not installed: pip install {shlex.quote(install)}",
            name=missing[0],
        ) from None


def _is_installed(module: str) -> bool:
    with suppress(ImportError, ValueError):  # a finder may refuse, and a module may have no spec
        return find_spec(module) is not None
    return False
