"""The pages of `personahub browse`: over real HTTP, on a small real home, with hostile texts in it."""

import http.client
import json
import re
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from html import escape, unescape
from pathlib import Path

import polars as pl
import pytest
import uvicorn
from chromium import chromium, tab
from hub import TOPICS, Hub
from written import persona, put

from personahub_assets.browse.app import make_app
from personahub_assets.browse.reader import Reader
from personahub_assets.core.config import Environment
from personahub_assets.core.records import DATASETS
from personahub_assets.defs.metadata.pages import page_of
from personahub_assets.instance.ports import BROWSE_PORT
from personahub_assets.search import nearest
from personahub_assets.sources.register import register
from personahub_assets.standin.server import StandinServer
from personahub_assets.store.tables import Store
from personahub_assets.warehouse import build

Once = Callable[[str, Callable[[Path], None]], Path]
Called = Callable[..., tuple[int, str, str]]
CRANES = "Write about cranes."
SCRIPT = "<script>alert(document.domain)</script><img src=x onerror=alert(1)>"
HOSTILE = [
    f"A {SCRIPT} beekeeper who sells honey at the harbour",
    'A nurse "onmouseover=alert(1) who writes \' and " into every form of the ward',
    "A \u202etfel ot thgir\u202c typesetter who hides \x1b[2J signs and \u200binvisible ones in her letters",
    "A {{ 7 * 7 }} template engineer who asks for {% raw %} coffee at 100% of _all_ meetings",
]
HUGE = "<b>" + "\u202eA" * 500_000
RAW = f'{{"id": "x", "text": "", "title": "{SCRIPT.replace(chr(34), "")}"}}'


class Site:
    """The app on a free port."""

    def __init__(self, home: Path):
        self.home, self.store = home, Store(home=str(home))
        environment = Environment(home=home, embed_url=None, embed_model="all-MiniLM-L6-v2")
        self._reader = Reader(self.store)
        app = make_app(self._reader, environment)
        self.server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error", lifespan="off", ws="none"))
        self.thread = threading.Thread(target=self.server.run)
        self.thread.start()
        while not self.server.started:
            assert self.thread.is_alive()
            time.sleep(0.01)
        self.port = int(self.server.servers[0].sockets[0].getsockname()[1])

    def stop(self) -> None:
        self.server.should_exit = True
        self.thread.join()
        self._reader.close()

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
        return str(re.findall(r'href="(/personas/[^"]+)"', self.page(path))[0])


@contextmanager
def serving(home: Path) -> Iterator[Site]:
    site = Site(home)
    try:
        yield site
    finally:
        site.stop()


@pytest.fixture(scope="module")
def site(once: Once, standin: StandinServer) -> Iterator[Site]:
    def make(folder: Path) -> None:
        hub = Hub(folder / "hub", standin)
        rows = [{"persona": text, "language": "en" if at else "fr"} for at, text in enumerate(HOSTILE)]
        rows += [{"persona": HOSTILE[0] + "."}]
        source = hub.home / "people.jsonl"
        source.write_text("".join(json.dumps(row) + "\n" for row in rows) + RAW + "\n", "utf-8")
        register(hub.store, str(source))
        assert not hub.run(select=["+personas", "math_problems", "tools"])
        _add_page(hub.store)
        _add_second_prompt(hub.store)
        _add_recorded_prompt(hub.store)
        _add_instruction_answer(hub.store)
        build.build(hub.store)

    with serving(once("browse", make) / "hub") as started:
        yield started


def _add_page(store: Store) -> None:
    """Add a document with a hostile address, and its persona."""
    page = {"document_id": "page", "url": "javascript:alert(1)", "source": '"><script>', "text": TOPICS[0]}
    put(store, "documents", "pages", [page])
    inferred = {"persona_id": "ppage", "persona": "A crane driver who waits.", "origin": "text", "hop": 0}
    for table in ("text_personas", "personas"):
        put(store, table, "pages", [{**inferred, "document_id": "page", "root_id": "ppage"}])


