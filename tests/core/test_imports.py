"""Published sets of personas, with their column names, and the filters of documents."""

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from personahub_assets.core.errors import ConfigError, SourceError
from personahub_assets.sources.register import describe_reading, imported_personas, register, source_rows
from personahub_assets.sources.rows import Document, Fault, Imported
from personahub_assets.store.tables import Store

NEMOTRON = {
    "uuid": ["6f1c", "7a2d"],
    "professional_persona": ["A surveyor of old canals who keeps two barges.", None],
    "sports_persona": ["Rows on Sundays.", "Runs."],
    "arts_persona": ["Carves owls.", "Sings."],
    "persona": ["A surveyor and rower.", "A runner who sings."],
    "skills_and_expertise_list": ["['levelling', 'law of waterways']", "['scales']"],
    "age": [57, 31],
    "sex": ["Female", "Male"],
    "state": ["OH", "NM"],
    "zipcode": ["44101", "87101"],
    "country": ["USA", "USA"],
}


def put(folder: Path, name: str, rows: list[dict[str, Any]]) -> str:
    path = folder / name
    if name.endswith(".parquet"):
        pl.DataFrame(rows).write_parquet(path)
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def personas(store: Store, batch: str) -> list[tuple[str, Any]]:
    rows = list(imported_personas(store, batch))
    assert rows == [row for row in source_rows(store, batch) if isinstance(row, Imported)]
    return [(row.persona, row.attributes and json.loads(row.attributes)) for row in rows]


def test_personahub(store: Store, tmp_path: Path) -> None:
    register(store, put(tmp_path, "persona.jsonl", [{"persona": "A Political Analyst specialised in El Salvador."}]))
    assert personas(store, "persona") == [("A Political Analyst specialised in El Salvador.", None)]
    assert describe_reading(store, "persona") == ""


def test_elite_personas(store: Store, tmp_path: Path) -> None:
    row = {
        "persona": "A hydrologist who models floods of braided rivers.",
        "general domain (top 1 percent)": "Earth Sciences",
        "specific domain (top 1 percent)": "Hydrology",
        "general domain (top 0.1 percent)": "None",
        "specific domain (top 0.1 percent)": "None",
    }
    register(store, put(tmp_path, "elite_personas.part1.jsonl", [row]))
    persona = row.pop("persona")
    assert personas(store, "elite_personas-part1") == [(persona, row)]


@pytest.mark.parametrize("labels", ['["Hydrology", "Teaching"]', ["Hydrology", "Teaching"]])
def test_finepersonas(store: Store, tmp_path: Path, labels: Any) -> None:
    row = {"id": "<urn:uuid:1d7c>", "persona": "A teacher of geography.", "labels": labels}
    register(store, put(tmp_path, "train.parquet", [row]))
    told = {"id": "<urn:uuid:1d7c>", "labels": ["Hydrology", "Teaching"]}
    assert personas(store, "train") == [("A teacher of geography.", told)]


def test_nemotron_personas(store: Store, tmp_path: Path) -> None:
    rows = pl.DataFrame(NEMOTRON).rows(named=True)
    path = put(tmp_path, "train.parquet", rows)
    register(store, path, name="whole")
    assert [persona for persona, _ in personas(store, "whole")] == NEMOTRON["persona"]
    assert describe_reading(store, "whole") == (
        "personas are read from column 'persona'; professional_persona, sports_persona, arts_persona "
        "can be chosen with --persona-column"
    )
    register(store, path, name="work", persona_column="professional_persona")
    ((persona, told),) = personas(store, "work")
    assert persona == NEMOTRON["professional_persona"][0]
    assert told == {name: values[0] for name, values in NEMOTRON.items() if name != "professional_persona"}
    (fault,) = [row for row in source_rows(store, "work") if isinstance(row, Fault)]
    assert fault.reason == "no_text"
    assert "nothing in column 'professional_persona' among ['uuid'" in fault.detail


def test_a_file_without_a_column_that_is_read_as_persona_says_so(store: Store, tmp_path: Path) -> None:
    register(store, put(tmp_path, "a.jsonl", [{"arts_persona": "Carves owls."}]))
    assert describe_reading(store, "a").startswith("no column is read as personas; arts_persona can be chosen")


@pytest.mark.parametrize("name", ["a.jsonl", "a.parquet"])
def test_a_named_column_that_is_not_there_is_refused(store: Store, tmp_path: Path, name: str) -> None:
    path = put(tmp_path, name, [{"persona": "A diver.", "arts_persona": "Sings."}])
    with pytest.raises(SourceError, match=r"no column 'art_persona' \(did you mean 'arts_persona'\?.*persona"):
        register(store, path, persona_column="art_persona")
    with pytest.raises(SourceError, match="no column 'body'"):
        register(store, path, text_column="body")
    assert store.batches() == []
    register(store, path, persona_column=" ARTS_Persona")


def test_ids_of_personas_do_not_depend_on_attributes() -> None:
    from personahub_assets.steps.candidates import imported

    bare, told = imported("b", ["A", "A"]), imported("b", ["A", "A"], ['{"x": 1}', None])
    assert [row["persona_id"] for row in bare] == [row["persona_id"] for row in told]
    assert [row["attributes"] for row in told] == ['{"x": 1}', None]


# --- gates ---

ENGLISH = "The harbour crane stopped at noon, and the containers waited until the burnt relay had been found. " * 2
GERMAN = "Der Hafenkran blieb um zwölf Uhr stehen, und die Container warteten, bis das Relais gefunden war. " * 2


def test_gates_keep_documents_out_and_let_personas_in(store: Store, tmp_path: Path) -> None:
    texts = [{"text": text} for text in (ENGLISH, GERMAN, "Too short.", "Short, but long enough to pass.")]
    register(store, put(tmp_path, "a.jsonl", [*texts, {"persona": "Taucher."}]))
    assert [type(row) for row in source_rows(store, "a")] == [Document] * 4 + [Imported]
    (store.root / "hub.toml").write_text('[sources]\nlanguages = ["en"]\nmin_document_chars = 20\n')
    rows = list(source_rows(store, "a"))
    assert [row.reason if isinstance(row, Fault) else "" for row in rows] == [
        *("", "other_language", "too_short", "", "")
    ]
    assert isinstance(rows[1], Fault)
    assert rows[1].detail == "line 2: language de; sources.languages are en"


def test_a_language_that_does_not_exist_is_refused(store: Store) -> None:
    store.root.mkdir()
    (store.root / "hub.toml").write_text('[sources]\nlanguages = ["english"]\n')
    with pytest.raises(ConfigError, match=r"sources\.languages.*unknown language; valid: .*\ben\b"):
        _ = store.config


# --- nesting ---


def test_columns_that_nest_too_deeply_are_a_fault(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"persona": "A diver.", "x": ' + "[" * 700 + "]" * 700 + "}\n")
    register(store, str(path))
    (row,) = source_rows(store, "a")
    assert isinstance(row, Fault | Imported)
