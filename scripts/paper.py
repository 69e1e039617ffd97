"""Compute figure 10 of the paper and the diversity of its data: `make paper FILE=…`, without a language model.

FILE is JSONL with `input persona` and `synthesized text`, as the authors published it, such as
tool_development or math problems of proj-persona/PersonaHub. The rows come through the importer into a home of their
own, as personas with their texts as attributes; the texts become the items of a dataset `released`. Both are
deduplicated by the stages of the graph. A tool, a JSON object, is represented by its description.

Writes report.md and two plots into --output.
"""

import argparse
import json
import re
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

import numpy as np
import polars as pl

from personahub_assets import Hub
from personahub_assets.core.errors import PersonaHubError
from personahub_assets.defs.metadata.svg import histogram, line_chart
from personahub_assets.embedding.embedder import Embedder
from personahub_assets.embedding.vectors import PERSONA_VECTORS, Vectors, VectorTable, item_vector_table
from personahub_assets.measures import pairs, vectors, words
from personahub_assets.steps.datasets import item_id
from personahub_assets.steps.dedup import find_item_duplicates
from personahub_assets.store.tables import Store

DATASET = "released"
SETTINGS = """
[related_personas]
hops = 0

# All rows are measured, as they were published.
[quality]
email = "off"
phone = "off"
card = "off"
iban = "off"
tax_id = "off"
id_number = "off"
not_a_person = false
named_person = false
too_generic = false
instruction_echo = false
"""
CLASS = '''from pydantic import Field

from personahub_assets.core.records import DatasetItem


class Released(DatasetItem):
    """A text that the paper's authors published."""

    content: str = Field(description="The text; of a tool, its description")
'''
PROMPT = """---
name: released
description: A text that the paper's authors published. It is imported, never asked for.
---
Imported.
---
{{ persona }}
"""
_DESCRIPTION = re.compile(r'"description"\s*:\s*"((?:[^"\\]|\\.)*)"')


def represented(text: str) -> str | None:
    """The text that represents an item: of a JSON object the first description, None without one; else the text."""
    unquoted = text.strip()
    if unquoted.startswith('"'):
        try:
            unquoted = str(json.loads(unquoted)).strip()
        except ValueError:
            unquoted = unquoted.strip('"').strip()
    if not unquoted.startswith("{"):
        return unquoted or None
    try:
        description = json.loads(unquoted).get("description")
    except ValueError:
        quoted = _DESCRIPTION.search(unquoted)
        return json.loads(f'"{quoted[1]}"', strict=False) if quoted else None
    return description if isinstance(description, str) and description.strip() else None


def imported(home: Path, file: Path) -> Hub:
    """Make a home with the personas of a file, deduplicated, and their texts as items."""
    for name, content in {
        "hub.toml": SETTINGS,
        f"datasets/{DATASET}.py": CLASS,
        f"prompts/{DATASET}.md": PROMPT,
    }.items():
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_text(content)
    hub = Hub(home)
    hub.ingest(str(file))
    hub.run(select=["+personas"]).raise_for_failure()
    for batch in hub.batches():
        rows = _items(hub.store, batch)
        hub.store.write(DATASET, batch, rows)
    return hub


def _items(store: Store, batch: str) -> pl.DataFrame:
    personas = store.candidates(batch, ["persona_id", "attributes"])
    schema = store.columns(DATASET)
    rows = []
    for persona_id, attributes in personas.iter_rows():
        text = json.loads(attributes or "{}").get("synthesized text")
        content = represented(text if isinstance(text, str) else json.dumps(text)) if text else None
        if content:
            values = {"content": content, "text": content, "generation_id": "", "sample": 0}
            key = {"batch": batch, "item_id": item_id(DATASET, persona_id, 0), "persona_id": persona_id}
            rows.append({**key, **values})
    return pl.DataFrame(rows, schema)


def all_vectors(store: Store, table: VectorTable, embedder: Embedder, rows: pl.DataFrame) -> Vectors:
    """Vectors of rows `(batch, id, text)`, in order: the stored ones, and new ones of texts that the words decided."""
    stored = store.read_all(table.name, [table.key, "embedding"], asset=table.asset).drop_nulls("embedding")
    known = dict(stored.iter_rows())
    missing = [text for key, text in rows.select("id", "text").iter_rows() if key not in known]
    new = iter(embedder.embed(missing))
    return np.array([known[key] if key in known else next(new) for key in rows["id"]], np.float32)


