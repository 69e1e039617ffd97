"""Addresses with secrets: the public form, and the headers to send.

public("https://ann:pw@example.org/a.jsonl?X-Amz-Signature=1f")    'https://example.org/a.jsonl'
public("https://example.org/get?format=csv&doc=7")                 'https://example.org/get?format=csv&doc=~6a2b1c0d'

The public form has no user name, password and fragment. Of the query only signatures are dropped, because other
parameters can identify the file. A value is shown only if both its name and its form are harmless, because the names of
secrets cannot be listed completely. Otherwise a short hash replaces it, which only distinguishes values. So a newly
signed address has the same public form.
"""

import hashlib
import json
import re
from base64 import b64encode
from collections.abc import Mapping
from functools import lru_cache
from html import escape
from typing import NamedTuple
from urllib.parse import quote, quote_plus, unquote, unquote_plus

from personahub_assets.core.errors import ConfigError

HIDDEN = "***"

_URL = re.compile(r"[a-z][a-z0-9+.-]{0,30}://[^\s'\"<>`|\\^{}]+", re.IGNORECASE)
_MISTYPED = re.compile(
    r"\s*+((?:[a-z][a-z0-9+.-]*+:(?!//[^/\\])|(?=//))[/\\]*+)[^/\\:?#@\s]*+:[^/\\?#@\s]*@", re.IGNORECASE
)
"""Address with user and password; other separators than `://` are accepted."""
_CHAIN = re.compile(r"::(?=[a-z][a-z0-9+.-]*://)", re.IGNORECASE)  # of fsspec: zip://a.csv::https://…
_HOST = re.compile(r"([^\s:/?#@\[\]\\]*|\[[0-9a-f:.%]+\])(:[0-9]*)?", re.IGNORECASE)
_HARMLESS = frozenset(
    ("alt", "api-version", "config", "dl", "download", "format", "lang", "language", "limit", "offset", "page", "raw")
)
_HARMLESS |= {"ref", "revision", "split", "version"}
_PLAIN_VALUE = re.compile(r"[A-Za-z0-9._-]{0,24}")
_PLAIN_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,39}")
_HASHED = re.compile(r"~[0-9a-f]{8}")
# Parameters of signatures, which change with each signing: AWS, Google, Azure, Alibaba, Tencent, CloudFront, and
# common names.
_SIGNING = re.compile(
    r"\A(?:x-(amz|goog|oss|obs|cos|tos|ms)-.*|q-.*|awsaccesskeyid|googleaccessid|ossaccesskeyid|key-pair-id|policy"
    r"|accesstoken"
    r"|(.*[-_.])?(sig|sign|signature|token|secret|password|passwd|pwd|auth|authorization|credentials?|jwt|expires|expiry"
    r"|hmac|(api|access|secret|private|account)[-_.]?key([-_.]?id)?))",
    re.IGNORECASE,
)
_AZURE = frozenset(  # beside `sig`
    ("se", "sp", "sr", "st", "sv", "spr", "sip", "srt", "ss", "skoid", "sktid", "skt", "ske", "sks", "skv")
)
_WORDS = ("files:", "standin:")  # instead of an address
_WEB, _LAST_PORT = ("http", "https"), 65_535
_ENDPOINT = re.compile(r"(?<=.)/(?:chat/completions|embeddings)/*\Z", re.IGNORECASE)
_SEPARATOR = re.compile(
    r",\s*+(?=[a-z][a-z0-9+.-]*://|[\w.-]+:[0-9]++(?![^/,\s]*@)|\[[0-9a-f:]+\]|standin:)", re.IGNORECASE
)
"""A comma before something like an address."""
_VARIABLE = re.compile(r"\$\{(\w+)\}")
_SHORTEST = 4  # minimum characters of a secret to search for: shorter ones occur in any text
_ROUNDS = 2_000


class _Parts(NamedTuple):
    scheme: str
    user: str  # 'ann:pw', empty if there is none
    host: str
    path: str
    query: str
    fragment: str

    @classmethod
    def of(cls, address: str) -> "_Parts":
        scheme, _, remainder = address.partition("://")
        remainder, _, fragment = remainder.partition("#")
        remainder, _, query = remainder.partition("?")
        authority, slash, path = remainder.partition("/")
        user, _, host = authority.rpartition("@")
        return cls(scheme, user, host, slash + path, query, fragment)

    def __str__(self) -> str:
        return f"{self.scheme}://{self.host}{self.path}" + (f"?{self.query}" if self.query else "")


