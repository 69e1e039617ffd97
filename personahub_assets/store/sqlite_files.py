"""SQLite files that another process can write."""

from pathlib import Path


def read_only(path: Path) -> str:
    """Address of a file for `sqlite3.connect(…, uri=True)`: reading it changes no file."""
    # Without a log file no process has it open. In immutable mode SQLite creates no files for reading.
    still = "" if Path(f"{path}-wal").exists() else "&immutable=1"
    return f"{path.as_uri()}?mode=ro{still}"
