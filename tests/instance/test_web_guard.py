"""Requests of a browser for pages of other sites, over real HTTP, to Dagster's app behind the guard."""

import asyncio
import http.client
import json
import threading
from collections.abc import Iterator
from urllib.parse import quote

import dagster as dg
import pytest
import uvicorn
import websockets
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import EmptyWorkspaceTarget
from dagster_webserver.app import create_app_from_workspace_process_context
from hypothesis import given
from hypothesis import strategies as st
from websockets.exceptions import InvalidStatus

from personahub_assets.core.errors import ConfigError
from personahub_assets.instance.web_guard import WebGuard, check_names

WRITE = 'mutation { setConcurrencyLimit(concurrencyKey: "bait", limit: 3)  }'
READ = "{ version }"
JSON = {"Content-Type": "application/json"}
EVIL = "https://evil.example"


class Server:
    """Dagster's app behind the guard, on a free port."""

    def __init__(self, instance: dg.DagsterInstance, context: WorkspaceProcessContext):
        self.instance = instance
        app = WebGuard(create_app_from_workspace_process_context(context), ["hub.example.org"])
        self.server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error"))
        self.thread = threading.Thread(target=self.server.run)

    @property
    def port(self) -> int:
        return int(self.server.servers[0].sockets[0].getsockname()[1])

    @property
    def own(self) -> str:
        return f"127.0.0.1:{self.port}"

    def ask(self, method: str, path: str, headers: dict[str, str], body: str = "") -> tuple[int, str]:
        """Send exactly these headers, `Host` if it is not among them."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            headers = {name: value.replace("OWN", self.own) for name, value in headers.items()}
            connection.request(method, path, body.encode() or None, headers)
            reply = connection.getresponse()
            return reply.status, reply.read().decode()
        finally:
            connection.close()

    @property
    def is_written(self) -> bool:
        return "bait" in self.instance.event_log_storage.get_concurrency_keys()


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with (
        dg.instance_for_test() as instance,
        WorkspaceProcessContext(instance, EmptyWorkspaceTarget(), version=dg.__version__) as context,
    ):
        started = Server(instance, context)
        started.thread.start()
        while not started.server.started:
            assert started.thread.is_alive()
        yield started
        started.server.should_exit = True
        started.thread.join()


BY_GET = f"/graphql?query={quote(WRITE)}"
POSTED = json.dumps({"query": WRITE})
NO_CORS = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}
FORM = {"Content-Type": "text/plain"}

FOREIGN = {
    "image": ("GET", BY_GET, {**NO_CORS, "Sec-Fetch-Dest": "image"}, ""),
    "image of an old browser": ("GET", BY_GET, {"Referer": f"{EVIL}/"}, ""),
    "link that is followed": (
        "GET",
        BY_GET,
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"},
        "",
    ),
    "GraphiQL": ("GET", BY_GET, {"Accept": "text/html"}, ""),
    "head": ("HEAD", BY_GET, {}, ""),
    "slash": ("GET", BY_GET.replace("?", "/?"), {}, ""),
    "escaped path": ("GET", BY_GET.replace("graphql", "%67raphql"), {}, ""),
    "two queries": ("GET", f"{BY_GET}&query={quote(READ)}", {}, ""),
    "second operation": ("GET", f"/graphql?operationName=b&query={quote(f'query a {READ} ' + WRITE)}", {}, ""),
    "subscription": ("GET", f"/graphql?query={quote('subscription { x }')}", {}, ""),
    "frame": (
        "GET",
        "/",
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe"},
        "",
    ),
    "form with the query in the address": ("POST", BY_GET, {**FORM, "Origin": EVIL}, "x=1"),
    "form of an old browser": ("POST", BY_GET, FORM, "x=1"),
    "no type": ("POST", BY_GET, {}, ""),
    "json as text": ("POST", "/graphql", {"Content-Type": "text/plain; application/json"}, POSTED),
    "fetch no-cors": ("POST", "/graphql", {**NO_CORS, "Content-Type": "text/plain", "Origin": EVIL}, POSTED),
    "fetch with json": ("POST", "/graphql", {**JSON, "Origin": EVIL}, POSTED),
    "sandboxed frame": ("POST", "/graphql", {**JSON, "Origin": "null"}, POSTED),
    "other port of this machine": ("POST", "/graphql", {**JSON, "Origin": "http://127.0.0.1:8888"}, POSTED),
    "same site": ("POST", "/graphql", {**JSON, "Sec-Fetch-Site": "same-site"}, POSTED),
    "other name of this machine": ("POST", "/graphql", {**JSON, "Origin": "http://localhost:3000"}, POSTED),
    "origin with a path": ("POST", "/graphql", {**JSON, "Origin": "http://OWN/"}, POSTED),
    "origin with a user": ("POST", "/graphql", {**JSON, "Origin": "http://OWN@evil.example"}, POSTED),
    "no origin at all": ("POST", "/graphql", {**JSON, "Origin": ""}, POSTED),
    "DNS rebinding": (
        "POST",
        "/graphql",
        {**JSON, "Host": "evil.example:3000", "Origin": "http://evil.example:3000"},
        POSTED,
    ),
    "DNS rebinding, reading": ("GET", "/graphql?query={version}", {"Host": "evil.example"}, ""),
    "0.0.0.0": ("GET", "/", {"Host": "0.0.0.0:3000"}, ""),
    "host with a user": ("GET", "/", {"Host": "localhost@evil.example"}, ""),
    "subdomain of localhost": ("GET", "/", {"Host": "evil.localhost"}, ""),
    "name that begins so": ("GET", "/", {"Host": "127.0.0.1.evil.example"}, ""),
    "empty host": ("GET", "/", {"Host": ""}, ""),
    "preflight": ("OPTIONS", "/graphql", {"Origin": EVIL, "Access-Control-Request-Method": "POST"}, ""),
    "report": ("POST", "/report_asset_materialization/personas", {**FORM, "Origin": EVIL}, "x"),
    "report of an old browser": ("POST", "/report_asset_materialization/personas", FORM, "x"),
    "log of a run": ("GET", "/logs/a/b/c.err", {**NO_CORS, "Sec-Fetch-Dest": "script"}, ""),
}


@pytest.mark.parametrize("request_", FOREIGN.values(), ids=FOREIGN)
def test_a_foreign_page_is_refused(server: Server, request_: tuple[str, str, dict[str, str], str]) -> None:
    status, text = server.ask(*request_)

    assert status == 403
    assert "version" not in text
    assert not server.is_written


OWN = {
    "curl": ("POST", "/graphql", JSON, json.dumps({"query": READ})),
    "curl with a charset": (
        "POST",
        "/graphql",
        {"Content-Type": "application/json; charset=utf-8"},
        json.dumps({"query": READ}),
    ),
    "graphql as text": ("POST", "/graphql", {"Content-Type": "application/graphql"}, READ),
    "query by GET": ("GET", f"/graphql?query={quote(READ)}", {}, ""),
    "the page itself": (
        "POST",
        "/graphql",
        {**JSON, "Origin": "http://OWN", "Sec-Fetch-Site": "same-origin"},
        json.dumps({"query": READ}),
    ),
    "localhost": (
        "POST",
        "/graphql",
        {**JSON, "Host": "localhost:3000", "Origin": "http://localhost:3000"},
        json.dumps({"query": READ}),
    ),
    "IPv6": (
        "POST",
        "/graphql",
        {**JSON, "Host": "[::1]:3000", "Origin": "http://[::1]:3000"},
        json.dumps({"query": READ}),
    ),
    "tunnel of another port": (
        "POST",
        "/graphql",
        {**JSON, "Host": "LOCALHOST:8080", "Origin": "http://localhost:8080"},
        json.dumps({"query": READ}),
    ),
    "proxy that took TLS away": (
        "POST",
        "/graphql",
        {**JSON, "Host": "hub.example.org", "Origin": "https://hub.example.org"},
        json.dumps({"query": READ}),
    ),
    "typed address": (
        "GET",
        "/server_info",
        {"Sec-Fetch-Site": "none", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"},
        "",
    ),
    "link": (
        "GET",
        "/server_info",
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"},
        "",
    ),
}


@pytest.mark.parametrize("request_", OWN.values(), ids=OWN)
def test_programs_and_the_page_itself_are_answered(
    server: Server, request_: tuple[str, str, dict[str, str], str]
) -> None:
    status, text = server.ask(*request_)

    assert status == 200
    assert dg.__version__ in text


def test_a_mutation_of_a_program_works(server: Server) -> None:
    body = json.dumps({"query": WRITE.replace("bait", "meant")})
    status, text = server.ask("POST", "/graphql", JSON, body)

    assert (status, "errors" in text) == (200, False)
    assert "meant" in server.instance.event_log_storage.get_concurrency_keys()


def test_no_page_may_show_the_ui_within_itself(server: Server) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", server.port)
    connection.request("GET", "/")
    reply = connection.getresponse()
    connection.close()

    assert reply.headers["X-Frame-Options"] == "SAMEORIGIN"
    assert "frame-ancestors 'self'" in reply.headers.get_all("Content-Security-Policy", [])


@pytest.mark.parametrize(
    ("headers", "answer"),
    [
        ({}, "connection_ack"),
        ({"Origin": "http://OWN"}, "connection_ack"),
        ({"Origin": EVIL}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://127.0.0.1:8888"}, 403),
        ({"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "websocket"}, 403),
    ],
)
def test_live_logs_are_for_the_page_itself(server: Server, headers: dict[str, str], answer: object) -> None:
    sent = {name: value.replace("OWN", server.own) for name, value in headers.items()}

    async def opened() -> object:
        try:
            async with websockets.connect(
                f"ws://{server.own}/graphql",
                additional_headers=sent,
                subprotocols=[websockets.Subprotocol("graphql-ws")],
                proxy=None,
            ) as socket:
                await socket.send('{"type": "connection_init"}')
                return json.loads(await socket.recv())["type"]
        except InvalidStatus as error:
            return error.response.status_code

    assert asyncio.run(opened()) == answer


@given(host=st.text(st.characters(codec="latin-1", exclude_characters="\r\n"), max_size=30))
def test_only_the_names_of_this_machine_are_hosts(host: str) -> None:
    scope = {
        "type": "http",
        "method": "GET",
        "path": "/",
        "query_string": b"",
        "headers": [(b"host", host.encode("latin-1"))],
    }
    is_own = host.lower().rpartition(":")[0] in ("127.0.0.1", "localhost", "[::1]") or host.lower() in (
        "127.0.0.1",
        "localhost",
        "[::1]",
    )
    if not WebGuard(_never).refusal(scope):
        assert is_own


async def _never(*_: object) -> None:
    raise AssertionError


@pytest.mark.parametrize(
    "name", ["http://hub.example.org", "hub.example.org:80", "hub.example.org/", "hüb.example", "*", "a b"]
)
def test_a_name_that_no_request_has_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="is not a host"):
        check_names(["hub.example.org", "[::1]", "10.0.0.1", name])
