"""Working copies: what one worker publishes, every other one sees, and nobody overwrites what he has not seen."""

import json
import threading
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from storage_server import BUCKET, Handler, Proxy

from personahub_assets.core.errors import AccessError, StoreError
from personahub_assets.core.object_homes import working_copy
from personahub_assets.store import commits
from personahub_assets.store import working_copy as working_copies
from personahub_assets.store.home import Lock
from personahub_assets.store.objects import Conflict
from personahub_assets.store.tables import Store, table_schema


def row(batch: str, text: str = "") -> pl.DataFrame:
    values = {"batch": batch, "input_id": text, "asset": "documents"}
    schema = table_schema("quarantine")
    return pl.DataFrame([{name: values.get(name) for name in schema}], schema)


def write(store: Store, batch: str, text: str = "") -> None:
    store.write("quarantine", batch, row(batch, text), "documents")


def texts(store: Store) -> dict[str, str]:
    store.pulled()
    return dict(store.read_all("quarantine").select("batch", "input_id").iter_rows())


def test_what_one_publishes_the_others_see(worker):
    first, second = worker("first"), worker("second")
    write(first, "a", "one")
    assert texts(second) == {"a": "one"}
    write(second, "a", "two")
    write(second, "b", "three")
    assert texts(first) == {"a": "two", "b": "three"} == texts(worker("third"))


def test_the_same_rows_are_not_written_again(worker, bucket):
    store = worker("first")
    write(store, "a", "one")
    before = len([method for method, _ in bucket.requests if method == "PUT"])
    write(store, "a", "one")
    assert len([method for method, _ in bucket.requests if method == "PUT"]) == before


def test_a_partition_costs_one_put_and_its_commit(worker, bucket):
    store = worker("first")
    write(store, "a")
    before = len(bucket.requests)
    write(store, "b")
    puts = [path.rpartition("/")[2] for method, path in bucket.requests[before:] if method == "PUT"]
    assert puts == ["part.parquet", "000000000002.json"]


def test_of_two_writers_of_one_partition_one_is_refused(worker, monkeypatch):
    monkeypatch.setattr(working_copies, "_GRACE_S", 0.0)
    first, second = worker("first").pulled(), worker("second").pulled()
    write(first, "a", "one")
    with pytest.raises(Conflict, match=r"quarantine/.*published by another worker meanwhile.*run again"):
        write(second, "a", "two")
    assert texts(second) == {"a": "one"} == texts(first)
    write(second, "a", "two")
    assert texts(first) == {"a": "two"}


def test_two_writers_of_the_same_rows_agree(worker):
    first, second = worker("first").pulled(), worker("second").pulled()
    write(first, "a", "one")
    write(second, "a", "one")
    assert texts(second) == {"a": "one"} == texts(worker("third"))


