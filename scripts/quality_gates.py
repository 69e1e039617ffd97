"""Precision, recall and time of the quality gates, on the labelled cases of tests/data/quality.

    python scripts/quality_gates.py            the tables of docs/quality.md, which are written into the page
    python scripts/quality_gates.py --time     microseconds per text of each gate
    python scripts/quality_gates.py --wrong    the misclassified cases

Personal data is counted by spans, which are right if the kind and both ends are. All else is counted by texts.
Precision is the share of right ones among those found, recall the share of the labelled ones that are found.
"""

import argparse
import re
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from scores import Score

from personahub_assets.generation.replies.refusal_texts import is_refusal
from personahub_assets.quality.items import item_echo
from personahub_assets.quality.languages import other_language
from personahub_assets.quality.personas import FAULTS, persona_fault
from personahub_assets.quality.pii import find_pii
from personahub_assets.quality.spans import KINDS

FOLDER = Path(__file__).resolve().parents[1] / "tests" / "data" / "quality"
PAGE = FOLDER.parents[2] / "docs" / "quality.md"
_BLOCK = re.compile(r"(<!-- measured: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
_MARK = re.compile(r"⟦(\w+) (.*?)⟧")

Label = tuple[str, int, int]
"""Kind, start and end of a span; of a whole text the kind and two zeros."""


@dataclass(frozen=True)
class Case:
    """A text with its labels."""

    text: str
    labels: frozenset[Label]


def lines(name: str) -> list[str]:
    """The lines of a file of cases, without comments."""
    return [line for line in (FOLDER / name).read_text("utf-8").splitlines() if line and not line.startswith("#")]


def pii_cases() -> list[Case]:
    """The cases of personal data."""
    return list(map(_marked, lines("pii.txt")))


def _marked(line: str) -> Case:
    text, labels, position = "", set(), 0
    for mark in _MARK.finditer(line):
        text += line[position : mark.start()]
        labels.add((mark[1], len(text), len(text) + len(mark[2])))
        text += mark[2]
        position = mark.end()
    return Case(text + line[position:], frozenset(labels))


def text_cases(name: str) -> list[Case]:
    """The cases of a file with a label and a text in each line; a good text has no label."""
    rows = [line.split("\t") for line in lines(name)]
    return [Case(text, frozenset({(label, 0, 0)} if label != "good" else ())) for label, text in rows]


def language_cases() -> list[Case]:
    """Texts for which another language is expected (English or German), and the same with their own."""
    rows = [line.split("\t") for line in lines("languages.tsv")]
    pairs = [(expected, code, text) for code, text in rows for expected in dict.fromkeys((code, "en", "de"))]
    return [
        Case(f"{expected}\t{text}", frozenset({("other_language", 0, 0)} if expected != code else ()))
        for expected, code, text in pairs
    ]


def _of_text(label: str | None) -> frozenset[Label]:
    return frozenset({(label, 0, 0)} if label else ())


def _pii(text: str) -> frozenset[Label]:
    return frozenset(find_pii(text))


def _persona(text: str) -> frozenset[Label]:
    return _of_text((persona_fault(text) or ("",))[0])


def _item(text: str) -> frozenset[Label]:
    if is_refusal(text):
        return _of_text("refusal")
    return _of_text("echo" if item_echo(text) else None)


def _language(case: str) -> frozenset[Label]:
    expected, text = case.split("\t")
    return _of_text("other_language" if other_language(text, expected) else None)


@dataclass(frozen=True)
class Gate:
    """A gate with its cases."""

    cases: Callable[[], list[Case]]
    judge: Callable[[str], frozenset[Label]]
    kinds: tuple[str, ...]


GATES = {
    "pii": Gate(pii_cases, _pii, KINDS),
    "personas": Gate(partial(text_cases, "personas.tsv"), _persona, FAULTS),
    "items": Gate(partial(text_cases, "items.tsv"), _item, ("refusal", "echo")),
    "language": Gate(language_cases, _language, ("other_language",)),
}


def scores(cases: Iterable[Case], judge: Callable[[str], frozenset[Label]], kinds: Iterable[str]) -> dict[str, Score]:
    """The score of each kind."""
    judged = [(case.labels, judge(case.text)) for case in cases]
    return {
        kind: Score(
            sum(label[0] == kind for labels, _ in judged for label in labels),
            sum(label[0] == kind for labels, hits in judged for label in hits & labels),
            sum(label[0] == kind for labels, hits in judged for label in hits - labels),
        )
        for kind in kinds
    }


def microseconds(cases: list[Case], judge: Callable[[str], object], rounds: int = 20) -> float:
    """Mean time of a text, in microseconds."""
    for case in cases:
        judge(case.text)
    began = time.process_time()
    for _ in range(rounds):
        for case in cases:
            judge(case.text)
    return (time.process_time() - began) / rounds / len(cases) * 1e6


def table(name: str) -> str:
    """The table of a gate in Markdown."""
    gate = GATES[name]
    cases = gate.cases()
    good = sum(not case.labels for case in cases)
    rows = ["| kind | cases | good texts | precision | recall |", "|---|---|---|---|---|"]
    for kind, score in scores(cases, gate.judge, gate.kinds).items():
        rows.append(f"| `{kind}` | {score.cases} | {good} | {score.precision:.3f} | {score.recall:.3f} |")
    return "\n".join(rows)


def filled(page: str) -> str:
    """Replace the tables of a page."""
    return _BLOCK.sub(lambda block: f"{block[1]}\n{table(block[2])}\n\n{block[3]}", page)


def _wrong() -> None:
    for gate in GATES.values():
        for case in gate.cases():
            hits = gate.judge(case.text)
            for sign, labels in (("missed", case.labels - hits), ("wrong", hits - case.labels)):
                for kind, start, end in sorted(labels):
                    print(f"{sign} {kind} {case.text[start:end]!r}: {case.text}")


def main() -> None:
    """Write the tables into the page, or print times or misclassified cases."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--wrong", action="store_true", help="print the misclassified cases")
    parser.add_argument("--time", action="store_true", help="print the time of each gate")
    arguments = parser.parse_args()
    if arguments.wrong:
        _wrong()
    elif arguments.time:
        for name, gate in GATES.items():
            cases = gate.cases()
            good = [case for case in cases if not case.labels]
            every, of_good = microseconds(cases, gate.judge), microseconds(good, gate.judge)
            print(f"{name}: {every:.0f} µs, of good texts {of_good:.0f} µs")
    else:
        PAGE.write_text(filled(PAGE.read_text("utf-8")), "utf-8")


if __name__ == "__main__":
    main()
