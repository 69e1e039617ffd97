"""Generate parts of the documentation from the code: settings, reasons, tables and ready queries.

    python scripts/describe.py      rewrites the pages of docs/ that are named in PAGES, and docs/llms.txt

Only the text between `<!-- generated: NAME -->` and `<!-- end -->` is replaced; the rest of a page is written by hand.
tests/test_docs.py asserts that the committed pages are up to date.
"""

import ast
import contextlib
import functools
import inspect
import itertools
import re
import types
import typing
from collections.abc import Callable, Iterable
from pathlib import Path
from types import ModuleType

import annotated_types
import duckdb
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from personahub_assets.core import project_files
from personahub_assets.core.config import DatasetTask, HubConfig, RoleSection, RoleVariant, ServerSection
from personahub_assets.core.records import packaged
from personahub_assets.core.sampling import OPTIONS
from personahub_assets.generation import requests
from personahub_assets.sources import rows as source_rows
from personahub_assets.sources.formats import FORMATS
from personahub_assets.standin.catalogue import CATALOGUE
from personahub_assets.store.tables import Store, table_sql
from personahub_assets.warehouse.live import open_live
from personahub_assets.warehouse.views import comments

DOCS = Path(__file__).resolve().parent.parent / "docs"
PAGES = ("configuration.md", "reasons.md", "source-files.md", "standin.md", "tables.md")

