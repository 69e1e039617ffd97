"""A dataset, a check, a source format, a threshold and a prompt are added by editing two files each at most.

Each is added to one copy of the project, and commands of that copy then use all of them, in one process.
"""

import ast
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import duckdb
import pytest
from hub import TOPICS

from personahub_assets.core.project_files import root
from personahub_assets.core.prompts import Prompt
from personahub_assets.core.records import DATASETS
from personahub_assets.core.text import digest

TESTS = Path(__file__).parent
PACKAGE = root() / "personahub_assets"
Once = Callable[[str, Callable[[Path], None]], Path]

# --- what is added: new files, and edits of files that there are ---


class Edit(NamedTuple):
    """A text that occurs once in a file, and its replacement."""

    old: str
    new: str


HEAD = "DATASETS: dict[str, type[DatasetItem]] = {\n"
WARC = "from personahub_assets.sources.formats.warc import Warc\n"

DATASET = '''
class ExamQuestion(DatasetItem):
    """A question of an oral exam that the persona would set."""

    question: Annotated[str, StringConstraints(min_length=20, max_length=300)] = Field(description="The question")
    follow_ups: Annotated[
        list[Annotated[str, StringConstraints(min_length=10, max_length=200)]], Field(min_length=1, max_length=3)
    ] = Field(description="What to ask next")
    difficulty: Literal["easy", "hard"] = Field(description="How hard it is to answer")


'''

PROMPT = """---
name: exam_questions
description: A question of an oral exam that the persona would set.
temperature: 0.7
max_tokens: 512
---
You prepare exams. Given the description of a person, write one question that this person would ask in an oral exam,
with one to three follow-ups, and say whether it is easy or hard to answer.
---
<data name="persona">
{{ persona }}
</data>
"""

CHECK = """-- No document is a text that fills an unfinished page
SELECT batch, document_id FROM documents WHERE text ILIKE 'lorem ipsum%'
"""

FORMAT = '''"""Text files: one document per line."""

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

from personahub_assets.sources.formats.format import Format
from personahub_assets.sources.formats.json_lines import survey_lines
from personahub_assets.sources.formats.overwriting import overwrite, overwritten_lines, write_text
from personahub_assets.sources.formats.slices import Layout, Slice
from personahub_assets.sources.formats.streams import stream_at
from personahub_assets.sources.rows import RawRow


class Text(Format):
    """Lines of text."""

    name = "text"
    title = "text"
    suffixes = ("txt",)
    row = "a line"

    def survey(self, path: Path, rows_per_slice: int, limit: int) -> Layout:
        """Count the lines and cut them into slices."""
        return Layout(self.name, survey_lines(path, rows_per_slice).slices)

    def read(self, path: Path, part: Slice, limit: int) -> Iterator[RawRow]:
        """Stream the lines of a slice."""
        with stream_at(path, part.first_byte) as stream:
            for number in range(part.first_row + 1, part.first_row + part.rows + 1):
                text = stream.readline(limit).decode()
                yield RawRow(f"line {number}", columns={"text": text.strip()}, raw=text)

    def redact(self, path: Path, aside: Path, numbers: Collection[int], options: dict[str, Any]) -> None:
        """Make lines of spaces of some."""
        overwrite(path, aside, overwritten_lines(path, numbers))

    def write_sample(self, path: Path, texts: Sequence[str]) -> None:
        """Write a line per text."""
        write_text(path, "".join(f"{text}\\n" for text in texts))
'''

TASKS: dict[str, dict[str, str | list[Edit]]] = {
    "dataset": {
        "prompts/exam_questions.md": PROMPT,
        "personahub_assets/core/records.py": [
            Edit(HEAD, f'{DATASET.strip()}\n\n\n{HEAD}    "exam_questions": ExamQuestion,\n'),
        ],
    },
    "check": {
        "sql/checks/documents/text_is_finished.sql": CHECK,
        "tests/sql/test_checks.py": [
            Edit(
                "FAULTS: dict[str, Fault] = {\n",
                "FAULTS: dict[str, Fault] = {\n"
                '    "documents/text_is_finished": Fault("documents", first("text", "Lorem ipsum dolor sit")),\n',
            ),
        ],
    },
    "source format": {
        "personahub_assets/sources/formats/text.py": FORMAT,
        "personahub_assets/sources/formats/__init__.py": [
            Edit(WARC, f"from personahub_assets.sources.formats.text import Text\n{WARC}"),
            Edit("Warc())", "Warc(), Text())"),
        ],
    },
    "threshold": {
        "personahub_assets/core/config.py": [
            Edit(
                "    languages: list[Language] = Field(",
                '    short_chars: int = Field(0, ge=0, description="A check names documents that are shorter")\n'
                "    languages: list[Language] = Field(",
            ),
        ],
        "sql/checks/documents/text_is_usable.sql": [
            Edit("WHERE trim(text) = ''", "WHERE length(text) < {sources.short_chars} OR trim(text) = ''"),
        ],
    },
    "prompt": {
        "prompts/math_problems.md": [
            Edit("\nmax_tokens: ", "\nparameters:\n  tone: plain\nmax_tokens: "),
            Edit("\n- It must be solvable", "\n- Write in a {{ tone }} tone.\n- It must be solvable"),
        ],
    },
}

