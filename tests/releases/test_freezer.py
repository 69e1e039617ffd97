"""A release has exactly the requested rows, uses hard links where possible, and is complete or absent."""

import errno
import json
import os
import resource
import shutil
import signal
import stat
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import polars as pl
import pytest
from written import calls, persona, problem, put, write_batch

from personahub_assets.core.errors import ConfigError, StoreError
from personahub_assets.core.records import DATASETS
from personahub_assets.releases import cut
from personahub_assets.releases.build import freeze
from personahub_assets.releases.folder import Release, list_releases, verify
from personahub_assets.releases.spec import ReleaseSpec
from personahub_assets.store.tables import Store, table_schema

CONFIGS = ("personas", "math_problems", "tools")
EMPTY = DATASETS.keys() - set(CONFIGS)


def rows(made: Release, config: str) -> pl.DataFrame:
    files = made.data(config)
    return pl.read_parquet(files, glob=False) if files else pl.DataFrame()


def ids(made: Release, config: str) -> list[str]:
    return rows(made, config)["persona_id"].to_list()


def left_out(made: Release, config: str) -> dict[str, int]:
    counts = made.manifest["configs"][config]["left_out"]
    return {reason: count for reason, count in counts.items() if count}


def hashes(made: Release) -> dict[str, str]:
    files = made.manifest["files"].items()
    return {name: about["sha256"] for name, about in files if name.startswith(("data/", "jsonl/"))}


def leavings(store: Store) -> list[str]:
    """Unfinished releases, or their leftovers."""
    folders = (store.root / "aside", store.root / "releases")
    return [path.name for folder in folders for path in folder.glob("*") if "-release-" in path.name]


def assert_nothing_is_made(store: Store) -> None:
    assert list_releases(store) == []
    assert leavings(store) == []


# --- the rows ---


def test_a_release_holds_the_tables_and_personas_at_no_cost(store: Store) -> None:
    made = freeze(store, ReleaseSpec.of("v1"))
    assert made.rows == {"personas": 9, "math_problems": 9, "tools": 5}
    assert made.manifest["empty"].keys() == EMPTY
    for config in CONFIGS:
        assert [path.name[-8:] for path in made.data(config)] == [".parquet"] * 2
        assert rows(made, config).select(*table_schema(config)).equals(store.read_all(config))
        assert left_out(made, config) == {}
    linked = store.files("personas")
    assert [path.stat().st_ino for path in made.data("personas")] == [path.stat().st_ino for path in linked]
    shared, own = made.bytes()
    assert shared == sum(path.stat().st_size for path in linked)
    assert shared + own == sum(path.stat().st_size for path in made.files().values())
    assert verify(made) == []
    assert leavings(store) == []


def test_it_stays_as_it_is_when_the_tables_change(store: Store) -> None:
    made = freeze(store, ReleaseSpec.of("v1", jsonl=True))
    before = {name: path.read_bytes() for name, path in made.files().items()}
    write_batch(store, "a", 2)
    store.path("tools", "b").unlink()
    assert {name: path.read_bytes() for name, path in made.files().items()} == before
    assert verify(made) == []
    later = freeze(store, ReleaseSpec.of("v2"))
    assert later.rows == {"personas": 6, "math_problems": 6, "tools": 1}
    assert verify(made) == []


def test_nobody_may_write_to_its_files(store: Store) -> None:
    made = freeze(store, ReleaseSpec.of("v1"))
    modes = {stat.S_IMODE(path.stat().st_mode) & 0o222 for path in made.files().values()}
    assert modes == {0}
    write_batch(store, "a", 3)  # the store replaces its read-only files as ever
    assert store.height("personas", "a") == 3


def test_a_condition_chooses_rows_and_leaves_whole_files_shared(store: Store) -> None:
    order = ("v1", ["personas", "math_problems"], ["personas: batch = 'b' OR length(persona_id) + hop < 4"])
    made = freeze(store, ReleaseSpec.of(*order))
    assert ids(made, "personas") == ["pa0", "pa2", "pa3", "pa4", "pb0", "pb1", "pb2", "pb3"]
    assert ids(made, "math_problems") == ids(made, "personas")
    assert left_out(made, "personas") == {"condition_not_met": 1}
    ours, theirs = (
        [path.stat().st_ino for path in paths] for paths in (made.data("personas"), store.files("personas"))
    )
    assert ours[1] == theirs[1]
    assert ours[0] != theirs[0]
    again = freeze(store, ReleaseSpec.of("v2", *order[1:]))
    assert hashes(again) == hashes(made)
    assert store.read_all("math_problems").height == 9


