"""Views and macros over the tables, with their comments."""

import itertools
import re
from collections.abc import Collection, Iterable, Mapping

import duckdb

from personahub_assets.core import project_files
from personahub_assets.core.errors import StoreError
from personahub_assets.core.literals import quoted
from personahub_assets.core.records import packaged
from personahub_assets.core.rubrics import SCORE, judged_by
from personahub_assets.core.verified import COMPARISONS
from personahub_assets.store.tables import Store
from personahub_assets.warehouse.stored_tables import native_tables, unreadable

_IDENTIFIER = re.compile(r"[a-z_][a-z0-9_]*")

_COMMENT = re.compile(r"(?m)^[ \t]*--.*$")

_ABOUT_COLUMN = re.compile(r"-- (\w+): (.+)")

_ABOUT_ITEMS = """-- Items of all datasets in long form, without the scores of judges
-- batch: Batch of the persona
-- dataset: Dataset of the item
-- item_id: The item
-- persona_id: Persona that the item was written for
-- source_id: Item of another dataset that it was made from, such as the problem of a solution; null without one
-- sample: Number of the answer for this persona or item, from 0
-- text: The item as one readable text
-- generation_id: Call that wrote it, in generations
"""

_ABOUT_WRITTEN = _ABOUT_ITEMS.replace(
    "Items of all datasets in long form, without the scores of judges",
    "Items of all datasets in long form, and the scores of judges: all rows with an item_id",
)

_ABOUT_SCORES = """-- Mean scores of the judged items of all datasets; <dataset>_scores has criteria and reasons
-- batch: Batch of the item
-- dataset: Dataset of the item
-- item_id: The judged item
-- score: Mean of the scores for the whole, from 1 to 5
-- judges: Number of scores
-- lowest: The lowest of them
-- highest: The highest of them
"""

_DUPLICATES = """-- Items of {dataset} that nearly repeat another one, each with the item it was dropped for
-- batch: Batch of the dropped item
-- item_id: The dropped item
-- keeper_id: The similar item that is kept, of any batch
-- stage: lexical or semantic
-- similarity: Similarity of the two: word-set Jaccard at the lexical stage, cosine at the semantic stage
-- admission: Run that first decided about the item at this stage
SELECT batch, item_id, keeper_id, stage, similarity, admission FROM item_duplicates WHERE dataset = '{dataset}'
"""

_UNIQUE = """-- Items of {dataset} without those of the view excluded_items, which has the reason
{columns}
SELECT i.* FROM {dataset} AS i
ANTI JOIN (FROM excluded_items WHERE dataset = '{dataset}') AS x ON x.batch = i.batch AND x.item_id = i.item_id
"""


def view_selects(store: Store) -> dict[str, str]:
    """The SELECT of every view, by name."""
    datasets = store.catalog.datasets
    derived = [name for name, item in datasets.items() if item.__derivation__]
    names = [*datasets, *unreadable(store)]
    judged = {judged_by(name): name for name in store.catalog.scores if {name, judged_by(name)} <= datasets.keys()}
    views = {**_items(names, derived, store.catalog.scores), **_item_scores(judged)}
    left_out = _views_of_other_columns(store)
    views |= {name: sql for name, sql in project_files.sql_files("views").items() if name not in left_out}
    every = _views_of_datasets(store, names) | views
    return {name: sql for name, sql in every.items() if name not in store.table_set.sql}


def _views_of_other_columns(store: Store) -> set[str]:
    """Views of verified problems that cannot be made: this home has other columns for a dataset of the package."""
    own, package = store.catalog.datasets, packaged()
    return {
        comparison.view
        for comparison in COMPARISONS.values()
        if any(own.get(name) is not package[name] for name in (comparison.solutions, comparison.source))
    }


def _views_of_datasets(store: Store, names: Collection[str]) -> dict[str, str]:
    """The views that each dataset has, by name; a dataset of an older home can have the name of such a view."""
    tables = store.table_set
    views = dict[str, str]()
    for name in names:
        if name in store.catalog.scores:
            continue
        meanings = tables.column_comments(name) if name in tables.sql else {}
        columns = "\n".join(f"-- {column}: {text}" for column, text in meanings.items())
        views[f"{name}_duplicates"] = _DUPLICATES.replace("{dataset}", name)
        views[f"{name}_unique"] = _UNIQUE.replace("{columns}\n", f"{columns}\n" if columns else "").replace(
            "{dataset}", name
        )
    return views


def macros() -> dict[str, str]:
    """The statements of all macros, by name; views may call helpers."""
    return project_files.sql_files("helpers") | project_files.sql_files("macros")


def named(queries: str, views: dict[str, str], macros: dict[str, str]) -> set[str]:
    """Tables, views and macros whose name occurs in the queries, or in a view or macro that does."""
    mentioned: set[str] = set()
    texts = [queries]
    while texts:
        text = _COMMENT.sub("", texts.pop())
        # A macro is called; a column may have its name.
        names = {name for name in _IDENTIFIER.findall(text) if name not in macros or f"{name}(" in text} - mentioned
        mentioned |= names
        texts += [(views | macros)[name] for name in names if name in views or name in macros]
    return mentioned


