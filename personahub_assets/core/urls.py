"""Normalise and compare web addresses as browsers read them.

    prefixes = UrlPrefixes(["https://example.org/ann"])
    prefixes.covers("HTTP://EXAMPLE.org:80/ann/photos?page=2")       True
    prefixes.covers("https://example.org/anna")                      False: another path segment
    prefixes.covers("https://example.org.evil.com/ann")              False: another host

Addresses are parsed by the URL standard of browsers: case and escapes of the host, internationalised names, default
ports, `.` and `..`, backslashes. http and https are equal. User, fragment, the dot after a host and the `<…>` that some
crawlers write are ignored. A subdomain, also `www.`, is another host.
"""

import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import quote, unquote_to_bytes, urlsplit

from ada_url import URL

from personahub_assets.core.errors import ArgumentError

_WEB = ("http", "https")
_PLAIN = re.compile(r"https?://([a-z0-9.-]*[a-z][a-z0-9-]*)\.?[/?#]")
"""Addresses with a plain host; a host that ends with a number can be an IP address in another notation."""
_NORMAL = re.compile(
    r"https?(://[a-z0-9.-]*[a-z][a-z0-9-]*/(?:[A-Za-z0-9_~-]+(?:[./][A-Za-z0-9_~-]+)*/?)?(?:\?[\w.=-]+(?:&[\w.=-]+)*)?)",
    re.ASCII,
)
"""Addresses that are already normalised except for the scheme."""
_WITHOUT_SCHEME = re.compile(r"\A[^\s/?#@:\\<>]+\.([^\s/?#@:.\\<>]{2,}|\d)\.?(:\d+)?([/?#]|$)")
_HOST = re.compile(r"[a-z0-9_-]+(\.[a-z0-9_-]+)*\.?(:[0-9]+)?")
_PATH_SAFE, _QUERY_SAFE = "!$&'()*+,;=:@", "!$'()*+,;=:@/?"


@dataclass(frozen=True, slots=True)
class Address:
    """The compared parts of an address."""

    scheme: str  # https also for http
    host: str  # with the port if it is not the default
    segments: tuple[bytes, ...]
    parameters: tuple[bytes, ...]

    def __str__(self) -> str:
        path = "/".join(quote(segment, _PATH_SAFE) for segment in self.segments)
        query = "&".join(quote(parameter, _QUERY_SAFE) for parameter in self.parameters)
        return f"{self.scheme}://{self.host}/{path}" + (f"?{query}" if self.parameters else "")


class UrlPrefixes:
    """Addresses of sites and folders; False if there are none."""

    def __init__(self, prefixes: Iterable[str]):
        self._by_host: dict[str, list[Address]] = defaultdict(list)
        for prefix in prefixes:
            if address := read_address(prefix):
                self._by_host[address.host].append(address)

    def __bool__(self) -> bool:
        return bool(self._by_host)

    def covers(self, text: str) -> bool:
        """Whether an address is below one of the prefixes; without a scheme it is read as a web address."""
        plain = _PLAIN.match(text)
        if plain and plain[1] not in self._by_host and "xn--" not in plain[1]:
            return False  # most rows, at a twentieth of the time
        address = read_address(text, any_scheme=True)
        return address is not None and any(_covers(prefix, address) for prefix in self._by_host.get(address.host, ()))

    def near_host(self, text: str) -> str | None:
        """The host of an address, if it is another host of the same site: a subdomain, a parent, another port."""
        plain = _PLAIN.match(text)
        address = None if plain else read_address(text, any_scheme=True)
        host = plain[1] if plain else address.host if address else ""
        name = host.partition(":")[0]
        is_near = host not in self._by_host and any(
            name == own or name.endswith(f".{own}") or own.endswith(f".{name}")
            for own in (host.partition(":")[0] for host in self._by_host)
        )
        return host if host and is_near else None


