"""TLS: the authorities that are trusted, and why a server's certificate is not accepted.

OpenSSL ignores an `SSL_CERT_FILE` that does not exist or has no certificates; here it is an error.
"""

import os
import ssl
from functools import cache
from pathlib import Path

import aiohttp

from personahub_assets.core.errors import LLMError

FILE = "SSL_CERT_FILE"
_ADDED = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
_TOO_EARLY, _EXPIRED = 9, 10  # codes of OpenSSL's verification, as in `man verify`
_UNKNOWN_AUTHORITY = frozenset({18, 19, 20, 21})
_OTHER_NAME = frozenset({62, 64})
_NO_TLS = frozenset({"WRONG_VERSION_NUMBER", "HTTP_REQUEST"})


def context() -> ssl.SSLContext:
    """The trusted authorities: the machine's or those of SSL_CERT_FILE, and those of the bundles of requests and curl.

    Raises:
        LLMError: if one of the variables does not name a file of certificates.
    """
    return _context(tuple((name, os.environ.get(name, "")) for name in (FILE, *_ADDED)))


@cache
def _context(files: tuple[tuple[str, str], ...]) -> ssl.SSLContext:
    trusted = ssl.create_default_context()  # reads SSL_CERT_FILE and SSL_CERT_DIR; takes 80 ms
    for variable, path in files:
        if path:
            _add(trusted, variable, path)
    return trusted


def _add(trusted: ssl.SSLContext, variable: str, path: str) -> None:
    try:
        trusted.load_verify_locations(**{"capath" if Path(path).is_dir() else "cafile": path})
    except OSError as error:  # ssl.SSLError is one
        raise LLMError(
            f"{variable} names {path}, which is no file of certificates ({_reason(error)}). Set it to a PEM file with "
            "the certificate of your authority, or unset it"
        ) from error


def obstacle(error: Exception, variable: str) -> str | None:
    """Why no TLS connection to a server can be made, with the remedy; None if the next attempt can succeed.

    Args:
        error: of aiohttp.
        variable: the environment variable that names the address.
    """
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return _about_certificate(error, variable)
    cause = error.os_error if isinstance(error, aiohttp.ClientConnectorSSLError) else None
    if isinstance(cause, ssl.SSLError) and cause.reason in _NO_TLS:
        return f"{error.host}:{error.port} answers without TLS. Write {variable} with http:// instead of https://"  # type: ignore[attr-defined]
    return None


def _about_certificate(error: aiohttp.ClientConnectorCertificateError, variable: str) -> str:
    cause = error.certificate_error
    code, reason = getattr(cause, "verify_code", 0), getattr(cause, "verify_message", "") or str(cause)
    return (
        f"the certificate of {error.host}:{error.port} is not accepted: {reason.rstrip('.')}. {_remedy(code, variable)}"
    )


def _remedy(code: int, variable: str) -> str:
    if code == _EXPIRED:
        return "Renew it on the server, and check the date of this machine"
    if code == _TOO_EARLY:
        return "Check the date of this machine and of the server"
    if code in _OTHER_NAME:
        return f"Write {variable} with a host name that the certificate has"
    if code in _UNKNOWN_AUTHORITY:
        return (
            "It is signed by an authority that is not trusted here, such as a company's own or that of a proxy that "
            f"opens TLS connections. Set {FILE} to a PEM file with the certificate of that authority ({_trusted_now()})"
        )
    return "Ask the operator of the server for a valid certificate"


def _trusted_now() -> str:
    if path := os.environ.get(FILE):
        return f"now {path}, which does not have it"
    return f"now the system's: {ssl.get_default_verify_paths().cafile or 'none'}"


def _reason(error: OSError) -> str:
    return getattr(error, "reason", None) or error.strerror or str(error)
