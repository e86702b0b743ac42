"""Build the wheel and the sdist, and try them as a user would: `python -m scripts.distributions [FOLDER]`.

The wheel and the sdist are installed into a new virtual environment without extras, where nothing of the checkout can
be imported.
"""

from __future__ import annotations

import subprocess
import sys
import tarfile
import tempfile
import venv
import zipfile
from pathlib import Path

from indigo_async import __version__

__all__ = ["DistributionError", "build_distributions", "check_distributions"]

ROOT = Path(__file__).parent.parent

_TRIAL = """
import asyncio, importlib, json, pkgutil, pydoc, sys, threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import indigo_async
from indigo_async import IndigoClient, errors

class Server(BaseHTTPRequestHandler):
    def do_GET(self):
        body = json.dumps([{"id": 1, "name": "Donors", "status": "ACTIVE"}]).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass

async def call(address):
    async with IndigoClient("a-token-for-loopback", base_url=address) as client:
        (audience,) = await client.list_audiences()
        assert audience.name == "Donors", audience

assert indigo_async.__version__ == sys.argv[1], indigo_async.__version__
assert sys.prefix in indigo_async.__file__, indigo_async.__file__
for module in pkgutil.iter_modules(indigo_async.__path__):
    if module.name not in {"__main__", "testing"}:  # which run the command and need pytest
        try:
            importlib.import_module(f"indigo_async.{module.name}")
        except errors.MissingPackageError as error:
            assert "pip install" in str(error), error
assert "IndigoClient" in pydoc.plain(pydoc.render_doc(indigo_async))
with ThreadingHTTPServer(("127.0.0.1", 0), Server) as server:
    threading.Thread(target=server.serve_forever, daemon=True).start()
    asyncio.run(call(f"http://127.0.0.1:{server.server_port}"))
    server.shutdown()
"""


class DistributionError(Exception):
    """A distribution isn't what it should be."""


def main() -> None:
    """Build and check, in a folder that is kept if it is given."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(sys.argv[1] if len(sys.argv) > 1 else temporary)
        try:
            build_distributions(folder)
            check_distributions(folder, __version__)
        except DistributionError as error:
            sys.exit(f"distributions: {error}")
        print(*(f"{path.name}: {path.stat().st_size:,} bytes" for path in sorted(folder.iterdir())), sep="\n")


def build_distributions(folder: Path) -> None:
    """Build the sdist from the checkout, and the wheel from the sdist."""
    _run("the build", sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(ROOT))


def check_distributions(folder: Path, version: str) -> None:
    """Check the metadata and the contents of the distributions, and try both.

    Raises:
        DistributionError: something is wrong with them.
    """
    wheel, sdist = folder / f"indigo_async-{version}-py3-none-any.whl", folder / f"indigo_async-{version}.tar.gz"
    missing = [path.name for path in (wheel, sdist) if not path.exists()]
    if missing:
        raise DistributionError(f"the build gave no {' and no '.join(missing)}")
    _run("twine", sys.executable, "-m", "twine", "check", "--strict", str(wheel), str(sdist))
    _check_contents(wheel, sdist)
    with tempfile.TemporaryDirectory() as environment:
        venv.create(environment, with_pip=True)
        _try(wheel, Path(environment), version)
        _try(sdist, Path(environment), version, "--force-reinstall", "--no-deps")


def _check_contents(wheel: Path, sdist: Path) -> None:
    """Check that the sdist has every file of the checkout, and the wheel every file of the package."""
    command = ["git", "-C", str(ROOT), "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    files = {name for name in listed if (ROOT / name).exists()}
    with tarfile.open(sdist) as archive:
        packed = {name.partition("/")[2] for name in archive.getnames()}
    if lost := files - packed:
        raise DistributionError(f"the sdist lacks {sorted(lost)}")
    if strange := packed - files - {"PKG-INFO"}:
        raise DistributionError(f"the sdist has {sorted(strange)}, which the repository ignores")
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if ".dist-info/" not in name}
    if packed != (expected := {name for name in files if name.startswith("indigo_async/")}):
        raise DistributionError(f"the wheel and the package differ in {sorted(packed ^ expected)}")


def _try(distribution: Path, environment: Path, version: str, *options: str) -> None:
    """Install a distribution and use it: imports, help, a call, and the command without its extra."""
    python, command = environment / "bin" / "python", environment / "bin" / "indigo-async"
    _run("pip", str(python), "-m", "pip", "install", "--quiet", *options, str(distribution))
    _run(distribution.name, str(python), "-I", "-W", "error", "-c", _TRIAL, version, cwd=environment)
    run = subprocess.run([command, "doctor"], cwd=environment, capture_output=True, text=True, timeout=60, check=False)
    if run.returncode == 0 or "pip install 'indigo-async[cli]'" not in run.stderr or "Traceback" in run.stderr:
        raise DistributionError(f"the command without its extra says:\n{run.stdout}{run.stderr}")


def _run(what: str, *command: str, cwd: Path = ROOT) -> None:
    run = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=600, check=False)
    if run.returncode != 0:
        raise DistributionError(f"{what} failed:\n{run.stdout}{run.stderr}")


if __name__ == "__main__":
    main()
