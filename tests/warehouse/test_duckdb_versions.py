"""A warehouse file that one version of DuckDB writes, read by the other one."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import written

from personahub_assets.core.project_files import root
from personahub_assets.store.tables import Store

FOLDERS = sorted((root() / ".venv-duckdb2").glob("lib/python*/site-packages"))
pytestmark = pytest.mark.skipif(not FOLDERS, reason="`make test-duckdb` creates the environment with DuckDB 2")
VERSIONS = {"1": "", "2": str(FOLDERS[0]) if FOLDERS else ""}

BUILD = """
import sys
from personahub_assets.store.tables import Store
from personahub_assets.warehouse import build
print(build.build(Store(home=sys.argv[1])).rebuilt)
"""
# As a shell would and, for the PIVOT, as `personahub sql`; every table, view and macro.
READ = """
import json, sys
import duckdb
from personahub_assets.hub import Hub
from personahub_assets.store.tables import Store
from personahub_assets.warehouse import build

names = "SELECT table_name FROM information_schema.tables WHERE table_schema = 'main' ORDER BY ALL"
store = Store(home=sys.argv[1])
with duckdb.connect(str(store.paths.warehouse), read_only=True) as shell:
    tables = [name for (name,) in shell.execute(names).fetchall()]
    rows = {name: sorted(map(str, shell.execute(f'FROM "{name}"').fetchall())) for name in tables}
    comments = shell.execute("SELECT table_name, column_name, comment FROM duckdb_columns() ORDER BY ALL").fetchall()
    functions = "SELECT DISTINCT function_name FROM duckdb_functions() WHERE function_type = 'table_macro'"
    of_one = f"{functions} AND parameters[1] = 'asked_id' ORDER BY ALL"
    names = [name for (name,) in shell.execute(of_one).fetchall()]
    macros = {name: sorted(map(str, shell.execute(f"FROM {name}('pb1')").fetchall())) for name in names}
pivot = "PIVOT personas ON batch USING count(*) GROUP BY hop"
print(json.dumps({
    "version": duckdb.__version__[0],
    "fresh": build.is_fresh(store),
    "rows": rows,
    "comments": [comment for comment in comments if comment[0] in rows],
    "macros": macros,
    "pivot": Hub(sys.argv[1]).sql(pivot).write_csv(),
}))
"""


def run(script: str, version: str, home: Path) -> str:
    """Run a script with one version of DuckDB in a process of its own."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment |= {"PYTHONPATH": VERSIONS[version]} if VERSIONS[version] else {}
    done = subprocess.run(
        [sys.executable, "-c", script, str(home)], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout.splitlines()[-1]


@pytest.mark.parametrize("writer", VERSIONS)
def test_a_warehouse_is_read_by_both_versions(store: Store, writer: str) -> None:
    """The other version reads it whole; its next build is from nothing, so it is fresh only for its writer."""
    written.write_home(store, {"a": 3, "b": 2})
    assert run(BUILD, writer, store.root) == "True"
    answers: dict[str, dict[str, Any]] = {version: json.loads(run(READ, version, store.root)) for version in VERSIONS}
    assert [answer.pop("version") for answer in answers.values()] == list(VERSIONS)
    assert [version for version, answer in answers.items() if answer.pop("fresh")] == [writer]
    assert answers["1"]["rows"]["personas"]
    assert answers["1"]["macros"]["why"]
    for name in answers["1"]:
        assert answers["1"][name] == answers["2"][name], name
