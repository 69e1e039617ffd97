"""The hub on disk: the laws of the keep rule with the real joins and tables, for any state of the cache."""

import json
import random
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from personahub_assets.core.config import HubConfig
from personahub_assets.core.errors import StoreError
from personahub_assets.core.text import words
from personahub_assets.dedup import lexical as lexical_walk
from personahub_assets.dedup import merging
from personahub_assets.dedup.cosines import cosine
from personahub_assets.dedup.kept_rows import KeptRows
from personahub_assets.dedup.lexical_state import LexicalHub
from personahub_assets.dedup.records import Personas
from personahub_assets.dedup.semantic_state import SemanticHub
from personahub_assets.embedding.reading import SAME
from personahub_assets.steps.dedup import find_lexical_duplicates, find_semantic_duplicates
from personahub_assets.store.tables import Store, table_schema

Decision = tuple[int, str | None, float | None]
Decisions = dict[str, Decision]
Candidate = tuple[str, int, str]  # persona_id, hop, text
Batches = dict[str, list[Candidate]]

MODEL = "three-dimensional"


# --- What the assets do --------------------------------------------------------------------------------------------


def lexical(store: Store, batch: str) -> pl.DataFrame:
    find_lexical_duplicates(store, batch)
    return store.read("decisions", batch, "lexical_duplicates")


def semantic(store: Store, batch: str, model: str = MODEL) -> pl.DataFrame:
    find_semantic_duplicates(store, batch, model)
    return store.read("decisions", batch, "semantic_duplicates")


def write_candidates(store: Store, batch: str, rows: Iterable[Candidate]) -> None:
    """Write candidates: roots and related ones to different tables, without a file if there are none."""
    schema = table_schema("text_personas")
    for table, hops in (("text_personas", {0}), ("related_personas", set(range(1, 7)))):
        some = [row for row in rows if row[1] in hops]
        if not some and hops != {0} and not store.path(table, batch).exists():
            continue
        frame = pl.DataFrame(some, {"persona_id": pl.String, "hop": pl.Int8, "persona": pl.String}, orient="row")
        absent = [pl.lit("", kind).alias(name) for name, kind in schema.items() if name not in frame.columns]
        store.write(table, batch, frame.with_columns(absent).with_columns(batch=pl.lit(batch)))


def configure(store: Store, lexical: float = 0.9, semantic: float = 0.9, more: str = "") -> None:
    store.root.mkdir(parents=True, exist_ok=True)
    text = f"[lexical]\nthreshold = {lexical}\n{more}\n[semantic]\nthreshold = {semantic}\n"
    (store.root / "hub.toml").write_text(text)


def decisions(store: Store, stage: str = "lexical") -> Decisions:
    columns = ["persona_id", "admission", "keeper_id", "similarity"]
    rows = store.read_all("decisions", columns, asset=f"{stage}_duplicates").rows()
    found = {persona_id: (admission, keeper, alike) for persona_id, admission, keeper, alike in rows}
    assert len(found) == len(rows)
    return found


def kept(found: Decisions) -> set[str]:
    return {persona_id for persona_id, (_, keeper, _) in found.items() if keeper is None}


# --- The rule, word by word ----------------------------------------------------------------------------------------


def jaccard(one: str, other: str) -> float:
    a, b = set(words(one)), set(words(other))
    return len(a & b) / len(a | b) if a or b else float(one == other)


def check(
    found: Decisions, everything: dict[str, tuple[int, Any]], alike: Callable[[Any, Any], float], threshold: float
) -> None:
    """Check that the state equals one replay of all admissions: every drop has its most similar earlier keeper."""
    assert found.keys() == everything.keys()
    standing: list[str] = []
    for name in sorted(everything, key=lambda name: (found[name][0], everything[name][0], name)):
        near = [(-alike(everything[k][1], everything[name][1]), at, k) for at, k in enumerate(standing)]
        best = min((pair for pair in near if -pair[0] >= threshold), default=None)
        assert found[name][1:] == ((best[2], -best[0]) if best else (None, None))
        if best is None:
            standing.append(name)


def apart(names: Iterable[str], texts: dict[str, str], threshold: float) -> bool:
    some = sorted(names)
    return all(jaccard(texts[a], texts[b]) < threshold for at, a in enumerate(some) for b in some[at + 1 :])


