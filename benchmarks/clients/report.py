"""The results of the client benchmark as Markdown tables."""

import statistics
from typing import Any

from common import table
from environments import CONTENDERS

Result = dict[str, Any]
_NONE = "–"
_SERVER_BOUND = 0.8


def rendered(found: Result) -> str:
    """The text between the markers: the command, the tables, the ratios and the notes."""
    parts = [_header(found), _speeds(found)]
    scenarios = found["scenarios"]
    if "faults" in scenarios:
        parts.append(_faults(found))
    if "resume" in scenarios:
        parts.append(_resume(found))
    parts += [_ratios(found), _notes(found)]
    return "\n\n".join(part for part in parts if part)


def _header(found: Result) -> str:
    machine = found["machine"]
    rows = ", ".join(f"{name} {count:,}" for name, count in found["rows"].items())
    return (
        f"Run on {found['date']} with `{found['command']}`, in {found['seconds'] / 60:.0f} min: "
        f"{machine['cores']} cores of {machine['cpu']}, Python {machine['python']}, {machine['system']}. "
        f"Rows by scenario: {rows}."
    )


def _labels(found: Result) -> dict[str, str]:
    """Names with versions."""
    labels = {}
    for contender in CONTENDERS:
        if contender.name in found["contenders"]:
            labels[contender.name] = contender.label.format(version=found["versions"].get(contender.name, "")).strip()
    return labels


def _speeds(found: Result) -> str:
    columns = {"speed": "rows/s at 0 latency", "latency": "at 200 ms, 64 slots", "wide": "at 200 ms, 512 slots"}
    chosen = [name for name in columns if name in found["scenarios"]]
    if not chosen:
        return ""
    head = ["client", *(["CPU ms per row"] if "speed" in chosen else []), *(columns[name] for name in chosen)]
    lines = []
    for name, label in _labels(found).items():
        cpu = [_shown(cpu_ms(found, name), 2)] if "speed" in chosen else []
        lines.append([label, *cpu, *(_shown(rate(found, scenario, name), 0) for scenario in chosen)])
    return "### Speed\n\n" + table(head, lines)


def _runs(found: Result, scenario: str, name: str) -> list[Result]:
    """The rounds in which every row was delivered: lost rows would increase the rate."""
    runs = found["scenarios"].get(scenario, {}).get(name, [])
    return [run for run in runs if run.get("wall_s") and run["delivered"] == run["rows"]]


def cpu_ms(found: Result, name: str) -> float | None:
    """Median CPU milliseconds per row at no latency."""
    runs = _runs(found, "speed", name)
    return statistics.median(1000 * run["cpu_s"] / run["rows"] for run in runs) if runs else None


def rate(found: Result, scenario: str, name: str) -> float | None:
    """Median rows per second."""
    runs = _runs(found, scenario, name)
    return statistics.median(run["rows"] / run["wall_s"] for run in runs) if runs else None


def _shown(value: float | None, digits: int) -> str:
    return _NONE if value is None else f"{value:,.{digits}f}"


def _faults(found: Result) -> str:
    head = [
        "client",
        "delivered",
        "wrong",
        "with a reason",
        "without",
        "missing",
        "calls per delivered",
        "seconds",
        "ended",
    ]
    results = found["scenarios"]["faults"]
    wanted = found["rows"]["faults"]
    lines = [[label, *_fault_cells(results[name], wanted)] for name, label in _labels(found).items() if name in results]
    title = f"### 2 % of each of seven faults, {wanted:,} rows"
    return f"{title}\n\n{table(head, lines)}"


def _fault_cells(result: Result, wanted: int) -> list[str]:
    if "delivered" not in result:
        return [_NONE] * 7 + [result["error"]]
    delivered, rows = result["delivered"], result["rows"]
    reasons = ", ".join(f"{count} {reason}" for reason, count in result["failed"].items()) or "0"
    calls = f"{result['server']['calls'] / delivered:.2f}" if delivered else _NONE
    ended = result["error"] or "normally"
    # A sequential client is given fewer rows.
    counts = [f"{delivered:,}" if rows == wanted else f"{delivered:,} of {rows:,}", f"{result['wrong']:,}", reasons]
    counts += [f"{result[name]:,}" for name in ("unexplained", "missing")]
    return [*counts, calls, _shown(result["wall_s"], 1), ended]


def _resume(found: Result) -> str:
    head = ["client", "calls at the kill", "calls ÷ needed", "delivered in the end", "paid again", "remark"]
    results = found["scenarios"]["resume"]
    lines = [[label, *_resume_cells(results[name])] for name, label in _labels(found).items() if name in results]
    title = f"### kill -9 at half of {found['rows']['resume']:,} rows, then again; then another `max_tokens`"
    return f"{title}\n\n{table(head, lines)}"


def _resume_cells(result: Result) -> list[str]:
    if "at_kill" not in result:
        return [_NONE] * 4 + [result["error"]]
    again, larger = result["again"], result["larger"]
    whole = again.get("delivered") == result["rows"]
    ratio = f"{result['calls'] / result['rows']:.3f}" if whole else _NONE
    remarks = [f"{what}: {run['error']}" for what, run in (("again", again), ("then", larger)) if run.get("error")]
    if larger.get("delivered", result["rows"]) < result["rows"] and not larger["error"]:
        remarks.append(f"then: only {larger['delivered']:,} delivered")
    delivered = f"{again['delivered']:,}" if "delivered" in again else _NONE
    return [f"{result['at_kill']:,}", ratio, delivered, f"{result['paid']:,}", "; ".join(remarks)]


def _ratios(found: Result) -> str:
    """Ours against Instructor, in the same run."""
    pairs = []
    ours, theirs = cpu_ms(found, "ours"), cpu_ms(found, "instructor")
    if ours and theirs:
        pairs.append(f"CPU per row {theirs / ours:.1f}× less")
    for scenario, where in (("speed", "no latency"), ("latency", "200 ms, 64 slots"), ("wide", "200 ms, 512 slots")):
        ours, theirs = rate(found, scenario, "ours"), rate(found, scenario, "instructor")
        if ours and theirs:
            pairs.append(f"rows/s at {where} {ours / theirs:.1f}×")
    return f"personahub against Instructor: {'; '.join(pairs)}." if pairs else ""


def _notes(found: Result) -> str:
    labels = _labels(found)
    lines = [f"- {labels[name]}: not measured: {why}" for name, why in found["absent"].items()]
    lines += [f"- {labels[name]}: {note}." for name, note in found["notes"].items()]
    for scenario in ("speed", "latency", "wide"):
        for name, runs in found["scenarios"].get(scenario, {}).items():
            lines += [f"- {labels[name]}, {scenario}: {why}" for why in sorted(set(_shortfalls(runs)))]
    return "\n".join(lines)


def _shortfalls(runs: list[Result]) -> list[str]:
    """Reasons why a round is excluded from the figures, or needs a remark."""
    whys = []
    for run in runs:
        if run.get("error"):
            whys.append(str(run["error"]))
        elif run["delivered"] < run["rows"]:
            whys.append(f"{run['delivered']:,} of {run['rows']:,} rows delivered: the round is left out")
        elif run["server"]["server_cpu_s"] > _SERVER_BOUND * run["wall_s"]:
            whys.append("the mock server was busy most of the time: the rate is a lower bound")
    return whys
