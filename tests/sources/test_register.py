"""Registration of a file that is new, longer, shorter, unchanged, missing, or of another batch."""

import json
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from sites import serving_folder

from personahub_assets.core.errors import BatchError, SourceError
from personahub_assets.sources.register import imported_personas, register, registered, source_rows, unregistered_files
from personahub_assets.sources.rows import Document, Fault, Imported
from personahub_assets.sources.tombstones import Tombstone
from personahub_assets.store.tables import Store
from personahub_assets.takedown.receipts import Target, store_tombstones


@pytest.fixture
def store(home: Path) -> Store:
    """A store that cuts files into batches of three rows."""
    home.mkdir()
    (home / "hub.toml").write_text("[sources]\nrows_per_batch = 3\nmax_document_chars = 50\n")
    return Store(home=str(home))


def pages(path: Path, count: int, start: int = 0) -> Path:
    path.write_text("".join(json.dumps({"id": n, "text": f"Page {n}"}) + "\n" for n in range(start, start + count)))
    return path


def texts(store: Store, batch: str) -> list[str]:
    return [row.text for row in source_rows(store, batch) if isinstance(row, Document)]


def test_a_small_file_is_one_batch(store: Store, tmp_path: Path) -> None:
    path = pages(tmp_path / "My Crawl.jsonl", 3)
    assert register(store, str(path)) == ["my-crawl"]
    assert store.batches() == ["my-crawl"]
    spec = registered(store, "my-crawl")
    assert (spec["source"], spec["path"], spec["rows"], spec["format"]) == (str(path), str(path), 3, "jsonl")
    assert texts(store, "my-crawl") == ["Page 0", "Page 1", "Page 2"]


def test_the_bound_of_personas_is_a_setting(store: Store, tmp_path: Path) -> None:
    (store.root / "hub.toml").write_text("[sources]\nmax_persona_chars = 9\n")
    path = tmp_path / "people.jsonl"
    path.write_text("".join(json.dumps({"persona": text}) + "\n" for text in ("A diver.", "A baker here.")))
    (key,) = register(store, str(path))
    assert [row.persona for row in imported_personas(store, key)] == ["A diver."]
    assert [row.reason for row in source_rows(store, key) if isinstance(row, Fault)] == ["too_long"]


def test_a_large_file_is_several_batches_that_together_are_the_file(store: Store, tmp_path: Path) -> None:
    keys = register(store, str(pages(tmp_path / "a.jsonl", 8)), name="crawl")
    assert keys == ["crawl", "crawl-0002", "crawl-0003"]
    assert [text for key in keys for text in texts(store, key)] == [f"Page {n}" for n in range(8)]
    assert [len(texts(store, key)) for key in keys] == [3, 3, 2]


def test_a_grown_file_keeps_its_first_key_and_adds_batches(store: Store, tmp_path: Path) -> None:
    path = pages(tmp_path / "a.jsonl", 2)
    assert register(store, str(path)) == ["a"]
    pages(path, 7)
    with pytest.raises(BatchError, match=r"had \d+ when batch 'a' was registered.*personahub ingest"):
        source_rows(store, "a")
    assert register(store, str(path)) == ["a", "a-0002", "a-0003"]
    assert texts(store, "a") == ["Page 0", "Page 1", "Page 2"]
    assert texts(store, "a-0003") == ["Page 6"]


def test_a_shrunken_file_empties_its_last_batches(store: Store, tmp_path: Path) -> None:
    path = pages(tmp_path / "a.jsonl", 9)
    register(store, str(path))
    pages(path, 2, start=100)
    assert register(store, str(path)) == ["a", "a-0002", "a-0003"]
    assert [texts(store, key) for key in store.batches()] == [["Page 100", "Page 101"], [], []]
    pages(path, 5)
    assert register(store, str(path)) == ["a", "a-0002", "a-0003"]
    assert [len(texts(store, key)) for key in ("a", "a-0002", "a-0003")] == [3, 2, 0]


def test_registering_an_unchanged_file_again_changes_nothing(store: Store, tmp_path: Path) -> None:
    path = pages(tmp_path / "a.jsonl", 4)
    register(store, str(path))
    before = store.read_all("batches")
    register(store, str(path))
    assert store.read_all("batches").equals(before)


def test_an_empty_file_is_a_batch_without_rows(store: Store, tmp_path: Path) -> None:
    assert register(store, str(pages(tmp_path / "a.jsonl", 0))) == ["a"]
    assert list(source_rows(store, "a")) == []


def test_the_key_of_another_file_is_not_taken(store: Store, tmp_path: Path) -> None:
    for folder in ("x", "y"):
        (tmp_path / folder).mkdir()
    first, second = pages(tmp_path / "x/a.jsonl", 1), pages(tmp_path / "y/a.jsonl", 1)
    register(store, str(first))
    with pytest.raises(BatchError, match=f"'a' belongs to {first}; register {second} with another --name"):
        register(store, str(second))
    assert texts(store, "a") == ["Page 0"]
    assert register(store, str(second), name="b") == ["b"]


def test_a_collision_of_any_slice_leaves_all_as_it_was(store: Store, tmp_path: Path) -> None:
    register(store, str(pages(tmp_path / "a-0002.jsonl", 1)))
    with pytest.raises(BatchError, match="'a-0002' belongs to"):
        register(store, str(pages(tmp_path / "a.jsonl", 5)))
    assert store.batches() == ["a-0002"]


@pytest.mark.parametrize("name", ["../up", "A", "a/b", "a\n", "a" * 65])
def test_a_bad_name_is_refused(store: Store, tmp_path: Path, name: str) -> None:
    path = str(pages(tmp_path / "good.jsonl", 1))
    with pytest.raises(BatchError, match="is not allowed"):
        register(store, path, name=name)
    assert store.batches() == []