class Small:
    """A home whose batches grow, shrink and are decided; texts of few words, so that many are similar."""

    def __init__(self, home: Path, seed: int, threshold: float):
        self.store, self.chance, self.made = Store(home=str(home)), random.Random(seed), 0
        self.batches: Batches = {}
        self.set(threshold)

    def set(self, threshold: float) -> None:
        self.threshold = threshold
        configure(self.store, threshold)

    def rows(self, count: int) -> list[Candidate]:
        found = []
        for _ in range(count):
            self.made += 1
            text = " ".join(self.chance.choice("aabcdefg図☃") for _ in range(self.chance.randint(0, 7)))
            found.append((f"p{self.chance.getrandbits(40):010x}-{self.made}", self.chance.randint(0, 2), text))
        return found

    def add(self, count: int) -> str:
        batch = f"batch-{self.chance.getrandbits(30)}"
        self.write(batch, self.rows(count))
        lexical(self.store, batch)
        return batch

    def write(self, batch: str, rows: list[Candidate]) -> None:
        self.batches[batch] = rows
        write_candidates(self.store, batch, rows)

    def change_some(self) -> str:
        """Remove and add candidates of a batch without deciding."""
        batch = self.chance.choice(sorted(self.batches))
        share = self.chance.choice([0.0, 0.5, 0.8, 1.0])
        stay = [row for row in self.batches[batch] if self.chance.random() < share]
        self.write(batch, [*stay, *self.rows(self.chance.randint(0, 3))])
        return batch

    def decide_all(self) -> None:
        for batch in self.chance.sample(sorted(self.batches), len(self.batches)):
            lexical(self.store, batch)

    def everything(self) -> dict[str, tuple[int, str]]:
        return {name: (hop, text) for rows in self.batches.values() for name, hop, text in rows}

    def check(self) -> None:
        check(decisions(self.store), self.everything(), jaccard, self.threshold)


seeds = st.integers(0, 2**32)
thresholds = st.sampled_from([0.5, 0.6, 0.75, 0.9, 1.0])
sizes = st.lists(st.integers(0, 9), min_size=1, max_size=3)


@pytest.fixture(scope="module")
def homes(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Path]:
    """A new home for each example."""
    return lambda: tmp_path_factory.mktemp("home") / "hub"


# --- Lexical: histories --------------------------------------------------------------------------------------------


@settings(max_examples=8)
@given(seeds, thresholds, sizes)
def test_batch_by_batch_is_one_replay_of_all(
    homes: Callable[[], Path], seed: int, threshold: float, counts: list[int]
) -> None:
    hub = Small(homes(), seed, threshold)
    for count in counts:
        before = decisions(hub.store)
        hub.add(count)
        hub.check()
        assert before.items() <= decisions(hub.store).items()  # a late batch changes nothing that was decided
    before = decisions(hub.store)
    hub.decide_all()
    assert decisions(hub.store) == before


@settings(max_examples=6)
@given(seeds, thresholds, thresholds, sizes, st.integers(0, 2))
def test_the_order_of_rows_changes_nothing(
    homes: Callable[[], Path], seed: int, threshold: float, another: float, counts: list[int], times: int
) -> None:
    """Neither the order of new rows nor that of earlier ones."""
    found = []
    for shuffles in (False, True):
        hub = Small(homes(), seed, threshold)
        for batch in [*(hub.add(count) for count in counts), *(hub.change_some() for _ in range(times))]:
            if shuffles:
                for table in ("text_personas", "related_personas"):
                    rows = hub.store.read(table, batch)
                    hub.store.write(table, batch, rows.sample(fraction=1, shuffle=True, seed=seed))
            lexical(hub.store, batch)
        hub.set(another)
        hub.decide_all()
        found.append(decisions(hub.store))
    assert found[0] == found[1]


@settings(max_examples=8)
@given(seeds, thresholds, sizes, st.integers(1, 3))
def test_a_refresh_displaces_nobody(
    homes: Callable[[], Path], seed: int, threshold: float, counts: list[int], times: int
) -> None:
    hub = Small(homes(), seed, threshold)
    for count in counts:
        hub.add(count)
    for _ in range(times):
        before = kept(decisions(hub.store))
        lexical(hub.store, hub.change_some())
        texts = {name: text for name, (_, text) in hub.everything().items()}
        after = kept(decisions(hub.store))
        assert before & texts.keys() <= after
        assert apart(after, texts, threshold)
        hub.decide_all()  # who lost a keeper is decided anew with its batch
        hub.check()
        assert after <= kept(decisions(hub.store))


@settings(max_examples=8)
@given(seeds, sizes, thresholds, st.lists(thresholds, min_size=1, max_size=2), st.integers(0, 1))
def test_a_changed_threshold_decides_all_again_with_the_first_batch(
    homes: Callable[[], Path], seed: int, counts: list[int], first: float, following: list[float], times: int
) -> None:
    hub = Small(homes(), seed, first)
    for count in counts:
        hub.add(count)
    for _ in range(times):
        lexical(hub.store, hub.change_some())
    hub.decide_all()
    for threshold in following:
        before, raised = decisions(hub.store), threshold >= hub.threshold
        hub.set(threshold)
        lexical(hub.store, hub.chance.choice(sorted(hub.batches)))
        hub.check()
        after = decisions(hub.store)
        if raised:
            assert kept(before) <= kept(after)
        assert all(after[name][1] in kept(before) for name in kept(before) - kept(after))
        assert not LexicalHub(Personas(hub.store)).outdated
        hub.decide_all()
        assert decisions(hub.store) == after
        runs = hub.store.read_all("dedup_runs")
        assert set(runs["rule"]) == {f"exact, words 2, 1-grams, Jaccard {threshold}"}
        assert runs["kept"].sum() == len(kept(after))
        assert runs["candidates"].sum() == len(after)