def test_a_partition_without_a_row_left_has_no_file(store: Store) -> None:
    made = freeze(store, ReleaseSpec.of("v1", ["personas", "tools"], ["batch = 'b'"]))
    assert [path.name for path in made.data("tools")] == ["train-00000-of-00001.parquet"]
    assert made.rows == {"personas": 4, "tools": 2}


def test_items_go_with_the_personas_that_are_not_released(store: Store) -> None:
    made = freeze(store, ReleaseSpec.of("v1", where=["personas: hop = 0"]))
    assert ids(made, "math_problems") == ids(made, "personas") == ["pa0", "pa2", "pa3", "pa4", "pb0", "pb2", "pb3"]
    assert left_out(made, "math_problems") == {"persona_not_released": 2}
    assert left_out(made, "personas") == {"condition_not_met": 2}


def test_a_condition_may_take_no_more_memory_than_a_query(store: Store) -> None:
    (store.root / "hub.toml").write_text("[warehouse]\nmemory_mb = 256\n")
    with pytest.raises(ConfigError, match="for personas: out of memory"):
        freeze(Store(home=store.home), ReleaseSpec.of("v1", where=["personas: length(repeat('x', 4000000000)) > hop"]))
    assert_nothing_is_made(store)


def test_without_the_personas_items_need_only_be_of_the_hub(store: Store) -> None:
    made = freeze(store, ReleaseSpec.of("v1", ["math_problems"]))
    assert made.rows == {"math_problems": 9}
    assert "`persona_id` refers to no row" in (made.path / "README.md").read_text()


def test_items_that_nearly_repeat_another_one_are_left_out_and_counted(store: Store) -> None:
    same = {"dataset": "tools", "stage": "semantic", "generation_id": "g", "text_hash": "t", "admission": 1}
    decided = [
        {**same, "item_id": "ita0", "persona_id": "pa0"},
        {**same, "item_id": "ita2", "persona_id": "pa2", "keeper_id": "ita0", "similarity": 0.93},
    ]
    put(store, "item_decisions", "a", decided, "tools-semantic")
    run = {"dataset": "tools", "stage": "semantic", "rule": "tiny, cosine 0.9", "method": "exact", "recall": 1.0}
    put(store, "item_dedup_runs", "a", [{**run, "candidates": 2, "kept": 1}], "tools-semantic")
    made = freeze(store, ReleaseSpec.of("r", ["personas", "tools"]))
    assert rows(made, "tools")["item_id"].to_list() == ["ita0", "ita4", "itb0", "itb2"]
    assert left_out(made, "tools") == {"near_duplicate": 1}
    card = (made.path / "README.md").read_text("utf-8")
    assert "| `tools` | that nearly repeat a kept item of their dataset | 1 |" in card
    assert "| tools, semantic | `tiny, cosine 0.9` | exact | 1 | 2 | 1 | 50.0 % |" in card.splitlines()
    assert store.read("tools", "a").height == 3


@pytest.mark.parametrize("select", [[], ["math_problems"]])
def test_items_whose_persona_left_the_hub_are_left_out_and_counted(store: Store, select: list[str]) -> None:
    put(store, "personas", "a", [persona("a", n) for n in (0, 1, 3)])
    made = freeze(store, ReleaseSpec.of("v1", select))
    assert ids(made, "math_problems") == ["pa0", "pa1", "pa3", "pb0", "pb1", "pb2", "pb3"]
    assert left_out(made, "math_problems") == {"persona_left_the_hub": 2}
    assert "| `math_problems` | whose persona is no longer in the hub | 2 |" in (made.path / "README.md").read_text()


@pytest.mark.parametrize(
    ("condition", "kept"),
    [
        ("hop = 1 AND relation = 'rival' AND persona LIKE '%of b.'", ["pb1"]),
        ("model IS NULL OR source = 'crawl1'", ["pa0", "pa3", "pb0", "pb3"]),
        (
            "persona_id IN (SELECT persona_id FROM dataset_items WHERE dataset = 'tools') -- so",
            ["pa0", "pa2", "pa4", "pb0", "pb2"],
        ),
    ],
)
def test_conditions_may_use_what_is_known_of_the_rows(store: Store, condition: str, kept: list[str]) -> None:
    assert ids(freeze(store, ReleaseSpec.of("v1", ["personas"], [condition])), "personas") == kept


def test_items_may_be_chosen_by_their_persona_and_their_model(store: Store) -> None:
    made = freeze(store, ReleaseSpec.of("v1", ["tools"], ["origin = 'text'", "model = 'tiny'", "source = 'crawl0'"]))
    assert ids(made, "tools") == ["pa2", "pa4", "pb2"]


