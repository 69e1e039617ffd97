"""Shared code of the benchmarks: environments of contenders, description of the machine, tables and their pages."""

import json
import os
import re
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs" / "benchmarks.md"
RESULTS = ROOT / "benchmarks" / "results"
_ENVIRONMENTS = ROOT / ".venv-bench"
_INSTALL_LIMIT_S = 900


class NotInstalled(Exception):
    """A contender that cannot run here; the message is shown in the table."""


def environment(name: str, packages: tuple[str, ...], fallback: tuple[str, ...] = ()) -> tuple[Path, str | None]:
    """Return the interpreter of a virtual environment, and a note on its installation, if any.

    uv creates the environment if it is missing. `fallback` are requirements that replace those of the packages if they
    cannot be met here.

    Raises:
        NotInstalled: with the message of uv.
    """
    folder = _ENVIRONMENTS / name
    python, stamp = folder / "bin" / "python", folder / "installed.json"
    wanted = [*packages, *fallback]
    if stamp.exists() and (made := json.loads(stamp.read_text()))["packages"] == wanted:
        return python, made["note"]
    shutil.rmtree(folder, ignore_errors=True)
    _uv("venv", "--quiet", "--python", sys.executable, str(folder))
    note = _install(packages, fallback, python, folder)
    stamp.write_text(json.dumps({"packages": wanted, "note": note}))
    return python, note


def _install(packages: tuple[str, ...], fallback: tuple[str, ...], python: Path, folder: Path) -> str | None:
    arguments = ("pip", "install", "--quiet", "--python", str(python), *packages)
    try:
        _uv(*arguments)
    except NotInstalled:
        if not fallback:
            raise
    else:
        return None
    overrides = folder / "overrides.txt"
    overrides.write_text("\n".join(fallback))
    _uv(*arguments, "--override", str(overrides))
    return f"installed with {', '.join(fallback)} in place of its own requirement, which the index cannot meet"


def _uv(*arguments: str) -> None:
    uv = Path(sys.executable).parent / "uv"
    try:
        done = subprocess.run([uv, *arguments], capture_output=True, text=True, timeout=_INSTALL_LIMIT_S)
    except subprocess.TimeoutExpired:
        raise NotInstalled(f"uv {arguments[0]} did not end within {_INSTALL_LIMIT_S} s") from None
    if done.returncode:
        raise NotInstalled(" ".join(done.stderr.split())[:300])


def machine() -> dict[str, Any]:
    """Properties of the machine that affect the figures, without its name."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")
    cores = len(os.sched_getaffinity(0))
    return {"cpu": model, "cores": cores, "python": sys.version.split()[0], "system": os.uname().sysname}


def provenance() -> str:
    """Origin of the figures of a table: commit, processor, cores, Python and date."""
    command = ["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--abbrev=8"]
    asked = subprocess.run(command, capture_output=True, text=True, check=False)
    on = machine()
    commit = asked.stdout.strip() or "unknown"
    day = datetime.now(UTC).strftime("%Y-%m-%d")
    return f"Commit {commit}, {on['cores']} cores of {on['cpu']}, Python {on['python']}, {on['system']}, {day}."


def table(head: list[str], rows: list[list[str]]) -> str:
    """A table in Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def write(path: Path, block: str, text: str) -> None:
    """Write the text between the markers of a block, with commit and machine.

    Raises:
        ValueError: if the page has no such block.
    """
    page = path.read_text("utf-8")
    pattern = rf"(<!-- generated: {block} -->\n).*?(<!-- end -->)"
    filled, count = re.subn(
        pattern, lambda m: f"{m[1]}\n{provenance()}\n\n{text}\n\n{m[2]}", page, count=1, flags=re.DOTALL
    )
    if not count:
        raise ValueError(f"{path}: no block '<!-- generated: {block} -->' … '<!-- end -->'; put it where the tables go")
    path.write_text(filled, "utf-8")
