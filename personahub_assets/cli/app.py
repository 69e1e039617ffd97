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

from personahub_assets.cli.console import ERR, OUT, close_output, fail, print_warnings, say, say_json, say_text
from personahub_assets.core import interrupts
from personahub_assets.core.addresses import public
from personahub_assets.core.errors import ArgumentError, BatchError, ConfigError, PersonaHubError, SourceError
from personahub_assets.instance.ports import BROWSE_PORT

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
    # With markup, text in brackets would be missing in the help.
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120},
)


_FAULTS = (
    "Seeded faults as shares of requests, with settings, such as 429=0.02,bad_schema=0.01,think=0.1,seed=7; `help` "
    "lists all of them"
)


_WHERE = (
    "SQL condition on the rows, such as 'hop <= 1', for all configs, or for one: 'tools: length(text) > 100' "
    "(repeatable; all must hold)"
)


_SAFE = "Make CSV safe for spreadsheets: put an apostrophe before texts that look like formulas"


def _environment() -> "Environment":
    from personahub_assets.core.config import Environment, check_variables  # slower than printing the help

    check_variables()
    return Environment()


def _pulled_home() -> Path:
    from personahub_assets.store.tables import Store

    return Store(home=str(_environment().home)).pulled().root


def _hub() -> "Hub":
    from personahub_assets.core.config import check_variables
    from personahub_assets.hub import Hub

    check_variables()
    return Hub()


class Format(StrEnum):
    """Output formats of `sql`; line has one field per line."""

    table = "table"
    line = "line"
    csv = "csv"
    json = "json"
    parquet = "parquet"


WRONG_ARGUMENT = 2
"""Exit code for arguments that are wrong by themselves; Typer uses the same."""

_ASKING = ("run", "try")
_WRITING = (*_ASKING, "ingest", "release", "maintain", "new")


def main() -> None:
    """Run the command line and exit with its code."""
    sys.exit(call())


def call() -> int:
    """Run the command; any error is printed as one line with an exit code, never as a traceback."""
    try:
        with interrupts.recorded(), print_warnings():
            code = _exit_code() or _push()
            if interrupts.is_interrupted():
                code = interrupts.CODE
    except KeyboardInterrupt:  # again, while the first one was handled
        code = interrupts.CODE
    if code == interrupts.CODE:
        kept = "; all answers so far are kept, and the same command continues" if _verb() in _ASKING else ""
        say(f"stopped{kept}")
    return code


def _verb() -> str:
    return next((argument for argument in sys.argv[1:] if not argument.startswith("-")), "")


def _push() -> int:
    """Write what a command has changed in a home on object storage; return the exit code."""
    from personahub_assets.core.object_homes import is_address  # faster than reading all variables

    if _verb() not in _WRITING or not is_address(os.environ.get("PERSONAHUB_HOME", "")):
        return 0
    from personahub_assets.store.working_copy import WorkingCopy

    copy = WorkingCopy.at(_environment().home)
    assert copy is not None
    try:
        copy.push()
    except PersonaHubError as error:
        fail(str(error))
        return 1
    return 0


def _exit_code() -> int:
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
        return _print_usage_error(error)
    except BrokenPipeError:
        return close_output()
    except BaseException as error:  # noqa: BLE001 - libraries raise what is no Exception, too
        if interrupts.is_interrupted():  # an error that a library raised at Ctrl-C
            return interrupts.CODE
        from personahub_assets.instance.faults import explain

        fail(explain(error, _home_of_failure()))
        return WRONG_ARGUMENT if isinstance(error, ArgumentError) else 1


def _home_of_failure() -> Path:
    """The folder of the home, for the traceback and the secrets of a failure, whatever is wrong with the settings."""
    try:
        return _environment().home
    except Exception:  # noqa: BLE001 - it is what failed, or comes on top of it
        return Path(os.environ.get("PERSONAHUB_HOME", "hub"))


