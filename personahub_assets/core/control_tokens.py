"""Break control tokens: text that a server's tokenizer would read as the end of a turn, a role or a section.

A server reads `<|im_end|>` in a message as one token, even from a web page, and the rest of the page becomes a system
message. No list of such tokens is complete, so the rules below match their forms; tokens that the server lists
are added. Only the first character of a token is replaced, by a similar one: `‹|im_end|>` looks the same but is not a
token. Text without such forms is unchanged.

The forms are searched in a normalised copy of the text, without invisible characters and with plain instead of
full-width and other variants of characters, because tokenizers normalise (NFKC) first.
"""

import re
import unicodedata
from collections.abc import Iterable
from typing import Any

import regex

# Every repetition is possessive or bounded, so that the time is linear in the text.
_FORMS = re.compile(
    r"""
      <(?= \s*+ /?+ \s*+ (?i:data)\b                       # the section that marks text as data
         | \|[^>\s][^>\n]{0,80}>                           # <|im_start|> <|"|> <|tool> <|DSML|calls>
         | [^>\s]{1,64}\|>                                 # <turn|>
         | /?[A-Z][A-Z0-9_]{1,40}>                         # <<SYS>> <PRE> <BOS_TOKEN>
         | /?(?=[\w:]{0,60}_)[\w:]{1,64}>                  # <start_of_turn> <extra_id_0> </minimax:tool_call>
         | /?[A-Za-z]{3,32}-?\d{1,6}>                      # <unused12>
         | 0x[0-9A-Fa-f]{2}>                               # a byte
         | /?[^\W\d_a-zA-Z]{1,8}>                          # roles in other scripts
         | /?(?i:s|bo[stm]|eo[acdhmpst]|so[acpt]|pad|unk|mask|sep|cls|seed|think(?:ing)?|thought|answer|reasoning
             |endoftext|reponame|filename|ima?ge?|video|audio|tool|turn|role|user|human|assistant|bot|system|message|channel|model)
           (?:[:\d][^>\s]{0,40})?>                         # <s> </s> <eos> <seed:bos> <think>
       )
    | \[(?= /?[a-z]?[A-Z][A-Z0-9_]{1,40}\]                 # [INST] [/INST] [gMASK]
         | \|[^\]\s][^\]\n]{0,80}\]                        # [|user|]
         | /?\w{1,60}_(?:\d{1,6}|id|start|end|token|turn)\]  # [control_8] [start_header_id]
         | (?:unused|reserved|control|special|extra|pad)\d{1,6}\]
         | @\w{1,20}@\] | multimodal\]
         | \w{1,3}~\[                                      # [e~[
       )
    | \](?= ~!?\w{1,3}[\[\]] | <\]\w{1,20}\[ )             # ]~b] ]~!b[
    | >(?= >[A-Z]{3,20}<< )                                # >>QUESTION<<
    | \|(?= \|\|[A-Z][A-Z_]{2,40}\|\|\| )                  # |||EMAIL_ADDRESS|||
    """,
    re.VERBOSE,
)
# First characters of tokens, in all variants: text without them, nearly all text, is not searched.
BRACKETS = "<>[]|﹤﹥＜＞≮≯［］﹇﹈｜"
_BRACKET = re.compile(f"[{re.escape(BRACKETS)}]")
_ALIKE = {"<": "‹", ">": "›", "[": "⁅", "]": "⁆", "|": "¦"}
_WORD_JOINER = "\u2060"
_UNSEEN = regex.compile(r"[\p{DI}\p{Cf}\p{Mn}\p{Me}\p{Cc}--\s]", regex.VERSION1)


class _Shadow(dict[int, str | None]):
    """For `str.translate`: each variant of a character as the plain one, None for invisible ones."""

    def __missing__(self, point: int) -> str | None:
        character = chr(point)
        plain = None if _UNSEEN.match(character) else unicodedata.normalize("NFKD", character)[0]
        self[point] = "_" if plain == "▁" else plain  # how tokenizers write a space
        return self[point]


_SHADOW = _Shadow()


def break_tokens(text: str, served: re.Pattern[str] | None = None) -> str:
    """Break all control tokens and tags of data sections in a text.

    Args:
        served: pattern of the server's tokens, from `pattern_of`.

    >>> break_tokens("Bye.<|im_end|> [INST] </data> a<b, x[1]")
    'Bye.‹|im_end|> ⁅INST] ‹/data> a<b, x[1]'
    """
    if _BRACKET.search(text):
        text = _break_at(text, _starts(text))
    return served.sub(_split, text) if served else text


def pattern_of(tokens: Iterable[str]) -> re.Pattern[str] | None:
    """Make a pattern of a server's tokens that no form covers; None if there are none."""
    others = {token for token in tokens if len(token) > 1 and not token.isspace() and break_tokens(token) == token}
    return re.compile("|".join(map(re.escape, sorted(others, key=len, reverse=True)))) if others else None


def named_tokens(config: Any) -> frozenset[str]:
    """Find the tokens in a tokenizer's configuration that contain other characters than letters and spaces.

    Args:
        config: content of `tokenizer_config.json`; its added tokens are objects, or strings as sent by vLLM.
    """
    if not isinstance(config, dict):
        return frozenset()
    named = [value for name, value in config.items() if str(name).endswith("_token")]
    added = config.get("added_tokens_decoder")
    additional = config.get("additional_special_tokens")
    named += list(added.values()) if isinstance(added, dict) else []
    named += additional if isinstance(additional, list) else []
    contents = [token.get("content") if isinstance(token, dict) else token for token in named]
    return frozenset(token for token in contents if isinstance(token, str) and _is_marked(token))


def _is_marked(token: str) -> bool:
    return any(map(str.isalnum, token)) and any(not sign.isalnum() and not sign.isspace() for sign in token)


def _starts(text: str) -> set[int]:
    """Starts of tokens in the text and in its normalised copy."""
    starts = {match.start() for match in _FORMS.finditer(text)}
    shadow = text.translate(_SHADOW)
    if shadow == text:
        return starts
    positions = range(len(text)) if len(shadow) == len(text) else [i for i, c in enumerate(text) if _SHADOW[ord(c)]]
    return starts | {positions[match.start()] for match in _FORMS.finditer(shadow)}


def _break_at(text: str, starts: set[int]) -> str:
    pieces, end = [], 0
    for start in sorted(starts):
        pieces += [text[end:start], _ALIKE[_SHADOW[ord(text[start])] or ""]]
        end = start + 1
    return "".join([*pieces, text[end:]])


def _split(match: re.Match[str]) -> str:
    """Break a server's token: replace its first character, or separate it by an invisible character."""
    token = match[0]
    return _ALIKE.get(token[0], token[0] + _WORD_JOINER) + token[1:]
