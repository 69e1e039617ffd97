"""Takedown of a site or a whole batch: removed rows, the receipt, kept rows, and rows that return."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from personahub_assets.core.errors import BatchError
from personahub_assets.sources.register import imported_personas, register, source_rows
from personahub_assets.sources.rows import Document, Fault, Imported
from personahub_assets.sources.tombstones import Tombstone
from personahub_assets.steps.candidates import imported
from personahub_assets.steps.corpus import document_rows
from personahub_assets.store.tables import Store, table_schema
from personahub_assets.takedown.receipts import Line, Target, store_tombstones
from personahub_assets.takedown.takedown import takedown

GO = ["https://example.org/", "http://EXAMPLE.org:80/ann", "<https://example.org/photos>", "https://example.org./x?y=1"]
NEAR = [
    "https://www.example.org/",
    "https://example.org:8443/",
    "https://blog.example.org/a",
    "https://blog.example.org/b",
]
STAY = ["https://example.organic.com/", "https://example.org.evil.com/", "https://example.org@evil.com/", "page-17"]
WAITING = os.fsdecode(b"caf\xe9.jsonl")  # not UTF-8


def write_pages(path: Path, addresses: list[str]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [{"id": f"d{n}", "url": url, "text": f"Page {n} of {len(addresses)}"} for n, url in enumerate(addresses)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def run(store: Store, batch: str) -> None:
    """Run the first two assets for a batch."""
    store.write("documents", batch, document_rows(batch, source_rows(store, batch)))
    texts = [row.persona for row in imported_personas(store, batch)]
    rows = pl.DataFrame(imported(batch, texts), table_schema("text_personas"), orient="row") if texts else None
    if rows is not None:
        store.write("text_personas", batch, rows)


def addresses(store: Store, batch: str) -> list[str | None]:
    return [row.url for row in source_rows(store, batch) if isinstance(row, Document)]


@pytest.fixture
def crawl(store: Store, tmp_path: Path) -> Path:
    """Pages of a site, of related and of similarly named hosts; one file of the inbox is not registered."""
    path = write_pages(tmp_path / "crawl.jsonl", GO + NEAR + STAY)
    register(store, str(path))
    run(store, "crawl")
    write_pages(store.root / "inbox" / WAITING, [GO[0], STAY[0]])
    return path


def test_a_site_goes_and_no_other(store: Store, crawl: Path) -> None:
    receipt = takedown(store, Target("url_prefix", ("https://example.org",)))
    assert receipt.rows[Line("removed", "documents", "crawl")] == len(GO)
    left = store.read("documents", "crawl")["url"].to_list()
    assert left == NEAR + STAY
    # The same rule for what is ingested later.
    assert addresses(store, "crawl") == NEAR + STAY
    register(store, str(write_pages(crawl.parent / "later.jsonl", GO + STAY)))
    assert addresses(store, "later") == STAY
    waiting = (store.root / "inbox" / WAITING).read_text().splitlines()
    assert [line.strip() != "" for line in waiting] == [False, True]


def test_a_rule_of_an_older_home_is_read_as_one_of_now(store: Store, crawl: Path) -> None:
    stones = {Tombstone("url_prefix", None, mark) for mark in ("https://example.org", "http://www.example.org/fo")}
    store_tombstones(store, Target("url_prefix", ("https://example.org",)), stones)
    assert addresses(store, "crawl") == NEAR + STAY


def test_what_would_go_is_shown(store: Store, crawl: Path, called: Callable[..., tuple[int, str, str]]) -> None:
    arguments = ("takedown", "--url-prefix", "https://example.org", "--dry-run")
    said = called(*arguments, home=store.root)[2]
    assert "example.org: 5 documents, such as https://example.org/, http://EXAMPLE.org:80/ann, " in said
    assert "blog.example.org is another host and keeps its 2 documents." in said
    assert "To remove them: --url-prefix https://www.example.org/" in said
    told = json.loads(called(*arguments, "--json", home=store.root)[1])
    assert told["addresses"]["example.org"]["documents"] == 5
    assert told["hosts_that_stay"] == {"blog.example.org": 2, "www.example.org": 1, "example.org:8443": 1}
    assert store.read_all("tombstones").is_empty()


@pytest.fixture
def people(store: Store, tmp_path: Path) -> Path:
    """A batch of two slices inside the home, of personas and pages, and another one with one of the same texts."""
    rows = [{"persona": "A baker."}, {"text": "A page", "url": GO[0]}, {"persona": "A tailor."}, {"text": "A second"}]
    path = store.root / "inbox" / "people.jsonl"
    path.parent.mkdir(parents=True)
    (store.root / "hub.toml").write_text("[sources]\nrows_per_batch = 2\n")
    path.write_text("".join(json.dumps(row) + "\n" for row in [*rows, "no object"]))
    (tmp_path / "others.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows[2:]))
    register(store, str(path))
    register(store, str(tmp_path / "others.jsonl"))
    for batch in store.batches():
        run(store, batch)
    return path


def test_a_whole_batch_goes_with_its_slices_and_is_not_registered_again(store: Store, people: Path) -> None:
    content = people.read_text()
    with pytest.raises(BatchError, match="is a slice of"):
        takedown(store, Target("batch", ("people-0002",)))
    planned = takedown(store, Target("batch", ("people",)), dry_run=True)
    receipt = takedown(store, Target("batch", ("people",)))
    assert receipt.rows == planned.rows
    assert receipt.total("removed") >= 3 + 2 + 2 + 5  # registrations, documents, personas, lines of the source file
    assert store.batches() == ["others"]
    assert [path for path in store.root.rglob("*people*") if "locks" not in path.parts] == []
    assert takedown(store, Target("batch", ("people",))).finished_at, "again: nothing is left of it"
    assert store.read("documents", "others")["text"].to_list() == ["A second"]

    people.write_text(content)
    with pytest.raises(BatchError, match=r"'people' was taken down, and its key cannot be used again; .*--name"):
        register(store, str(people))
    with pytest.raises(BatchError, match="was taken down"):
        list(source_rows(store, "people"))
    # Under another name nothing comes back but what another batch has, too.
    keys = register(store, str(people), name="again")
    rows = [row for key in keys for row in source_rows(store, key)]
    assert [row.text for row in rows if isinstance(row, Document)] == ["A second"]
    assert [row.persona for row in rows if isinstance(row, Imported)] == ["A tailor."]
    assert [row.reason for row in rows if isinstance(row, Fault)] == ["taken_down", "taken_down", "taken_down"]


def test_the_only_batch_goes_and_a_killed_try_is_finished(store: Store, people: Path) -> None:
    takedown(store, Target("batch", ("others",)))

    def killed(_: object) -> bool:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        takedown(store, Target("batch", ("people",)), approve=killed)
    assert takedown(store, Target("batch", ("people",))).finished_at
    assert store.batches() == []
    assert not people.exists()
    assert takedown(store, Target("batch", ("people",))).finished_at


def test_a_changed_source_file_inside_the_home_is_named_as_unread(store: Store, people: Path) -> None:
    people.write_text(people.read_text().replace("A page", "A pagE"))
    receipt = takedown(store, Target("document", (GO[0],)), dry_run=True)
    assert {line.place for line, _ in receipt.lines_of("unread")} == {str(people)}
