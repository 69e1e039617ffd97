"""Running the graph without the UI: in this process, in the instance that the UI shows, with progress bars."""

import shutil
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, get_args

import dagster as dg
import duckdb
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, SpinnerColumn, TaskID, TimeElapsedColumn
from rich.table import Column

from personahub_assets.cli.console import Label, on_one_line, say, table
from personahub_assets.cli.console import progress as progress_bars
from personahub_assets.core import interrupts
from personahub_assets.core.config import STANDIN_URL, Environment
from personahub_assets.core.errors import BatchError, BudgetSpent, ConfigError, Unfinished, choices
from personahub_assets.core.project_files import sql_files
from personahub_assets.core.records import DATASETS
from personahub_assets.definitions import build
from personahub_assets.defs.batches import BATCHES, REBUILD, REFRESH
from personahub_assets.defs.releases import RELEASE
from personahub_assets.generation.budget import Budget
from personahub_assets.generation.llm import LLM, check_budget, spending
from personahub_assets.generation.recorded import ANSWERS
from personahub_assets.generation.requests import Reason
from personahub_assets.instance import progress
from personahub_assets.instance.faults import explain
from personahub_assets.instance.instance import open_instance, run_tags
from personahub_assets.search import selections
from personahub_assets.store.tables import Store
from personahub_assets.warehouse import build as warehouse

ASKING = tuple(ANSWERS)
"""Assets that ask the language model, in the order of the graph."""

_WAREHOUSE, _RELEASE = dg.AssetKey("warehouse"), dg.AssetKey("release")
_QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


@dataclass
class Result:
    """What became of a run: problems by batch, what --retry left to the next run, and why it stopped, if it did."""

    failed: dict[str, str] = field(default_factory=dict)
    unfinished: dict[str, str] = field(default_factory=dict)
    stopped: str | None = None


@dataclass(frozen=True)
class Ordered:
    """What a run shall do: batches with their assets, in its order, by which definitions of the graph."""

    store: Store
    definitions: dg.Definitions
    batches: list[str]
    work: list[tuple[str, set[dg.AssetKey]]]
    datasets: list[str]
    reasons: list[str]

    @property
    def named(self) -> list[tuple[str, set[str]]]:
        """The work, with names of assets."""
        return [(batch, {key.to_user_string() for key in assets}) for batch, assets in self.work]


def ordered(
    environment: Environment,
    batches: list[str],
    select: list[str],
    *,
    retry: list[str] | None = None,
    personas_from: Path | None = None,
) -> Ordered:
    """Find out what is meant by what was asked for; see `run_batches` for the arguments.

    Raises:
        BatchError, ConfigError: if a batch, an asset or a reason is unknown, there is no batch at all, or a file of
            personas is of no use.
    """
    home = environment.home.expanduser().resolve()
    store = Store(home=str(home))
    reasons = _reasons(retry) if retry is not None else []
    llm = LLM(url=environment.llm_url, model=environment.llm_model, retry=reasons)
    definitions = build(environment, llm)
    keys = known_batches(store, batches)
    assets = selected(definitions, select)
    datasets = [name for name in DATASETS if dg.AssetKey(name) in assets]
    if personas_from:
        store = Store(home=str(home), personas_from=_selecting(personas_from, datasets))
        definitions = build(environment, llm, store.personas_from)
    work = _quarantined(store, keys, assets, reasons) if reasons else [(key, assets) for key in keys]
    return Ordered(store, definitions, keys, work, datasets, reasons)


