from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from indigo_async.files import safe_file_name

NAMES = st.text(st.characters(codec="utf-8") | st.sampled_from("/\\.%:\0"), min_size=1, max_size=40)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("Donors, Spring 2026", "Donors, Spring 2026"),
        ("Zo\u00eb", "Zo\u00eb"),
        ("PA/Donors", "PA%2FDonors"),
        ("..", "%2E."),
        ("../../etc/passwd", "%2E.%2F..%2Fetc%2Fpasswd"),
        (".hidden", "%2Ehidden"),
        ("100%", "100%25"),
        ('a\\b:c*"\n', "a%5Cb%3Ac%2A%22%0A"),
    ],
)
def test_unsafe_characters_become_percent_codes(text: str, name: str):
    assert safe_file_name(text) == name


@given(NAMES, NAMES)
def test_different_names_are_different_files_in_the_same_folder(first: str, second: str):
    folder = Path("/exports")
    paths = [folder / f"{safe_file_name(text)}.csv" for text in (first, second)]
    assert [path.parent for path in paths] == [folder, folder]
    assert not any(path.name.startswith(".") for path in paths)
    assert (paths[0] == paths[1]) == (first == second)
