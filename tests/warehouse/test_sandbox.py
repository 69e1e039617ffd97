"""Dropped rights of a process: remaining rights are tested in a separate process."""

import subprocess
import sys
from pathlib import Path

import pytest

TRY = """
import os, socket, subprocess, sys
from pathlib import Path
from personahub_assets.warehouse import sandbox
folder, other, port = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
if not sandbox.confine(folder):
    sys.exit("not here")
(folder / "spilled").write_text("x")
(folder / "spilled").unlink()
file = other / "part.parquet"
tries = {
    "overwrite": lambda: file.write_text("x"),
    "append": lambda: file.open("a"),
    "truncate": lambda: os.truncate(file, 0),
    "remove": file.unlink,
    "rename": lambda: file.rename(other / "x"),
    "move in": lambda: file.rename(folder / "x"),
    "create": lambda: (other / "new").touch(),
    "mkdir": lambda: (other / "new").mkdir(),
    "link": lambda: (other / "new").hardlink_to(file),
    "symlink": lambda: (other / "new").symlink_to(file),
    "run": lambda: subprocess.run(["/bin/true"]),
    "connect": lambda: socket.create_connection(("127.0.0.1", port), 1),
}
for name, attempt in tries.items():
    try:
        attempt()
    except PermissionError:
        continue
    except OSError as error:
        print(name, error)
        continue
    print(name, "done")
print(file.read_text())
"""


def test_it_writes_in_one_folder_only(tmp_path: Path) -> None:
    folder, other = tmp_path / "aside", tmp_path / "tables"
    folder.mkdir()
    other.mkdir()
    (other / "part.parquet").write_text("as it was")
    command = [sys.executable, "-c", TRY, str(folder), str(other), "9"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    if "not here" in done.stderr:
        pytest.skip("the system has no Landlock")
    # A kernel before 6.7 lets it connect; there nothing listens.
    lines = [line for line in done.stdout.splitlines() if not line.startswith("connect")]
    assert (lines, done.returncode) == (["as it was"], 0), done.stderr