def _check_arguments(arguments: list[str]) -> None:
    """Refuse empty arguments: an unset variable must not remove a bound or name the current folder.

    Raises:
        ArgumentError: naming the option or the argument.
    """
    for index, argument in enumerate(arguments):
        option, equals, value = argument.partition("=")
        if not argument or (equals and not value and re.fullmatch("--[a-z-]+", option)):
            last = arguments[index - 1] if index else ""
            name = option or (last if last.startswith("-") else f"argument {index + 1}")
            raise ArgumentError(f"{name} is empty: give a value, or leave it out (is a variable not set?)")


def _print_usage_error(error: TyperException) -> int:
    """Print the fault of the arguments."""
    context = getattr(error, "ctx", None)
    if type(error).__name__ == "NoArgsIsHelpError":
        say_text(error.format_message())
    else:
        if context is not None:
            say_text(context.get_usage())
        fail(error.format_message().rstrip(".") + (f". See: {context.command_path} --help" if context else ""))
    return error.exit_code


class _Ingest(TyperCommand):
    """A command whose help ends with the formats of source files; they are imported only for the help."""

    def format_epilog(self, ctx: typer.Context, formatter: Any) -> None:  # type: ignore[override]  # noqa: ARG002
        """Write the formats below the options."""
        from personahub_assets.sources.reader import VALID

        formatter.write_paragraph()
        formatter.write_text(f"Source files are: {VALID}")


@app.command(cls=_Ingest)
def ingest(
    files: Annotated[
        list[str] | None,
        typer.Argument(help="Files, folders, patterns, or hf://, https://, s3:// addresses", metavar="FILE…"),
    ] = None,
    name: Annotated[str | None, typer.Option(help="Batch key (default: from the file name)")] = None,
    text_column: Annotated[str | None, typer.Option(help="Column with the text of documents")] = None,
    persona_column: Annotated[str | None, typer.Option(help="Column with personas")] = None,
    generations: Annotated[
        bool, typer.Option("--generations", help="The files are recorded answers of another home, for reuse here")
    ] = False,
    remove: Annotated[
        str | None, typer.Option(help="Unregister this batch; only if it has no results", metavar="KEY")
    ] = None,
) -> None:
    """Register source files as batches.

    Rows with a column text, content, body, … are documents; rows with a column persona or "input persona" are personas
    already; other columns are kept as attributes. A file of more than sources.rows_per_batch rows becomes several
    batches. Ingest a file again to update it; unchanged rows keep their ids.

    With --generations: files of the table generations, or homes. Requests with a recorded answer are not sent and need
    no endpoint.

    With --remove KEY: unregister a batch without results, including all slices of its file. To remove a batch with
    results: personahub takedown --batch KEY.
    """
    from personahub_assets.store.tables import Store

    store = Store(home=str(_environment().home)).pulled()
    if remove is not None:
        if files or generations or name or text_column or persona_column:
            raise ArgumentError(f"--remove {remove} cannot be combined with files and other options")
        _unregister(store, remove)
        return
    if not files:
        raise ArgumentError("nothing to ingest: name a file, such as personahub ingest pages.jsonl")
    if generations:
        if name or text_column or persona_column:
            raise ArgumentError("--generations cannot be combined with --name, --text-column, --persona-column")
        _import_answers(store, files)
    else:
        _register(store, files, name, text_column=text_column, persona_column=persona_column)
    say("Next: ", ("personahub run", "bold"))


def _register(store: "Store", arguments: list[str], name: str | None, **options: str | None) -> None:
    from personahub_assets.core.text import check_batch_key
    from personahub_assets.sources.source_paths import expand, name_files

    try:
        check_batch_key(name or "any")
    except BatchError as error:
        raise ArgumentError(str(error)) from error
    expanded, failed = expand(store, arguments), list[str]()
    files = expanded.files
    if name and len(files) > 1:
        raise ArgumentError(f"--name {name!r} is for one file, got {len(files)}; ingest them one by one")
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
        say(f"{len(expanded.unknown):,} left out, of unknown format: {name_files(expanded.unknown)}")
    if failed:
        raise SourceError("; ".join(failed))


def _register_file(store: "Store", address: str, **options: str | None) -> None:
    from personahub_assets.sources.register import describe_reading, register

    keys = register(store, address, **options)
    for key in keys:
        spec = store.read("batches", key).row(0, named=True)
        say("batch ", (key, "bold"), f": {spec['rows']} rows of {spec['source']}")
        if not spec["rows"]:
            say(f"warning: {spec['source']} has no rows: there is nothing to run for this batch", style="bold yellow")
    if summary := describe_reading(store, keys[0]):
        say(summary)


