"""Confirmation: an expensive run is planned first, and begins when the user confirms it."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import typer
from rich.console import Console
from rich.progress import SpinnerColumn, TimeElapsedColumn

from personahub_assets.cli.console import Label, confirm, progress, say
from personahub_assets.cli.plan import show, summary
from personahub_assets.cli.run import leaving_lines
from personahub_assets.core.config import STANDIN_URL, Environment, HubConfig
from personahub_assets.runs.forecast import Plan
from personahub_assets.runs.lookup import Watch
from personahub_assets.runs.plan import plan
from personahub_assets.runs.runner import Ordered
from personahub_assets.store.home import Home


def make_approval(
    environment: Environment,
    console: Console,
    max_calls: int | None,
    max_cost: float | None,
    *,
    has_choice: bool = True,
) -> Callable[[Ordered], None]:
    """Make the callback that asks before a run that would exceed the limits of [run] in hub.toml.

    It also asks before --personas-from takes rows out of a table.

    The answer is read from the terminal. Declining ends the command with exit code 1, before any request.

    Args:
        has_choice: whether the command can also ask the batch API, so that both prices are shown.
    """
    config = HubConfig.load(Home(environment.home.expanduser()).config)

    def ask(order: Ordered) -> None:
        # The lines are printed with the selection.
        if order.store.personas_from and leaving_lines(order, order.datasets):
            _confirm("Replace these rows?", console)
        if environment.llm_url == STANDIN_URL or not _has_bound(config):
            return
        forecast = _make_plan(environment, order, console)
        is_batch = order.llm.submits(config.batch_api)
        forecast.is_batch, forecast.has_choice = is_batch, has_choice
        if not _exceeds_limits(forecast, config, max_calls, max_cost, is_batch=is_batch):
            return
        show(forecast, console)
        _confirm(f"This run would make {summary(forecast)}. Begin?", console)

    return ask


def _confirm(question: str, console: Console) -> None:
    """Ask; without consent the command ends.

    Raises:
        typer.Exit: with code 1.
    """
    if not confirm(question):
        say("not begun; no request was sent", to=console)
        raise typer.Exit(1)


def _make_plan(environment: Environment, order: Ordered, console: Console) -> Plan:
    """Plan an order, showing progress.

    Raises:
        StoreError: if a table or a journal of the home is damaged.
    """
    with show_progress(console) as watch:
        selections = order.store.personas_from
        return plan(environment, order.named, retry=order.reasons, watch=watch, personas_from=selections)


@contextmanager
def show_progress(console: Console) -> Iterator[Watch]:
    """Show the progress of planning, on a terminal only, and remove it afterwards."""
    columns = (SpinnerColumn(), Label("planning {task.description}"), TimeElapsedColumn())
    with progress(*columns, to=console, transient=True) as bars:
        task = bars.add_task("")

        def watch(batch: str, asset: str, done: int) -> None:
            bars.update(task, description=f"{batch} {asset}: {done:,} requests looked up")

        yield watch


def _has_bound(config: HubConfig) -> bool:
    """Whether there is a limit to compare a plan with; without one no plan is made."""
    return (config.prices.is_set and config.run.confirm_cost < math.inf) or config.run.confirm_calls < math.inf


def _exceeds_limits(
    forecast: Plan, config: HubConfig, max_calls: int | None, max_cost: float | None, *, is_batch: bool
) -> bool:
    """Whether a run, limited by its budget, exceeds the limits of [run]."""
    total, bound = forecast.total, config.run
    calls = min(total.calls, math.inf if max_calls is None else max_calls)
    cost = min((total.batch_cost if is_batch else total.cost) or 0.0, math.inf if max_cost is None else max_cost)
    return cost > bound.confirm_cost or calls > bound.confirm_calls