@lru_cache(maxsize=1024)
def public(address: str) -> str:
    """The public form of an address, for messages and storage; paths and addresses without secrets are unchanged."""
    if mistyped := _MISTYPED.match(address):
        return f"{mistyped[1]}…"
    return "::".join(_public(link) if "://" in link else link for link in _CHAIN.split(address))


def split_addresses(addresses: str | None) -> list[str]:
    """The addresses of a list; a comma within an address, such as in its query, does not separate.

    >>> split_addresses("http://a/v1, http://b/v1?x=1,2")
    ['http://a/v1', 'http://b/v1?x=1,2']
    """
    return [address for text in _SEPARATOR.split(addresses or "") if (address := text.strip().rstrip(","))]


def public_list(addresses: str) -> str:
    """The public forms of a list of addresses."""
    return ", ".join(map(public, split_addresses(addresses)))


def redact(text: str, *secrets: str) -> str:
    """Replace addresses in a text, such as a library's error, by their public form, and secrets in all spellings."""
    return _URL.sub(lambda match: public(match[0]), without(text, *secrets))


def without(text: str, *secrets: str) -> str:
    """Replace secrets in a text, in all spellings."""
    for form in sorted(_forms(secrets), key=len, reverse=True):
        text = text.replace(form, HIDDEN)
    return text


def secrets_of(address: str) -> tuple[str, ...]:
    """The secrets of an address, for `redact`."""
    if mistyped := _MISTYPED.match(address):
        user = address[mistyped.end(1) : mistyped.end() - 1]
        return user, user.partition(":")[2]
    return tuple(secret for link in _CHAIN.split(address) if "://" in link for secret in _secrets_of(link))


def base_url(address: str, variable: str) -> str:
    """The base address of a server without user name and password, which are sent as a header.

    The query stays. An address of the endpoint itself, as portals show it, loses its end.

    Raises:
        ConfigError: if it is invalid. It is not quoted, because it can contain a password.
    """
    address = address.strip()
    components = _Parts.of(address)
    host = _HOST.fullmatch(components.host) if components.scheme.lower() in _WEB else None
    if not host or not host[1] or int((host[2] or "")[1:] or 0) > _LAST_PORT:
        got = "not shown, because it can contain a password" if "@" in address else repr(address.partition("?")[0])
        raise ConfigError(
            f"{variable} is not an address of a server ({got}); expected something like http://127.0.0.1:8000/v1, "
            f"with special characters of a user name or password as %XX{_alone(address)}"
        )
    return str(components._replace(path=_ENDPOINT.sub("", components.path).rstrip("/"), fragment=""))


def _alone(address: str) -> str:
    """The hint about a word that stands for something else than a server, such as `files:/data`."""
    word = f"{address.partition(':')[0].strip().lower()}:"
    return f". {word} is written without anything else" if word in _WORDS else ""


def below(base: str, path: str, *, instead_of: str = "") -> str:
    """Join a path to a base address, before its query; it can replace the end of the base's path."""
    components = _Parts.of(base)
    return str(components._replace(path=components.path.rstrip("/").removesuffix(instead_of) + path))


def authorization(address: str, key: str, variable: str) -> dict[str, str]:
    """The Authorization header: Basic for a user name and password in the address, else Bearer for a key.

    Args:
        address: configured address, with percent-encoded user name and password.
        key: API key, empty for none.
        variable: name of the address's variable, for errors.

    Raises:
        ConfigError: if there are both, because a request has one such header; or if the key is invalid.
    """
    user, key = _Parts.of(address.strip()).user, key.strip()  # a key from a file can end with a line break
    variable_of_key = variable.replace("_URL", "_API_KEY")
    if not (key.isascii() and key.isprintable()):
        raise ConfigError(
            f"{variable_of_key} contains a line break or a character that headers cannot have; it is not shown"
        )
    if user and key:
        raise ConfigError(
            f"{variable} has a user name, and {variable_of_key} is set: both use the "
            "header Authorization; remove one of them"
        )
    if user:
        name, _, password = user.partition(":")
        return {"Authorization": f"Basic {_basic(unquote(name), unquote(password))}"}
    return {"Authorization": f"Bearer {key}"} if key else {}


