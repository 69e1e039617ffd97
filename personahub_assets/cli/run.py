"""`personahub run` and `release` on the terminal: progress bars during the run, and its report."""

import math
import shlex
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console

from personahub_assets.cli.bars import Bars
from personahub_assets.cli.batch_api import files_to_answer, make_waiting_lines
from personahub_assets.cli.console import on_one_line, say, table
from personahub_assets.cli.online import tell_that_online
from personahub_assets.core.config import STANDIN_URL, Environment
from personahub_assets.core.object_homes import address_of
from personahub_assets.core.project_files import sql_files
from personahub_assets.generation.requests import Usage
from personahub_assets.hub import Hub
from personahub_assets.runs.runner import Ordered, Result, known_batches
from personahub_assets.runs.until import Reached, Target, run_until
from personahub_assets.search import selections
from personahub_assets.steps.datasets import leaving_rows
from personahub_assets.store.tables import Store
from personahub_assets.warehouse import build


def run_and_report(
    hub: Hub,
    batches: list[str],
    select: list[str],
    console: Console,
    *,
    retry: list[str] | None = None,
    approve: Callable[[Ordered], None] | None = None,
    personas_from: Path | None = None,
    is_round: bool = False,
    **bounds: Any,
) -> Result:
    """Run batches with a progress bar for each step, and print a report; see `Hub.run` for the other arguments.

    Args:
        is_round: whether the selection of personas was made by the program, so that it is not printed.

    Raises:
        BatchError, ConfigError, LLMError: as `Hub.run` does.
    """
    orders: list[Ordered] = []

    def begin(order: Ordered) -> None:
        orders.append(order)
        if not is_round:
            print_selections(order, console)
        if order.reasons and not order.work:
            say(f"no requests are quarantined for {', '.join(retry or ['any reason'])}", to=console)
        if approve:
            approve(order)

    with Bars(console, hub.store.config.prices.currency) as bars:
        tell_waiting = make_waiting_lines(console, bars.leave)
        result = hub.run(
            batches,
            select,
            retry=retry,
            approve=begin,
            personas_from=personas_from,
            listener=bars.update,
            on_wait=tell_waiting,
            **bounds,
        )
    store = orders[0].store
    _report(store, hub.environment, result, console)
    if "report" not in result.failed:
        _warn_of_quarantine(store, orders[0].batches, console)
        _warn_of_missing_personas(orders[0], console)
    return result


def run_until_and_report(
    hub: Hub,
    batches: list[str],
    until: str,
    console: Console,
    *,
    approve: Callable[[Ordered], None] | None = None,
    max_calls: int | None = None,
    max_cost: float | None = None,
    max_seconds: float | None = None,
) -> int:
    """Run rounds until a dataset has a number of rows, and print how far they came; see `run_and_report`.

    Args:
        until: `NAME=ROWS`.

    Returns:
        The exit code: 0 with all rows, 3 if personas or the budget do not suffice, else that of the last round.
    """
    store = hub.store
    sources = {name: each.source for name in store.catalog.names if (each := store.catalog.derivation(name))}
    target = Target.parse(until, [name for name in store.catalog.names if name not in sources], sources)
    currency = store.config.prices.currency
    reached, started = Reached(target), time.monotonic()

    def run(personas: Path) -> Result:
        return run_and_report(
            hub,
            batches,
            target.assets,
            console,
            personas_from=personas,
            is_round=True,
            batch_api=False,
            approve=approve if not reached.rounds else None,
            max_calls=None if max_calls is None else max(0, max_calls - reached.calls),
            max_cost=None if max_cost is None else max(0.0, max_cost - reached.cost),
            max_seconds=None if max_seconds is None else max(0.0, max_seconds + started - time.monotonic()),
        )

    def tell(now: Reached) -> None:
        nonlocal reached
        reached = now
        say(f"round {now.rounds + 1}: {now.rows:,} of {target.rows:,} rows; {now.left:,} requests left", to=console)

    tell_that_online(store.config, "--until")
    reached = run_until(store, target, known_batches(store, batches), run, tell)
    for line in until_lines(reached, currency):
        say(line, to=console)
    if not reached.missing:
        return 0
    return (reached.result.exit_code if reached.result else 0) or 3


