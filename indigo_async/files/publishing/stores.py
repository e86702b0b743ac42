"""Open object stores with obstore, and explain their errors.

Messages of obstore's errors contain URLs, which may be signed. They are searched for known causes and never shown.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeAlias
from urllib.parse import urlsplit

from indigo_async._exact import describe_kind, to_plain
from indigo_async._transport.proxies import Proxies
from indigo_async._validation import InputCheck, is_loopback_host
from indigo_async.errors import PublishError

if TYPE_CHECKING:
    from obstore.store import AzureStore, GCSStore, S3Store

    SigningStore: TypeAlias = S3Store | GCSStore | AzureStore
else:
    SigningStore = Any  # obstore is an extra, but annotations must be readable without it

__all__ = ["SCHEMES", "SigningStore", "explain", "is_panic", "open_store", "strip_credentials"]

SCHEMES = ("s3", "gs", "az")

_RETRY: Any = {"max_retries": 5, "retry_timeout": timedelta(seconds=60)}
_ERROR_CODE = re.compile(r"<Code>([A-Za-z0-9]{1,64})</Code>")
_REGION = re.compile(r"<Region>([a-z0-9-]{1,40})</Region>")

# obstore takes these options separately, and panics if one of them is among the store's settings.
_CLIENT_OPTIONS = frozenset(
    [
        "allow_http",
        "allow_invalid_certificates",
        "connect_timeout",
        "default_content_type",
        "http1_only",
        "http2_keep_alive_interval",
        "http2_keep_alive_timeout",
        "http2_keep_alive_while_idle",
        "http2_only",
        "pool_idle_timeout",
        "pool_max_idle_per_host",
        "proxy_ca_certificate",
        "proxy_excludes",
        "proxy_url",
        "randomize_addresses",
        "read_timeout",
        "root_certificate",
        "timeout",
        "user_agent",
    ]
)
_PREFIX = re.compile("^(aws|azure|google)_")
_ENDPOINTS = frozenset({"endpoint", "endpoint_url", "storage_endpoint"})

_PROFILES = (
    "obstore does not read AWS profiles or ~/.aws: `aws configure export-credentials --format env` prints variables "
    "that it reads"
)
_CREDENTIALS = {
    "s3": f"set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (with temporary ones, AWS_SESSION_TOKEN); {_PROFILES}",
    "gs": "set GOOGLE_SERVICE_ACCOUNT to the path of a service account's key file",
    "az": "set AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY",
}
_NO_CREDENTIALS = re.compile(
    r"169\.254\.|metadata\.google\.internal|/latest/api/token|/latest/meta-data|/metadata/identity|computeMetadata"
    r"|performing token request|Missing(Secret|Access| Secret| Access)"
)

_CAUSES_AT_OPENING = {
    r"Account must be specified": "no account is set; set AZURE_STORAGE_ACCOUNT_NAME",
    r"Invalid Access Key": "the account key is not a valid key (it must be Base64); was it copied completely?",
    r"Unable to open service account file": "the service account's key file cannot be read; check its path",
    r"Unable to decode service account file": "the service account's key is not a complete JSON key file",
    r"as boolean": "a setting must be true or false",
    r"Unable to recognise URL|invalid|empty host": "the URL must be like s3://bucket/prefix",
}

_CAUSES_BY_CODE = {
    "AccessDenied": "the credentials lack a permission ({}); they must allow writing, reading and deleting",
    "RequestTimeTooSkewed": "this machine's clock is wrong ({}); set it and try again",
    "SignatureDoesNotMatch": "the secret key is wrong ({}); was it copied completely?",
}
_WRONG_REGION = frozenset({"AuthorizationHeaderMalformed", "IllegalLocationConstraintException", "PermanentRedirect"})


def open_store(
    check: InputCheck, url: str, config: Mapping[str, Any] | None, *, proxies: Proxies
) -> SigningStore | None:
    """Open the store at a URL with one of the `SCHEMES`. Invalid settings are added to `check`, and None is returned.

    Raises:
        InvalidInputError: a variable names a proxy that can't be used.
        PublishError: obstore rejects the URL or its configuration.
    """
    from obstore.store import AzureStore, GCSStore, S3Store  # noqa: PLC0415 - the extra

    kinds: dict[str, Any] = dict(zip(SCHEMES, (S3Store, GCSStore, AzureStore), strict=True))
    scheme = urlsplit(url).scheme
    settings, client_options = _split_config(check, config or {})
    if check.problems:
        return None
    if client_options and "AWS_ALLOW_HTTP" in os.environ:  # obstore would ignore it
        client_options.setdefault("allow_http", os.environ["AWS_ALLOW_HTTP"])
    _check_endpoint(url, settings, client_options)
    client_options = proxies.object_store_options() | client_options
    try:
        store: SigningStore = kinds[scheme].from_url(
            url, config=settings, client_options=client_options or None, retry_config=_RETRY
        )
    except BaseException as error:
        if not isinstance(error, Exception) and not is_panic(error):
            raise
        reason = _explain_opening(error, scheme, settings)
    else:
        return store
    raise PublishError(f"obstore rejects {strip_credentials(url)} with this configuration: {reason}")


def is_panic(error: BaseException) -> bool:
    """Whether an error is an obstore panic, which is not an `Exception`."""
    return type(error).__name__ == "PanicException"


def strip_credentials(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.hostname or ''}{parts.path}"


def _split_config(check: InputCheck, config: Mapping[str, Any]) -> tuple[dict[str, str], dict[str, str]]:
    """Split a configuration into the store's settings and the options of its HTTP client, all as text."""
    settings: dict[str, str] = {}
    client_options: dict[str, str] = {}
    for key, value in config.items():
        plain = to_plain(value)
        if isinstance(plain, bool):
            plain = str(plain).lower()
        if not isinstance(plain, (str, int)):
            check.add(f"config.{key}", f"must be text, not {describe_kind(plain)}")
            continue
        option = _PREFIX.sub("", str(key).lower())
        if option in _CLIENT_OPTIONS:
            client_options[option] = str(plain)
        else:
            settings[str(key)] = str(plain)
    return settings, client_options


