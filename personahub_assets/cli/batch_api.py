"""`personahub batch-api`: what waits for the answers of a batch API, and the lines about it during a run."""

from collections.abc import Callable

from rich.console import Console

from personahub_assets.cli.console import OUT, say, say_json, table
from personahub_assets.core.errors import ArgumentError, StoreError
from personahub_assets.generation.batch_api import overview
from personahub_assets.generation.batch_api.overview import Standing
from personahub_assets.generation.llm import LLM
from personahub_assets.hub import Hub
from personahub_assets.runs.runner import Result
from personahub_assets.runs.waiting import batches_of
from personahub_assets.store.tables import Store


def change(hub: Hub, *, cancel: str | None, forget: str | None, adopt: str | None) -> None:
    """Cancel, forget or adopt one submission.

    Raises:
        ArgumentError: if there is no such submission, or more than one change is wanted.
        LLMError: if the server does not answer.
    """
    if sum(each is not None for each in (cancel, forget, adopt)) > 1:
        raise ArgumentError("--cancel, --forget and --adopt exclude each other")
    if cancel is not None:
        standing = overview.cancel(hub.store, LLM.of(hub.environment), cancel)
        say(f"{standing.name}: {cancel} is canceled; the next run uses its answers and asks the rest again")
    if forget is not None:
        standing = overview.forget(hub.store, forget)
        say(f"{standing.name}: {forget} is forgotten; the next run submits and pays its requests again")
    if adopt is not None:
        key, separator, batch_id = adopt.partition("=")
        if not (separator and batch_id):
            raise ArgumentError(f"--adopt {adopt}: write SUBMISSION=ID, with the id that the provider shows")
        standing = overview.adopt(hub.store, key, batch_id)
        say(f"{standing.name}: {key} is batch {batch_id}; the next run collects its answers")


def show(hub: Hub, *, as_json: bool) -> int:
    """Print the open submissions with their progress, then each ledger that cannot be read.

    Returns:
        The exit code: 1 if a ledger cannot be read.
    """
    damages = list[StoreError]()
    standings = overview.open_standings(hub.store, on_damage=damages.append)
    standings = overview.look(hub.store, LLM.of(hub.environment), standings)
    if as_json:
        say_json([each.as_json() for each in standings])
    elif standings:
        _show(standings)
    elif not damages:
        say("nothing waits for a batch API")
    for damage in damages:
        say(str(damage), style="bold red")
    return 1 if damages else 0


def _show(standings: list[Standing]) -> None:
    columns = ["submission", "asset", "batch", "status", "done", "requests", "at"]
    table(columns, map(_row, standings), right=["done", "requests"], to=OUT)
    for problem in dict.fromkeys(each.problem or each.remedy for each in standings):
        if problem:
            say(problem)


def _row(standing: Standing) -> list[str]:
    submission, progress = standing.submission, standing.progress
    status, done = (progress.status, progress.completed) if progress else (submission.state, submission.completed)
    where = str(standing.files.input(submission)) if standing.files else f"{submission.url} {submission.batch_id}"
    return [submission.key, standing.asset, standing.batch, status, f"{done:,}", f"{submission.total:,}", where]


def make_waiting_lines(console: Console, leave: Callable[[], None]) -> Callable[[list[Standing]], None]:
    """Make the callback that prints how far submissions came, when that has changed.

    Args:
        leave: called first, to end the progress of the steps that wait.
    """
    before: dict[str, str] = {}

    def tell(standings: list[Standing]) -> None:
        leave()
        for name in dict.fromkeys(each.name for each in standings):
            line = _progress_line([each for each in standings if each.name == name])
            if before.get(name) != line:
                before[name] = line
                say(f"{name}: {line}", to=console)

    return tell


def _progress_line(standings: list[Standing]) -> str:
    total = sum(each.submission.total for each in standings)
    done = sum(each.progress.completed + each.progress.failed for each in standings if each.progress)
    statuses = [each.progress.status for each in standings if each.progress]
    problems = [each.problem for each in standings if each.problem]
    words = ", ".join(dict.fromkeys([*statuses, *problems]))
    return f"{done:,} of {total:,} requests at the batch API are done ({words})"


def files_to_answer(store: Store, result: Result) -> list[str]:
    """For files of requests, the command that answers each."""
    if not result.waiting:
        return []
    return [
        f"answer them: vllm run-batch -i {each.files.input(each.submission)} -o {each.files.output(each.submission)} "
        f"--model {each.submission.model}"
        for each in overview.open_standings(store, batches_of(result.waiting))
        if each.files is not None
    ]
