"""Quality gates in a home: what is masked, what is quarantined, and what other settings do without a call."""

import json
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest
from scripted import Reply, Script, serving

from personahub_assets.core.config import Environment
from personahub_assets.core.errors import BudgetSpent
from personahub_assets.generation.journal import entries
from personahub_assets.generation.llm import LLM
from personahub_assets.runs.plan import plan
from personahub_assets.sources.register import register
from personahub_assets.steps.datasets import write_items
from personahub_assets.steps.personas import infer_text_personas
from personahub_assets.store.tables import Store
from personahub_assets.takedown.receipts import Target
from personahub_assets.takedown.takedown import takedown
from personahub_assets.warehouse import build
from personahub_assets.warehouse.why import explain

ADDRESS, NUMBER = "mira.kovac@gardenmail.org", "+44 20 7946 0958"
NURSE = "A night nurse in Graz who trades seeds with neighbours"
DOCUMENTS = {
    "d1": "The greenhouse of the hospital needs volunteers who water the tomatoes every second evening.",
    "d2": "The tram depot opens its doors on Sunday and shows how the brakes of old trams are repaired.",
}
PERSONAS = {
    "greenhouse": [f"{NURSE}, phone {NUMBER}.", "Dr. Maria Schneider, a cardiologist who grows tomatoes in Graz."],
    "tram depot": [
        "A software company that sells timetables to depots.",
        "A person who likes different things and topics.",
    ],
}
IMPORTED = [
    {"persona": f"A baker in Lyon who takes orders at {ADDRESS} and sells rye bread.", "contact": ADDRESS},
    {"persona": "A small town in the Alps with a famous cheese market."},
    {"persona": "A ferry pilot on the Elbe who collects tide tables."},
]
ASKED = {
    "seeds": f"Write a note to {ADDRESS} about the seeds that I swap on Sunday.",
    "rye": "Sure! Here is a request this person might type: plan the ovens for Sunday.",
    "tide": "Schreiben Sie bitte einen höflichen Brief an den Hafenmeister wegen der verspäteten Fähre.",
}


def replies(body: dict) -> Reply:
    """Two personas about a document, or a request of a persona."""
    text = body["messages"][-1]["content"]
    if "tomatoes" in text or "brakes" in text:
        told = PERSONAS["greenhouse" if "tomatoes" in text else "tram depot"]
        rows = [{"persona": row, "relation": "read", "granularity": "fine"} for row in told]
        return Reply(json.dumps({"personas": rows}))
    instruction = next(answer for word, answer in ASKED.items() if word in text)
    return Reply(json.dumps({"category": "writing", "instruction": instruction}))


