"""Recorded answers: which are imported, which are not, and the messages about both."""

import json
from pathlib import Path
from typing import Any

import pytest

from personahub_assets.core.errors import LLMError, SourceError
from personahub_assets.generation import recorded
from personahub_assets.generation.llm import LLM
from personahub_assets.generation.recorded import import_answers
from personahub_assets.store.tables import Store

ANSWER = json.dumps({"personas": [{"persona": "A diver who mends nets in winter.", "relation": "colleague"}]})


def key(number: int) -> str:
    """A request key."""
    return f"{number:016x}" * 2


def row(number: int = 0, **told: Any) -> dict[str, Any]:
    """A row of generations as `personahub sql --format json` writes it, without most of its columns."""
    return {
        "asset": "related_personas",
        "request_key": key(number),
        "model": "qwen",
        "status": "accepted",
        "reason": None,
        "response": ANSWER,
        "superseded_at": None,
        "latency_s": 1.5,
        **told,
    }


def put(folder: Path, *rows: dict[str, Any]) -> str:
    path = folder / "gens.jsonl"
    path.write_text("".join(json.dumps(one) + "\n" for one in rows))
    return str(path)


def test_what_cannot_be_reused_is_left_out_and_counted(store: Store, tmp_path: Path) -> None:
    rows = [
        row(1),
        row(1),
        row(2, status="superseded", superseded_at="2026-01-01T00:00:00"),
        row(3, status="rejected", reason="refused", response="no"),
        row(4, request_key="nonsense"),
        row(5, model=None),
        row(6, response=None),
        row(7, response='{"personas": []}'),
        row(8, response="not JSON"),
        row(9, asset="of_tomorrow"),
        row(10, asset="../../up"),
        row(11, answer_tokens=-1),
        {},
    ]
    imported = import_answers(store, put(tmp_path, *rows))
    assert imported.usable == {"related_personas": 2}
    assert imported.left_out == {
        "met twice": 1,
        "rejected": 1,
        "without a valid request_key": 1,
        "without a valid model": 1,
        "without a valid response": 1,
        "not matching the schema": 2,
        "of no asset of this home": 2,
        "without a valid answer_tokens": 1,
        "without a valid asset": 1,
    }
    assert str(imported).startswith("2 recorded answers of qwen can be reused (related_personas 2); left out: 2 ")
    assert not (tmp_path / "up").exists()


def test_the_same_file_again_replaces_what_came_from_it(store: Store, tmp_path: Path) -> None:
    import_answers(store, put(tmp_path, row(1), row(2)))
    import_answers(store, put(tmp_path, row(3)))
    (path,) = recorded.files(store, "related_personas")
    assert recorded.read_file(path, "generations", ["request_key"])["request_key"].to_list() == [key(3)]
    assert list((store.root / "aside").glob("*")) == []


@pytest.mark.parametrize("rows", [[], [row(status="rejected", reason="refused")], [{"text": "a page"}]])
def test_a_file_without_a_usable_answer_is_refused_with_the_remedy(
    store: Store, tmp_path: Path, rows: list[dict[str, Any]]
) -> None:
    with pytest.raises(SourceError, match=r"no usable answers.*SELECT \* FROM generations"):
        import_answers(store, put(tmp_path, *rows))
    assert recorded.models(store) == []
    assert not (store.root / "writer").exists()


def test_a_folder_without_files_is_refused(store: Store, tmp_path: Path) -> None:
    (tmp_path / "nothing").mkdir()
    with pytest.raises(SourceError, match="no Parquet file in it; give a home"):
        import_answers(store, str(tmp_path / "nothing"))


def test_the_standin_and_models_are_not_mixed(store: Store, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="in one place: not imported"):
        import_answers(store, put(tmp_path, row(1), row(2, model="standin")))
    import_answers(store, put(tmp_path, row(1, model="standin")))
    with pytest.raises(LLMError, match="holds rows written by the stand-in"):
        import_answers(store, put(tmp_path, row(1)))
    assert recorded.models(store) == ["standin"]


def test_the_model_is_the_one_that_is_named_else_the_recorded_one(store: Store, tmp_path: Path) -> None:
    with pytest.raises(LLMError, match="PERSONAHUB_LLM_URL is not set"):
        LLM().model_for(store)
    import_answers(store, put(tmp_path, row(1)))
    assert LLM().model_for(store) == "qwen"
    assert LLM(model="other").model_for(store) == "other"
    import_answers(store, put(tmp_path, row(1), row(2, model="llama")))
    with pytest.raises(LLMError, match=r"\['llama', 'qwen'\]: set PERSONAHUB_LLM_MODEL"):
        LLM().model_for(store)