@settings(max_examples=8)
@given(seeds, sizes, thresholds, thresholds)
def test_a_threshold_that_is_raised_and_put_back_keeps_the_same(
    homes: Callable[[], Path], seed: int, counts: list[int], one: float, two: float
) -> None:
    hub = Small(homes(), seed, min(one, two))
    for count in counts:
        hub.add(count)
    before = decisions(hub.store)
    for threshold in (max(one, two), min(one, two)):
        hub.set(threshold)
        hub.decide_all()
    hub.check()
    after = decisions(hub.store)
    assert kept(after) == kept(before)
    assert all((alike or 0) >= (before[name][2] or 0) for name, (_, _, alike) in after.items())


def test_every_batch_has_the_rule_after_a_replay(home: Path) -> None:
    """Also an empty batch, and one without remaining candidates: otherwise all decisions are repeated at each run."""
    hub = Small(home, 0, 0.9)
    for count in (3, 0, 4):
        hub.add(count)
    emptied = hub.add(2)
    hub.write(emptied, [])
    hub.set(0.6)
    lexical(hub.store, hub.add(1))
    assert not LexicalHub(Personas(hub.store)).outdated
    assert not hub.store.read("decisions", emptied, "lexical_duplicates").height
    hub.check()


def test_other_grams_or_another_method_are_another_rule(home: Path) -> None:
    store = Store(home=str(home))
    write_candidates(store, "one", [("a", 0, "old nurse sings"), ("b", 0, "sings old nurse")])
    write_candidates(store, "two", [("c", 0, "nurse sings old")])
    for more, expected in (
        ("", {"a"}),
        ("ngram = 2", {"a", "b", "c"}),
        ("ngram = 1", {"a"}),
        ('method = "minhash"', {"a"}),
        ('method = "minhash"\npermutations = 64', {"a"}),
    ):
        configure(store, more=more)
        lexical(store, "one")
        lexical(store, "two")
        assert kept(decisions(store)) == expected
    runs = store.read_all("dedup_runs")
    assert runs["rule"].to_list() == ["minhash of 64, words 2, 1-grams, Jaccard 0.9"] * 2
    assert runs["method"].to_list() == ["minhash"] * 2
    assert runs["recall"].to_list() == [None] * 2


def test_candidates_that_left_since_their_batch_was_decided(home: Path) -> None:
    """Another batch can be decided between the refresh of a batch and its dedup; the cache changes nothing."""
    found = []
    for forgets in (False, True):
        hub = Small(home / str(forgets), 0, 0.9)
        hub.write("one", [("a", 0, "a nurse in Oslo"), ("b", 1, "a baker in Rome"), ("c", 0, "図書館 é")])
        hub.write("two", [("d", 0, "someone else")])
        lexical(hub.store, "one")
        lexical(hub.store, "two")
        hub.write("one", [("b", 1, "a baker in Rome")])
        hub.write("two", [("d", 0, "someone else"), ("e", 0, "a baker, in Rome"), ("f", 0, "a nurse, in Oslo")])
        if forgets:
            shutil.rmtree(hub.store.root / "cache")
        lexical(hub.store, "two")
        assert {"b", "d"} <= kept(decisions(hub.store))
        assert decisions(hub.store)["e"][1:] == ("b", 1.0)
        found.append(decisions(hub.store))
        hub.decide_all()
        hub.decide_all()
        assert kept(decisions(hub.store)) == {"b", "d", "f"}
        hub.check()
    assert found[0] == found[1]


def test_texts_of_another_kind_get_another_plan(home: Path) -> None:
    """Words that are rare in one batch can be in every text of the next one."""
    chance = random.Random(0)
    fixed = " ".join(f"fixed{i}" for i in range(16))
    plain = [" ".join(f"w{chance.randrange(4000)}" for _ in range(20)) for _ in range(1_000)]
    slots = [f"{fixed} " + " ".join(f"{slot}{chance.randrange(120)}" for slot in "uvwxyz") for _ in range(1_000)]
    store = Store(home=str(home))
    configure(store)
    plans = []
    for batch, texts in (("one", plain), ("two", slots), ("three", plain[:500] + slots[:500])):
        write_candidates(store, batch, [(f"{batch}-{n:04}", 0, text) for n, text in enumerate(texts)])
        lexical(store, batch)
        plans.append((store.root / "cache/lexical/plan/manifest.json").read_text())
    assert plans[0] != plans[1]
    assert plans[1] == plans[2]
    found = decisions(store)
    for n in range(500):
        assert found[f"three-{n:04}"][1:] == (found[f"one-{n:04}"][1] or f"one-{n:04}", 1.0)


# --- Lexical: the cache --------------------------------------------------------------------------------------------


def files_of(cache: Path) -> list[Path]:
    return sorted(path for path in cache.rglob("*") if path.is_file()) if cache.exists() else []


def flip(file: Path, chance: random.Random) -> None:
    content = bytearray(file.read_bytes())
    if content:
        content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    file.write_bytes(content)