def run_batches(
    environment: Environment,
    batches: list[str],
    select: list[str],
    console: Console,
    *,
    budget: Budget | None = None,
    retry: list[str] | None = None,
    approve: Callable[[Ordered], None] | None = None,
    personas_from: Path | None = None,
) -> Result:
    """Materialise assets for batches, one run per batch, then the warehouse.

    Args:
        batches: batch keys; none means all registered ones.
        select: asset names, with '+' before for what they are made of and '+' behind for what follows; none means all.
        budget: bounds of all runs together.
        retry: ask only what is quarantined for these reasons (none named: for any) in partitions that have such rows.
        approve: told what will be done, before anything is; raises what is to stop it.
        personas_from: a file that names the personas that the chosen datasets are written for, in this run only.

    Raises:
        BatchError, ConfigError: if a batch, an asset or a reason is unknown, there is no batch at all, a file of
            personas is of no use, or a budget cannot be kept.
    """
    order = ordered(environment, batches, select, retry=retry, personas_from=personas_from)
    if budget:
        check_budget(budget, order.store)
    say_selections(order, console)
    if order.reasons and not order.work:
        say(f"nothing is quarantined for {', '.join(retry or ['any reason'])}", to=console)
    if approve:
        approve(order)
    result = Result()
    with open_instance(order.store.root) as instance, spending(budget or Budget()):
        instance.add_dynamic_partitions(str(BATCHES.name), [k for k in order.batches if k not in _partitions(instance)])
        started = time.perf_counter()
        _all_runs(order, instance, console, result)
        seconds = time.perf_counter() - started
    _report(order.store, environment, result, seconds, console)
    if "report" not in result.failed:
        _warn_of_quarantine(order.store, order.batches, console)
    return result


def run_release(environment: Environment, config: dict[str, Any], console: Console) -> None:
    """Make a release, as a run that the UI shows.

    Args:
        config: as `defs.releases.ReleaseConfig` has it.

    Raises:
        BatchError: if there is no batch at all.
        ConfigError: if the name is taken, or something else that was asked for is wrong.
        StoreError: if nothing can be released.
    """
    home = environment.home.expanduser().resolve()
    known_batches(Store(home=str(home)), [])
    definitions = build(environment)
    with open_instance(home) as instance, _Bars(console) as bars, progress.listening(bars.hear):
        _execute(definitions, instance, RELEASE, {_RELEASE}, None, {"release": config})


def _reasons(wanted: list[str]) -> list[str]:
    valid = [reason for reason in get_args(Reason) if reason != "taken_down"]  # what is gone is not asked for
    unknown = [reason for reason in wanted if reason not in valid]
    if unknown:
        raise ConfigError("; ".join(f"unknown reason {choices(reason, valid)}" for reason in unknown))
    return wanted or valid


def _selecting(file: Path, datasets: list[str]) -> dict[str, str]:
    """The same selection for all datasets of a run.

    Raises:
        ConfigError: if there are none, or the file is of no use.
    """
    if not datasets:
        raise ConfigError(f"--personas-from {file} is for datasets, and none is selected: {', '.join(DATASETS)}")
    path = file.expanduser().resolve()
    selections.read(path)
    return dict.fromkeys(datasets, str(path))


def say_selections(order: Ordered, console: Console) -> None:
    """Say which datasets are not for all personas; a selection that is of no use is found before anything runs.

    Raises:
        ConfigError: if one is.
    """
    store, config = order.store, order.store.config
    files = {name: file for name in order.datasets if (file := config.dataset(name).personas_from)}
    for file in dict.fromkeys(files.values()):
        names = [name for name, other in files.items() if other == file]
        ids = selections.read(Path(file))
        known, total = selections.count(store, Path(file), ids)
        rest = f"; {len(ids) - known:,} that it names are not in the hub" if known < len(ids) else ""
        say(f"{', '.join(names)}: only for the {known:,} of {total:,} personas that {file} names{rest}.", to=console)
    if store.personas_from:
        say(
            "In this run only: the next one without --personas-from asks for the others too. To keep it, write "
            "personas_from under [datasets.NAME] in hub.toml.",
            to=console,
        )


def _quarantined(
    store: Store, keys: list[str], assets: set[dg.AssetKey], reasons: list[str]
) -> list[tuple[str, set[dg.AssetKey]]]:
    """Partitions with quarantined rows of these reasons, each for a run of its own."""
    found = []
    for key in keys:
        for name in ASKING:
            rows = store.read("quarantine", key, name, columns=["reason"]) if dg.AssetKey(name) in assets else None
            if rows is not None and rows["reason"].is_in(reasons).any():
                found.append((key, {dg.AssetKey(name)}))
    return found


def _partitions(instance: dg.DagsterInstance) -> set[str]:
    return set(instance.get_dynamic_partitions(str(BATCHES.name)))


def known_batches(store: Store, wanted: list[str]) -> list[str]:
    """The batches that are wanted, or all.

    Raises:
        BatchError: if one is unknown, or there is none at all.
    """
    known = store.batches()
    if not known:
        raise BatchError(f"{store.root} has no batches yet; register a source file first: personahub ingest FILE")
    unknown = [key for key in wanted if key not in known]
    if unknown:
        raise BatchError("; ".join(f"unknown batch {choices(key, known)}" for key in unknown))
    return wanted or known


