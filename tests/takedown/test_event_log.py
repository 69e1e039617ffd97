"""SQLite files are redacted; tests/test_takedown.py tests those of a real instance."""

import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from remnants import remnants

from personahub_assets.core.errors import LockHeld
from personahub_assets.takedown import event_log
from personahub_assets.takedown.shingles import Shingles

GONE = "A lighthouse keeper of the northern isle who writes down every ship."
OTHER = "A baker in a cold kitchen who lets her bread prove for two days."


@pytest.fixture
def shingles() -> Shingles:
    found = Shingles()
    found.add(GONE)
    return found


def test_a_reader_holds_it_up_and_is_named(tmp_path: Path, shingles: Shingles, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_log, "_WAIT_S", 0.1)
    path = tmp_path / "index.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("CREATE TABLE events (event TEXT)")
        connection.execute("INSERT INTO events VALUES (?)", [GONE])
        connection.commit()
        assert connection.execute("SELECT * FROM events").fetchone()  # the statement stays open
        connection.execute("BEGIN")
        connection.execute("SELECT * FROM events").fetchone()
        with pytest.raises(LockHeld, match=r"index.db cannot be rebuilt: .* Close the programs that have it open"):
            event_log.redact_event_log(tmp_path, event_log.Scope((), ()), shingles)
    event_log.redact_event_log(tmp_path, event_log.Scope((), ()), shingles)
    assert remnants(tmp_path, [GONE]) == set()


def test_what_looks_like_json_and_is_none_is_text(tmp_path: Path, shingles: Shingles) -> None:
    path = tmp_path / "x.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute('CREATE TABLE "odd ""name" ("a b" TEXT, n INTEGER)')
        rows = [(f"{{{GONE}", 1), ('["' + GONE + '"]', 2), ('{"a": ["' + OTHER + '"]}', 3), (None, 4)]
        connection.executemany('INSERT INTO "odd ""name" VALUES (?, ?)', rows)
        connection.commit()
    assert event_log.redact_event_log(tmp_path, event_log.Scope((), ()), shingles) == 2
    with closing(sqlite3.connect(path)) as connection:
        found = connection.execute('SELECT * FROM "odd ""name"').fetchall()
    assert found == [(event_log.GONE, 1), (f'["{event_log.GONE}"]', 2), *rows[2:]]


def test_an_open_database_keeps_its_locks(tmp_path: Path, shingles: Shingles) -> None:
    """Another process, such as the UI, may close the database meanwhile: the log in use is not deleted."""
    path = tmp_path / "index.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("CREATE TABLE events (event TEXT)")
        event_log.redact_event_log(tmp_path, event_log.Scope([], []), shingles, dry_run=True)
        code = "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); c.execute('SELECT * FROM events'); c.close()"
        subprocess.run([sys.executable, "-c", code, path], check=True)
        assert path.with_name("index.db-wal").exists()
        event_log.redact_event_log(tmp_path, event_log.Scope([], []), shingles)
        with closing(sqlite3.connect(path)) as second:
            assert second.execute("SELECT count(*) FROM events").fetchone() == (0,)