def _unregister(store: "Store", key: str) -> None:
    from personahub_assets.sources.register import registered
    from personahub_assets.takedown.unregister import unregister

    source = registered(store, key)["source"]
    keys = unregister(store, key)
    say(f"{', '.join(keys)}: unregistered; {source} is kept")


def _import_answers(store: "Store", files: list[str]) -> None:
    from personahub_assets.generation.recorded import import_answers

    for file in files:
        say(f"{public(file)}: {import_answers(store, file)}")


@app.command()
def plan(
    reason: Annotated[list[str] | None, typer.Argument(help="With --retry: only rows quarantined for these")] = None,
    batch: Annotated[list[str] | None, typer.Option(help="Only this batch (repeatable)")] = None,
    select: Annotated[
        list[str] | None, typer.Option(help="Only this asset (repeatable); '+personas', 'tools+' as with run")
    ] = None,
    retry: Annotated[bool, typer.Option("--retry", help="Plan only quarantined requests")] = False,
    personas_from: Annotated[
        Path | None, typer.Option(help="Plan datasets only for the personas in this file, as with run")
    ] = None,
    at_scale: Annotated[
        str | None,
        typer.Option(
            "--scale", help="Forecast a hub of this number of personas from this home's averages", metavar="PERSONAS"
        ),
    ] = None,
    throughput: Annotated[float, typer.Option(min=1, help="--scale: completion tokens per second of a GPU")] = 2500,
    gpus: Annotated[int, typer.Option(min=1, help="--scale: number of GPUs")] = 64,
    gpu_hour: Annotated[float | None, typer.Option(min=0, help="--scale: price of a GPU-hour")] = None,
    memory: Annotated[int, typer.Option(min=1, help="--scale: GiB of memory of a machine for dedup")] = 64,
    as_json: Annotated[bool, typer.Option("--json", help="Write JSON, as docs/plan.md describes it")] = False,
) -> None:
    """Show which requests `personahub run` would send and why, with calls, tokens, time and cost.

    Sends no request and changes nothing. Requests about existing rows are counted exactly. Requests about rows that the
    run writes first are estimated from this home and marked with ≈.

    Exit code: 0, or 1 if a run would fail at a batch.
    """
    from personahub_assets.cli.confirm import show_progress
    from personahub_assets.cli.plan import show
    from personahub_assets.cli.run import print_selections
    from personahub_assets.cli.scale import count_of, show_scale

    if at_scale is not None:
        if batch or select or retry or personas_from:
            raise typer.BadParameter("--scale is about the whole home: leave out batches, assets and --retry")
        scaled = _hub().scale(
            count_of(at_scale), throughput=throughput, gpus=gpus, gpu_hour=gpu_hour, memory_gib=memory
        )
        if as_json:
            say_json(scaled.as_json())
        else:
            show_scale(scaled, OUT)
        return
    with show_progress(ERR) as watch:
        forecast = _hub().plan(
            batch or [],
            select or [],
            retry=_retry_reasons(reason, "plan", retry=retry),
            personas_from=personas_from,
            approve=lambda order: print_selections(order, ERR),
            watch=watch,
        )
    if as_json:
        say_json(forecast.as_json())
    else:
        show(forecast, OUT)
    raise typer.Exit(1 if forecast.problems else 0)


