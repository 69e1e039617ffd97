"""Progress of a run: two lines at 80 columns on a terminal, plain lines elsewhere."""

import io
import os
import pty
import re
import subprocess
import sys
import time
from contextlib import suppress

import pytest
from rich.console import Console

from personahub_assets.cli import bars
from personahub_assets.cli.bars import Bars
from personahub_assets.cli.run import usage_lines
from personahub_assets.generation.requests import Usage
from personahub_assets.instance.progress import Step


def busy(**changes: object) -> Usage:
    usage = Usage(total=63_300, calls=31_650, accepted=31_640, rejected=10, prompt_tokens=9_000_000, cost=1.25)
    usage.completion_tokens, usage.seconds, usage.in_flight = 1_000_000, 600.0, 64
    usage.rows_per_second, usage.reasons = 52.75, {"refused": 7, "truncated": 3}
    for name, value in changes.items():
        setattr(usage, name, value)
    return usage


def shown(usage: Usage | None, *, done: int = 31_650, total: int | None = 63_300, terminal: bool = True) -> list[str]:
    """The lines of one running step, without styles."""
    written = io.StringIO()
    console = Console(file=written, width=80, force_terminal=terminal, no_color=True)
    with Bars(console, "USD") as progress:
        progress.update(Step("crawl-2026-0007", "semantic_duplicates", 0, total, usage=usage))
        progress.update(Step("crawl-2026-0007", "semantic_duplicates", done, total, usage=usage))
    return [re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", line).strip("\r") for line in written.getvalue().splitlines()]


def test_eighty_columns_hold_two_lines_with_whole_numbers() -> None:
    lines = [line for line in shown(busy()) if line.strip()]
    assert max(map(len, lines)) <= 80
    first, second = lines[-2:]
    assert re.fullmatch(r"crawl-2026-… semantic_duplicates ━+─+  31,650/63,300  53/s  0:10:00 left", first)
    assert second.startswith("  31,650 calls, 10,000,000 tokens, 1.2500 of ~2.50 USD, 10 rejected (7 refused")


def test_a_finished_step_leaves_one_line_with_what_it_spent() -> None:
    written = io.StringIO()
    with Bars(Console(file=written, width=80)) as progress:
        progress.update(Step("notes", "tools", 0, None))
        progress.update(Step("notes", "tools", 90, 90, usage=busy(total=90)))
        progress.update(Step("notes", "tools", 90, 90, "done"))
    (line,) = written.getvalue().splitlines()
    assert line.startswith("notes tools: 90/90 (100%)")
    assert "done in 0:00:00; 31,650 calls" in line


def test_a_pipe_gets_a_line_at_each_share_and_when_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bars, "EVERY_S", 0.2)
    monkeypatch.setattr(bars, "_POLL_S", 0.02)
    monkeypatch.setattr(bars, "_SILENT_S", 0.05)
    monkeypatch.setattr(bars, "_APART_S", 0.0)
    written, usage = io.StringIO(), busy(calls=0)
    with Bars(Console(file=written, width=80)) as progress:
        progress.update(Step("notes", "tools", 0, 63_300, usage=usage))
        until = time.monotonic() + 60
        while not (silent := written.getvalue().splitlines()) and time.monotonic() < until:
            time.sleep(0.02)
        for done in range(0, 63_300, 100):
            progress.update(Step("notes", "tools", done, 63_300, usage=usage))
        lines = written.getvalue().splitlines()[len(silent) :]
    assert "waits for the server: no first answer for 0:0" in silent[0]
    assert len(lines) >= 15
    assert "\x1b" not in written.getvalue()


def test_a_limit_of_the_server_is_counted_down() -> None:
    usage = busy(waits_until=time.monotonic() + 61.5, waits_for="429: slow\x1b[31m down")
    (line,) = [line for line in shown(usage, terminal=False) if line]
    assert "waits 0:01:02: 429: slow" in line
    assert "\x1b" not in line


def test_the_report_says_what_the_server_did_otherwise() -> None:
    usage = {
        "tools[a]": busy(other_models=["small-fallback"], uncounted=4, notes=["http://x takes tools with omit = []"]),
        "tools[b]": busy(notes=["http://x takes tools with omit = []"]),
    }
    spent, *others = usage_lines(usage, "USD")
    assert spent.startswith("This run: 63,300 calls for 63,300 requests (0 more reused): 18,000,000 prompt tokens")
    assert spent.endswith("; 2.5000 USD")
    assert others == [
        "tools[a]: answers came from small-fallback, not from the model that was asked.",
        "http://x takes tools with omit = [].",
        "tools[a]: 4 answers came without token counts; they count as their bytes in the budget.",
    ]
    assert usage_lines({}, "USD") == []


ON_A_TERMINAL = """
import sys
from concurrent.futures import ThreadPoolExecutor
from personahub_assets.cli.bars import Bars
from personahub_assets.cli.console import ERR
from personahub_assets.instance.progress import Step

def work(asset):
    for done in range(200):
        bars.update(Step("batch", asset, done, 200))
        print("a library prints", file=sys.stderr)
    bars.update(Step("batch", asset, 200, 200, "done"))

with Bars(ERR) as bars, ThreadPoolExecutor(2) as pool:
    list(pool.map(work, ["one", "two"]))
"""


def test_a_real_terminal_is_drawn_on_by_several_threads() -> None:
    ours, theirs = pty.openpty()
    with subprocess.Popen([sys.executable, "-c", ON_A_TERMINAL], stdout=theirs, stderr=theirs, stdin=theirs) as process:
        os.close(theirs)
        written = b""
        with suppress(OSError):  # the terminal is closed by the process's end
            while part := os.read(ours, 65_536):
                written += part
        os.close(ours)
        assert process.wait(60) == 0
    assert written.count(b"a library prints") == 400
    assert written.count(b"200/200") == 2
