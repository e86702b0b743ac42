"""Where a download may lead: what the API, or a host on the way, may send us to."""

from __future__ import annotations

import ipaddress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from indigo_async._validation import is_private_host
from indigo_async.client import IndigoClient
from indigo_async.errors import DownloadError
from indigo_async.files.downloads.download import download
from indigo_async.files.downloads.urls import validate_url
from tests.support.servers.scripted import QUICK_RETRY

API = "https://app.indigo.engineering/api/v1"
STORE = "https://files.example.org/x.csv"
FULL_WIDTH = {ord("."): "。"} | {ord("0") + digit: chr(0xFF10 + digit) for digit in range(10)}
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
    "127。0。0。1",
    "127\uff0e0\uff0e0\uff0e1",
    "127.0.0.1".translate(FULL_WIDTH),
    "127｡0｡0｡1",
    "①②⑦.0.0.1",
    "127.0.0\u00ad.1",
    "\uff4cocalhost",
    "0x7f.1",
    "0177.0.0.1",
    "[::]",
    "[::10.0.0.1]",
    "[::8.8.8.8]",
    "[::ffff:0:10.0.0.1]",
    "[64:ff9b::10.0.0.1]",
    "[64:ff9b:1::8.8.8.8]",
    "[2002:0a00:0001::1]",
    "[2001:0:0a00:0001::]",
    "[2606:4700::5efe:10.0.0.1]",
    "[fec0::1]",
    "[ff02::1]",
    "224.0.0.1",
    "255.255.255.255",
]
PUBLIC = [
    "8.8.8.8",
    "[2606:4700::1111]",
    "[64:ff9b::8.8.8.8]",
    "[::ffff:8.8.8.8]",
    "files.example.org",
    "localhost.example.org",
    "10.example.org",
]


@pytest.mark.parametrize("host", PRIVATE)
@pytest.mark.parametrize("sender", [API, STORE])
def test_a_public_server_cannot_redirect_a_download_into_a_private_network(sender: str, host: str):
    with pytest.raises(DownloadError, match=r"is on a private network, and .* is not$") as caught:
        validate_url(f"https://{host}/x.csv?sig=canary", referrer_url=sender)
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize("host", PRIVATE)
def test_a_download_is_never_redirected_to_plain_http(host: str):
    with pytest.raises(DownloadError, match="is not https"):
        validate_url(f"http://{host}/x.csv", referrer_url=API)


@pytest.mark.parametrize("host", PUBLIC)
def test_a_public_host_is_allowed(host: str):
    assert validate_url(f"https://{host}/x.csv", referrer_url=API) == f"https://{host}/x.csv"


def test_an_api_in_a_private_network_may_store_its_files_there():
    url = "https://10.0.0.2/x.csv"
    assert validate_url(url, referrer_url="https://10.0.0.1/api/v1") == url


def test_a_local_server_may_redirect_to_itself():
    url = "http://127.0.0.1:8081/x.csv"
    assert validate_url(url, referrer_url="http://localhost:8080/api/v1") == url


@pytest.mark.parametrize("host", ["", None, "files.example.org", "1.2.3.4.5", "exam ple", "٣.3.3.3"])
def test_text_that_is_not_an_address_is_not_private(host: str | None):
    assert not is_private_host(host)


_PRIVATE_NETWORKS = ["10.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10"]


def _in(network: str) -> st.SearchStrategy[ipaddress.IPv4Address]:
    return st.ip_addresses(v=4, network=network)


def _spellings(address: ipaddress.IPv4Address) -> list[str]:
    """One IPv4 address in the spellings that resolvers, gateways and tunnels understand."""
    number, octets = int(address), address.packed
    embedded = [
        (0xFFFF << 32) | number,
        number,
        (0xFFFF << 48) | number,
        (0x64FF9B << 96) | number,
        (0x64FF9B0001 << 80) | number,
        (0x2002 << 112) | (number << 80) | 1,
        (0x20010000 << 96) | (number << 64) | 0xFFFF,
        (0x20010000 << 96) | (0x08080808 << 64) | (number ^ 0xFFFFFFFF),
        (0x26064700 << 96) | (0x5EFE << 32) | number,
    ]
    return [
        str(address),
        str(address).translate(FULL_WIDTH),
        f"{address}.",
        str(number),
        hex(number),
        ".".join(f"0{octet:o}" for octet in octets),
        ".".join(map(hex, octets)),
        f"{octets[0]}.{number & 0xFFFFFF}",
        *(str(ipaddress.IPv6Address(one)) for one in embedded),
        f"{ipaddress.IPv6Address(embedded[0])}%eth0",
    ]


@given(st.sampled_from(_PRIVATE_NETWORKS).flatmap(_in))
def test_a_private_address_is_private_however_it_is_spelled_or_embedded(address: ipaddress.IPv4Address):
    assert [host for host in _spellings(address) if not is_private_host(host)] == []


@given(_in("8.0.0.0/8"))
def test_a_public_address_is_public_however_it_is_spelled(address: ipaddress.IPv4Address):
    plain = [*_spellings(address)[:9], f"64:ff9b::{address}"]
    assert [host for host in plain if is_private_host(host)] == []


@given(st.text(max_size=80))
def test_any_text_is_classified(host: str):
    assert is_private_host(host) in {True, False}


async def test_a_download_url_is_checked_before_the_request(tmp_path: Path):
    async with IndigoClient("token", base_url=API, retry=QUICK_RETRY) as client:
        for url in ("https://169.254.169.254/latest/meta-data", "http://127.0.0.1:9/x.csv"):
            with pytest.raises(DownloadError, match=r"private network|not https"):
                await download(client.transport, url, tmp_path / "x.csv", retry=QUICK_RETRY)
    assert list(tmp_path.iterdir()) == []