def read_address(text: str, *, any_scheme: bool = False) -> Address | None:
    """Parse an address; None if it is invalid or has no host.

    Args:
        any_scheme: also accept `example.org/page`.
    """
    text = _bare(text)
    if any_scheme and (text.startswith("//") or _WITHOUT_SCHEME.match(text)):
        text = "https://" + text.lstrip("/")
    try:
        url = URL(text)
        scheme, host, port, path, query = url.protocol[:-1], url.hostname, url.port, url.pathname, url.search[1:]
    except (ValueError, UnicodeError):
        return _read_loosely(text)
    return _address(scheme, host, path, query, port)


def normal_url(url: str) -> str:
    """Normalise an address for comparison; other text is stripped.

    >>> normal_url(" HTTP://Example.org:80/%41bout#top")
    'https://example.org/About'
    """
    if plain := _NORMAL.fullmatch(url):
        return f"https{plain[1]}"
    return str(read_address(url) or url.strip())


def check_prefix(prefix: str) -> str:
    """Return a prefix of addresses if it has a host and only compared parts.

    Raises:
        ConfigError: naming the fault and the remedy.
    """
    address, bare = read_address(prefix), _bare(prefix)
    try:
        components = urlsplit(bare)
    except ValueError:
        components = urlsplit("")
    if address is None or not components.scheme or not components.netloc:
        guess = read_address(prefix, any_scheme=True)
        hint = f"; did you mean {guess}?" if guess and "." in guess.host else ""
        raise ArgumentError(
            f"{prefix!r} is not a prefix of addresses: expected scheme and host, as in https://example.org/{hint}"
        )
    if "@" in components.netloc:
        raise ArgumentError(f"{prefix!r} has a user; users are not compared. Without it: {address}")
    if components.fragment:
        raise ArgumentError(f"{prefix!r}: fragments are not compared. Without it: {address}")
    if "*" in address.host or address.segments[-1] == b"*":
        raise ArgumentError(
            f"{prefix!r}: there are no wildcards. All below an address goes with it; name each host, one "
            "--url-prefix for each"
        )
    return prefix


def _covers(prefix: Address, address: Address) -> bool:
    """Compare scheme and host, then path segments; a prefix with parameters matches one page."""
    wanted, actual = _trimmed(prefix.segments), _trimmed(address.segments)
    if prefix.scheme != address.scheme or len(actual) < len(wanted):
        return False
    if prefix.parameters and (len(actual) > len(wanted) or not set(prefix.parameters) <= set(address.parameters)):
        return False
    return all(map(_is_same, wanted, actual))


def _is_same(wanted: bytes, actual: bytes) -> bool:
    """Whether two segments are the same; `page;v=1` is a form of `page`."""
    return actual == wanted or (b";" not in wanted and actual.startswith(wanted + b";"))


def _trimmed(segments: tuple[bytes, ...]) -> tuple[bytes, ...]:
    count = len(segments)
    while count and not segments[count - 1]:
        count -= 1
    return segments[:count]


def _bare(text: str) -> str:
    text = text.strip().lstrip("\ufeff")
    return text[1:-1].strip() if text.startswith("<") and text.endswith(">") else text


def _read_loosely(text: str) -> Address | None:
    """Parse an address whose host browsers reject."""
    try:
        components = urlsplit(text)
    except ValueError:  # such as an unclosed bracket
        return None
    host = components.netloc.rpartition("@")[2].lower()
    is_plain = components.scheme and _HOST.fullmatch(host)
    return _address(components.scheme.lower(), host, components.path, components.query) if is_plain else None


def _address(scheme: str, host: str, path: str, query: str, port: str = "") -> Address | None:
    host = host.rstrip(".")
    if not host:
        return None
    try:
        segments = tuple(map(unquote_to_bytes, path.removeprefix("/").split("/")))
        parameters = tuple(map(unquote_to_bytes, filter(None, query.split("&"))))
    except UnicodeEncodeError:  # a text that cannot be stored
        return None
    return Address("https" if scheme in _WEB else scheme, host + (f":{port}" if port else ""), segments, parameters)
