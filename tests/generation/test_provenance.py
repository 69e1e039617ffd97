"""Rows of the stand-in and of a model are in different homes, whatever a killed process left of the record."""

from pathlib import Path

import pytest

from personahub_assets.core.errors import LLMError
from personahub_assets.generation.provenance import check_kind
from personahub_assets.store.tables import Store


@pytest.mark.parametrize("left", [None, "", "\n", "stan"])
def test_the_first_rows_decide_even_if_the_record_is_damaged(tmp_path: Path, left: str | None) -> None:
    store = Store(home=str(tmp_path))
    if left is not None:
        store.paths.writer.write_text(left)
    check_kind(store, "server", "model")
    assert store.paths.writer.read_text() == "model"
    before = store.paths.writer.stat()
    check_kind(store, "server", "model")
    assert store.paths.writer.stat() == before  # so a kill at this moment damages nothing
    with pytest.raises(LLMError, match=r"written by a language model, and other is the stand-in .*cannot be mixed"):
        check_kind(store, "other", "standin")
