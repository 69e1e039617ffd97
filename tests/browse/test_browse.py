"""The pages of `personahub browse`: over real HTTP, on a small real home, with hostile texts in it."""

import http.client
import json
import re
import shutil
import threading
from collections.abc import Callable, Iterator
from html import unescape
from pathlib import Path

import pytest
import uvicorn
from hub import TOPICS, Hub

from personahub_assets.browse.app import make_app
from personahub_assets.core.config import Environment
from personahub_assets.sources.register import register
from personahub_assets.standin.server import StandinServer
from personahub_assets.store.tables import Store

Once = Callable[[str, Callable[[Path], None]], Path]
Called = Callable[..., tuple[int, str, str]]
SCRIPT = "<script>alert(document.domain)</script><img src=x onerror=alert(1)>"
HOSTILE = [
    f"A {SCRIPT} beekeeper who sells honey at the harbour",
    'A nurse "onmouseover=alert(1) who writes \' and " into every form of the ward',
    "A \u202etfel ot thgir\u202c typesetter who hides \x1b[2J signs and \u200binvisible ones in her letters",
    "A {{ 7 * 7 }} template engineer who asks for {% raw %} coffee at 100% of _all_ meetings",
]
RAW = f'{{"id": "x", "text": "", "title": "{SCRIPT.replace(chr(34), "")}"}}'


class Site:
    """The app on a free port."""

    def __init__(self, home: Path):
        self.home = home
        environment = Environment(home=home, embed_url=None, embed_model="all-MiniLM-L6-v2")
        app = make_app(Store(home=str(home)), environment)
        self.server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error", lifespan="off", ws="none"))
        self.thread = threading.Thread(target=self.server.run)
        self.thread.start()
        while not self.server.started:
            assert self.thread.is_alive()
        self.port = int(self.server.servers[0].sockets[0].getsockname()[1])

    def stop(self) -> None:
        self.server.should_exit = True
        self.thread.join()

    def ask(self, path: str, method: str = "GET", **headers: str) -> tuple[int, http.client.HTTPMessage, str]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request(method, path, headers={name.replace("_", "-"): value for name, value in headers.items()})
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read().decode()
        finally:
            connection.close()

    def page(self, path: str, status: int = 200, **headers: str) -> str:
        answered, _, text = self.ask(path, **headers)
        assert answered == status, f"{path}: {text}"
        return text

    def first(self, path: str) -> str:
        """The address of the first persona of a page."""
        return next(iter(re.findall(r'href="(/personas/[^"]+)"', self.page(path))))


@pytest.fixture(scope="module")
def site(once: Once, standin: StandinServer) -> Iterator[Site]:
    def make(folder: Path) -> None:
        hub = Hub(folder / "hub", standin)
        hub.pages("pages", TOPICS[:3])
        rows = [{"persona": text, "language": "en" if at else "fr"} for at, text in enumerate(HOSTILE)]
        rows += [{"persona": HOSTILE[0] + "."}]
        source = hub.home / "people.jsonl"
        source.write_text("".join(json.dumps(row) + "\n" for row in rows) + RAW + "\n", "utf-8")
        register(hub.store, str(source))
        assert not hub.run()

    folder = once("browse", make)
    started = Site(folder / "hub")
    yield started
    started.stop()


def links(page: str) -> set[str]:
    return {unescape(link) for link in re.findall(r'(?:href|src|data-load|data-load-open|action)="([^"]*)"', page)}


def test_every_link_leads_to_a_page_of_this_server(site: Site) -> None:
    queue, seen = ["/"], set[str]()
    while queue and len(seen) < 150:
        path = queue.pop(0)
        if path in seen or path.startswith("#") or "by=meaning" in path:
            continue
        seen.add(path)
        assert path.startswith("/"), path
        assert not path.startswith("//"), path
        text = site.page(path)
        if not path.startswith(("/static", "/map/")):
            queue += links(text) - seen
    assert {"/datasets", "/quarantine", "/map", "/datasets/tools/compare"} <= seen


@pytest.mark.parametrize("path", ["/", "/?state=all", "/datasets/math_problems", "/quarantine", "/?q=%3Cscript%3E"])
def test_texts_are_escaped(site: Site, path: str) -> None:
    text = site.page(path)
    assert "<script>alert" not in text
    assert "<img src=x" not in text
    assert not re.search("[\x00-\x08\x0b-\x1f\u202a-\u202e\u2066-\u2069\u200b]", text)


def test_a_persona_with_everything(site: Site) -> None:
    address = site.first("/?q=typesetter&origin=imported")
    text = site.page(address)
    assert r"\u202etfel ot thgir" in text
    assert "\u202e" not in text
    items, calls = site.page(f"{address}/items"), site.page(f"{address}/calls")
    assert "Math problems" in items or "math problems" in items
    assert "Messages as sent" in calls
    assert "typesetter" in calls.split("Messages as sent", 1)[1]
    assert "from file" in site.page(f"{address}/why")


