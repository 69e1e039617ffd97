"""The `datasets` library loads a release. It has its own environment, because it requires pyarrow."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from answered import write_answers
from written import write_home

from personahub_assets.core.project_files import root
from personahub_assets.releases.build import freeze
from personahub_assets.releases.folder import Release
from personahub_assets.releases.relations import relations
from personahub_assets.releases.spec import ReleaseSpec
from personahub_assets.store.tables import Store

PYTHON = root() / ".venv-datasets" / "bin" / "python"
LOAD = """
import json, sys
import datasets
path = sys.argv[1]
configs = datasets.get_dataset_config_names(path)
found = {name: datasets.load_dataset(path, name) for name in configs} | {"": datasets.load_dataset(path)}
print(json.dumps({name: {split: rows.to_list() for split, rows in splits.items()} for name, splits in found.items()}))
"""


def loaded(made: Release, folder: Path) -> dict[str, dict[str, list[dict[str, Any]]]]:
    """The rows of every config and split, as the library reads them."""
    if not PYTHON.exists():
        pytest.fail(f"no {PYTHON}: `make test`, or sh scripts/pinned-env.sh datasets, creates it", pytrace=False)
    offline = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "HF_HOME": str(folder / "cache")}
    ended = subprocess.run(
        [PYTHON, "-c", LOAD, str(made.path)],
        env={"PATH": os.environ["PATH"], "HOME": str(folder), "HF_DATASETS_DISABLE_PROGRESS_BARS": "1", **offline},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    return dict(json.loads(ended.stdout))


def test_the_datasets_library_loads_every_config(tmp_path: Path, written: Path) -> None:
    store = Store(home=str(tmp_path / "a hub's home"))  # no brackets: the library would take them for a pattern
    store.root.mkdir()
    (store.root / "tables").symlink_to(written / "tables")
    made = freeze(store, ReleaseSpec.of("v1.0", where=["math_problems: batch = 'b'"], jsonl=True, validation=0.4))
    found = loaded(made, tmp_path)
    assert found.pop("") == found["personas"]
    assert {name: list(splits) for name, splits in found.items()} == {
        name: ["train", "validation"] for name in ("personas", "math_problems", "tools")
    }
    texts = dict(store.read_all("personas").select("persona_id", "persona").iter_rows())
    tables = {name: store.read_all(name) for name in found} | {"math_problems": store.read("math_problems", "b")}
    for name, splits in found.items():
        rows = sorted((row for split in splits.values() for row in split), key=str)
        expected = [{**row, "persona": texts[row["persona_id"]]} for row in tables[name].to_dicts()]
        assert rows == sorted(({column: row[column] for column in rows[0]} for row in expected), key=str)
        assert all(column in rows[0] for column in tables[name].columns)
    drawn = next(row for row in found["tools"]["train"] + found["tools"]["validation"] if row["item_id"] == "ita4")
    assert drawn["input_arguments"][2] == {"name": "a2", "type": "number", "description": "Höhe"}


def test_it_loads_verified_problems_as_conversations(tmp_path: Path) -> None:
    store = Store(home=str(tmp_path / "hub"))
    write_home(store, {"a": 5})
    write_answers(store)
    made = freeze(store, ReleaseSpec.of("v1", ["math_verified"], format="messages", relations=relations(store)))
    rows = loaded(made, tmp_path)["math_verified"]["train"]
    assert len(rows) == 4
    for row in rows:
        assert [sorted(turn) for turn in row["messages"]] == [["content", "role"]] * 2
        assert [turn["role"] for turn in row["messages"]] == ["user", "assistant"]
        assert row["messages"][1]["content"].endswith(f"Final answer: {row['item_id'][-1]}")