UNFINISHED, SHORT = "Lorem ipsum dolor sit amet, consectetur adipiscing elit.", "Bread and salt."
SETTINGS = """
[sources]
short_chars = 30
[text_personas]
per_document = 1
[related_personas]
hops = 0
[datasets.math_problems.parameters]
tone = "dry"
"""
COMMANDS = (
    ["ingest", "hub/inbox/notes.txt"],
    ["run", "--select", "+exam_questions", "--select", "math_problems", "--select", "warehouse"],
    ["takedown", "--document", "d" + digest(TOPICS[1]), "--yes"],
)
# Runs the commands, then says what the pages, the graph and the tests make of what was added.
DRIVER = """
import json, runpy, sys
from pathlib import Path
from personahub_assets.cli.app import call
from personahub_assets.instance.instance import open_instance
from personahub_assets.defs.checks import all_checks
import dagster as dg

def run(arguments):
    sys.argv = ["personahub", *arguments]
    assert call() == 0, arguments

*first, last = json.loads(sys.argv[1])
for arguments in first:
    run(arguments)
keys = [dg.AssetCheckKey(dg.AssetKey("documents"), check.name) for check in all_checks()["documents"]]
with open_instance(Path("hub").resolve()) as instance:
    records = instance.event_log_storage.get_latest_asset_check_execution_by_key(keys)
    found = {key.name: record.event.dagster_event.asset_check_evaluation_data for key, record in records.items()}
checks = {name: {} if one.passed else one.metadata["first_rows"].records[0].data for name, one in found.items()}
run(last)
runpy.run_path("tests/sql/test_checks.py")["test_every_check_has_a_planted_fault"]()
written = {
    **runpy.run_path("scripts/describe.py")["pages"](),
    **runpy.run_path("scripts/draw_graph.py")["files"](),
}
facts = {"checks": checks, "written": {path.name: text for path, text in written.items()}}
Path("facts.json").write_text(json.dumps(facts))
"""


@pytest.fixture(scope="session")
def extended(once: Once) -> Path:
    """The copy of the project with all additions, after running `DRIVER` in it."""
    return once("extended", _extend)


