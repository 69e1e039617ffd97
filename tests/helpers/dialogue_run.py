"""Dialogues without Dagster: a home with personas, a server that answers both sides, and the step in a process."""

import hashlib
import json
import re
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
from scripted import Reply, Script

from personahub_assets.core.dialogues import DIALOGUES
from personahub_assets.generation.llm import LLM
from personahub_assets.sources.register import register
from personahub_assets.steps.asked import Asked
from personahub_assets.steps.candidates import imported
from personahub_assets.steps.dialogues import write_dialogues
from personahub_assets.store.tables import Store, table_schema

BATCH = "people"
PERSONAS = [
    "A ferry cook on the Elbe who trades recipes with pilots and never measures salt.",
    "A retired glassblower in Murano who builds barometers for the schools of the lagoon.",
    "A night porter in Aberdeen who writes chess problems between two trains.",
]
_SPEAKER = re.compile(r"^(?:User|Assistant):$", re.MULTILINE)


def make_home(home: Path, settings: str, personas: list[str] = PERSONAS) -> Store:
    """A home with personas that were kept, and their source file."""
    home.mkdir(parents=True)
    (home / "hub.toml").write_text(settings)
    store = Store(home=str(home))
    source = home.parent / f"{BATCH}.jsonl"
    source.write_text("".join(json.dumps({"persona": persona}) + "\n" for persona in personas))
    register(store, str(source))
    rows = pl.DataFrame(imported(BATCH, personas), table_schema("personas"), orient="row")
    for table in ("text_personas", "personas"):
        store.write(table, BATCH, rows)
    return store


def hold(store: Store, url: str, **options: Any) -> Asked:
    """Run the step."""
    return write_dialogues(DIALOGUES, store, LLM(url=url, model="scripted-1", **options), BATCH, lambda _tally: None)


def hold_in_process(home: str, url: str) -> None:
    """Run the step as the work of a process."""
    hold(Store(home=home), url)


def message_of(body: dict[str, Any]) -> int:
    """The number of the message that a request asks for."""
    return len(_SPEAKER.findall(body["messages"][-1]["content"]))


def answer(body: dict[str, Any]) -> Reply:
    """A message that differs for each request."""
    number = int(hashlib.sha256(body["messages"][-1]["content"].encode()).hexdigest()[:6], 16)
    if message_of(body) % 2:
        return Reply(json.dumps({"reply": f"Close the valve first, then count {number} strokes of the pump and rest."}))
    return Reply(json.dumps({"message": f"The pump of my boat stopped after {number} strokes. What should I look at?"}))


class Sides:
    """Answers both sides through a script; it can leave requests for one message without an answer.

    Args:
        script: the server.
        reply: makes the answers.
    """

    def __init__(self, script: Script, reply: Callable[[dict[str, Any]], Reply] = answer):
        self.script, self.reply = script, reply
        self.stuck_at, self.all_stuck, self.released = -1, threading.Event(), threading.Event()
        self._answered, self._stuck, self._most = 0, 0, 0
        script.told()
        script.next = self._next  # type: ignore[method-assign]

    @property
    def asked(self) -> Counter[str]:
        """How often each request was sent."""
        return Counter(json.dumps(body["messages"]) for body in self.script.bodies)

    def stick(self, message: int, most: int) -> None:
        """Answer the first request for a message, and none of the next ones; `all_stuck` is set at `most` of these."""
        self.released.set()
        self.all_stuck, self.released = threading.Event(), threading.Event()
        self.stuck_at, self._answered, self._stuck, self._most = message, 0, 0, most

    def go_on(self) -> None:
        """Answer all requests."""
        self.stuck_at = -1
        self.released.set()

    def _next(self, body: dict[str, Any]) -> Reply:
        with self.script.lock:
            self.script.bodies.append(body)
            is_stuck = message_of(body) == self.stuck_at and self._answered > 0
            self._answered += message_of(body) == self.stuck_at
            self._stuck += is_stuck
            released = self.released
            if is_stuck and self._stuck == self._most:
                self.all_stuck.set()
        if is_stuck:
            released.wait(120)
        return self.reply(body)
