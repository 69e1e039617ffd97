"""Scores of a judge: the criteria of one answer lie near each other, and over many answers the whole scale is used."""

from typing import Any

from personahub_assets.standin.dice import Dice
from personahub_assets.standin.source import Source

_SCORE, _REASON = "score", "reason"
_SHARES = (6, 16, 30, 32, 16)
"""Percent of the answers whose worth is 1, 2, 3, 4 or 5."""
_STEPS = (-1, 0, 0, 0, 1)
_VERDICTS = (
    "Nothing about {} can be used as it is.",
    "What it does with {} has more faults than merits.",
    "The part about {} holds, but an editor would have to mend it.",
    "It handles {} well, with one small slip.",
    "Looking for a fault in {}, I found none.",
)


def answer(json_schema: Any, source: Source) -> dict[str, Any] | None:
    """Returns scores with their reasons if the schema asks for a score from 1 to 5 with a reason; else None."""
    properties = json_schema.get("properties") if isinstance(json_schema, dict) else None
    if not isinstance(properties, dict) or not _is_scale(properties.get(_SCORE)) or _REASON not in properties:
        return None
    criteria = [name for name in properties if f"{name}_reason" in properties]
    if properties.keys() != {_SCORE, _REASON, *criteria, *(f"{name}_reason" for name in criteria)}:
        return None
    dice = Dice(source.seed, "scores")
    worth = _drawn(dice)
    scores = {name: min(5, max(1, worth + dice.pick(_STEPS))) for name in criteria} | {_SCORE: worth}
    reasons = {_reason_of(name): _verdict(score, source, dice) for name, score in scores.items()}
    return {name: scores[name] if name in scores else reasons[name] for name in properties}


def _reason_of(name: str) -> str:
    return _REASON if name == _SCORE else f"{name}_reason"


def _is_scale(schema: Any) -> bool:
    return isinstance(schema, dict) and (schema.get("minimum"), schema.get("maximum")) == (1, 5)


def _drawn(dice: Dice) -> int:
    """Returns the worth of an answer, from 1 to 5."""
    left = dice.below(100)
    for worth, share in enumerate(_SHARES, 1):
        if left < share:
            return worth
        left -= share
    return len(_SHARES)


def _verdict(score: int, source: Source, dice: Dice) -> str:
    subject = dice.pick(source.keywords[:6]) if source.keywords else "the subject"
    return _VERDICTS[score - 1].format(subject)
