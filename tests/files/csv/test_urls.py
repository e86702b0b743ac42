"""Warnings about URLs that are not CSVs."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from indigo_async.files.csv.urls import find_url_warnings


def warn(url: str, *, api_is_local: bool = False) -> list[str]:
    return list(find_url_warnings(url, api_is_local=api_is_local))


@pytest.mark.parametrize(
    ("url", "words"),
    [
        (
            "https://drive.google.com/file/d/1aBc/view?usp=sharing",
            "a Google Drive page.*export=download&id=FILE_ID",
        ),
        ("https://drive.google.com/open?id=1aBc", "a Google Drive page"),
        ("https://drive.google.com/uc?id=1aBc", "a Google Drive page"),
        ("https://docs.google.com/spreadsheets/d/1aBc/edit#gid=0", "a Google Sheets page.*/export[?]format=csv"),
        ("https://docs.google.com/spreadsheets/d/1aBc/view", "a Google Sheets page"),
        ("https://docs.google.com/document/d/1aBc/edit", "a Google Docs page"),
        ("https://www.dropbox.com/scl/fi/abc/donors.csv?rlkey=s3cr3t&dl=0", "a Dropbox page.*dl=1 instead of dl=0"),
        ("https://www.dropbox.com/s/abc/donors.csv", "a Dropbox page"),
        ("https://1drv.ms/u/s!abc", "a OneDrive or SharePoint page"),
        ("https://onedrive.live.com/?id=1&cid=2", "a OneDrive or SharePoint page"),
        ("https://acme-my.sharepoint.com/:x:/g/personal/ann/abc?e=1", "a OneDrive or SharePoint page"),
        ("https://app.box.com/s/abc", "a Box page"),
        ("https://acme.app.box.com/file/123", "a Box page"),
        ("https://github.com/acme/lists/blob/main/donors.csv", "a GitHub page.*Raw button"),
        ("https://gist.github.com/acme/abc", "a GitHub page"),
        ("https://gitlab.com/acme/lists/-/blob/main/donors.csv", "a GitLab page.*/raw/"),
        ("https://www.icloud.com/iclouddrive/abc", "a page for viewing or downloading a file"),
        ("https://s3.console.aws.amazon.com/s3/object/lists?prefix=donors.csv", "requires a login.*presigned"),
        ("https://storage.cloud.google.com/lists/donors.csv", "requires a login"),
        (
            "https://files.example.org/donors.xlsx",
            "ends in .xlsx, so it probably is an Excel workbook, not CSV",
        ),
        ("https://files.example.org/Donors.XLSX?sig=s3cr3t", "ends in .xlsx"),
        (
            "https://files.example.org/donors.csv.gz",
            "ends in .gz, so it probably is a gzip archive, not CSV",
        ),
        ("https://files.example.org/donors.zip", "ends in .zip, so it probably is a ZIP archive"),
        ("https://files.example.org/donors%2Eods", "ends in .ods"),
        ("https://docs.google.com/spreadsheets/d/1aBc/export?format=xlsx", "ends in .xlsx"),
        ("https://localhost/donors.csv", "a private address, which the API cannot reach"),
        ("http://127.0.0.1:8000/donors.csv", "a private address, which the API cannot reach"),
        ("https://192.168.1.20/donors.csv", "a private address, which the API cannot reach"),
        ("https://[::1]/donors.csv", "a private address, which the API cannot reach"),
    ],
)
def test_a_url_that_is_probably_not_a_csv_causes_a_warning_with_advice(url: str, words: str):
    (warning,) = warn(url)

    assert re.search(words, warning)
    assert "s3cr3t" not in warning
    assert "1aBc" not in warning


@pytest.mark.parametrize(
    "url",
    [
        "https://files.example.org/donors.csv?X-Signature=abc",
        "https://files.example.org/download/123",
        "https://lists.s3.amazonaws.com/donors.csv?X-Amz-Signature=abc",
        "https://storage.googleapis.com/lists/donors.csv?X-Goog-Signature=abc",
        "https://drive.google.com/uc?export=download&id=1aBc",
        "https://drive.usercontent.google.com/download?id=1aBc",
        "https://docs.google.com/spreadsheets/d/1aBc/export?format=csv&gid=0",
        "https://docs.google.com/spreadsheets/d/e/1aBc/pub?output=csv",
        "https://docs.google.com/spreadsheets/d/1aBc/gviz/tq?tqx=out:csv",
        "https://www.dropbox.com/scl/fi/abc/donors.csv?rlkey=abc&dl=1",
        "https://dl.dropboxusercontent.com/s/abc/donors.csv",
        "https://acme-my.sharepoint.com/personal/ann/_layouts/15/download.aspx?share=abc",
        "https://acme-my.sharepoint.com/:x:/g/personal/ann/abc?download=1",
        "https://app.box.com/shared/static/abc.csv",
        "https://raw.githubusercontent.com/acme/lists/main/donors.csv",
        "https://github.com/acme/lists/blob/main/donors.csv?raw=true",
        "https://github.com/acme/lists/releases/download/v1/donors.csv",
        "https://mydropbox.com/donors.csv",
        "https://inbox.com/donors.csv",
        "https://files.example.org/drive.google.com/donors.csv",
        "https://files.example.org/my.xlsx/donors.csv",
    ],
)
def test_a_direct_link_has_no_warning(url: str):
    assert warn(url) == []


def test_a_server_on_this_machine_can_reach_private_addresses():
    assert warn("http://127.0.0.1:8000/donors.csv", api_is_local=True) == []


@given(url=st.one_of(st.text(max_size=80), st.text(max_size=60).map("https://dropbox.com/{}".format)))
def test_any_text_is_accepted(url: str):
    warn(url)
