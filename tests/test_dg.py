"""Dagster's tool on the project: `dg check defs` and `dg list defs`."""

import json
import os
import subprocess
import sys
from pathlib import Path

from personahub_assets.core.records import DATASETS

ROOT = Path(__file__).resolve().parent.parent


def dg(*arguments: str, home: Path) -> "subprocess.CompletedProcess[str]":
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("PERSONAHUB_")}
    environment = {**inherited, "PERSONAHUB_HOME": str(home), "VIRTUAL_ENV": sys.prefix, "DAGSTER_HOME": ""}
    command = [Path(sys.executable).parent / "dg", *arguments]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)


def test_the_definitions_are_checked(home: Path) -> None:
    done = dg("check", "defs", home=home)
    assert done.returncode == 0, done.stderr
    assert "All definitions loaded successfully" in done.stdout + done.stderr
    assert "Warning" not in done.stdout + done.stderr
    assert not home.exists()


def test_the_definitions_are_listed(home: Path) -> None:
    done = dg("list", "defs", "--json", home=home)
    assert done.returncode == 0, done.stderr
    listed = json.loads(done.stdout)
    assert {*DATASETS, "documents", "personas", "warehouse", "release"} <= {
        one["asset_key"] for one in listed["assets"]
    }
    assert {job["name"] for job in listed["jobs"]} == {
        *("refresh_batch", "rebuild_warehouse", "make_release", "maintenance", "try_prompt")
    }
    assert [sensor["name"] for sensor in listed["sensors"]] == ["inbox"]