def main() -> int:
    """Import, measure, write the report."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("file", type=Path, help="JSONL with `input persona` and `synthesized text`")
    parser.add_argument("--output", type=Path, default=Path("paper-report"), help="folder of the report")
    parser.add_argument("--home", type=Path, help="keep the home here; default: a temporary folder")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="paper-") as folder:
        home = chosen.home or Path(folder) / "hub"
        if home.exists() and any(home.iterdir()):
            print(f"error: {home} is not empty: name a new folder", file=sys.stderr)
            return 2
        try:
            lines = report(imported(home, chosen.file), chosen.file.name, chosen.output)
        except PersonaHubError as error:
            print(f"error: {error}", file=sys.stderr)
            return 1
    text = "\n".join(lines) + "\n"
    (chosen.output / "report.md").write_text(text)
    print(text)
    return 0


def report(hub: Hub, name: str, output: Path) -> list[str]:
    """Measure the personas and items of a home; write the plots, and return the lines of the report."""
    store, embedder = hub.store, Embedder()
    dropped = 0
    for batch in hub.batches():
        dropped += find_item_duplicates(store, DATASET, embedder, batch, lambda _done, _total: None).rows
    items = store.read_all(DATASET, ["batch", "item_id", "persona_id", "text"]).sort("item_id")
    personas = pl.concat([store.candidates(batch, ["persona_id", "persona"]) for batch in hub.batches()])
    texts = items.join(personas, on="persona_id", how="left", maintain_order="left")
    of_items = all_vectors(store, item_vector_table(DATASET), embedder, items.select("batch", "text", id="item_id"))
    of_personas = all_vectors(store, PERSONA_VECTORS, embedder, texts.select("batch", id="persona_id", text="persona"))
    similarity = pairs.pair_similarity(of_personas, of_items)
    output.mkdir(parents=True, exist_ok=True)
    _plots(output, similarity, of_personas, of_items)
    kept = store.total("personas")
    return [
        f"# {name}: {items.height:,} items of {personas.height:,} personas",
        "",
        f"Deduplicated at 0.9, by words and by meaning: {kept:,} personas and {items.height - dropped:,} items stay.",
        "",
        *_table(_diversity_rows(texts["persona"], of_personas), _diversity_rows(texts["text"], of_items)),
        "",
        "## Similarity of items by the similarity of their personas (figure 10)",
        "",
        "| cosine of the personas | pairs | mean cosine of the items | items less alike than personas |",
        "| --- | --- | --- | --- |",
        *(
            f"| {lower:.1f} to {lower + 0.1:.1f} | {count:,} | {mean:.3f} | {share:.1%} |"
            for lower, count, mean, share in zip(
                similarity.lower, similarity.pairs, similarity.mean, similarity.less_alike, strict=True
            )
        ),
        "",
        f"All {similarity.all_pairs:,} pairs: Pearson {similarity.pearson:.3f}.",
        f"Items less alike than their personas: {similarity.all_less_alike:.1%} of the pairs.",
    ]


def _diversity_rows(texts: pl.Series, of_texts: Vectors) -> dict[str, str]:
    """Figures of one column of the report, by name."""
    near = sum(int((np.triu(cosines, start + 1) >= 0.9).sum()) for start, cosines in vectors.blocks(of_texts))
    measured = vectors.measure(of_texts)
    rows = {
        "with a neighbour at 0.9 or more": f"{round((measured.near_90 or 0) * measured.compared):,}",
        "pairs at 0.9 or more": f"{near:,}",
        "share with a neighbour at 0.8 or more": f"{measured.near_80 or 0:.1%}",
        "mean cosine of the nearest neighbour": f"{measured.mean_nearest or 0:.3f}",
        "Vendi score": f"{measured.vendi:.1f}",
    }
    for diversity in words.measure(texts)[-1:]:
        figures = {name: value for name, value in asdict(diversity).items() if name not in ("words", "texts")}
        at = f"at {diversity.words:,} words"
        rows |= {
            f"{label.replace('_', ' ')} {at}": f"{value:.3f}" for label, value in figures.items() if value is not None
        }
    return rows


def _table(personas: dict[str, str], items: dict[str, str]) -> list[str]:
    names = [*personas, *(name for name in items if name not in personas)]
    return [
        "| diversity | personas | items |",
        "| --- | --- | --- |",
        *(f"| {name} | {personas.get(name, '')} | {items.get(name, '')} |" for name in names),
    ]


def _plots(output: Path, similarity: pairs.PairSimilarity, of_personas: Vectors, of_items: Vectors) -> None:
    """Write figure 10, and the histogram of the nearest neighbours."""
    points = [(float(lower) + 0.05, float(mean)) for lower, mean in zip(similarity.lower, similarity.mean, strict=True)]
    figure = line_chart(
        {"items": points, "equal": [(0.0, 0.0), (1.0, 1.0)]},
        title="Similarity of items by the similarity of their personas",
        x_label="cosine of the personas",
        y_label="cosine",
    )
    nearest = {"personas": vectors.nearest(of_personas), "items": vectors.nearest(of_items)}
    chart = histogram(nearest, title="Nearest neighbours", x_label="cosine", y_label="rows")
    (output / "similarity.svg").write_text(figure)
    (output / "neighbours.svg").write_text(chart)


if __name__ == "__main__":
    sys.exit(main())
