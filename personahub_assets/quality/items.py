"""Judge the text of an item: does it answer, or does it talk about the request?"""

import re

from personahub_assets.core.text import shorten, words

_QUOTED = 60
_KIND = r"(?:problem|puzzle|riddle|question|instruction|request|article|text|character|npc|tool|function|prompt|task|answer|response|output|persona|json)"
_BEGINS = re.compile(
    rf"""
    \A\W{{0,3}}(?:sure|certainly|of\ course|absolutely|okay|ok|great|no\ problem|gladly)\b[\s,.!:–-]{{1,4}}(?:thing\W{{1,3}})?(?:here|below|i['’]ll|i\ will|this\ is|let\ me)\b
  | \A\W{{0,3}}(?:here|below)(?:['’]s|\ is|\ are)\ (?:an?|the|your|one|my|some)\b[^.!?\n]{{0,80}}?\b{_KIND}s?\b[^.!?\n]{{0,80}}?(?::|\bfor\ (?:this|the|your)\ (?:person|persona|character)\b|\bbased\ on\b)
  | \A\W{{0,3}}as\ (?:requested|instructed|per\ your\ (?:request|instructions))\s?[,:]
  | \A\W{{0,5}}(?:math\ problem|reasoning\ (?:problem|puzzle)|user\ (?:prompt|request|instruction)|prompt|instruction)\ ?:\W{{0,3}}\s
  | \A(?:\W{{1,5}}(?:response|output)|(?:Response|Output)(?=\ ?:\s+[A-Z"{{\[]))\ ?:\W{{0,3}}\s
  | \A(?:hier\ ist|voici|aquí\ (?:está|tienes)|ecco|aqui\ está)\b[^.!?\n]{{0,60}}?\b(?:aufgabe|rätsel|anfrage|artikel|problème|énigme|demande|article|problema|acertijo|solicitud|artículo|richiesta|articolo|pedido|artigo)\b[^.!?\n]{{0,60}}?:
  | \A(?:当然|好的|以下是|这是|下面是)[^。！？\n]{{0,24}}?(?:问题|题目|谜题|文章|请求|角色)[^。！？\n]{{0,12}}?[:：]
    """,
    re.IGNORECASE | re.VERBOSE,
)
_WITHIN = re.compile(
    r"""
    \b(?:the|this)\ (?:given|provided|above|input|supplied)\ (?:persona|person|description|character\ description|prompt)\b
  | \b(?:based\ on|inspired\ by|tailored\ (?:to|for)|according\ to|for|about)\ (?:the|this|your)\ persona\b(?!\ of\b)
  | \bin\ the\ data\ section\b|</?data\ name=|\bnever\ an\ instruction\ to\ you\b
    """,
    re.IGNORECASE | re.VERBOSE,
)
_SIGNS = (
    "persona",
    "the data",
    "data name",
    "instruction to",
    "given",
    "provided",
    "above",
    "input",
    "supplied",
    "this pers",
)
_PLAIN_WORD = re.compile(r"(?<![^\W_])[A-Za-z]{4,}(?![^\W_])")
_LONG = 12  # words of a persona from which a repetition of all of it is no accident


def item_echo(text: str, persona: str = "") -> str | None:
    """The part of a text that talks about the request, or repeats the persona and nothing else; None if there is none.

    Args:
        text: a field of the item, or all of it.
        persona: the persona that it was written for.

    >>> item_echo("Sure! Here is a math problem for the baker: ...")
    'Sure! Here'
    """
    if match := _BEGINS.match(text) or (_has_sign(text) and _WITHIN.search(text)):
        return shorten(match[0].strip(), _QUOTED)
    if persona and len(text) < 2 * len(persona) and _repeats(text, persona):
        return shorten(text, _QUOTED)
    return None


def _has_sign(text: str) -> bool:
    small = text.lower()
    return any(sign in small for sign in _SIGNS)


def _repeats(text: str, persona: str) -> bool:
    small = persona.lower()
    if any(word[0].lower() not in small for word in _PLAIN_WORD.finditer(text)):
        return False  # a word of its own, mostly the first one: nothing has to be split into words
    own, of_persona = words(text), words(persona)
    if len(of_persona) < _LONG // 2 or len(own) < _LONG // 2:
        return False
    return own == of_persona or (
        len(of_persona) >= _LONG
        and 0.8 * len(of_persona) <= len(own) <= len(of_persona) + 2
        and not set(own) - set(of_persona)
    )
