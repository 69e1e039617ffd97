"""The web app: addresses, templates and headers. It answers GET only, and its pages load nothing from other hosts."""

from collections import defaultdict
from collections.abc import Callable, Collection, Mapping
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import jinja2
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from personahub_assets.browse import datasets, persona, personas, points
from personahub_assets.browse.reader import Reader
from personahub_assets.core.config import Environment
from personahub_assets.core.errors import ConfigError, PersonaHubError, QueryError, UnknownId
from personahub_assets.core.text import printable
from personahub_assets.instance.web_guard import WebGuard
from personahub_assets.warehouse import build

_FOLDER = Path(__file__).parent
_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    # Texts of a home do not stay in the browser's cache, and one address gives pages and their parts.
    "Cache-Control": "no-store",
}
PART = "X-Part"
"""Header of a request that asks for a part of a page only: `results` or `more`."""

_STATUS = ((UnknownId, 404), (ConfigError, 400), (QueryError, 400), (PersonaHubError, 500))
Values = dict[str, Any]


def make_app(reader: Reader, environment: Environment, names: Collection[str] = ()) -> ASGIApp:
    """Make the app of a home.

    Args:
        reader: reads the warehouse of the home.
        environment: names the embedding model of a search by meaning.
        names: further host names that are accepted.
    """
    pages = Pages(reader, environment)
    routes = [
        *(Route(path, partial(_answer, pages, view), methods=["GET"]) for path, view in pages.views().items()),
        Route("/map/points", pages.points, methods=["GET"]),
        Mount("/static", StaticFiles(directory=_FOLDER / "static")),
    ]
    handlers: Mapping[Any, Any] = {HTTPException: pages.missing}
    return WebGuard(Starlette(routes=routes, exception_handlers=handlers), names, command="browse")


def warm_up(reader: Reader) -> None:
    """Count the rows for the first pages in advance, so that they load at once."""
    datasets.totals(reader)
    personas.choices(reader)


async def _answer(pages: "Pages", view: Callable[[Request], tuple[str, Values]], request: Request) -> Response:
    """Answer with a page, or with an error page."""
    try:
        template, values = await run_in_threadpool(view, request)
    except PersonaHubError as error:
        status = next(status for kind, status in _STATUS if isinstance(error, kind))
        return pages.render("error.html", {"message": str(error)}, request, status)
    return await run_in_threadpool(pages.render, template, values, request)


def _jinja() -> jinja2.Environment:
    """Templates in which everything is escaped: HTML, and control, invisible and bidirectional characters."""
    templates = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_FOLDER / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=_shown,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.filters |= {
        "number": lambda value: f"{value:,}",
        "id": partial(quote, safe=""),
        "money": _money,
        "when": _when,
    }
    return templates


def _money(value: float | None) -> str:
    """A cost; None if no price was set when it was paid."""
    return "unknown: no price was set" if value is None else f"{value:,.6f}".rstrip("0").rstrip(".")


def _when(value: datetime | None) -> str:
    return "not on record" if value is None else f"{value:%Y-%m-%d %H:%M}"


def _shown(value: Any) -> Any:
    # The output of an included template is already escaped.
    return value if hasattr(value, "__html__") else printable("" if value is None else value, lines=True)