def request_headers(
    address: str, key: str, variable: str, headers: Mapping[str, str], variables: Mapping[str, str]
) -> dict[str, str]:
    """All headers that the settings call for: what `authorization` says, and those of hub.toml.

    A key that a header names as `${…_API_KEY}` is sent there, and not as a bearer token besides.

    Args:
        address: as it was set.
        key: empty for none.
        variable: that the address was set in.
        headers: by name; a value may hold `${NAME}`.
        variables: values of the names, as in `os.environ`.

    Raises:
        ConfigError: if a variable is not set, a value is no header's, or Authorization is set twice. No value is shown.
    """
    variable_of_key = variable.replace("_URL", "_API_KEY")
    values = {**variables, variable_of_key: key.strip()}
    filled = {name: _filled(name, value, values) for name, value in headers.items()}
    places_key = any(variable_of_key in _VARIABLE.findall(value) for value in headers.values())
    authorized = authorization(address, "" if places_key else key, variable)
    if authorized and any(name.lower() == "authorization" for name in headers):
        raise ConfigError(
            f"generation.headers of hub.toml sets Authorization, and so does {variable} or {variable_of_key}: "
            "leave one of them out"
        )
    return authorized | filled


def _filled(name: str, value: str, variables: Mapping[str, str]) -> str:
    """A header's value with its variables."""
    for needed in _VARIABLE.findall(value):
        if not variables.get(needed, "").strip():
            raise ConfigError(f"header {name} of hub.toml takes the variable {needed}, which is not set")
    filled = _VARIABLE.sub(lambda match: variables[match[1]].strip(), value).strip()
    if not (filled.isascii() and filled.isprintable()):
        raise ConfigError(f"header {name} of hub.toml holds a line break, or a sign that no header takes; not shown")
    return filled


def _public(address: str) -> str:
    components = _Parts.of(address)
    if not _HOST.fullmatch(components.host):
        return f"{components.scheme}://…"  # possibly a password with a slash: its end is unknown
    salt = f"{components.scheme}://{components.host}{components.path}"
    shown = [text for pair in _shown_pairs(components.query) if (text := _shown(pair, salt))]
    is_of_web = components.scheme.lower() in _WEB  # a fragment is never sent
    end = f"#{_hashed(components.fragment, salt)}" if components.fragment and not is_of_web else ""
    return str(components._replace(query="&".join(shown))) + end


def _shown_pairs(query: str) -> list[str]:
    pairs = [pair for pair in query.split("&") if pair]
    names = {_name(pair).lower() for pair in pairs}
    left_out = _AZURE if "sig" in names else frozenset[str]()
    return [p for p in pairs if "=" not in p or not (_SIGNING.fullmatch(_name(p)) or _name(p).lower() in left_out)]


def _name(pair: str) -> str:
    return unquote_plus(pair.partition("=")[0])


def _shown(pair: str, salt: str) -> str:
    name, equals, value = pair.partition("=")
    if not equals or not _PLAIN_NAME.fullmatch(name):
        return _hashed(pair, salt)
    if name.lower() in _HARMLESS and _PLAIN_VALUE.fullmatch(value):
        return pair
    return f"{name}={_hashed(value, f'{salt} {name}')}"


def _hashed(value: str, salt: str) -> str:
    """A short hash that is slow to compute, against guessing; a hash is returned unchanged."""
    if _HASHED.fullmatch(value):
        return value
    return (
        "~"
        + hashlib.pbkdf2_hmac("sha256", value.encode(errors="replace"), salt.encode(errors="replace"), _ROUNDS, 4).hex()
    )


def _secrets_of(address: str) -> list[str]:
    components = _Parts.of(address)
    name, _, password = components.user.partition(":")
    kept = set(_Parts.of(_public(address)).query.split("&"))
    hidden = [pair.rpartition("=")[2] for pair in components.query.split("&") if pair not in kept]
    basic = [_basic(unquote(name), unquote(password))] if components.user else []
    return [secret for secret in (components.user, password, name, components.fragment, *basic, *hidden) if secret]


def _forms(secrets: tuple[str, ...]) -> set[str]:
    """All spellings of secrets: plain, percent-encoded, decoded, JSON and HTML."""
    forms = {
        form
        for s in map(str.strip, secrets)
        for form in (s, unquote(s), unquote_plus(s), quote(s, safe="", errors="replace"), quote_plus(unquote(s)))
    }
    forms |= {json.dumps(form, ensure_ascii=is_ascii)[1:-1] for form in forms for is_ascii in (True, False)}
    forms |= {escape(form) for form in forms}
    return {form for form in forms if len(form) >= _SHORTEST}


def _basic(name: str, password: str) -> str:
    # Bytes of a variable that are not UTF-8 are restored.
    return b64encode(f"{name}:{password}".encode(errors="surrogateescape")).decode()
