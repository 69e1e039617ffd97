"""The tombstones of a home, as whoever reads rows or answers asks for them."""

from personahub_assets.domain.tombstones import Tombstone, Tombstones
from personahub_assets.resources.store import Store


def stones(store: Store) -> list[Tombstone]:
    """All tombstones of a home."""
    return [Tombstone(*row) for row in store.read_all("tombstones", ["kind", "batch", "mark"]).iter_rows()]


def taken_down(store: Store, batch: str | None) -> Tombstones:
    """The tombstones that count in a batch."""
    return Tombstones(stones(store), batch)