def until_lines(reached: Reached, currency: str) -> list[str]:
    """How far the rounds came; with rows missing, the reason and what they would cost."""
    target = reached.target
    done = f"{target.name}: {reached.rows:,} rows of {target.rows:,}, {reached.rounds} rounds, {reached.calls:,} calls"
    if not reached.missing:
        remark = " (there were more before: none was removed)" if reached.rows > target.rows else ""
        return [f"{done}{remark}."]
    rate = reached.acceptance
    lines = [f"{done}: {reached.missing:,} rows are missing."]
    if rate:
        needed, new = math.ceil(reached.missing / rate), reached.answered - reached.before
        cost = f", about {reached.cost / new * needed:,.4f} {currency}" if reached.cost and new > 0 else ""
        lines.append(
            f"{rate:.0%} of the {reached.answered:,} requests of {target.dataset} gave a row; the rest needs about "
            f"{needed:,} more{cost}; {reached.left:,} are left."
        )
    if not reached.left:
        lines.append(
            "All personas were asked. Ingest more documents, raise related_personas.hops, or samples under "
            f"[datasets.{target.dataset}] in hub.toml."
        )
    return lines


def print_selections(order: Ordered, console: Console) -> None:
    """Print the datasets with a selection of personas; an unusable selection is found before the run.

    Raises:
        ConfigError: if a selection is unusable.
    """
    store, config = order.store, order.store.config
    files = {name: file for name in order.datasets if (file := config.dataset(name).personas_from)}
    for file in dict.fromkeys(files.values()):
        names = [name for name, selection in files.items() if selection == file]
        ids = selections.read(Path(file))
        present, total = selections.count(store, Path(file), ids)
        absent = f"; {len(ids) - present:,} of its ids are not in the hub" if present < len(ids) else ""
        say(
            f"{', '.join(names)}: only for the {present:,} of {total:,} personas that {file} names{absent}.", to=console
        )
    for line in leaving_lines(order, list(files)):
        say(line, style="yellow", to=console)
    if store.personas_from:
        say(
            "For this run only: a run without --personas-from uses all personas. To keep the selection, write "
            "personas_from under [datasets.NAME] in hub.toml.",
            to=console,
        )


def leaving_lines(order: Ordered, datasets: list[str]) -> list[str]:
    """Print for each dataset the number of rows that leave its table, because a selection omits their personas."""
    lines = []
    for name in datasets:
        batches = [batch for batch, assets in order.named if name in assets]
        leaving, total = leaving_rows(order.store, name, batches)
        if leaving:
            lines.append(
                f"{name}: {leaving:,} of {total:,} rows leave the table. Their answers are kept for "
                f"{order.store.config.generation.keep_superseded_days:g} days: a run for all personas brings them back."
            )
    return lines


def _report(store: Store, environment: Environment, result: Result, console: Console) -> None:
    """Print the counts, the failures and the next commands."""
    _print_counts(result, console)
    prices = store.config.prices
    for line in usage_lines(result.usage, prices.currency if prices.is_set else None):
        say(line, to=console)
    say(f"{result.seconds:.1f} s. Home: {address_of(store.root) or store.root}", to=console)
    if environment.llm_url == STANDIN_URL:
        say(
            "The rows were written by the stand-in, a rule-based writer. It is not a language model: "
            "they show how PersonaHub works and are not training data.",
            style="yellow",
            to=console,
        )
    for name, reason in result.unfinished.items():
        say(f"left: {name}: {reason}", style="yellow", to=console)
    for name, reason in result.waiting.items():
        say(f"waits: {name}: {reason}", style="yellow", to=console)
    for line in files_to_answer(store, result):
        say(line, to=console)
    for name, rows in result.left.items():
        say(f"left: {name}: {rows}.", style="yellow", to=console)
    for name, rows in result.rejected.items():
        say(
            f'warning: {name}: {rows}; see {shell_command(store.root)} sql "SELECT reason, detail, raw FROM quarantine '
            f"WHERE asset = '{name.partition('[')[0]}'\"",
            style="bold yellow",
            to=console,
        )
    if result.stopped:
        say(("stopped:", "bold yellow"), " ", result.stopped, to=console)
    for batch, problem in result.failed.items():
        say((f"failed: {batch}:", "bold red"), " ", on_one_line(problem), to=console)
    call = shell_command(store.root)
    if result.failed or result.stopped:
        say("Next: mend the cause, then run the same command again; received answers are kept.", to=console)
        return
    if result.waiting:
        say("Next: the same command again, later; ", (f"{call} batch-api", "bold"), " shows how far it is", to=console)
        return
    say("Next: ", (f"{call} sql sql/analysis/yield_per_hop.sql", "bold"), ", or ", (f"{call} ui", "bold"), to=console)


