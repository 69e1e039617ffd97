"""The command line: `personahub VERB`, a function for each verb."""

import os
import re
import sys
from enum import StrEnum
from glob import escape
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand
from typer.exceptions import TyperException

from personahub_assets.cli.console import ERR, OUT, close_output, fail, say, say_json, say_text, take_warnings
from personahub_assets.core import interrupts
from personahub_assets.core.addresses import public
from personahub_assets.core.errors import BatchError, ConfigError, SourceError

if TYPE_CHECKING:
    from personahub_assets.core.config import Environment
    from personahub_assets.hub import Hub
    from personahub_assets.store.tables import Store

app = typer.Typer(
    help="Turn web text into a warehouse of unique personas, and personas into synthetic data.\n\n"
    "The home is ./hub, or PERSONAHUB_HOME. The language model is PERSONAHUB_LLM_URL. Begin: personahub ingest FILE",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    # Markup would take what stands in brackets out of the help.
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120},
)


_FAULTS = (
    "Seeded faults as shares of requests, such as 429=0.02,bad_schema=0.01,refusal=0.02,seed=7. Kinds: 429, 500, 503, "
    "hang, slow, reset, malformed, truncate, bad_json, bad_schema, control, surrogate, empty, whitespace, and, always "
    "for the same prompts, refusal, content_filter, 400, too_long, endless. Settings: seed, hang_s, slow_s, "
    "latency_ms, max_model_len"
)


_WHERE = (
    "SQL condition on the rows, such as 'hop <= 1', for all configs, or for one: 'tools: length(text) > 100' "
    "(may be repeated; all must hold)"
)


_SAFE = "Of CSV: write texts that a spreadsheet would run as formulas behind an apostrophe"


def _environment() -> "Environment":
    from personahub_assets.core.config import Environment  # takes longer than a page of help

    return Environment()


def _hub() -> "Hub":
    from personahub_assets.hub import Hub

    return Hub()


class Format(StrEnum):
    """How `sql` writes a result."""

    table = "table"
    csv = "csv"
    json = "json"
    parquet = "parquet"


def main() -> None:
    """Run the command line and end with its exit code."""
    sys.exit(call())


def call() -> int:
    """Run the command that the arguments name; whatever goes wrong is one line and an exit code, never a traceback."""
    try:
        with interrupts.noted(), take_warnings():
            code = _code()
            if interrupts.is_interrupted():
                code = interrupts.CODE
    except KeyboardInterrupt:  # once more, while the first one was seen to
        code = interrupts.CODE
    if code == interrupts.CODE:
        say("stopped; every answer so far is kept, and the same command goes on from here")
    return code


def _code() -> int:
    try:
        _check_arguments(sys.argv[1:])
        code = app(standalone_mode=False)
        OUT.file.flush()
        return code or 0
    except (KeyboardInterrupt, typer.Abort):
        return interrupts.CODE
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except TyperException as error:
        return _refuse(error)
    except BrokenPipeError:
        return close_output()
    except BaseException as error:  # noqa: BLE001 - libraries raise what is no Exception, too
        if interrupts.is_interrupted():  # what a library made of Ctrl-C
            return interrupts.CODE
        from personahub_assets.instance.faults import explain

        fail(explain(error, Path(os.environ.get("PERSONAHUB_HOME", "hub"))))
        return 1


def _check_arguments(arguments: list[str]) -> None:
    """Refuse an empty argument: a variable that is not set must not take a bound away, or name the folder one is in.

    Raises:
        ConfigError: naming the option, or the place.
    """
    for place, argument in enumerate(arguments):
        option, equals, value = argument.partition("=")
        if not argument or (equals and not value and re.fullmatch("--[a-z-]+", option)):
            last = arguments[place - 1] if place else ""
            name = option or (last if last.startswith("-") else f"argument {place + 1}")
            raise ConfigError(f"{name} is empty: give a value, or leave it out (is a variable not set?)")


def _refuse(error: TyperException) -> int:
    """Say what is wrong with the arguments."""
    context = getattr(error, "ctx", None)
    if type(error).__name__ == "NoArgsIsHelpError":
        say_text(error.format_message())
    else:
        if context is not None:
            say_text(context.get_usage())
        fail(error.format_message().rstrip(".") + (f". See: {context.command_path} --help" if context else ""))
    return error.exit_code


