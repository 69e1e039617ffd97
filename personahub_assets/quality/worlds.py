"""Judge whether a character belongs to its world: it names nothing that the world does not have, and something that it has."""

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache

from personahub_assets.core.worlds import World

_OWN_FIELDS = ("role", "background", "interaction")
"""Fields in which a character has to name something of its world."""

_ARTICLE = re.compile(r"^(?:the|a|an)\s+", re.IGNORECASE)


def misfit(world: World, fields: Mapping[str, object]) -> str | None:
    """Why a character does not belong to its world; None if it does.

    Args:
        fields: its texts by their names; others are not looked at.

    >>> misfit(World(name="isle", description="An isle.", factions=["the Wardens"], tone="Dry.", belongs=["tide engine"],
    ...     never=["smartphone"], setting="An isle with an engine that the tide drives."), {"role": "sells Smartphones"})
    "names a thing that is not in isle: 'Smartphones' (role)"
    """
    texts = {name: text for name, text in fields.items() if isinstance(text, str)}
    if world.never:
        forbidden = _pattern(tuple(world.never))
        for name, text in texts.items():
            if match := forbidden.search(text):
                return f"names a thing that is not in {world.name}: {match[0]!r} ({name})"
    own = " \n".join(texts[name] for name in _OWN_FIELDS if name in texts)
    if not _pattern((world.name, *world.factions, *world.belongs)).search(own):
        return f"names nothing of {world.name} in {', '.join(_OWN_FIELDS)}"
    return None


@lru_cache(256)
def _pattern(terms: tuple[str, ...]) -> re.Pattern[str]:
    """Matches a term as whole words, in any case, in the singular or the plural."""
    return re.compile(rf"(?<!\w)(?:{'|'.join(_forms(terms))})(?!\w)", re.IGNORECASE)


def _forms(terms: Iterable[str]) -> list[str]:
    longest_first = sorted({_ARTICLE.sub("", term).lower() for term in terms}, key=len, reverse=True)
    return [_form(term) for term in longest_first]


def _form(term: str) -> str:
    """A term whose words are separated by spaces, hyphens or nothing else, with the endings of its last word."""
    *before, last = re.split(r"[\s-]+", term)
    return r"[\s-]+".join([*map(re.escape, before), _with_plural(last)])


def _with_plural(word: str) -> str:
    if re.search(r"[^aeiou]y$", word):
        return rf"{re.escape(word[:-1])}(?:y|ies)"
    if word.endswith("fe"):
        return rf"{re.escape(word[:-2])}(?:fe|ves)"
    if word.endswith(("s", "x", "z", "ch", "sh")):
        # Of a term that is a plural, the singular too.
        stem = word[:-1] if word.endswith("s") and not word.endswith("ss") else word
        return rf"(?:{re.escape(word)}(?:es)?|{re.escape(stem)})"
    return rf"{re.escape(word)}s?"