def _print_counts(result: Result, console: Console) -> None:
    """Print the counts of the warehouse."""
    if not result.rows:
        return
    counts = [(name, f"{count:,}") for name, count in result.rows.items()]
    table(["table", "rows"], counts, right=["rows"], title="Rows in the warehouse", to=console)


def usage_lines(usage: dict[str, Usage], currency: str | None) -> list[str]:
    """Lines about the cost of a run, and about unexpected behaviour of its server.

    Args:
        usage: by asset and batch.
        currency: of the costs; None without prices.
    """
    tallies = list(usage.values())
    return [
        *([_spent(tallies, currency)] if tallies else []),
        *(
            f"{name}: answers came from {', '.join(tally.other_models)}, not from the model that was asked."
            for name, tally in usage.items()
            if tally.other_models
        ),
        *dict.fromkeys(f"{note}." for tally in tallies for note in tally.notes),
        *(
            f"{name}: {tally.uncounted:,} answers came without token counts; they count as their bytes in the budget."
            for name, tally in usage.items()
            if tally.uncounted
        ),
    ]


def _spent(tallies: list[Usage], currency: str | None) -> str:
    """The summed cost of a run's calls."""
    usage = Usage.together(tallies)
    if not usage.calls:
        return f"This run: no call; {usage.reused:,} answers reused"
    return (
        f"This run: {usage.calls:,} calls for {usage.paid:,} requests ({usage.reused:,} more reused): "
        f"{usage.prompt_tokens:,} prompt tokens ({usage.cached_tokens:,} of them cached by the server), "
        f"{usage.completion_tokens:,} completion tokens, {usage.wasted_tokens:,} of both wasted"
        + (f"; {usage.cost:,.4f} {currency}" if currency else "; no cost, since [prices] are not set")
    )


def _warn_of_quarantine(store: Store, batches: list[str], console: Console) -> None:
    """Warn of batches of this run without a usable row."""
    if not store.paths.warehouse.exists():
        return
    with build.reader(store) as connection:
        rows = connection.execute(sql_files("checks")["documents/some_row_of_a_batch_is_usable"]).fetchall()
    for batch, quarantined, mostly in rows:
        if batch in batches:
            say(
                f"warning: batch {batch}: all its {quarantined:,} rows are in quarantine, most as {mostly}; see "
                f"{shell_command(store.root)} sql \"SELECT reason, detail FROM quarantine WHERE batch = '{batch}'\"",
                style="bold yellow",
                to=console,
            )


def _warn_of_missing_personas(order: Ordered, console: Console) -> None:
    """Warn of batches whose datasets have nothing to ask about, because the batch has no personas yet."""
    for batch, assets in order.named:
        datasets = [name for name in order.datasets if name in assets]
        if datasets and "personas" not in assets and not order.store.path("personas", batch).exists():
            say(
                f"warning: batch {batch} has no personas yet, so {', '.join(datasets)} made no row of it: "
                f"{shell_command(order.store.root)} run --batch {batch} --select +{datasets[0]}",
                style="bold yellow",
                to=console,
            )


def shell_command(root: Path) -> str:
    """The shell shell_command that calls `personahub` for this home from the current folder."""
    shown = address_of(root) or str(_relative_path(root))
    home = "" if root == Path("hub").resolve() else f"PERSONAHUB_HOME={shlex.quote(shown)} "
    called = Path(sys.argv[0])
    by_path = called.name == "personahub" and not shutil.which("personahub")
    return home + (str(_relative_path(called.absolute())) if by_path else "personahub")


def _relative_path(path: Path) -> Path:
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
