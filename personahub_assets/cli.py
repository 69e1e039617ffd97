"""The command line: `personahub ingest | run | maintain | sql | standin | doctor | ui | version`."""

import json
import os
import sys
from enum import StrEnum
from glob import escape
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape as markup

from personahub_assets.domain.errors import ConfigError, PersonaHubError
from personahub_assets.resources.config import Environment

app = typer.Typer(
    help="Turn web text into a warehouse of unique personas, and personas into synthetic data.\n\n"
    "The home is ./hub, or PERSONAHUB_HOME. The language model is PERSONAHUB_LLM_URL. Begin: personahub ingest FILE",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
err = Console(stderr=True)


_FAULTS = (
    "Seeded faults as shares of requests, such as 429=0.02,bad_schema=0.01,refusal=0.02,seed=7. Kinds: 429, 500, 503, "
    "hang, slow, reset, malformed, truncate, bad_json, bad_schema, control, surrogate, empty, whitespace, and, always "
    "for the same prompts, refusal, content_filter, 400, too_long, endless. Settings: seed, hang_s, slow_s, "
    "latency_ms, max_model_len"
)


class Format(StrEnum):
    """How `sql` writes a result."""

    table = "table"
    csv = "csv"
    json = "json"
    parquet = "parquet"


def main() -> None:
    """Run the command line; a problem of the user's is one message and exit code 1."""
    try:
        app(standalone_mode=True)
    except (PersonaHubError, OSError) as error:
        err.print("[bold red]error:[/]", end=" ")
        err.print(str(error), markup=False, highlight=False, soft_wrap=True)
        sys.exit(1)


@app.command()
def ingest(
    files: Annotated[list[str], typer.Argument(help="Paths, or hf://, https://, s3:// addresses", metavar="FILE…")],
    name: Annotated[str | None, typer.Option(help="Batch key, instead of one made of the file's name")] = None,
    text_column: Annotated[str | None, typer.Option(help="Column with the text of documents")] = None,
    persona_column: Annotated[str | None, typer.Option(help="Column with ready personas")] = None,
) -> None:
    """Register source files as batches: JSONL, CSV (also .gz, .zst) or Parquet.

    Rows with a column text, content, body, … are documents; rows with a column persona or "input persona" are personas
    already. A file of more than sources.rows_per_batch rows becomes several batches. Ingesting a file again takes up
    what changed in it; rows that were there keep their ids.
    """
    from personahub_assets.resources.inbox import register
    from personahub_assets.resources.store import Store

    if name and len(files) > 1:
        raise ConfigError(f"--name {name!r} is for one file, got {len(files)}; ingest them one by one")
    store = Store(home=str(Environment().home))
    for file in files:
        keys = register(store, file, name=name, text_column=text_column, persona_column=persona_column)
        for key in keys:
            spec = store.read("batches", key).row(0, named=True)
            source = markup(spec["source"])  # a file may be named [like this]
            err.print(f"batch [bold]{key}[/]: {spec['rows']} rows of {source}", highlight=False, soft_wrap=True)
    err.print("Next: [bold]personahub run[/]")


@app.command()
def run(
    reason: Annotated[list[str] | None, typer.Argument(help="With --retry: only rows quarantined for these")] = None,
    batch: Annotated[list[str] | None, typer.Option(help="Only this batch (may be repeated)")] = None,
    select: Annotated[
        list[str] | None,
        typer.Option(
            help="Only this asset (may be repeated); '+personas' adds what it is made of, 'tools+' what follows"
        ),
    ] = None,
    retry: Annotated[bool, typer.Option("--retry", help="Ask quarantined rows again, and nothing else")] = False,
    max_calls: Annotated[int | None, typer.Option(min=1, help="Stop cleanly after so many calls")] = None,
    max_tokens: Annotated[int | None, typer.Option(min=1, help="Stop cleanly after so many tokens")] = None,
    max_cost: Annotated[float | None, typer.Option(min=0, help="Stop cleanly after so much money ([prices])")] = None,
    max_time: Annotated[str | None, typer.Option(help="Stop cleanly after a time such as 90s, 30m or 2h")] = None,
) -> None:
    """Materialise the graph, batch by batch, then the warehouse.

    What is answered already is not asked again, so a run that was stopped, or killed, is simply run again. Runs are
    recorded in the Dagster instance of the home: see them with `personahub ui`.

    Exit code: 0 done, 1 something failed, 3 stopped by a budget or with rows left by --retry, 130 by Ctrl-C.
    """
    from personahub_assets.generation.budget import Budget, seconds_of
    from personahub_assets.runs import run_batches

    if reason and not retry:
        raise ConfigError(
            f"{' '.join(reason)!r}: reasons go with --retry (personahub run --retry refused), assets with --select"
        )
    budget = Budget(max_calls, max_tokens, max_cost, seconds_of(max_time) if max_time else None)
    try:
        result = run_batches(
            Environment(), batch or [], select or [], err, budget=budget, retry=(reason or []) if retry else None
        )
    except KeyboardInterrupt:
        err.print("stopped; every answer so far is kept, and the same command goes on from here")
        raise typer.Exit(130) from None
    raise typer.Exit(1 if result.failed else 3 if result.stopped or result.unfinished else 0)


@app.command()
def maintain() -> None:
    """Drop superseded answers that were kept long enough, and leftovers of killed runs.

    How long is said by generation.keep_superseded_days in hub.toml.

    The same as the job `maintenance` in the UI.
    """
    from personahub_assets.resources.maintenance import maintain as work
    from personahub_assets.resources.store import Store

    err.print(str(work(Store(home=str(Environment().home)))), highlight=False, soft_wrap=True)


@app.command()
def sql(
    query: Annotated[
        str | None, typer.Argument(help="A query, or a file with queries; '-' reads standard input")
    ] = None,
    form: Annotated[Format, typer.Option("--format", help="How to write the result")] = Format.table,
    output: Annotated[Path | None, typer.Option(help="Write to this file instead of standard output")] = None,
) -> None:
    """Query the warehouse, read-only; without a query, list its tables.

    Questions that people ask are ready in sql/analysis: personahub sql sql/analysis/yield_per_hop.sql
    """
    from personahub_assets.queries import answer

    answer(Environment(), query, form.value, output)


@app.command()
def standin(
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port on 127.0.0.1; 0 takes a free one")] = 8399,
    faults: Annotated[str, typer.Option(help=_FAULTS)] = "",
    latency_ms: Annotated[float, typer.Option(help="Wait so long before each answer")] = 0.0,
) -> None:
    """Serve the stand-in, a rule-based writer behind an OpenAI-compatible interface. It is not a language model.

    What it was asked is counted at /stats.
    """
    from personahub_assets.standin.server import StandinError, serve

    try:
        serve(port=port, faults=faults, latency_ms=latency_ms, ready=_say_address)
    except (StandinError, ValueError) as error:
        raise ConfigError(str(error)) from error


def _say_address(port: int) -> None:
    err.print(f"PERSONAHUB_LLM_URL=http://127.0.0.1:{port}/v1  (Ctrl-C stops it)", highlight=False, soft_wrap=True)


@app.command()
def doctor(
    canary: Annotated[bool, typer.Option(help="Ask the model one question per schema")] = True,
) -> None:
    """Check versions, disk, settings, prompts, the endpoint, its model, every schema, and the embedder."""
    from personahub_assets.doctor import examine

    raise typer.Exit(0 if examine(Environment(), err, canary=canary) else 1)


@app.command()
def ui(port: Annotated[int, typer.Option(min=1, max=65535, help="Port on 127.0.0.1")] = 3000) -> None:
    """Open the Dagster UI of the home, with its daemon (sensors, queued runs)."""
    from personahub_assets.resources import files
    from personahub_assets.resources.instance import open_instance

    home = Environment().home.expanduser().resolve()
    if escape(str(home)) != str(home):
        raise ConfigError(f"{home}: the UI would not find its settings in a path with *, ? or [; rename the folder")
    os.environ["PERSONAHUB_HOME"] = str(home)
    open_instance(home).dispose()
    err.print(f"Dagster UI: http://127.0.0.1:{port}  (home {home}; Ctrl-C stops it)", highlight=False, soft_wrap=True)
    workspace = str(files.root() / "workspace.yaml")
    arguments = ["dev", "-w", workspace, "-h", "127.0.0.1", "-p", str(port)]
    os.execv(sys.executable, [sys.executable, "-m", "dagster", *arguments])  # noqa: S606 - replaces this process


@app.command(name="version")
def show_version() -> None:
    """Print the versions of this package and of what it stands on."""
    names = ["personahub-assets", "dagster", "duckdb", "polars", "usearch", "instructor", "openai", "fastembed"]
    typer.echo(json.dumps({name: version(name) for name in names}, indent=2))


if __name__ == "__main__":
    main()
