"""Make a release: `python -m scripts.release 0.2.0`, or first `python -m scripts.release 0.2.0 --dry-run`.

It sets the version, collects the changelog, records the public interface, builds and checks the distributions, commits
and tags. It publishes nothing: it prints the commands that do. If anything fails, the checkout is as before.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from pathlib import Path

__all__ = ["main"]

ROOT = Path(__file__).parent.parent
VERSION_FILE = ROOT / "indigo_async" / "_version.py"

_VERSION = re.compile(r'^__version__ = "(\d+\.\d+\.\d+)"$', re.MULTILINE)


class ReleaseError(Exception):
    """Why there is no release."""


def main() -> None:
    """Release, or say why not."""
    parser = argparse.ArgumentParser(prog="python -m scripts.release", description="Make a release; publish nothing.")
    parser.add_argument("version", help="such as 0.2.0")
    parser.add_argument("--dry-run", action="store_true", help="check everything, show the changelog, change nothing")
    options = parser.parse_args()
    try:
        check_preconditions(options.version)
        run_static_checks()
        if options.dry_run:
            print(run(sys.executable, "-m", "towncrier", "build", "--draft", "--version", options.version))
            print(f"A dry run: nothing was changed. {options.version} can be released.")
        else:
            release(options.version)
    except ReleaseError as error:
        sys.exit(f"no release: {error}")


def check_preconditions(version: str) -> None:
    """Check what must hold before anything is changed.

    Raises:
        ReleaseError: it doesn't hold.
    """
    current = read_version()
    tags = run("git", "tag", "--list", "v*").split()
    if not re.fullmatch(r"\d+\.\d+\.\d+", version):
        raise ReleaseError(f"{version} isn't a version such as 0.2.0")
    if f"v{version}" in tags:
        raise ReleaseError(f"the tag v{version} exists; choose a later version than {current}")
    if parts(version) < parts(current) or (version == current and f"v{current}" in tags):
        raise ReleaseError(f"{version} isn't later than {current}")
    if changes := run("git", "status", "--porcelain"):
        raise ReleaseError(f"the checkout has changes; commit or remove them first:\n{changes}")
    branch = run("git", "branch", "--show-current").strip()
    if branch != "main":
        raise ReleaseError(f"releases are made from the branch main, not from {branch or 'a detached HEAD'}")
    if not list((ROOT / "changelog.d").glob("+*.md")):
        raise ReleaseError("nothing changed since the last release: changelog.d has no fragments")


def run_static_checks() -> None:
    """Run the gate's checks that read the code, and the checks of the changelog and the public interface."""
    run(str(ROOT / ".ci" / "static"))
    run(sys.executable, "-m", "pytest", "-q", "tests/public_api", "tests/release/test_changelog.py")


def release(version: str) -> None:
    """Change the files, build and check the distributions, commit, and tag."""
    folder, start = ROOT / "dist" / version, run("git", "rev-parse", "HEAD").strip()
    try:
        VERSION_FILE.write_text(_VERSION.sub(f'__version__ = "{version}"', VERSION_FILE.read_text("utf-8")), "utf-8")
        run(sys.executable, "-m", "towncrier", "build", "--yes", "--version", version)
        run(sys.executable, "-m", "scripts.public_api")
        print(run(sys.executable, "-m", "scripts.distributions", str(folder)))
        run("git", "add", "--all")
        run("git", "commit", "--message", f"Release {version}")
        run("git", "tag", "--annotate", f"v{version}", "--message", f"indigo_async {version}")
    except BaseException:
        run("git", "reset", "--quiet", "--hard", start)  # the checkout was clean
        run("git", "clean", "--quiet", "--force", "-d")
        raise
    print(f"{version} is committed and tagged, and nothing is published yet. To publish it:")
    print(f"  git push origin main v{version}")
    print(f"  twine upload {folder.relative_to(ROOT)}/*")


def read_version() -> str:
    found = _VERSION.search(VERSION_FILE.read_text("utf-8"))
    if found is None:
        raise ReleaseError(f"{VERSION_FILE.name} has no version")
    return found[1]


def parts(version: str) -> list[int]:
    return [int(part) for part in version.split(".")]


def run(*command: str) -> str:
    """Run a command in the checkout and return its output.

    Raises:
        ReleaseError: it failed.
    """
    try:
        process = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise ReleaseError(f"{error.filename} isn't installed; see CONTRIBUTING.md") from None
    if process.returncode != 0:
        raise ReleaseError(f"{' '.join(command)} failed:\n{process.stdout}{process.stderr}")
    return process.stdout


if __name__ == "__main__":
    main()
