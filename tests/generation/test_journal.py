"""The journal: recorded outcomes survive the end of the process."""

import asyncio
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scripted import TASK

from personahub_assets.core.errors import StoreError
from personahub_assets.generation import journal as journal_module
from personahub_assets.generation.journal import Entry, Journal, entry, find, peek
from personahub_assets.generation.requests import Outcome, Request


def outcome(key: str, response: str = "{}", **more: object) -> Outcome:
    return Outcome(key, "accepted", response, **more)  # type: ignore[arg-type]


def request(key: str) -> Request:
    return Request(key, f"input of {key}", 2, [], {}, {})


def line(one: Outcome) -> Entry:
    return entry(TASK, request(one.key), one)


def record(journal: Journal, *outcomes: Outcome) -> None:
    async def all_of_them() -> None:
        await asyncio.wait_for(asyncio.gather(*(journal.record(TASK, request(o.key), o) for o in outcomes)), 60)

    asyncio.run(all_of_them())


def outcomes(journal: Journal) -> dict[str, Outcome]:
    return {one.outcome.key: one.outcome for one in journal.entries()}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal" / "tools" / "a.sqlite"


def test_what_was_recorded_is_found_again(path: Path) -> None:
    rejected = Outcome("r", "rejected", "<bad>", reason="refused", detail="no", attempts=3, repaired=True)
    rejected.prompt_tokens, rejected.wasted_tokens, rejected.latency_s = 10, 30, 1.5
    many = [
        outcome(f"k{n}") for n in range(2_000)
    ]  # more than one group commit, and more keys than one statement takes
    keys = [one.key for one in (rejected, *many)]
    with Journal(path) as journal:
        assert journal.find(keys) == {}
        assert list(journal.entries()) == []
        record(journal, rejected, *many)
        assert journal.find([*keys, "unknown"]) == {one.key: one for one in (rejected, *many)}
        assert journal.find(["k7"]) == {"k7": many[7]}
        assert journal.find([]) == {}
    with Journal(path) as journal:
        assert outcomes(journal) == {one.key: one for one in (rejected, *many)}


def test_a_line_says_for_what_it_was_asked(path: Path) -> None:
    with Journal(path) as journal:
        record(journal, outcome("k"))
        (found,) = journal.entries()
    assert found == Entry(
        "input of k", 2, TASK.prompt.name, TASK.prompt.fingerprint, TASK.schema_fingerprint, outcome("k")
    )


def test_lines_come_in_the_order_in_which_they_were_written(path: Path) -> None:
    names = [f"{n * 7919 % 1_000:03d}" for n in range(1_000)]
    with Journal(path) as journal:
        for start in range(0, 1_000, 300):
            record(journal, *map(outcome, names[start : start + 300]))
        assert [one.outcome.key for one in journal.entries()] == names
        record(journal, outcome(names[3], "again"))  # one that is written again is the latest
        assert [one.outcome.key for one in journal.entries()] == [*names[:3], *names[4:], names[3]]


def test_the_last_outcome_of_a_key_counts(path: Path) -> None:
    with Journal(path) as journal:
        record(journal, outcome("k", "first"))
        record(journal, outcome("k", "second"))
        assert journal.find(["k"])["k"].response == "second"
        record(journal, outcome("k", "third"), outcome("k", "fourth"))
        assert [one.outcome.response for one in journal.entries()] == ["fourth"]


def test_what_comes_together_is_committed_together(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    commit = journal_module._commit

    def counted(connection: sqlite3.Connection, entries: list[Entry]) -> Any:
        sizes.append(len(entries))
        return commit(connection, entries)

    monkeypatch.setattr(journal_module, "_commit", counted)
    with Journal(path) as journal:
        record(journal, *(outcome(f"k{n}") for n in range(1_000)))
    assert sum(sizes) == 1_000
    assert max(sizes) <= 256
    assert len(sizes) <= 10


def test_notes_are_written_without_an_event_loop(path: Path) -> None:
    notes = [line(outcome(f"n{n}")) for n in range(700)]
    with Journal(path) as journal:
        record(journal, outcome("k"))
        journal.note(notes)
        journal.note([])
        assert [one.outcome.key for one in journal.entries()] == ["k", *(f"n{n}" for n in range(700))]
        record(journal, outcome("after"))
    with Journal(path) as journal:
        assert len(outcomes(journal)) == 702


def test_a_note_can_be_made_while_others_are_recorded(path: Path) -> None:
    async def both(journal: Journal) -> None:
        for n in range(40):
            waits = asyncio.ensure_future(journal.record(TASK, request(f"k{n}"), outcome(f"k{n}")))
            await asyncio.sleep(0)
            journal.note([line(outcome(f"n{n}"))])
            await asyncio.wait_for(waits, 60)

    with Journal(path) as journal:
        asyncio.run(both(journal))
        assert len(outcomes(journal)) == 80


def test_a_dropped_journal_leaves_no_file(path: Path) -> None:
    with Journal(path) as journal:
        record(journal, outcome("k"))
    journal.drop()
    assert list(path.parent.iterdir()) == []
    journal.drop()
    with Journal(path) as journal:
        assert list(journal.entries()) == []


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), st.text(st.characters()), max_size=5))
def test_any_text_comes_back(path: Path, texts: dict[str, str]) -> None:
    with Journal(path) as journal:
        record(journal, *(outcome(key, text) for key, text in texts.items()))
        assert {key: one.response for key, one in outcomes(journal).items()} == texts
    journal.drop()


