"""A plan in words: a table by asset, one by batch, and what there is to say besides."""

from collections import Counter
from collections.abc import Iterable

from rich.console import Console
from rich.table import Table

from personahub_assets.plans.work import Aside, Plan, Work, added

_BATCHES = 40
_FIGURES = ("to ask", "why", "calls", "prompt tokens", "completion tokens", "time", "cost")


def show(plan: Plan, console: Console) -> None:
    """Print a plan; what is estimated has a ≈ before it."""
    batches = list(dict.fromkeys(work.batch for work in plan.work))
    if plan.work:
        of = f"batch {batches[0]}" if len(batches) == 1 else f"{len(batches)} batches"
        console.print(_table(f"{of}, asked of {plan.model}", "asset", _by(plan.work, "asset"), plan.currency))
    open_ones = [work for work in _by(plan.work, "batch") if work.expected]
    if len(batches) > 1 and open_ones:
        console.print(_table("by batch", "batch", open_ones[:_BATCHES], plan.currency))
        if len(open_ones) > _BATCHES:
            _say(console, f"The first {_BATCHES} of {len(open_ones)} batches with something to ask; --json has all.")
    for line in (*_verdict(plan), *_asides(plan), *_reuse(plan), *plan.notes):
        _say(console, line)
    for batch, problem in plan.problems.items():
        _say(console, f"A run would fail: {batch}: {problem}")


def summary(plan: Plan) -> str:
    """The plan in one line."""
    total = plan.total
    parts = [_calls(total)]
    if total.seconds:
        parts.append(duration(total.seconds))
    if total.cost is not None:
        parts.append(_money(total.cost, plan.currency))
    return ", ".join(parts)


def duration(seconds: float) -> str:
    """An estimated time.

    >>> duration(7500)
    '≈ 2.1 h'
    """
    if seconds < 90:
        return f"≈ {max(1, round(seconds))} s"
    return f"≈ {seconds / 60:.0f} min" if seconds < 5400 else f"≈ {seconds / 3600:,.1f} h"


def _table(title: str, first: str, rows: list[Work], currency: str) -> Table:
    table = Table(title=title, title_justify="left")
    table.add_column(first)
    for name in _FIGURES:
        table.add_column(name, justify="left" if name == "why" else "right")
    for work in rows:
        table.add_row(getattr(work, first), *_figures(work, currency))
    if len(rows) > 1:
        table.add_section()
        table.add_row("all", *_figures(added(rows, "", ""), currency))
    return table


def _figures(work: Work, currency: str) -> tuple[str, ...]:
    if not work.expected:
        return ("0", "", "0", "0", "0", "", "")
    cost = "" if work.cost is None else _money(work.cost, currency)
    return (
        _requests(work),
        _why(work),
        _calls(work).removesuffix(" calls").removesuffix(" call"),
        f"≈ {work.prompt_tokens:,.0f}",
        f"≈ {work.completion_tokens:,.0f}",
        "" if work.seconds is None else duration(work.seconds),
        cost,
    )


def _requests(work: Work) -> str:
    parts = [f"{work.ask:,}"] if work.ask else []
    return " + ".join([*parts, f"≈ {work.follow:,.0f}"] if work.follow else parts)


def _why(work: Work) -> str:
    words = [f"{reason} {count:,}" for reason, count in work.reasons.most_common()]
    return ", ".join([*words, f"not written yet ≈ {work.follow:,.0f}"] if work.follow else words)


def _calls(work: Work) -> str:
    """How many calls; exact where each request was answered at once so far."""
    mark = "" if work.is_exact else "≈ "
    return f"{mark}{work.calls:,.0f} call{'' if work.calls == 1 else 's'}"


def _money(cost: float, currency: str) -> str:
    return f"≈ {cost:,.2f} {currency}" if cost >= 0.01 or not cost else f"≈ {cost:.4f} {currency}"


def _verdict(plan: Plan) -> Iterable[str]:
    total = plan.total
    if not total.expected:
        yield "A run makes no call."
        return
    yield f"A run makes {summary(plan)}."
    if total.follow:
        yield (
            f"{total.ask:,} of its requests are certain. The others (≈) are about rows that it would write first, as "
            "many as this home has seen so far."
        )
    asked = {work.asset for work in plan.work if work.ask}
    follow = {work.asset for work in plan.work if work.follow}
    if follow and (sources := asked & {"text_personas", "related_personas"}):
        yield f"What {' and '.join(sorted(sources, reverse=True))} writes anew changes all that is made of it."
    if total.basis == "settings":
        names = dict.fromkeys(work.asset for work in plan.work if work.expected and work.basis == "settings")
        yield f"No answers yet of {', '.join(names)}: counted as long as max_tokens allows, and each asked once."
    if total.seconds is None:
        yield "No time: no speed was measured in this home yet."
    if total.cost is None:
        yield f"No cost: set prompt and completion in [prices] of {plan.home}/hub.toml, in money per million tokens."


def _asides(plan: Plan) -> Iterable[str]:
    for aside in plan.asides:
        if words := _aside(aside):
            yield f"Without a call, {aside.batch}: {'; '.join(words)}."


def _aside(aside: Aside) -> list[str]:
    again = " and ".join(aside.decided_again)
    counts = {
        "documents new or changed": aside.documents_new,
        "documents gone": aside.documents_gone,
        "candidates to decide about": aside.to_decide,
        "dropped ones come back to be decided, since who they were dropped for is gone": aside.coming_back,
        "texts to embed": aside.to_embed,
        "personas come into the hub": aside.personas_in,
        "personas leave the hub": aside.personas_out,
    }
    words = [f"the rule of the {again} stage changed, so all is decided again"] if again else []
    return words + [f"{count:,} {what}" for what, count in counts.items() if count]


def _reuse(plan: Plan) -> Iterable[str]:
    total = plan.total
    if total.reused:
        yield (
            "Answers used without a call: " + ", ".join(f"{n:,} of {of}" for of, n in total.reused.most_common()) + "."
        )
    if total.quarantined:
        by_reason = ", ".join(f"{count:,} {reason}" for reason, count in total.quarantined.most_common())
        places: Counter[str] = Counter()
        for work in plan.work:
            places[work.asset] += sum(work.quarantined.values())
        where = ", ".join(f"{asset} {count:,}" for asset, count in places.items() if count)
        yield f"Quarantined, and asked by --retry only: {by_reason} ({where})."


def _by(work: list[Work], name: str) -> list[Work]:
    """Works added up by batch or by asset."""
    groups: dict[str, list[Work]] = {}
    for part in work:
        groups.setdefault(getattr(part, name), []).append(part)
    return [added(parts, **{"batch": "", "asset": "", name: key}) for key, parts in groups.items()]


def _say(console: Console, line: str) -> None:
    console.print(line, markup=False, highlight=False, soft_wrap=True)
