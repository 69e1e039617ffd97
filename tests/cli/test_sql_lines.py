"""Wide results on a terminal: one field per line instead of columns of three letters."""

import io
from typing import Any

from rich.console import Console

from personahub_assets.cli.sql import _write_table

WIDE: dict[str, Any] = {
    "columns": ["batch", "persona_id", "persona", "origin", "document_id", "relation", "granularity", "hop"],
    "rows": [["notes", "p1", "A beekeeper \x1b[31m of " + "long " * 40, "text", "d1", None, "fine", "0"]] * 2,
    "numbers": ["hop"],
    "notes": [],
}
NARROW: dict[str, Any] = {"columns": ["batch", "n"], "rows": [["notes", "3"]], "numbers": ["n"], "notes": []}


def written(head: dict[str, Any], *, terminal: bool = True, as_lines: bool = False) -> str:
    file = io.StringIO()
    console = Console(file=file, width=80, force_terminal=terminal, no_color=True, markup=False, highlight=False)
    _write_table(head, console, as_lines=as_lines)
    return file.getvalue()


def test_a_result_that_does_not_fit_has_one_field_per_line() -> None:
    text = written(WIDE)
    assert "      batch  notes\n persona_id  p1\n" in text
    assert text.count("persona_id") == 2
    assert "\x1b[31m" not in text
    assert "┃" not in text


def test_what_fits_and_what_goes_to_a_pipe_is_a_table() -> None:
    assert "│ notes │ 3 │" in written(NARROW)
    assert "┃ persona_id ┃" in written(WIDE, terminal=False)


def test_lines_can_be_asked_for() -> None:
    assert written(NARROW, terminal=False, as_lines=True) == "batch  notes\n    n  3\n"
    assert written({**NARROW, "rows": []}, as_lines=True) == "No rows of batch, n.\n"
