"""Items that match a test set: found by words and by meaning, explained, and left out of releases."""

import json
import random
from datetime import datetime
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from personahub_assets.core.errors import ConfigError
from personahub_assets.embedding.embedder import Embedder
from personahub_assets.quality.overlap import RunIndex, tokens
from personahub_assets.releases.build import freeze
from personahub_assets.releases.spec import ReleaseSpec
from personahub_assets.steps.datasets import asked_inputs, source_hash
from personahub_assets.steps.decontamination import find_contaminated, read_test_rows
from personahub_assets.store.tables import Store, item_writer, table_schema
from personahub_assets.takedown.mark import BatchFile, Extent
from personahub_assets.warehouse import build, live
from personahub_assets.warehouse.why import explain

QUESTION = (
    "A ferry carries forty cars on each of its twelve trips a day and every car pays three coins for the crossing; "
    "how many coins does the harbour master count in a week?"
)
SHORT = "How many eggs do six hens lay in nine days if each lays one egg a day?"
ITEMS = [
    f"On Saltmark the old pilot asks: {QUESTION.upper()} Answer in coins.",
    "Nine days pass. How many eggs do six hens lay in nine days, the farmer's wife wonders, and who will eat them?",
    "If each of six hens lays a single egg every day, what is the number of eggs after nine days?",
    "A glassblower cuts a pipe of three metres into pieces of 12 cm. How many cuts are needed?",
]


# --- runs of words ---

WORDS = st.lists(st.sampled_from(["a", "b", "c", "d", "e"]), max_size=12)


@settings(max_examples=25)
@given(st.lists(WORDS, max_size=5), st.lists(WORDS, max_size=5), st.integers(2, 4))
def test_the_index_agrees_with_all_pairs(rows: list[list[str]], texts: list[list[str]], n: int):
    def runs(words: list[str]) -> list[tuple[str, ...]]:
        return [tuple(words[at : at + n]) for at in range(len(words) - n + 1)]

    hits = {overlap.text: overlap for overlap in RunIndex(rows, n).overlaps(texts)}
    for number, text in enumerate(texts):
        shared = [sum(run in runs(row) for run in runs(text)) for row in rows]
        assert (number in hits) == any(shared)
        if number in hits:
            assert shared[hits[number].row]
            assert 0 < hits[number].share <= 1
            passage = hits[number].passage.split()
            assert len(passage) >= n
            assert any(text[at : at + len(passage)] == passage for at in range(len(text)))


def test_a_run_of_many_test_rows_is_a_phrase_of_the_test():
    form = ["which", "of", "the", "following", "answers", "is", "the", "best", "one", "for", "this"]
    rows = [[*form, f"question{number}", *map(str, range(number, number + 9))] for number in range(80)]
    index = RunIndex(rows, 8)
    assert index.overlaps([form]) == []
    assert [each.row for each in index.overlaps([rows[7][-9:]])] == [7]


def test_a_repeated_run_counts_once():
    row = [f"w{number}" for number in range(20)]
    (overlap,) = RunIndex([row], 8).overlaps([row[:8] * 9])
    assert overlap.share == 1 / 13
    (whole,) = RunIndex([row[:8] * 9], 8).overlaps([row[:8] * 2])
    assert whole.share == 1


def test_a_hundred_thousand_test_rows_are_looked_up_not_compared():
    draw = random.Random(3)
    vocabulary = [f"w{number}" for number in range(5_000)]
    every = draw.choices(vocabulary, k=2_000_000)
    rows = [every[start : start + 20] for start in range(0, len(every), 20)]
    texts = [draw.choices(vocabulary, k=40) for _ in range(100)]
    texts[32][5:20] = rows[77_777][2:17]
    (overlap,) = RunIndex(rows, 13).overlaps(texts)
    assert (overlap.text, overlap.row) == (32, 77_777)
    assert overlap.passage.split() == rows[77_777][2:17]


