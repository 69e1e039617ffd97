"""Print a plan: a table by asset, one by batch, and notes."""

from collections.abc import Iterable
from pathlib import Path

from rich.console import Console

from personahub_assets.cli.console import on_one_line, say, table
from personahub_assets.runs.forecast import FOLLOWS, Aside, Plan, Work, added
from personahub_assets.store.home import Home

_BATCHES = 40


def show(plan: Plan, console: Console) -> None:
    """Print a plan; estimates are marked with ≈."""
    assets, batches = (_grouped_work(plan.work, name) for name in ("asset", "batch"))
    if assets:
        of = f"batch {batches[0].batch}" if len(batches) == 1 else f"{len(batches)} batches"
        to = f" to {plan.model}" if len(plan.by_role) == 1 else ""
        _show_work(f"Requests of a run{to}, {of}", "asset", assets, plan.currency, console)
    if len(roles := plan.by_role) > 1:
        _show_work("By role and model", "role", roles, plan.currency, console)
    if len(batches) > 1:
        _show_work("By batch", "batch", batches[:_BATCHES], plan.currency, console)
    if len(batches) > _BATCHES:
        say(f"The first {_BATCHES} of {len(batches)} batches with requests; --json has all.", to=console)
    for line in (*_notes(plan), *_aside_lines(plan), *_reuse(plan), *plan.notes):
        say(line, to=console)
    for batch, problem in plan.problems.items():
        say(f"A run would fail at batch {batch}: {on_one_line(problem)}", to=console)


def summary(plan: Plan) -> str:
    """Summarise the plan in one line."""
    total = plan.total
    phrases = [f"{_count(total)} call{'' if total.calls == 1 else 's'}"]
    if total.seconds:
        phrases.append(duration(total.seconds))
    if total.cost is not None:
        phrases += _costs(total.cost, total.batch_cost, plan)
    return ", ".join(phrases)


def _costs(online: float, batch: float | None, plan: Plan) -> list[str]:
    """Both prices, that of the run first."""
    if not batch or not plan.has_choice:
        return [_money(online, plan.currency)]
    if plan.is_batch:
        return [f"{_money(batch, plan.currency)} by the batch API", f"or {_money(online, plan.currency)} with --online"]
    return [_money(online, plan.currency), f"or {_money(batch, plan.currency)} with --batch-api"]


def duration(seconds: float) -> str:
    """Format an estimated time.

    >>> duration(7500)
    '≈ 2.1 h'
    """
    if seconds < 90:
        return f"≈ {max(1, round(seconds))} s"
    return f"≈ {seconds / 60:.0f} min" if seconds < 5400 else f"≈ {seconds / 3600:,.1f} h"


def _show_work(title: str, first: str, rows: list[Work], currency: str, console: Console) -> None:
    total = added(rows, "all", "all")
    columns = list(_figures(total, currency))

    def line(work: Work) -> list[str]:
        figures = _figures(work, currency)
        name = f"{work.role} {work.model}" if first == "role" and work is not total else getattr(work, first)
        return [name or "all", *(figures[name] for name in columns)]

    table(
        [first, *columns],
        map(line, rows),
        right=[name for name in columns if name != "why"],
        title=title,
        total=line(total) if len(rows) > 1 else None,
        optional=["completion tokens", "prompt tokens", "why", "time"],
        to=console,
    )


def _figures(work: Work, currency: str) -> dict[str, str]:
    """Columns of the table; time and cost if they are known."""
    figures = {
        "to ask": _requests(work),
        "why": _reason_text(work),
        "calls": _count(work),
        "prompt tokens": f"≈ {work.prompt_tokens:,.0f}",
        "completion tokens": f"≈ {work.completion_tokens:,.0f}",
    }
    if work.seconds is not None:
        figures["time"] = duration(work.seconds)
    if work.cost is not None:
        figures["cost"] = _money(work.cost, currency)
    return figures


