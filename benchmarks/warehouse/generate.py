"""Write a seeded home of any size directly into the store's tables, such as a hub of a million personas.

    .venv/bin/python benchmarks/warehouse/generate.py HOME                      1,000,000 personas and as many items
    .venv/bin/python benchmarks/warehouse/generate.py HOME --personas 20000 --items 5000 --batches 3 --embeddings

Candidates are in lines of up to three hops below two roots per document (imported roots in every fourth batch). 8 % are
lexical and 4 % semantic duplicates of an earlier keeper; some keepers have far more duplicates than others. Every call
has a row, including rejected, reused and superseded ones. Texts are one or several persona sentences of the dedup
benchmark; they are meaningless, but have the length and vocabulary of real ones.
"""

import argparse
import sys
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from personahub_assets.core.records import DATASETS
from personahub_assets.store.tables import Store, table_schema

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "dedup"))
from generate import sentences

LEXICAL, SEMANTIC = 0.08, 0.04
HOPS = (0.40, 0.25, 0.20, 0.15)  # shares of the candidates by hop
PER_DOCUMENT = 2
REJECTED, REUSED, SUPERSEDED = 0.02, 0.03, 0.05
MODELS = ("example-8b", "example-70b")
EMBEDDER, DIMENSIONS, CLUSTERS = "all-MiniLM-L6-v2", 384, 2_000
_POOL = 100_000
_START = datetime(2026, 1, 5, 8)
_RELATIONS = ("read", "write", "like", "dislike")
_KIN = ("colleague", "patient", "younger sister", "rival", "teacher", "client", "neighbour", "apprentice", "landlord")
_BAD = {"refused": 0.5, "invalid": 0.3, "truncated": 0.2}
# The personas of a group as a model's answer.
_EACH = pl.struct("persona", "relation").struct.json_encode().str.join(",")
_ANSWER = pl.concat_str(pl.lit('{"personas":['), _EACH, pl.lit("]}")).alias("response")
# Number of sentences per field; other text fields have a few words.
_SENTENCES = {"problem": 2, "instruction": 1, "article": 9, "background": 2, "interaction": 1, "description": 1}


@dataclass(frozen=True)
class Size:
    """Requested size; a dataset has at most one item per persona."""

    personas: int = 1_000_000
    items: int = 1_000_000
    batches: int = 8
    embeddings: bool = False
    seed: int = 0

    @property
    def candidates(self) -> int:
        """Number of candidates that gives the requested number of personas."""
        return round(self.personas / (1 - LEXICAL - SEMANTIC))


def fill(store: Store, size: Size) -> None:
    """Write every table of the home, batch by batch.

    Raises:
        ValueError: if the home has batches already, or the size makes no sense.
    """
    if store.files("batches"):
        raise ValueError(f"{store.root} has batches already; choose an empty folder")
    if size.items > len(DATASETS) * size.personas or size.personas < 100 * size.batches:
        raise ValueError(f"{size}: at most {len(DATASETS)} items per persona, at least 100 personas per batch")
    store.root.mkdir(parents=True, exist_ok=True)
    (store.root / "hub.toml").write_text("", "utf-8")
    pool = pl.Series(sentences(_POOL, seed=size.seed + 1))
    every = _candidates(size)
    vectors = _vectors(every, size.seed) if size.embeddings else None
    before = 0
    for number, ((batch,), rows) in enumerate(every.group_by("batch", maintain_order=True)):
        rng = np.random.default_rng((size.seed, number))
        kept = rows["stage"].null_count()
        counts = [_share(size, place, before + kept) - _share(size, place, before) for place in range(len(DATASETS))]
        before += kept
        _Batch(store, str(batch), number, rows, rng, pool).write(counts, vectors)


def _share(size: Size, place: int, personas: int) -> int:
    """Items of a dataset for a number of first personas; the sum over all datasets is the requested number."""
    of_dataset = size.items // len(DATASETS) + (place < size.items % len(DATASETS))
    return of_dataset * personas // size.personas


