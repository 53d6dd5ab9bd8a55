"""This machine is reached directly, whatever proxy the environment names for other machines.

Why: hospitals set http_proxy, often without no_proxy. A proxy would then receive a patient's clip
that is meant for a service on this machine, and Ray Serve, whose replicas call each other by gRPC,
would never become ready.
"""

import ipaddress
import os
import socket
import urllib.request
from collections.abc import MutableMapping
from contextlib import suppress
from http.client import HTTPResponse
from typing import Any
from urllib.parse import urlsplit

import psutil

EXEMPT = (
    "localhost", "127.0.0.1", "127.0.0.0/8", "::1", "[::1]",
    "169.254.169.254", "metadata.google.internal",
)  # fmt: skip
"""Entries of no_proxy; programs differ in which forms they understand. The last two are where Ray
asks at its start whether this machine is one of a cloud."""


def exempt_from_proxies(environment: MutableMapping[str, str] = os.environ) -> None:
    """Add the loopback addresses to no_proxy, for this process and those that it starts.

    Existing entries stay. gRPC alone reads no_grpc_proxy, and takes "*" for a name.
    """
    if not any(name.lower().endswith("_proxy") for name in environment):
        return
    upper = environment.get("NO_PROXY", "")
    lower = environment.get("no_proxy", upper)
    grpc = environment.get("no_grpc_proxy", lower)
    environment.update({"NO_PROXY": _add(upper or lower), "no_proxy": _add(lower)})
    environment["no_grpc_proxy"] = ",".join(filter(None, [grpc, *_missing(grpc)]))


def open_url(request: urllib.request.Request, timeout_s: float) -> HTTPResponse:
    """The response to a request: direct to this machine, else through the environment's proxy.

    A redirect is an error, as it would forward the token to another address.

    Raises:
        urllib.error.HTTPError: the status is not 200 to 299.
        OSError: there is no response.
    """
    handlers: list[Any] = [_NoRedirects]
    if proxy_of(request.full_url) is None:
        handlers.append(urllib.request.ProxyHandler({}))
    response: HTTPResponse = urllib.request.build_opener(*handlers).open(request, timeout=timeout_s)
    return response


def proxy_of(url: str) -> str | None:
    """The proxy of the environment for a URL, without its password; None if it is direct."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    proxy = urllib.request.getproxies().get(parts.scheme)
    if not proxy or is_this_machine(host) or urllib.request.proxy_bypass(parts.netloc):
        return None
    return proxy.rpartition("://")[2].rpartition("@")[2].rstrip("/")


def is_this_machine(host: str) -> bool:
    """Whether a host name or address, without a port, leads to this machine."""
    name = host.lower().rstrip(".")
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        found = {str(info[4][0]).partition("%")[0] for info in socket.getaddrinfo(host, None)}
    except (OSError, UnicodeError):
        return name == socket.gethostname().lower()
    own = {address.address for card in psutil.net_if_addrs().values() for address in card}
    own = {address.partition("%")[0] for address in own}
    for text in found:
        with suppress(ValueError):
            address = ipaddress.ip_address(text)
            address = getattr(address, "ipv4_mapped", None) or address
            if address.is_loopback or address.is_unspecified or str(address) in own:
                return True
    return False


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *args: Any, **kwargs: Any) -> None:
        return None


def _add(entries: str) -> str:
    """A value of no_proxy with the loopback addresses; "*" exempts all only if it is alone."""
    return entries if entries == "*" else ",".join(filter(None, [entries, *_missing(entries)]))


def _missing(entries: str) -> list[str]:
    known = entries.replace(",", " ").split()
    return [entry for entry in EXEMPT if entry not in known]