def add_views_and_macros(connection: duckdb.DuckDBPyConnection, store: Store, names: set[str]) -> None:
    """Create those that are named: helpers first, since views call them."""
    helpers, macros = (
        [statement for name, statement in project_files.sql_files(folder).items() if name in names]
        for folder in ("helpers", "macros")
    )
    connection.execute(";".join(helpers))
    _add_views(connection, {name: select for name, select in view_selects(store).items() if name in names})
    connection.execute(";".join(macros))


def _add_views(connection: duckdb.DuckDBPyConnection, views: dict[str, str]) -> None:
    """Create views in the order of their dependencies.

    Raises:
        StoreError: naming the views that cannot be created, and why.
    """
    pending = _in_order(views)
    while pending:
        faults = {}
        for name, select in pending.items():
            try:
                connection.execute(f"CREATE VIEW {name} AS {select}")
            except duckdb.Error as error:
                faults[name] = error
        if len(faults) == len(pending):
            raise StoreError("; ".join(f"sql/views/{name}.sql: {error}" for name, error in faults.items()))
        pending = {name: pending[name] for name in faults}


def _in_order(views: dict[str, str]) -> dict[str, str]:
    """The views, each after those that it names: DuckDB makes one only when these exist."""
    ordered, visited = dict[str, str](), set[str]()

    def add(name: str) -> None:
        if name not in views or name in visited:
            return
        visited.add(name)
        for used in _IDENTIFIER.findall(_COMMENT.sub("", views[name])):
            add(used)
        ordered[name] = views[name]

    for name in views:
        add(name)
    return ordered


def comments(sql: str) -> tuple[str, dict[str, str]]:
    """The comment of a view or macro (first line) and of its columns (lines like `-- id: Meaning`)."""
    summary, *column_lines = itertools.takewhile(lambda line: line.startswith("--"), sql.lstrip().splitlines())
    columns = {match[1]: match[2] for line in column_lines if (match := _ABOUT_COLUMN.fullmatch(line))}
    return summary.removeprefix("--").strip(), columns


def _comment_view(name: str, select: str) -> str:
    summary, columns = comments(select)
    about_columns = "".join(
        f'COMMENT ON COLUMN {name}."{column}" IS {quoted(text)};' for column, text in columns.items()
    )
    return f"COMMENT ON VIEW {name} IS {quoted(summary)};{about_columns}"


def _comment_macro(name: str, statement: str) -> str:
    kind = "MACRO TABLE" if " AS TABLE\n" in statement else "MACRO"
    return f"COMMENT ON {kind} {name} IS {quoted(comments(statement)[0])};"


def _items(names: Collection[str], derived: Collection[str], scores: Collection[str]) -> dict[str, str]:
    """The views of the items of all datasets, without the scores and with them."""
    own, judged = [name for name in names if name not in scores], [name for name in names if name in scores]
    every = ["FROM dataset_items", *(_long_form(name, derived) for name in judged)]
    return {
        "dataset_items": _ABOUT_ITEMS + "\nUNION ALL\n".join(_long_form(name, derived) for name in own),
        "written_items": _ABOUT_WRITTEN + "\nUNION ALL\n".join(every),
    }


def _long_form(name: str, derived: Collection[str]) -> str:
    return (
        f"SELECT batch, '{name}' AS dataset, item_id, persona_id, "
        f"{'source_id' if name in derived else 'NULL::VARCHAR'} AS source_id, sample, text, generation_id FROM {name}"
    )


def _item_scores(judged: Mapping[str, str]) -> dict[str, str]:
    """The view of the mean scores; none without a dataset that can be judged."""
    selects = [
        f"SELECT batch, '{dataset}' AS dataset, item_id, score, judges, lowest, highest "
        f"FROM ({mean_scores(dataset, scores, [SCORE])})"
        for dataset, scores in judged.items()
    ]
    return {"item_scores": _ABOUT_SCORES + "\nUNION ALL\n".join(selects)} if selects else {}


def mean_scores(dataset: str, scores: str, columns: Iterable[str]) -> str:
    """Query for the mean scores of the items of a dataset by all judges; scores of earlier texts do not count.

    Args:
        dataset: the judged dataset.
        scores: the dataset with its scores.
        columns: criteria, and `score`.

    Returns:
        SQL with batch, item_id, the columns, judges, lowest and highest.
    """
    means = ", ".join(f'avg(s."{name}")::DOUBLE AS "{name}"' for name in columns)
    return (
        f"SELECT s.batch, s.source_id AS item_id, {means}, count(*) AS judges, min(s.score) AS lowest, "
        f"max(s.score) AS highest FROM {scores} AS s JOIN {dataset} AS d ON d.batch = s.batch "
        "AND d.item_id = s.source_id AND s.source_hash = left(sha256(d.text), 16) GROUP BY s.batch, s.source_id"
    )


def add_comments(connection: duckdb.DuckDBPyConnection, store: Store, names: set[str]) -> None:
    """Add comments to tables, views, macros and columns."""
    native, tables = native_tables(connection, store), store.table_set
    statements = [tables.statements(table, is_view=table not in native)[1] for table in tables.sql if table in names]
    statements += [_comment_view(name, select) for name, select in view_selects(store).items() if name in names]
    statements += [_comment_macro(name, statement) for name, statement in macros().items() if name in names]
    connection.execute("".join(statements))
