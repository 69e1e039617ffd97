"""The first rows of a partition as Markdown cards, and the command that explains one.

The UI shows Markdown of fewer than 1,000 characters in place and longer Markdown behind a link, so the cards are cut to
fit. Texts are foreign: each is one line, and escaped so that no character is markup.
"""

import shlex
from collections.abc import Mapping
from typing import Any

import dagster as dg
import polars as pl

from personahub_assets.core.records import readable
from personahub_assets.core.text import shorten
from personahub_assets.defs.metadata.markup import escaped
from personahub_assets.store.tables import Store

IN_PLACE = 1_000
"""UTF-16 units from which the UI shows Markdown behind a link."""

SHORT_ID = 9
"""Characters of an id that is shown for recognition."""

_ID_CHARS = 120
_SHORT = 24  # characters of a value that shares a line with others
_SIZES = ((3, 400), (3, 260), (3, 180), (2, 260), (2, 180), (2, 130), (1, 400), (1, 260), (1, 180), (1, 130), (1, 80))
"""Numbers of cards, and of characters of each text, from the largest; the first that fits is used."""

_IDS = ("item_id", "persona_id", "document_id")
_UNTOLD = frozenset(
    {
        "batch",
        "embedding",
        "generation_id",
        "parent_id",
        "root_id",
        "text_hash",
        "keeper_id",
        "sample",
        "admission",
        *_IDS,
        "calls",
        "source_id",
        "source_hash",
    }
)
"""Columns that are not shown: vectors, hashes, and ids (the first id is in the last line of a card)."""

Card = Mapping[str, object]


def sample(rows: pl.DataFrame, texts: Mapping[str, str] | None = None) -> dg.MetadataValue[Any]:
    """Show the first rows as cards.

    Args:
        rows: the first ones of a partition.
        texts: texts of the rows' personas by id.
    """
    cards = [_card(row, texts or {}) for row in rows.iter_rows(named=True)]
    return as_cards(cards) if cards else dg.MetadataValue.text("no rows")


def as_cards(cards: list[Card]) -> dg.MetadataValue[Any]:
    """Show texts by their names, with as many cards and characters as the UI shows in place."""
    drawn = ("\n\n---\n\n".join(_drawn(card, chars) for card in cards[:count]) for count, chars in _SIZES)
    fitting = next((text for text in drawn if _length(text) < IN_PLACE), _drawn(cards[0], 40))
    return dg.MetadataValue.md(fitting)


def persona_texts(store: Store, batch: str, rows: pl.DataFrame) -> dict[str, str]:
    """Texts of the rows' personas in the same batch: personas of items, and parents of related personas."""
    id_column = "parent_id" if "persona" in rows.columns else "persona_id"
    wanted = rows[id_column].drop_nulls().unique() if id_column in rows.columns else pl.Series(dtype=pl.String)
    if wanted.is_empty():
        return {}
    candidates = store.candidates(batch, ["persona_id", "persona"])
    return dict(candidates.filter(pl.col("persona_id").is_in(wanted.implode())).iter_rows())


def asked_next(rows: pl.DataFrame) -> dict[str, Any]:
    """The command that explains a row, for a shell."""
    name = next((name for name in _IDS if name in rows.columns), None)
    # Ids of documents come from the source: one with escapes or line breaks cannot be pasted.
    ids = [key for key in rows[name] if key.isprintable() and len(key) <= _ID_CHARS] if name else []
    return {"why": dg.MetadataValue.text(f"personahub why {shlex.quote(ids[0])}")} if ids else {}


def _card(row: Mapping[str, Any], texts: Mapping[str, str]) -> Card:
    """The texts of a row by name: its persona first, its id last, and no text twice."""
    is_item = "item_id" in row
    card: dict[str, object] = {}
    if parent := texts.get(row.get("parent_id") or ""):
        card["parent"] = parent
    if persona := "persona" not in row and texts.get(row.get("persona_id") or ""):
        card["persona"] = persona
    skipped = _UNTOLD | ({"text"} if is_item else set())  # the text of an item repeats its fields
    values = {name: value for name, value in row.items() if name not in skipped and value not in (None, "", [])}
    card |= {name.replace("_", " "): value for name, value in values.items()}
    identity = next((row[name] for name in _IDS if row.get(name)), "")
    return {**card, "id": shorten(str(identity), SHORT_ID)} if identity else card


def _drawn(card: Card, chars: int) -> str:
    """One paragraph per text, with its name; short values share a line."""
    short = {name: value for name, value in card.items() if len(readable(value)) <= _SHORT}
    long = [f"**{escaped(name)}** {escaped(value, chars)}" for name, value in card.items() if name not in short]
    line = " · ".join(f"{escaped(name)} {escaped(value)}" for name, value in short.items())
    return "\n\n".join([*long, line] if line else long)


def _length(text: str) -> int:
    return len(text.encode("utf-16-le")) // 2
