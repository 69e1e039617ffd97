"""The record of prompts: versions by batch, kept when they are used again, and taken over with imported answers."""

from dataclasses import replace
from pathlib import Path

from personahub_assets.core.catalog import Catalog
from personahub_assets.core.records import Instruction, KnowledgeText
from personahub_assets.generation.prompt_record import RECORDED, TABLE, import_prompts, record_use, recorded_prompt
from personahub_assets.generation.requests import Task
from personahub_assets.store.tables import Store

TASK = Task("instructions", Catalog().prompt("instructions"), Instruction, "m")


def test_each_version_is_one_row_with_its_first_and_last_use(store: Store) -> None:
    record_use(store, TASK, "a")
    (first,) = store.read(TABLE, "a", "instructions").to_dicts()
    record_use(store, TASK, "a", 7)
    (second,) = store.read(TABLE, "a", "instructions").to_dicts()
    assert first["rows_written"] == 0
    assert second["rows_written"] == 7
    assert first["first_used"] == second["first_used"] < second["last_used"]
    record_use(store, TASK, "a", 7, is_asked=False)
    assert store.read(TABLE, "a", "instructions").to_dicts() == [second]  # a run without a change leaves the file
    warm = replace(TASK, prompt=TASK.prompt.with_settings({}, {"temperature": 0.2, "top_k": 9}))
    for other in (
        warm,
        replace(TASK, model="n"),
        replace(TASK, answer=KnowledgeText),
        replace(TASK, settings={"k": 1}),
    ):
        record_use(store, other, "a")
    record_use(store, TASK, "b")
    rows = store.read(TABLE, "a", "instructions")
    assert rows["rows_written"].to_list() == [7, 0, 0, 0, 0]
    assert recorded_prompt(rows.row(1, named=True)).fingerprint == warm.prompt.fingerprint
    assert sorted(store.partitions(TABLE)) == ["a", "b"]


def test_the_prompts_of_imported_answers_come_with_them_once(store: Store, tmp_path: Path) -> None:
    other = Store(home=str(tmp_path / "other"))
    record_use(other, TASK, "a", 7)
    record_use(other, replace(TASK, prompt=TASK.prompt.with_settings({}, {"temperature": 0.2})), "a", 7)
    assert import_prompts(store, other.root, {TASK.prompt.fingerprint}) == 1
    assert import_prompts(store, other.root, {TASK.prompt.fingerprint}) == 0
    assert import_prompts(store, tmp_path / "a-file.parquet", {TASK.prompt.fingerprint}) == 0
    (row,) = store.read(TABLE, RECORDED, "instructions").to_dicts()
    assert (row["batch"], row["rows_written"]) == (RECORDED, 0)
    assert recorded_prompt(row).fingerprint == TASK.prompt.fingerprint