def test_an_outcome_of_another_version_is_still_read() -> None:
    assert Outcome.from_json('{"key": "k", "status": "accepted", "response": "x", "mood": "good"}').response == "x"
    assert Outcome.from_json('{"key": "k", "status": "accepted", "response": "x"}') == outcome("k", "x")


# --- work that is given up ---


@pytest.mark.parametrize("count", [1, 600])
def test_what_was_handed_over_is_written_though_nobody_waits_for_it(path: Path, count: int) -> None:
    """The event loop ends before the group commit, as after a failure of the endpoint or two Ctrl-C."""

    async def given_up(journal: Journal) -> None:
        waiting = [asyncio.create_task(journal.record(TASK, request(f"k{n}"), outcome(f"k{n}"))) for n in range(count)]
        await asyncio.sleep(0)
        for task in waiting:
            task.cancel()

    with Journal(path) as journal:
        asyncio.run(given_up(journal))
    with Journal(path) as journal:
        assert len(outcomes(journal)) == count


WRITER = """
import asyncio, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from scripted import TASK
from personahub_assets.generation.journal import Journal
from personahub_assets.generation.requests import Outcome, Request

async def work(journal, worker):
    for number in range(1_000_000):
        key = f"{worker}-{number}"
        await journal.record(TASK, Request(key, key, 0, [], {}, {}), Outcome(key, "accepted", "x" * 2_000))
        print(key, flush=True)

async def all_of_them(journal):
    await asyncio.gather(*(work(journal, worker) for worker in range(20)))

with Journal(Path(sys.argv[1])) as journal:
    asyncio.run(all_of_them(journal))
"""


