"""Extract the subject of a request: its data section, its keywords, the person it names."""

import re
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from html import unescape
from itertools import pairwise
from typing import Any

from personahub_assets.standin.dice import Dice
from personahub_assets.standin.words import PHRASE_WORDS, STOP_WORDS

# Characters of a text that are searched for keywords: its beginning and one later section.
_HEAD_CHARS = 1100
_TAIL_CHARS = 500
_KEYWORDS = 16
_PERSON_CHARS = 900

_OPENING = re.compile(r"<data(?:[\s_-][^<>]*)?>")
_ABOUT_ANSWERS = re.compile(r"rejected_answer|errors")  # feedback about an earlier answer is not data
_ANSWER = re.compile(r'<data name="\w+_answer">(.*?)</data>', re.DOTALL)
_CONVERSATION = "User:\n"  # how one begins
_SPEAKER = re.compile(r"^(?:User|Assistant):$", re.MULTILINE)  # above each of its messages
_WORLD = re.compile(r"^(?:Factions|Exists here): (.+)\.$", re.MULTILINE)  # lines of a game world in a prompt
_NOISE = re.compile(r"<[^<>]{0,300}>|&#?\w{1,8};|https?://\S+|www\.\S+|\S{1,64}@\S+")
_TOKEN = re.compile(r"[^\W\d_][^\s!-&(-,./:-@\[-`{-~«»“”„…、。，！？；：「」『』（）|·•–—]*")
_NOT_NOUNS = ("ly", "ed", "ing", "est", "ous", "ful", "able", "ive")
_UNCASED_RUN = 8
_UNCASED_PIECE = 4

_PERSON = re.compile(
    r"(?:^|[,;]\s+)((?:an?|the)\s+(?:[\w-]+,\s+(?!who|whose|an?\b|the\b|and\b|with\b|from\b|in\b|now\b))?[^,;.:()]{3,70}?)"
    r"(?=[,;.:()]|\s(?:who|whose|whom|from|in|with|based|living|working|turned|on|at|for|that|and)\b|$)",
    re.IGNORECASE,
)