def test_every_kind_of_row_is_told_apart(store: Store, tmp_path: Path) -> None:
    rows: list[Any] = [{"text": "A page"}, {"persona": "A diver."}, {"text": "x" * 51}]
    path = tmp_path / "a.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    register(store, str(path))
    assert [type(row) for row in source_rows(store, "a")] == [Document, Imported, Fault]


def test_ids_are_unique_within_a_batch_and_not_beyond(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps({"id": "same", "text": f"Page {n}"}) + "\n" for n in range(4)))
    register(store, str(path))
    assert [type(row) for row in source_rows(store, "a")] == [Document, Fault, Fault]
    assert texts(store, "a-0002") == ["Page 3"]


def test_named_columns_are_remembered(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("text,who,remark\nPage,A diver.,Wet\n")
    register(store, str(path), name="personas", persona_column="who")
    register(store, str(path), name="remarks", text_column="Remark")
    assert list(source_rows(store, "personas")) == [Imported("A diver.", 0, '{"text": "Page", "remark": "Wet"}')]
    assert texts(store, "remarks") == ["Wet"]


def test_an_unknown_batch_is_refused_with_the_known_ones(store: Store, tmp_path: Path) -> None:
    with pytest.raises(BatchError, match=r"'b' is not registered \(registered: none yet\)"):
        source_rows(store, "b")
    register(store, str(pages(tmp_path / "a.jsonl", 1)))
    with pytest.raises(BatchError, match=r"\(registered: a\).*personahub ingest"):
        source_rows(store, "b")


def test_a_file_that_is_gone_is_named(store: Store, tmp_path: Path) -> None:
    path = pages(tmp_path / "a.jsonl", 1)
    register(store, str(path))
    path.unlink()
    with pytest.raises(SourceError, match=f"{path}: the source file is missing"):
        list(source_rows(store, "a"))


def test_a_damaged_file_is_not_registered(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    path.write_bytes(b"PAR1 but no more")
    with pytest.raises(SourceError, match=str(path)):
        register(store, str(path))
    assert store.batches() == []


def test_the_inbox_shows_complete_new_and_changed_files(store: Store) -> None:
    inbox = store.root / "inbox"
    inbox.mkdir()
    for name in ("b.jsonl", "a.jsonl", ".hidden.jsonl", "a.jsonl.part", "notes.txt"):
        pages(inbox / name, 2)
    (inbox / "folder.jsonl").mkdir()
    assert [path.name for path in unregistered_files(store)] == ["a.jsonl", "b.jsonl"]
    register(store, str(inbox / "a.jsonl"))
    assert [path.name for path in unregistered_files(store)] == ["b.jsonl"]
    pages(inbox / "a.jsonl", 3)
    assert [path.name for path in unregistered_files(store)] == ["a.jsonl", "b.jsonl"]


def test_no_inbox_has_nothing_waiting(store: Store) -> None:
    assert list(unregistered_files(store)) == []


def test_an_address_is_downloaded_into_the_inbox_and_taken_up_anew_when_it_changes(
    store: Store, tmp_path: Path
) -> None:
    site = tmp_path / "site"
    (site / "x").mkdir(parents=True)
    pages(site / "x" / "crawl.jsonl", 2)
    with serving_folder(site) as site_address:
        address = f"{site_address}/x/crawl.jsonl"
        assert register(store, address) == ["crawl"]
        pages(site / "x" / "crawl.jsonl", 4)
        assert texts(store, "crawl") == ["Page 0", "Page 1"]  # what was registered, not what is there now
        assert register(store, address) == ["crawl", "crawl-0002"]
        with pytest.raises(SourceError, match=r"nothing\.jsonl: cannot be fetched"):
            register(store, address.replace("crawl", "nothing"))
    assert [texts(store, key) for key in ("crawl", "crawl-0002")] == [["Page 0", "Page 1", "Page 2"], ["Page 3"]]
    spec = registered(store, "crawl")
    assert spec["source"] == address
    assert Path(spec["path"]).is_relative_to(store.root / "inbox")
    assert list(unregistered_files(store)) == []


def test_what_was_taken_down_is_not_kept_in_a_download(store: Store, tmp_path: Path) -> None:
    site = tmp_path / "site"
    site.mkdir()
    pages(site / "crawl.jsonl", 2)
    store_tombstones(store, Target("document", ("1",)), {Tombstone.document("crawl", "1")})
    with serving_folder(site) as site_address:
        register(store, f"{site_address}/crawl.jsonl")
    assert texts(store, "crawl") == ["Page 0"]
    assert "Page 1" not in Path(registered(store, "crawl")["path"]).read_text()


def test_registrations_at_the_same_time_are_all_there(store: Store, tmp_path: Path) -> None:
    threads = []
    for n in range(8):
        path = pages(tmp_path / f"f{n}.jsonl", 4)
        threads.append(threading.Thread(target=register, args=(Store(home=str(store.root)), str(path))))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(store.batches()) == 16
    assert store.read_all("batches")["rows"].sum() == 32
    assert list((store.root / "aside").iterdir()) == []


def test_the_examples_are_read_whole(tmp_path: Path) -> None:
    store = Store(home=str(tmp_path / "hub"))
    examples = Path(__file__).parents[2] / "examples"
    for name in ("web_pages.jsonl", "notes.csv", "personas.jsonl", "messy.jsonl"):
        register(store, str(examples / name))
    found = {batch: Counter(type(row).__name__ for row in source_rows(store, batch)) for batch in store.batches()}
    assert found == {
        "web_pages": {"Document": 63},
        "notes": {"Document": 15},
        "personas": {"Imported": 125},
        "messy": {"Document": 6, "Fault": 6},
    }
