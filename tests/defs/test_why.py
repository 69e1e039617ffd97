"""The messages of a call: shown exactly as they were sent, or not shown."""

from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
from hub import TOPICS, Hub

from personahub_assets.core.catalog import PERSONA_TASKS
from personahub_assets.runs.runner import run_batches
from personahub_assets.steps.sent import sent_messages

Called = Callable[..., tuple[int, str, str]]


@pytest.mark.parametrize("asset", ["tools", "text_personas", "related_personas"])
def test_the_messages_of_every_call_can_be_made_again(ran: Hub, asset: str) -> None:
    """The key of a call is a hash of its messages."""
    calls = ran.rows("generations").filter(batch="one", asset=asset)
    assert calls.height > 1
    texts = dict(ran.rows("personas").select("persona_id", "persona").iter_rows()) | {"one-0": TOPICS[0]}
    for generation_id, input_id in calls.select("generation_id", "input_id").iter_rows():
        system, user = sent_messages(ran.store, "one", asset, generation_id) or [{}, {}]
        assert (system["role"], user["role"]) == ("system", "user")
        assert texts.get(input_id, "") in user["content"]
    assert sent_messages(ran.store, "one", asset, "g-nobody") is None


def test_why_shows_them_in_full(ran: Hub, called: Called, own_prompts: Path) -> None:
    (item_id, persona_id) = ran.rows("tools").select("item_id", "persona_id").row(0)
    persona = ran.rows("personas").filter(pl.col("persona_id") == persona_id)["persona"][0]

    def why(*arguments: str) -> str:
        code, out, _ = called("why", *arguments, home=ran.home)
        assert code == 0
        return out

    assert "system message" not in why(item_id)
    full = why(item_id, "--full")
    assert "    system message\n      You design tools" in full
    assert f'      <data name="persona">\n      {persona}\n' in full
    assert TOPICS[0] in why("one-0", "--full")

    prompt = own_prompts / "tools.md"
    prompt.write_text(prompt.read_text("utf-8").replace("You design", "You invent"), "utf-8")
    changed = why(item_id, "--full")
    assert "You design tools" in changed  # the version that was sent is on record
    assert "You invent" not in changed
    for path in ran.store.files("prompt_uses"):
        path.unlink()
    assert "its messages cannot be shown: its input has changed" in why(item_id, "--full")


def test_messages_of_earlier_settings_are_made_from_the_record(ran: Hub) -> None:
    calls = {name: ran.rows("generations").filter(batch="one", asset=name).row(0, named=True) for name in PERSONA_TASKS}
    before = {name: sent_messages(ran.store, "one", name, call["generation_id"]) for name, call in calls.items()}
    (ran.home / "hub.toml").write_text(
        "[text_personas]\nper_document = 3\nmax_chars = 100\n[related_personas]\nhops = 1\nfan_out = 2\n"
    )
    for name, call in calls.items():
        assert before[name]
        assert sent_messages(ran.store, "one", name, call["generation_id"]) == before[name]


def test_why_knows_rows_that_were_replaced(ran: Hub, called: Called, own_prompts: Path, tmp_path: Path) -> None:
    """Rows of a selection, of an earlier prompt, and the personas of an earlier prompt."""

    def why(asked: str) -> str:
        code, out, err = called("why", asked, home=ran.home)
        assert code == 0, err
        return out

    tools, personas = ran.rows("tools"), ran.rows("text_personas")
    kept, gone = (tools.row(number, named=True) for number in (0, -1))
    assert kept["persona_id"] != gone["persona_id"]
    selection = tmp_path / "some.csv"
    selection.write_text(f"persona_id\n{kept['persona_id']}\n")
    assert not run_batches(ran.environment, [], ["tools"], personas_from=selection).failed
    told = why(gone["item_id"])
    assert "replaced: in no table any more" in told
    assert "did not ask about its persona, which is in the hub" in told
    assert gone["generation_id"] in told

    prompt = own_prompts / "tools.md"
    prompt.write_text(prompt.read_text("utf-8").replace("You design", "You invent"), "utf-8")
    assert not run_batches(ran.environment, [], ["tools"], personas_from=selection).failed
    assert f"replaced  {kept['generation_id']}" in why(kept["item_id"])

    prompt = own_prompts / "text_personas.md"
    prompt.write_text(prompt.read_text("utf-8").replace("You study", "You look at"), "utf-8")
    (ran.home / "hub.toml").write_text("[text_personas]\nper_document = 1\n[related_personas]\nhops = 0\n")
    assert ran.run(select=["+personas"]) == {}
    lost = set(personas["persona_id"]) - set(ran.rows("text_personas")["persona_id"])
    told = why(min(lost))
    assert "persona of batch one" in told
    assert "replaced by" in told