def test_files_of_an_older_form_are_written_as_the_table_is_today(store: Store) -> None:
    old = store.path("personas", "a")
    store.read("personas", "a").drop("granularity").write_parquet(old)
    made = freeze(store, ReleaseSpec.of("v1", ["personas"]))
    assert rows(made, "personas").equals(store.read_all("personas"))
    assert [path.stat().st_nlink > 1 for path in made.data("personas")] == [False, True]


def test_jsonl_has_the_field_names_of_the_published_data(store: Store) -> None:
    made = freeze(store, ReleaseSpec.of("v1", jsonl=True))
    lines = {path.stem: path.read_text("utf-8").splitlines() for path in sorted((made.path / "jsonl").glob("*"))}
    assert {name: len(found) for name, found in lines.items()} == {"math_problems": 9, "personas": 9, "tools": 5}
    assert json.loads(lines["personas"][0]) == {"persona": "A keeper of the 0th lighthouse of a."}
    assert json.loads(lines["math_problems"][2]) == {
        "input persona": "A keeper of the 2th lighthouse of a.",
        "synthesized text": problem("a", 2)["text"],
        "description": "A challenging mathematics problem set in the persona's world, without its solution.",
    }
    assert "–" in lines["math_problems"][2]


def test_what_the_manifest_says(store: Store) -> None:
    made = freeze(store, ReleaseSpec.of("v1", ["personas", "tools"], license="cc-by-4.0"))
    told = made.manifest
    assert (told["name"], told["license"], told["code"]["package"]) == ("v1", "cc-by-4.0", "personahub-assets")
    assert {(r["batch"], r["source"], r["source_rows"], r["released_rows"]) for r in told["sources"]} == {
        ("a", "a.jsonl", 6, 8),
        ("b", "b.jsonl", 5, 6),
    }
    writers = {(r["config"], r["model"], r["prompt_fingerprint"]): r["rows"] for r in told["writers"]}
    assert writers == {
        ("personas", None, None): 2,
        ("personas", "tiny", "f-related_personas"): 2,
        ("personas", "tiny", "f-text_personas"): 5,
        ("tools", "tiny", "f-tools"): 5,
    }
    assert [(r["stage"], r["candidates"], r["dropped"]) for r in told["dedup"]] == [("lexical", 13, 4)]
    quarantined = {r["asset"]: (r["asked"], r["reason"], r["quarantined"]) for r in told["quarantine"]}
    assert quarantined["tools"] == (7, "refused", 2)
    assert quarantined["documents"] == (11, None, 0)
    assert "math_problems" not in quarantined
    assert "/home/ann" not in (made.path / "manifest.json").read_text()


# --- what is refused ---


def test_a_taken_name_is_refused_before_and_after_the_work(store: Store) -> None:
    freeze(store, ReleaseSpec.of("v1", ["tools"]))
    with pytest.raises(ConfigError, match="release 'v1' exists already and never changes: choose another name"):
        freeze(store, ReleaseSpec.of("v1", ["tools"]))
    (store.root / "releases" / "v2").symlink_to(store.root / "nowhere")
    with pytest.raises(ConfigError, match="exists already"):
        freeze(store, ReleaseSpec.of("v2", ["tools"]))


def test_an_empty_release_is_refused_with_the_reason(store: Store) -> None:
    with pytest.raises(StoreError, match="would be empty: tools: 5 rows that do not meet the condition are left out"):
        freeze(store, ReleaseSpec.of("v1", ["tools"], ["sample = 7"]))
    with pytest.raises(StoreError, match="would be empty: instructions: there are no rows"):
        freeze(store, ReleaseSpec.of("v1", ["instructions"]))
    assert_nothing_is_made(store)


def test_rows_of_the_stand_in_are_refused(store: Store) -> None:
    calls(store, "b", "tools", ["tb0", "tb2"], model="standin")
    with pytest.raises(StoreError, match="release 'v1' is refused: 2 rows of tools were written by the stand-in"):
        freeze(store, ReleaseSpec.of("v1"))
    assert_nothing_is_made(store)
    assert freeze(store, ReleaseSpec.of("v1", ["math_problems"])).rows == {"math_problems": 9}


def test_in_a_home_of_the_stand_in_only_imported_rows_are_released(store: Store) -> None:
    (store.root / "writer").write_text("standin")
    with pytest.raises(StoreError, match=r"7 rows of personas were written by the stand-in"):
        freeze(store, ReleaseSpec.of("v1", ["personas"]))
    made = freeze(store, ReleaseSpec.of("v1", ["personas"], ["origin = 'imported'"]))
    assert ids(made, "personas") == ["pa0", "pb0"]


def test_rows_without_their_call_are_refused(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cut, "PAUSES", ())
    calls(store, "a", "tools", ["ta0"])
    with pytest.raises(StoreError, match="2 rows of tools have no accepted call in generations"):
        freeze(store, ReleaseSpec.of("v1"))
    assert_nothing_is_made(store)


