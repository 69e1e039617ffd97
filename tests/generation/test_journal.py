"""The journal: what was recorded is there, whatever happens to the process."""

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from personahub_assets.domain.errors import StoreError
from personahub_assets.generation.journal import Journal, find
from personahub_assets.generation.requests import Outcome


def outcome(key: str, response: str = "{}", **more: object) -> Outcome:
    return Outcome(key, "accepted", response, **more)  # type: ignore[arg-type]


def record(journal: Journal, *outcomes: Outcome) -> None:
    async def all_of_them() -> None:
        await asyncio.gather(*(journal.record(one) for one in outcomes))

    asyncio.run(all_of_them())


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal" / "tools" / "a.sqlite"


def test_what_was_recorded_is_loaded_again(path: Path) -> None:
    rejected = Outcome("r", "rejected", "<bad>", reason="refused", detail="no", attempts=3, repaired=True)
    rejected.prompt_tokens, rejected.wasted_tokens, rejected.latency_s = 10, 30, 1.5
    many = [outcome(f"k{n}") for n in range(700)]  # more than one group commit
    with Journal(path) as journal:
        assert journal.load() == {}
        record(journal, rejected, *many)
        assert journal.load() == {one.key: one for one in (rejected, *many)}
    with Journal(path) as journal:
        assert len(journal.load()) == 701


def test_the_last_outcome_of_a_key_counts(path: Path) -> None:
    with Journal(path) as journal:
        record(journal, outcome("k", "first"))
        record(journal, outcome("k", "second"))
        assert journal.load()["k"].response == "second"


def test_a_dropped_journal_leaves_no_file(path: Path) -> None:
    with Journal(path) as journal:
        record(journal, outcome("k"))
    journal.drop()
    assert list(path.parent.iterdir()) == []
    journal.drop()


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), st.text(), max_size=5))
def test_any_text_comes_back(path: Path, texts: dict[str, str]) -> None:
    with Journal(path) as journal:
        record(journal, *(outcome(key, text) for key, text in texts.items()))
        assert {key: one.response for key, one in journal.load().items()} == texts
    journal.drop()


def test_an_outcome_of_a_later_version_is_still_read() -> None:
    assert Outcome.from_json('{"key": "k", "status": "accepted", "response": "x", "mood": "good"}').response == "x"


WRITER = """
import asyncio, sys
from pathlib import Path
from personahub_assets.generation.journal import Journal
from personahub_assets.generation.requests import Outcome

async def work(journal, worker):
    for number in range(1_000_000):
        key = f"{worker}-{number}"
        await journal.record(Outcome(key, "accepted", "x" * 2_000))
        print(key, flush=True)

async def all_of_them(journal):
    await asyncio.gather(*(work(journal, worker) for worker in range(20)))

with Journal(Path(sys.argv[1])) as journal:
    asyncio.run(all_of_them(journal))
"""


@pytest.mark.parametrize("lines", [1, 50, 700])
def test_a_killed_process_loses_nothing_that_was_recorded(path: Path, lines: int) -> None:
    command = [sys.executable, "-c", WRITER, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        told = [process.stdout.readline() for _ in range(lines)]
        os.kill(process.pid, signal.SIGKILL)
        told += process.stdout.readlines()
    keys = {line.strip() for line in told if line.endswith("\n")}
    assert len(keys) >= lines
    with Journal(path) as journal:
        assert keys <= journal.load().keys()
        record(journal, outcome("after"))
        assert "after" in journal.load()


@pytest.mark.parametrize("damage", ["not a database at all, " * 300, "pages"])
def test_a_damaged_journal_is_named_with_the_remedy(path: Path, damage: str) -> None:
    with Journal(path) as journal:
        record(journal, *(outcome(f"k{n}", "x" * 500) for n in range(300)))
    whole = path.read_bytes()
    path.write_bytes(whole[:4096] + b"\xa5" * 40_000 + whole[44_096:] if damage == "pages" else damage.encode())
    with pytest.raises(StoreError, match=f"{path}: damaged journal: .*Delete it to go on"), Journal(path) as journal:
        journal.load()


def test_a_journal_that_cannot_be_written_says_so(path: Path) -> None:
    with Journal(path) as journal:
        record(journal, outcome("before"))
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("DROP TABLE outcomes")
        with pytest.raises(StoreError, match="cannot be written"):
            record(journal, outcome("k"))


def test_accepted_outcomes_are_found_in_other_journals(path: Path, tmp_path: Path) -> None:
    other = path.with_name("b.sqlite")
    rejected = Outcome("bad", "rejected", "", reason="refused")
    with Journal(path) as journal:
        record(journal, *(outcome(f"k{n}", "a") for n in range(1_000)), rejected)
    with Journal(other) as journal:
        record(journal, outcome("k0", "b"), outcome("mine", "b"))
    damaged, missing = path.with_name("c.sqlite"), path.with_name("d.sqlite")
    damaged.write_text("no database " * 100)
    wanted = {f"k{n}" for n in range(1_000)} | {"bad", "mine", "unknown"}
    found = find([damaged, missing, path, other], wanted)
    assert found.keys() == wanted - {"bad", "unknown"}
    assert (found["k0"].response, found["mine"].response) == ("a", "b")
    assert find([path], set()) == {}
    assert not missing.exists()


def test_a_journal_in_use_can_be_searched(path: Path) -> None:
    with Journal(path) as journal:
        record(journal, outcome("k"))
        assert find([path], {"k"}).keys() == {"k"}