def restamp(manifest: Path) -> None:
    """Change the stamp of the arrays; damaged ones stay damaged."""
    with suppress(ValueError):
        said = json.loads(manifest.read_bytes())
        manifest.write_text(json.dumps(said | {"stamp": "another"}))


def damage(cache: Path, chance: random.Random) -> None:
    files = files_of(cache)
    if not files:
        return
    file = chance.choice(files)
    kind = chance.randrange(6)
    if kind == 0:
        shutil.rmtree(cache)
    elif kind == 1:
        file.unlink()
    elif kind == 2:
        file.write_bytes(file.read_bytes()[: chance.randrange(file.stat().st_size + 1)])
    elif kind == 3:
        for each in files:
            flip(each, chance)
    elif kind == 4:
        for manifest in cache.rglob("manifest.json"):
            restamp(manifest)
    else:
        folders = sorted({each.parent for each in files if each.name == "manifest.json"})
        for folder in folders:
            (folder / "foreign.npy").write_bytes(b"nothing of ours")
        (cache / "foreign").write_bytes(file.read_bytes())
        for folder in folders[:1]:
            shutil.rmtree(folder)
            folder.write_text("a file where a folder was")


@settings(max_examples=10)
@given(seeds, thresholds, sizes, st.integers(0, 3))
def test_a_damaged_cache_changes_nothing(
    homes: Callable[[], Path], seed: int, threshold: float, counts: list[int], times: int
) -> None:
    found = []
    for damages in (False, True):
        hub = Small(homes(), seed, threshold)
        chance = random.Random(seed)
        for count in [*counts, *[None] * times]:
            if damages:
                damage(hub.store.root / "cache", chance)
            if count is None:
                lexical(hub.store, hub.change_some())
            else:
                hub.add(count)
        found.append(decisions(hub.store))
    assert found[0] == found[1]


def segments(store: Store) -> dict[str, int]:
    """Rows of the segments by folder."""
    return {each.folder: len(each) for each in KeptRows(store.paths.dedup_cache("lexical")).segments}


def test_many_batches_are_in_few_segments_and_a_small_batch_leaves_the_large_ones(home: Path) -> None:
    hub = Small(home, 1, 0.9)
    for _ in range(40):
        hub.add(4)
    before = segments(hub.store)
    assert sum(before.values()) > 80
    assert len(before) <= 7
    hub.add(1)
    hub.add(1)
    largest = max(before, key=lambda folder: before[folder])
    assert segments(hub.store)[largest] == before[largest]


class Counting(Store):
    """A store that counts the partitions that are read."""

    reads: ClassVar[list[tuple[str, str]]] = []

    def read(
        self, table: str, batch: str, asset: str | None = None, *, columns: list[str] | None = None
    ) -> pl.DataFrame:
        self.reads.append((table, batch))
        return super().read(table, batch, asset, columns=columns)


def test_batches_that_did_not_change_are_not_read(home: Path) -> None:
    hub = Small(home, 2, 0.75)
    counts = []
    for batches in (6, 24):
        while len(hub.batches) < batches:
            hub.add(4)
        batch, rows = f"newest-{batches}", hub.rows(3)
        hub.write(batch, rows)
        Counting.reads.clear()
        find_lexical_duplicates(Counting(home=str(home)), batch)
        counts.append(len(Counting.reads))
        assert len({key for _, key in Counting.reads} - {batch}) <= 1  # the last batch is added to the segments
    hub.check()
    assert counts[0] == counts[1]


def test_a_batch_that_shrinks_and_grows_is_compared_as_it_is_now(home: Path) -> None:
    hub = Small(home, 3, 0.75)
    for _ in range(8):
        hub.add(5)
    changing = min(hub.batches)
    for _ in range(12):  # most rows of the segments are of earlier states of this batch
        hub.write(changing, hub.rows(6))
        lexical(hub.store, changing)
        hub.add(2)
    hub.decide_all()
    hub.check()
    rows = sum(segments(hub.store).values())
    assert rows <= 2 * len(kept(decisions(hub.store)))


