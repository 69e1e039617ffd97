"""Print what a hub of a planned size takes."""

import re

import typer
from rich.console import Console

from personahub_assets.cli.console import say, table
from personahub_assets.runs.scale import BATCH_ROWS, Scale, Step

_THROUGHPUTS = (0.4, 1.0, 4.0)
"""Times the given throughput, for the columns of GPU-hours."""


def show_scale(forecast: Scale, console: Console) -> None:
    """Print a forecast: calls by asset, then bytes, machines, assumptions and levers."""
    rates = [forecast.machines.throughput * times for times in _THROUGHPUTS]
    columns = ["asset", "rows", "calls", "prompt tokens", "cached", "completion tokens"]
    columns += [f"GPU-h at {rate:,.0f}/s" for rate in rates]
    if forecast.cost is not None:
        columns.append(f"cost ({forecast.currency})")

    def line(step: Step) -> list[str]:
        counts = (step.rows, step.calls, step.prompt_tokens, step.cached_tokens, step.completion_tokens)
        hours = [f"{step.gpu_hours / times:,.1f}" for times in _THROUGHPUTS]
        cost = [] if forecast.cost is None else [f"{step.cost or 0:,.2f}"]
        return [step.asset, *(short(count) for count in counts), *hours, *cost]

    table(
        columns,
        map(line, forecast.steps),
        right=columns[1:],
        title=f"{forecast.personas:,} personas, from the averages of {forecast.measured:,}",
        total=line(_total(forecast)),
        optional=["cached", "rows"],
        to=console,
    )
    for text in _lines(forecast):
        say(text, to=console)
    say("Assumptions:", to=console)
    for text in forecast.assumptions:
        say(f"- {text}", to=console)
    if forecast.levers:
        say("What would make it smaller, by the GPU-hours that it saves:", to=console)
        for number, lever in enumerate(forecast.levers, 1):
            say(f"{number}. {lever.saves:.1%}: {lever.change}", to=console)


def count_of(text: str) -> int:
    """Read a number of personas, such as 1000000, 1_000_000, 1e6 or 1M.

    Raises:
        typer.BadParameter: naming the forms.
    """
    match = re.fullmatch(r"(\d[\d_,]*(?:\.\d+)?(?:e\d{1,2})?)([kMG]?)", text.strip())
    number = float(match[1].replace("_", "").replace(",", "")) if match else 0.0
    personas = round(number * {"": 1, "k": 1e3, "M": 1e6, "G": 1e9}[match[2]]) if match else 0
    if not 1 <= personas <= 10**13:
        raise typer.BadParameter(f"{text!r} is no number of personas: write 1000000, 1_000_000, 1e6 or 1M")
    return personas


def short(count: float) -> str:
    """Format a large number.

    >>> short(1_234_567_890)
    '1.23 G'
    >>> short(950)
    '950'
    """
    for size, unit in ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e4, "k")):
        if count >= size:
            return f"{count / (1e3 if unit == 'k' else size):.3g} {unit}"
    return f"{count:,.0f}"


def _total(forecast: Scale) -> Step:
    steps = forecast.steps

    def total(name: str) -> float:
        return float(sum(getattr(step, name) for step in steps))

    tokens = (total("prompt_tokens"), total("cached_tokens"), total("completion_tokens"))
    return Step("all", total("rows"), total("calls"), *tokens, forecast.gpu_hours, forecast.cost)


def _lines(forecast: Scale) -> list[str]:
    machines = forecast.machines
    storage = sorted(forecast.storage.items(), key=lambda item: -item[1])
    largest = ", ".join(f"{name} {_size(size)}" for name, size in storage[:4])
    state = ", ".join(f"{name} {_size(size)}" for name, size in forecast.state.items())
    lines = [
        f"Documents: {short(forecast.documents)}, in {forecast.batches:,} batches of {BATCH_ROWS:,}.",
        f"Generation: {short(forecast.gpu_hours)} GPU-hours, {forecast.days:,.1f} days on {machines.gpus:,} GPUs.",
        f"Storage: {_size(sum(forecast.storage.values()))} ({largest}).",
        f"State of the stages on disk: {state}.",
        f"Memory of dedup: {_size(forecast.memory)}: {_machines(forecast)} with {_size(machines.memory)} each.",
    ]
    if forecast.rent is not None:
        lines.append(f"GPU rent: {forecast.rent:,.0f}, at {machines.gpu_hour} for each hour.")
    if forecast.cost is None:
        lines.append("No cost of tokens: set prompt and completion in [prices] of hub.toml.")
    return lines


def _machines(forecast: Scale) -> str:
    return "one machine" if forecast.shards == 1 else f"{forecast.shards:,} machines"


def _size(size: float) -> str:
    return f"{short(size)}{'' if size >= 1e4 else ' '}B"
