"""The dataset card of a release: README.md as the Hugging Face Hub reads it, made of the manifest alone.

Whatever comes from data (addresses, names of models, conditions) stands in code spans, cut and on one line, so that it
can be neither a link nor markup.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import yaml

from personahub_assets.core.text import shorten
from personahub_assets.releases.spec import LEFT_OUT, PERSONAS

_CHARS = 160
_SIZES = (
    (1_000, "n<1K"),
    (10_000, "1K<n<10K"),
    (100_000, "10K<n<100K"),
    (1_000_000, "100K<n<1M"),
    (10_000_000, "1M<n<10M"),
    (100_000_000, "10M<n<100M"),
    (1_000_000_000, "100M<n<1B"),
)

_METHOD = (
    "Personas, and synthetic data written for them, after the method of "
    "[arXiv 2406.20094](https://arxiv.org/abs/2406.20094)."
)
_JSONL = (
    "`jsonl/` has the same rows in the layout of the data that the paper's authors published: `persona`, or "
    "`input persona`, `synthesized text` and `description`."
)
_ORIGINS = "The personas: inferred from a text, related to another persona over so many hops, or imported ready-made."
_FINGERPRINTS = (
    "The fingerprint is a hash of the prompt with its parameters and sampling; manifest.json has the schemas' too."
)
_DROPPED = "A candidate was dropped if a persona kept before it was as similar as the rule says."
_MISSING = (
    "Source rows that could not be used (`documents`) and requests that ended without an accepted answer (all others), "
    "in the batches of this release. They are missing here."
)
_UNREAD = (
    "The texts were written by language models, and no person has read them all. Problems come without solutions, and "
    "some may have none."
)
_LEANINGS = "Personas are kinds of people as a model imagines them, with the leanings of the texts and of the model."
_LANGUAGES = "Texts follow the languages of their sources, which are not labelled."
_LEADS = "`parent_id`, `root_id` and `document_id` may name what is not part of the release."
_CHECKING = (
    "`manifest.json` has the size and SHA-256 of each file, `SHA256SUMS` the hashes alone, the manifest's too. "
    "`sha256sum -c SHA256SUMS` in this folder finds what has changed; `personahub release NAME --verify` in the home "
    "also finds what has been added."
)

Manifest = Mapping[str, Any]


def card(manifest: Manifest) -> str:
    """Write the card of a release.

    Args:
        manifest: what manifest.json says, but for its files.
    """
    return f"---\n{front_matter(manifest)}---\n\n{body(manifest)}"


def front_matter(manifest: Manifest) -> str:
    """The YAML from which the `datasets` library and the Hub know the configs, the licence and the size."""
    configs = manifest["configs"]
    return yaml.safe_dump(
        {
            "pretty_name": manifest["name"],
            "license": manifest["license"] or "unknown",
            "tags": ["synthetic", "personas"],
            "size_categories": [_size(sum(config["rows"] for config in configs.values()))],
            "configs": [
                {
                    "config_name": name,
                    **({"default": True} if index == 0 else {}),
                    "data_files": [{"split": "train", "path": f"data/{name}/train-*.parquet"}],
                }
                for index, name in enumerate(configs)
            ],
        },
        sort_keys=False,
        allow_unicode=True,
    )


def body(manifest: Manifest) -> str:
    """The card below the front matter."""
    sections = {
        "What is in it": _configs(manifest),
        "How to load it": _loading(manifest),
        "Columns": _columns(manifest),
        "Where the rows come from": _sources(manifest),
        "Who wrote them": _writers(manifest),
        "Dedup": _dedup(manifest),
        "Quarantine": _quarantine(manifest),
        "Licence": _license(manifest),
        "Known limits": "\n".join(f"- {limit}" for limit in _limits(manifest)),
        "Is it whole?": _CHECKING,
    }
    provenance = f"Frozen on {manifest['created_at']} by {_code(manifest)}; nothing in this folder changes after that."
    paragraphs = [
        f"# {manifest['name']}",
        f"{_METHOD} {provenance}",
        *(f"## {title}\n\n{text}" for title, text in sections.items()),
    ]
    return "\n\n".join(paragraphs) + "\n"


def code(value: object) -> str:
    """A value from data as a code span."""
    line = "".join(char if char.isprintable() else " " for char in str(value))
    line = shorten(" ".join(line.split()), _CHARS).replace("`", "'").replace("|", "\\|")
    return f"`{line}`" if line else ""


def _table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table; columns of numbers stand to the right."""
    body_rows = [list(row) for row in rows]
    numbers = [
        bool(body_rows) and all(isinstance(row[at], int | float) for row in body_rows) for at in range(len(head))
    ]
    cells = [[f"{cell:,}" if isinstance(cell, int) else str(cell) for cell in row] for row in body_rows]
    lines = [head, ["---:" if number else "---" for number in numbers], *cells]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _size(rows: int) -> str:
    return next((name for limit, name in _SIZES if rows < limit), "n>1B")