def selected(definitions: dg.Definitions, select: list[str]) -> set[dg.AssetKey]:
    """The assets that are wanted, with what they are made of and what follows where that is asked for; or all.

    Raises:
        ConfigError: if one is unknown.
    """
    graph = definitions.resolve_asset_graph()
    if any(item.strip("+") == "release" for item in select):
        raise ConfigError("a release is made on purpose, under a name of its own: personahub release NAME")
    # A refresh never makes a release, though it follows from what is refreshed.
    keys = set(graph.get_all_asset_keys()) - {_RELEASE}
    every = {key.to_user_string() for key in keys}
    unknown = [name for item in select if (name := item.strip("+")) not in every]
    if unknown:
        raise ConfigError("; ".join(f"unknown asset {choices(name, sorted(every))}" for name in unknown))
    chosen = [_selection(item).resolve(graph) for item in select]
    return set().union(*chosen) & keys if chosen else keys


def _selection(item: str) -> dg.AssetSelection:
    """`tools`, `+tools` with all it is made of, `tools+` with all that follows."""
    one = dg.AssetSelection.assets(item.strip("+"))
    above = one.upstream() if item.startswith("+") else one
    return above | one.downstream() if item.endswith("+") else above


def _all_runs(order: Ordered, instance: dg.DagsterInstance, console: Console, result: Result) -> None:
    definitions, home = order.definitions, order.store.root
    work = [(key, assets - {_WAREHOUSE}) for key, assets in order.work]
    with _Bars(console) as bars, progress.listening(bars.hear):
        for place, (key, assets) in enumerate(work):
            if assets:
                name = key if len(assets) > 1 else f"{key}: {min(assets).to_user_string()}"
                _attempt(result, name, home, partial(_execute, definitions, instance, REFRESH, assets, key))
            if result.stopped:
                later = list(dict.fromkeys(name for name, _ in work[place + 1 :]))
                result.stopped += f" Not begun: {', '.join(later)}." if later else ""
                break
        # Whoever changed the store rebuilds the warehouse over it; it is skipped inside if nothing changed.
        _attempt(result, "warehouse", home, partial(_execute, definitions, instance, REBUILD, {_WAREHOUSE}, None))


def _attempt(result: Result, name: str, home: Path, work: Callable[[], None]) -> None:
    """Note what fails, in one line, and go on with the rest.

    Raises:
        KeyboardInterrupt: on Ctrl-C, also where something else was made of it.
    """
    interrupts.check()
    try:
        work()
    except BudgetSpent as spent:
        result.stopped = f"{spent}."
    except Unfinished as rest:
        result.unfinished[name] = f"{rest}."
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001 - one batch's fault, of whatever type, must not stop the others
        interrupts.check()
        result.failed[name] = explain(error, home)
    interrupts.check()


def _execute(
    definitions: dg.Definitions,
    instance: dg.DagsterInstance,
    job: str,
    assets: set[dg.AssetKey],
    batch: str | None,
    config: dict[str, Any] | None = None,
) -> None:
    """Execute one run in this process; what its assets raise comes out as it is.

    Args:
        config: of the assets, by their names.

    Raises:
        KeyboardInterrupt: on Ctrl-C; the run is closed in the instance.
    """
    try:
        definitions.resolve_job_def(job).execute_in_process(
            instance=instance,
            partition_key=batch,
            asset_selection=sorted(assets, key=str),
            run_config={**_QUIET, "ops": {name: {"config": given} for name, given in (config or {}).items()}},
            tags=run_tags(),
        )
    except dg.DagsterExecutionInterruptedError as error:
        raise KeyboardInterrupt from error
    except Exception as error:
        # Dagster's error, whose cause is this one: who follows causes and contexts would go round for ever.
        error.__context__ = None
        raise