def _add_second_prompt(store: Store) -> None:
    """Add superseded answers of another prompt to the calls for math problems: one is hostile, one a megabyte."""
    calls = store.read("generations", "people", "math_problems")
    answers = [json.dumps({"topic": SCRIPT, "problem": "</dd><script>alert(2)</script>"}), HUGE]
    older = calls.with_columns(
        generation_id="older-" + pl.col("generation_id"),
        prompt_fingerprint=pl.lit("an-older-prompt"),
        status=pl.lit("superseded"),
        response=pl.Series((answers * len(calls))[: len(calls)]),
    )
    store.write("generations", "people", pl.concat([calls, older]), "math_problems")


def _add_instruction_answer(store: Store) -> None:
    """Add a hostile answer to an instruction with a constraint."""
    own = {"persona_id": "ppage", "generation_id": "g", "sample": 0, "instruction": CRANES, "text": CRANES}
    constraint = {"kind": "words", "relation": "at_most", "number": 9, "text": None, "keys": None}
    put(store, "instructions", "pages", [{**own, "item_id": "ncranes", "constraints": [constraint]}])
    answered = {"answer": SCRIPT, "constraints": [constraint], "satisfied": [True], "all_satisfied": True}
    made_of = {"source_id": "ncranes", "source_hash": "0"}
    row = {**own, **made_of, **answered, "item_id": "acranes", "text": f"{CRANES}\n\n{SCRIPT}"}
    put(store, "instruction_answers", "pages", [row])


def links(page: str) -> set[str]:
    return {unescape(link) for link in re.findall(r'(?:href|src|data-load|data-load-open|action)="([^"]*)"', page)}


def test_every_link_leads_to_a_page_of_this_server(site: Site) -> None:
    queue, seen = ["/", "/datasets", "/quarantine", "/map", "/datasets/math_problems/compare"], set[str]()
    while queue and len(seen) < 70:
        path = queue.pop(0)
        if path in seen or path.startswith("#") or "by=meaning" in path:
            continue
        seen.add(path)
        assert path.startswith("/"), path
        assert not path.startswith("//"), path
        text = site.page(path)
        if not path.startswith(("/static", "/map/")):
            queue += sorted(links(text) - seen)
        assert "javascript:" not in " ".join(links(text))
    assert {"/static/browse.css", "/datasets/tools", site.first("/?origin=text")} <= seen


PAGES = [
    "/",
    "/?state=all",
    "/datasets/math_problems",
    "/datasets/math_problems/compare",
    "/quarantine",
    "/?q=%3Cscript%3E",
]


def test_texts_are_escaped(site: Site) -> None:
    hostile = [site.first(f"/?origin=imported&q={word}") for word in ("beekeeper", "nurse", "typesetter")]
    parts = [f"{address}{part}" for address in hostile for part in ("", "/items", "/calls", "/why", "/quarantine")]
    for path in [*PAGES, *parts, site.first("/?origin=text")]:
        text = site.page(path)
        for word in ("<script>alert", "<img src=x", '" onmouseover', "<b>\\u202e"):
            assert word not in text, path
        assert not re.search("[\x00-\x08\x0b-\x1f\u202a-\u202e\u2066-\u2069\u200b]", text), path


