"""Compiled kernels: kept for the next process, and never those of other sources."""

import os
import subprocess
import sys
from pathlib import Path

from personahub_assets.domain import kernels

_CALL = "from personahub_assets.domain.keepers import prefers; print(prefers(0.5, 1, 0.4, 0))"


def call(folder: Path) -> str:
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(folder)}
    done = subprocess.run([sys.executable, "-c", _CALL], capture_output=True, text=True, check=True, env=environment)
    return done.stdout.strip()


def test_every_file_with_kernels_is_a_source() -> None:
    domain = Path(kernels.__file__).parent
    used = {
        path.stem for path in domain.glob("*.py") if "@kernel" in path.read_text() or "@intrinsic" in path.read_text()
    }
    assert used <= set(kernels.SOURCES)


def test_kernels_are_kept_and_those_of_other_sources_go(tmp_path: Path) -> None:
    old = tmp_path / "kernels-0123456789abcdef" / "of_old_sources.nbi"
    old.parent.mkdir()
    old.touch()
    assert call(tmp_path) == "True"
    kept = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.nbi")}
    assert kept
    assert not old.exists()
    assert call(tmp_path) == "True"
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.nbi")} == kept
