"""Compiled kernels: cached for the next process, and deleted when a file with kernels changes."""

import shutil
import subprocess
import sys
from pathlib import Path

from personahub_assets.dedup import kernels

ROOM = Path(kernels.__file__).parent
CALL = """
from personahub_assets.dedup.keepers import prefers
from personahub_assets.dedup.kernels import is_compiled
print(is_compiled(prefers), prefers(0.5, 1, 0.4, 0), is_compiled(prefers))
"""


def kept(tree: Path, *, compiled: bool) -> dict[Path, int]:
    done = subprocess.run([sys.executable, "-c", CALL], capture_output=True, text=True, check=True, cwd=tree)
    assert done.stdout.split() == [str(compiled), "True", "True"]
    return {path: path.stat().st_mtime_ns for path in tree.rglob("*.nbi")}


def test_every_file_with_kernels_is_a_source() -> None:
    used = {path.stem for path in ROOM.glob("*.py") if {"@kernel", "@intrinsic"} & set(path.read_text().split())}
    assert used
    assert used <= set(kernels.SOURCES)


def test_kernels_are_kept_until_one_of_their_sources_changes(tmp_path: Path) -> None:
    tree = tmp_path / "personahub_assets"
    for room in (ROOM, ROOM.parent / "core"):
        shutil.copytree(room, tree / room.name, ignore=shutil.ignore_patterns("__pycache__"))
    (tree / "__init__.py").touch()
    made = kept(tmp_path, compiled=False)
    assert made
    assert kept(tmp_path, compiled=True) == made
    with (tree / "dedup" / "signatures.py").open("a") as file:  # which `prefers` does not even call
        file.write("# another form\n")
    again = kept(tmp_path, compiled=False)
    assert again.keys() == made.keys()
    assert again != made