class _Bars:
    """One progress bar per asset and batch, finished ones staying in view."""

    def __init__(self, console: Console):
        self._progress = progress_bars(
            SpinnerColumn(),
            Label("{task.fields[batch]}", style="cyan"),
            Label("{task.description}"),
            BarColumn(bar_width=24),
            # In a narrow terminal the note is wrapped; numbers are not cut.
            MofNCompleteColumn(table_column=Column(no_wrap=True)),
            TimeElapsedColumn(table_column=Column(no_wrap=True)),
            Label("{task.fields[note]}", style="dim", table_column=Column()),
            to=console,
        )
        self._tasks: dict[tuple[str, str], TaskID] = {}

    def __enter__(self) -> "_Bars":
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def hear(self, step: progress.Step) -> None:
        """Show how far a step is."""
        key = (step.batch, step.asset)
        if key not in self._tasks:
            self._tasks[key] = self._progress.add_task(step.asset, total=None, batch=step.batch, note="")
        task = self._tasks[key]
        if step.note == "done":
            self._progress.update(task, completed=step.done, total=step.done)
            self._progress.stop_task(task)
        else:
            self._progress.update(task, completed=step.done, total=step.total, note=step.note)


def _report(store: Store, environment: Environment, result: Result, seconds: float, console: Console) -> None:
    """Say what there is now, what failed, and where to look next."""
    _say_counts(store, result, console)
    say(f"{seconds:.1f} s. Home: {store.root}", to=console)
    if environment.llm_url == STANDIN_URL:
        say(
            "The rows were written by the stand-in, a rule-based writer. It is not a language model: "
            "they show how the hub works and are no training data.",
            style="yellow",
            to=console,
        )
    for name, rest in result.unfinished.items():
        say(f"left: {name}: {rest}", style="yellow", to=console)
    if result.stopped:
        say(("stopped:", "bold yellow"), " ", result.stopped, to=console)
    for batch, problem in result.failed.items():
        say((f"failed: {batch}:", "bold red"), " ", on_one_line(problem), to=console)
    call = command(store.root)
    say("Next: ", (f"{call} sql sql/analysis/yield_per_hop.sql", "bold"), ", or ", (f"{call} ui", "bold"), to=console)


def _say_counts(store: Store, result: Result, console: Console) -> None:
    """Count what is in the warehouse; where that fails it is one more thing that failed, and hides no other."""
    if not warehouse.path(store).exists():
        return
    try:
        with warehouse.reader(store) as connection:
            counts, tokens = _counts(connection), _tokens(connection, store.config.prices.currency)
    except Exception as error:  # noqa: BLE001 - what failed before must be said, whatever fails here
        interrupts.check()
        result.failed.setdefault("report", explain(error, store.root))
        return
    table(["table", "rows"], counts, right=["rows"], title="Rows in the warehouse", to=console)
    say(tokens, to=console)


def _warn_of_quarantine(store: Store, batches: list[str], console: Console) -> None:
    """Warn of batches of this run of which no row could be used."""
    if not warehouse.path(store).exists():
        return
    with warehouse.reader(store) as connection:
        rows = connection.execute(sql_files("checks")["documents/some_row_of_a_batch_is_usable"]).fetchall()
    for batch, quarantined, mostly in rows:
        if batch in batches:
            say(
                f"warning: batch {batch}: all of its {quarantined:,} rows are in quarantine, most as {mostly}; see "
                f"{command(store.root)} sql \"SELECT reason, detail FROM quarantine WHERE batch = '{batch}'\"",
                style="bold yellow",
                to=console,
            )


def command(root: Path) -> str:
    """How to call the command line for this home from here, as it can be pasted."""
    home = "" if root == Path("hub").resolve() else f"PERSONAHUB_HOME={_from_here(root)} "
    called = Path(sys.argv[0])
    by_path = called.name == "personahub" and not shutil.which("personahub")
    return home + (str(_from_here(called.absolute())) if by_path else "personahub")


def _from_here(path: Path) -> Path:
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def _counts(connection: duckdb.DuckDBPyConnection) -> list[tuple[str, str]]:
    return [(name, f"{_count(connection, name):,}") for name in _in_order()]


def _count(connection: duckdb.DuckDBPyConnection, name: str) -> int:
    (total,) = connection.execute(f'SELECT count(*) FROM "{name}"').fetchone() or (0,)
    return int(total)


def _in_order() -> Iterable[str]:
    first = ["batches", "documents", "text_personas", "related_personas", "lexical_duplicates", "semantic_duplicates"]
    return [*first, "personas", *DATASETS, "generations", "quarantine"]


def _tokens(connection: duckdb.DuckDBPyConnection, currency: str) -> str:
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
