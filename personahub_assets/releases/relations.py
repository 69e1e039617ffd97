"""Relations that can be a config of a release: the datasets of a home, and the views over their items.

A view says in its first comments which dataset its rows are items of, and, if it has one, its exchange:

    -- items of: math_problems
    -- texts of: math_solutions by solution_id
    -- user says: {problem}
    -- assistant answers: {solution}\\n\\nFinal answer: {answer}
"""

import re
import typing
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import takewhile

from pydantic import BaseModel

from personahub_assets.core.catalog import Catalog
from personahub_assets.core.exchange import MESSAGES, SOURCE, Exchange
from personahub_assets.core.records import DatasetItem
from personahub_assets.core.rubrics import ENDING
from personahub_assets.core.verified import COMPARISONS
from personahub_assets.store.tables import Store
from personahub_assets.warehouse.views import view_selects

UNIQUE = "_unique"
"""Ending of the view of the items of a dataset that no release leaves out."""
_DECLARED = re.compile(r"-- (items of|user says|assistant answers): (.+)")
_TEXTS_OF = re.compile(r"-- texts of: (\w+) by (\w+)")


@dataclass(frozen=True)
class Relation:
    """A dataset, or a view whose rows are items of a dataset.

    Attributes:
        name: of the table or view.
        dataset: whose items the rows are; the name itself for a dataset.
        exchange: what a user says and an assistant answers in a row; None without.
        source: dataset that its items are made from; empty if it is made from personas.
        has_messages: whether a row holds a whole conversation in `messages`.
        comparison: asset that finds out which of its items agree; empty without one.
        scores: dataset with the scores of its items; empty without one.
        summary: its description.
        texts_of: other datasets whose texts its rows have, with the column of the ids of their items.
    """

    name: str
    dataset: str
    exchange: Exchange | None = None
    source: str = ""
    has_messages: bool = False
    comparison: str = ""
    scores: str = ""
    summary: str = ""
    texts_of: tuple[tuple[str, str], ...] = ()

    @property
    def is_view(self) -> bool:
        """Whether it is a view."""
        return self.name != self.dataset

    @property
    def is_unique(self) -> bool:
        """Whether it is the view of the items of a dataset that are not left out."""
        return self.name == self.dataset + UNIQUE

    @property
    def has_answers(self) -> bool:
        """Whether a row has a prompt and its answer."""
        return self.exchange is not None and bool(self.exchange.answer)

    @property
    def reads_source(self) -> bool:
        """Whether the exchange has a column of the item that a row was made from."""
        return self.exchange is not None and any(name.startswith(SOURCE) for name in self.exchange.columns)


def plain(datasets: Iterable[str]) -> dict[str, Relation]:
    """Datasets of which only the names are known."""
    return {name: Relation(name, name) for name in datasets}


def relations(store: Store) -> dict[str, Relation]:
    """The datasets of a home, then the views over their items, by name."""
    catalog = store.catalog
    of_datasets = {name: _of_dataset(catalog, name, item) for name, item in catalog.datasets.items()}
    views = [_of_view(name, select, of_datasets) for name, select in view_selects(store).items()]
    return of_datasets | {view.name: view for view in views if view is not None}


def _of_dataset(catalog: Catalog, name: str, item: type[DatasetItem]) -> Relation:
    derivation, scores = item.__derivation__, name + ENDING
    compared = (asset for asset, comparison in COMPARISONS.items() if comparison.solutions == name)
    return Relation(
        name,
        name,
        catalog.exchange(name),
        derivation.source if derivation else "",
        _is_conversation(item),
        next(compared, ""),
        scores if scores in catalog.names else "",
        (item.__doc__ or name).strip().splitlines()[0],
    )


def _is_conversation(item: type[DatasetItem]) -> bool:
    """Whether the class has a list `messages` of objects with role and content."""
    field = item.model_fields.get(MESSAGES)
    inner = next(iter(typing.get_args(field.annotation)), None) if field else None
    return isinstance(inner, type) and issubclass(inner, BaseModel) and {"role", "content"} <= inner.model_fields.keys()


def _of_view(name: str, select: str, datasets: Mapping[str, Relation]) -> Relation | None:
    """The view as it declares itself; None if its rows are not items of a dataset."""
    head = [*takewhile(lambda line: line.startswith("--"), select.splitlines())]
    summary = head[0].removeprefix("--").strip() if head else name
    base = datasets.get(name.removesuffix(UNIQUE)) if name.endswith(UNIQUE) else None
    if base is not None:
        return replace(base, name=name, summary=summary)
    declared = {match[1]: match[2].replace("\\n", "\n") for line in head if (match := _DECLARED.fullmatch(line))}
    dataset = datasets.get(declared.get("items of", ""))
    if dataset is None:
        return None
    prompt, answer = declared.get("user says", ""), declared.get("assistant answers", "")
    exchange = Exchange(prompt=prompt, answer=answer) if prompt else None
    others = tuple(
        (match[1], match[2]) for line in head if (match := _TEXTS_OF.fullmatch(line)) and match[1] in datasets
    )
    return Relation(name, dataset.name, exchange, scores=dataset.scores, summary=summary, texts_of=others)