class Home:
    """A home with one batch, and its language model."""

    def __init__(self, folder: Path, script: Script):
        self.folder, self.script = folder, script
        self.batch = "mixed"
        rows = [{"id": key, "text": text} for key, text in DOCUMENTS.items()] + IMPORTED
        folder.mkdir()
        (folder / "mixed.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        self.setting()
        register(self.store, str(folder / "mixed.jsonl"))
        from personahub_assets.steps.corpus import read_documents

        read_documents(self.store, self.batch)

    def setting(self, **settings: object) -> None:
        lines = "".join(f"{name} = {json.dumps(value)}\n" for name, value in settings.items())
        (self.folder / "hub.toml").write_text(f"[text_personas]\nper_document = 2\n[quality]\n{lines}")
        self.store = Store(home=str(self.folder))

    def llm(self, **options: object) -> LLM:
        return LLM(url=self.script.url, model="scripted-1", **options)

    def run(self, **options: object) -> pl.DataFrame:
        infer_text_personas(self.store, self.llm(**options), self.batch, lambda _: None)
        return self.store.read("text_personas", self.batch)

    def ask(self, **options: object) -> pl.DataFrame:
        write_items("instructions", self.store, self.llm(**options), self.batch, lambda _: None)
        return self.store.read("instructions", self.batch)

    def refused(self, asset: str = "text_personas") -> dict[str, str]:
        return dict(self.store.read("quarantine", self.batch, asset).select("raw", "reason").iter_rows())

    def has(self, text: str) -> bool:
        """Whether any table of answers has a text."""
        tables = [path for path in (self.folder / "tables").rglob("*.parquet") if "documents" not in path.parts]
        frames = [pl.read_parquet(path) for path in tables]
        return any(text in str(value) for frame in frames for row in frame.iter_rows() for value in row)


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    with serving() as script:
        script.pages["/models"] = json.dumps({"data": [{"id": "scripted-1"}]}).encode()
        count = script.next

        def next_reply(body: dict) -> Reply:
            script.replies = [replies(body)]
            return count(body)

        script.next = next_reply  # type: ignore[method-assign]
        yield Home(tmp_path / "home", script)


def test_personas_are_masked_or_quarantined_and_judged_again_without_a_call(home: Home):
    rows = home.run()
    assert sorted(rows["persona"]) == [
        "A baker in Lyon who takes orders at [EMAIL] and sells rye bread.",
        "A ferry pilot on the Elbe who collects tide tables.",
        f"{NURSE}, phone [PHONE].",
    ]
    quarantine = home.store.read("quarantine", home.batch, "text_personas")
    assert sorted(quarantine["reason"]) == ["named_person", "not_a_person", "not_a_person"]
    assert quarantine.filter(input_id="imported 1")["raw"].to_list() == [IMPORTED[1]["persona"]]
    # The answer about the depot has no row left: its call is rejected, and its text is kept.
    calls = home.store.read("generations", home.batch, "text_personas").sort("input_id")
    assert calls.select("input_id", "status", "reason").rows() == [
        ("d1", "accepted", None),
        ("d2", "rejected", "not_a_person"),
    ]
    assert not home.has(ADDRESS)
    assert not home.has(NUMBER)
    before = len(home.script.bodies)
    assert before == 2
    home.setting(not_a_person=False, named_person=False, too_generic=False)
    assert home.run().height == 7
    home.setting(too_generic=False, phone="off")
    rows = home.run()
    assert sorted(home.refused().values()) == ["named_person", "not_a_person", "not_a_person"]
    assert f"{NURSE}, phone [PHONE]." in rows["persona"].to_list(), "what was masked is not stored anywhere"
    assert len(home.script.bodies) == before


def test_a_stopped_run_leaves_a_masked_journal_and_the_plan_knows_it(home: Home):
    with pytest.raises(BudgetSpent):
        home.run(max_calls=1)
    (left,) = entries(home.store.paths.journal("text_personas", home.batch))
    assert "[PHONE]" in left.outcome.response
    assert NUMBER not in left.outcome.response
    environment = Environment(home=home.folder, llm_url=home.script.url, llm_model="scripted-1")
    work = plan(environment, [(home.batch, {"text_personas"})]).work[0]
    assert (work.requests, work.ask) == (2, 1)
    home.run()
    work = plan(environment, [(home.batch, {"text_personas"})]).work[0]
    assert (work.requests, work.ask) == (2, 0)
    assert len(home.script.bodies) == 2


def test_items_are_judged_by_what_they_say_about_the_request_and_by_their_language(home: Home):
    home.store.write("personas", home.batch, home.run())
    kept = home.ask()
    assert kept["instruction"].to_list() == [ASKED["seeds"].replace(ADDRESS, "[EMAIL]")]
    assert "[EMAIL]" in kept["text"][0]
    assert sorted(home.refused("instructions").values()) == ["instruction_echo", "other_language"]
    home.setting(email="quarantine", instruction_echo=False, language="de")
    calls = len(home.script.bodies)
    assert home.ask()["instruction"].to_list() == [ASKED["tide"]]
    assert len(home.script.bodies) == calls
    # Sent again on demand, and only that one.
    home.ask(retry=["other_language"])
    assert len(home.script.bodies) == calls + 2


def test_quarantined_personal_data_comes_back_or_is_masked_without_a_call(home: Home):
    home.setting(email="quarantine")
    home.store.write("personas", home.batch, home.run().filter(pl.col("persona").str.contains("nurse")))
    assert home.ask().is_empty()
    (row,) = home.store.read("quarantine", home.batch, "instructions").rows(named=True)
    assert (row["reason"], row["detail"]) == ("pii", "email at characters 16 to 41 in instruction")
    assert ADDRESS in row["raw"]
    calls = len(home.script.bodies)
    home.setting(email="off")
    assert home.ask()["instruction"].to_list() == [ASKED["seeds"]]
    home.setting(email="mask")
    assert home.ask()["instruction"].to_list() == [ASKED["seeds"].replace(ADDRESS, "[EMAIL]")]
    home.run()
    assert not home.has(ADDRESS)
    assert len(home.script.bodies) == calls


def test_why_names_the_gate_and_a_takedown_knows_the_masked_persona(home: Home):
    rows = home.run()
    build.build(home.store)
    lines = [line for thing in explain(home.store, f"{home.batch}/d1", lambda _: None) for line in thing["lines"]]
    assert any(line["what"] == "quarantined" and "named_person" in str(line["detail"]) for line in lines)
    baker = rows.filter(pl.col("persona").str.contains("baker"))["persona_id"][0]
    takedown(home.store, Target("persona", (baker,)))
    assert "baker" not in " ".join(home.run()["persona"]), "the source file has the address that was masked"
