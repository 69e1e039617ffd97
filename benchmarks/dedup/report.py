"""The results of the dedup benchmark as Markdown tables."""

import math
from collections.abc import Callable
from typing import Any

from common import table
from environments import CONTENDERS

Result = dict[str, Any]
_NONE = "–"
_TITLES = {contender.name: contender.title for contender in CONTENDERS}
_MEBI = 1024


def rendered(found: Result) -> str:
    """The text between the markers: the command, the tables, the ratios and the notes."""
    tables = found["lexical"]
    parts = [_header(found)]
    for name, make in _TABLES.items():
        if tables.get(name):
            parts.append(make(tables[name]))
    parts += [_bars(tables), _notes(found)]
    parts += [_other(name, found[name]) for name in ("semantic", "embedding") if found.get(name)]
    return "\n\n".join(part for part in parts if part)


def _header(found: Result) -> str:
    machine = found["machine"]
    return (
        f"Run on {found['date']} with `{found['command']}`, in {found['seconds'] / 60:.0f} min: "
        f"{machine['cores']} cores of {machine['cpu']}, Python {machine['python']}, {machine['system']}."
    )


def _title(name: str) -> str:
    return _TITLES.get(name, name)


def _number(value: float | None, digits: int = 0) -> str:
    return _NONE if value is None else f"{value:,.{digits}f}"


def _seconds(line: Result) -> str:
    """Seconds with two significant digits."""
    value = line.get("seconds")
    if value is None:
        return _NONE
    return f"{value:,.2f}" if value < 10 else f"{value:,.1f}" if value < 100 else f"{value:,.0f}"


def _memory(line: Result) -> str:
    megabytes = line.get("peak_rss_mb")
    if megabytes is None:
        return _NONE
    return f"{megabytes / _MEBI:.2f} GB" if megabytes >= _MEBI else f"{megabytes} MB"


def _share(line: Result, name: str) -> str:
    value = line.get(name)
    # 0.9996 is not rounded to 1.
    return _NONE if value is None else "1" if value == 1 else f"{min(value, 0.9999):.4f}".rstrip("0")


def _sizes(results: Result) -> str:
    parts = []
    first = results[next(iter(results))]
    if any("drop_recall" in line for line in first.values()):
        parts.append(_rightness(next(iter(results)), first))
    head = ["tool", *(f"{int(rows):,} rows, s" for rows in results), *(f"memory at {int(rows):,}" for rows in results)]
    head += [f"exponent to {int(rows):,}" for rows in list(results)[1:]]
    names = [name for name in _TITLES if any(name in lines for lines in results.values())]
    rows = []
    for name in names:
        lines = [results[size].get(name, {}) for size in results]
        exponents = [_exponent(results, name, a, b) for a, b in zip(list(results), list(results)[1:], strict=False)]
        rows.append([_title(name), *map(_seconds, lines), *map(_memory, lines), *exponents])
    return "\n\n".join([*parts, "### By size\n\n" + table(head, rows)])


def _exponent(results: Result, name: str, small: str, large: str) -> str:
    a, b = (results[size].get(name, {}).get("seconds") for size in (small, large))
    return _NONE if not a or not b else f"{math.log(b / a) / math.log(int(large) / int(small)):.2f}"


def _rightness(rows: str, results: Result) -> str:
    pairs = next(line for line in results.values() if "true_pairs" in line)
    head = [
        "tool",
        "seconds",
        "from memory",
        "CPU s",
        "pair recall",
        "of J < 1",
        "pair precision",
        "drop recall",
        "drop precision",
        "kept",
    ]
    lines = []
    for name, line in results.items():
        shares = ("pair_recall", "near_recall", "pair_precision", "drop_recall", "drop_precision")
        memory = _number(line.get("seconds_from_memory"), 2)
        lines.append(
            [
                _title(name),
                _seconds(line),
                memory,
                _number(line.get("cpu_s"), 1),
                *(_share(line, share) for share in shares),
                _number(line.get("kept")),
            ]
        )
    title = f"### How right, {int(rows):,} rows"
    said = (
        f"{pairs['true_pairs']:,} true pairs, {pairs['true_near_pairs']:,} of them with J < 1. "
        "Tools that do not tell their pairs are judged by what they drop."
    )
    return f"{title}\n\n{table(head, lines)}\n\n{said}"


def _scripts(results: Result) -> str:
    lines = [
        f"{_title(name)}: drop recall {_share(line, 'drop_recall')}, precision {_share(line, 'drop_precision')}"
        for name, line in results.items()
        if "drop_recall" in line
    ]
    return f"With 3 % of the rows accented or in Thai, Hindi, Arabic and Chinese: {'; '.join(lines)}." if lines else ""


def _templates(results: Result) -> str:
    parts = []
    for count, lines in results.items():
        head = ["tool", "seconds", "memory", "dropped", "rightly", "missed", "candidates per row, at most"]
        rows = [
            [
                _title(name),
                _seconds(line),
                _memory(line),
                *(_number(line.get(key)) for key in ("dropped", "rightly", "missed")),
                _number(line.get("candidates"), 1),
            ]
            for name, line in lines.items()
            if isinstance(line, dict)
        ]
        which = "one template" if count == "1" else f"{count} templates"
        parts.append(
            f"### {lines['rows']:,} sentences from {which}\n\n{table(head, rows)}\n\n{lines['pairs']:,} true pairs."
        )
    return "\n\n".join(parts)


