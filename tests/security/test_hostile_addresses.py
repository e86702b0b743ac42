"""Where a download may lead: what the API, or a host on the way, may send us to."""

from __future__ import annotations

from pathlib import Path

import pytest
from harness import QUICK

from indigo_async.client import IndigoClient
from indigo_async.errors import DownloadError
from indigo_async.files.download import _checked_url, download
from indigo_async.inputs import is_private_host

API = "https://app.indigo.engineering/api/v1"
STORE = "https://files.example.org/x.csv"
PRIVATE = [
    "169.254.169.254",
    "10.0.0.1",
    "172.16.5.4",
    "192.168.1.1",
    "100.64.0.1",
    "127.0.0.1",
    "127.1",
    "2130706433",
    "0x7f000001",
    "0.0.0.0",
    "localhost",
    "LOCALHOST.",
    "metadata.localhost",
    "[::1]",
    "[fe80::1]",
    "[fe80::1%25eth0]",
    "[fd00:ec2::254]",
    "[::ffff:169.254.169.254]",
]
PUBLIC = ["8.8.8.8", "[2606:4700::1111]", "files.example.org", "localhost.example.org", "10.example.org"]


@pytest.mark.parametrize("host", PRIVATE)
@pytest.mark.parametrize("sender", [API, STORE])
def test_nobody_outside_sends_a_download_into_a_private_network(sender: str, host: str):
    with pytest.raises(DownloadError, match=r"is in a private network, where .* may not send us$") as caught:
        _checked_url(f"https://{host}/x.csv?sig=canary", sender=sender)
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize("host", PRIVATE)
def test_nor_to_it_in_the_clear(host: str):
    with pytest.raises(DownloadError, match="is not https"):
        _checked_url(f"http://{host}/x.csv", sender=API)


@pytest.mark.parametrize("host", PUBLIC)
def test_a_public_host_is_asked(host: str):
    assert _checked_url(f"https://{host}/x.csv", sender=API) == f"https://{host}/x.csv"


def test_an_api_in_a_private_network_may_keep_its_files_there():
    url = "https://10.0.0.2/x.csv"
    assert _checked_url(url, sender="https://10.0.0.1/api/v1") == url


def test_this_machine_may_send_us_around_on_itself():
    url = "http://127.0.0.1:8081/x.csv"
    assert _checked_url(url, sender="http://localhost:8080/api/v1") == url


@pytest.mark.parametrize("host", ["", None, "files.example.org", "1.2.3.4.5", "exam ple", "٣.3.3.3"])
def test_what_is_no_address_is_no_private_one(host: str | None):
    assert not is_private_host(host)


async def test_a_download_url_of_the_api_is_checked_before_it_is_asked(tmp_path: Path):
    async with IndigoClient("token", base_url=API, retry=QUICK) as client:
        for url in ("https://169.254.169.254/latest/meta-data", "http://127.0.0.1:9/x.csv"):
            with pytest.raises(DownloadError, match=r"private network|not https"):
                await download(client.transport, url, tmp_path / "x.csv", retry=QUICK)
    assert list(tmp_path.iterdir()) == []
