"""Metadata about the calls of an asset: counts, tokens, money, time, and the window's ramp."""

from typing import Any

import dagster as dg

from personahub_assets.defs.batches import Report
from personahub_assets.defs.metadata import charts
from personahub_assets.defs.metadata.sample import IN_PLACE
from personahub_assets.defs.metadata.svg import as_markdown, line_charts
from personahub_assets.generation.concurrency import AdaptiveConcurrency
from personahub_assets.generation.requests import Usage
from personahub_assets.steps.asked import Asked
from personahub_assets.store.tables import Store


def report(store: Store, asset: str, batch: str, asked: Asked) -> Report:
    """Report on a published partition from a language model: counts, tokens, money, pictures, then the engine."""
    asked.facts = spent(asked.tally, store.config.prices.currency) | asked.facts
    is_dataset = asset in store.catalog.names
    pictures = {
        **charts.hops(asked.facts.get("rows_per_hop", {})),
        **charts.satisfied(asked.facts.get("satisfied_by_kind", {})),
        **charts.reasons(store, asset, batch),
        **charts.lengths(store, asset, batch, "text" if is_dataset else "persona"),
        **charts.tokens(store, asset, batch),
        **(charts.word_diversity(store, asset, batch) if is_dataset else {}),
        **charts.scores(asked.facts.get("scores", {})),
        **engine(asked.tally, asked.window),
    }
    return Report(asked, pictures)


def spent(tally: Usage, currency: str) -> dict[str, Any]:
    """Metadata about calls, rejected rows, tokens, money and time."""
    facts: dict[str, Any] = {"calls": tally.calls, "answers_reused": tally.reused, "quarantined": tally.rejected}
    if tally.reasons:
        facts["quarantine_reasons"] = dict(tally.reasons)
    facts["prompt_tokens"] = tally.prompt_tokens
    facts["completion_tokens"] = tally.completion_tokens
    facts["wasted_tokens"] = tally.wasted_tokens
    if tally.cost:
        facts |= {"cost": round(tally.cost, 6), "currency": currency}
    if tally.repairs:
        facts["repairs"] = dict(tally.repairs)
    if tally.uncounted:
        facts["answers_without_usage"] = tally.uncounted
    if tally.other_models:
        facts["other_models"] = tally.other_models
    if tally.servers:
        facts["answers_by_server"] = dict(tally.servers)
    if tally.notes:
        facts["notes"] = tally.notes
    if tally.of_batch_api:  # its hours say nothing about the speed of a server
        facts["answers_of_batch_api"] = tally.of_batch_api
    elif tally.paid:
        facts |= {"rows_asked": tally.paid, "seconds_asking": round(tally.seconds, 6)}
    return facts


def engine(tally: Usage, window: AdaptiveConcurrency) -> dict[str, Any]:
    """Figures about client, server and window as long Markdown, which the UI shows behind a link."""
    if not tally.paid or tally.of_batch_api:
        return {}
    figures = _figures(tally) | (
        {"window": (window.width, "requests in flight at most, at the end")} if window.spans else {}
    )
    rows = [f"| {name} | {value} | {meaning} |" for name, (value, meaning) in figures.items()]
    text = "\n".join(["| figure | value | meaning |", "| --- | --- | --- |", *rows])
    return {"engine": dg.MetadataValue.md(f"{text}\n\n{_ramp(window)}".ljust(IN_PLACE))}


def _figures(tally: Usage) -> dict[str, tuple[float, str]]:
    seconds, rows = max(tally.seconds, 1e-9), tally.paid
    return {
        "rows_per_second": (round(rows / seconds, 1), "rows that were asked, by the time of asking"),
        "tokens_per_second": (round(tally.completion_tokens / seconds, 1), "tokens of answers"),
        "attempts_per_row": (round(tally.calls / rows, 4), "calls, retries included"),
        "cached_prompt_tokens": (tally.cached_tokens, "prompt tokens that the server had in its cache"),
        "repaired": (tally.repaired, "answers that were mended without a call"),
        "seconds_in_queue_per_row": (round(tally.queue_s / rows, 4), "waiting here for a place among the requests"),
        "seconds_in_flight_per_row": (round(tally.flight_s / rows, 4), "from sending the request to its answer"),
        "server_share": (
            round(max(0.0, 1 - tally.cpu_s / seconds), 4),
            "part of the time in which this process only waited: near 1 the server limits the run, near 0 this side",
        ),
    }


def _ramp(window: AdaptiveConcurrency) -> str:
    """Plot of the window over time."""
    if not window.spans:
        return ""
    panels: dict[str, dict[str, list[tuple[float, float]]]] = {
        "requests in flight at most": {"width": [(span.at, span.width) for span in window.spans]},
        "answers per second": {"rate": [(span.at, span.rate) for span in window.spans]},
        "seconds per answer": {"latency": [(span.at, span.latency) for span in window.spans]},
    }
    return as_markdown(line_charts(panels, title="The window follows the server", x_label="seconds"), "window ramp")
