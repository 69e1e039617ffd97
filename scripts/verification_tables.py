"""Measure the equality of answers and list the hostile programs, as tables of docs/verification.md.

.venv/bin/python scripts/verification_tables.py      rewrites the tables
"""

import tomllib
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from personahub_assets.verification.equality import Comparer, Outcome, Verdict, equal

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "verification.md"
_PAIRS = ROOT / "tests" / "data" / "answer_pairs.tsv"
_PROGRAMS = ROOT / "tests" / "data" / "hostile_programs.toml"

Pair = tuple[str, str, str, str]
"""Kind, label, and two answers."""


def labelled_pairs() -> list[Pair]:
    """The pairs with their labels, equal or different."""
    lines = _PAIRS.read_text("utf-8").splitlines()[1:]
    return [(kind, label, left, right) for kind, label, left, right in (line.split("\t") for line in lines)]


def hostile_programs() -> list[dict[str, str]]:
    """The programs with their expected status and reason."""
    return list(tomllib.loads(_PROGRAMS.read_text("utf-8"))["program"])


def compared(pairs: Iterable[Pair], comparer: Comparer | None) -> list[tuple[Pair, Verdict]]:
    """Each pair with its verdict."""
    return [(pair, equal(pair[2], pair[3], comparer=comparer)) for pair in pairs]


def equality_table(verdicts: list[tuple[Pair, Verdict]]) -> str:
    """Pairs, precision and recall of "equal", and undecided pairs of each kind, as Markdown."""
    kinds = list(dict.fromkeys(pair[0] for pair, _ in verdicts))
    lines = [
        "| kind | pairs | precision of equal | recall of equal | undecided |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    lines += [_line(kind, [each for each in verdicts if each[0][0] == kind]) for kind in kinds]
    return "\n".join([*lines, _line("**all**", verdicts)])


def _line(name: str, verdicts: list[tuple[Pair, Verdict]]) -> str:
    called = [pair for pair, verdict in verdicts if verdict.is_equal]
    right = [pair for pair in called if pair[1] == "equal"]
    equals = [pair for pair, _ in verdicts if pair[1] == "equal"]
    undecided = sum(verdict.outcome is Outcome.UNDECIDED for _, verdict in verdicts)
    precision, recall = len(right) / max(1, len(called)), len(right) / max(1, len(equals))
    return f"| {name} | {len(verdicts)} | {precision:.3f} | {recall:.3f} | {undecided} |"


def programs_table() -> str:
    """Number of hostile programs by the status and reason with which they end, as Markdown."""
    counts = Counter((program["status"], program["reason"]) for program in hostile_programs())
    lines = [f"| `{status}` | `{reason}` | {count} |" for (status, reason), count in sorted(counts.items())]
    return "\n".join(["| status | reason | programs |", "| --- | --- | ---: |", *lines])


def with_table(page: str, name: str, table: str) -> str:
    """The page with the table between its markers."""
    before, start, middle = page.partition(f"<!-- {name} -->\n")
    _, end, after = middle.partition(f"<!-- end of {name} -->")
    return f"{before}{start}\n{table}\n\n{end}{after}"


def main() -> None:
    """Rewrite the tables of the page."""
    with Comparer(seconds=30) as comparer:
        symbolic = equality_table(compared(labelled_pairs(), comparer))
    page = with_table(PAGE.read_text("utf-8"), "equality", symbolic)
    PAGE.write_text(with_table(page, "programs", programs_table()), "utf-8")


if __name__ == "__main__":
    main()