def _candidates(size: Size) -> pl.DataFrame:
    """All candidates in order of admission; dropped ones have a keeper."""
    count = size.candidates
    rng = np.random.default_rng((size.seed, 1_000_003))
    ids = _ids(rng, "p", count)
    batch = np.arange(count) * size.batches // count
    frames = [_lines(number, int((batch == number).sum())) for number in range(size.batches)]
    rows = pl.concat(frames).with_columns(
        row=pl.int_range(count, dtype=pl.Int64),
        persona_id=ids,
        persona=_apart(pl.Series("persona", sentences(count, seed=size.seed))),
        generation_id=_ids(rng, "g", count),
    )
    offset = pl.col("row").first().over("batch")
    rows = rows.with_columns(
        parent_id=ids.gather(rows.select(pl.col("parent") + offset).to_series()),
        root_id=ids.gather(rows.select(pl.col("root") + offset).to_series()),
    )
    return _with_keepers(rows, count - size.personas, rng)


def _apart(texts: pl.Series) -> pl.Series:
    """Make sentences distinct in more than case and punctuation, as those of a hub are."""
    bare = texts.str.to_lowercase().str.replace_all(r"[^a-z ]", "")
    numbered = pl.format("{} Known here as number {}.", texts, pl.int_range(len(texts)))
    return pl.select(pl.when(bare.is_first_distinct()).then(texts).otherwise(numbered)).to_series()


