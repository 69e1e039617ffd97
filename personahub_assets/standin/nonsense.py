"""Answers that satisfy the schema, or nearly do, but are unusable."""

import json
import re
from collections.abc import Callable
from hashlib import blake2b
from typing import Any

from personahub_assets.standin.forms import Form
from personahub_assets.standin.wrappings import Answer, Rewrite

_SENTENCE = re.compile(r'(?<=[:\[,])"((?:[^"\\]|\\.){30,})"')  # a value, not the name of a field
_SHORTEST = 40
_TALES = (
    "一位住在山谷里的退休船匠，常常教年轻人修补旧木船，也爱在夜里读航海的故事。她年轻时在港口的学校里学会了画图纸，"
    "后来为渔民设计过三种新的桨。如今每个周末，邻居们都会带着孩子来听她讲风暴、灯塔和远方城市的集市。"
)
# In the form of the schema, because guided decoding allows nothing else.
_APOLOGIES = (
    "I'm not able to help with describing the people in this text.",
    "I cannot create a persona from content of this kind.",
    "The given text does not have enough information to infer any persona.",
    "Lo siento, pero no puedo ayudar con esta petición.",
    "Je suis désolé, mais je ne peux pas répondre à cette demande.",
    "Es tut mir leid, aber dabei kann ich nicht helfen.",
    "抱歉，我无法回答这个问题，请换一个问题再试一次。",
)


def _with_texts(sentence: Callable[[str, Answer], str]) -> Rewrite:
    """Replaces every longer text of the answer."""

    def rewrite(answer: Answer) -> str:
        return _SENTENCE.sub(lambda match: json.dumps(sentence(match[1], answer), ensure_ascii=False), answer.text)

    return rewrite


def _repeated(unit: str) -> Rewrite:
    return _with_texts(lambda text, _: (unit * _chars(text))[: _chars(text)].strip())


def _chars(text: str) -> int:
    return max(_SHORTEST, len(text))


def _spliced(signs: str) -> Rewrite:
    """Inserts JSON-escaped characters after the first third of every longer text."""
    return lambda answer: _SENTENCE.sub(lambda match: f'"{_first_words(match[1])} {signs} and more"', answer.text)


def _first_words(text: str) -> str:
    return text[: len(text) // 2].rpartition(" ")[0].rstrip("\\")


def _echo(text: str, answer: Answer) -> str:
    return f'<data name="text"> {re.sub(r"</?data[^<>]*>", "", answer.prompt).strip()}'[: max(60, len(text))]


def _apology(_: str, answer: Answer) -> str:
    number = blake2b(answer.prompt.encode("utf-8", "replace"), digest_size=4).digest()
    return _APOLOGIES[int.from_bytes(number, "little") % len(_APOLOGIES)]


def _described(schema: Any, root: Any) -> Any:
    """Returns the schema's descriptions as values."""
    if "$ref" in schema:
        return _described(root["$defs"][schema["$ref"].rpartition("/")[2]], root)
    if "enum" in schema:
        return schema["enum"][0]
    if "properties" in schema:
        return {name: _described(inner, root) for name, inner in schema["properties"].items()}
    if schema.get("type") == "array":
        return [_described(schema.get("items", {}), root)] * max(1, schema.get("minItems", 1))
    return _described_text(schema)


def _described_text(schema: Any) -> Any:
    if schema.get("type") in ("integer", "number"):
        return schema.get("minimum", 1)
    if schema.get("type") == "boolean":
        return True
    if "pattern" in schema:
        return "snake_case"
    return str(schema.get("description") or "text").ljust(schema.get("minLength", 0), ".")


NONSENSE: dict[str, Form[Rewrite]] = {
    name: Form(words, rewrite, is_usable=False)
    for name, (words, rewrite) in {
        "schema_echo": ("the schema itself", lambda answer: json.dumps(answer.schema)),
        "description_echo": (
            "the schema's descriptions as values",
            lambda answer: json.dumps(_described(answer.schema, answer.schema)),
        ),
        "placeholder": ("a placeholder as every text", _repeated("string ")),
        "loop": ("one word over and over", _repeated("the ")),
        "chars_loop": ("one letter over and over", _repeated("a")),
        "prompt_echo": ("the prompt's own text", _with_texts(_echo)),
        "chinese": (
            "another language than the text's",
            _with_texts(lambda text, _: (_TALES * 30)[: max(_SHORTEST, len(text) // 2)]),
        ),
        "special_inside": ("tokens of a chat template in a text", _spliced("<|eot_id|><|start_header_id|>assistant")),
        "double_escaped": ("escapes that were escaped again", _spliced(r"caf\\u00e9 \\n na\\u00efve")),
        "double_unicode": ("letters as escapes that were escaped again", _spliced(r"\\u4f60\\u597d \\u4e16\\u754c")),
        "escape_html": ("entities of HTML", _spliced("&quot;who&#39;s who&quot; &amp;")),
        "refusal_in_schema": ("a refusal inside the schema", _with_texts(_apology)),
    }.items()
}