class Pages:
    """The views: each gives the name of a template and its values."""

    def __init__(self, reader: Reader, environment: Environment):
        self.reader, self._meaning = reader, personas.Meaning(reader, environment)
        self._templates = _jinja()

    def views(self) -> dict[str, Callable[[Request], tuple[str, Values]]]:
        """The view of each address."""
        return {
            "/": self.personas,
            "/count": self.count,
            "/status": self.status,
            "/personas/{id}": self.persona,
            "/personas/{id}/{part:str}": self.persona_part,
            "/datasets": self.datasets,
            "/datasets/{name}": self.dataset,
            "/datasets/{name}/compare": self.compare,
            "/quarantine": self.quarantine,
            "/map": self.map,
        }

    def render(self, template: str, values: Values, request: Request, status: int = 200) -> HTMLResponse:
        """Render a template with its values."""
        query = dict(request.query_params)
        shared = {
            "given": defaultdict(str, query),  # for templates: a parameter that is not in the address is empty
            "part": request.headers.get(PART, ""),
            "path": request.url.path,
            "link": partial(_link, request.url.path, query),
            "home": self.reader.store.root.name,
            "totals": partial(datasets.totals, self.reader),
        }
        return HTMLResponse(self._templates.get_template(template).render(**shared, **values), status, _HEADERS)

    async def missing(self, request: Request, error: HTTPException) -> Response:
        """The answer for an unknown address or method."""
        return self.render("error.html", {"message": f"{error.detail}: {request.url.path}"}, request, error.status_code)

    def personas(self, request: Request) -> tuple[str, Values]:
        """Personas under filters, or near to a text."""
        query = request.query_params
        is_meaning = query.get("by") == "meaning" and bool(query.get("q", "").strip())
        if is_meaning:
            (rows, notices), after = self._meaning.search(query["q"], query), None
        else:
            (rows, after), notices = personas.page(self.reader, query), []
        return "personas.html", {
            "rows": rows,
            "next": after,
            "notices": notices,
            "is_meaning": is_meaning,
            "state": personas.state_of(query),
            "states": personas.STATES,
            "choices": personas.choices(self.reader),
        }

    def count(self, request: Request) -> tuple[str, Values]:
        """Number of personas under the filters."""
        return "count.html", {"rows": personas.count(self.reader, request.query_params)}

    def status(self, _: Request) -> tuple[str, Values]:
        """Whether the warehouse is up to date."""
        store = self.reader.store
        return "status.html", {"is_fresh": build.is_fresh(store)}

    def persona(self, request: Request) -> tuple[str, Values]:
        """One persona."""
        return "persona.html", persona.head(self.reader, request.path_params["id"])

    def persona_part(self, request: Request) -> tuple[str, Values]:
        """A part of a persona's page that is loaded later."""
        loaders: dict[str, Callable[[Reader, str], Any]] = {
            "items": persona.items,
            "calls": persona.calls,
            "why": persona.explanation,
            "quarantine": persona.refused,
        }
        name, persona_id = request.path_params["part"], request.path_params["id"]
        if name not in loaders:
            raise UnknownId(f"a persona's page has the parts {', '.join(loaders)}")
        return f"persona_{name}.html", {"rows": loaders[name](self.reader, persona_id), "persona_id": persona_id}

    def datasets(self, _: Request) -> tuple[str, Values]:
        """All datasets."""
        return "datasets.html", {"rows": datasets.overview(self.reader)}

    def dataset(self, request: Request) -> tuple[str, Values]:
        """Items of a dataset."""
        name = request.path_params["name"]
        datasets.check(self.reader, name)
        return "dataset.html", {
            **datasets.page(self.reader, name, request.query_params)._asdict(),
            "name": name,
            "versions": datasets.versions(self.reader, name),
            "choices": personas.choices(self.reader),
        }

    def compare(self, request: Request) -> tuple[str, Values]:
        """Answers of two prompts of a dataset side by side."""
        name, query = request.path_params["name"], dict(request.query_params)
        datasets.check(self.reader, name)
        versions = datasets.versions(self.reader, name)
        for side, row in zip(("right", "left"), versions, strict=False):  # the version in use is on the right
            query.setdefault(side, row["version"])
        sides = {side: query.get(side, "") for side in ("left", "right")}
        shown = {"name": name, "versions": versions, "sides": sides, "rows": [], "next": None}
        if "right" not in query:
            return "compare.html", shown
        return "compare.html", {
            **shown,
            **datasets.comparison(self.reader, name, query)._asdict(),
            "pairs": datasets.pairs(self.reader, name, sides),
            "difference": datasets.difference(self.reader, name, sides),
        }

    def quarantine(self, request: Request) -> tuple[str, Values]:
        """Quarantined rows."""
        page = datasets.quarantine(self.reader, request.query_params)
        return "quarantine.html", {**page._asdict(), "reasons": datasets.reasons(self.reader)}

    def map(self, _: Request) -> tuple[str, Values]:
        """The map of the hub; its points come from `/map/points`."""
        return "map.html", {"most": points.SAMPLE}

    async def points(self, _: Request) -> Response:
        """The points of the map as JSON."""
        try:
            drawn = await run_in_threadpool(points.drawn, self.reader)
        except PersonaHubError as error:
            return JSONResponse({"error": str(error)}, 500, _HEADERS)
        return JSONResponse(drawn, headers=_HEADERS)


def _link(path: str, query: Mapping[str, str], **changed: Any) -> str:
    """An address of this page with some values changed; None removes one."""
    values = {name: value for name, value in {**query, **changed}.items() if value not in (None, "")}
    return f"{path}?{urlencode(values)}" if values else path