@app.command()
def run(
    reason: Annotated[list[str] | None, typer.Argument(help="With --retry: only rows quarantined for these")] = None,
    batch: Annotated[list[str] | None, typer.Option(help="Only this batch (repeatable)")] = None,
    select: Annotated[
        list[str] | None,
        typer.Option(
            help="Only this asset (repeatable); '+personas' adds everything upstream, 'tools+' everything downstream"
        ),
    ] = None,
    retry: Annotated[bool, typer.Option("--retry", help="Send only quarantined requests again")] = False,
    personas_from: Annotated[
        Path | None,
        typer.Option(help="Generate datasets in this run only for the personas in this file (column persona_id)"),
    ] = None,
    max_calls: Annotated[int | None, typer.Option(min=1, help="Stop cleanly after this many calls")] = None,
    max_tokens: Annotated[int | None, typer.Option(min=1, help="Stop cleanly after this many tokens")] = None,
    max_cost: Annotated[
        float | None, typer.Option(min=0, help="Stop cleanly after this cost (needs [prices] in hub.toml)")
    ] = None,
    max_time: Annotated[str | None, typer.Option(help="Stop cleanly after a time such as 90s, 30m or 2h")] = None,
    until: Annotated[
        list[str] | None,
        typer.Option(
            help="Run in rounds until a dataset or a view, such as math_verified, has this number of rows",
            metavar="NAME=ROWS",
        ),
    ] = None,
    batch_api: Annotated[
        bool, typer.Option("--batch-api", help="Submit requests to the batch API; else as [batch_api] says")
    ] = False,
    online: Annotated[bool, typer.Option("--online", help="Ask each request online; else as [batch_api] says")] = False,
    no_wait: Annotated[
        bool, typer.Option("--no-wait", help="Do not wait for the batch API: end when all is submitted")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Skip the confirmation")] = False,
) -> None:
    """Materialise the graph, batch by batch, then the warehouse.

    Stored answers are reused. To continue a run that was stopped or killed, run it again. Runs are recorded in the
    Dagster instance of the home: see them with `personahub ui`.

    On a terminal, asks for confirmation if the run would make more than confirm_calls calls or cost more than
    confirm_cost ([run] in hub.toml): see `personahub plan`.

    With --batch-api requests are submitted as files and answered within hours, at a lower price. Ctrl-C leaves; the
    next run collects the answers and pays nothing again.

    --until math_verified=500 asks personas in rounds until a dataset or view has exactly 500 rows. If that fails, it
    prints the acceptance, the number of requests left and the cost of the rest.

    Exit code: 0 done, 1 something failed, 3 stopped by a budget, waiting for the batch API, or with rows left or
    missing, 4 done, but most rows of an asset were rejected, 130 by Ctrl-C.
    """
    from personahub_assets.cli.confirm import make_approval
    from personahub_assets.cli.run import run_and_report, run_until_and_report
    from personahub_assets.generation.budget import seconds_of

    if batch_api and online:
        raise ArgumentError("--batch-api and --online exclude each other: omit one of them")
    hub = _hub()
    approve = (
        None
        if yes or not _is_attended()
        else make_approval(hub.environment, ERR, max_calls, max_cost, has_choice=not until)
    )
    max_seconds = seconds_of(max_time) if max_time else None
    retry_reasons = _retry_reasons(reason, "run", retry=retry)
    if until:
        others = {"--select": select, "--retry": retry, "--personas-from": personas_from, "--max-tokens": max_tokens}
        others["--batch-api"] = batch_api
        if excluded := [name for name, value in others.items() if value]:
            raise ArgumentError(f"--until {until[0]} with {', '.join(excluded)}: omit one of them")
        if len(until) > 1:
            raise ArgumentError(f"--until {' --until '.join(until)}: give one, and run again for the next")
        raise typer.Exit(
            run_until_and_report(
                hub,
                batch or [],
                until[0],
                ERR,
                approve=approve,
                max_calls=max_calls,
                max_cost=max_cost,
                max_seconds=max_seconds,
            )
        )
    result = run_and_report(
        hub,
        batch or [],
        select or [],
        ERR,
        max_calls=max_calls,
        max_tokens=max_tokens,
        max_cost=max_cost,
        max_seconds=max_seconds,
        retry=retry_reasons,
        approve=approve,
        personas_from=personas_from,
        batch_api=batch_api if batch_api or online else None,
        wait=not no_wait,
    )
    raise typer.Exit(result.exit_code)


@app.command(name="batch-api")
def batch_api_(
    cancel: Annotated[
        str | None,
        typer.Option(metavar="SUBMISSION", help="Cancel one: answers that are there are used, the rest is asked again"),
    ] = None,
    forget: Annotated[
        str | None, typer.Option(metavar="SUBMISSION", help="Forget one: all its requests are submitted and paid again")
    ] = None,
    adopt: Annotated[
        str | None,
        typer.Option(
            metavar="SUBMISSION=ID",
            help="Name the provider's batch of a submission that was interrupted while it was sent",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the submissions as JSON")] = False,
) -> None:
    """List the requests that wait for a batch API, or for a program that answers files such as vllm run-batch.

    Exit code: 0, or 1 if a file with submissions is damaged; the others are listed.
    """
    from personahub_assets.cli import batch_api

    hub = _hub()
    batch_api.change(hub, cancel=cancel, forget=forget, adopt=adopt)
    raise typer.Exit(batch_api.show(hub, as_json=as_json))


@app.command(name="try")
def try_(
    task: Annotated[str, typer.Argument(help="A dataset, text_personas or related_personas", metavar="TASK")],
    count: Annotated[int, typer.Option("-n", "--count", min=1, max=100, help="Number of rows")] = 3,
    prompt: Annotated[Path | None, typer.Option(help="A prompt file instead of prompts/TASK.md")] = None,
    persona: Annotated[str | None, typer.Option(help="A persona as text, instead of rows of the home")] = None,
    ids: Annotated[
        list[str] | None,
        typer.Option("--from", help="Id of a persona, or of a document for text_personas (repeatable)", metavar="ID"),
    ] = None,
    against: Annotated[Path | None, typer.Option(help="A second prompt file, to compare with the first")] = None,
    model: Annotated[
        list[str] | None, typer.Option(help="Model instead of PERSONAHUB_LLM_MODEL; give two to compare them")
    ] = None,
    full: Annotated[bool, typer.Option("--full", help="Print long messages completely")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the rows as JSON")] = False,
) -> None:
    """Try a prompt on a few rows: the messages as sent, the answers, tokens, seconds and cost.

    Writes no row. The answers are kept, so that the next `personahub run` with the same prompt does not pay for them
    again. Without --persona and --from it takes the first rows of the home.

    Exit code: 0, or 4 if most answers were rejected.
    """
    from personahub_assets.cli.preview import try_prompt
    from personahub_assets.steps.preview import PreviewSpec
    from personahub_assets.store.tables import Store

    store = Store(home=str(_environment().home)).pulled()
    spec = PreviewSpec.of(
        store.catalog,
        task,
        prompt=prompt,
        against=against,
        count=count,
        models=tuple(model or ()),
        persona=persona,
        ids=tuple(ids or ()),
    )
    raise typer.Exit(try_prompt(_environment(), spec, full=full, as_json=as_json))


def _retry_reasons(reason: list[str] | None, command: str, *, retry: bool) -> list[str] | None:
    """Reasons of quarantined rows, empty for all; None without --retry."""
    if reason and not retry:
        raise ArgumentError(
            f"{' '.join(reason)!r}: reasons need --retry (personahub {command} --retry refused), assets with --select"
        )
    return (reason or []) if retry else None


def _is_attended() -> bool:
    """Whether a person can answer on the terminal."""
    return sys.stdin.isatty() and sys.stderr.isatty()


@app.command()
def release(
    name: Annotated[str | None, typer.Argument(help="Name of the release; without it, list the releases")] = None,
    select: Annotated[
        list[str] | None,
        typer.Option(help="Only this config: personas, a dataset, or a view such as math_verified (repeatable)"),
    ] = None,
    where: Annotated[list[str] | None, typer.Option(help=_WHERE)] = None,
    jsonl: Annotated[bool, typer.Option("--jsonl", help="Also write JSONL with the paper's field names")] = False,
    form: Annotated[
        str | None,
        typer.Option(
            "--format",
            help="Rows for training, as messages, prompt_completion, prompt, sharegpt, alpaca or preference",
        ),
    ] = None,
    license_id: Annotated[
        str | None, typer.Option("--license", help="Licence in the dataset card, such as apache-2.0")
    ] = None,
    validation: Annotated[
        float, typer.Option(help="Share of personas whose rows make a split for validation, such as 0.05")
    ] = 0.0,
    push: Annotated[
        str | None, typer.Option(metavar="OWNER/NAME", help="Upload this release to a dataset on the Hugging Face Hub")
    ] = None,
    public: Annotated[bool, typer.Option("--public", help="Create that dataset as a public one")] = False,
    verify: Annotated[
        bool, typer.Option("--verify", help="Verify the hashes of this release; without NAME, of all")
    ] = False,
    show: Annotated[bool, typer.Option("--list", help="List the releases")] = False,
) -> None:
    """Freeze personas and datasets into a folder that `datasets.load_dataset` reads, or list and verify releases.

    Items have the text of their persona beside them. A release never changes.

    Exit code of --verify: 0 unchanged, 1 changed.
    """
    from personahub_assets.cli.release import make_release, print_changes, print_releases, push_release

    making: dict[str, object] = {"--select": select, "--where": where, "--jsonl": jsonl, "--license": license_id}
    making |= {"--format": form, "--validation": validation}
    making_options = [option for option, value in making.items() if value]
    if (verify or show or push or not name) and making_options:
        raise ArgumentError(f"{', '.join(making_options)}: only for making a release (personahub release NAME)")
    if (push and (not name or verify or show)) or (public and not push):
        raise ArgumentError("--push and --public are for one release: personahub release NAME --push OWNER/NAME")
    if verify:
        raise typer.Exit(1 if print_changes(_environment(), name, ERR) else 0)
    if push and name:
        push_release(_environment(), name, push, ERR, is_public=public)
    elif show or not name:
        print_releases(_environment(), name)
    else:
        options = {"jsonl": jsonl, "format": form, "license": license_id, "validation": validation}
        make_release(_environment(), {"name": name, "select": select or [], "where": where or [], **options}, ERR)


@app.command()
def maintain() -> None:
    """Delete superseded answers after generation.keep_superseded_days, and leftovers of killed runs.

    The same as the job `maintenance` in the UI. Exit code: 0, or 1 if something could not be removed.
    """
    from personahub_assets.generation import retention
    from personahub_assets.store.tables import Store

    dropped = retention.maintain(Store(home=str(_environment().home)).pulled())
    for line in (str(dropped), *dropped.problems):
        say(line)
    raise typer.Exit(1 if dropped.left else 0)


@app.command()
def takedown(
    document: Annotated[list[str] | None, typer.Option(help="Id of a document (repeatable)")] = None,
    url_prefix: Annotated[
        list[str] | None, typer.Option(help="Documents of this site or folder, such as https://example.org/ann")
    ] = None,
    persona: Annotated[list[str] | None, typer.Option(help="Id of a persona (repeatable)")] = None,
    batch: Annotated[
        str | None, typer.Option(help="Restrict to this batch; without other targets, remove the whole batch")
    ] = None,
    reason: Annotated[
        str | None, typer.Option(help="Reason, stored in the receipt; do not quote the removed text")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Count what would be removed, and stop")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Skip the confirmation")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the receipt as JSON")] = False,
) -> None:
    """Remove documents, personas or a batch with everything derived from them, and keep them out.

    Removes rows, answers, journals, lines of source files inside the home, samples in the UI and caches. Lists releases
    and other source files, and does not change them. If it was interrupted, run it again.
    """
    from personahub_assets.cli.takedown import take_down

    targets = {"document": document, "url_prefix": url_prefix, "persona": persona}
    take_down(_environment(), targets, batch, reason, ERR, dry_run=dry_run, yes=yes, as_json=as_json)


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

    Ready questions are in sql/analysis: personahub sql sql/analysis/yield_per_hop.sql. A line `.read FILE` includes
    that file.
    """
    from personahub_assets.cli.sql import print_schema, run_query
    from personahub_assets.generation.budget import seconds_of

    if schema:
        print_schema(_hub(), query, form.value, output, safe=safe)
    else:
        seconds = seconds_of(max_time) if max_time else None
        run_query(_hub(), query, form.value, output, seconds=seconds, safe=safe)


@app.command()
def why(
    asked: Annotated[
        str, typer.Argument(help="A document, persona, item, generation or quarantined row; or batch/id", metavar="ID")
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Everything as JSON")] = False,
    full: Annotated[bool, typer.Option("--full", help="Print long texts completely, and the messages as sent")] = False,
) -> None:
    """Explain a row: its origin, the call that produced it, and whether it is in the hub.

    The same in SQL: SELECT * FROM why('ID'). Its parts: lineage('ID') and fate('ID').

    Exit code: 0, or 1 for an unknown id (similar ids are listed).
    """
    from personahub_assets.cli.why import explain

    explain(_hub(), asked, ERR, as_json=as_json, full=full)


@app.command()
def search(
    text: Annotated[str | None, typer.Argument(help="Text to search for")] = None,
    count: Annotated[int, typer.Option("-k", "--count", min=1, max=100_000, help="Number of results")] = 10,
    diverse: Annotated[
        bool, typer.Option("--diverse", help="Personas that cover the hub instead of near ones")
    ] = False,
    where: Annotated[str | None, typer.Option(help="SQL condition on the personas, such as hop = 0")] = None,
    form: Annotated[Format, typer.Option("--format", help="How to write the result")] = Format.table,
    output: Annotated[
        Path | None, typer.Option(help="Write to this file: .parquet, .jsonl, .csv, or .txt with the ids alone")
    ] = None,
    safe: Annotated[bool, typer.Option("--safe", help=_SAFE)] = False,
) -> None:
    """Find the personas nearest in meaning to a text, or, with --diverse, personas that cover the hub.

    With a text, --diverse chooses among the nearest ones, 20 for each. What --output writes is what
    `personahub run --select tools --personas-from FILE` takes. In SQL: FROM search_personas('a nurse', k := 10).
    """
    from personahub_assets.cli.search import choose, search

    if text is None and not diverse:
        raise ArgumentError("nothing to search for: give a text, or --diverse for personas that cover the hub")
    if form is Format.parquet:
        raise ArgumentError("--format parquet writes bytes: name a file instead, such as --output picks.parquet")
    if diverse:
        choose(_hub(), text, count, ERR, where=where, form=form.value, output=output, safe=safe)
    else:
        search(_hub(), text or "", count, ERR, where=where, form=form.value, output=output, safe=safe)


@app.command()
def context() -> None:
    """Print one page about the home as Markdown: batches, tables, columns, counts, commands."""
    from personahub_assets.cli.context import page

    say_text(page(_hub()).rstrip("\n"), to=OUT)


@app.command()
def mcp() -> None:
    """Serve the home to language models, read-only, by the Model Context Protocol over standard input and output.

    Tools: sql, why, plan, search, context. They run under the same guard as the commands of these names.
    """
    from personahub_assets.cli.mcp import serve

    serve(_hub())


@app.command()
def standin(
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port on 127.0.0.1; 0 takes a free one")] = 8399,
    faults: Annotated[str, typer.Option(help=_FAULTS)] = "",
    latency_ms: Annotated[float, typer.Option(help="Delay before each answer in milliseconds")] = 0.0,
) -> None:
    """Serve the stand-in, a rule-based writer behind an OpenAI-compatible interface. It is not a language model.

    Statistics of its requests are at /stats.
    """
    from personahub_assets.standin.catalogue import overview
    from personahub_assets.standin.server import StandinError, serve

    if faults == "help":
        say_text(overview(), to=OUT)
        return
    try:
        serve(port=port, faults=faults, latency_ms=latency_ms, ready=_print_address)
        raise typer.Exit(interrupts.CODE)  # it ends only by a signal
    except StandinError as error:
        raise ConfigError(str(error)) from error
    except ValueError as error:
        raise ArgumentError(str(error)) from error


def _print_address(port: int) -> None:
    say(f"PERSONAHUB_LLM_URL=http://127.0.0.1:{port}/v1  (Ctrl-C stops it)")


@app.command()
def doctor(
    canary: Annotated[bool, typer.Option(help="Send one request per schema to the model")] = True,
) -> None:
    """Check versions, disk, settings, prompts, the endpoint, its model, every schema, and the embedder."""
    from personahub_assets.cli.doctor import run_checks

    raise typer.Exit(0 if run_checks(_environment(), ERR, canary=canary) else 1)


@app.command()
def ui(
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port on 127.0.0.1")] = 3000,
    name: Annotated[
        list[str] | None,
        typer.Option(help="Also answer under this host name, such as a reverse proxy's (repeatable)"),
    ] = None,
) -> None:
    """Open the Dagster UI of the home, with its daemon (sensors, queued runs).

    It listens on this machine only and refuses requests from pages of other sites: see docs/security.md.
    """
    from personahub_assets.instance.instance import open_instance
    from personahub_assets.instance.shared import refuse_second_daemon
    from personahub_assets.instance.web_guard import check_names
    from personahub_assets.instance.web_ui import serve
    from personahub_assets.runs.preflight import check_launch

    check_names(name or [])
    refuse_second_daemon()
    home = _environment().home.expanduser().resolve()
    if escape(str(home)) != str(home):
        raise ConfigError(f"{home}: the UI would not find its settings in a path with *, ? or [; rename the folder")
    os.environ["PERSONAHUB_HOME"] = str(home)
    open_instance(home).dispose()
    where = f"Dagster UI: http://127.0.0.1:{port}  (home {home}; Ctrl-C stops it)"
    serve(port, name or [], ready=lambda: say(where), check=lambda launch: check_launch(_environment(), launch))
    raise typer.Exit(interrupts.CODE)  # it ends only by a signal


@app.command()
def browse(
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 takes a free one")] = BROWSE_PORT,
    host: Annotated[
        str, typer.Option(help="Address to listen on. There is no login: all who reach it can read")
    ] = "127.0.0.1",
    name: Annotated[
        list[str] | None,
        typer.Option(help="Also answer under this host name, such as a reverse proxy's (repeatable)"),
    ] = None,
    no_open: Annotated[bool, typer.Option("--no-open", help="Do not open the browser")] = False,
) -> None:
    """Look at the warehouse in the browser: personas, items, prompts, quarantined rows, and a map of the hub.

    The pages only read, and can be open beside a run: they show the warehouse as it was last built. They load nothing
    from other hosts.
    """
    from personahub_assets.browse.server import serve
    from personahub_assets.instance.web_guard import check_names

    check_names(name or [])
    hub = _hub()
    hub.store.paths.check_warehouse()
    serve(
        hub.environment,
        hub.store,
        host=host,
        port=port,
        names=name or [],
        ready=lambda address: say(f"{address}  (home {hub.home}, read-only; Ctrl-C stops it)"),
        open_browser=not no_open,
    )
    raise typer.Exit(interrupts.CODE)  # it ends only by a signal


new = typer.Typer(
    help="Write the files of a dataset or a prompt into the home, to edit them there.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
app.add_typer(new, name="new")


@new.command(name="dataset")
def new_dataset(
    name: Annotated[str, typer.Argument(help="Name of the table: a-z, 0-9 and _, such as recipes")],
    python: Annotated[
        bool, typer.Option("--python", help="Write a class to datasets/, instead of `fields:` in the prompt")
    ] = False,
    add: Annotated[
        Path | None,
        typer.Option(
            help="Take the dataset from this folder, such as another home or a Git checkout", metavar="FOLDER"
        ),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="With --add: skip the confirmation")] = False,
) -> None:
    """Add a dataset to the home: prompts/NAME.md, and with --python datasets/NAME.py. Existing files are kept.

    With --add, shows the files of the folder and asks before they are copied. Python code is run only from the home.
    """
    from personahub_assets.cli import new as files

    home = _pulled_home()
    if add is None:
        files.new_dataset(home, name, with_class=python)
    elif python:
        raise ArgumentError("--python and --add exclude each other: the folder has its own files")
    else:
        files.add_dataset(home, name, add.expanduser().resolve(), yes=yes, is_attended=_is_attended())


@new.command(name="prompt")
def new_prompt(
    task: Annotated[str, typer.Argument(help="A dataset of the package, text_personas or related_personas")],
) -> None:
    """Copy a prompt of the package to prompts/ in the home, where it takes the place of the package's."""
    from personahub_assets.cli import new as files

    files.new_prompt(_pulled_home(), task)


@app.command(name="version")
def show_version() -> None:
    """Print the versions of this package and its main dependencies."""
    names = ["personahub-assets", "dagster", "duckdb", "polars", "usearch", "instructor", "openai", "fastembed"]
    say_json({name: version(name) for name in names})


if __name__ == "__main__":
    main()
