"""What an asset that asks a language model says of its calls: counts, tokens, money, time, and the window's ramp."""

from typing import Any

from personahub_assets.defs.batches import Report
from personahub_assets.defs.metadata import charts
from personahub_assets.defs.metadata.svg import line_charts
from personahub_assets.generation.concurrency import AdaptiveConcurrency
from personahub_assets.generation.requests import Usage
from personahub_assets.steps.asked import Asked
from personahub_assets.store.tables import Store


def report(store: Store, asset: str, batch: str, asked: Asked) -> Report:
    """Report on a partition that was asked for and published: numbers first, then pictures."""
    asked.facts |= accounting(asked.tally)
    pictures = {
        **charts.hops(asked.facts.get("rows_per_hop", {})),
        **charts.tokens(store, asset, batch),
        **charts.lengths(store, asset, batch, "text" if asset in store.catalog.names else "persona"),
        **charts.reasons(store, asset, batch),
        **ramp(asked.window),
    }
    return Report(asked, pictures)


def accounting(tally: Usage) -> dict[str, Any]:
    """Metadata about calls, tokens, money and time.

    `server_share` is the part of the time in which this process had nothing to do but wait for the server: near 1 the
    server is what limits the run, near 0 it is this side.
    """
    seconds = tally.seconds
    spent: dict[str, Any] = {
        "calls": tally.calls,
        "answers_reused": tally.reused,
        "quarantined": tally.rejected,
        "repaired": tally.repaired,
        "prompt_tokens": tally.prompt_tokens,
        "cached_prompt_tokens": tally.cached_tokens,
        "completion_tokens": tally.completion_tokens,
        "wasted_tokens": tally.wasted_tokens,
        "rows_per_second": round(tally.paid / seconds, 1) if seconds else 0.0,
        "tokens_per_second": round(tally.completion_tokens / seconds, 1) if seconds else 0.0,
    }
    if tally.repairs:
        spent["repairs"] = dict(tally.repairs)
    if tally.uncounted:
        spent["answers_without_usage"] = tally.uncounted
    if tally.other_models:
        spent["other_models"] = tally.other_models
    if tally.notes:
        spent["notes"] = tally.notes
    if tally.cost:
        spent["cost"] = round(tally.cost, 6)
    if tally.paid:
        spent["rows_asked"] = tally.paid
        spent["seconds_asking"] = round(seconds, 6)
        spent["attempts_per_row"] = round(tally.calls / tally.paid, 4)
        spent["seconds_in_queue_per_row"] = round(tally.queue_s / tally.paid, 4)
        spent["seconds_in_flight_per_row"] = round(tally.flight_s / tally.paid, 4)
        spent["server_share"] = round(max(0.0, 1 - tally.cpu_s / max(seconds, 1e-9)), 4)
    return spent | ({"quarantine_reasons": dict(tally.reasons)} if tally.reasons else {})


def ramp(window: AdaptiveConcurrency) -> dict[str, Any]:
    """How the window followed the server, as a plot."""
    if not window.spans:
        return {}
    panels: dict[str, dict[str, list[tuple[float, float]]]] = {
        "requests in flight at most": {"width": [(span.at, span.width) for span in window.spans]},
        "answers per second": {"rate": [(span.at, span.rate) for span in window.spans]},
        "seconds per answer": {"latency": [(span.at, span.latency) for span in window.spans]},
    }
    chart = line_charts(panels, title="The window follows the server", x_label="seconds")
    return {"window": window.width, "window_ramp": charts.picture(chart, "window ramp")}