def _code(manifest: Manifest) -> str:
    code_ = manifest["code"]
    commit = f" (commit {code(code_['commit'])})" if code_["commit"] else ""
    return f"{code_['package']} {code_['version']}{commit}"


def _percent(count: int, total: int) -> str:
    return f"{100 * count / total:.1f} %" if total else ""


# --- sections ---


def _configs(manifest: Manifest) -> str:
    rows = [
        (code(name), config["rows"], config["files"], config["description"].rstrip("."))
        for name, config in manifest["configs"].items()
    ]
    paragraphs = [_table(("config", "rows", "files", "what"), rows)]
    if manifest["where"]:
        paragraphs += ["Only rows that meet a condition:", _table(("configs", "condition"), _conditions(manifest))]
    if left_out := _left_out(manifest):
        paragraphs += ["Left out:", _table(("config", "rows", "count"), left_out)]
    if manifest["empty"]:
        paragraphs.append(f"Asked for, and without a row: {', '.join(map(code, manifest['empty']))}.")
    return "\n\n".join(paragraphs)


def _conditions(manifest: Manifest) -> list[tuple[str, str]]:
    """Conditions, each once, with the configs that it was for."""
    by_condition: dict[str, list[str]] = {}
    for name, tests in manifest["where"].items():
        for test in tests:
            by_condition.setdefault(test, []).append(code(name))
    return [(", ".join(names), code(test)) for test, names in by_condition.items()]


def _left_out(manifest: Manifest) -> list[tuple[str, str, int]]:
    every = {name: config["left_out"] for name, config in manifest["configs"].items()} | manifest["empty"]
    return [
        (code(name), LEFT_OUT[reason], count)
        for name, counts in every.items()
        for reason, count in counts.items()
        if count
    ]


def _loading(manifest: Manifest) -> str:
    configs = list(manifest["configs"])
    chosen = next((name for name in configs if name != PERSONAS), configs[0])
    python = f'from datasets import load_dataset\n\nrows = load_dataset("FOLDER", "{chosen}", split="train")'
    paragraphs = [
        f"```python\n{python}\n```",
        "`FOLDER` is this folder, or its repository on the Hub. Or in SQL, with DuckDB:",
    ]
    paragraphs.append(f"```sql\n{_query(chosen, joined=PERSONAS in configs)}\n```")
    return "\n\n".join([*paragraphs, _JSONL] if manifest["jsonl"] else paragraphs)


def _query(config: str, *, joined: bool) -> str:
    source = f"'data/{config}/*.parquet'"
    if config == PERSONAS:
        return f"SELECT persona FROM {source}"
    if joined:
        return f"SELECT persona, text FROM {source} JOIN 'data/{PERSONAS}/*.parquet' USING (persona_id)"
    return f"SELECT persona_id, text FROM {source}"


def _columns(manifest: Manifest) -> str:
    tables = []
    for name, config in manifest["configs"].items():
        rows = [
            (code(c["column"]), code(c["type"]), (c["meaning"] or "").replace("|", "\\|")) for c in config["columns"]
        ]
        tables.append(f"### {code(name)}\n\n{_table(('column', 'type', 'meaning'), rows)}")
    return "\n\n".join(tables)