def test_many_writers_at_once_lose_nothing(worker):
    stores = [worker(f"worker {number}").pulled() for number in range(4)]

    def publish(store: Store, number: int) -> None:
        for batch in range(5):
            write(store, f"b{number}-{batch}", f"{number} {batch}")

    threads = [threading.Thread(target=publish, args=(store, number)) for number, store in enumerate(stores)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    wanted = {f"b{number}-{batch}": f"{number} {batch}" for number in range(4) for batch in range(5)}
    assert texts(worker("another")) == wanted
    assert all(texts(store) == wanted for store in stores)


def test_a_list_that_lags_hides_nothing(worker, bucket):
    first = worker("first")
    for batch in ("a", "b", "c"):
        write(first, batch, batch)
    second = worker("second").pulled()
    bucket.hidden = ["batch=b", "batch=c", "batch=d", "commits/"]
    write(first, "d", "d")
    assert texts(second) == {each: each for each in "abcd"}  # it reads commits
    assert texts(worker("third")) == {each: each for each in "abcd"}  # it begins with a list


def test_a_failed_upload_changes_nothing(worker, bucket):
    store = worker("first")
    write(store, "a", "one")

    def refuse(proxy: Proxy, handler: Handler, body: bytes) -> bool:
        if handler.command == "PUT":
            handler.answer(403, {}, b"<Error><Code>AccessDenied</Code></Error>")
        return handler.command == "PUT"

    bucket.trouble = refuse
    with pytest.raises(AccessError, match=r"cannot write s3://.*part\.parquet"):
        write(store, "a", "two")
    bucket.trouble = None
    assert texts(store) == {"a": "one"} == texts(worker("second"))
    assert list(store.paths.aside.rglob("*.parquet")) == []


def test_a_torn_partition_is_named_and_the_next_run_replaces_it(worker, bucket):
    first, second = worker("first"), worker("second").pulled()

    def tear(proxy: Proxy, handler: Handler, body: bytes) -> bool:
        if handler.command != "PUT" or "part.parquet" not in handler.path:
            return False
        handler.answer(*proxy.forward("PUT", handler.path, dict(handler.headers), body[: len(body) // 2]))
        return True

    bucket.trouble = tear
    write(first, "a", "one")
    bucket.trouble = None
    with pytest.raises(StoreError, match="is damaged"):
        second.pulled()
    write(first, "a", "two")
    assert texts(second) == {"a": "two"}


@pytest.mark.parametrize("moment", ["before the commit", "before the rename"])
def test_a_writer_that_dies_leaves_no_half_partition(worker, monkeypatch, moment):
    monkeypatch.setattr(working_copies, "_GRACE_S", 0.0)
    first, second = worker("first"), worker("second")
    write(first, "a", "one")
    second.pulled()

    class Died(BaseException):
        pass

    def die(*_: object, **__: object) -> None:
        raise Died

    with monkeypatch.context() as patch:
        if moment == "before the commit":
            patch.setattr(working_copies.WorkingCopy, "_commit", die)
        else:
            patch.setattr(working_copies.atomic, "publish", die)
        with pytest.raises(Died):
            write(first, "a", "two")
    assert texts(second) == {"a": "one" if moment == "before the commit" else "two"}
    assert texts(worker("new")) == {"a": "two"}  # the first version is gone
    assert texts(first) == texts(second) == {"a": "two"}
    write(second, "a", "three")
    assert texts(first) == {"a": "three"} == texts(worker("third"))


def test_settings_that_were_changed_by_hand_come_with_the_next_command(worker):
    first, second = worker("first").pulled(), worker("second").pulled()
    objects = first.working_copy.objects
    objects.write("hub.toml", b"[related_personas]\nhops = 2\n", "any")
    objects.write("prompts/tools.md", b"text", "any")
    assert second.pulled().config.related_personas.hops == 2
    assert (second.paths.prompts / "tools.md").read_bytes() == b"text"
    objects.delete("prompts/tools.md")
    second.pulled()
    assert not (second.paths.prompts / "tools.md").exists()


def test_settings_that_were_changed_here_are_pushed_unless_changed_there_too(worker):
    first, second = worker("first").pulled(), worker("second").pulled()
    first.paths.config.write_text("[related_personas]\nhops = 2\n")
    first.working_copy.push()
    assert second.pulled().config.related_personas.hops == 2
    first.paths.config.write_text("[related_personas]\nhops = 3\n")
    second.paths.config.write_text("[related_personas]\nhops = 4\n")
    second.working_copy.push()
    with pytest.raises(Conflict):
        first.working_copy.push()
    with pytest.raises(StoreError, match=r"hub\.toml was changed here.*keep one of them"):
        first.pulled()
    first.paths.config.unlink()
    assert first.pulled().config.related_personas.hops == 4


def test_a_folder_is_deleted_for_all(worker):
    first, second = worker("first"), worker("second")
    write(first, "a", "one")
    write(first, "b", "two")
    assert set(texts(second)) == {"a", "b"}
    first.remove(first.path("quarantine", "a", "documents").parent)
    assert set(texts(first)) == set(texts(second)) == set(texts(worker("third"))) == {"b"}


def test_a_deleted_working_copy_is_downloaded_anew_and_a_deleted_file_too(worker):
    store = worker("first")
    write(store, "a", "one")
    store.path("quarantine", "a", "documents").unlink()
    write(worker("second"), "b", "two")
    other = worker("first")
    assert set(texts(other)) == {"a", "b"} == set(texts(worker("third")))


def test_a_release_is_downloaded_by_who_needs_it(worker):
    first, second = worker("first").pulled(), worker("second").pulled()
    (first.paths.releases / "one").mkdir(parents=True)
    (first.paths.releases / "one" / "card.md").write_text("card")
    with first.lock(Lock.RELEASES, wait=True):
        pass
    second.pulled()
    assert not second.paths.releases.exists()
    second.pulled(working_copies.ON_DEMAND)
    assert (second.paths.releases / "one" / "card.md").read_text() == "card"


def test_files_of_a_worker_are_not_objects(worker):
    store = worker("first").pulled()
    for name in ("cache/x", "aside/x", "dagster/x", "locks/x", ".hidden", "journal/a/b.sqlite"):
        path = store.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
    store.working_copy.push(everything=True)
    assert list(store.working_copy.objects.list()) == []


def test_commits_are_found_without_a_list(worker):
    store = worker("first")
    for number in range(11):
        write(store, f"b{number}")
    log = store.working_copy._commits
    assert log.last() == 11
    assert [number for number, _ in log.after(8)] == [9, 10, 11]
    content, version = store.working_copy.objects.read("commits/000000000011.json")
    assert list(json.loads(content)["changes"]) == ["tables/quarantine/asset=documents/batch=b10/part.parquet"]
    store.working_copy.objects.write("commits/000000000011.json", b"{}", version.etag)
    with pytest.raises(StoreError, match=r"000000000011\.json is damaged"):
        worker("second").pulled()


steps = st.lists(
    st.tuples(
        st.sampled_from(["one", "two", "three"]), st.sampled_from(["write", "remove", "die", "die"]), st.integers(0, 3)
    ),
    max_size=10,
)


@settings(max_examples=20)
@given(steps=steps)
def test_under_locks_all_workers_agree_with_one_home(steps, bucket, tmp_path_factory):
    """Any sequence of writes, removals and deaths, each with the lock held, leaves what one home would have."""
    folder = tmp_path_factory.mktemp("copies")
    url = f"s3://{BUCKET}/{folder.name}"
    possible = dict[str, set[str | None]]()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(working_copies, "_GRACE_S", 0.0)
        for number, (name, action, batch) in enumerate(steps):
            store, key = Store(home=str(working_copy(url, folder / name))), f"b{batch}"
            with store.lock(Lock.of("documents", key), wait=False):
                if action == "write":
                    write(store, key, str(number))
                    possible[key] = {str(number)}
                elif action == "remove":
                    store.remove(store.path("quarantine", key, "documents").parent)
                    possible[key] = {None}
                else:
                    die_while_writing(store, key, f"dead {number}")
                    possible[key] = {*possible.get(key, {None}), f"dead {number}"}
        seen = [texts(Store(home=str(working_copy(url, folder / name)))) for name in ("one", "two", "new", "three")]
        seen += [texts(Store(home=str(working_copy(url, folder / name)))) for name in ("one", "two")]
    assert seen[2] == seen[3] == seen[4] == seen[5]
    assert all(seen[2].get(key) in texts_of_key for key, texts_of_key in possible.items())
    assert seen[2].keys() <= possible.keys()


def die_while_writing(store: Store, batch: str, text: str) -> None:
    """Write an object, and die before its commit."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(working_copies.WorkingCopy, "_commit", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            write(store, batch, text)


def test_a_new_worker_begins_with_the_last_checkpoint(worker, monkeypatch, bucket):
    monkeypatch.setattr(commits, "CHECKPOINT", 4)
    store = worker("first")
    for number in range(10):
        write(store, f"b{number}", str(number))
    store.remove(store.path("quarantine", "b3", "documents").parent)
    wanted = {f"b{number}": str(number) for number in range(10) if number != 3}
    before = len(bucket.requests)
    assert texts(worker("second")) == wanted
    read = [
        path.rpartition("/")[2] for method, path in bucket.requests[before:] if method == "GET" and "commits" in path
    ]
    assert read == ["000000000008.checkpoint.json", *(f"{number:012d}.json" for number in (9, 10, 11, 12))]
    store.working_copy.objects.delete("commits/000000000008.checkpoint.json")  # as if its writer had died
    assert texts(worker("third")) == wanted


def test_a_home_that_was_uploaded_is_taken_over(worker, url, tmp_path):
    local = Store(home=str(tmp_path / "hub"))
    write(local, "a", "one")
    local.paths.config.write_text("[related_personas]\nhops = 2\n")
    objects = worker("first").working_copy.objects
    for file in (*local.files("quarantine"), local.paths.config):
        objects.write(file.relative_to(local.root).as_posix(), file, "absent")
    for name in ("first", "second"):
        assert texts(worker(name)) == {"a": "one"}
        assert worker(name).config.related_personas.hops == 2
    write(worker("first").pulled(), "b", "two")
    assert texts(worker("second")) == {"a": "one", "b": "two"} == texts(worker("third"))


def test_paths_of_another_worker_are_found_here(worker):
    first, second = worker("first"), worker("second")
    assert second.on_this_worker(str(first.root / "inbox" / "x.csv")) == second.root / "inbox" / "x.csv"
    assert second.on_this_worker("/data/x.csv") == Path("/data/x.csv")


@pytest.mark.parametrize("damage", [Path.unlink, lambda file: file.write_bytes(b"PAR1")])
def test_files_that_are_lost_here_are_downloaded_again(worker, damage, caplog):
    store = worker("first")
    write(store, "a", "one")
    (store.root / "prompts").mkdir()
    (store.root / "prompts" / "tools.md").write_text("mine")
    store.working_copy.push()
    damage(store.paths.partition("quarantine", "a", "documents"))
    (store.root / "prompts" / "tools.md").unlink()
    assert texts(store) == {"a": "one"}
    assert (store.root / "prompts" / "tools.md").read_text() == "mine"
    assert "downloaded again" in caplog.text


def test_a_file_that_is_cut_off_here_can_be_deleted_elsewhere(worker):
    first, second = worker("first"), worker("second")
    write(first, "a", "one")
    assert texts(second) == {"a": "one"}
    first.paths.partition("quarantine", "a", "documents").write_bytes(b"PAR1")
    second.remove(second.paths.partition("quarantine", "a", "documents").parent)
    assert texts(first) == {}


def test_after_a_takedown_elsewhere_no_warehouse_from_before_is_read(worker):
    first, second = worker("first").pulled(), worker("second").pulled()
    first.paths.warehouse.write_bytes(b"rows")
    second.write("takedowns", "a", pl.DataFrame(schema=table_schema("takedowns")))
    first.pulled()
    assert not first.paths.warehouse.exists()


def test_a_takedown_in_another_process_keeps_the_files_that_it_changed(worker):
    store = worker("first")
    write(store, "a", "one")
    file = store.paths.partition("quarantine", "a", "documents")
    with store.lock(Lock.TAKEDOWN, wait=False):
        file.unlink()
        store.pulled()
        assert not file.exists()


@pytest.mark.parametrize("content", [b"", b"no database " * 500])
def test_a_damaged_index_is_made_again(worker, content):
    store = worker("first")
    write(store, "a", "one")
    (store.root / "hub.toml").write_text("# mine")
    store.working_copy.push()
    store.paths.objects.write_bytes(content)
    assert texts(store) == {"a": "one"}
    write(store, "a", "two")
    assert texts(worker("second")) == {"a": "two"}


def test_a_fault_of_the_index_in_a_later_query_is_worded_as_what_it_is(worker):
    store = worker("first")
    for number in range(30):
        write(store, f"b{number}")
    content = bytearray(store.paths.objects.read_bytes())
    content[4096 * 1 :] = b"x" * (len(content) - 4096)  # the pages after the schema
    store.paths.objects.write_bytes(content)
    with pytest.raises(StoreError, match=r"objects\.sqlite: the list of the objects.*Delete that file"):
        store.pulled()
    store.paths.objects.unlink()
    assert len(texts(store)) == 30


def test_a_home_does_not_take_over_one_below_it(url, tmp_path):
    inner, outer = (Store(home=str(working_copy(home, tmp_path))) for home in (f"{url}/inner", url))
    write(inner, "a", "one")
    assert texts(outer) == {}
    write(outer, "b", "two")
    assert texts(inner) == {"a": "one"}
    assert not (outer.root / "inner").exists()


def test_objects_that_are_all_gone_delete_nothing_here(worker):
    store = worker("first")
    write(store, "a", "one")
    store.paths.config.write_text("# mine")
    store.working_copy.push()
    objects = store.working_copy.objects
    for key in [key for key, _ in objects.list()]:
        objects.delete(key)
    with pytest.raises(StoreError, match=r"lost its commit 2.*Nothing is changed here.*move that folder away"):
        store.pulled()
    store.paths.config.write_text("# changed")
    with pytest.raises(StoreError, match="lost its commit"):
        store.working_copy.push()
    with pytest.raises(StoreError, match="lost its commit"):
        write(store, "b", "two")
    with pytest.raises(StoreError, match="lost its commit"):
        store.remove(store.path("quarantine", "a", "documents").parent)
    assert store.paths.config.read_text() == "# changed"
    assert store.read_all("quarantine")["input_id"].to_list() == ["one"]
    assert list(objects.list()) == []
    # The remedy: upload the folder, and begin with a new one.
    for file in (*store.files("quarantine"), store.paths.config):
        objects.write(file.relative_to(store.root).as_posix(), file, "absent")
    store.root.rename(store.root.parent / "before")
    assert texts(store) == {"a": "one"} == texts(worker("second"))
