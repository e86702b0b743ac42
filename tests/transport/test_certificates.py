"""Certificate authorities from the environment are trusted, for the API and for downloads."""

from __future__ import annotations

from pathlib import Path

import pytest

from indigo_async.client import IndigoClient
from indigo_async.errors import InvalidInputError
from tests.support.servers.scripted import QUICK_RETRY, respond_with, respond_with_json
from tests.support.servers.tls import AUTHORITY, tls_server, write_authority

VARIABLES = ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch: pytest.MonkeyPatch):
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("name", ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
async def test_a_bundle_is_trusted_for_the_api_and_for_downloads(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv(name, str(write_authority(tmp_path)))
    async with (
        tls_server(respond_with_json([]), respond_with(200, b"a,b\n")) as server,
        IndigoClient("tok-1", base_url=server.origin, retry=QUICK_RETRY) as client,
    ):
        assert await client.list_audiences() == []
        async with client.transport.http.open_url(f"{server.origin}/file.csv", {}, read_timeout=5) as response:
            assert response.status == 200


@pytest.mark.parametrize("name", ["SSL_CERT_DIR", "REQUESTS_CA_BUNDLE"])
async def test_a_folder_of_certificates_is_trusted(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / f"{_subject_hash()}.0").write_bytes(AUTHORITY.cert_pem.bytes())
    monkeypatch.setenv(name, str(tmp_path))
    async with (
        tls_server(respond_with_json([])) as server,
        IndigoClient("tok-1", base_url=server.origin, retry=QUICK_RETRY) as client,
    ):
        assert await client.list_audiences() == []


def _subject_hash() -> str:
    """The name under which OpenSSL looks for the authority's certificate (`openssl x509 -hash`)."""
    import hashlib  # noqa: PLC0415 - only here

    from cryptography import x509  # noqa: PLC0415 - trustme brings it

    subject = x509.load_pem_x509_certificate(AUTHORITY.cert_pem.bytes()).subject
    content = b"".join(
        _der(0x31, _der(0x30, _oid(attribute.oid.dotted_string) + _der(0x0C, attribute.value.lower().encode())))
        for attribute in subject
    )
    return f"{int.from_bytes(hashlib.sha1(content).digest()[:4], 'little'):08x}"


def _der(tag: int, content: bytes) -> bytes:
    return bytes([tag, len(content)]) + content


def _oid(dotted: str) -> bytes:
    first, second, *rest = (int(part) for part in dotted.split("."))
    return _der(0x06, bytes([first * 40 + second, *rest]))


@pytest.mark.parametrize("name", VARIABLES)
async def test_a_missing_file_is_reported_before_anything_is_sent(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv(name, str(tmp_path / "missing.pem"))
    with pytest.raises(InvalidInputError, match=rf"{name}: .*missing\.pem"):
        async with IndigoClient("tok-1", base_url="https://127.0.0.1:9"):
            pass


async def test_a_file_without_certificates_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "bundle.pem"
    path.write_text("not a certificate")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(path))
    with pytest.raises(InvalidInputError, match=r"REQUESTS_CA_BUNDLE: .* contains no certificates in PEM format"):
        async with IndigoClient("tok-1", base_url="https://127.0.0.1:9"):
            pass
