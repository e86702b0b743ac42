"""Releases are made for real, in a clone."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from scripts.public_api import ROOT

pytestmark = pytest.mark.skipif(not (ROOT / ".git").exists(), reason="releases are made from a repository")


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A clone on its branch main, which installs nothing from an index, and whose checks pass at once."""
    folder = tmp_path / "clone"
    git(tmp_path, "clone", "--quiet", "--no-tags", str(ROOT), str(folder))
    git(folder, "checkout", "--quiet", "-B", "main")
    (folder / ".ci" / "static").write_text("#!/bin/sh\nexit 0\n")
    for name in ("public_api/test_public_api.py", "release/test_changelog.py"):
        test = folder / "tests" / name
        assert test.exists()
        test.write_text("def test_it(): pass\n")
    (folder / "tests" / "conftest.py").unlink()
    distributions = folder / "scripts" / "distributions.py"
    distributions.write_text(distributions.read_text().replace("\n    main()\n", "\n    _try = print\n    main()\n"))
    (folder / "changelog.d" / "+clone.added.md").write_text("Something that only the clone has.\n")
    commit_all(folder)
    return folder


def git(folder: Path, *arguments: str) -> str:
    command = ["git", "-c", "user.name=Test", "-c", "user.email=test@example.org", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout


def commit_all(folder: Path) -> None:
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "Prepare the clone")


def release(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    names = {f"GIT_{role}_{what}": "test" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    environment = os.environ | names | {"PYTHONPATH": str(folder)}
    command = [sys.executable, "-m", "scripts.release", *arguments]
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300, check=False
    )


def test_a_release_is_committed_tagged_and_built_but_not_published(clone: Path):
    run = release(clone, "98.7.6")
    assert run.returncode == 0, run.stderr
    assert git(clone, "status", "--porcelain") == ""
    assert git(clone, "log", "-1", "--format=%s %D").strip() == "Release 98.7.6 HEAD -> main, tag: v98.7.6"
    assert '__version__ = "98.7.6"' in (clone / "indigo_async" / "_version.py").read_text()
    changelog = (clone / "CHANGELOG.md").read_text()
    assert changelog.count("\n## [98.7.6] - 20") == 1
    assert "- Something that only the clone has.\n" in changelog
    assert [path.name for path in (clone / "changelog.d").iterdir()] == ["README.md"]
    assert "__version__: str" in (clone / "tests" / "public_api" / "baseline" / "indigo_async.pyi").read_text()
    built = {path.name for path in (clone / "dist" / "98.7.6").iterdir()}
    assert built == {"indigo_async-98.7.6-py3-none-any.whl", "indigo_async-98.7.6.tar.gz"}
    assert "twine upload dist/98.7.6/*" in run.stdout
    again = release(clone, "98.7.6")
    assert again.stderr == "no release: the tag v98.7.6 exists; choose a later version than 98.7.6\n"


def test_a_dry_run_changes_nothing(clone: Path):
    before = git(clone, "rev-parse", "HEAD")
    run = release(clone, "98.7.6", "--dry-run")
    assert run.returncode == 0, run.stderr
    assert "- Something that only the clone has.\n" in run.stdout
    assert git(clone, "status", "--porcelain") + git(clone, "tag") == ""
    assert git(clone, "rev-parse", "HEAD") == before


def test_a_release_that_fails_leaves_the_checkout_as_it_was(clone: Path):
    readme = clone / "README.md"
    readme.unlink()  # the build reads it
    commit_all(clone)
    run = release(clone, "98.7.6")
    assert run.returncode == 1
    assert "README.md" in run.stderr
    assert git(clone, "status", "--porcelain") + git(clone, "tag") == ""
    assert "98.7.6" not in (clone / "indigo_async" / "_version.py").read_text()


def test_what_stands_against_a_release_is_said(clone: Path):
    assert "98.7 isn't a version such as 0.2.0" in release(clone, "98.7").stderr
    assert "0.0.1 isn't later than" in release(clone, "0.0.1").stderr
    (clone / "new.txt").touch()
    assert "the checkout has changes; commit or remove them first:\n?? new.txt" in release(clone, "98.7.6").stderr
    (clone / ".ci" / "static").write_text("#!/bin/sh\necho a finding\nexit 1\n")
    commit_all(clone)
    assert "static failed:\na finding" in release(clone, "98.7.6").stderr
    git(clone, "checkout", "--quiet", "-b", "elsewhere")
    assert "releases are made from the branch main, not from elsewhere" in release(clone, "98.7.6").stderr
    git(clone, "checkout", "--quiet", "main")
    git(clone, "rm", "--quiet", "changelog.d/+*.md")
    commit_all(clone)
    assert "nothing changed since the last release" in release(clone, "98.7.6").stderr
