"""The prompts of a release: a file for each version that wrote one of its rows, and a file for each schema."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl

from personahub_assets.core.errors import PersonaHubError
from personahub_assets.generation.prompt_record import TABLE, recorded_prompt
from personahub_assets.store.tables import Store

FOLDER = "prompts"

Writers = Sequence[dict[str, Any]]


def write_prompts(snap: Store, writers: Writers, making: Path, messages: Writers = ()) -> list[dict[str, Any]]:
    """Write the prompts of the released rows, and of their messages.

    Args:
        snap: has the table `prompt_uses`.
        writers: rows of sql/card/writers.sql.
        making: the folder of the release.
        messages: rows of sql/card/messages.sql.

    Returns:
        For the manifest: config, name, fingerprints, models, sampling, rows, and the files; these are None if the
        version was used before prompts were recorded, or a takedown removed its text.
    """
    uses = snap.read_all(TABLE)
    versions: dict[tuple[Any, ...], dict[str, Any]] = {}
    for row in writers:
        if row["imported"] or row["model"] is None:
            continue
        key = (row["config"], row["prompt"], row["prompt_fingerprint"], row["schema_fingerprint"])
        entry = versions.setdefault(key, {**_entry(uses, row, making), "models": [], "rows": 0})
        entry["models"] = sorted({*entry["models"], row["model"]})
        entry["rows"] += row["rows"]
    for row in messages:
        key = (row["config"], row["prompt"], row["prompt_fingerprint"], row["schema_fingerprint"])
        entry = versions.setdefault(key, {**_entry(uses, row, making), "models": [], "rows": 0})
        entry["models"] = sorted({*entry["models"], row["model"]})
        entry["rows"] = max(entry["rows"], row["rows"])  # rows in which a message of its is
    return list(versions.values())


def _entry(uses: pl.DataFrame, row: dict[str, Any], making: Path) -> dict[str, Any]:
    keys = {name: row[name] for name in ("prompt_fingerprint", "schema_fingerprint")}
    unknown = dict.fromkeys(("sampling", "file", "schema_file"))
    entry = {"config": row["config"], "name": row["prompt"], **keys, **unknown}
    same = uses.filter(**keys, name=row["prompt"]).sort("last_used", descending=True).to_dicts()
    if not same:
        return entry
    use = same[0]
    try:
        text = recorded_prompt(use).as_file()
    except PersonaHubError:
        return entry
    file = f"{FOLDER}/{use['name']}-{use['prompt_fingerprint']}.md"
    schema_file = f"{FOLDER}/{use['name']}-{use['schema_fingerprint']}.schema.json"
    (making / FOLDER).mkdir(exist_ok=True)
    (making / file).write_text(text, "utf-8")
    schema = json.dumps(json.loads(use["schema"]), indent=2, ensure_ascii=False)
    (making / schema_file).write_text(f"{schema}\n", "utf-8")
    return {**entry, "sampling": json.loads(use["sampling"]), "file": file, "schema_file": schema_file}


def own_files(store: Store) -> list[dict[str, Any]]:
    """The prompts and datasets of the home that take part, each with its SHA-256."""
    return [
        {"file": f"{path.parent.name}/{path.name}", "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
        for path in store.catalog.files
    ]