def _extend(project: Path) -> None:
    edits = {root() / name: edits for task in TASKS.values() for name, edits in task.items()}
    for name in ("sql", "prompts", "tests/sql"):
        shutil.copytree(root() / name, project / name)
    _copy_package(
        project / PACKAGE.name, {path.relative_to(PACKAGE).parts[0] for path in edits if PACKAGE in path.parents}
    )
    (project / "scripts").symlink_to(root() / "scripts")
    shutil.copy(root() / "dagster.yaml", project)
    for path, some in edits.items():
        _edit(project / path.relative_to(root()), some)
    inbox = project / "hub" / "inbox"
    inbox.mkdir(parents=True)
    (project / "hub" / "hub.toml").write_text(SETTINGS)
    (inbox / "notes.txt").write_text("".join(f"{text}\n" for text in (TOPICS[0], UNFINISHED, SHORT, TOPICS[1])))
    paths = os.pathsep.join(map(str, (project, TESTS / "helpers")))
    named = {"PYTHONPATH": paths, "PERSONAHUB_HOME": "hub", "PERSONAHUB_LLM_URL": "standin:"}
    done = subprocess.run(
        [sys.executable, "-c", DRIVER, json.dumps(COMMANDS)],
        env={**os.environ, **named},
        cwd=project,
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


def _copy_package(copy: Path, edited: set[str]) -> None:
    """Copy the edited packages and link the others, so that compiled kernels are shared."""
    copy.mkdir()
    for path in PACKAGE.iterdir():
        if path.name in edited:
            shutil.copytree(path, copy / path.name, ignore=shutil.ignore_patterns("__pycache__"))
        elif path.is_file():
            shutil.copy(path, copy)
        elif path.name != "__pycache__":
            (copy / path.name).symlink_to(path)


def _edit(path: Path, edits: str | list[Edit]) -> None:
    if isinstance(edits, str):
        assert not path.exists()
        path.write_text(edits)
        return
    text = path.read_text()
    for edit in edits:
        assert text.count(edit.old) == 1, (path, edit.old)
        text = text.replace(edit.old, edit.new)
    path.write_text(text)


def facts(project: Path) -> Any:
    """Results of `DRIVER`."""
    return json.loads((project / "facts.json").read_text())


def asked(project: Path, query: str) -> list[tuple[Any, ...]]:
    """Rows of a query of the warehouse."""
    with duckdb.connect(str(project / "hub" / "warehouse.duckdb"), read_only=True) as connection:
        return connection.execute(query).fetchall()


@pytest.mark.parametrize("task", TASKS)
def test_each_takes_two_files_at_most(task: str) -> None:
    assert 1 <= len(TASKS[task]) <= 2


def test_a_dataset_is_one_prompt_one_class_and_one_line(extended: Path) -> None:
    rows = asked(extended, "SELECT question, follow_ups, difficulty, text FROM exam_questions")
    assert rows
    assert asked(extended, "SELECT count(*) FROM personas") == [(len(rows),)]
    listed = "SELECT count(*) FROM dataset_items WHERE dataset = 'exam_questions'"
    assert asked(extended, listed) == [(len(rows),)]
    comment = "SELECT comment FROM duckdb_tables() WHERE table_name = 'exam_questions'"
    assert asked(extended, comment) == [("A question of an oral exam that the persona would set.",)]
    for question, follow_ups, difficulty, text in rows:
        assert 20 <= len(question) <= 300
        assert 1 <= len(follow_ups) <= 3
        assert difficulty in {"easy", "hard"}
        assert question in text
    written = facts(extended)["written"]
    assert "datasets / exam_questions\n" in written["graph.txt"]
    assert "### `exam_questions`\n" in written["tables.md"]


def test_a_check_is_one_query_and_one_planted_fault(extended: Path) -> None:
    assert facts(extended)["checks"]["text_is_finished"] == {"batch": "notes", "document_id": "d" + digest(UNFINISHED)}
    assert "text_is_finished" in facts(extended)["written"]["graph.txt"]


def test_a_threshold_is_a_setting_and_its_use(extended: Path) -> None:
    assert facts(extended)["checks"]["text_is_usable"] == {"batch": "notes", "document_id": "d" + digest(SHORT)}
    assert facts(extended)["checks"]["unique_ids"] == {}
    assert "| `short_chars` | int from 0 | `0` | A check names" in facts(extended)["written"]["configuration.md"]


def test_a_source_format_is_one_class_and_one_line(extended: Path) -> None:
    assert asked(extended, "SELECT format, rows FROM batches") == [("text", 4)]
    lines = (extended / "hub" / "inbox" / "notes.txt").read_text().splitlines()
    assert lines == [TOPICS[0], UNFINISHED, SHORT, " " * len(TOPICS[1])]
    assert sorted(asked(extended, "SELECT text FROM documents")) == sorted([(TOPICS[0],), (UNFINISHED,), (SHORT,)])
    assert (
        "| text | `.txt` (also `.gz`, `.zst`, `.bz2`, `.xz`) | a line |"
        in facts(extended)["written"]["source-files.md"]
    )


def test_a_prompt_is_one_file(extended: Path) -> None:
    prompt = Prompt.parse((extended / "prompts" / "math_problems.md").read_text(), origin="math_problems.md")
    used = "SELECT DISTINCT prompt_fingerprint FROM generations WHERE asset = 'math_problems'"
    assert asked(extended, used) == [(prompt.with_settings({"tone": "dry"}, {}).fingerprint,)]
    assert "| `tone` |" in facts(extended)["written"]["configuration.md"]


# --- what need not be edited ---


def test_no_test_lists_the_datasets_by_hand() -> None:
    """A test of every dataset uses `DATASETS`; a test of some may name at most half of them."""
    listing = [
        f"{path.relative_to(TESTS)}, line {line}"
        for path in sorted(TESTS.rglob("*.py"))
        for line, names in _listed(path.read_text("utf-8"))
        if len(names & DATASETS.keys()) > len(DATASETS) // 2
    ]
    assert not listing, f"take the datasets from DATASETS of core/records.py: {'; '.join(listing)}"


def _listed(code: str) -> Iterator[tuple[int, set[object]]]:
    """The line of every literal list, tuple, set and dict, with its constants."""
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.List | ast.Tuple | ast.Set | ast.Dict):
            parts = node.keys if isinstance(node, ast.Dict) else node.elts
            yield node.lineno, {part.value for part in parts if isinstance(part, ast.Constant)}
