"""The dataset card: the metadata that the Hub reads, and safety against hostile data."""

from typing import Any

import pytest
from huggingface_hub import DatasetCard
from hypothesis import given
from hypothesis import strategies as st

from personahub_assets.releases.card import body, card, code

COLUMN = {"column": "persona", "type": "VARCHAR", "meaning": "One or | two sentences"}


def about(**known: Any) -> dict[str, Any]:
    """A manifest of two configs, with some parts replaced."""
    config: dict[str, Any] = {
        "rows": 1500,
        "files": 1,
        "description": "What it is.",
        "left_out": {},
        "columns": [COLUMN],
    }
    config["splits"] = {"train": {"rows": 1500, "files": 1}}
    writer = {"prompt": "personas", "prompt_fingerprint": "f1", "schema_fingerprint": "s", "imported": False}
    stage = {"batches": 2, "candidates": 2000, "dropped": 500, "method": "exact", "least_recall": 1.0}
    return {
        "name": "v1",
        "created_at": "2024-05-01T00:00:00+00:00",
        "code": {"package": "personahub-assets", "version": "0.1.0", "commit": "c0ffee"},
        "license": None,
        "where": {},
        "jsonl": False,
        "export": None,
        "validation": 0.0,
        "texts": [],
        "verification": [],
        "diversity": [],
        "configs": {"personas": config, "tools": {**config, "left_out": {"persona_left_the_hub": 7}}},
        "empty": {},
        "sources": [{"batch": "a", "source": "a.jsonl", "sha256": "ab", "source_rows": 9, "released_rows": 3000}],
        "origins": [{"origin": "text", "hop": 0, "rows": 1500}],
        "writers": [
            {**writer, "config": "personas", "model": "small", "rows": 1000},
            {**writer, "config": "personas", "model": "large", "rows": 500},
            {**writer, "config": "tools", "model": "large", "rows": 1500},
        ],
        "prompts": [{"config": "tools", "name": "tools", "prompt_fingerprint": "f1", "file": None, "rows": 1500}],
        "dedup": [{**stage, "stage": "lexical", "rule": "Jaccard 0.9"}],
        "quarantine": [{"asset": "tools", "asked": 2000, "reason": "refused", "quarantined": 50}],
        **known,
    }


def front(text: str) -> dict[str, Any]:
    """The front matter as the Hub's library reads it."""
    return dict(DatasetCard(text, ignore_metadata_errors=False).data.to_dict())


def test_the_front_matter_has_configs_licence_and_size() -> None:
    found = front(card(about(license="cc-by-4.0")))
    assert found["license"] == "cc-by-4.0"
    assert found["size_categories"] == ["1K<n<10K"]
    assert found["configs"] == [
        {
            "config_name": "personas",
            "default": True,
            "data_files": [{"split": "train", "path": "data/personas/train-*.parquet"}],
        },
        {"config_name": "tools", "data_files": [{"split": "train", "path": "data/tools/train-*.parquet"}]},
    ]
    assert front(card(about()))["license"] == "unknown"


@pytest.mark.parametrize(
    "line",
    [
        "| `personas` | 1,500 | 1 | What it is |",
        "| `tools` | whose persona is no longer in the hub | 7 |",
        "| `persona` | `VARCHAR` | One or \\| two sentences |",
        "| `a` | `a.jsonl` | 9 | 3,000 | `ab` |",
        "| `personas` | `small` | 1,000 | 66.7 % |",
        "| `tools` | `tools` | `f1` | not on record | 1,500 |",
        "| lexical | `Jaccard 0.9` | exact | 2 | 2,000 | 500 | 25.0 % |",
        "| `tools` | 2,000 | `refused` | 50 | 2.5 % |",
        "SELECT persona, text FROM 'data/tools/*.parquet'",
        'rows = load_dataset("FOLDER", "tools", split="train")',
    ],
)
def test_what_the_card_says(line: str) -> None:
    assert line in body(about()).splitlines()


def test_a_condition_stands_once_with_its_configs() -> None:
    text = body(about(where={"personas": ["hop = 0"], "tools": ["hop = 0", "a || b"]}))
    assert "| `personas`, `tools` | `hop = 0` |" in text
    assert "| `tools` | `a \\|\\| b` |" in text
    assert "It is a selection" in text


def test_limits_follow_from_how_it_was_made() -> None:
    first, second = ({**about()["dedup"][0], **how} for how in ({"rule": "Jaccard 0.8"}, {"method": "minhash"}))
    plain, rough = body(about()), body(about(dedup=[first, second]))
    for limit in ("deduplicated by different rules", "Dedup was approximate in part"):
        assert limit not in plain
        assert limit in rough


@given(st.text(max_size=300))
def test_a_value_from_data_is_one_code_span_in_one_cell(value: str) -> None:
    shown = code(value)
    assert len(shown.splitlines()) <= 1
    assert shown == "" or (shown.count("`") == 2 and shown[0] == shown[-1] == "`")
    assert "|" not in shown.replace("\\|", "")
    assert len(shown) <= 2 * 160 + 2


@given(st.text(max_size=40))
def test_no_value_changes_the_structure_of_the_card(value: str) -> None:
    writer = {**about()["writers"][0], "model": value or "m", "prompt": value}
    source = {**about()["sources"][0], "source": value}
    text = body(about(writers=[writer], sources=[source], where={"tools": [value or "x"]}))
    plain = body(about(writers=[{**writer, "model": "m"}], sources=[source], where={"tools": ["x"]}))
    assert len(text.splitlines()) == len(plain.splitlines())


def test_the_card_names_the_prompts_files_and_what_was_changed() -> None:
    assert "was changed" not in body(about())
    prompt = {"config": "tools", "name": "tools", "prompt_fingerprint": "f1", "file": "prompts/tools-f1.md", "rows": 3}
    code_facts = {"package": "p", "version": "1", "commit": "c0ffee", "changed_files": ["a.py", "evil`|.md"]}
    text = body(about(prompts=[prompt], code=code_facts, own_files=[{"file": "prompts/tools.md", "sha256": "ab"}]))
    assert "| `prompts/tools-f1.md` | 3 |" in text
    assert "2 files differ from the version above (`a.py`, `evil'\\|.md`)" in text
    assert "of its own: `prompts/tools.md`" in text
    unknown = about(code={**code_facts, "changed_files": None, "changed_files_unknown": "there is no git"})
    assert "is unknown: `there is no git`" in body(unknown)
