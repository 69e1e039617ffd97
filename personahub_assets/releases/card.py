"""The dataset card of a release: README.md as the Hugging Face Hub reads it, made from the manifest alone.

The text is in `card.md.jinja`. Values from data (addresses, names of models, conditions) are written in code spans,
shortened and on one line, so that they cannot be links or markup.
"""

from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
import yaml

from personahub_assets.core.text import shorten
from personahub_assets.releases.formats import FORMATS
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

Manifest = Mapping[str, Any]


def card(manifest: Manifest) -> str:
    """Write the card of a release.

    Args:
        manifest: content of manifest.json, without `files`.
    """
    return f"---\n{front_matter(manifest)}---\n\n{body(manifest)}"


def front_matter(manifest: Manifest) -> str:
    """The YAML header with configs, licence and size, read by the `datasets` library and the Hub."""
    configs = manifest["configs"]
    return yaml.safe_dump(
        {
            "pretty_name": manifest["name"],
            "license": manifest["license"] or "unknown",
            "task_categories": ["text-generation"],
            "tags": ["synthetic", "personas"],
            "size_categories": [_size(sum(config["rows"] for config in configs.values()))],
            "configs": [
                {
                    "config_name": name,
                    **({"default": True} if index == 0 else {}),
                    "data_files": [
                        {"split": split, "path": f"data/{name}/{split}-*.parquet"} for split in entry["splits"]
                    ],
                }
                for index, (name, entry) in enumerate(configs.items())
            ],
        },
        sort_keys=False,
        allow_unicode=True,
    )


def body(manifest: Manifest) -> str:
    """The card below the front matter."""
    return _template().render({**manifest, **_derived(manifest)})


@cache
def _template() -> jinja2.Template:
    environment = jinja2.Environment(  # noqa: S701 - it writes Markdown
        undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True
    )
    environment.filters |= {"code": code, "number": _number, "percent": _percent, "figure": _figure}
    return environment.from_string(Path(__file__).with_name("card.md.jinja").read_text("utf-8"))


def _derived(manifest: Manifest) -> dict[str, Any]:
    """Values of the template that are not in the manifest."""
    configs, dedup = list(manifest["configs"]), manifest["dedup"]
    rules = {(row["stage"], row["rule"]) for row in dedup}
    return {
        "personas": PERSONAS,
        "loaded": next((name for name in configs if name != PERSONAS), configs[0]),
        "loading": FORMATS[manifest["export"]].loading if manifest["export"] else "",
        "conditions": _conditions(manifest),
        "left_out": list(_left_out(manifest)),
        "message_models": _message_models(manifest),
        "models": _summed(manifest["writers"], "model"),
        "other_models": _summed(manifest["texts"], "dataset", "model"),
        "changes": _changes(manifest),
        "rules_differ": len(rules) > len({stage for stage, _ in rules}),
        "is_approximate": any(row["method"] == "minhash" or (row["least_recall"] or 1) < 1 for row in dedup),
    }


def _message_models(manifest: Manifest) -> dict[tuple[str, str], list[str]]:
    """The models that wrote messages of dialogues, by config and role."""
    models: dict[tuple[str, str], list[str]] = {}
    for row in manifest.get("messages", ()):
        models.setdefault((row["config"], row["role"]), []).append(row["model"])
    return {key: sorted(set(names)) for key, names in models.items()}


_SHOWN_FILES = 20


def _changes(manifest: Manifest) -> str:
    """What differs from version and commit; empty if nothing does, or the release is of an earlier version."""
    code_state, texts = manifest["code"], list[str]()
    if files := code_state.get("changed_files"):
        shown = ", ".join(map(code, files[:_SHOWN_FILES]))
        remainder = f" and {len(files) - _SHOWN_FILES:,} more" if len(files) > _SHOWN_FILES else ""
        texts.append(f"The code was changed: {len(files):,} files differ from the version above ({shown}{remainder}).")
    elif reason := code_state.get("changed_files_unknown"):
        texts.append(f"Whether the code differs from the version above is unknown: {code(reason)}.")
    if own := [entry["file"] for entry in manifest.get("own_files", ())]:
        texts.append(f"The home had prompts or datasets of its own: {', '.join(map(code, own))}.")
    return "\n".join(texts)


def code(value: object) -> str:
    """Format a value from data as a code span."""
    line = "".join(char if char.isprintable() else " " for char in str(value))
    line = shorten(" ".join(line.split()), _CHARS).replace("`", "'").replace("|", "\\|")
    return f"`{line}`" if line else ""


def _number(value: int) -> str:
    return f"{value:,}"


def _percent(count: int, total: int) -> str:
    return f"{100 * count / total:.1f} %" if total else ""


def _figure(value: float | None) -> str:
    """A number that can be unknown."""
    return "" if value is None else f"{value:,}"


def _size(rows: int) -> str:
    return next((name for limit, name in _SIZES if rows < limit), "n>1B")


def _conditions(manifest: Manifest) -> dict[str, list[str]]:
    """Conditions, each once, with its configs."""
    by_condition: dict[str, list[str]] = {}
    for name, tests in manifest["where"].items():
        for test in tests:
            by_condition.setdefault(test, []).append(name)
    return by_condition


def _left_out(manifest: Manifest) -> Iterator[tuple[str, str, int]]:
    every = {name: config["left_out"] for name, config in manifest["configs"].items()} | manifest["empty"]
    for name, counts in every.items():
        yield from ((name, LEFT_OUT[reason], count) for reason, count in counts.items() if count)


def _summed(writers: Iterable[Mapping[str, Any]], *names: str) -> dict[tuple[Any, ...], int]:
    """Rows summed by config and by the columns of a writer."""
    sums: dict[tuple[Any, ...], int] = {}
    for row in writers:
        key = (row["config"], *(row[name] for name in names))
        sums[key] = sums.get(key, 0) + row["rows"]
    return sums
