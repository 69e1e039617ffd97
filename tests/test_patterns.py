"""Every pattern of the package on hostile text: twice the text takes about twice the time.

Patterns are found by walking the modules, so that a new one is tried without being listed. The texts are made of the
words that the pattern itself looks for and of long runs of signs: what backtracking is slow on. Most take no time at
all; only for those that take some is the ratio of twice the text looked at.
"""

import ast
import importlib
import pkgutil
import re
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import regex

import personahub_assets

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


def patterns() -> dict[str, Any]:
    """All patterns: those that modules hold, and those written where they are used."""
    found: dict[str, Any] = {}
    for module in modules():
        names = vars(module).items()
        found |= {
            f"{module.__name__}.{name}": held for name, held in names if isinstance(held, re.Pattern | regex.Pattern)
        }
        for node in ast.walk(ast.parse(Path(str(module.__file__)).read_text("utf-8"))):
            if text := written(node):
                found[f"{module.__name__}:{node.lineno}"] = re.compile(text)  # type: ignore[attr-defined]
    return {name: pattern for name, pattern in found.items() if not name.startswith("personahub_assets.standin.words")}


def written(node: ast.AST) -> str | bytes | None:
    """The literal of a call such as `re.sub(r"…", …)`."""
    is_call = isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in _CALLS
    if not is_call or getattr(node.func.value, "id", "") != "re" or not node.args:  # type: ignore[attr-defined]
        return None
    first = node.args[0]  # type: ignore[attr-defined]
    return first.value if isinstance(first, ast.Constant) and isinstance(first.value, str | bytes) else None


def hostile(pattern: Any, length: int) -> Iterator[tuple[str, str]]:
    """Texts of about that length, each with a name."""
    source = pattern.pattern if isinstance(pattern.pattern, str) else pattern.pattern.decode("latin-1")
    words = list(dict.fromkeys(_WORDS.findall(source)))[:12]
    for run in _RUNS:
        yield repr(run), run * (length // len(run)) + "~"
    for word in words:
        yield repr(word), word * (length // len(word)) + "~"
        for run in (" ", "\n", "a ", '"'):
            yield f"{word!r} {run!r}", word + " 3" * (run == " ") + run * (length // len(run)) + "~"
            yield f"({word!r} {run!r})", (word + run) * (length // len(word + run)) + "~"


def seconds(pattern: Any, text: str) -> float:
    given: Any = text if isinstance(pattern.pattern, str) else text.encode()
    began = time.process_time()
    for _ in pattern.finditer(given):
        pass
    return time.process_time() - began


PATTERNS = patterns()


@pytest.mark.parametrize("name", PATTERNS)
def test_the_time_of_a_pattern_grows_with_the_text(name: str) -> None:
    pattern, slow = PATTERNS[name], []
    for what, text in hostile(pattern, LENGTH // 8):
        assert seconds(pattern, text) < HOPELESS_S, what
    texts = dict(hostile(pattern, LENGTH))
    for what, text in texts.items():
        if seconds(pattern, text) < NOTICED_S:
            continue
        twice = dict(hostile(pattern, 2 * LENGTH))[what]
        ratio = min(seconds(pattern, twice) for _ in range(3)) / min(seconds(pattern, text) for _ in range(3))
        if ratio > QUADRATIC:
            slow.append((what, round(ratio, 1)))
    assert slow == []


def test_all_modules_with_patterns_are_found() -> None:
    assert {"personahub_assets.generation.ask._REFUSAL", "personahub_assets.domain.text._WORD"} <= PATTERNS.keys()
    assert any(":" in name for name in PATTERNS)
