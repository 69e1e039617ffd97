"""The SQL of `personahub sql` from files: the ready questions under their current and former names."""

import pytest

from personahub_assets.cli.query_text import _FORMER_NAMES, query_text
from personahub_assets.core.errors import ConfigError
from personahub_assets.core.project_files import sql_files


@pytest.mark.parametrize(("former", "name"), _FORMER_NAMES.items())
def test_a_renamed_question_is_read_under_its_former_name(former: str, name: str) -> None:
    questions = sql_files("analysis")
    assert former not in questions
    assert query_text(f"sql/analysis/{former}.sql") == questions[name]
    assert query_text(f".read sql/analysis/{former}.sql\n;") == f"{questions[name]}\n;"


def test_other_names_are_not_changed() -> None:
    with pytest.raises(ConfigError, match=r"closest_calls\.sql: there is no such file"):
        query_text("closest_calls.sql")
