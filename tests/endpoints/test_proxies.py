"""Requests through a company's proxy: which addresses go there, and what is said when it is in the way."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import yarl
from scripted import Reply, Script, good, over

from personahub_assets.core.errors import EndpointDown, EndpointRefuses, LLMError
from personahub_assets.endpoints.proxies import Proxy, proxy_of
from personahub_assets.endpoints.transport import Meter, Transport

pytestmark = pytest.mark.usefixtures("brisk", "no_proxies")
FAR = "http://llm.corp.invalid/v1"
PAGE = b"<html><head><title>ERROR: The requested URL could not be retrieved</title></head><body>Blocked</body></html>"
RECEIVED: list[bytes] = []
_NAMES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")


@pytest.fixture
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in _NAMES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def ask(url: str) -> object:
    async def post(transport: Transport) -> object:
        return await transport.post("/chat/completions", b"{}", Meter())

    return over(url, post, tries=2, faults_in_a_row=2)


def root(script: Script) -> str:
    return str(yarl.URL(script.url).origin())


def far(script: Script) -> str:
    """The address that the proxy is asked for; here it is the server, too."""
    return script.url.replace(root(script), "http://llm.corp.invalid")


@contextmanager
def answering(raw: bytes) -> Iterator[str]:
    """A server that answers these bytes to every connection."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection:
                    request = connection.recv(65_536)
                    RECEIVED.append(request)
                    connection.sendall(raw)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"127.0.0.1:{server.getsockname()[1]}"
        server.shutdown(socket.SHUT_RDWR)
    thread.join()


def test_a_far_server_is_asked_through_the_proxy(script: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", root(script).removeprefix("http://"))
    assert ask(far(script.told(good())))


def test_this_machine_is_never_asked_through_a_proxy(script: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    assert ask(script.told(good()).url)


@pytest.mark.parametrize(
    ("url", "no_proxy", "is_direct"),
    [
        (FAR, "", False),
        (FAR, "corp.invalid", True),
        (FAR, "localhost, .corp.invalid", True),
        (FAR, "*", True),
        (FAR, "orp.invalid", False),
        (FAR, "llm.corp.invalid:80", True),
        (FAR, "llm.corp.invalid:81", False),
        ("http://10.1.2.3:8000/v1", "10.0.0.0/8", True),
        ("http://10.1.2.3:8000/v1", "10.1.2.3", True),
        ("http://11.1.2.3:8000/v1", "10.0.0.0/8,fd00::/8", False),
        ("http://[fd00::7]:8000/v1", "10.0.0.0/8,fd00::/8", True),
        ("http://[::1]:8000/v1", "", True),
        ("http://localhost:8000/v1", "", True),
        ("https://llm.corp.invalid/v1", "", True),  # the proxy is named for http only
    ],
)
def test_no_proxy(url: str, no_proxy: str, *, is_direct: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "proxy.corp:3128")
    monkeypatch.setenv("NO_PROXY", no_proxy)
    assert proxy_of(url) == (None if is_direct else Proxy("http://proxy.corp:3128", "http_proxy"))


def test_a_proxy_that_wants_a_password(script: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", root(script).replace("://", "://ann:s3same-42@"))
    page = Reply(status=407, body=PAGE, headers={"content-type": "text/html", "proxy-authenticate": "Basic"})
    with pytest.raises(EndpointRefuses, match=r"HTTP_PROXY as http://user:password@.*407.*NO_PROXY") as refused:
        ask(far(script.told(page)))
    assert "s3same" not in str(refused.value)


@pytest.mark.parametrize(
    ("status", "error", "words"),
    [
        (b"407 Proxy Authentication Required", EndpointRefuses, "HTTPS_PROXY as http://user:password@.*407"),
        (b"403 Forbidden", EndpointRefuses, "the proxy refuses: 403.*HTTPS_PROXY.*NO_PROXY"),
        (b"502 Bad Gateway", EndpointDown, "502.*through the proxy http://127.0.0.1.*HTTPS_PROXY"),
    ],
)
def test_a_proxy_that_opens_no_tunnel(
    status: bytes, error: type[LLMError], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = b"HTTP/1.1 %s\r\nContent-Type: text/html\r\nContent-Length: %d\r\n\r\n%s" % (status, len(PAGE), PAGE)
    with answering(raw) as address:
        monkeypatch.setenv("HTTPS_PROXY", f"http://ann:s3same-42@{address}")
        with pytest.raises(error, match=words) as raised:
            ask("https://llm.corp.invalid/v1")
    assert "s3same" not in str(raised.value)


def test_a_proxy_does_not_get_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    async def post(transport: Transport) -> object:
        return await transport.post("/chat/completions", b"{}", Meter())

    with answering(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n") as address:
        monkeypatch.setenv("HTTPS_PROXY", f"http://{address}")
        with pytest.raises(EndpointRefuses):
            over("https://llm.corp.invalid/v1", post, tries=1, faults_in_a_row=2)
    assert RECEIVED[-1].startswith(b"CONNECT llm.corp.invalid:443")
    assert b"authorization" not in RECEIVED[-1].lower()


def test_pages_of_a_proxy_name_it(script: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", root(script))
    page = Reply(status=504, body=PAGE, headers={"content-type": "text/html"})
    with pytest.raises(EndpointDown, match=r"could not be retrieved.*through the proxy.*HTTP_PROXY"):
        ask(far(script.told(page, page)))


def test_a_proxy_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    with pytest.raises(EndpointDown, match=r"through the proxy http://127.0.0.1:9 of ALL_PROXY"):
        ask(FAR)


@pytest.mark.parametrize("named", ["socks5://user:s3same-42@proxy:1080", "http://", "://proxy"])
def test_what_is_no_http_proxy(named: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", named)
    with pytest.raises(LLMError, match=r"HTTP_PROXY does not name an HTTP proxy .*NO_PROXY") as raised:
        ask(FAR)
    assert "s3same" not in str(raised.value)
