"""Object storage for tests: moto's server on a free port, and a proxy before it that does what real storage does.

The proxy hides the newest objects from lists, breaks connections, sends half of an upload on, or loses an answer.
"""

import http.client
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from moto.server import ThreadedMotoServer

BUCKET = "bucket"

Trouble = Callable[["Proxy", "Handler", bytes], bool]
"""Does something to a request, with its body; returns whether it has answered it."""


class Proxy:
    """A server before a storage server.

    Attributes:
        hidden: patterns of keys that lists do not show.
        trouble: asked about every request.
        requests: method and path of every request.
    """

    def __init__(self, behind: tuple[str, int]):
        self.behind = behind
        self.hidden: list[str] = []
        self.trouble: Trouble | None = None
        self.requests: list[tuple[str, str]] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.proxy = self  # type: ignore[attr-defined]
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def forward(
        self, method: str, path: str, headers: dict[str, str], body: bytes
    ) -> tuple[int, dict[str, str], bytes]:
        connection = http.client.HTTPConnection(*self.behind, timeout=30)
        try:
            connection.request(method, path, body, {**headers, "Content-Length": str(len(body))})
            answer = connection.getresponse()
            content = answer.read()
            return answer.status, dict(answer.getheaders()), self._without_hidden(path, content)
        finally:
            connection.close()

    def _without_hidden(self, path: str, content: bytes) -> bytes:
        if "list-type=2" not in path:
            return content
        text = content.decode()
        for pattern in self.hidden:
            text = re.sub(rf"<Contents><Key>[^<]*{pattern}[^<]*</Key>.*?</Contents>", "", text, flags=re.DOTALL)
            text = re.sub(rf"<Contents>\s*<Key>[^<]*{pattern}[^<]*</Key>.*?</Contents>", "", text, flags=re.DOTALL)
        return text.encode()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def _any(self) -> None:
        proxy: Proxy = self.server.proxy  # type: ignore[attr-defined]
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        proxy.requests.append((self.command, self.path))
        if proxy.trouble and proxy.trouble(proxy, self, body):
            return
        self.answer(*proxy.forward(self.command, self.path, dict(self.headers), body))

    def answer(self, status: int, headers: dict[str, str], content: bytes) -> None:
        self.send_response(status)
        of_this_answer = {"content-length", "transfer-encoding", "connection", "date", "server"}
        for name, value in headers.items():
            if name.lower() not in of_this_answer:
                self.send_header(name, value)
        length = next((v for n, v in headers.items() if n.lower() == "content-length"), "0")
        self.send_header("Content-Length", length if self.command == "HEAD" else str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def break_off(self) -> None:
        """Close the connection without an answer."""
        self.close_connection = True
        self.connection.close()

    def log_message(self, *_: object) -> None:
        pass

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _any  # noqa: N815


@contextmanager
def storage() -> Iterator[Proxy]:
    """Start both servers with an empty bucket, and set the variables that name them."""
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    proxy = Proxy((host, port))
    variables = {
        "AWS_ACCESS_KEY_ID": "user",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": proxy.url,
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in variables.items():
            patch.setenv(name, value)
        proxy.forward("PUT", f"/{BUCKET}", {"Host": "localhost"}, b"")
        try:
            yield proxy
        finally:
            proxy.close()
            server.stop()