def test_who_is_killed_while_merging_leaves_the_old_state(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub = Small(home, 4, 0.75)
    for _ in range(5):
        hub.add(4)

    def killed(*_arguments: object) -> None:
        raise Killed

    monkeypatch.setattr(KeptRows, "save", killed)
    batch = f"batch-{hub.chance.getrandbits(30)}"
    hub.write(batch, hub.rows(3))
    with pytest.raises(Killed):
        lexical(hub.store, batch)
    monkeypatch.undo()
    hub.decide_all()
    hub.check()
    folder = hub.store.paths.dedup_cache("lexical")
    assert {path.name for path in folder.iterdir()} == {"plan", "state.json", *segments(hub.store)}


# --- Lexical: interrupted, and at once -----------------------------------------------------------------------------


class Killed(RuntimeError):
    """Simulates the end of the process."""


class Dying(Store):
    """A store whose process ends before some write."""

    writes: ClassVar[list[str]] = []
    lifetime: ClassVar[int] = 0

    def write(self, table: str, batch: str, rows: pl.DataFrame, asset: str | None = None) -> None:
        if len(self.writes) == self.lifetime:
            raise Killed
        self.writes.append(table)
        super().write(table, batch, rows, asset)


@pytest.mark.parametrize("threshold", [0.5, 0.75])
def test_who_is_killed_while_publishing_ends_right_the_next_time(home: Path, threshold: float) -> None:
    hub = Small(home / "start", 3, 0.75)
    for count in (8, 0, 9):
        hub.add(count)
    hub.set(threshold)
    batch = sorted(hub.batches)[1]
    hub.write(batch, [*hub.batches[batch], *hub.rows(4)])
    start, before = hub.store.root, decisions(hub.store)
    died = 0
    for lifetime in range(8):
        root = shutil.copytree(start, home / str(lifetime))
        Dying.writes.clear()
        Dying.lifetime = lifetime
        try:
            lexical(Dying(home=str(root)), batch)
        except Killed:
            died += 1
        hub.store = Store(home=str(root))
        assert LexicalHub(Personas(hub.store)).outdated == (lifetime < len(hub.batches) * 2 and threshold != 0.75)
        hub.decide_all()
        assert not LexicalHub(Personas(hub.store)).outdated
        hub.check()
        if threshold >= 0.75:
            assert kept(before) <= kept(decisions(hub.store))
    assert died == (6 if threshold != 0.75 else 2)


_PROCESS = """
import sys
sys.path.insert(0, sys.argv[1])
from test_state import Store, lexical
print("ready", flush=True)
sys.stdin.readline()
for batch in sys.argv[3:]:
    lexical(Store(home=sys.argv[2]), batch)
"""


def test_two_processes_at_once_keep_nobody_twice(home: Path) -> None:
    hub = Small(home, 5, 0.75)
    hub.add(6)
    names = [f"late-{n}" for n in range(5)]
    for name in names:
        hub.write(name, hub.rows(8))
    here = str(Path(__file__).parent)
    command = [sys.executable, "-c", _PROCESS, here, str(home), *names[:3]]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdin is not None
        assert other.stdout is not None
        assert other.stdout.readline() == b"ready\n"
        other.stdin.write(b"go\n")
        other.stdin.flush()
        for name in names[:1:-1]:  # one batch is decided by both
            lexical(hub.store, name)
        assert other.wait(120) == 0
    hub.check()


# --- Semantic ------------------------------------------------------------------------------------------------------


class Vectors:
    """A home whose personas are given vectors by hand."""

    def __init__(self, home: Path):
        self.store = Store(home=str(home))
        configure(self.store)

    def add(self, batch: str, rows: Mapping[str, tuple[float, ...]], model: str = MODEL) -> None:
        """Add candidates with distinct texts, so that the lexical stage drops none."""
        write_candidates(self.store, batch, [(name, 0, f"text of {name} alone") for name in rows])
        lexical(self.store, batch)
        self.embed(batch, rows, model)

    def embed(
        self,
        batch: str,
        rows: Mapping[str, tuple[float, ...]],
        model: str = MODEL,
        readings: Mapping[str, tuple[float | None, str | None]] | None = None,
    ) -> None:
        read = [(readings or {}).get(name, (0.0, "")) for name in rows]
        frame = pl.DataFrame(
            {
                "persona_id": list(rows),
                "batch": batch,
                "model": model,
                "text_hash": list(rows),
                "embedding": [[x / float(np.linalg.norm(row)) for x in row] for row in rows.values()],
                "unread": [unread for unread, _ in read],
                "unread_hash": [mark for _, mark in read],
            },
            table_schema("persona_embeddings"),
        )
        self.store.write("persona_embeddings", batch, frame)

    def stored(self) -> dict[str, tuple[int, Any]]:
        rows = self.store.read_all("persona_embeddings", ["persona_id", "embedding"]).rows()
        return {name: (0, np.array(vector, np.float32)) for name, vector in rows}

    def keepers(self) -> dict[str, str | None]:
        return {name: keeper for name, (_, keeper, _) in decisions(self.store, "semantic").items()}


@pytest.fixture
def vectors(home: Path) -> Vectors:
    return Vectors(home)


NORTH, NORTHEAST, NEARLY_NORTH, EAST = (1.0, 0.0), (1.0, 1.0), (1.0, 0.2), (0.0, 1.0)
NEARLY_EAST = (0.1, 1.0)


def alike_unless_the_same(one: Any, other: Any) -> float:
    """Cosine; two texts with different words and equal vectors are not comparable."""
    found = float(cosine(one, other))
    return found if found < SAME else -1.0


def test_a_batch_is_compared_with_what_others_keep(vectors: Vectors) -> None:
    vectors.add("one", {"a": NORTH, "b": EAST})
    vectors.add("two", {"c": NEARLY_NORTH, "d": NORTHEAST})
    semantic(vectors.store, "one")
    found = semantic(vectors.store, "two")
    assert vectors.keepers() == {"a": None, "b": None, "c": "a", "d": None}
    assert found["similarity"].to_list() == pytest.approx([1 / np.sqrt(1.04), None], abs=1e-6)


def test_vectors_of_another_model_do_not_take_part(vectors: Vectors) -> None:
    vectors.add("one", {"a": NORTH}, "another")
    vectors.add("two", {"b": NEARLY_NORTH})
    semantic(vectors.store, "one", "another")
    semantic(vectors.store, "two")
    assert vectors.keepers() == {"a": None, "b": None}
    assert SemanticHub(Personas(vectors.store), MODEL).apart == ["one"]
    vectors.embed("one", {"a": NORTH})
    semantic(vectors.store, "one")
    assert vectors.keepers() == {"a": None, "b": "a"}
    assert SemanticHub(Personas(vectors.store), MODEL).apart == []


def test_a_batch_that_changes_its_model_is_decided_again(vectors: Vectors) -> None:
    """Admissions are unique over both models, so that places do not clash when the batches are compared."""
    names = iter("abcdefghijklmnop")
    turns = {batch: 0.05 * number for number, batch in enumerate(("one", "two", "three", "four"))}

    def ways(batch: str) -> list[tuple[float, float]]:
        turn = turns[batch]
        return [(x + turn * y, y + turn * x) for x, y in (NORTH, EAST, NEARLY_NORTH)]

    for model, batches in (("another", ["one", "two"]), (MODEL, ["three", "four"])):
        for batch in batches:
            vectors.add(batch, {next(names): way for way in ways(batch)}, model)
            semantic(vectors.store, batch, model)
    for batch in ("one", "two"):
        rows = vectors.store.read("persona_embeddings", batch)["persona_id"].to_list()
        vectors.embed(batch, dict(zip(rows, ways(batch), strict=True)))
    for batch in ("one", "two", "three", "four"):
        semantic(vectors.store, batch)
    found = decisions(vectors.store, "semantic")
    check(found, vectors.stored(), alike_unless_the_same, 0.9)
    assert len(kept(found)) == 2
    assert not SemanticHub(Personas(vectors.store), MODEL).outdated


def test_who_was_dropped_for_the_words_is_no_keeper(vectors: Vectors) -> None:
    vectors.add("one", {"a": NORTH, "b": EAST})
    vectors.add("two", {"c": NEARLY_NORTH})
    for batch in ("one", "two"):
        semantic(vectors.store, batch)
    assert vectors.keepers() == {"a": None, "b": None, "c": "a"}
    # A lower threshold drops b and c for a, all of them 'text of … alone': a is the first in the walk.
    configure(vectors.store, lexical=0.6)
    lexical(vectors.store, "one")
    assert kept(decisions(vectors.store)) == {"a"}
    write_candidates(vectors.store, "three", [("d", 0, "something else")])
    lexical(vectors.store, "three")
    vectors.embed("three", {"d": EAST})
    semantic(vectors.store, "three")
    assert vectors.keepers()["d"] is None  # b is still among the semantic decisions, but not in the hub
    for batch in ("one", "two", "three"):
        semantic(vectors.store, batch)
    assert vectors.keepers() == {"a": None, "d": None}


def test_who_has_no_vector_yet_is_not_decided_about(vectors: Vectors) -> None:
    vectors.add("one", {"a": NORTH, "b": EAST})
    vectors.embed("one", {"a": NORTH})
    assert semantic(vectors.store, "one")["persona_id"].to_list() == ["a"]
    vectors.embed("one", {"a": NORTH, "b": EAST})
    assert semantic(vectors.store, "one")["persona_id"].to_list() == ["a", "b"]


def test_vectors_that_left_since_their_batch_was_decided(vectors: Vectors) -> None:
    """Another batch can be decided between the embedding of a batch and its dedup."""
    vectors.add("one", {"a": NORTH, "b": EAST})
    semantic(vectors.store, "one")
    vectors.embed("one", {"b": EAST})
    vectors.add("two", {"c": NEARLY_NORTH, "d": NEARLY_EAST})
    semantic(vectors.store, "two")
    assert vectors.keepers()["d"] == "b"
    for batch in ("one", "two"):
        semantic(vectors.store, batch)
    assert vectors.keepers() == {"b": None, "c": None, "d": "b"}


def test_empty_batches_are_decided(vectors: Vectors) -> None:
    for batch, rows in (("one", {}), ("two", {"a": NORTH}), ("three", {})):
        vectors.add(batch, rows)
        assert semantic(vectors.store, batch).height == len(rows)
    configure(vectors.store, semantic=0.8)
    semantic(vectors.store, "three")
    assert vectors.keepers() == {"a": None}
    assert not SemanticHub(Personas(vectors.store), MODEL).outdated


@settings(max_examples=8)
@given(seeds, sizes, st.lists(thresholds, min_size=1, max_size=3), st.booleans())
def test_semantic_histories_are_one_replay(
    homes: Callable[[], Path], seed: int, counts: list[int], following: list[float], damages: bool
) -> None:
    home, chance, last = Vectors(homes()), random.Random(seed), 0.0
    for threshold in following:
        configure(home.store, semantic=threshold)
        before = kept(decisions(home.store, "semantic"))
        for count in counts:
            names = [f"p{chance.getrandbits(40):010x}" for _ in range(count)]
            rows = {name: tuple(chance.randint(-3, 3) + 0.5 for _ in range(3)) for name in names}
            batch = f"batch-{chance.getrandbits(30)}"
            home.add(batch, rows)
            if damages:
                damage(home.store.root / "cache", chance)
            semantic(home.store, batch)
            check(decisions(home.store, "semantic"), home.stored(), alike_unless_the_same, threshold)
        if threshold >= last:
            assert before <= kept(decisions(home.store, "semantic"))
        last = threshold


# --- What comes back, what cannot be compared, what the index decided -----------------------------------------------


def test_who_comes_back_after_others_took_the_place_is_a_newcomer(vectors: Vectors) -> None:
    """While the lexical stage dropped b, c had no keeper and was kept: b must not be kept beside it later."""
    vectors.add("one", {"a": NORTH, "b": EAST})
    semantic(vectors.store, "one")
    configure(vectors.store, lexical=0.6)
    write_candidates(vectors.store, "two", [("c", 0, "something else")])
    lexical(vectors.store, "two")
    vectors.embed("two", {"c": NEARLY_EAST})
    semantic(vectors.store, "two")
    assert vectors.keepers() == {"a": None, "c": None}
    configure(vectors.store)
    for batch in ("one", "two"):
        lexical(vectors.store, batch)
    for batch in ("one", "two"):
        semantic(vectors.store, batch)
    assert vectors.keepers() == {"a": None, "b": "c", "c": None}


def test_a_duplicate_of_a_batch_with_another_model_stays_dropped_until_that_batch_follows(vectors: Vectors) -> None:
    vectors.add("one", {"a": NORTH})
    vectors.add("two", {"b": NEARLY_NORTH, "c": EAST})
    for batch in ("one", "two"):
        semantic(vectors.store, batch)
    vectors.embed("two", {"b": NEARLY_NORTH, "c": EAST}, "newer")
    semantic(vectors.store, "two", "newer")
    assert vectors.keepers() == {"a": None, "b": "a", "c": None}
    vectors.embed("one", {"a": NORTH}, "newer")
    semantic(vectors.store, "one", "newer")
    assert vectors.keepers() == {"a": None, "b": "a", "c": None}


def test_cells_follow_the_batches_and_give_way_to_exact_comparison(vectors: Vectors) -> None:
    rng = np.random.default_rng(3)
    way = rng.normal(size=(400, 8))
    hub_toml = vectors.store.root / "hub.toml"
    hub_toml.write_text("[semantic]\nexact_up_to = 0\n")
    for number, batch in enumerate(("one", "two", "three")):
        part = way[number * 100 : number * 100 + 200] + 0.1 * rng.normal(size=(200, 8))
        vectors.add(batch, {f"{batch}-{at}": tuple(row) for at, row in enumerate(part)})
        semantic(vectors.store, batch)
    index = vectors.store.root / "cache" / "semantic" / "index"
    segments = SemanticHub(Personas(vectors.store), MODEL).state.segments
    assert {path.name for path in index.iterdir()} == {"centroids", *(segment.folder for segment in segments)}
    assert [len(np.load(index / each.folder / "cells.npy")) for each in segments] == [len(each) for each in segments]
    runs = vectors.store.read_all("dedup_runs", asset="semantic_duplicates")
    assert set(runs["method"]) == {"cells"}
    assert runs["recall"].min() == 1.0
    by_index = vectors.keepers()
    assert sum(keeper is not None for keeper in by_index.values()) >= 200

    hub_toml.write_text("")  # by the time, which is not known before: decisions stay
    assert not SemanticHub(Personas(vectors.store), MODEL).outdated
    hub_toml.write_text("[semantic]\nexact_up_to = 1_000_000\n")
    assert SemanticHub(Personas(vectors.store), MODEL).outdated
    semantic(vectors.store, "one")
    assert set(vectors.store.read_all("dedup_runs", asset="semantic_duplicates")["method"]) == {"exact"}
    assert vectors.keepers() == by_index


def test_missing_vectors_are_a_clear_error(vectors: Vectors) -> None:
    vectors.add("one", {"a": NORTH, "b": EAST})
    vectors.embed("one", {"a": NORTH, "b": (1.0, 2.0, 3.0)})
    with pytest.raises(StoreError, match=r"batch one: 2 of 2 personas .* embed the batch again"):
        semantic(vectors.store, "one")


# --- What the model does not read ----------------------------------------------------------------------------------


def test_only_what_is_read_and_has_the_same_unknown_words_is_compared(vectors: Vectors) -> None:
    ways = {name: (1.0, turn) for name, turn in zip("abcdef", (0.0, 0.1, 0.2, 0.15, 0.05, 0.12), strict=True)}
    readings = {
        "a": (1.0, "all"),
        "b": (0.2, "one"),
        "c": (0.2, "one"),
        "d": (0.2, "two"),
        "e": (0.4, ""),
        "f": (0.41, ""),
    }
    vectors.add("one", {name: ways[name] for name in "abc"})
    vectors.embed("one", {name: ways[name] for name in "abc"}, readings=readings)
    semantic(vectors.store, "one")
    assert vectors.keepers() == {"a": None, "b": None, "c": "b"}
    vectors.add("two", {name: ways[name] for name in "def"})
    vectors.embed("two", {name: ways[name] for name in "def"}, readings=readings)
    semantic(vectors.store, "two")
    assert vectors.keepers() == {"a": None, "b": None, "c": "b", "d": None, "e": None, "f": None}
    (vectors.store.root / "hub.toml").write_text("[semantic]\nmax_unread = 0.5\n")
    semantic(vectors.store, "one")
    assert vectors.keepers() == {"a": None, "b": None, "c": "b", "d": None, "e": None, "f": "e"}


def test_texts_that_differ_and_have_the_very_same_vector_are_kept(vectors: Vectors) -> None:
    """The tokenizer of a server dropped the difference."""
    vectors.add("one", {"a": NORTH, "b": NORTH, "c": NEARLY_NORTH})
    vectors.add("two", {"d": NORTH, "e": NEARLY_NORTH})
    for batch in ("one", "two"):
        semantic(vectors.store, batch)
    assert vectors.keepers() == {"a": None, "b": None, "c": "a", "d": None, "e": "a"}


def test_vectors_of_older_versions_are_compared_where_the_text_is_plain(vectors: Vectors) -> None:
    old = dict.fromkeys("abcd", (None, None))
    write_candidates(
        vectors.store, "one", [("a", 0, "plain"), ("b", 0, "ครูสอนภาษา"), ("c", 0, "café"), ("d", 0, "x " * 200)]
    )
    lexical(vectors.store, "one")
    ways = {name: (1.0, turn) for name, turn in zip("abcd", (0.0, 0.1, 0.2, 0.3), strict=True)}
    vectors.embed("one", ways, readings=old)
    vectors.add("two", {"e": (1.0, 0.15)})
    for batch in ("one", "two"):
        semantic(vectors.store, batch)
    assert vectors.keepers() == {"a": None, "b": None, "c": None, "d": None, "e": "a"}
    vectors.embed("one", ways, readings={"b": (1.0, "thai"), "d": (0.0, "long-x")})
    assert SemanticHub(Personas(vectors.store), MODEL).outdated
    semantic(vectors.store, "one")
    assert vectors.keepers() == {"a": None, "b": None, "c": "a", "d": None, "e": "a"}
    assert not SemanticHub(Personas(vectors.store), MODEL).outdated


# --- With and without memory ---------------------------------------------------------------------------------------


@pytest.fixture
def tiny_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    for module, name, size in ((lexical_walk, "PIECE", 4), (lexical_walk, "_FROZEN", 3), (merging, "_PIECE", 2)):
        monkeypatch.setattr(module, name, size)


@pytest.mark.usefixtures("tiny_pieces")
@pytest.mark.parametrize("seed", range(4))
def test_lexical_decisions_are_the_same_without_memory(seed: int, tmp_path: Path) -> None:
    homes = [Small(tmp_path / name, seed, 0.6) for name in ("memory", "files")]
    (homes[1].store.root / "hub.toml").write_text("[compute]\nmemory_mb = 0\n[lexical]\nthreshold = 0.6\n")
    for home in homes:
        for size in (25, 9, 30):
            home.add(size)
        home.change_some()
        home.decide_all()
        home.check()
    assert decisions(homes[0].store) == decisions(homes[1].store)
    assert not list(homes[1].store.paths.aside.glob("*"))


def test_semantic_decisions_are_the_same_without_memory(tmp_path: Path) -> None:
    random = np.random.default_rng(5)
    way = random.normal(size=(30, 8))
    drawn = [way[random.integers(0, 30, 60)] + 0.2 * random.normal(size=(60, 8)) for _ in range(3)]
    results = []
    for name, more in (("memory", ""), ("files", "[compute]\nmemory_mb = 0\n")):
        home = Vectors(tmp_path / name)
        (home.store.root / "hub.toml").write_text(more)
        for number, rows in enumerate(drawn):
            home.add(f"b{number}", {f"{number}-{at}": tuple(row) for at, row in enumerate(rows.tolist())})
            semantic(home.store, f"b{number}")
        results.append(decisions(home.store, "semantic"))
    assert results[0] == results[1]
    assert 0 < sum(keeper is not None for _, keeper, _ in results[0].values()) < 180


def test_the_old_name_of_the_memory_is_read(tmp_path: Path) -> None:
    (tmp_path / "hub.toml").write_text("[lexical]\nmemory_mb = 100\nthreshold = 0.8\n")
    with pytest.warns(FutureWarning, match=r"lexical\.memory_mb is now compute\.memory_mb"):
        config = HubConfig.load(tmp_path / "hub.toml")
    assert (config.compute.memory_mb, config.lexical.threshold) == (100, 0.8)