def test_texts_are_compared_without_case_and_punctuation():
    assert tokens("Straße, FERRY—№ 12!") == tokens("strasse ferry no 12")


# --- a home ---


def put(store: Store, table: str, rows: list[dict]) -> None:
    schema = store.columns(table)
    full = [{name: row.get(name) for name in schema} for row in rows]
    store.write(table, "b", pl.DataFrame(full, schema), "math_problems" if table == "generations" else None)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A home with four problems of one persona each, and two test sets."""
    home = tmp_path / "home"
    home.mkdir()
    (home / "hub.toml").write_text('[decontamination]\nfiles = ["tests.jsonl", "more.parquet"]\nsimilarity = 0.8\n')
    rows = [{"id": 1, "question": "What is the capital of the moon and of the sun?"}, {"id": 2, "question": QUESTION}]
    (home / "tests.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    pl.DataFrame({"problem": [SHORT], "answer": ["54"]}).write_parquet(home / "more.parquet")
    (home / "writer").write_text("model")
    store = Store(home=str(home))
    numbers = range(len(ITEMS))
    persona = {"batch": "b", "hop": 0, "origin": "text", "document_id": "d"}
    put(
        store,
        "personas",
        [
            persona
            | {"persona_id": f"p{n}", "persona": f"A pilot of ferry {n}.", "root_id": f"p{n}", "generation_id": f"h{n}"}
            for n in numbers
        ],
    )
    item = {"batch": "b", "sample": 0, "topic": "arithmetic"}
    put(
        store,
        "math_problems",
        [
            item | {"item_id": f"i{n}", "persona_id": f"p{n}", "problem": text, "text": text, "generation_id": f"g{n}"}
            for n, text in enumerate(ITEMS)
        ],
    )
    blank = {name: "x" if kind == pl.String else 0 for name, kind in table_schema("generations").items()}
    call = blank | {
        "batch": "b",
        "asset": "math_problems",
        "status": "accepted",
        "reason": None,
        "superseded_at": None,
        "reused": False,
        "repaired": False,
    }
    put(store, "generations", [call | {"generation_id": f"g{n}", "input_id": f"p{n}"} for n in numbers])
    return store


def test_items_are_found_by_words_and_by_meaning(store: Store):
    facts = find_contaminated(store, Embedder(), "math_problems", "b")
    rows = store.read("contaminated", "b", "math_problems")
    found = {(row["item_id"], row["method"]): row for row in rows.iter_rows(named=True)}
    assert ("i0", "long_run") in found
    assert found["i0", "long_run"]["test_file"] == "tests.jsonl"
    assert found["i0", "long_run"]["test_row"] == 1
    assert found["i0", "long_run"]["passage"].startswith("a ferry carries forty cars")
    assert ("i2", "embedding") in found
    assert found["i2", "embedding"]["passage"] == SHORT
    assert "i3" not in set(rows["item_id"])
    assert facts["contaminated"] == rows["item_id"].n_unique()
    assert store.read("math_problems", "b").height == len(ITEMS), "contaminated items stay in their table"


def test_short_runs_count_from_a_share_on(store: Store):
    config = store.paths.config
    config.write_text(config.read_text() + "least_share = 0.3\n")
    find_contaminated(store, None, "math_problems", "b")
    methods = dict(store.read("contaminated", "b", "math_problems").select("item_id", "method").iter_rows())
    assert methods["i1"] == "short_run"
    config.write_text("")
    assert find_contaminated(store, None, "math_problems", "b") == {"contaminated": 0}
    assert store.read("contaminated", "b", "math_problems").is_empty()


def test_why_says_it_and_releases_leave_it_out(store: Store):
    find_contaminated(store, None, "math_problems", "b")
    build.build(store)
    lines = [line for thing in explain(store, "i0", lambda _: None) for line in thing["lines"]]
    (line,) = [line for line in lines if line["what"] == "contaminated" and "long_run" in str(line["detail"])]
    assert line["id"] == "tests.jsonl"
    assert "matches row 1 by long_run" in str(line["detail"])
    release = freeze(store, ReleaseSpec.of("first", ["math_problems"]))
    manifest = json.loads((release.path / "manifest.json").read_text())
    assert manifest["configs"]["math_problems"]["left_out"]["contaminated"] == 1
    assert manifest["configs"]["math_problems"]["rows"] == len(ITEMS) - 1
    kept = Extent("b", frozenset(), frozenset({"p1"})).kept_rows(BatchFile("contaminated", "math_problems"))
    assert store.read("contaminated", "b", "math_problems").filter(kept).is_empty(), (
        "a takedown of the persona removes it"
    )


def test_a_test_row_is_embedded_once(store: Store):
    def written() -> dict[Path, int]:
        return {path: path.stat().st_mtime_ns for path in (store.paths.cache / "test_vectors").rglob("*.*")}

    find_contaminated(store, Embedder(), "math_problems", "b")
    assert (before := written())
    find_contaminated(store, Embedder(), "math_problems", "b")
    assert written() == before


@pytest.mark.parametrize(
    ("name", "content", "columns", "message"),
    [
        ("none.jsonl", None, [], "there is no such file"),
        ("bad.jsonl", "{", [], "cannot be read"),
        ("none.jsonl", "\n", [], "has no rows: remove it"),
        ("other.jsonl", '{"label": "x"}\n', [], "has none of question"),
        ("other.jsonl", '{"label": "x"}\n', ["lable"], "label"),
    ],
)
def test_a_test_set_that_cannot_be_used_names_the_remedy(
    tmp_path: Path, name: str, content: str | None, columns: list[str], message: str
):
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(ConfigError, match=message):
        read_test_rows(tmp_path / name, columns)


def test_test_rows_of_all_forms_are_texts(tmp_path: Path):
    lines = tmp_path / "lines.jsonl"
    lines.write_bytes(b'\xef\xbb\xbf{"question": "a\xe2\x80\xa8b"}\n{"question": "half \\ud800"}\r\n')
    assert [row.text for row in read_test_rows(lines, [])] == ["a\u2028b", "half ?"]
    table = tmp_path / "OTHER.PARQUET"
    pl.DataFrame({"question": [b"egg \xff"], "day": [datetime(2024, 5, 6)]}).write_parquet(table)
    assert [row.text for row in read_test_rows(table, ["question", "day"])] == ['egg \ufffd "2024-05-06 00:00:00"']


def test_excluded_items_are_no_source_and_not_verified(store: Store):
    find_contaminated(store, None, "math_problems", "b")
    near = {"batch": "b", "dataset": "math_problems", "stage": "lexical", "admission": 1, "text_hash": "x"}
    ids = {"item_id": "i2", "persona_id": "p2", "generation_id": "g2", "keeper_id": "i3", "similarity": 0.95}
    decisions = pl.DataFrame([near | ids], table_schema("item_decisions"))
    store.write("item_decisions", "b", decisions, item_writer("math_problems", "lexical"))
    texts = dict(store.read("math_problems", "b", columns=["item_id", "text"]).iter_rows())
    blank: dict[str, object] = {"groups": [], "compared": [], "undecided": 0, "judged": 0, "share": 1.0, "answered": 3}
    agreed = {"answer": "7", "votes": 3, "solutions": 3, "verified": True, "persona_id": "p", "solution_id": None}
    put(
        store,
        "math_agreement",
        [
            blank | agreed | {"batch": "b", "source_id": i, "source_hash": source_hash(text)}
            for i, text in texts.items()
        ],
    )
    with live.open_live(store, "math_verified") as connection:
        verified = {item_id for (item_id,) in connection.execute("SELECT item_id FROM math_verified").fetchall()}
    excluded = set(store.excluded_items("math_problems", "b"))
    assert {"i0", "i2"} <= excluded
    assert verified == set(texts) - excluded
    inputs = pl.concat(asked_inputs(store, "math_solutions", "b"))
    assert set(inputs["item_id"]) == verified
