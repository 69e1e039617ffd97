"""Failures of a run: one line with the cause, exit code 1, and no endless wait."""

import ctypes
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb
import polars as pl
import pytest

from personahub_assets.core import interrupts
from personahub_assets.core.errors import BudgetSpent, StoreError
from personahub_assets.instance.instance import open_instance
from personahub_assets.runs import runner
from personahub_assets.sources.register import register
from personahub_assets.store.tables import Store

Called = Callable[..., tuple[int, str, str]]


def recurse() -> None:
    recurse()


def leave() -> None:
    raise SystemExit(0)


def divide() -> None:
    1 / 0  # noqa: B018


def panic() -> None:
    raise pl.exceptions.PanicException("called `Option::unwrap()` on a `None` value")


FAULTS: dict[str, tuple[Callable[[], object], str]] = {
    "bug": (divide, r"unexpected ZeroDivisionError.*: division by zero.*fault of the program; the traceback is in /"),
    "recursion": (recurse, "unexpected RecursionError"),
    "exit": (leave, "unexpected SystemExit"),
    "panic": (panic, "unexpected PanicException"),
    "duckdb": (
        lambda: duckdb.sql("SELECT error('of [red]its own\x1b')").fetchall(),
        "unexpected InvalidInputException",
    ),
    "full": (lambda: Path("/dev/full").write_text("x"), "No space left on device. The disk at /"),
    "store": (lambda: (_ for _ in ()).throw(StoreError("damaged")), "^damaged$"),
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A home with the databases of Dagster, which take seconds to create."""
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DAGSTER_HOME", "")
        open_instance(home).dispose()
        yield home


@pytest.fixture(scope="module")
def instance(made: Path) -> Iterator[dg.DagsterInstance]:
    with open_instance(made) as opened:
        yield opened


def job_of(work: Callable[[], object]) -> dg.Definitions:
    @dg.asset
    def step() -> None:
        work()

    return dg.Definitions(assets=[step], jobs=[dg.define_asset_job("job", [step])], executor=dg.in_process_executor)


def reachable(error: BaseException) -> list[BaseException]:
    """The exceptions of a traceback by cause or context; a cycle would never end."""
    met: list[BaseException] = []
    at: BaseException | None = error
    while at is not None:
        assert not any(at is other for other in met), "a circle"
        met.append(at)
        at = at.__cause__ or at.__context__
    return met


@pytest.mark.parametrize("name", FAULTS)
def test_whatever_a_step_raises_is_one_line(name: str, instance: dg.DagsterInstance, tmp_path: Path) -> None:
    work, message = FAULTS[name]
    result = runner.Result()

    def execute() -> None:
        try:
            runner._Executor(job_of(work), instance)("job", {dg.AssetKey("step")}, None)
        except BaseException as error:
            reachable(error)
            raise

    runner._attempt(result, "batch", tmp_path, execute)
    assert re.search(message, result.failed["batch"]), result.failed
    assert "\n" not in result.failed["batch"]


def test_what_stops_on_purpose_is_no_failure(instance: dg.DagsterInstance, tmp_path: Path) -> None:
    def spend() -> None:
        raise BudgetSpent("the budget is spent")

    result = runner.Result()
    runner._attempt(
        result, "a", tmp_path, partial(runner._Executor(job_of(spend), instance), "job", {dg.AssetKey("step")}, None)
    )
    assert (result.failed, result.stopped) == ({}, "the budget is spent.")


PEOPLE = "".join(
    f'{{"persona": "A {what} who repairs old clocks in a mountain village"}}\n' for what in ("nurse", "smith")
)


@pytest.fixture
def filled(store: Store, made: Path, tmp_path: Path) -> Store:
    (tmp_path / "people.jsonl").write_text(PEOPLE)
    shutil.copytree(made, store.root)
    (store.root / "hub.toml").write_text("[related_personas]\nhops = 0\n")
    register(store, str(tmp_path / "people.jsonl"))
    return store


REMOTE = {"PERSONAHUB_LLM_URL": "http://127.0.0.1:9/v1", "PERSONAHUB_LLM_MODEL": "none"}


def moments(monkeypatch: pytest.MonkeyPatch, act: Callable[[str], None]) -> None:
    """Call a function at every event of Dagster, between its steps, and at the begin and end of an asset."""
    from personahub_assets.instance.storage import EventLog

    store_event = EventLog.store_event

    def storing(self: EventLog, event: Any) -> None:
        store_event(self, event)
        act(event.dagster_event.event_type_value if event.dagster_event else "log")

    monkeypatch.setattr(EventLog, "store_event", storing)


def test_a_signal_at_any_moment_stops_the_run(filled: Store, called: Called, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where Dagster only records the signal and forgets it; the next run continues."""
    waiting = ["PIPELINE_SUCCESS", "PIPELINE_START"]
    numbers = {"PIPELINE_SUCCESS": [signal.SIGINT], "PIPELINE_START": [signal.SIGTERM] * 2}

    def act(event: str) -> None:
        if waiting and event == waiting[0]:
            waiting.pop(0)
            for number in numbers[event]:
                os.kill(os.getpid(), number)

    moments(monkeypatch, act)
    while waiting:
        left = len(waiting)
        code, _, err = called("run", "--select", "documents", home=filled.root, **REMOTE)
        assert len(waiting) == left - 1
        assert (code, "Traceback" in err, "stopped; all answers so far are kept" in err) == (130, False, True), err
        assert not (filled.root / "warehouse.duckdb").exists()
    assert called("run", "--select", "documents", home=filled.root, **REMOTE)[0] == 0
    assert (filled.root / "warehouse.duckdb").exists()


def test_what_a_library_swallows_is_not_forgotten(capsys: pytest.CaptureFixture[str]) -> None:
    """An exception of a handler in a callback of C code is lost."""
    callback = ctypes.CFUNCTYPE(None)(lambda: os.kill(os.getpid(), signal.SIGINT))
    with interrupts.recorded():
        try:
            callback()
            os.getpid()
        except KeyboardInterrupt:
            pytest.fail("it came through")
        with pytest.raises(KeyboardInterrupt):
            interrupts.check()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert capsys.readouterr().err == ""
    interrupts.check()  # of the next command nothing is known


def test_a_failed_warehouse_does_not_hide_what_failed(filled: Store, called: Called) -> None:
    path = filled.path("text_personas", "people")
    path.parent.mkdir(parents=True)
    path.write_bytes(b"PAR1 and nothing more")
    (filled.root / "warehouse.duckdb").write_bytes(b"x" * 4_096)
    code, _, err = called("run", "--select", "lexical_duplicates", home=filled.root, **REMOTE)
    assert (code, "Traceback" in err) == (1, False)
    failed = [line for line in err.splitlines() if line.startswith("failed: ")]
    assert [line.split(": ")[1] for line in failed][:2] == ["people: lexical_duplicates", "warehouse"] or len(
        failed
    ) >= 2
    assert all("text_personas/batch=people/part.parquet: damaged table file" in line for line in failed[:2]), err


@pytest.mark.parametrize("damage", ["garbage", "cut", "folder"])
def test_damaged_history_is_one_line(damage: str, made: Path, home: Path) -> None:
    shutil.copytree(made, home)
    history = home / "dagster" / "history"
    for path in history.rglob("*.db"):
        content = path.read_bytes()
        for suffix in ("", "-wal", "-shm"):
            Path(f"{path}{suffix}").unlink(missing_ok=True)
        path.mkdir() if damage == "folder" else path.write_bytes(
            b"x" * 9_000 if damage == "garbage" else content[:5_000]
        )
    with pytest.raises(StoreError, match=r"dagster/history.*([Mm]ove the folder away|move it away)") as raised:
        open_instance(home)
    assert "\n" not in str(raised.value)
    assert "sqlalche" not in str(raised.value)


def test_a_dead_endpoint_is_refused_before_any_run(store: Store, called: Called, tmp_path: Path) -> None:
    (tmp_path / "pages.jsonl").write_text('{"text": "The tide tables of the harbour were wrong by eleven minutes."}\n')
    store.root.mkdir()
    for name in ("a", "b"):
        register(store, str(tmp_path / "pages.jsonl"), name=name)
    code, out, err = called("run", home=store.root, **REMOTE)
    assert (code, out, err.count("error:")) == (1, "", 1), err
    assert "127.0.0.1:9" in err
    assert not (store.root / "dagster" / "history").exists()
    code, _, err = called("run", "--max-cost", "1", home=store.root, **REMOTE)
    assert (code, "a budget of money needs prices" in err) == (1, True), err
    assert not (store.root / "dagster" / "history").exists()


_COMMAND = """
import os, signal, sys, types
class Late:
    def __del__(self, kill=os.kill, pid=os.getpid(), number=signal.SIGTERM):
        kill(pid, number)
sys.modules["personahub_assets.cli.app"] = types.SimpleNamespace(call=lambda: {call})
from personahub_assets.__main__ import main
late = {late}
main()
"""


@pytest.mark.parametrize(
    ("call", "late", "code", "said"),
    [("os.kill(os.getpid(), signal.SIGINT)", "None", 130, "stopped before it began\n"), ("0", "Late()", 0, "")],
)
def test_a_signal_outside_of_the_command_is_no_death(call: str, late: str, code: int, said: str) -> None:
    """Before any import, and after the interpreter removed its handlers."""
    program = _COMMAND.format(call=call, late=late)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (code, said)
