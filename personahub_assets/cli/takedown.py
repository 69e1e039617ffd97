"""Takedown from the command line: the target, the confirmation and the receipt."""

import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import get_args

from rich.console import Console

from personahub_assets.cli.console import confirm, say, say_json, table
from personahub_assets.core.config import Environment
from personahub_assets.core.errors import ArgumentError, ConfigError
from personahub_assets.core.text import plain, sanitise
from personahub_assets.store.tables import Store
from personahub_assets.takedown.receipts import Effect, Receipt, Target, unfinished_takedowns
from personahub_assets.takedown.takedown import takedown

_SAYS: dict[Effect, str] = {
    "removed": "rows that go",
    "changed": "rows whose text is blanked",
    "displaced": "dropped as duplicates of removed rows: they return when their batch is run",
    "released": "rows in releases, which are not changed: withdraw them yourself",
    "outside": "lines of source files outside the home, which are not changed; they are no longer read",
    "submitted": "requests at a batch API; cancel them there, too: personahub batch-api --cancel SUBMISSION, for a "
    "whole batch before the takedown; the metadata of the provider's batch names the submission",
    "unread": "files of the inbox and releases that cannot be read, so their content is unknown",
}


_HOSTS, _COPIES = 20, 50  # shown at most


def take_down(
    environment: Environment,
    targets: Mapping[str, Sequence[str] | None],
    batch: str | None,
    reason: str | None,
    console: Console,
    *,
    dry_run: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Take down a target and print the receipt.

    Raises:
        ConfigError: if not exactly one kind of target is given, or there is no terminal to confirm on.
    """
    store = Store(home=str(environment.home)).pulled()
    _check_text([*(value for values in targets.values() for value in values or ()), batch or "", reason or ""])
    target = _target(store, targets, batch)

    def approve(receipt: Receipt) -> bool:
        if not sys.stdin.isatty():
            raise ConfigError("a takedown cannot be undone: give --yes, or --dry-run to see what would be removed")
        _show(receipt, console, done=False)
        return confirm("Take this down?")

    receipt = takedown(store, target, reason=reason, dry_run=dry_run, approve=None if yes else approve)
    if as_json:
        say_json(receipt.as_json())
    elif dry_run or receipt.finished_at:
        _show(receipt, console, done=not dry_run)
    if not as_json and (dry_run or not receipt.finished_at):
        say("nothing was changed", to=console)


def _check_text(arguments: Sequence[str]) -> None:
    for argument in arguments:
        if argument != sanitise(argument)[0]:
            raise ArgumentError(f"{argument!r} is not UTF-8 text, as ids, addresses and reasons are")


def _target(store: Store, targets: Mapping[str, Sequence[str] | None], batch: str | None) -> Target:
    chosen = {kind: tuple(values) for kind, values in targets.items() if values}
    if batch and not chosen:
        return Target("batch", (batch,))
    if len(chosen) != 1:
        names, got = " or ".join(map(_option, targets)), " and ".join(map(_option, chosen)) or "none"
        begun = "".join(
            f"; takedown {key} is not finished: run its command again" for key in unfinished_takedowns(store)
        )
        raise ArgumentError(f"give one of {names}, got {got}; --batch alone names a whole batch{begun}")
    ((kind, values),) = chosen.items()
    return Target(kind, values, batch)  # type: ignore[arg-type]


def _option(kind: str) -> str:
    return f"--{kind.replace('_', '-')}"


def _show(receipt: Receipt, console: Console, *, done: bool) -> None:
    for effect in get_args(Effect):
        if receipt.total(effect):
            _show_effect(receipt, effect, console)
    for line in (*_sites(receipt), *_copies(receipt)):
        say(line, to=console)
    key = receipt.target.takedown_id
    if done and not (receipt.total("removed") or receipt.total("changed")):
        say(f"nothing was left of it to remove. Receipt: takedown_id {key} in the table takedowns", to=console)
    elif done:
        say(f"taken down. Receipt: takedown_id {key} in the table takedowns", to=console)
        for batch in sorted({line.batch for line, _ in receipt.lines_of("displaced") if line.batch}):
            say(f"Next: personahub run --batch {batch}", to=console)
    elif not (receipt.total("removed") or receipt.total("changed")):
        say("nothing is left of it to remove", to=console)


def _sites(receipt: Receipt) -> Iterator[str]:
    """Hosts with their documents and some addresses; then hosts of the same site, which are kept."""
    sites = receipt.sites
    for host, count in sites.counts.most_common(_HOSTS):
        examples = ", ".join(plain(address) for address in sites.samples[host])
        yield f"{host}: {count:,} documents, such as {examples}"
    if len(sites.counts) > _HOSTS:
        yield f"and {len(sites.counts) - _HOSTS:,} more hosts"
    for host, count in sites.near.most_common(_HOSTS):
        yield f"{host} is another host and keeps its {count:,} documents. To remove them: --url-prefix https://{host}/"


def _copies(receipt: Receipt) -> Iterator[str]:
    for copy in receipt.copies[:_COPIES]:
        yield f"the same text is kept as {plain(copy)}: take it down too if necessary"
    if len(receipt.copies) > _COPIES:
        yield f"the same texts are kept in {len(receipt.copies) - _COPIES:,} more rows; --json lists them"


def _show_effect(receipt: Receipt, effect: Effect, console: Console) -> None:
    by_location: dict[str, Counter[str]] = {}
    for line, count in receipt.lines_of(effect):
        by_location.setdefault(line.place, Counter())[line.batch or ""] += count
    rows = [(location, _first_batches(batches), f"{batches.total():,}") for location, batches in by_location.items()]
    table(["place", "batches", "rows"], rows, right=["rows"], title=_SAYS[effect], to=console)


def _first_batches(batches: Counter[str]) -> str:
    return ", ".join(sorted(filter(None, batches))[:5]) + (" …" if len(batches) > 5 else "")
