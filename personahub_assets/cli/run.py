"""`personahub run` and `release` on the terminal: progress bars during the run, and its report."""

import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, SpinnerColumn, TaskID, TimeElapsedColumn
from rich.table import Column

from personahub_assets.cli.console import Label, on_one_line, say, table
from personahub_assets.cli.console import progress as progress_bars
from personahub_assets.core import interrupts
from personahub_assets.core.config import STANDIN_URL, Environment
from personahub_assets.core.project_files import sql_files
from personahub_assets.hub import Hub
from personahub_assets.instance import progress
from personahub_assets.instance.faults import explain
from personahub_assets.runs.runner import Ordered, Result
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
    **bounds: Any,
) -> Result:
    """Run batches with a progress bar for each step, and print a report; see `Hub.run` for the other arguments.

    Raises:
        BatchError, ConfigError, LLMError: as `Hub.run` does.
    """
    orders: list[Ordered] = []

    def begin(order: Ordered) -> None:
        orders.append(order)
        print_selections(order, console)
        if order.reasons and not order.work:
            say(f"no rows are quarantined for {', '.join(retry or ['any reason'])}", to=console)
        if approve:
            approve(order)

    with Bars(console) as bars:
        result = hub.run(
            batches,
            select,
            retry=retry,
            approve=begin,
            personas_from=personas_from,
            listener=bars.update,
            **bounds,
        )
    store = orders[0].store
    _report(store, hub.environment, result, console)
    if "report" not in result.failed:
        _warn_of_quarantine(store, orders[0].batches, console)
    return result


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
    """Say of each dataset how many rows leave its table, because a selection leaves out their personas."""
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


class Bars:
    """One progress bar per asset and batch, from the first step on; finished ones stay visible."""

    def __init__(self, console: Console):
        self._progress = progress_bars(
            SpinnerColumn(),
            Label("{task.fields[batch]}", style="cyan"),
            Label("{task.description}"),
            BarColumn(bar_width=24),
            # In a narrow terminal the note wraps, so that numbers are not cut.
            MofNCompleteColumn(table_column=Column(no_wrap=True)),
            TimeElapsedColumn(table_column=Column(no_wrap=True)),
            Label("{task.fields[note]}", style="dim", table_column=Column()),
            to=console,
        )
        self._tasks: dict[tuple[str, str], TaskID] = {}

    def __enter__(self) -> "Bars":
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def update(self, step: progress.Step) -> None:
        """Show the progress of a step."""
        self._progress.start()  # no effect after the first call
        key = (step.batch, step.asset)
        if key not in self._tasks:
            self._tasks[key] = self._progress.add_task(step.asset, total=None, batch=step.batch, note="")
        task = self._tasks[key]
        if step.note == "done":
            self._progress.update(task, completed=step.done, total=step.done)
            self._progress.stop_task(task)
        else:
            self._progress.update(task, completed=step.done, total=step.total, note=step.note)


def _report(store: Store, environment: Environment, result: Result, console: Console) -> None:
    """Print the counts, the failures and the next commands."""
    _print_counts(store, result, console)
    say(f"{result.seconds:.1f} s. Home: {store.root}", to=console)
    if environment.llm_url == STANDIN_URL:
        say(
            "The rows were written by the stand-in, a rule-based writer. It is not a language model: "
            "they show how the hub works and are not training data.",
            style="yellow",
            to=console,
        )
    for name, reason in result.unfinished.items():
        say(f"left: {name}: {reason}", style="yellow", to=console)
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
    say("Next: ", (f"{call} sql sql/analysis/yield_per_hop.sql", "bold"), ", or ", (f"{call} ui", "bold"), to=console)


def _print_counts(store: Store, result: Result, console: Console) -> None:
    """Print the counts of the warehouse; an error here is reported with the other failures."""
    if not result.rows:
        return
    try:
        with build.reader(store) as connection:
            tokens = _token_summary(connection, store.config.prices.currency)
    except Exception as error:  # noqa: BLE001 - what failed before must be said, whatever fails here
        interrupts.check()
        result.failed.setdefault("report", explain(error, store.root))
        return
    counts = [(name, f"{count:,}") for name, count in result.rows.items()]
    table(["table", "rows"], counts, right=["rows"], title="Rows in the warehouse", to=console)
    say(tokens, to=console)


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


def shell_command(root: Path) -> str:
    """The shell shell_command that calls `personahub` for this home from the current folder."""
    home = "" if root == Path("hub").resolve() else f"PERSONAHUB_HOME={_relative_path(root)} "
    called = Path(sys.argv[0])
    by_path = called.name == "personahub" and not shutil.which("personahub")
    return home + (str(_relative_path(called.absolute())) if by_path else "personahub")


def _relative_path(path: Path) -> Path:
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def _token_summary(connection: duckdb.DuckDBPyConnection, currency: str) -> str:
    row = connection.execute(
        "SELECT count(*), count(*) FILTER (reused), coalesce(sum(attempts), 0), coalesce(sum(prompt_tokens), 0), "
        "coalesce(sum(cached_tokens), 0), coalesce(sum(completion_tokens), 0), coalesce(sum(wasted_tokens), 0), "
        "coalesce(sum(cost), 0) FROM generations"
    ).fetchone()
    assert row is not None
    requests, reused, answers, prompt, cached, completion, wasted, cost = row
    return (
        f"{requests:,} requests ({reused:,} reused) took {answers:,} answers: {prompt:,} prompt tokens "
        f"({cached:,} of them cached by the server), {completion:,} completion tokens, {wasted:,} of both wasted"
        + (f"; {cost:,.4f} {currency}" if cost else "")
    )
