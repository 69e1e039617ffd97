"""Unregistering: a batch for which nothing was made yet is forgotten."""

from contextlib import ExitStack
from pathlib import Path

from personahub_assets.core.errors import BatchError
from personahub_assets.instance.instance import forget_partition
from personahub_assets.sources import reader
from personahub_assets.sources.register import drop_download, registered, results_of, source_slices
from personahub_assets.store.home import Lock
from personahub_assets.store.removal import remove
from personahub_assets.store.tables import Store


def unregister(store: Store, key: str) -> list[str]:
    """Forget a batch for which nothing was made yet, with all slices of its source file.

    A download goes with it; another source file stays where it is. The key can be used again.

    Returns:
        The keys that are forgotten.

    Raises:
        BatchError: if it is unknown, a slice, or something was made for it, naming what and the remedy.
        LockHeld: if it is being worked on.
    """
    with ExitStack() as locks:
        locks.enter_context(store.lock(Lock.BATCHES, wait=True))
        keys = source_slices(store, key)
        for batch in keys:
            locks.enter_context(store.lock(Lock.of("documents", batch), wait=False))
        results = sorted({name for batch in keys for name in results_of(store, batch)})
        if results:
            raise BatchError(
                f"batch {key!r} has results ({', '.join(results)}), so it is not only unregistered; to remove it with "
                f"all that came from it: personahub takedown --batch {key}"
            )
        spec = registered(store, key)
        for batch in reversed(keys):  # the first is the one that leads to the others
            remove(store.path("batches", batch).parent)
            forget_partition(store.root, batch)
        if reader.is_remote(spec["source"]) and Path(spec["path"]).is_relative_to(store.paths.inbox):
            drop_download(store, Path(spec["path"]))
    return keys
