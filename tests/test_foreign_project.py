"""The graph in another project's Dagster, from a wheel: tests/foreign_project, in a folder outside of the checkout."""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hub import EVERY, TOPICS

from personahub_assets.core.records import DATASETS

ROOT = Path(__file__).resolve().parent.parent
SCRIPTS = Path(sys.executable).parent
Once = Callable[[str, Callable[[Path], None]], Path]


@pytest.fixture(scope="session")
def installed(once: Once) -> Path:
    """The folder that a wheel of this checkout was installed to."""

    def make(folder: Path) -> None:
        build = [SCRIPTS / "hatchling", "build", "-t", "wheel", "-d", folder]
        subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
        (wheel,) = folder.glob("*.whl")
        with zipfile.ZipFile(wheel) as file:
            file.extractall(folder / "packages")
        take_kernels(folder / "packages")

    return once("wheel", make) / "packages"


def take_kernels(packages: Path) -> None:
    """Copy the compiled kernels, which take a minute; they are valid for sources of the same size and time."""
    for source in (ROOT / "personahub_assets" / "dedup").glob("*.py"):
        os.utime(packages / source.relative_to(ROOT), ns=(0, source.stat().st_mtime_ns))
    compiled = Path("personahub_assets", "dedup", "__pycache__")
    (packages / compiled).mkdir(exist_ok=True)
    for file in [*(ROOT / compiled).glob("*.nb[ic]"), *(ROOT / compiled).glob("kernels.sha256")]:
        shutil.copy(file, packages / compiled)


@pytest.fixture(scope="session")
def team(once: Once, installed: Path) -> Path:
    """The folder of the other project, with a hub of one batch and the report of its run."""

    def make(folder: Path) -> None:
        for name in ("team_definitions.py", "materialise.py"):
            shutil.copy(ROOT / "tests" / "foreign_project" / name, folder)
        (folder / "hub").mkdir()
        (folder / "hub" / "hub.toml").write_text(EVERY)
        (folder / "dagster").mkdir()
        rows = [{"id": str(number), "text": text} for number, text in enumerate(TOPICS[:2])]
        (folder / "pages.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        done = run_there(folder, installed, sys.executable, "materialise.py", "pages.jsonl")
        (folder / "report.json").write_text(done.stdout.splitlines()[-1])

    return once("team", make)


def run_there(folder: Path, installed: Path, *command: str | Path, **more: str) -> "subprocess.CompletedProcess[str]":
    """Run a command of the team in its folder, with the installed package and without files of the checkout."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("PERSONAHUB_")}
    paths = {"PYTHONPATH": f"{installed}{os.pathsep}{folder}", "DAGSTER_HOME": str(folder / "dagster")}
    environment = {**inherited, **paths, "TEAM_FOLDER": str(folder), **more}
    if "PERSONAHUB_CACHE" in os.environ:
        environment["PERSONAHUB_CACHE"] = os.environ["PERSONAHUB_CACHE"]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return done


@pytest.fixture
def report(team: Path) -> dict[str, object]:
    return dict(json.loads((team / "report.json").read_text()))


def test_nothing_of_the_checkout_is_used(report: dict[str, list[str]], installed: Path) -> None:
    assert report["package"] == str(installed / "personahub_assets")
    outside = [file for file in report["files"] if Path(file).is_relative_to(ROOT)]
    assert [file for file in outside if "site-packages" not in file] == []


def test_the_hub_and_the_team_have_their_own_assets(report: dict[str, list[str]], team: Path) -> None:
    assert {f"personahub/{name}" for name in ("documents", "personas", "warehouse", *DATASETS)} <= {
        *report["materialised"]
    }
    assert all(key.startswith("personahub/") for key in report["materialised"])
    assert (team / "hub" / "warehouse.duckdb").exists()
    # Its IO manager is given what its own assets return, and nothing of the hub's.
    files = sorted(path.relative_to(team / "json").as_posix() for path in (team / "json").rglob("*.json"))
    assert files == ["catalogue.json", "personas.json"]
    catalogue = json.loads((team / "json" / "catalogue.json").read_text())
    assert catalogue[0] == "A customer who pays by cheque."
    assert len(catalogue) > 1


def test_checks_know_the_assets_by_their_prefixed_keys(report: dict[str, dict[str, bool]]) -> None:
    assert len(report["checks"]) > len(DATASETS)
    assert all(report["checks"].values()), report["checks"]
    assert {check.split("/")[0] for check in report["checks"]} == {"personahub"}


def test_the_teams_own_executor_runs_the_steps(team: Path, installed: Path, tmp_path: Path) -> None:
    """Each step runs in its own process; no request is repeated, and the team's instance has the events."""
    folder = shutil.copytree(team, tmp_path / "team")
    selection = "key:personahub/documents"
    materialise = ["asset", "materialize", "-m", "team_definitions", "--select", selection, "--partition", "pages"]
    done = run_there(folder, installed, SCRIPTS / "dagster", *materialise, TEAM_EXECUTOR="multiprocess")
    assert 'Launching subprocess for "personahub_documents"' in done.stderr + done.stdout
    assert "RUN_SUCCESS" in done.stderr + done.stdout
