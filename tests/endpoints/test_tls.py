"""Servers with certificates of a private authority, for chat and embeddings, over real TLS."""

import contextlib
import datetime
import http.server
import json
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme
from scripted import over

from personahub_assets.core.errors import EndpointRefuses, LLMError
from personahub_assets.embedding.embedder import Embedder, EmbedError
from personahub_assets.endpoints.transport import Meter, Transport

LONG_AGO = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
VARIABLES = ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        data = json.dumps({"data": [{"embedding": [3, 4]} for _ in body.get("input", ())], "choices": [{}]}).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class _Server(http.server.ThreadingHTTPServer):
    connections = 0

    def get_request(self) -> Any:
        self.connections += 1
        return super().get_request()

    def handle_error(self, *_: object) -> None:
        """Ignore clients that do not trust the certificate."""


@contextlib.contextmanager
def serving(certificate: trustme.LeafCert | None) -> Iterator[_Server]:
    server = _Server(("127.0.0.1", 0), _Handler)
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        certificate.configure_cert(context)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def pem(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("authority") / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    return str(path)


@pytest.fixture(autouse=True)
def untrusted(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


def chat(url: str) -> Any:
    async def post(transport: Transport) -> Any:
        return await transport.post("/chat/completions", b"{}", Meter())

    return over(url, post)


def embed(url: str) -> Any:
    return Embedder(url=url, model="tiny").embed(["A nurse."])


def refused(server: _Server, words: str, host: str = "127.0.0.1") -> None:
    """The error names server, reason and remedy after one connection, for chat and for embeddings."""
    url = f"https://{host}:{server.server_port}/v1"
    with pytest.raises(EndpointRefuses, match=f"{url}: .*{words.format(variable='PERSONAHUB_LLM_URL')}"):
        chat(url)
    with pytest.raises(EmbedError, match=f"{url}: .*{words.format(variable='PERSONAHUB_EMBED_URL')}"):
        embed(url)
    assert server.connections == 2


def test_an_unknown_authority(authority: trustme.CA, pem: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(authority.issue_cert("127.0.0.1")) as server:
        refused(
            server, r"certificate of 127\.0\.0\.1:\d+ is not accepted: unable to get local issuer.*Set SSL_CERT_FILE"
        )
        for name in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
            with monkeypatch.context() as patch:
                patch.setenv(name, pem)
                assert chat(f"https://127.0.0.1:{server.server_port}/v1")["choices"]
                assert embed(f"https://127.0.0.1:{server.server_port}/v1").shape == (1, 2)


def test_another_authority_than_that_of_the_file(pem: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", pem)
    with serving(trustme.CA().issue_cert("127.0.0.1")) as server:
        refused(server, rf"Set SSL_CERT_FILE to a PEM file .*now {pem}, which does not have it")


def test_an_expired_certificate(authority: trustme.CA, pem: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", pem)
    with serving(authority.issue_cert("127.0.0.1", not_before=LONG_AGO, not_after=LONG_AGO)) as server:
        refused(server, r"certificate has expired\. Renew it")


def test_a_certificate_for_another_name(authority: trustme.CA, pem: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", pem)
    with serving(authority.issue_cert("llm.corp.example")) as server:
        refused(server, r"Hostname mismatch.*'localhost'\. Write {variable} with a host name", "localhost")


def test_a_server_without_tls() -> None:
    with serving(None) as server:
        refused(server, r"answers without TLS\. Write {variable} with http://")


@pytest.mark.parametrize("name", ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"])
def test_a_file_without_certificates(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "empty.pem").write_text("no certificate")
    for file, reason in (("missing.pem", "No such file"), ("empty.pem", "NO_CERTIFICATE")):
        monkeypatch.setenv(name, str(tmp_path / file))
        with pytest.raises(LLMError, match=f"{name} names .*{file}, which is no file of certificates .*{reason}"):
            chat("https://127.0.0.1:9/v1")