def test_two_prompts_stand_side_by_side_and_a_huge_answer_is_cut(site: Site) -> None:
    text = site.page("/datasets/math_problems/compare")
    pairs = re.findall(r'<article class="card">(.*?)</article>', text, re.DOTALL)
    assert len(pairs) == len(site.store.read("generations", "people", "math_problems")) / 2
    assert all("accepted</span>" in pair and "superseded</span>" in pair for pair in pairs)
    (count,) = re.findall(r'<p class="count">(.*?)</p>', text)
    states = f"{len(pairs)} with left superseded and right accepted"
    assert count == f"{len(pairs)} pairs of answers for the same persona: {states}"
    assert f"{len(pairs)} in use, 0 superseded, 0 rejected" in text
    assert f"0 in use, {len(pairs)} superseded, 0 rejected" in text
    assert re.search(r"\d{4}-\d\d-\d\d \d\d:\d\d to ", text)
    assert "The prompt on the left is not on record" in text
    assert "980,003 more characters" in text
    assert len(text) < 1_000_000
    swapped = site.page(
        "/datasets/math_problems/compare?left=an-older-prompt/standin&right=none/none", X_Part="results"
    )
    assert "No persona has an answer of both" in swapped


def test_two_versions_show_how_their_prompts_differ(site: Site) -> None:
    """The hostile line of the later prompt is escaped."""
    page = site.page("/datasets/tools/compare")
    lines = re.findall(r'<span class="(added|removed)">(.*?)</span>', page, re.DOTALL)
    assert ("removed", f"- {escape(SCRIPT)}") in lines or ("added", f"+ {escape(SCRIPT)}") in lines
    assert "unknown: no price was set" in site.page("/datasets/tools")


def _add_recorded_prompt(store: Store) -> None:
    """Another version of a prompt with a hostile line, on record and with superseded answers."""
    use = store.read("prompt_uses", "people", "tools")
    other = use.with_columns(
        prompt_fingerprint=pl.lit("other"), instructions=pl.format("{}\n" + SCRIPT, "instructions"), message="message"
    )
    store.write("prompt_uses", "people", pl.concat([use, other]), "tools")
    calls = store.read("generations", "people", "tools")
    older = calls.with_columns(prompt_fingerprint=pl.lit("other"), status=pl.lit("superseded"))
    store.write("generations", "people", pl.concat([calls, older]), "tools")


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


def test_an_answer_to_an_instruction_is_shown_with_its_persona_and_escaped(site: Site) -> None:
    for page in (site.page("/datasets/instruction_answers"), site.page("/personas/ppage/items")):
        assert CRANES in page
        assert escape(SCRIPT) in page
        assert SCRIPT not in page


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


def test_a_search_by_meaning_builds_no_index(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nearest, "SCANNED", 0)  # as if the hub had more than 50,000 personas
    with serving(site.home) as other:
        assert "Build it with: personahub search TEXT" in unescape(other.page("/?by=meaning&q=honey", 500))
    assert not list((site.home / "cache" / "search").glob("*"))


def test_the_next_page_begins_where_this_one_ends(site: Site) -> None:
    first = site.page("/datasets/math_problems")
    later = [unescape(link) for link in re.findall(r'class="more" data-more href="([^"]+)"', first)]
    ids = re.findall(r"<code>(i[0-9a-f]+)</code>", first)
    while later:
        more = site.page(later[0], X_Part="more")
        assert "<html" not in more
        ids += re.findall(r"<code>(i[0-9a-f]+)</code>", more)
        later = [unescape(link) for link in re.findall(r'class="more" data-more href="([^"]+)"', more)]
    assert len(ids) == len(set(ids)) == site.store.read_all("math_problems").height


def test_quarantine_shows_the_raw_row(site: Site) -> None:
    text = site.page("/quarantine")
    assert "&lt;script&gt;alert(document.domain)" in text


def test_the_map_has_a_point_for_each_persona_with_a_vector(site: Site) -> None:
    points = json.loads(site.page("/map/points"))
    assert set(points["id"]) == set(site.store.read("personas", "people")["persona_id"])
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


def test_assets_name_their_pages(site: Site) -> None:
    pages = {name: page_of(name) for name in ("personas", "warehouse", "documents", *DATASETS)}
    for name, metadata in pages.items():
        paths = re.findall(
            rf"\(http://127.0.0.1:{BROWSE_PORT}(.*)\)", str(metadata["browse"].value) if metadata else ""
        )
        assert [site.ask(path)[0] for path in paths] == [200] * (name != "documents")


