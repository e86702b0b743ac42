"""Metadata that depends on where the repository is: the links of the project, and those of the README.

On a package index, a link relative to the README leads nowhere. So the build makes each one absolute, at the tag of the
version that is built.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, cast

from hatchling.metadata.plugin.interface import MetadataHookInterface

_RELATIVE_LINK = re.compile(r'(\]\(|\b(?:src|srcset|href)=")(?![a-z][a-z0-9+.-]*:|#|/)([^)"\s]+)')
_PICTURE = re.compile(r"\.(?:svg|png|jpg|gif)$")


class RepositoryLinks(MetadataHookInterface):
    """Sets `urls` and `readme` from the setting `repository`."""

    def update(self, metadata: dict[str, Any]) -> None:
        config = cast("dict[str, str]", self.config)  # pyright: ignore[reportUnknownMemberType] - the type is Hatchling's
        repository, version = config["repository"], metadata["version"]
        metadata["urls"] = {
            "Repository": repository,
            "Documentation": f"{repository}/tree/main/docs",
            "Issues": f"{repository}/issues",
            "Changelog": f"{repository}/blob/main/CHANGELOG.md",
            "Security": f"{repository}/security/policy",
        }
        text = Path(self.root, "README.md").read_text(encoding="utf-8")
        metadata["readme"] = {"content-type": "text/markdown", "text": make_links_absolute(text, repository, version)}


def make_links_absolute(text: str, repository: str, version: str) -> str:
    """Return Markdown with links into the repository instead of relative ones. Pictures are linked as files."""

    def replace(link: re.Match[str]) -> str:
        view = "raw" if _PICTURE.search(link[2]) else "blob"
        return f"{link[1]}{repository}/{view}/v{version}/{link[2]}"

    return _RELATIVE_LINK.sub(replace, text)