_LLMS_HEAD = """# PersonaHub on Dagster

> Turns web text into a warehouse of deduplicated personas, and personas into synthetic data, as a Dagster asset graph
> over DuckDB. Texts come from vLLM or any other OpenAI-compatible server.

A home is described by `personahub context`; `personahub mcp` serves it read-only. All pages: [Overview](index.html)."""
_BLOCK = re.compile(r"(<!-- generated: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def pages() -> dict[Path, str]:
    """The pages with current generated blocks, and the list for language models, by path."""
    of_blocks = {DOCS / name: filled((DOCS / name).read_text("utf-8")) for name in PAGES}
    return {**of_blocks, DOCS / "llms.txt": llms_txt()}


def llms_txt() -> str:
    """The list of pages for language models: the tables of docs/index.md, with links into the built site."""
    (listed,) = re.findall(r"^## Pages\n(.*?)^## ", (DOCS / "index.md").read_text("utf-8"), re.MULTILINE | re.DOTALL)
    lines = [_LLMS_HEAD]
    for heading, title, page, meaning in re.findall(
        r"^###? (.+)|^\| \[(.+?)\]\((.+?)\.md\) \| (.+) \|$", listed, re.MULTILINE
    ):
        lines.append(f"\n## {heading}\n" if heading else f"- [{title}]({page}.html): {meaning}")
    return "\n".join(lines) + "\n"


def filled(page: str) -> str:
    """Replace every generated block of a page.

    Raises:
        KeyError: if a block has an unknown name.
    """
    return _BLOCK.sub(lambda block: f"{block[1]}\n{_BLOCKS[block[2]]().strip()}\n\n{block[3]}", page)


_TABLES: dict[str, dict[str, type[BaseModel]]] = {
    "datasets": {"[datasets.NAME]": DatasetTask},
    "roles": {"[roles.ROLE]": RoleSection, "[[roles.ROLE.variants]]": RoleVariant},
    "servers": {"[[servers]]": ServerSection},
}
"""Sections with one table for each name, with the headings of their tables."""


def _default(field: FieldInfo) -> str:
    return "required" if field.is_required() else f"`{_toml(field.default)}`"


def settings() -> str:
    """One table per section of hub.toml."""
    parts = []
    for name, section in HubConfig.model_fields.items():
        for heading, model in _TABLES.get(name, {f"[{name}]": section.annotation}).items():  # type: ignore[dict-item]
            about = (model.__doc__ or "").strip().splitlines()[0]
            rows = [
                (f"`{key}`", _kind(field), _default(field), field.description or "")
                # Options that only some servers support come last.
                for key, field in sorted(model.model_fields.items(), key=lambda named: named[0] in OPTIONS)
            ]
            parts.append(f"### `{heading}`\n\n{about}\n\n{_table(('key', 'type', 'default', 'meaning'), rows)}")
    return "\n\n".join(parts)


def prompts() -> str:
    """Sampling options and parameters of each prompt file."""
    names = ["text_personas", "related_personas", *packaged()]
    rows = []
    for name in names:
        prompt = project_files.prompt(name)
        parameters = ", ".join(f"`{parameter}`" for parameter in prompt.parameters) or "none"
        rows.append((f"`{name}`", prompt.temperature, prompt.top_p, prompt.max_tokens, parameters))
    return _table(("prompt", "temperature", "top_p", "max_tokens", "parameters"), rows)


def formats() -> str:
    """The formats of source files, their suffixes and rows."""
    rows = []
    for form in FORMATS:
        compressed = f" (also {_suffixes(form.compressions)})" if form.compressions else ""
        rows.append((form.title, _suffixes(form.suffixes) + compressed, form.row))
    return _table(("format", "suffixes", "a row is"), rows)


def generation_reasons() -> str:
    """Reasons why a request ended without an accepted answer."""
    return _reasons(requests, "Reason")


def source_reasons() -> str:
    """Reasons why a row of a source file is not used."""
    return _reasons(source_rows, "SourceReason")


def tables() -> str:
    """Every table: its comment, its columns with type and comment."""
    return "\n\n".join(_relation(name) for name in table_sql())


def views() -> str:
    """Every view: its comment and its columns."""
    return "\n\n".join(_relation(name) for name in view_names())


def macros() -> str:
    """Every table macro: its comment, and its columns with their meanings."""
    return "\n\n".join(_macro(name, sql) for name, sql in project_files.sql_files("macros").items())


def questions() -> str:
    """The queries of sql/analysis with the question that each answers."""
    rows = [
        (f"`sql/analysis/{name}.sql`", sql.lstrip().splitlines()[0].removeprefix("--").strip())
        for name, sql in project_files.sql_files("analysis").items()
    ]
    return _table(("file", "question"), rows)


def view_names() -> list[str]:
    """All views, including those made from the datasets."""
    return ["dataset_items", "written_items", "item_scores", *project_files.sql_files("views")]


def faults() -> str:
    """Faults of the stand-in, by kind."""
    return "\n\n".join(
        f"## {chapter.title}\n\n{chapter.when[0].upper()}{chapter.when[1:]}.\n\n"
        + _table(("name", "behaviour"), ((f"`{name}`", about) for name, about in chapter.entries.items()))
        for chapter in CATALOGUE
    )


_BLOCKS: dict[str, Callable[[], str]] = {
    block.__name__: block
    for block in (
        settings,
        prompts,
        formats,
        generation_reasons,
        source_reasons,
        tables,
        views,
        macros,
        questions,
        faults,
    )
}


def _suffixes(names: Iterable[str]) -> str:
    return ", ".join(f"`.{name}`" for name in names)


def _kind(field: FieldInfo) -> str:
    """A field's type and bounds in words, such as 'int from 1 up to 8'."""
    words = {
        annotated_types.Ge: "from {.ge}",
        annotated_types.Gt: "above {.gt}",
        annotated_types.Le: "up to {.le}",
        annotated_types.MaxLen: "of at most {.max_length} characters",
    }
    bounds = (words[type(bound)].format(bound) for bound in field.metadata if type(bound) in words)
    return " ".join((_type_name(field.annotation), *bounds))


def _type_name(annotation: object) -> str:
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Literal:
        return ", ".join(f"`{str(argument).lower() if argument is False else argument}`" for argument in arguments)
    if origin is dict:
        return "table"
    if origin is list:
        return "list of texts" if arguments == (str,) else "list of tables" if arguments == (RoleVariant,) else "list"
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return "table"
    if origin is typing.Annotated:
        return _type_name(arguments[0])
    if type(None) in arguments:
        return _type_name(next(a for a in arguments if a is not type(None)))
    if origin in (typing.Union, types.UnionType):
        return " or ".join(map(_type_name, arguments))
    assert isinstance(annotation, type)
    return annotation.__name__


def _toml(value: object) -> str:
    """A default value in TOML."""
    if value is None:
        return "not set"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        return f"{value:_}"
    return f'"{value}"' if isinstance(value, str) else str(value)


def _reasons(module: ModuleType, name: str) -> str:
    """The reasons of a Literal type with their meanings, from its docstring."""
    rows = [tuple(line.split(": ", 1)) for line in _docstring_of(module, name).splitlines() if ": " in line]
    values = typing.get_args(getattr(module, name))
    if [reason for reason, _ in rows] != list(values):
        raise ValueError(f"{module.__name__}.{name}: its docstring explains {rows}, its values are {values}")
    return _table(("reason", "meaning"), [(f"`{reason}`", meaning) for reason, meaning in rows])


def _docstring_of(module: ModuleType, name: str) -> str:
    body = ast.parse(inspect.getsource(module)).body
    for statement, following in itertools.pairwise(body):
        if isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) == name:
            assert isinstance(following, ast.Expr)
            return str(ast.literal_eval(following.value))
    raise ValueError(f"{module.__name__}.{name} has no docstring")