class _Ingest(TyperCommand):
    """A command whose help ends with the formats of source files, which are imported only for it."""

    def format_epilog(self, ctx: typer.Context, formatter: Any) -> None:  # type: ignore[override]  # noqa: ARG002
        """Write what stands below the options."""
        from personahub_assets.sources.reader import VALID

        formatter.write_paragraph()
        formatter.write_text(f"Source files are: {VALID}")


@app.command(cls=_Ingest)
def ingest(
    files: Annotated[
        list[str] | None,
        typer.Argument(help="Files, folders, patterns, or hf://, https://, s3:// addresses", metavar="FILE…"),
    ] = None,
    name: Annotated[str | None, typer.Option(help="Batch key, instead of one made of the file's name")] = None,
    text_column: Annotated[str | None, typer.Option(help="Column with the text of documents")] = None,
    persona_column: Annotated[str | None, typer.Option(help="Column with ready personas")] = None,
    generations: Annotated[
        bool, typer.Option("--generations", help="The files are recorded answers of another home, to be reused here")
    ] = False,
    remove: Annotated[
        str | None, typer.Option(help="Unregister this batch, for which nothing was made yet", metavar="KEY")
    ] = None,
) -> None:
    """Register source files as batches.

    Rows with a column text, content, body, … are documents; rows with a column persona or "input persona" are personas
    already; other columns are kept as attributes. A file of more than sources.rows_per_batch rows becomes several
    batches. Ingesting a file again takes up what changed in it; rows that were there keep their ids.

    With --generations: files of the table generations, or homes. What is asked here and was answered there is not asked
    again, and needs no endpoint.

    With --remove KEY: a batch that was registered by mistake is none any more, all slices of its file included. One
    with results is removed by personahub takedown --batch KEY.
    """
    from personahub_assets.store.tables import Store

    store = Store(home=str(_environment().home))
    if remove is not None:
        if files or generations or name or text_column or persona_column:
            raise ConfigError(f"--remove {remove} goes alone, without files and other options")
        _unregister(store, remove)
        return
    if not files:
        raise ConfigError("nothing to ingest: name a file, such as personahub ingest pages.jsonl")
    if generations:
        if name or text_column or persona_column:
            raise ConfigError("--generations goes with files only, not with --name, --text-column, --persona-column")
        _plant(store, files)
    else:
        _register(store, files, name, text_column=text_column, persona_column=persona_column)
    say("Next: ", ("personahub run", "bold"))


def _register(store: "Store", arguments: list[str], name: str | None, **options: str | None) -> None:
    from personahub_assets.sources.source_paths import expand, name_files

    expanded, failed = expand(store, arguments), list[str]()
    files = expanded.files
    if name and len(files) > 1:
        raise ConfigError(f"--name {name!r} is for one file, got {len(files)}; ingest them one by one")
    for file in files:
        try:
            _register_file(store, file.address, name=name or file.key, **options)
        except (SourceError, BatchError) as error:
            if len(files) == 1:
                raise
            failed.append(str(error))
    if len(files) > 1 or expanded.unknown:
        say(f"{len(files) - len(failed):,} files registered")
    if expanded.unknown:
        say(f"{len(expanded.unknown):,} left out, of no known format: {name_files(expanded.unknown)}")
    if failed:
        raise SourceError("; ".join(failed))


def _register_file(store: "Store", address: str, **options: str | None) -> None:
    from personahub_assets.sources.register import read_as, register

    keys = register(store, address, **options)
    for key in keys:
        spec = store.read("batches", key).row(0, named=True)
        say("batch ", (key, "bold"), f": {spec['rows']} rows of {spec['source']}")
    if said := read_as(store, keys[0]):
        say(said)


def _unregister(store: "Store", key: str) -> None:
    from personahub_assets.sources.register import registered
    from personahub_assets.takedown.unregister import unregister

    source = registered(store, key)["source"]
    keys = unregister(store, key)
    say(f"{', '.join(keys)}: unregistered; {source} stays as it is")


def _plant(store: "Store", files: list[str]) -> None:
    from personahub_assets.generation.recorded import plant

    for file in files:
        say(f"{public(file)}: {plant(store, file)}")


