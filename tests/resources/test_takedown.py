"""Takedown of a document with six hops under it, in a home that the real graph has filled."""

import gzip
import json
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pytest
from rich.console import Console

from personahub_assets.domain.errors import ConfigError, LockHeld
from personahub_assets.generation.journal import Entry, Journal
from personahub_assets.generation.requests import Outcome
from personahub_assets.resources import history, warehouse
from personahub_assets.resources.config import Environment
from personahub_assets.resources.inbox import register
from personahub_assets.resources.receipts import Target
from personahub_assets.resources.store import Store
from personahub_assets.resources.takedown import takedown
from personahub_assets.runs import run_batches
from personahub_assets.standin.server import StandinServer

SETTINGS = """
[text_personas]
per_document = 2
[related_personas]
hops = 6
fan_out = 1
""" + "".join(
    f"[datasets.{name}]\nshare = 0\n" for name in ("reasoning_problems", "instructions", "knowledge_texts", "game_npcs")
)
GONE = "The lighthouse keeper of the northern isle wrote down every ship, and the name of each captain who waved."
STAYS = "Bread proves slowly in a cold kitchen; the crumb is better for it, and the crust darker."
PAGES = [
    {"id": "a", "url": "https://gone.example/isle", "text": GONE},
    {"id": "b", "url": "https://stays.example/bread", "text": STAYS},
    {"id": "a", "text": "Another text under the id that is taken, which nobody may keep."},
]


class Home:
    """A home, its stand-in, and where its source files are."""

    def __init__(self, root: Path, standin: StandinServer):
        self.root, self.standin, self.store = root, standin, Store(home=str(root))
        self.environment = Environment(home=root, llm_url=standin.url, llm_model="standin", embed_url=None)

    def run(self, *batches: str, select: tuple[str, ...] = ()) -> int:
        """Run, and give the calls that it took."""
        before = self.standin.stats()["calls"]
        assert run_batches(self.environment, list(batches), list(select), Console(quiet=True)).failed == {}
        return int(self.standin.stats()["calls"] - before)

    def sql(self, query: str) -> list[tuple[Any, ...]]:
        with warehouse.live(self.store, query) as connection:
            return connection.execute(query).fetchall()

    def counts(self) -> dict[str, int]:
        return {
            table: self.store.read_all(table).height
            for table in ("documents", "text_personas", "related_personas", "personas", "math_problems", "tools")
        }


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory, standin: StandinServer) -> Home:
    """Two batches: pages from outside of the home, and people, one of whom is dropped for a persona of page a."""
    folder = tmp_path_factory.mktemp("takedown")
    home = Home(folder / "hub [a] 'b'", standin)
    (home.root / "inbox").mkdir(parents=True)
    (home.root / "hub.toml").write_text(SETTINGS)
    lines = [json.dumps(row) for row in PAGES] + [json.dumps(PAGES[0])[:-9]]
    (folder / "pages.jsonl").write_text("\n".join(lines) + "\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DAGSTER_HOME", "")
        register(home.store, str(folder / "pages.jsonl"))
        home.run("pages")
        (first,) = home.sql("SELECT persona FROM text_personas WHERE document_id = 'a' ORDER BY persona_id LIMIT 1")
        rows = [{"persona": first[0].upper()}, {"persona": "A jazz drummer who builds his own cymbals from scrap."}]
        people = home.root / "inbox" / "people.jsonl.gz"
        people.write_bytes(gzip.compress("".join(json.dumps(row) + "\n" for row in rows).encode()))
        register(home.store, str(people))
        home.run("people")
    return home


def test_x(built: Home) -> None:
    print(built.counts())
    print(built.sql("select batch, persona_id, keeper_id from lexical_decisions where keeper_id is not null"))
    print(built.sql("select * from quarantine"))
    r = takedown(built.store, Target("document", ("a",)))
    print(json.dumps(r.as_json(), indent=1))
    print(built.counts())
    assert 0