def _relation(name: str) -> str:
    about, columns = _described(name)
    rows = [(f"`{column}`", f"`{kind}`", comment) for column, kind, comment in columns]
    if any(comment for *_, comment in columns):
        return f"### `{name}`\n\n{about}.\n\n{_table(('column', 'type', 'meaning'), rows)}"
    return f"### `{name}`\n\n{about}.\n\n{_table(('column', 'type'), [row[:2] for row in rows])}"


def _macro(name: str, sql: str) -> str:
    about, meanings = comments(sql)
    found = _empty_warehouse().execute(f"DESCRIBE SELECT * FROM {name}('')").fetchall()
    rows = [(f"`{column}`", f"`{kind}`", meanings[column]) for column, kind, *_ in found]
    return f"### `{name}(id)`\n\n{about}.\n\n{_table(('column', 'type', 'meaning'), rows)}"


def _described(name: str) -> tuple[str, list[tuple[str, str, str]]]:
    """Comment of a table or view, and `(column, type, comment)` of its columns, from the warehouse."""
    connection = _empty_warehouse()
    found = connection.execute(
        "SELECT comment FROM duckdb_tables() WHERE table_name = $name "
        "UNION ALL SELECT comment FROM duckdb_views() WHERE view_name = $name",
        {"name": name},
    ).fetchone()
    columns = connection.execute(
        "SELECT column_name, data_type, coalesce(comment, '') FROM duckdb_columns() WHERE table_name = $name "
        "ORDER BY column_index",
        {"name": name},
    ).fetchall()
    assert found is not None
    return str(found[0]).rstrip("."), columns


_OPEN = contextlib.ExitStack()


@functools.cache
def _empty_warehouse() -> duckdb.DuckDBPyConnection:
    # A home that does not exist has all tables, empty.
    macros = (f"{name}()" for name in project_files.sql_files("macros"))
    return _OPEN.enter_context(
        open_live(
            Store(home=str(DOCS / "no-such-home")), " ".join((*table_sql(), *view_names(), *macros)), with_comments=True
        )
    )


def _table(head: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    lines = [list(head), *([str(cell).replace("|", "\\|") for cell in row] for row in rows)]
    lines.insert(1, ["---"] * len(lines[0]))
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main() -> None:
    """Rewrite the pages."""
    for path, text in pages().items():
        path.write_text(text, "utf-8")
        print(path.relative_to(DOCS.parent))


if __name__ == "__main__":
    main()
