"""A server that asks for credentials and quotes them in its errors; with credentials it answers like the stand-in."""

import threading
import urllib.request
from base64 import b64encode
from collections.abc import Callable, Collection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from personahub_assets.standin.server import StandinServer

CRAWL = b'{"text": "A lighthouse keeper repairs radios and writes about the weather of the north."}\n'


def basic(user: str, password: str) -> str:
    """The header of a user name and a password."""
    return "Basic " + b64encode(f"{user}:{password}".encode()).decode()


class Site:
    """A source file, and the stand-in behind credentials, as a model `tiny`. Use as a context manager.

    Args:
        standin: answers the requests about models.
        accepted: the accepted Authorization headers.
        quote: the text of an error about a header and a path.
    """

    def __init__(self, standin: StandinServer, accepted: Collection[str], quote: Callable[[str, str], str]):
        self.authorizations: list[str | None] = []
        self.paths: list[str] = []
        self.is_refusing = False
        self.status = 400  # of a refusal
        self._standin, self._accepted, self._quote = standin, accepted, quote
        site = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                site._reply(self, b"")

            def do_POST(self) -> None:
                site._reply(self, self.rfile.read(int(self.headers["Content-Length"])))

            do_HEAD = do_GET  # noqa: N815 - the name that http.server looks for

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self.host = f"127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> "Site":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def _reply(self, handler: BaseHTTPRequestHandler, body: bytes) -> None:
        header = handler.headers["Authorization"]
        self.authorizations.append(header)
        self.paths.append(handler.path)
        is_accepted = header in self._accepted
        is_request = body or "crawl" in handler.path or str(header).startswith("Bearer")
        if is_accepted and not (self.is_refusing and is_request):
            status, content = 200, self._answer(handler.path, body)
        else:
            status = self.status if is_accepted else 403
            content = f"no: {self._quote(str(header), handler.path)}".encode()
        handler.send_response(status)
        handler.send_header("Content-Length", str(len(content)))
        handler.end_headers()
        if handler.command != "HEAD":
            handler.wfile.write(content)

    def _answer(self, path: str, body: bytes) -> bytes:
        if "crawl" in path:
            return CRAWL
        address = self._standin.url + path.partition("?")[0].removeprefix("/v1")
        request = urllib.request.Request(address, body or None, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=30) as answer:
            return bytes(answer.read()).replace(b'"standin"', b'"tiny"')