_NUMBERS = {
    word: value
    for value, word in enumerate(
        [
            "one",
            "two",
            "three",
            "four",
            "five",
            "six",
            "seven",
            "eight",
            "nine",
            "ten",
            "eleven",
            "twelve",
            "thirteen",
            "fourteen",
            "fifteen",
            "sixteen",
        ],
        1,
    )
}
_NUMBER = rf"(\d{{1,3}}|{'|'.join(_NUMBERS)})"
_PLAIN_COUNT = re.compile(
    r"\b(?:exactly|write|give|list|return|produce|name|generate|create|provide|propose|describe|invent)\s++"
    rf"(?:(?:me|exactly|up\s++to|at\s++most|at\s++least)\s++){{0,3}}{_NUMBER}\b"
    r"(?!\s*+(?:(?:[-–]|or\b|to\b)\s*+)?\w*\s*+(?:sentence|word|paragraph|character|line|letter|token)s?\b)",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Source:
    """One parsed request: the random seed, the keywords of the data, and the instructions around the data."""

    seed: bytes
    data: str
    keywords: tuple[str, ...]
    instructions: str
    person: str  # the kind of person that a short data section describes, such as "a retired captain", or ""

    @property
    def world(self) -> tuple[str, ...]:
        """Factions and things of the game world that the instructions describe; empty without one."""
        lists = _WORLD.findall(self.instructions) if "Exists here: " in self.instructions else []
        return tuple(term for terms in lists for term in terms.split("; "))

    @property
    def is_conversation(self) -> bool:
        """Whether the data is a conversation."""
        return self.data.startswith(_CONVERSATION)

    @property
    def answers(self) -> tuple[str, ...]:
        """The texts of the data sections named like `first_answer`; the last section is the data itself."""
        before = [text for answer in _ANSWER.findall(self.instructions) if (text := answer.strip())]
        return (*before, self.data) if before else ()

    def wanted(self, noun: str, *, outermost: bool) -> int | None:
        """Returns the number of `noun` that the instructions ask for, or None."""
        return _wanted(self.instructions, noun, outermost)


def read(messages: list[Any], written: str, salt: str = "") -> Source:
    """Parses the messages of a chat request; their JSON `written` and `salt` (the schema) determine the seed."""
    seed = blake2b((written + salt).encode("ascii", "replace"), digest_size=16).digest()
    texts = [message_text(message) for message in messages if isinstance(message, dict)]
    users = [i for i, m in enumerate(messages) if isinstance(m, dict) and m.get("role", "user") == "user"]
    for index in reversed(users):
        section = _data_section(texts[index])
        if section:
            start, end = section
            around = texts[index][:start] + " " + texts[index][end:]
            instructions = "\n".join([*texts[:index], around, *texts[index + 1 :]])
            return _source(seed, texts[index][start:end], instructions)
    return _source(seed, texts[users[-1]] if users else "", "\n".join(texts))


def message_text(message: dict[str, Any]) -> str:
    """Returns the text of a message whose content is a string or a list of parts."""
    content = message.get("content")
    if isinstance(content, list):
        return "\n".join(str(item.get("text", "")) for item in content if isinstance(item, dict))
    return content if isinstance(content, str) else ""


def _source(seed: bytes, data: str, instructions: str) -> Source:
    data = data.encode("utf-8", "replace").decode("utf-8").strip()  # lone surrogates must not reach an answer
    topics = _SPEAKER.sub("", data) if data.startswith(_CONVERSATION) else data
    return Source(seed, data, keywords(topics, Dice(seed, "stretch")), instructions, person_in(data))


def _data_section(text: str) -> tuple[int, int] | None:
    """Finds the inside of the last `<data …>…</data…>` as (start, end)."""
    close = text.rfind("</data")
    if close < 0:
        return None
    # A row can contain such tags itself; the last opening tag before the last closing tag counts.
    openings = (opening for opening in _OPENING.finditer(text, 0, close) if not _ABOUT_ANSWERS.search(opening[0]))
    ends = [opening.end() for opening in openings]
    return (ends[-1], close) if ends else None


def keywords(text: str, dice: Dice) -> tuple[str, ...]:
    """Returns up to 16 keywords and phrases of a text, best first."""
    stretch = _stretch(text, dice)
    scores: dict[str, float] = {}
    run: list[_Word] = []
    end = -1
    for match in _TOKEN.finditer(stretch):
        start, stop = match.span()
        if run and not (start == end + 1 and stretch[end] == " "):
            run = _close(run, scores)
        end = stop
        words = _words(match[0])
        if words:
            run += words
        if run and (not words or len(run) > 3):
            run = _close(run, scores)
    if run:
        _close(run, scores)
    best = sorted(scores, key=scores.__getitem__, reverse=True)
    return tuple(_distinct_phrases(best))


def _stretch(text: str, dice: Dice) -> str:
    """Cuts a long text to its beginning and one later section, and removes mark-up."""
    if "&lt;" in text:  # mark-up that a feed has escaped
        text = unescape(text)
    if len(text) > _HEAD_CHARS + _TAIL_CHARS:
        start = dice.between(_HEAD_CHARS, len(text) - _TAIL_CHARS)
        text = f"{text[:_HEAD_CHARS]}\n{text[start : start + _TAIL_CHARS]}"
    return (
        _NOISE.sub(" . ", text)
        if ("<" in text or "&" in text or "@" in text or "www" in text or "http" in text)
        else text
    )


class _Word:
    """One content word, with the features that do not depend on its neighbours."""

    __slots__ = ("calm", "capital", "describes", "noun", "score", "text")

    def __init__(self, text: str) -> None:
        self.text, self.calm = text, _calm(text)
        self.capital, self.noun, self.describes = text[0].isupper(), _noun_like(text), _describes(text)
        telling = self.noun or (self.capital and text.lower() not in PHRASE_WORDS)
        self.score = (3 if self.capital else min(len(text), 12) / 4) if telling else 0.0


# Texts repeat words, so the features of words are cached.
@lru_cache(maxsize=1 << 15)
def _words(token: str) -> tuple[_Word, ...]:
    """Returns the word of a token, its pieces if it is a long run without spaces, or nothing for a stop word."""
    word = token.rstrip("'’-")
    if len(word) < 3 or word.lower() in STOP_WORDS or not _readable(word) or word.endswith(("n't", "n’t")):
        return ()
    return tuple(_Word(piece) for piece in _pieces(word))


def _pieces(word: str) -> list[str]:
    """Splits a long run of a script without spaces into short pieces; leaves words alone."""
    if len(word) < _UNCASED_RUN or word.isascii() or word.lower() != word.upper():
        return [word]
    return [word[i : i + _UNCASED_PIECE] for i in range(0, min(len(word), 4 * _UNCASED_RUN), _UNCASED_PIECE)]


def _readable(word: str) -> bool:
    return len(word) <= 28 and (word.isascii() or word.isprintable())


def _close(run: list[_Word], scores: dict[str, float]) -> list[_Word]:
    """Scores the words and phrases of one run of adjacent content words."""
    if len(run) > 1:
        if all(word.capital for word in run):
            _add(scores, " ".join([word.calm for word in run]), 7)
            return []
        for left, right in pairwise(run):
            if left.capital == right.capital and (left.capital or (right.noun and left.describes)):
                _add(scores, f"{left.text} {right.text}", 6 if left.capital else 4)
    for word in run:
        if word.score:
            _add(scores, word.calm, word.score)
    return []


def _add(scores: dict[str, float], phrase: str, score: float) -> None:
    scores[phrase] = scores.get(phrase, 0.0) + score


def _noun_like(word: str) -> bool:
    lowered = word.lower()
    long_enough = len(word) >= 5 or not word.isascii()
    return long_enough and lowered not in PHRASE_WORDS and not lowered.endswith(_NOT_NOUNS)


def _describes(word: str) -> bool:
    """True if a word can precede a noun: "winter" and "local", but not "hates"."""
    return word.lower() not in PHRASE_WORDS and not word.endswith(_NOT_NOUNS) and not word.endswith("s")


def _calm(word: str) -> str:
    """Changes a word in capitals to a capitalised one, except acronyms."""
    word = word.removesuffix("'s").removesuffix("’s")
    return word.capitalize() if len(word) > 5 and word.isupper() else word


def _distinct_phrases(phrases: list[str]) -> list[str]:
    """Keeps the best phrases that share no word with a better one."""
    taken: set[str] = set()
    kept = []
    for phrase in phrases:
        tokens = set(phrase.lower().split())
        if not tokens & taken and not tokens <= PHRASE_WORDS:
            taken |= tokens
            kept.append(phrase)
            if len(kept) == _KEYWORDS:
                break
    return kept


def person_in(text: str) -> str:
    """Returns the head phrase of a short description of a person, its article in lower case, or ""."""
    if not text or len(text) > _PERSON_CHARS:
        return ""
    phrases = [match.group(1) for match in _PERSON.finditer(text[:300])]
    # "The mentor of a retired captain, a shy baker from …" is about the baker.
    indefinite = [phrase for phrase in phrases if phrase[:2].lower() in ("a ", "an")]
    if not (indefinite or phrases):
        return ""
    phrase = " ".join((indefinite or phrases)[0].split())
    return phrase[0].lower() + phrase[1:]


@lru_cache(maxsize=2048)
def _wanted(instructions: str, noun: str, outermost: bool) -> int | None:
    named = _noun_count(noun).search(instructions) if len(noun) > 2 else None
    match = named or (_PLAIN_COUNT.search(instructions) if outermost else None)
    if not match:
        return None
    word = match.group(1).lower()
    return _NUMBERS.get(word) or int(word)


@lru_cache(maxsize=512)
def _noun_count(noun: str) -> re.Pattern[str]:
    return re.compile(rf"\b{_NUMBER}\s+(?:[\w-]+\s+){{0,3}}?{re.escape(noun)}\w{{0,2}}\b", re.IGNORECASE)