@app.command()
def plan(
    reason: Annotated[list[str] | None, typer.Argument(help="With --retry: only rows quarantined for these")] = None,
    batch: Annotated[list[str] | None, typer.Option(help="Only this batch (may be repeated)")] = None,
    select: Annotated[
        list[str] | None, typer.Option(help="Only this asset (may be repeated); '+personas', 'tools+' as with run")
    ] = None,
    retry: Annotated[bool, typer.Option("--retry", help="Of quarantined rows, and nothing else")] = False,
    personas_from: Annotated[
        Path | None, typer.Option(help="Of datasets only for the personas that this file names, as with run")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Write JSON, as docs/plan.md describes it")] = False,
) -> None:
    """Say what `personahub run` would ask and why, how many calls and tokens, at what speed and price.

    It asks nothing and changes nothing. Requests about rows that exist are looked up one by one: so many are asked.
    What a run would write first is estimated from what this home has seen, and marked with ≈.

    Exit code: 0, or 1 if a run would fail at a batch.
    """
    from personahub_assets.cli.confirm import watching
    from personahub_assets.cli.plan import show
    from personahub_assets.cli.run import say_selections

    with watching(ERR) as watch:
        made = _hub().plan(
            batch or [],
            select or [],
            retry=_retried(reason, "plan", retry=retry),
            personas_from=personas_from,
            approve=lambda order: say_selections(order, ERR),
            watch=watch,
        )
    if as_json:
        say_json(made.as_json())
    else:
        show(made, OUT)
    raise typer.Exit(1 if made.problems else 0)


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
    personas_from: Annotated[
        Path | None,
        typer.Option(help="Write the datasets, in this run, only for the personas that this file names (persona_id)"),
    ] = None,
    max_calls: Annotated[int | None, typer.Option(min=1, help="Stop cleanly after so many calls")] = None,
    max_tokens: Annotated[int | None, typer.Option(min=1, help="Stop cleanly after so many tokens")] = None,
    max_cost: Annotated[float | None, typer.Option(min=0, help="Stop cleanly after so much money ([prices])")] = None,
    max_time: Annotated[str | None, typer.Option(help="Stop cleanly after a time such as 90s, 30m or 2h")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Begin without asking, whatever it costs")] = False,
) -> None:
    """Materialise the graph, batch by batch, then the warehouse.

    What is answered already is not asked again, so a run that was stopped, or killed, is simply run again. Runs are
    recorded in the Dagster instance of the home: see them with `personahub ui`.

    On a terminal it asks before it begins if it would cost more than [run] of hub.toml allows: see `personahub plan`.

    Exit code: 0 done, 1 something failed, 3 stopped by a budget or with rows left by --retry, 130 by Ctrl-C.
    """
    from personahub_assets.cli.confirm import consent
    from personahub_assets.cli.run import run_and_report
    from personahub_assets.generation.budget import seconds_of

    hub = _hub()
    result = run_and_report(
        hub,
        batch or [],
        select or [],
        ERR,
        max_calls=max_calls,
        max_tokens=max_tokens,
        max_cost=max_cost,
        max_seconds=seconds_of(max_time) if max_time else None,
        retry=_retried(reason, "run", retry=retry),
        approve=None if yes or not _is_attended() else consent(hub.environment, ERR, max_calls, max_cost),
        personas_from=personas_from,
    )
    raise typer.Exit(result.exit_code)


def _retried(reason: list[str] | None, command: str, *, retry: bool) -> list[str] | None:
    """Reasons of quarantined rows, none for all; None if they are not asked again."""
    if reason and not retry:
        raise ConfigError(
            f"{' '.join(reason)!r}: reasons go with --retry (personahub {command} --retry refused), assets with "
            "--select"
        )
    return (reason or []) if retry else None


def _is_attended() -> bool:
    """Whether there is somebody to ask."""
    return sys.stdin.isatty() and sys.stderr.isatty()


@app.command()
def release(
    name: Annotated[str | None, typer.Argument(help="Name of the folder below releases/; none lists them")] = None,
    select: Annotated[
        list[str] | None, typer.Option(help="Only this config: personas, or a dataset (may be repeated)")
    ] = None,
    where: Annotated[list[str] | None, typer.Option(help=_WHERE)] = None,
    jsonl: Annotated[bool, typer.Option("--jsonl", help="Also write JSONL with the paper's field names")] = False,
    license_id: Annotated[str | None, typer.Option("--license", help="For the card, such as apache-2.0")] = None,
    verify: Annotated[
        bool, typer.Option("--verify", help="Hash everything again; without NAME, of all releases")
    ] = False,
    show: Annotated[bool, typer.Option("--list", help="List the releases")] = False,
) -> None:
    """Freeze personas and datasets into a folder that `datasets.load_dataset` reads, or look after such folders.

    Files that are released as they stand are shared with the store, so they cost no space. A release never changes.

    Exit code of --verify: 0 all is as it was released, 1 something is not.
    """
    from personahub_assets.cli import release as shipping

    making = {"--select": select, "--where": where, "--jsonl": jsonl, "--license": license_id}
    given = [option for option, value in making.items() if value]
    if (verify or show or not name) and given:
        raise ConfigError(f"{', '.join(given)}: for making a release (personahub release NAME), not for looking at one")
    if verify:
        raise typer.Exit(1 if shipping.verify(_environment(), name, ERR) else 0)
    if show or not name:
        shipping.show(_environment(), name)
    else:
        shipping.make(_environment(), name, select or [], where or [], ERR, jsonl=jsonl, license_id=license_id)


@app.command()
def maintain() -> None:
    """Drop superseded answers that were kept long enough, and leftovers of killed runs.

    How long is said by generation.keep_superseded_days in hub.toml.

    The same as the job `maintenance` in the UI. Exit code: 0, or 1 if something could not be removed.
    """
    from personahub_assets.generation.retention import maintain as work
    from personahub_assets.store.tables import Store

    dropped = work(Store(home=str(_environment().home)))
    for line in (str(dropped), *dropped.problems):
        say(line)
    raise typer.Exit(1 if dropped.left else 0)


@app.command()
def takedown(
    document: Annotated[list[str] | None, typer.Option(help="Id of a document (may be repeated)")] = None,
    url_prefix: Annotated[
        list[str] | None, typer.Option(help="Documents of this site or folder, such as https://example.org/ann")
    ] = None,
    persona: Annotated[list[str] | None, typer.Option(help="Id of a persona (may be repeated)")] = None,
    batch: Annotated[str | None, typer.Option(help="Only in this batch; alone: the whole batch")] = None,
    reason: Annotated[str | None, typer.Option(help="Why; it is stored, so let it not repeat what goes")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count what would go")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the receipt as JSON")] = False,
) -> None:
    """Remove documents, personas or a batch with all that came from them, and keep them from coming back.

    Whatever the home holds of them goes: rows, answers, journals, lines of source files inside the home, samples in the
    UI, caches. Releases and source files elsewhere are listed, not changed. Run it again if it was interrupted.
    """
    from personahub_assets.cli.takedown import forget

    targets = {"document": document, "url_prefix": url_prefix, "persona": persona}
    forget(_environment(), targets, batch, reason, ERR, dry_run=dry_run, yes=yes, as_json=as_json)