@pytest.mark.parametrize("lines", [1, 700])
def test_a_killed_process_loses_nothing_that_was_recorded(path: Path, lines: int) -> None:
    command = [sys.executable, "-c", WRITER, str(path), str(Path(__file__).parents[1] / "helpers")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        told = [process.stdout.readline() for _ in range(lines)]
        os.kill(process.pid, signal.SIGKILL)
        told += process.stdout.readlines()
    keys = {line.strip() for line in told if line.endswith("\n")}
    assert len(keys) >= lines
    with Journal(path) as journal:
        assert keys <= outcomes(journal).keys()
        record(journal, outcome("after"))
        assert "after" in outcomes(journal)


# --- damage ---


@pytest.mark.parametrize("damage", ["not a database at all, " * 300, "pages"])
def test_a_damaged_journal_is_named_with_the_remedy(path: Path, damage: str) -> None:
    with Journal(path) as journal:
        record(journal, *(outcome(f"k{n}", "x" * 500) for n in range(300)))
    whole = path.read_bytes()
    path.write_bytes(whole[:4096] + b"\xa5" * 40_000 + whole[44_096:] if damage == "pages" else damage.encode())
    with pytest.raises(StoreError, match=f"{path}: damaged journal: .*paid again"), Journal(path) as journal:
        list(journal.entries())
    with pytest.raises(StoreError, match=f"{path}: damaged journal: .*paid again"), Journal(path) as journal:
        journal.find([f"k{n}" for n in range(300)])


@pytest.fixture(scope="module")
def torn(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """A journal as after a power cut, partly in the file and partly in the -wal, with its keys in order."""
    path = tmp_path_factory.mktemp("torn") / "a.sqlite"
    names = [f"k{n}" for n in range(240)]
    with Journal(path) as journal:
        record(journal, *(outcome(name, "x" * 300) for name in names[:120]))
    copy = path.with_name("copy.sqlite")
    with Journal(path) as journal:
        for start in range(120, 240, 6):
            record(journal, *(outcome(name, "y" * 900) for name in names[start : start + 6]))
        for suffix in ("", "-wal"):
            shutil.copy(f"{path}{suffix}", f"{copy}{suffix}")
    return copy, names


def opened(path: Path) -> tuple[list[str], StoreError | None]:
    """The keys of a journal, or its error."""
    try:
        with Journal(path) as journal:
            return [one.outcome.key for one in journal.entries()], None
    except StoreError as error:
        return [], error


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(suffix=st.sampled_from(["", "-wal"]), part=st.floats(0, 1), rest=st.sampled_from([0, 1, 24, 4_095]))
def test_a_torn_journal_is_named_or_has_what_was_committed_first(
    torn: tuple[Path, list[str]], path: Path, suffix: str, part: float, rest: int
) -> None:
    whole, names = torn
    path.parent.mkdir(parents=True, exist_ok=True)
    for each in ("", "-wal"):
        shutil.copy(f"{whole}{each}", f"{path}{each}")
    cut = Path(f"{path}{suffix}")
    size = cut.stat().st_size
    at = min(size, int(part * size) // 4_096 * 4_096 + rest)
    os.truncate(cut, at)
    found, problem = opened(path)
    if problem is not None:
        assert str(path) in str(problem)
        assert "paid again" in str(problem)
    else:
        assert found == names[: len(found)]
        assert len(found) in {0, *range(120, 241, 6)}
        with Journal(path) as journal:
            assert journal.find(names).keys() == set(found)
            record(journal, outcome("after"))
            assert journal.find(["after"]).keys() == {"after"}
    for each in ("", "-wal", "-shm"):
        Path(f"{path}{each}").unlink(missing_ok=True)


# --- other programs ---


def test_a_new_journal_that_another_program_holds_says_so(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal_module, "_WAIT_S", 0.05)
    path.parent.mkdir(parents=True)
    with closing(sqlite3.connect(path, isolation_level=None)) as shell:
        shell.execute("BEGIN EXCLUSIVE")
        with pytest.raises(StoreError, match=r"another program has locked this journal for .*Close that program"):
            Journal(path).__enter__()
        shell.execute("ROLLBACK")
    with Journal(path) as journal:
        record(journal, outcome("k"))


def test_a_journal_that_another_program_writes_to_says_so_and_goes_on(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_module, "_WAIT_S", 0.05)
    with Journal(path) as journal:
        record(journal, outcome("before"))
        with closing(sqlite3.connect(path, isolation_level=None)) as shell:
            shell.execute("BEGIN EXCLUSIVE")
            with pytest.raises(StoreError, match=r"cannot be written: database is locked.*open in another program"):
                record(journal, outcome("k"))
            with pytest.raises(StoreError, match="cannot be written: database is locked"):
                journal.note([line(outcome("n"))])
            assert outcomes(journal).keys() == {"before"}  # it can be read all the while
            with Journal(path) as second:
                assert outcomes(second).keys() == {"before"}
            shell.execute("ROLLBACK")
        record(journal, outcome("after"))
        assert outcomes(journal).keys() == {"before", "after"}


def test_a_journal_that_another_program_holds_for_itself_says_so(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Journal(path) as journal:
        record(journal, outcome("k"))
    monkeypatch.setattr(journal_module, "_WAIT_S", 0.05)
    with closing(sqlite3.connect(path, isolation_level=None)) as shell:
        shell.execute("PRAGMA locking_mode=EXCLUSIVE")
        shell.execute("BEGIN EXCLUSIVE")
        shell.execute("COMMIT")
        with pytest.raises(StoreError, match=r"another program has locked this journal for .*Close that program"):
            Journal(path).__enter__()


def test_a_journal_that_cannot_be_written_says_so(path: Path) -> None:
    with Journal(path) as journal:
        record(journal, outcome("before"))
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("DROP TABLE answers")
        with pytest.raises(StoreError, match="cannot be written"):
            record(journal, outcome("k"))


def test_accepted_outcomes_are_found_in_other_journals(path: Path) -> None:
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


def test_a_look_into_a_journal_leaves_no_file(path: Path) -> None:
    assert peek(path, ["k"]) == {}
    rejected = Outcome("bad", "rejected", "", reason="refused")
    with Journal(path) as journal:
        record(journal, outcome("k"), rejected)
        assert peek(path, ["k", "bad", "unknown"]).keys() == {"k", "bad"}
    before = {file: file.read_bytes() for file in path.parent.iterdir()}
    assert peek(path, ["bad"])["bad"].reason == "refused"
    assert {file: file.read_bytes() for file in path.parent.iterdir()} == before
    path.write_text("no database " * 100)
    with pytest.raises(StoreError, match="damaged journal"):
        peek(path, ["k"])


def test_a_journal_of_a_run_that_died_at_once_knows_nothing(path: Path) -> None:
    path.parent.mkdir(parents=True)
    path.write_bytes(b"")
    assert peek(path, ["k"]) == {}