def test_unknown_addresses_say_so(site: Site) -> None:
    assert "no persona" in site.page("/personas/p0", 404)
    assert "math_problems" in site.page("/datasets/nothing", 404)
    assert "Not Found" in site.page("/nothing", 404)
    assert site.ask("/static/../app.py")[0] == 404


def test_a_new_warehouse_is_shown_without_a_restart_and_nothing_is_written(site: Site, tmp_path: Path) -> None:
    home = shutil.copytree(site.home, tmp_path / "hub")
    store = Store(home=str(home))
    build.build(store)  # its views name the folder
    with serving(home) as other:
        before = {path: path.stat().st_mtime_ns for path in home.rglob("*") if path.is_file()}
        for path in ("/", "/?q=nurse", "/datasets/tools", "/quarantine", "/map/points"):
            other.page(path)
        assert before == {path: path.stat().st_mtime_ns for path in home.rglob("*") if path.is_file()}
        put(store, "personas", "new", [persona("new", 0)])
        assert "older than the tables" in other.page("/status")
        assert "No persona" in other.page("/?q=lighthouse")
        build.build(store)
        assert "lighthouse" in other.page("/?q=lighthouse")
        assert "up to date" in other.page("/status")
        store.paths.warehouse.unlink()
        assert "personahub run --select warehouse" in other.page("/", 500)


def test_an_empty_home_has_pages(tmp_path: Path) -> None:
    build.build(Store(home=str(tmp_path)))
    with serving(tmp_path) as empty:
        assert "No persona" in empty.page("/")
        assert "Nothing is in quarantine" in empty.page("/quarantine")
        assert "No item" in empty.page("/datasets/tools")
        empty.page("/datasets")
        empty.page("/datasets/tools/compare")
        assert "no persona has a vector" in empty.page("/map/points", 500)


def test_what_cannot_be_served_is_one_line(site: Site, called: Called, home: Path) -> None:
    for arguments, words in {
        ("--port", str(site.port)): f"port {site.port} of 127.0.0.1",
        ("--host", "nowhere.invalid"): "nowhere.invalid",
        ("--name", "http://hub.example.org"): "is not a host",
    }.items():
        code, _, err = called("browse", "--no-open", *arguments, home=site.home)
        assert (code, err.count("\n")) == (2 if "--name" in arguments else 1, 1), err
        assert words in err
    assert called("browse", "--port", "65536", home=site.home)[0] == 2
    code, _, err = called("browse", "--no-open", home=home)
    assert (code, err.count("\n")) == (1, 1)
    assert "personahub run --select warehouse" in err


@pytest.mark.skipif(not chromium(), reason="needs Chromium")
def test_clicks_in_a_browser(site: Site, tmp_path: Path) -> None:
    with tab(tmp_path, f"http://127.0.0.1:{site.port}/?state=all") as page:
        page.wait("document.querySelector('.count').innerText.includes('personas')")
        page.click("input[name=q]")
        page.type("typesetter who")
        page.wait("location.search.includes('typesetter') && document.querySelectorAll('.card').length < 5")
        page.click(".card a")
        page.click("details.call summary")
        page.wait("document.querySelector('details.call[open] .raw')")
        page.click("nav a[href='/map']")
        page.wait("typeof points !== 'undefined' && points && points.id.length > 3")
        page.click_at(
            "(at => [at.x + left(points.x[0]), at.y + top_(points.y[0])])(holder.getClientRects()[0])", "holder"
        )
        page.wait("location.pathname.startsWith('/personas/p')")
        for path in PAGES:
            page.open(f"http://127.0.0.1:{site.port}{path}")
            assert page.value("document.documentElement.scrollWidth <= innerWidth"), path
        assert not page.dialogs
        assert all(url.startswith(f"http://127.0.0.1:{site.port}/") for url in page.requests), page.requests
