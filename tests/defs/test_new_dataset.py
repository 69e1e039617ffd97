"""One prompt file, one class, one line: a dataset of one's own, as docs/add-a-dataset.md shows it."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import duckdb
from hub import SETTINGS, TOPICS

from personahub_assets.core.project_files import root

CLASS = '''
class InterviewQuestion(DatasetItem):
    """A question that an interviewer would put to the persona."""

    question: Annotated[str, StringConstraints(min_length=20, max_length=300)] = Field(description="The question")
    follow_ups: Annotated[
        list[Annotated[str, StringConstraints(min_length=10, max_length=200)]], Field(min_length=1, max_length=3)
    ] = Field(description="What to ask next")
    difficulty: Literal["easy", "hard"] = Field(description="How hard it is to answer")


DATASETS: dict[str, type[DatasetItem]] = {
    "interview_questions": InterviewQuestion,
'''

PROMPT = """---
name: interview_questions
description: A question that an interviewer would put to the persona.
temperature: 0.7
max_tokens: 512
---
You prepare interviews. Given the description of a person, write one question that only this person can answer well,
with one to three follow-ups, and say whether it is easy or hard to answer.
---
<data name="persona">
{{ persona }}
</data>
"""


def test_a_dataset_is_one_prompt_one_class_and_one_line(tmp_path: Path) -> None:
    tree = tmp_path / "project"
    tree.mkdir()
    for name in ("personahub_assets", "sql", "prompts"):
        shutil.copytree(root() / name, tree / name)  # with what numba has compiled, which takes half a minute
    shutil.copy(root() / "dagster.yaml", tree)
    records = tree / "personahub_assets" / "core" / "records.py"
    line = "DATASETS: dict[str, type[DatasetItem]] = {\n"
    assert line in records.read_text()
    records.write_text(records.read_text().replace(line, CLASS.lstrip("\n")))
    (tree / "prompts" / "interview_questions.md").write_text(PROMPT)

    home = tmp_path / "hub"
    home.mkdir()
    (home / "hub.toml").write_text(SETTINGS)
    pages = tmp_path / "pages.jsonl"
    pages.write_text(json.dumps({"text": TOPICS[0]}) + "\n")
    environment = {
        **os.environ,
        "PYTHONPATH": str(tree),
        "PERSONAHUB_HOME": str(home),
        "PERSONAHUB_LLM_URL": "standin:",
    }
    for command in (["ingest", str(pages)], ["run", "--select", "+interview_questions", "--select", "warehouse"]):
        done = subprocess.run(
            [sys.executable, "-m", "personahub_assets.cli.app", *command],
            env=environment,
            cwd=tree,
            check=False,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
    with duckdb.connect(str(home / "warehouse.duckdb"), read_only=True) as connection:
        rows = connection.execute("SELECT question, follow_ups, difficulty, text FROM interview_questions").fetchall()
        personas = connection.execute("SELECT count(*) FROM personas").fetchone()
        comment = connection.execute(
            "SELECT comment FROM duckdb_tables() WHERE table_name = 'interview_questions'"
        ).fetchone()
        listed = connection.execute(
            "SELECT count(*) FROM dataset_items WHERE dataset = 'interview_questions'"
        ).fetchone()
    assert personas == (len(rows),)
    assert listed == personas
    assert comment == ("A question that an interviewer would put to the persona.",)
    for question, follow_ups, difficulty, text in rows:
        assert 20 <= len(question) <= 300
        assert 1 <= len(follow_ups) <= 3
        assert difficulty in {"easy", "hard"}
        assert question in text
