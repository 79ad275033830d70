"""Which connections go through the environment's proxies, and whether those can be used."""

from __future__ import annotations

import importlib.util
import ipaddress
from collections.abc import Callable
from typing import TypeVar
from urllib.request import getproxies, proxy_bypass

import httpx

from persona_client.errors import ConnectionFailedError

Transport = TypeVar("Transport")

_KINDS = ("http", "https", "all")
"""The proxies that httpx makes ready, whatever the address."""


def direct_transport(transport: Callable[[], Transport], url: str | httpx.URL) -> Transport | None:
    """Returns what a client of an address needs not to look at the environment's proxies.

    That is a transport for this machine itself and for what `NO_PROXY` names; `None`, with which
    httpx uses the proxies, for all else.

    Args:
        transport: `httpx.HTTPTransport`, or the asynchronous one.
        url: The only address that the client calls.

    Raises:
        ConnectionFailedError: A proxy of the environment cannot be used.
        httpx.InvalidURL: The address cannot be one.
    """
    host = httpx.URL(url).host
    if _is_loopback(host) or proxy_bypass(host):
        return transport()
    for kind, address in getproxies().items():
        if kind in _KINDS and (wrong := _what_is_wrong(address)):
            raise ConnectionFailedError(
                f"the proxy of {kind.upper()}_PROXY cannot be used: {wrong}; or name {host} in "
                "NO_PROXY to go without"
            )
    return None


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _what_is_wrong(address: str) -> str:
    """What is wrong with a proxy's address, which is not quoted: it may hold a password."""
    try:
        scheme = httpx.URL(address if "://" in address else f"http://{address}").scheme
    except httpx.InvalidURL:
        return "it is not an address such as http://proxy.example:3128"
    if scheme in ("socks5", "socks5h"):
        has_socks = importlib.util.find_spec("socksio") is not None
        return "" if has_socks else "SOCKS needs a package, pip install 'httpx[socks]'"
    if scheme in ("http", "https"):
        return ""
    return f"it begins with {scheme[:20]}://, use http://, https:// or socks5://"
