"""Print the origin of a row, or the reason why it was dropped."""

from rich.console import Console

from personahub_assets.cli.console import OUT, Piece, say, say_json, say_text
from personahub_assets.core.text import shorten
from personahub_assets.hub import Hub
from personahub_assets.steps.sent import sent_messages
from personahub_assets.warehouse.why import Line, Thing

_CHARS = 300
_SHOWN = 20
_CHANGED = "its messages cannot be shown: its input has changed or is not stored, or its prompt is not on record"


def explain(hub: Hub, asked: str, err: Console, *, as_json: bool, full: bool) -> None:
    """Print everything that the home has about an id.

    Args:
        hub: the hub to query.
        asked: an id of a document, persona, item, call or quarantined row; or `batch/id`.
        err: console for the notice that the warehouse is out of date.
        as_json: print JSON.
        full: print long texts in full, and the messages of calls.

    Raises:
        UnknownId: if no row has the id, with similar ids.
    """
    entries = hub.why(asked, tell=lambda message: say(message, style="dim", to=err))
    if as_json:
        say_json(entries)
    else:
        _show(hub, entries, full=full)


def _show(hub: Hub, entries: list[Thing], *, full: bool) -> None:
    for number, entry in enumerate(entries[:_SHOWN]):
        if number:
            say(to=OUT)
        say((entry["id"], "bold"), f": {entry['kind']} of batch {entry['batch']}", to=OUT)
        for line in entry["lines"]:
            say(*_pieces(line), indent=2, to=OUT)
            if line["text"]:
                text = line["text"] if full else shorten(" ".join(line["text"].split()), _CHARS)
                say_text(text, style="italic", indent=4, to=OUT)
            if full:
                _show_messages(hub, entry["batch"], line)
    if len(entries) > _SHOWN:
        say(to=OUT)
        say(f"The first {_SHOWN} of {len(entries)}; ask for one as batch/id, or for all with --json", to=OUT)


def _show_messages(hub: Hub, batch: str, line: Line) -> None:
    """Print the messages of the call that a line is about."""
    facts = line["facts"] or {}
    if not (facts.get("prompt_fingerprint") and facts.get("input_id") and line["id"]):
        return
    messages = sent_messages(hub.store, batch, facts["asset"], line["id"])
    if messages is None:
        say(_CHANGED, style="dim", indent=4, to=OUT)
    for message in messages or []:
        say((message["role"], "cyan"), " message", indent=4, to=OUT)
        say_text(message["content"], indent=6, to=OUT)


def _pieces(line: Line) -> list[Piece]:
    pieces: list[Piece] = [(line["what"], "cyan")]
    pieces += ["  ", (line["id"], "bold")] if line["id"] and line["step"] > 1 else []
    return pieces + (["  ", line["detail"]] if line["detail"] else [])