def test_a_run_that_is_just_publishing_is_waited_for(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run publishes rows before their calls."""
    monkeypatch.setattr(cut, "PAUSES", (0.05,) * 100)
    path = store.path("generations", "a", "tools")
    late = shutil.move(path, store.root / "late.parquet")
    timer = threading.Timer(0.3, lambda: shutil.move(late, path))
    timer.start()
    assert freeze(store, ReleaseSpec.of("v1")).rows["tools"] == 5
    timer.join()


@pytest.mark.parametrize(
    ("condition", "said"),
    [
        ("hopp = 1", 'Referenced column "hopp" not found'),
        ("hop = 1 LIMIT 2", "give exactly one condition"),
        ("true) UNION SELECT ('a', 'b'", "syntax error"),
        ("true; DROP TABLE personas", "give exactly one condition"),
        ("true FROM personas", "give exactly one condition"),
        ("count(*) > 1", "WHERE clause cannot contain aggregates"),
        ("persona::INTEGER = 1", "Could not convert"),
        ("EXISTS (SELECT * FROM read_text('{home}/tables/../hub.toml'))", "Permission Error"),
        ("EXISTS (FROM glob('/*'))", "Permission Error"),
        ("EXISTS (FROM query('COPY personas TO ''/tmp/out.csv'''))", "query() is refused"),
        ("EXISTS (FROM enable_logging(storage := 'file'))", "enable_logging() is refused"),
    ],
)
def test_a_wrong_or_hostile_condition_does_nothing(written: Path, condition: str, said: str) -> None:
    (written / "hub.toml").write_text("")
    before = set(written.parent.rglob("*"))
    home = str(written).replace("'", "''")
    with pytest.raises(ConfigError) as refused:
        freeze(Store(home=str(written)), ReleaseSpec.of("v1", ["personas"], [condition.format(home=home)]))
    assert said in str(refused.value)
    assert "for personas: " in str(refused.value)
    assert "Columns of personas: batch, persona_id, persona, origin" in str(refused.value)
    made = {written / name for name in ("aside", "releases", "locks", "locks/releases.lock", "locks/releases.pid")}
    assert set(written.parent.rglob("*")) - before <= made


# --- whole or not at all ---

KILLED = """
import os, signal, sys
from personahub_assets.releases.spec import ReleaseSpec
from personahub_assets.releases.build import freeze
from personahub_assets.store.tables import Store, table_schema

def watch(done, total):
    if done == 2:
        os.kill(os.getpid(), signal.SIGKILL)

freeze(Store(home=sys.argv[1]), ReleaseSpec.of("v1", jsonl=True), watch)
"""


def test_a_killed_one_leaves_nothing_to_see_and_the_next_cleans_up(store: Store) -> None:
    tables = {path: path.read_bytes() for path in store.root.glob("tables/**/*.parquet")}
    ended = subprocess.run([sys.executable, "-c", KILLED, str(store.root)], check=False)
    assert ended.returncode == -signal.SIGKILL
    assert list_releases(store) == []
    assert len(leavings(store)) == 2
    assert freeze(store, ReleaseSpec.of("v1")).rows["personas"] == 9
    assert leavings(store) == []
    assert {path: path.read_bytes() for path in store.root.glob("tables/**/*.parquet")} == tables


def test_hidden_folders_of_others_stay(store: Store) -> None:
    mine = store.root / "releases" / ".git"
    mine.mkdir(parents=True)
    assert [found.name for found in [freeze(store, ReleaseSpec.of("v1")), *list_releases(store)]] == ["v1", "v1"]
    assert mine.is_dir()


def test_of_two_that_make_the_same_one_wins(store: Store) -> None:
    def make(_: int) -> str:
        try:
            return freeze(store, ReleaseSpec.of("v1")).name
        except ConfigError as error:
            return str(error)

    with ThreadPoolExecutor(3) as pool:
        ended = sorted(pool.map(make, range(3)))
    assert ended[2] == "v1"
    assert all("release 'v1' exists already" in said for said in ended[:2])
    assert verify(list_releases(store)[0]) == []


def test_a_full_disk_is_said_plainly_and_leaves_nothing(store: Store) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (400, before[1]))
    try:
        with pytest.raises(StoreError, match=r"release 'v1' could not be written, .*File too large.*raise it"):
            freeze(store, ReleaseSpec.of("v1", jsonl=True))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert_nothing_is_made(store)


def test_where_the_disks_differ_files_are_copied(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    made = freeze(store, ReleaseSpec.of("v1"))
    assert made.bytes()[0] == 0
    assert rows(made, "personas").equals(store.read_all("personas"))
    assert verify(made) == []
