"""Middleware before Dagster's web app that refuses requests made by foreign pages.

Dagster answers every client that reaches its port, and a browser reaches 127.0.0.1 for every page that is open in it.
The browser names the page in headers that a page cannot change: `Host` (shows a foreign name that was rebound to
127.0.0.1), `Origin` and `Sec-Fetch-Site` (Fetch Metadata, W3C). Programs such as curl do not send the last two and are
accepted: a page cannot omit `Origin` in a request that could change something.

    app = WebGuard(dagster_app)
"""

import re
from collections.abc import Callable, Collection
from urllib.parse import urlsplit

from graphql import DocumentNode, GraphQLError, OperationDefinitionNode, OperationType, parse
from starlette.datastructures import Headers, MutableHeaders, QueryParams
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from personahub_assets.core.errors import ArgumentError

LOOPBACK = ("127.0.0.1", "localhost", "[::1]")

_HOST = re.compile(r"(?P<name>[a-z0-9._-]+|\[[0-9a-f:.]+\])(:(?P<port>[0-9]{1,5}))?")
_DEFAULT_PORTS = {"http": "80", "https": "443"}
_READING = frozenset({"GET", "HEAD"})
_GRAPHQL_TYPES = frozenset({"application/json", "application/graphql"})
# Content types that a page can send without a preflight request.
_FORM_TYPES = frozenset({"application/x-www-form-urlencoded", "multipart/form-data", "text/plain"})
_OWN = frozenset({"same-origin", "none"})  # none: a typed address or a bookmark
_ANSWER_HEADERS = {
    # A page must not frame the UI (clickjacking) nor load its resources.
    "X-Frame-Options": "SAMEORIGIN",
    "Content-Security-Policy": "frame-ancestors 'self'",
    "Cross-Origin-Resource-Policy": "same-origin",
}


def check_names(names: Collection[str]) -> None:
    """Check that names are valid hosts.

    Raises:
        ConfigError: naming the first invalid one.
    """
    for name in names:
        match = _HOST.fullmatch(name.lower())
        if not match or match["port"]:
            raise ArgumentError(
                f"--name {name!r} is not a host: give only the host, as in hub.example.org, without scheme, port and "
                "path, and with non-ASCII letters as browsers send them (xn--…)"
            )


class WebGuard:
    """An ASGI middleware that refuses requests from foreign pages.

    Args:
        app: the app to guard.
        names: further host names that are accepted, such as that of a reverse proxy.
        command: the command that serves the app, named in the refusal of a host.
    """

    def __init__(self, app: ASGIApp, names: Collection[str] = (), command: str = "ui"):
        self._app, self._names = app, frozenset(name.lower() for name in (*LOOPBACK, *names))
        self._command = command

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse a request or pass it to the app."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif refusal := self.refusal(scope):
            await _refuse(refusal, scope, receive, send)
        else:
            await self._app(scope, receive, _with_headers(send) if scope["type"] == "http" else send)

    def refusal(self, scope: Scope) -> str:
        """The reason for refusing a request or websocket; empty if it is accepted."""
        headers = Headers(scope=scope)
        checks: tuple[Callable[[Scope, Headers], str], ...] = (
            self._foreign_host,
            _foreign_origin,
            _foreign_fetch,
            _form,
            _write_by_get,
        )
        return next((refusal for check in checks if (refusal := check(scope, headers))), "")

    def _foreign_host(self, _: Scope, headers: Headers) -> str:
        hosts = headers.getlist("host")
        match = _HOST.fullmatch(hosts[0].lower()) if len(hosts) == 1 else None
        if match and match["name"] in self._names:
            return ""
        return (
            f"the UI does not answer as {', '.join(hosts)!r}: open it as http://127.0.0.1:PORT or "
            f"http://localhost:PORT, or start it with: personahub {self._command} --name NAME"
        )


def _foreign_origin(_: Scope, headers: Headers) -> str:
    """Refuse pages of another origin; `null` is a page without one (a sandboxed frame, a file)."""
    own = headers["host"].lower()
    foreign = next((origin for origin in headers.getlist("origin") if not _is_same(origin.lower(), own)), None)
    return "" if foreign is None else f"a page of origin {foreign!r} may not use the UI at {own!r}"


def _is_same(origin: str, host: str) -> bool:
    """Whether an origin is that of a host. The scheme is ignored, because a proxy can terminate TLS."""
    try:
        components = urlsplit(origin)
    except ValueError:
        return False
    port = _DEFAULT_PORTS.get(components.scheme)
    if port is None or origin != f"{components.scheme}://{components.netloc}":
        return False
    return components.netloc.removesuffix(f":{port}") == host.removesuffix(f":{port}")


def _foreign_fetch(scope: Scope, headers: Headers) -> str:
    """Refuse resources loaded and requests sent by foreign pages; followed links to the UI are accepted."""
    site = next((site for site in headers.getlist("sec-fetch-site") if site not in _OWN), None)
    is_link = scope.get("method") in _READING and (
        (headers.get("sec-fetch-mode"), headers.get("sec-fetch-dest")) == ("navigate", "document")
    )
    return "" if site is None or is_link else f"a page of another site (Sec-Fetch-Site: {site}) may not use the UI"


def _form(scope: Scope, headers: Headers) -> str:
    """Refuse writes of a type that needs no preflight; Dagster would read the query from the address."""
    if scope["type"] != "http" or scope["method"] in _READING:
        return ""
    kinds = {kind.partition(";")[0].strip().lower() for kind in headers.getlist("content-type")}
    is_right = bool(kinds) and kinds <= _GRAPHQL_TYPES if _is_graphql(scope) else not kinds & _FORM_TYPES
    return (
        "" if is_right else "want the header Content-Type: application/json (curl -H 'Content-Type: application/json')"
    )


def _write_by_get(scope: Scope, _: Headers) -> str:
    """Refuse a mutation or subscription in an address."""
    if scope["type"] != "http" or scope["method"] not in _READING or not _is_graphql(scope):
        return ""
    queries = QueryParams(scope["query_string"]).getlist("query")
    return "" if all(map(_only_reads, queries)) else "only queries are answered by GET; send a mutation by POST"


def _is_graphql(scope: Scope) -> bool:
    return str(scope["path"]).rstrip("/").endswith("/graphql")


def _only_reads(query: str) -> bool:
    try:
        document: DocumentNode = parse(query, no_location=True)
    except (GraphQLError, RecursionError):
        return False
    operations = [node for node in document.definitions if isinstance(node, OperationDefinitionNode)]
    return all(node.operation is OperationType.QUERY for node in operations)


async def _refuse(refusal: str, scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1008, "reason": "refused"})  # before accepting: 403
    else:
        answer = PlainTextResponse(f"refused: {refusal}\n", 403, {"X-Content-Type-Options": "nosniff"})
        await answer(scope, receive, send)


def _with_headers(send: Send) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in _ANSWER_HEADERS.items():
                headers.append(name, value)
        await send(message)

    return sending
