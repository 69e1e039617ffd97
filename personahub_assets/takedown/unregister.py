"""Unregister a batch that has no results yet."""

from contextlib import ExitStack

from personahub_assets.core.errors import BatchError
from personahub_assets.instance.instance import forget_partition
from personahub_assets.sources import reader
from personahub_assets.sources.register import drop_download, registered, results_of, source_slices
from personahub_assets.store.home import Lock
from personahub_assets.store.tables import Store


def unregister(store: Store, key: str) -> list[str]:
    """Unregister a batch that has no results yet, with all slices of its source file.

    A downloaded file is deleted; any other source file stays. The key can be used again.

    Returns:
        The unregistered keys.

    Raises:
        BatchError: if it is unknown, a slice, or has results; names them and the remedy.
        LockHeld: if a run works on it.
    """
    with ExitStack() as locks:
        locks.enter_context(store.lock(Lock.BATCHES, wait=True))
        keys = source_slices(store, key)
        for batch in keys:
            locks.enter_context(store.lock(Lock.of("documents", batch), wait=False))
        results = sorted({name for batch in keys for name in results_of(store, batch)})
        if results:
            raise BatchError(
                f"batch {key!r} has results ({', '.join(results)}), so it cannot be unregistered; to remove it with "
                f"all that came from it: personahub takedown --batch {key}"
            )
        spec = registered(store, key)
        for batch in reversed(keys):  # the first leads to the others
            store.remove(store.path("batches", batch).parent)
            forget_partition(store.root, batch)
        if reader.is_remote(spec["source"]) and store.on_this_worker(spec["path"]).is_relative_to(store.paths.inbox):
            drop_download(store, store.on_this_worker(spec["path"]))
    return keys
