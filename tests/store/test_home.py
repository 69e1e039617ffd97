"""The layout of a home: its paths do not change, and no other module contains them."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import personahub_assets
from personahub_assets.store.home import Home, Lock

PACKAGE = Path(personahub_assets.__file__).parent
HOME = Home(Path("hub"))
NAMES = sorted(path.name for path in [*HOME.own, HOME.inbox])
_SPELLED = re.compile(rf"(^|/)({'|'.join(map(re.escape, NAMES))})(/|$)")

LAYOUT = {
    "aside": HOME.aside,
    "cache": HOME.cache,
    "cache/hashes": HOME.hashes,
    "cache/items/quiz/lexical": HOME.item_dedup_cache("quiz", "lexical"),
    "cache/lexical": HOME.dedup_cache("lexical"),
    "cache/search/e2d358b70c02b918ab0a": HOME.search_index("m"),
    "cache/warehouse.npz": HOME.warehouse_note,
    "dagster": HOME.dagster,
    "dagster/.starting.lock": HOME.dagster_lock,
    "dagster/dagster.yaml": HOME.dagster_settings,
    "dagster/history": HOME.history,
    "dagster/tracebacks": HOME.tracebacks,
    "hub.toml": HOME.config,
    "inbox": HOME.inbox,
    "journal/item_embeddings/quiz/b": HOME.item_vector_journal("quiz", "b"),
    "journal/persona_embeddings/b": HOME.vector_journal("b"),
    "journal/quiz/b.sqlite": HOME.journal("quiz", "b"),
    "locks/warehouse.lock": HOME.lock(Lock.WAREHOUSE),
    "locks/quiz-b.lock": HOME.lock(Lock.of("quiz", "b")),
    "locks/admission-lexical.lock": HOME.lock(Lock.admission("lexical")),
    "releases": HOME.releases,
    "seeds/quiz": HOME.recorded_answers("quiz"),
    "tables/generations/asset=quiz/batch=b/part.parquet": HOME.partition("generations", "b", "quiz"),
    "tables/documents/batch=b/part.parquet": HOME.partition("documents", "b"),
    "warehouse.duckdb": HOME.warehouse,
    "writer": HOME.writer,
}


def test_the_layout_of_a_home_stays() -> None:
    assert [path.relative_to("hub").as_posix() for path in LAYOUT.values()] == list(LAYOUT)


def spelled(source: str) -> Iterator[str]:
    """Path names of the home and names of locks in a module."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.BinOp(op=ast.Div(), right=right):
                yield from _names(right)
            case ast.Call(func=ast.Attribute(attr="glob" | "rglob" | "joinpath"), args=args):
                yield from (name for arg in args for name in _names(arg))
            case ast.Call(func=ast.Attribute(attr="lock"), args=[ast.Constant() | ast.JoinedStr() as name, *_]):
                yield ast.unparse(name)
            case ast.JoinedStr(values=[ast.FormattedValue(), *parts]):
                yield from (name for part in parts for name in _names(part) if name.startswith("/"))


def _names(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Constant) and isinstance(node.value, str) and _SPELLED.search(node.value):
        yield node.value


@pytest.mark.parametrize(
    "line",
    [
        'root / "tables" / table',
        'home / "journal/persona_embeddings"',
        'home / "hub.toml"',
        'f"{root}/tables/{table}"',
        'root.glob("journal/*")',
        'store.lock("warehouse", wait=True)',
        'store.lock(f"{asset}-{batch}", wait=True)',
    ],
)
def test_a_planted_path_is_found(line: str) -> None:
    assert list(spelled(line))


def test_no_other_module_spells_a_path_of_a_home() -> None:
    by_module = {
        str(path.relative_to(PACKAGE)): list(spelled(path.read_text("utf-8"))) for path in PACKAGE.rglob("*.py")
    }
    assert by_module.pop("store/home.py")
    assert {name: names for name, names in by_module.items() if names} == {}
