"""The messages of a call: shown exactly as they were sent, or not shown."""

from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
from hub import TOPICS, Hub

from personahub_assets.core.catalog import PERSONA_TASKS
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
