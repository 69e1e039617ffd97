"""One small home with data for all SQL: two batches, near-duplicates, bad rows, bad answers."""

import itertools
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from personahub_assets.core.config import Environment
from personahub_assets.runs.runner import run_batches
from personahub_assets.sources.register import register
from personahub_assets.standin.server import StandinServer
from personahub_assets.store.tables import Store

SETTINGS = """
[prices]
prompt = 0.5
cached = 0.1
completion = 1.5
[text_personas]
per_document = 2
[related_personas]
hops = 1
fan_out = 1
[datasets.math_problems]
samples = 2
[datasets.tools]
share = 0.5
near_duplicates_by = "meaning"
[items]
near_duplicates_by = "words"
"""
EXAMPLES = Path(__file__).parents[2] / "examples"
# Some answers cost a re-ask, and some prompts are never answered.
FAULTS = "bad_json=0.1,refusal=0.04,seed=5"

FIRST = [
    {"id": "d1", "text": "The tide tables of the harbour were wrong by eleven minutes, so the pilot wrote his own."},
    {"id": "d2", "text": "Bread proves slowly in a cold kitchen; the crumb is better for it, and the crust darker."},
    {"id": "d3", "text": "A column of ants will cross a motorway if the sugar on the far side is worth it."},
    {"persona": "A retired bridge engineer who restores old clocks in a mountain village"},
    {"persona": "A retired bridge engineer, who restores OLD clocks in a mountain village."},  # lexical
    {"persona": "A paediatric nurse who teaches new parents how to care for premature babies"},
    {
        "persona": "A jazz drummer who builds his own cymbals from scrap metal",
        "labels": '["Music", "Craft"]',
        "age": 44,
    },
]
SECOND = [
    {"id": "d1", "text": "Glaciers move a hand's breadth a day, enough to carry a hut to the sea in a lifetime."},
    {"id": "d2", "text": "The referee kept a diary of every penalty, with the weather and the mood of the crowd."},
    {"id": "d3", "text": "Most libraries of the town closed at noon on Saturdays until the students complained."},
    {"persona": "A jazz drummer who builds his own cymbals from scrap metal"},  # lexical, across batches
    {"persona": "A pediatric nurse who teaches new parents how to take care of premature babies"},  # semantic, across
    {"persona": "A beekeeper on a city roof who sells honey to the restaurants below", "labels": ["Bees", "Craft"]},
    {  # semantic, within; which of the two stays is up to their ids, so they say the same
        "persona": "A city rooftop beekeeper who sells her honey to the restaurants below",
        "labels": ["Bees", "Craft"],
    },
]


@pytest.fixture(scope="session")
def built(once: Callable[[str, Callable[[Path], None]], Path]) -> Store:
    """The store of the home after a full run; tests that change it take `copied`."""
    return Store(home=str(once("sql", _make) / "hub"))


def _make(folder: Path) -> None:
    home = folder / "hub"
    home.mkdir()
    (home / "hub.toml").write_text(SETTINGS)
    store = Store(home=str(home))
    for name, rows in (("first", FIRST), ("second", SECOND)):
        path = folder / f"{name}.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows) + ("not JSON\n" if name == "first" else ""))
        register(store, str(path))
    with StandinServer(faults=FAULTS) as server:
        _run(home, server)


def _run(home: Path, server: StandinServer) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("DAGSTER_HOME", raising=False)
        environment = Environment(home=home, llm_url=server.url, llm_model="standin", embed_url=None)
        failed = run_batches(environment, [], []).failed
    assert failed == {}


@pytest.fixture(scope="session")
def demo(once: Callable[[str, Callable[[Path], None]], Path]) -> Store:
    """The store of the demo as of `make demo`, with some of its examples: all of them take a minute."""
    return Store(home=str(once("demo", _make_demo) / "hub"))


# Documents with rejects among them, and the first of the people, with duplicates among them.
EXAMPLES_USED = {"messy.jsonl": None, "personas.jsonl": 36}


def _make_demo(folder: Path) -> None:
    home = folder / "hub"
    home.mkdir()
    shutil.copy(EXAMPLES / "hub.toml", home)
    store = Store(home=str(home))
    for name, rows in EXAMPLES_USED.items():
        with (EXAMPLES / name).open("rb") as lines:
            (folder / name).write_bytes(b"".join(itertools.islice(lines, rows)))
        register(store, str(folder / name))
    with StandinServer() as server:
        _run(home, server)


@pytest.fixture
def copied(built: Store, tmp_path: Path) -> Store:
    """A separate store with the same tables."""
    shutil.copytree(built.root / "tables", tmp_path / "tables")
    shutil.copy(built.root / "hub.toml", tmp_path)
    return Store(home=str(tmp_path))
