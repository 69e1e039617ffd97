"""Releases from the command line: make one, list, verify and upload them."""

import time
from typing import Any

from rich.console import Console

from personahub_assets.cli.console import OUT, on_one_line, say, table
from personahub_assets.core.config import Environment
from personahub_assets.core.errors import StoreError
from personahub_assets.releases import build, folder
from personahub_assets.releases.folder import Release
from personahub_assets.releases.relations import relations
from personahub_assets.releases.spec import TRAIN, VALIDATION, ReleaseSpec, left_out_text
from personahub_assets.store.tables import Store
from personahub_assets.store.working_copy import ON_DEMAND


def make_release(environment: Environment, options: dict[str, Any], console: Console) -> None:
    """Make a release and print its content.

    Args:
        environment: names the home.
        options: the fields of `defs.releases.ReleaseConfig`.
        console: shows progress and content.

    Raises:
        ConfigError, StoreError, BatchError: as `runs.run_release` does.
    """
    store = Store(home=str(environment.home)).pulled(ON_DEMAND)
    # Before Dagster is imported, so that errors appear at once.
    order = ReleaseSpec.of(**options, relations=relations(store))
    build.rehearse(store, order)
    name = order.name
    from personahub_assets.cli.bars import Bars
    from personahub_assets.cli.run import shell_command
    from personahub_assets.runs.runner import run_release

    started = time.perf_counter()
    with Bars(console) as bars:
        run_release(environment, {key: value for key, value in options.items() if value is not None}, bars.update)
    _print_release(folder.find_release(store, name), time.perf_counter() - started, shell_command(store.root), console)


def push_release(environment: Environment, name: str, repository: str, console: Console, *, is_public: bool) -> None:
    """Upload a release to the Hugging Face Hub and print its address."""
    from personahub_assets.releases.push import push

    release = folder.find_release(Store(home=str(environment.home)).pulled(ON_DEMAND), name)
    say(f"uploads {sum(release.bytes()):,} bytes of release {name} to {repository}", to=console)
    say(push(release, repository, is_public=is_public), to=OUT)


def print_releases(environment: Environment, name: str | None) -> None:
    """List the releases, or one of them."""
    store = Store(home=str(environment.home)).pulled(ON_DEMAND)
    listed = [folder.find_release(store, name)] if name else folder.list_releases(store)
    if not listed:
        say(f"{store.paths.releases} has no releases yet", to=OUT)
        return
    headings = ["release", "made (UTC)", "rows", "of", "bytes shared", "own bytes"]
    numbers = ["rows", "bytes shared", "own bytes"]
    table(headings, [(each.name, *_row(each)) for each in listed], right=numbers, to=OUT)


def print_changes(environment: Environment, name: str | None, console: Console) -> bool:
    """Verify the hashes of releases and print the differences; return whether there are any."""
    store = Store(home=str(environment.home)).pulled(ON_DEMAND)
    faulty = False
    for each in [folder.find_release(store, name)] if name else folder.list_releases(store):
        faults = folder.verify(each)
        faulty = faulty or bool(faults)
        for fault in faults:
            say(f"{each.name}: {on_one_line(fault)}", style="red", to=console)
        if not faults:
            say(f"{each.name}: whole, {len(each.files())} files", to=console)
    return faulty


def _row(each: Release) -> list[str]:
    try:
        shared, own = each.bytes()
        created_at, rows = str(each.manifest["created_at"])[:16].replace("T", " "), sum(each.rows.values())
        return [created_at, f"{rows:,}", "\n".join(each.rows), f"{shared:,}", f"{own:,}"]
    except (StoreError, KeyError):
        return ["damaged: see --verify"]


def _splits_text(release: Release, config: str) -> str:
    if not release.manifest["validation"]:
        return ""
    splits = release.manifest["configs"][config]["splits"]
    counts = [f"{splits[split]['rows'] if split in splits else 0:,} {split}" for split in (TRAIN, VALIDATION)]
    return f" ({', '.join(counts)})"


def _print_release(release: Release, seconds: float, call: str, console: Console) -> None:
    shared, own = release.bytes()
    lines = [f"{count:>9,} {config}{_splits_text(release, config)}" for config, count in release.rows.items()]
    every = {name: entry["left_out"] for name, entry in release.manifest["configs"].items()} | release.manifest["empty"]
    lines += [f"{name}: {left_out_text(counts)}" for name, counts in every.items() if any(counts.values())]
    if empty := [name for name, counts in release.manifest["empty"].items() if not any(counts.values())]:
        lines.append(f"without rows, so not included: {', '.join(empty)}")
    lines.append(f"{seconds:.1f} s, {shared:,} bytes shared with the store, {own:,} bytes written: {release.path}")
    lines.append(
        f"Next: {call} release {release.name} --verify; read {release.path / folder.CARD} before you publish it"
    )
    for line in lines:
        say(line, to=console)
