"""The address of an asset's rows in `personahub browse`."""

import dagster as dg

from personahub_assets.core.records import DATASETS
from personahub_assets.instance.ports import BROWSE_PORT

_PATHS = {"personas": "", "warehouse": "", **{name: f"datasets/{name}" for name in DATASETS}}


def page_of(asset: str, group: str = "") -> dict[str, dg.MetadataValue]:
    """The command and the address of an asset's page; empty for an asset without a page.

    The UI cannot know whether the pages are served, so the command comes first.
    """
    path = _PATHS.get(asset, f"datasets/{asset}" if group == "datasets" else None)
    if path is None:
        return {}
    address = f"http://127.0.0.1:{BROWSE_PORT}/{path}"
    return {"browse": dg.MetadataValue.md(f"`personahub browse`, then [{address}]({address})")}
