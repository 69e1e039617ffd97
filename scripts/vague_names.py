"""Count vague names of variables, parameters, functions and methods. `make lint` lets the number only fall.

.venv/bin/python scripts/vague_names.py              counts by word and by file
.venv/bin/python scripts/vague_names.py --check      fails if there are more than LIMIT
"""

import argparse
import ast
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1] / "personahub_assets"
_WORDS = (
    "about apart asked beside found given held here into known made more much one other over part parts place places "
    "rest said seen some stands such that there these thing things those told what whole why "
)
WORDS = frozenset(_WORDS.split())
LIMIT = 70
"""Maximum number of vague names: lower it when you rename some, never raise it."""


def defined(tree: ast.AST) -> Iterator[str]:
    """Names that a module defines: variables (=, for, with, as, :=, comprehensions), parameters, functions, methods."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, ast.arg):
            yield node.arg
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name


def main() -> None:
    """Count the names, print the result, and exit with an error if the count differs from LIMIT."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--check", action="store_true", help=f"fail if there are more than {LIMIT}")
    is_check = parser.parse_args().check
    words, files, total = Counter[str](), Counter[str](), 0
    for path in sorted(PACKAGE.rglob("*.py")):
        for name in defined(ast.parse(path.read_text("utf-8"))):
            total += 1
            if name.strip("_") in WORDS:
                words[name.strip("_")] += 1
                files[path.relative_to(PACKAGE).as_posix()] += 1
    count = words.total()
    print(f"{count} of {total} names ({count / total:.1%}) are vague; the limit is {LIMIT}.")
    if not is_check:
        print("\n".join(f"{number:5} {word}" for word, number in words.most_common(20)))
        print("\n".join(f"{number:5} {file}" for file, number in files.most_common(20)))
    elif count > LIMIT:
        sys.exit(
            "Use names that say what they hold or do; to list the vague ones: .venv/bin/python scripts/vague_names.py"
        )
    elif count < LIMIT:
        sys.exit(f"There are fewer now: set LIMIT in scripts/vague_names.py to {count}.")


if __name__ == "__main__":
    main()