def _lines(number: int, count: int) -> pl.DataFrame:
    """One batch: roots, then hop by hop; a hop's rows descend from the first rows of the hop before."""
    sizes = [max(1, round(count * share)) for share in HOPS[1:]]
    sizes = [count - sum(sizes), *sizes]
    hop = np.repeat(np.arange(len(sizes)), sizes)
    place = np.concatenate([np.arange(size) for size in sizes])
    starts = np.cumsum([0, *sizes])
    imported = number % 4 == 3
    roots = pl.col("hop") == 0
    document = pl.format("d{}-{}", pl.lit(number), pl.col("root") // PER_DOCUMENT)
    return pl.DataFrame({"hop": hop.astype(np.int8), "parent": starts[hop - 1] + place, "root": place}).with_columns(
        batch=pl.lit(f"crawl-{number:03d}"),
        parent=pl.when(~roots).then("parent"),
        origin=pl.when(~roots).then(pl.lit("relation")).otherwise(pl.lit("imported" if imported else "text")),
        document_id=pl.lit(None, pl.String) if imported else document,
    )


def _with_keepers(rows: pl.DataFrame, drops: int, rng: np.random.Generator) -> pl.DataFrame:
    """Drop some rows for earlier kept ones; every fifth gets one of a few hundred frequent keepers."""
    count = rows.height
    # The first rows are kept, so that every dropped row has an earlier kept one.
    dropped = np.sort(rng.choice(np.arange(min(100, count // 2), count), drops, replace=False))
    stays = np.setdiff1d(np.arange(count), dropped)
    lexical = pl.Series(rng.random(count) < LEXICAL / (LEXICAL + SEMANTIC))
    before = np.searchsorted(stays, dropped)
    reach = np.where(rng.random(len(dropped)) < 0.2, np.minimum(before, 300), before)
    keepers = np.full(count, -1)
    keepers[dropped] = stays[(rng.random(len(dropped)) * reach).astype(np.int64)]
    text, ids = rows["persona"], rows["persona_id"]
    keeper = pl.Series(keepers).replace(-1, None)
    theirs = pl.col("theirs")
    return (
        rows.with_columns(
            stage=pl.when(keeper.is_not_null()).then(
                pl.when(lexical).then(pl.lit("lexical")).otherwise(pl.lit("semantic"))
            ),
            keeper=keeper,
            keeper_id=ids.gather(keeper),
            similarity=pl.Series(1 - 0.1 * rng.random(count) ** 2),
            theirs=text.gather(keeper),
        )
        .with_columns(
            persona=pl.when(pl.col("stage") == "lexical")
            .then(theirs.str.replace(r"\.?$", "!"))
            .when(pl.col("stage") == "semantic")
            .then(theirs.str.replace(" who ", " that "))
            .otherwise("persona")
        )
        .drop("theirs")
    )


def _vectors(rows: pl.DataFrame, seed: int) -> NDArray[np.float32]:
    """Unit vectors around common centres; a semantic duplicate is near its keeper."""
    rng = np.random.default_rng((seed, 2_000_003))
    centres = rng.standard_normal((CLUSTERS, DIMENSIONS), dtype=np.float32)
    found = np.empty((rows.height, DIMENSIONS), np.float32)
    keepers = rows.select(pl.when(pl.col("stage") == "semantic").then("keeper").fill_null(-1)).to_series().to_numpy()
    for start in range(0, rows.height, 50_000):
        part = slice(start, min(start + 50_000, rows.height))
        own = rng.standard_normal((part.stop - start, DIMENSIONS), dtype=np.float32)
        found[part] = centres[rng.integers(CLUSTERS, size=part.stop - start)] + 0.8 * own
        near = keepers[part] >= 0
        found[part][near] = found[keepers[part][near]] + 0.2 * own[near]
    found /= np.linalg.norm(found, axis=1, keepdims=True)
    return found


class _Batch:
    """The tables of one batch."""

    def __init__(
        self, store: Store, key: str, number: int, rows: pl.DataFrame, rng: np.random.Generator, pool: pl.Series
    ):
        self.store, self.key, self.number, self.rows, self.rng, self.pool = store, key, number, rows, rng, pool

    def write(self, counts: list[int], vectors: NDArray[np.float32] | None) -> None:
        """Write all tables: a number of items of each dataset, and vectors if given."""
        self._candidates()
        self._decisions()
        if vectors is not None:
            self._embeddings(vectors)
        kept = self.rows.filter(pl.col("stage").is_null())
        self._put("personas", kept)
        for name, count in zip(DATASETS, counts, strict=True) if any(counts) else ():
            self._items(name, kept, count)

    def _candidates(self) -> None:
        rng, rows = self.rng, self.rows
        drawn = [pl.Series(np.array(words)[rng.integers(len(words), size=rows.height)]) for words in (_RELATIONS, _KIN)]
        fine = pl.Series(np.array(["coarse", "fine"])[rng.integers(2, size=rows.height)])
        text, related = pl.col("origin") == "text", pl.col("origin") == "relation"
        self.rows = rows = rows.with_columns(
            relation=pl.when(text).then(drawn[0]).when(related).then(drawn[1]),
            granularity=pl.when(text).then(fine),
            # One answer gives all personas of a document.
            generation_id=pl.when(text)
            .then(pl.col("generation_id").first().over("document_id", "hop"))
            .when(related)
            .then("generation_id"),
        )
        self._documents(rows.filter(text))
        self._put("text_personas", rows.filter(~related))
        children = rows.filter(related)
        self._put("related_personas", children)
        answers = children.group_by("generation_id", maintain_order=True).agg(pl.first("parent_id"), _ANSWER)
        calls = answers.select("generation_id", input_id="parent_id")
        self._calls("related_personas", calls, answers["response"])

    def _documents(self, roots: pl.DataFrame) -> None:
        answered = roots.group_by("document_id", maintain_order=True).agg(pl.first("generation_id"), _ANSWER)
        bad = max(1, round(REJECTED * answered.height)) if answered.height else 0
        without = pl.Series([f"d{self.number}-bad-{n}" for n in range(bad)], dtype=pl.String)
        ids = pl.concat([answered["document_id"], without])
        self._put(
            "documents",
            pl.DataFrame({"document_id": ids}).with_columns(
                url=pl.format("https://example.org/{}", "document_id"),
                source=pl.lit(f"crawl-{self.number}"),
                text=self._text(len(ids), 5),
            ),
        )
        spec = {
            "source": f"crawl-{self.number}.jsonl",
            "path": f"crawl-{self.number}.jsonl",
            "sha256": f"{self.number:064x}",
            "rows": max(len(ids), self.rows.filter(hop=0).height if not len(ids) else 0),
            "registered_at": _START + timedelta(days=self.number),
            "format": "jsonl",
            "first_row": 0,
            "first_byte": 0,
            "bytes": 700 * len(ids),
        }
        self._put("batches", pl.DataFrame([spec]))
        calls = answered.select("generation_id", input_id="document_id")
        self._calls("text_personas", calls, answered["response"])

    def _decisions(self) -> None:
        reached = self.rows.with_columns(admission=pl.lit(self.number + 1, pl.Int64))
        for stage in ("lexical", "semantic"):
            mine = pl.col("stage").eq_missing(stage)
            decided = reached.select(
                "persona_id",
                "admission",
                keeper_id=pl.when(mine).then("keeper_id"),
                similarity=pl.when(mine).then("similarity"),
            )
            self._put("decisions", decided.with_columns(stage=pl.lit(stage)), f"{stage}_duplicates")
            run = {"stage": stage, "rule": f"{stage} 0.9", "method": "exact", "recall": 1.0}
            counts = {"candidates": decided.height, "kept": decided["keeper_id"].null_count()}
            self._put("dedup_runs", pl.DataFrame([run | counts]), f"{stage}_duplicates")
            reached = reached.filter(~mine)

    def _embeddings(self, vectors: NDArray[np.float32]) -> None:
        rows = self.rows.filter(~pl.col("stage").eq_missing("lexical"))
        found = vectors[rows["row"].to_numpy()]
        embedding = pl.Series("embedding", found, dtype=pl.Array(pl.Float32, DIMENSIONS)).arr.to_list()
        columns = rows.select("persona_id", model=pl.lit(EMBEDDER), text_hash=pl.col("persona_id").str.slice(1))
        read = {"unread": pl.lit(0.0), "unread_hash": pl.lit("")}
        self._put("persona_embeddings", columns.with_columns(embedding, **read))

    def _items(self, name: str, kept: pl.DataFrame, count: int) -> None:
        """One item for each of some personas."""
        rng = self.rng
        chosen = np.sort(rng.choice(kept.height, count, replace=False))
        keys = kept.select("persona_id")[chosen].with_columns(
            item_id=_ids(rng, "i", len(chosen)), generation_id=_ids(rng, "g", len(chosen)), sample=pl.lit(0, pl.Int32)
        )
        answers = self._answers(name, len(chosen))
        parts = [
            pl.format(f"{field.replace('_', ' ').capitalize()}: {{}}", _readable(field, dtype))
            for field, dtype in answers.schema.items()
        ]
        items = pl.concat([keys, answers], how="horizontal")
        self._put(name, items.with_columns(text=pl.concat_str(parts, separator="\n")))
        calls = keys.select("generation_id", input_id="persona_id")
        self._calls(name, calls, answers.select(pl.struct(pl.all()).struct.json_encode()).to_series())

    def _answers(self, name: str, count: int) -> pl.DataFrame:
        """Fields of a dataset's class, by their types."""
        base = {"batch", "item_id", "persona_id", "sample", "text", "generation_id"}
        schema = {field: dtype for field, dtype in table_schema(name).items() if field not in base}
        return pl.DataFrame({field: self._field(field, dtype, count) for field, dtype in schema.items()})

    def _field(self, field: str, dtype: pl.DataType, count: int) -> pl.Series:
        if isinstance(dtype, pl.List):
            inner = self._field("name", dtype.inner, count)  # type: ignore[arg-type]
            return pl.DataFrame(inner).select(pl.concat_list(pl.all())).to_series()
        if isinstance(dtype, pl.Struct):
            parts = {each.name: self._field(each.name, each.dtype, count) for each in dtype.fields}
            return pl.DataFrame(parts).to_struct(field)
        if dtype.is_numeric() or dtype == pl.Boolean:
            return pl.Series(field, self.rng.integers(2, size=count)).cast(dtype)
        return self._text(count, _SENTENCES[field]) if field in _SENTENCES else self._few_words(count)

    def _text(self, count: int, sentences: int) -> pl.Series:
        drawn = {str(n): self.pool.gather(self.rng.integers(len(self.pool), size=count)) for n in range(sentences)}
        return pl.DataFrame(drawn).select(pl.concat_str(pl.all(), separator=" ")).to_series()

    def _few_words(self, count: int) -> pl.Series:
        return self._text(count, 1).str.extract(r"^\S+ (\S+ \S+)").fill_null("a note")

    def _calls(self, asset: str, answered: pl.DataFrame, responses: pl.Series) -> None:
        """Rows of `generations` for accepted answers, and for some rejected ones, which are in quarantine too."""
        rng, count = self.rng, answered.height
        if not count:
            return
        bad = max(1, round(REJECTED * count))
        old = round(SUPERSEDED * count) if asset == "math_problems" else 0
        accepted = answered.with_columns(response=responses, status=pl.lit("accepted"))
        lost = answered[rng.integers(count, size=bad)].with_columns(
            generation_id=_ids(rng, "g", bad),
            response=pl.lit("I cannot help with that."),
            status=pl.lit("rejected"),
            reason=pl.Series(rng.choice(list(_BAD), size=bad, p=list(_BAD.values()))),
            detail=pl.lit("the last answer could not be used"),
        )
        if asset == "text_personas":
            lost = lost.with_columns(input_id=pl.format(f"d{self.number}-bad-{{}}", pl.int_range(bad)))
        past = accepted[rng.choice(count, old, replace=False)].with_columns(
            generation_id=_ids(rng, "g", old), status=pl.lit("superseded"), superseded_at=pl.lit(_START)
        )
        calls = pl.concat([accepted, lost, past], how="diagonal_relaxed")
        self._put("generations", self._measured(asset, calls), asset)
        lost = lost.select("input_id", "reason", "detail", raw="response", asset=pl.lit(asset))
        self._put("quarantine", lost, asset)

    def _measured(self, asset: str, calls: pl.DataFrame) -> pl.DataFrame:
        """Tokens, seconds and cost of each call."""
        rng, count = self.rng, calls.height
        reused = pl.Series(rng.random(count) < REUSED) & (calls["status"] == "accepted")
        attempts = pl.Series(1 + (rng.random(count) < 0.05))
        answer = calls["response"].str.len_bytes() // 4 + 1
        prompt = pl.Series(rng.integers(240, 420, size=count))
        paid = pl.when(reused).then(0)
        flight = pl.Series(rng.gamma(2.0, 0.8, size=count).round(4))
        past = pl.col("status") == "superseded"
        return calls.with_columns(
            asset=pl.lit(asset),
            sample=pl.lit(0),
            request_key=_ids(rng, "", count, 32),
            prompt=pl.lit(asset),
            prompt_fingerprint=pl.when(past).then(pl.lit("0" * 16)).otherwise(pl.lit(f"{len(asset):016x}")),
            schema_fingerprint=pl.lit(f"{len(asset) + 1:016x}"),
            model=pl.lit(MODELS[self.number % len(MODELS)]),
            reused=reused,
            attempts=paid.otherwise(attempts),
            repaired=pl.lit(value=False),
            finish_reason=pl.lit("stop"),
            prompt_tokens=paid.otherwise(prompt * attempts),
            cached_tokens=paid.otherwise(200),
            completion_tokens=paid.otherwise(answer * attempts),
            answer_tokens=answer,
            wasted_tokens=paid.when(pl.col("status") == "rejected")
            .then((prompt + answer) * attempts)
            .otherwise((prompt + answer) * (attempts - 1)),
            latency_s=flight + 0.02,
            cost=paid.otherwise((prompt * 0.5 + answer * 1.5) * attempts / 1e6),
            queue_s=pl.lit(0.02),
            flight_s=flight,
            max_tokens=pl.lit(1024),
        )

    def _put(self, table: str, rows: pl.DataFrame, asset: str | None = None) -> None:
        """Write a table of the batch; missing columns are null."""
        schema = table_schema(table)
        absent = [pl.lit(None, dtype).alias(name) for name, dtype in schema.items() if name not in rows.columns]
        self.store.write(table, self.key, rows.with_columns(absent).with_columns(batch=pl.lit(self.key)), asset)


def _readable(field: str, dtype: pl.DataType) -> pl.Expr:
    if dtype == pl.List(pl.String):
        return pl.col(field).list.join("; ")
    return pl.struct(field).struct.json_encode() if dtype.is_nested() else pl.col(field)


def _ids(rng: np.random.Generator, prefix: str, count: int, digits: int = 20) -> pl.Series:
    """Random ids of hex digits."""
    text = rng.bytes(digits // 2 * count).hex()
    return pl.Series([prefix + text[at : at + digits] for at in range(0, digits * count, digits)], dtype=pl.String)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("home", type=Path)
    parser.add_argument("--personas", type=int, default=Size.personas, help="personas of the hub")
    parser.add_argument("--items", type=int, default=Size.items, help="items over all datasets")
    parser.add_argument("--batches", type=int, default=Size.batches)
    parser.add_argument("--embeddings", action="store_true", help="a vector for each survivor of the lexical stage")
    parser.add_argument("--seed", type=int, default=0, help="seed of the random rows")
    chosen = vars(parser.parse_args())
    fill(Store(home=str(chosen.pop("home"))), Size(**chosen))


if __name__ == "__main__":
    main()
