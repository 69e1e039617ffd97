"""Who writes a home: the stand-in or language models, never both."""

from personahub_assets.core.errors import LLMError
from personahub_assets.store.home import Lock
from personahub_assets.store.tables import Store

STANDIN_MODEL = "standin"

_NAMES = {"standin": "the stand-in (not a language model)", "model": "a language model"}


def kind_of(models: object) -> str:
    """'standin' if the stand-in is among some models, else 'model'."""
    return "standin" if STANDIN_MODEL in models else "model"  # type: ignore[operator]


def check_kind(store: Store, origin: str, kind: str) -> None:
    """Keep rows of the stand-in and of a model in different homes; the first to come decides.

    Args:
        store: the home.
        origin: where the rows come from, for the error.
        kind: as `kind_of` gives it.

    Raises:
        LLMError: if the home holds rows of the other kind.
    """
    marker = store.paths.writer
    with store.lock(Lock.WRITER, wait=True):
        recorded_kind = marker.read_text().strip() if marker.exists() else kind
        if recorded_kind != kind:
            raise LLMError(
                f"{store.root} holds rows written by {_NAMES[recorded_kind]}, and {origin} is {_NAMES[kind]}: "
                "the two are never mixed. Set PERSONAHUB_HOME to another folder"
            )
        marker.write_text(kind)
