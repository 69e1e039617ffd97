"""Provenance of a home: its rows are written by the stand-in or by language models, never both."""

from personahub_assets.core.errors import LLMError
from personahub_assets.store.atomic import replacing
from personahub_assets.store.home import Lock
from personahub_assets.store.tables import Store

STANDIN_MODEL = "standin"

_NAMES = {"standin": "the stand-in (not a language model)", "model": "a language model"}


def kind_of(models: object) -> str:
    """'standin' if the stand-in is among the models, else 'model'."""
    return "standin" if STANDIN_MODEL in models else "model"  # type: ignore[operator]


def check_kind(store: Store, origin: str, kind: str) -> None:
    """Check that rows of the stand-in and of a model are in different homes; the first rows decide.

    Args:
        store: the home.
        origin: origin of the rows, for the error.
        kind: result of `kind_of`.

    Raises:
        LLMError: if the home holds rows of the other kind.
    """
    marker = store.paths.writer
    with store.lock(Lock.WRITER, wait=True):
        recorded_kind = marker.read_text().strip() if marker.exists() else ""
        if recorded_kind not in _NAMES:  # no rows yet, or the file was left empty by a killed process or a full disk
            with replacing(marker, store.paths.aside) as file:
                file.write_text(kind)
        elif recorded_kind != kind:
            raise LLMError(
                f"{store.root} holds rows written by {_NAMES[recorded_kind]}, and {origin} is {_NAMES[kind]}: "
                "they cannot be mixed. Set PERSONAHUB_HOME to another folder"
            )
