"""The README on a package index has no relative links."""

from __future__ import annotations

import re

import pytest

from hatch_build import make_links_absolute
from scripts.public_api import ROOT

REPOSITORY = "https://example.org/indigo"


@pytest.mark.parametrize(
    ("link", "absolute"),
    [
        ("[Guide](docs/guide.md)", "[Guide](https://example.org/indigo/blob/v1.2.3/docs/guide.md)"),
        ("[Part](docs/guide.md#part)", "[Part](https://example.org/indigo/blob/v1.2.3/docs/guide.md#part)"),
        ("![Picture](docs/run.svg)", "![Picture](https://example.org/indigo/raw/v1.2.3/docs/run.svg)"),
        ('<img src="docs/run.png">', '<img src="https://example.org/indigo/raw/v1.2.3/docs/run.png">'),
        ('<source srcset="docs/dark.png">', '<source srcset="https://example.org/indigo/raw/v1.2.3/docs/dark.png">'),
        ("[Elsewhere](https://example.com/a)", "[Elsewhere](https://example.com/a)"),
        ("[Below](#more)", "[Below](#more)"),
        ("[Mail](mailto:someone@example.com)", "[Mail](mailto:someone@example.com)"),
    ],
)
def test_relative_links_lead_to_the_tag_of_the_version(link: str, absolute: str):
    assert make_links_absolute(link, REPOSITORY, "1.2.3") == absolute


def test_the_links_of_the_readme_lead_to_files():
    text = make_links_absolute((ROOT / "README.md").read_text(), REPOSITORY, "1.2.3")
    paths = re.findall(rf"{REPOSITORY}/(?:blob|raw)/v1\.2\.3/([^)\"#]+)", text)
    assert paths
    assert [path for path in paths if not (ROOT / path).exists()] == []
