"""Measure equality of answers and checks of constraints, and list the hostile programs: tables of docs/verification.md.

.venv/bin/python scripts/verification_tables.py      rewrites the tables
"""

import tomllib
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from scores import Score

from personahub_assets.quality.languages import is_in_language
from personahub_assets.verification.equality import Comparer, Outcome, Verdict, equal
from personahub_assets.verification.verify_constraints import check

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "verification.md"
_PAIRS = ROOT / "tests" / "data" / "answer_pairs.tsv"
_PROGRAMS = ROOT / "tests" / "data" / "hostile_programs.toml"
_CONSTRAINTS = ROOT / "tests" / "data" / "constraint_cases.toml"

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
    score = Score.of((pair[1] == "equal", verdict.is_equal) for pair, verdict in verdicts)
    undecided = sum(verdict.outcome is Outcome.UNDECIDED for _, verdict in verdicts)
    return f"| {name} | {len(verdicts)} | {score.precision:.3f} | {score.recall:.3f} | {undecided} |"


ConstraintCase = tuple[dict[str, Any], str, bool]
"""A constraint, an answer, and whether it satisfies the constraint."""


def constraint_cases() -> list[ConstraintCase]:
    """The labelled answers."""
    entries = tomllib.loads(_CONSTRAINTS.read_text("utf-8"))["constraint"]
    return [
        ({name: value for name, value in entry.items() if name not in ("holds", "fails")}, answer, label == "holds")
        for entry in entries
        for label in ("holds", "fails")
        for answer in entry[label]
    ]


def constraint_scores(cases: Iterable[ConstraintCase]) -> dict[str, Score]:
    """The score of "satisfied" for each kind of constraint, and for all."""
    judged: dict[str, list[tuple[bool, bool]]] = {}
    for constraint, answer, holds in cases:
        judged.setdefault(constraint["kind"], []).append((holds, bool(check(answer, constraint, is_in_language))))
    return {
        **{kind: Score.of(pairs) for kind, pairs in judged.items()},
        "all": Score.of(pair for pairs in judged.values() for pair in pairs),
    }


def constraints_table() -> str:
    """Answers, precision and recall of each kind of constraint, as Markdown."""
    lines = ["| kind | satisfying | others | precision | recall |", "| --- | ---: | ---: | ---: | ---: |"]
    for kind, score in constraint_scores(constraint_cases()).items():
        name = "**all**" if kind == "all" else f"`{kind}`"
        lines.append(f"| {name} | {score.cases} | {score.good} | {score.precision:.3f} | {score.recall:.3f} |")
    return "\n".join(lines)


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
    page = with_table(page, "constraints", constraints_table())
    PAGE.write_text(with_table(page, "programs", programs_table()), "utf-8")


if __name__ == "__main__":
    main()