def _sources(manifest: Manifest) -> str:
    rows = [
        (
            code(row["batch"]),
            code(row["source"]),
            row["source_rows"] or 0,
            row["released_rows"],
            code(row["sha256"] or ""),
        )
        for row in manifest["sources"]
    ]
    paragraphs = [_table(("batch", "source file", "its rows", "rows here", "SHA-256 of the file"), rows)]
    if PERSONAS in manifest["configs"]:
        origins = [(code(row["origin"]), row["hop"], row["rows"]) for row in manifest["origins"]]
        paragraphs += [_ORIGINS, _table(("origin", "hops", "personas"), origins)]
    return "\n\n".join(paragraphs)


def _writers(manifest: Manifest) -> str:
    models = _summed(manifest["writers"], "model")
    prompts = _summed([row for row in manifest["writers"] if not row["imported"]], "prompt", "prompt_fingerprint")
    shares = [
        (
            code(config),
            code(model) if model else "none: imported",
            rows,
            _percent(rows, manifest["configs"][config]["rows"]),
        )
        for (config, model), rows in models.items()
    ]
    paragraphs = [_table(("config", "model", "rows", "share"), shares)]
    if prompts:
        marks = [(code(config), code(name), code(mark), rows) for (config, name, mark), rows in prompts.items()]
        paragraphs += [_FINGERPRINTS, _table(("config", "prompt", "fingerprint", "rows"), marks)]
    return "\n\n".join(paragraphs)


def _summed(writers: Iterable[Mapping[str, Any]], *names: str) -> dict[tuple[Any, ...], int]:
    """Rows by config and some columns."""
    sums: dict[tuple[Any, ...], int] = {}
    for row in writers:
        key = (row["config"], *(row[name] for name in names))
        sums[key] = sums.get(key, 0) + row["rows"]
    return sums


def _dedup(manifest: Manifest) -> str:
    if not manifest["dedup"]:
        return "These batches have been through no dedup."
    head = ("stage", "rule", "method", "batches", "candidates", "dropped", "share")
    rows = [
        (
            row["stage"],
            code(row["rule"]),
            row["method"],
            row["batches"],
            row["candidates"],
            row["dropped"],
            _percent(row["dropped"], row["candidates"]),
        )
        for row in manifest["dedup"]
    ]
    return f"{_DROPPED}\n\n{_table(head, rows)}"


def _quarantine(manifest: Manifest) -> str:
    head = ("step", "asked", "reason", "quarantined", "share")
    rows = [
        (
            code(row["asset"]),
            row["asked"],
            code(row["reason"]) if row["reason"] else "none",
            row["quarantined"],
            _percent(row["quarantined"], row["asked"]),
        )
        for row in manifest["quarantine"]
    ]
    return f"{_MISSING}\n\n{_table(head, rows)}"


def _license(manifest: Manifest) -> str:
    if manifest["license"]:
        return (
            f"{code(manifest['license'])}, as who made the release says. The licences of the sources were not checked."
        )
    return "None was stated. The licences of the sources and of the models' output were not checked."


def _limits(manifest: Manifest) -> list[str]:
    limits = [_UNREAD, _LEANINGS, _LANGUAGES]
    limits.append(
        _LEADS if PERSONAS in manifest["configs"] else "The personas are not part of it: `persona_id` leads nowhere."
    )
    if manifest["where"]:
        limits.append("It is a selection: counts and shares of models are those of the rows above, not of the home.")
    rules = {(row["stage"], row["rule"]) for row in manifest["dedup"]}
    if len(rules) > len({stage for stage, _ in rules}):
        limits.append("Batches were deduplicated by different rules, so near-duplicates may remain between them.")
    if any(row["method"] == "minhash" or (row["least_recall"] or 1) < 1 for row in manifest["dedup"]):
        limits.append("Dedup was approximate in part, so near-duplicates may remain.")
    return limits