def test_filters(site: Site) -> None:
    def texts(path: str) -> list[str]:
        return re.findall(r'<article class="card">', site.page(path, X_Part="results"))

    assert len(texts("/?attribute=language%3Dfr&state=all")) == 1
    assert len(texts("/?q=%22100%25+of+_all_%22&origin=imported")) == 1
    assert len(texts("/?q=TEMPLATE+engineer&origin=imported")) == 1
    assert len(texts("/?state=dropped")) >= 1
    assert texts("/?hop=1")
    assert not texts("/?hop=1&origin=text")
    assert "No persona" in site.page("/?batch=none")
    assert site.page("/count?attribute=language%3Dfr&state=all").strip().startswith("1 persona")
    # What no filter offers changes nothing, and is no error.
    assert len(texts("/?hop=x%00%27&state=%27")) == len(texts("/"))


def test_a_search_by_meaning_finds_within_filters(site: Site) -> None:
    text = site.page("/?by=meaning&q=honey&origin=imported")
    first = re.findall(r'<article class="card">(.*?)</article>', text, re.DOTALL)[0]
    assert "beekeeper" in first
    assert "similarity" in first
    site.page("/?by=meaning&q=honey&batch=none", 400)


def test_the_next_page_begins_where_this_one_ends(site: Site) -> None:
    first = site.page("/datasets/math_problems")
    later = [unescape(link) for link in re.findall(r'class="more" data-more href="([^"]+)"', first)]
    ids = re.findall(r"<code>(i[0-9a-f]+)</code>", first)
    while later:
        more = site.page(later[0], X_Part="more")
        assert "<html" not in more
        ids += re.findall(r"<code>(i[0-9a-f]+)</code>", more)
        later = [unescape(link) for link in re.findall(r'class="more" data-more href="([^"]+)"', more)]
    assert len(ids) == len(set(ids)) == Store(home=str(site.home)).read_all("math_problems").height


def test_quarantine_shows_the_raw_row(site: Site) -> None:
    text = site.page("/quarantine")
    assert "&lt;script&gt;alert(document.domain)" in text


def test_the_map_has_a_point_for_each_persona(site: Site) -> None:
    points = json.loads(site.page("/map/points"))
    assert len(points["id"]) == Store(home=str(site.home)).read_all("personas").height
    assert all(0 <= place <= 1 for place in points["x"] + points["y"])


def test_headers_forbid_everything_foreign(site: Site) -> None:
    _, headers, _ = site.ask("/")
    policy = " ".join(headers.get_all("Content-Security-Policy") or [])
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "http" not in policy
    assert headers["Referrer-Policy"] == "no-referrer"
    assert site.ask("/", Host="rebound.example")[0] == 403
    assert site.ask("/", Sec_Fetch_Site="cross-site", Sec_Fetch_Mode="no-cors")[0] == 403
    assert site.ask("/", "POST")[0] == 405


def test_unknown_addresses_say_so(site: Site) -> None:
    assert "no persona" in site.page("/personas/p0", 404)
    assert "math_problems" in site.page("/datasets/nothing", 404)
    assert "Not Found" in site.page("/nothing", 404)
    assert site.ask("/static/../app.py")[0] == 404


def test_a_new_warehouse_is_shown_without_a_restart_and_nothing_is_written(
    site: Site, standin: StandinServer, tmp_path: Path
) -> None:
    home = shutil.copytree(site.home, tmp_path / "hub")
    hub = Hub(home, standin)
    assert not hub.run(select=["warehouse"])  # its views name the folder
    other = Site(home)
    try:
        before = {path: path.stat().st_mtime_ns for path in home.rglob("*") if path.is_file()}
        for path in ("/", "/?q=nurse", "/datasets/tools", "/quarantine", "/map/points"):
            other.page(path)
        assert before == {path: path.stat().st_mtime_ns for path in home.rglob("*") if path.is_file()}
        hub.personas("new", ["A glassblower from the island who has never seen the sea freeze over"])
        assert "older than the tables" in other.page("/status")
        assert "No persona" in other.page("/?q=glassblower")
        assert not hub.run("new", select=["+personas"])
        assert "island" in other.page("/?q=glassblower")
        assert "up to date" in other.page("/status")
    finally:
        other.stop()


def test_a_taken_port_and_a_missing_warehouse_are_one_line(site: Site, called: Called, home: Path) -> None:
    code, _, err = called("browse", "--no-open", "--port", str(site.port), home=site.home)
    assert (code, err.count("\n")) == (1, 1)
    assert f"port {site.port}" in err
    code, _, err = called("browse", "--no-open", home=home)
    assert (code, err.count("\n")) == (1, 1)
    assert "personahub run --select warehouse" in err
