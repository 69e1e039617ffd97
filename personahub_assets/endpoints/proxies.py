"""Find the proxy that the environment names for an address."""

import ipaddress
import os
import urllib.request
from typing import NamedTuple

import yarl

from personahub_assets.core.addresses import public
from personahub_assets.core.errors import LLMError

_DEFAULT_PORTS = {"http": 80, "https": 443}


class Proxy(NamedTuple):
    """An HTTP proxy: its address, which may hold a password, and the variable that names it."""

    url: str
    variable: str

    @property
    def description(self) -> str:
        """A sentence for errors, without the password."""
        return (
            f"The request went through the proxy {public(self.url)} of {self.variable}; if the server is to be asked "
            "directly, add its host to NO_PROXY"
        )


def proxy_of(base: str) -> Proxy | None:
    """The proxy for a base address; None if it is asked directly.

    As with curl, `NO_PROXY` lists hosts, domains, `host:port` and networks such as 10.0.0.0/8. Requests to this
    machine never use a proxy, because another machine cannot reach it.

    Raises:
        LLMError: if the environment names something other than an HTTP proxy.
    """
    try:
        address = yarl.URL(base)
    except ValueError:
        return None  # an invalid address; the first request raises the error
    if not address.host or _is_direct(address.host, address.port or _DEFAULT_PORTS.get(address.scheme, 0)):
        return None
    proxies = urllib.request.getproxies()
    kind = next((kind for kind in (address.scheme, "all") if proxies.get(kind)), None)
    return Proxy(_checked(proxies[kind].strip(), _variable(kind)), _variable(kind)) if kind else None


def _variable(kind: str) -> str:
    names = (f"{kind}_proxy", f"{kind}_proxy".upper())
    return next((name for name in names if os.environ.get(name)), "the system's settings")


def _checked(url: str, variable: str) -> str:
    """The address of a proxy; the scheme is optional."""
    url = url if "://" in url else f"http://{url}"
    try:
        address = yarl.URL(url)
    except ValueError:
        address = yarl.URL()
    if address.scheme in ("http", "https") and address.host:
        return url
    raise LLMError(
        f"{variable} does not name an HTTP proxy ({public(url)}); expected something like http://proxy.example:3128. "
        "SOCKS proxies are not supported. To ask the server directly, add its host to NO_PROXY"
    )


def _is_direct(host: str, port: int) -> bool:
    if host == "localhost" or urllib.request.proxy_bypass(f"{host}:{port}"):
        return True
    try:
        ip = ipaddress.ip_address(host)
    except ValueError:
        return False
    return ip.is_loopback or any(ip in network for network in _direct_networks())


def _direct_networks() -> list[ipaddress.IPv4Network | ipaddress.IPv6Network]:
    networks = []
    for entry in (os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or "").split(","):
        try:
            networks.append(ipaddress.ip_network(entry.strip(), strict=False))
        except ValueError:
            continue  # a host or a domain
    return networks