def _check_endpoint(url: str, settings: Mapping[str, str], client_options: Mapping[str, str]) -> None:
    """Refuse an endpoint over plain http, except on loopback.

    Raises:
        PublishError: people's data would be sent unencrypted, or obstore would refuse the endpoint.
    """
    endpoint = next((value for key, value in settings.items() if _PREFIX.sub("", key.lower()) in _ENDPOINTS), None)
    if endpoint is None and urlsplit(url).scheme == "s3":
        endpoint = os.environ.get("AWS_ENDPOINT_URL") or os.environ.get("AWS_ENDPOINT")
    if endpoint is None or not endpoint.lower().startswith("http://"):
        return
    problem = None
    if not is_loopback_host(urlsplit(endpoint).hostname):
        problem = "its endpoint must be https: the CSV holds people's data"
    elif "allow_http" not in client_options and not os.environ.get("AWS_ALLOW_HTTP"):
        problem = "its endpoint is plain http; for a server on this machine, set allow_http or AWS_ALLOW_HTTP to true"
    if problem is not None:
        raise PublishError(f"{strip_credentials(url)}: {problem}")


def _explain_opening(error: BaseException, scheme: str, settings: Mapping[str, str]) -> str:
    text = str(error)
    if type(error).__name__ == "UnknownConfigurationKeyError":
        key = next((key for key in settings if f"'{key.lower()}'" in text.lower()), "a key")
        if "profile" in key.lower():
            return _PROFILES
        return f"{key!r} is not an obstore setting for {scheme}://"
    if _NO_CREDENTIALS.search(text):
        return f"its credentials are incomplete; {_CREDENTIALS[scheme]}"
    return next((cause for known, cause in _CAUSES_AT_OPENING.items() if re.search(known, text)), type(error).__name__)


def explain(error: BaseException, store: object) -> str:
    """Say why a request to a store failed, and what to do."""
    from obstore.exceptions import PermissionDeniedError, UnauthenticatedError  # noqa: PLC0415 - the extra

    text = str(error)
    code = _ERROR_CODE.search(text)
    shown = code[1] if code is not None else type(error).__name__
    if code is None and _NO_CREDENTIALS.search(text):
        scheme = {"S3Store": "s3", "GCSStore": "gs"}.get(type(store).__name__, "az")
        reason = f"no credentials were found; {_CREDENTIALS[scheme]}"
    elif shown in _WRONG_REGION or "incorrectly configured region" in text:
        region = _REGION.search(text)
        where = f"in the region {region[1]}" if region is not None else "in another region"
        reason = f"the bucket is {where} ({shown}); set AWS_REGION, or the region in the configuration"
    elif shown in _CAUSES_BY_CODE:
        reason = _CAUSES_BY_CODE[shown].format(shown)
    elif isinstance(error, (PermissionDeniedError, UnauthenticatedError)) or shown == "ExpiredToken":
        reason = (
            f"the store refused the credentials ({shown}); check that they are valid and allow writing and deleting"
        )
    elif isinstance(error, FileNotFoundError):
        reason = f"the location does not exist ({shown}); check the bucket and its region"
    elif "builder error" in text and "http://" in text:
        reason = "its endpoint is plain http, which is not allowed; use https, or set allow_http for this machine"
    elif "error sending request" in text:
        reason = "the store could not be reached; check its address, its region, and the network or proxy"
    else:
        reason = f"the store could not be reached or failed ({shown}); check its URL, region and credentials"
    return reason
