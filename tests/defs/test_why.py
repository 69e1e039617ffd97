"""The messages of a call: shown exactly as they were sent, or not shown."""

from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
from hub import TOPICS, Hub

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
    assert "its messages cannot be shown: the prompt, a setting or its input has changed" in changed
    assert "You invent" not in changed