def _lengths(results: Result) -> str:
    parts = []
    for rows, by_words in results.items():
        head = ["tool", *(f"{words} words, {what}" for words in by_words for what in ("s", "memory", "kept"))]
        names = list(next(iter(by_words.values())))
        lines = []
        for name in names:
            cells = [by_words[words].get(name, {}) for words in by_words]
            shown = [(_seconds(line), _memory(line), _number(line.get("kept"))) for line in cells]
            lines.append([_title(name), *(cell for triple in shown for cell in triple)])
        parts.append(f"### Texts of 20 and of 40 distinct words, {int(rows):,} rows\n\n{table(head, lines)}")
    return "\n\n".join(parts)


def _thresholds(results: Result) -> str:
    ours = results.get("ours") or {}
    if not ours:
        return ""
    sizes = [key for key in next(iter(ours.values())) if key != "checked"]
    minhash = results.get("ours_minhash", {})
    head = [
        "threshold",
        *(f"`exact`, {int(size):,} rows, {what}" for size in sizes for what in ("s", "memory", "kept")),
    ]
    head += ["same as the exact answer at 5,000 rows"]
    if minhash:
        head += [f"`minhash`, {int(sizes[0]):,} rows, s", "its drop recall at 5,000"]
    rows = []
    for threshold, by_size in ours.items():
        row = [threshold]
        for size in sizes:
            line = by_size[size]
            row += [_seconds(line), _memory(line), _number(line.get("kept"))]
        row.append("yes" if (by_size["checked"] or {}).get("same") else "NO")
        if minhash:
            other = minhash[threshold]
            row += [_seconds(other.get(sizes[0], {})), _share(other["checked"] or {}, "drop_recall")]
        rows.append(row)
    return f"### Cost by threshold\n\n{table(head, rows)}"


def _added(result: Result) -> str:
    if result.get("error"):
        return f"- adding to a hub: {result['error']}"
    return (
        f"{result['added']:,} rows added to a hub of {result['rows']:,}, lexical stage: {result['adding_s']:.3f} s, "
        f"{result['adding_s'] / result['rebuild_s']:.2%} of the rebuild's {result['rebuild_s']:.2f} s. "
        f"Same decisions, row for row: {'yes' if result['alike'] else 'NO'}."
    )


def _real(results: Result) -> str:
    lines = {name: line for name, line in results.items() if isinstance(line, dict)}
    head = ["tool", "seconds", "kept", "drop recall", "drop precision"]
    rows = [
        [
            _title(name),
            _seconds(line),
            _number(line.get("kept")),
            _share(line, "drop_recall"),
            _share(line, "drop_precision"),
        ]
        for name, line in lines.items()
    ]
    return f"### {results['rows']:,} real personas\n\n{table(head, rows)}"


_TABLES: dict[str, Callable[[Result], str]] = {
    "sizes": _sizes,
    "scripts": _scripts,
    "templates": _templates,
    "lengths": _lengths,
    "thresholds": _thresholds,
    "added": _added,
    "real": _real,
}


def _bars(tables: Result) -> str:
    """Ours compared with the two fastest tools, in the same run."""
    lines = []
    for rows, results in tables.get("sizes", {}).items():
        ours = results.get("ours", {}).get("seconds")
        for name in ("rensa", "daft"):
            theirs = results.get(name, {}).get("seconds")
            if ours and theirs:
                lines.append(f"{theirs / ours:.1f}× {name} at {int(rows):,}")
    return f"personahub, `exact`, from Parquet to who stays: {', '.join(lines)}." if lines else ""


def _notes(found: Result) -> str:
    lines = [f"- {_title(name)}: not measured: {why}" for name, why in found["absent"].items()]
    lines += [f"- {_title(name)}: {note}." for name, note in found["notes"].items()]
    sizes = found["lexical"].get("sizes", {})
    largest = max(map(int, sizes), default=0)
    for contender in CONTENDERS:
        if contender.name in found["pythons"] and contender.most < largest:
            lines.append(f"- {contender.title}: not run above {contender.most:,} rows: {contender.why}.")
    said: set[str] = set()
    for results in sizes.values():
        for name, line in results.items():
            said |= {f"- {_title(name)}: {note}." for note in line.get("notes", ())}
            if line.get("cold_s"):
                said.add(
                    f"- {_title(name)}: loaded in {line['loading_s']:.1f} s before the clock starts; "
                    f"the very first time, compiling its kernels, in {line['cold_s']:.1f} s."
                )
    lines += sorted(said)
    for name, results in _all_lines(found["lexical"]):
        if results.get("error"):
            lines.append(f"- {_title(name)}: {results['error']}")
    return "\n".join(dict.fromkeys(lines))


def _all_lines(tables: Result, name: str = "") -> list[tuple[str, Result]]:
    """All lines of all tables with the names of their contenders."""
    found = []
    for key, value in tables.items():
        if isinstance(value, dict):
            inside = key if key in _TITLES else name
            found += [(inside, value)] if "seconds" in value or "error" in value else _all_lines(value, inside)
    return found


def _other(name: str, found: Result) -> str:
    """The table of another stage's benchmark, as its script returns it."""
    if found.get("error"):
        return f"- {name}: not measured: {found['error']}"
    return str(found.get("markdown") or "") or f"### {name}\n\n```\n{found}\n```"
