"""PersonaHub on Dagster: web text to a warehouse of unique personas, and personas to synthetic data.

    from personahub_assets import Hub                 a hub from Python: docs/python.md
    from personahub_assets import definitions         the graph, for your own Dagster: docs/your-own-dagster.md

All errors that a person can meet are below `PersonaHubError`.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from personahub_assets.core.config import Environment
    from personahub_assets.core.errors import PersonaHubError
    from personahub_assets.hub import Hub

__all__ = ["Environment", "Hub", "PersonaHubError"]

_WHERE = {"Environment": "core.config", "Hub": "hub", "PersonaHubError": "core.errors"}


def __getattr__(name: str) -> Any:
    """Import what is asked for: every command imports this package, and not all need all of it."""
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_WHERE[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
