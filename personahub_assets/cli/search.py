"""Search the hub by meaning, and choose personas that cover it."""

from collections.abc import Callable
from pathlib import Path

import polars as pl
from rich.console import Console

from personahub_assets.cli.console import OUT, index_bar, print_lines, say
from personahub_assets.cli.output_files import output_file
from personahub_assets.cli.sql import print_rows, write_bytes
from personahub_assets.core.errors import ArgumentError
from personahub_assets.hub import Hub
from personahub_assets.search import selections
from personahub_assets.store.home import Home
from personahub_assets.warehouse.result_formats import write_all


def search(
    hub: Hub,
    text: str,
    count: int,
    console: Console,
    *,
    where: str | None = None,
    form: str = "table",
    output: Path | None = None,
    safe: bool = False,
) -> None:
    """Show the personas nearest to a text, or write them to a file.

    Args:
        where: an SQL condition on the columns of `personas`.
        form: format of standard output; the name of a file determines its format.
        safe: in CSV, write cells that a spreadsheet would run as formulas as text.

    Raises:
        ConfigError: the text is empty, the condition is wrong, or the file's format is unknown.
        StoreError: there is nothing to search.
    """
    _check_target(hub.home, form, output, safe=safe)
    with index_bar(console) as watch:
        rows = hub.search(text, count, where=where, tell=_make_printer(console), watch=watch)
    _write(rows, form, output, safe=safe)


def choose(
    hub: Hub,
    text: str | None,
    count: int,
    console: Console,
    *,
    where: str | None = None,
    form: str = "table",
    output: Path | None = None,
    safe: bool = False,
) -> None:
    """Choose personas that cover the hub, or its part around a text or under a condition, and print the coverage.

    Args, Raises: as for `search`.
    """
    _check_target(hub.home, form, output, safe=safe)
    with index_bar(console) as watch:
        chosen = hub.choose(count, text, where=where, tell=_make_printer(console), watch=watch)
    _write(chosen.personas, form, output, safe=safe)
    say(
        f"{chosen.personas.height:,} of {chosen.total:,} personas. Similarity of a persona to the nearest of them: "
        f"{chosen.mean:.3f} on average, {chosen.least:.3f} at least; "
        f"of as many at random: {chosen.mean_at_random:.3f} and {chosen.least_at_random:.3f}.",
        to=console,
    )


def _make_printer(console: Console) -> Callable[[str], None]:
    return lambda message: say(message, style="yellow", to=console)


def _write(rows: pl.DataFrame, form: str, output: Path | None, *, safe: bool) -> None:
    if output:
        with output_file(output) as file:
            selections.write(file, output.suffix, rows, safe=safe)
    elif form == "table":
        shown = rows.with_columns(pl.col("similarity").round(4)) if "similarity" in rows.columns else rows
        numbers = [name for name, dtype in rows.schema.items() if dtype.is_numeric()]
        print_rows(shown.columns, shown.iter_rows(), right=numbers)
    elif form == "line":
        print_lines(rows.columns, rows.iter_rows(), OUT)
    else:
        write_bytes(write_all(rows, form, Path(), safe=safe))


def _check_target(home: Path, form: str, output: Path | None, *, safe: bool) -> None:
    if output:
        selections.check_name(output)
        Home(home).check_output(output)
    written = output.suffix.lower().removeprefix(".") if output else form
    if safe and written != "csv":
        raise ArgumentError(f"--safe is for CSV, got {written}: other formats need no escapes")
