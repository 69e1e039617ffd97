"""Printing: only one module prints, and its output never contains terminal commands, for any input and target."""

import ast
import io
import json
import re
import sys
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console
from typer.main import get_command

import personahub_assets
from personahub_assets.cli import app
from personahub_assets.cli.console import OUT, fail, printable, say, say_json, say_text, table

ASSETS = ["reasoning_problems", "persona_embeddings", "interview_questions_of_a_home"]


@pytest.mark.parametrize("width", [40, 60, 80, 120])
def test_no_name_is_broken_at_any_width(width: int) -> None:
    """Columns are dropped, or the table becomes lines, where it does not fit; prose is wrapped at spaces."""
    prose = "Candidates that share nearly all words with a kept persona"
    rows = [(name, prose, "1,234,567", "p0edb402887194c010994") for name in ASSETS]
    file = io.StringIO()
    to = Console(file=file, width=width, force_terminal=True, color_system=None, markup=False)
    columns = ["asset", "meaning", "prompt tokens", "persona_id"]
    table(columns, rows, right=["prompt tokens"], optional=["prompt tokens"], to=to)
    written = file.getvalue()
    for word in (*ASSETS, *prose.split(), "p0edb402887194c010994"):
        assert re.search(rf"(?<!\w){re.escape(word)}(?!\w)", written), f"{word} is broken:\n{written}"
    assert ("1,234,567" in written) != ("Not shown, for lack of width: prompt tokens." in written)
    assert max(map(len, written.splitlines())) <= width


PACKAGE = Path(personahub_assets.__file__).parent
PRINTS = {PACKAGE / "cli/console.py", PACKAGE / "cli/sql.py"}
TEXTS = st.text(st.characters(codec=None), max_size=8) | st.sampled_from(
    [
        "\x1b]52;c;eA==\x07",
        "\x1b]8;;http://x\x1b\\y",
        "[/nope]",
        "[red]x",
        "a\rb",
        "\x9b2J",
        "\u202eabc",
        "\u2028",
        "\udc80",
    ]
)


def commanding(text: str) -> list[str]:
    """Control characters and invisible characters in a text."""
    kept = "\u200c\u200d"
    return [c for c in text if c != "\n" and c not in kept and unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp")] + [
        c
        for c in text
        if unicodedata.bidirectional(c) in ("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI")
    ]


# What prints by itself, in this package or of the libraries that it uses.
PRINTING = re.compile(r"print|Console|Progress|.*\.(print|echo|secho|print_exception|confirm)", re.DOTALL)


def test_one_module_prints() -> None:
    found = [
        f"{path.relative_to(PACKAGE)}: {ast.unparse(node)}"
        for path in PACKAGE.rglob("*.py")
        if path not in PRINTS
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Call) and PRINTING.fullmatch(ast.unparse(node.func))
    ]
    assert found == []


@settings(max_examples=12)
@given(TEXTS)
def test_printable_text_commands_nothing_and_stays_as_it_is(text: str) -> None:
    shown = printable(text)
    assert commanding(shown) == []
    assert "\n" not in shown
    assert printable(shown) == shown
    assert commanding(printable(text, lines=True)) == []
    if not commanding(text) and text.isprintable():
        assert shown == text


def test_joiners_of_scripts_and_emoji_stay() -> None:
    assert printable("👨\u200d🍳 می\u200cخواهم e\u0301") == "👨\u200d🍳 می\u200cخواهم e\u0301"


@settings(max_examples=20)
@given(TEXTS, st.sampled_from(["ascii", "latin-1", "utf-8", "cp1252", "utf-16"]))
def test_any_text_reaches_a_stream_of_any_encoding(text: str, encoding: str) -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    before, sys.stderr = sys.stderr, stream
    try:
        say("id ", (text, "bold"), f": {text}")
        say_text(text)
        fail(ValueError(text))
        table([text, "n"], [[text, 1]], title=text, right=["n"])
    finally:
        sys.stderr = before
    stream.flush()
    content = stream.detach().getvalue().decode(encoding)  # type: ignore[attr-defined]
    assert commanding(content) == []


@pytest.mark.parametrize("state", ["closed", "none", "full"])
def test_a_message_that_cannot_be_written_ends_nothing(state: str, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = Path("/dev/full").open("w") if state == "full" else io.StringIO()  # noqa: SIM115
    if state == "closed":
        stream.close()
    monkeypatch.setattr(sys, "stderr", None if state == "none" else stream)
    say("x")
    monkeypatch.undo()
    if state == "full":
        with pytest.raises(OSError, match="space"):
            stream.close()


def test_a_result_that_cannot_be_written_is_an_error(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with Path("/dev/full").open("w") as stream:
        monkeypatch.setattr(sys, "stdout", stream)
        with pytest.raises(SystemExit) as stop:
            say("x", to=OUT)
        monkeypatch.undo()
    assert stop.value.code == 1
    assert "No space left" in capfd.readouterr().err


@settings(max_examples=20)
@given(st.lists(TEXTS, max_size=3))
def test_json_says_what_it_was_given_and_commands_nothing(value: object) -> None:
    stream = io.StringIO()
    say_json(value, to=Console(file=stream))
    assert commanding(stream.getvalue()) == []
    assert json.loads(stream.getvalue()) == value


def test_help_shows_every_word_that_is_declared(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Text in brackets is not interpreted as markup."""
    group = get_command(app.app)
    for name, command in group.commands.items():  # type: ignore[attr-defined]
        monkeypatch.setattr(sys, "argv", ["personahub", name, "--help"])
        with pytest.raises(SystemExit):
            app.main()
        shown = re.sub(r"\s", "", capsys.readouterr().out)
        declared = [command.help, *(parameter.help for parameter in command.params)]
        for text in declared:
            assert re.sub(r"\s", "", text) in shown, (name, text)


@pytest.mark.parametrize("argument", ["--nope\x1b[31m", "--max-calls=\u202e1", "--max-cost=\x9bx"])
def test_a_wrong_argument_is_named_and_commands_nothing(
    argument: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["personahub", "run", argument])
    with pytest.raises(SystemExit) as stop:
        app.main()
    said = capsys.readouterr()
    assert stop.value.code == 2
    assert commanding(said.err) == []
    assert "error: " in said.err
    assert said.out == ""
