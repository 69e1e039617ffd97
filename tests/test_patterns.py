"""Every regular expression of the package on hostile text: time grows linearly with the text.

Patterns are found by walking the modules, so that a new one is tried without being listed. The texts are made of the
words that the pattern itself looks for and of long runs of signs: what backtracking is slow on. Most take no time at
all; only for those that take some is the ratio of twice the text looked at.
"""

import ast
import importlib
import pkgutil
import re
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import regex

import personahub_assets
from personahub_assets.verification.notation import MAX_CHARS

LENGTH = 2_000
NOTICED_S = 0.003  # a linear pattern of many alternatives needs less for so much text
QUADRATIC = 3.0
HOPELESS_S = 0.1  # for an eighth of the text: of a worse kind
_WORDS = re.compile(r"[A-Za-z]{2,}|\d|[^\w\s]")
_RUNS = [" ", "\n", "\t ", "a", "A1", "_", "-", "1", ".", '"', "'", "<", "<|", "</ ", "[", "{", "(", ",", "a ", "a, ",
         "@", "a.", "/", "\\", "|", "é", "中", "\u200b", "&", ":", "*", ";", "[a", "<a", "\r\n", "- "]  # fmt: skip
_CALLS = {"sub", "subn", "match", "search", "fullmatch", "findall", "finditer", "split"}


def modules() -> Iterator[ModuleType]:
    for found in pkgutil.walk_packages(personahub_assets.__path__, "personahub_assets."):
        if not found.name.endswith("__main__"):
            yield importlib.import_module(found.name)


def patterns() -> dict[str, tuple[Any, bool]]:
    """All patterns, held by modules or written where they are used, and whether they are looked for in the whole text.

    Patterns that are only matched at the beginning are tested so: a search from every position could be slow.
    """
    trees = {module: ast.parse(Path(str(module.__file__)).read_text("utf-8")) for module in modules()}
    nodes = [(module, node) for module, tree in trees.items() for node in ast.walk(tree)]
    uses = {(name_of(node.value), node.attr) for _, node in nodes if isinstance(node, ast.Attribute)}
    searched = {name for name, method in uses if method in _CALLS - {"match", "fullmatch"}}
    found: dict[str, tuple[Any, bool]] = {}
    for module in trees:
        held = {name: one for name, one in vars(module).items() if isinstance(one, re.Pattern | regex.Pattern)}
        found |= {f"{module.__name__}.{name}": (one, name in searched) for name, one in held.items()}
    for module, node in nodes:
        if text := written(node):
            method = node.func.attr  # type: ignore[attr-defined]
            found[f"{module.__name__}:{node.lineno}"] = re.compile(text), method not in ("match", "fullmatch")  # type: ignore[attr-defined]
    return found


def name_of(node: ast.AST) -> str:
    """The name of a pattern, also of a module constant."""
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""


def written(node: ast.AST) -> str | bytes | None:
    """The literal of a call such as `re.sub(r"…", …)`."""
    is_call = isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in _CALLS
    if not is_call or getattr(node.func.value, "id", "") != "re" or not node.args:  # type: ignore[attr-defined]
        return None
    first = node.args[0]  # type: ignore[attr-defined]
    return first.value if isinstance(first, ast.Constant) and isinstance(first.value, str | bytes) else None


def hostile(pattern: Any, length: int) -> Iterator[tuple[str, str]]:
    """Named texts of about the given length."""
    source = pattern.pattern if isinstance(pattern.pattern, str) else pattern.pattern.decode("latin-1")
    words = list(dict.fromkeys(_WORDS.findall(source)))[:12]
    for run in _RUNS:
        yield repr(run), run * (length // len(run)) + "~"
    for word in words:
        yield repr(word), word * (length // len(word)) + "~"
        for run in (" ", "\n", "a ", '"'):
            yield f"{word!r} {run!r}", word + " 3" * (run == " ") + run * (length // len(run)) + "~"
            yield f"({word!r} {run!r})", (word + run) * (length // len(word + run)) + "~"


def seconds(used: tuple[Any, bool], text: str) -> float:
    pattern, is_searched = used
    given: Any = text if isinstance(pattern.pattern, str) else text.encode()
    began = time.process_time()
    if is_searched:
        deque(pattern.finditer(given), maxlen=0)
    else:
        pattern.match(given)
        pattern.fullmatch(given)
    return time.process_time() - began


def ratio_of(used: tuple[Any, bool], twice: str, text: str) -> float:
    """Time for twice the text divided by the time for the text; each is the minimum of three."""
    return min(seconds(used, twice) for _ in range(3)) / min(seconds(used, text) for _ in range(3))


PATTERNS = patterns()
BOUNDED = {"personahub_assets.verification.": MAX_CHARS, "personahub_assets.quality.phones:": 60}
"""Patterns that only ever see short texts, by the beginnings of their names, with the length of these texts."""


@pytest.mark.parametrize("name", PATTERNS)
def test_the_time_of_a_pattern_grows_with_the_text(name: str) -> None:
    used = PATTERNS[name]
    if longest := next((most for prefix, most in BOUNDED.items() if name.startswith(prefix)), 0):
        for what, text in hostile(used[0], longest):
            assert min(seconds(used, text) for _ in range(3)) < HOPELESS_S, what
        return
    for what, text in hostile(used[0], LENGTH // 8):
        assert seconds(used, text) < HOPELESS_S, what
    for what, text in hostile(used[0], LENGTH):
        if seconds(used, text) >= NOTICED_S and min(seconds(used, text) for _ in range(3)) >= NOTICED_S:
            twice = dict(hostile(used[0], 2 * LENGTH))[what]
            # A busy machine makes one try slow; a quadratic pattern is slow at every try.
            assert any(ratio_of(used, twice, text) < QUADRATIC for _ in range(4)), what


def test_all_modules_with_patterns_are_found() -> None:
    assert {
        "personahub_assets.generation.replies.refusal_texts._BARE_REFUSAL",
        "personahub_assets.core.text._WORD",
    } <= PATTERNS.keys()
    assert any(":" in name for name in PATTERNS)