@app.command()
def sql(
    query: Annotated[
        str | None,
        typer.Argument(help="A query, or a file with queries; '-' reads standard input; with --schema, a table"),
    ] = None,
    form: Annotated[Format, typer.Option("--format", help="How to write the result")] = Format.table,
    output: Annotated[Path | None, typer.Option(help="Write to this file instead of standard output")] = None,
    schema: Annotated[
        bool, typer.Option("--schema", help="Columns of all tables and views, or of one, with types and comments")
    ] = False,
    max_time: Annotated[str | None, typer.Option(help="Stop after a time such as 90s or 5m")] = None,
    safe: Annotated[bool, typer.Option("--safe", help=_SAFE)] = False,
) -> None:
    """Query the warehouse, read-only; without a query, list its tables.

    Questions that people ask are ready in sql/analysis: personahub sql sql/analysis/yield_per_hop.sql. A line
    `.read FILE` within a query stands for the text of that file.
    """
    from personahub_assets.cli.sql import answer, describe
    from personahub_assets.generation.budget import seconds_of

    if schema:
        describe(_hub(), query, form.value, output, safe=safe)
    else:
        seconds = seconds_of(max_time) if max_time else None
        answer(_hub(), query, form.value, output, seconds=seconds, safe=safe)


@app.command()
def why(
    asked: Annotated[
        str, typer.Argument(help="A document, persona, item, generation or quarantined row; or batch/id", metavar="ID")
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Everything, for scripts")] = False,
    full: Annotated[bool, typer.Option("--full", help="Long texts as they are")] = False,
) -> None:
    """Say where a row came from, which call made it, and whether it is in the hub, or where it went instead.

    The same in SQL: SELECT * FROM why('ID'). Its parts: lineage('ID') and fate('ID').

    Exit code: 0 found, 1 unknown; then ids that are like it are named.
    """
    from personahub_assets.cli.why import explain

    explain(_hub(), asked, ERR, as_json=as_json, full=full)


@app.command()
def search(
    text: Annotated[str | None, typer.Argument(help="What the personas should be near to")] = None,
    count: Annotated[int, typer.Option("-k", "--count", min=1, max=100_000, help="How many")] = 10,
    diverse: Annotated[
        bool, typer.Option("--diverse", help="Personas that cover the hub instead of near ones")
    ] = False,
    where: Annotated[str | None, typer.Option(help="Only personas under this SQL condition, such as hop = 0")] = None,
    form: Annotated[Format, typer.Option("--format", help="How to write the result")] = Format.table,
    output: Annotated[
        Path | None, typer.Option(help="Write to this file: .parquet, .jsonl, .csv, or .txt with the ids alone")
    ] = None,
    safe: Annotated[bool, typer.Option("--safe", help=_SAFE)] = False,
) -> None:
    """Find the personas nearest in meaning to a text, or, with --diverse, a few that stand for all.

    With a text, --diverse chooses among the nearest ones, 20 for each. What --output writes is what
    `personahub run --select tools --personas-from FILE` takes. In SQL: FROM search_personas('a nurse', k := 10).
    """
    from personahub_assets.cli.search import choose, search

    if text is None and not diverse:
        raise ConfigError("nothing to search for: give a text, or --diverse for personas that cover the hub")
    if form is Format.parquet:
        raise ConfigError("--format parquet writes bytes: name a file instead, such as --output picks.parquet")
    if diverse:
        choose(_hub(), text, count, ERR, where=where, form=form.value, output=output, safe=safe)
    else:
        search(_hub(), text or "", count, ERR, where=where, form=form.value, output=output, safe=safe)


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
    say(f"PERSONAHUB_LLM_URL=http://127.0.0.1:{port}/v1  (Ctrl-C stops it)")


@app.command()
def doctor(
    canary: Annotated[bool, typer.Option(help="Ask the model one question per schema")] = True,
) -> None:
    """Check versions, disk, settings, prompts, the endpoint, its model, every schema, and the embedder."""
    from personahub_assets.cli.doctor import examine

    raise typer.Exit(0 if examine(_environment(), ERR, canary=canary) else 1)


@app.command()
def ui(
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port on 127.0.0.1")] = 3000,
    name: Annotated[
        list[str] | None,
        typer.Option(help="Also answer under this host name, such as a reverse proxy's (may be repeated)"),
    ] = None,
) -> None:
    """Open the Dagster UI of the home, with its daemon (sensors, queued runs).

    It answers under the names of this machine only, and no page of another site: see docs/security.md.
    """
    from personahub_assets.instance.instance import open_instance
    from personahub_assets.instance.web_guard import check_names
    from personahub_assets.instance.web_ui import serve

    check_names(name or [])
    home = _environment().home.expanduser().resolve()
    if escape(str(home)) != str(home):
        raise ConfigError(f"{home}: the UI would not find its settings in a path with *, ? or [; rename the folder")
    os.environ["PERSONAHUB_HOME"] = str(home)
    open_instance(home).dispose()
    say(f"Dagster UI: http://127.0.0.1:{port}  (home {home}; Ctrl-C stops it)")
    serve(port, name or [])


@app.command(name="version")
def show_version() -> None:
    """Print the versions of this package and of what it stands on."""
    names = ["personahub-assets", "dagster", "duckdb", "polars", "usearch", "instructor", "openai", "fastembed"]
    say_json({name: version(name) for name in names})


if __name__ == "__main__":
    main()