def _requests(work: Work) -> str:
    counts = [f"{work.ask:,}"] if work.ask else []
    return " + ".join([*counts, f"≈ {work.follow:,.0f}"] if work.follow else counts)


def _reason_text(work: Work) -> str:
    counts = {reason: f"{count:,}" for reason, count in work.reasons.most_common()}
    if work.follow:
        counts[FOLLOWS] = f"≈ {work.follow:,.0f}"
    return ", ".join(f"{reason} {count}" for reason, count in counts.items()) if len(counts) > 1 else "".join(counts)


def _count(work: Work) -> str:
    """Format the number of calls; exact if each request needed one call so far."""
    return f"{'' if work.is_exact else '≈ '}{work.calls:,.0f}"


def _money(cost: float, currency: str) -> str:
    return f"≈ {cost:,.2f} {currency}" if cost >= 0.01 or not cost else f"≈ {cost:.4f} {currency}"


def _notes(plan: Plan) -> Iterable[str]:
    total = plan.total
    if not total.expected:
        yield "A run makes no call."
        return
    yield f"A run makes {summary(plan)}."
    if total.follow:
        yield (
            f"{total.ask:,} requests are certain; {total.follow:,.0f} more (≈) are expected about rows that the run "
            "would write first."
        )
    asking_assets = {work.asset for work in plan.work if work.ask}
    if total.follow and (sources := asking_assets & {"text_personas", "related_personas"}):
        yield f"What {' and '.join(sorted(sources, reverse=True))} writes anew changes all that is made of it."
    if total.basis == "settings":
        names = dict.fromkeys(work.asset for work in plan.work if work.expected and work.basis == "settings")
        yield f"No answers yet of {', '.join(names)}: estimated from the schema, with one call per request."
    if total.seconds is None:
        yield "No time: this home has no measured speed yet."
    if total.cost is None:
        settings = Home(Path(plan.home)).config
        yield f"No cost: set prompt and completion in [prices] of {settings}, in money per million tokens."


def _aside_lines(plan: Plan) -> Iterable[str]:
    for aside in plan.asides:
        yield f"Without a call, {aside.batch}: {'; '.join(_aside(aside))}."


def _aside(aside: Aside) -> list[str]:
    again = " and ".join(aside.decided_again)
    counts = {
        "documents new or changed": aside.documents_new,
        "documents gone": aside.documents_gone,
        "candidates to decide about": aside.to_decide,
        "dropped ones are decided again, because the personas that they duplicate were removed": aside.coming_back,
        "items to compare": aside.items_to_compare,
        "texts to embed": aside.to_embed,
        "personas come into the hub": aside.personas_in,
        "personas leave the hub": aside.personas_out,
    }
    words = [f"the rule of the {again} stage changed, so all are decided again"] if again else []
    return words + [f"{count:,} {label}" for label, count in counts.items() if count]


def _reuse(plan: Plan) -> Iterable[str]:
    total = plan.total
    if total.reused:
        sources = ", ".join(f"{count:,} of {source}" for source, count in total.reused.most_common())
        yield f"Answers used without a call: {sources}."
    if total.quarantined:
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in total.quarantined.most_common())
        counts = {work.asset: 0 for work in plan.work if work.quarantined}
        for work in plan.work:
            if work.quarantined:
                counts[work.asset] += work.quarantined.total()
        where = ", ".join(f"{asset} {count:,}" for asset, count in counts.items())
        yield f"Quarantined, sent only with --retry: {reasons} ({where})."


def _grouped_work(work: list[Work], name: str) -> list[Work]:
    """Work with requests to send, summed by batch or by asset."""
    groups: dict[str, list[Work]] = {}
    for item in work:
        if item.expected:
            groups.setdefault(getattr(item, name), []).append(item)
    return [added(items, **{"batch": "", "asset": "", name: key}) for key, items in groups.items()]
