"""PersonaHub on Dagster: turn web text into a warehouse of unique personas, and personas into synthetic data.

    from personahub_assets import Hub                 a home from Python: docs/python.md
    from personahub_assets import definitions         the graph, for your own Dagster: docs/your-own-dagster.md

All errors raised for users are subclasses of `PersonaHubError`.
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
    """Import attributes on first use: every command imports this package, but not all need all of it."""
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_WHERE[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
