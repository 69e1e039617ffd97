"""Estimate the length of an answer from the bounds of its JSON schema, before the first answer."""

from typing import Any

from personahub_assets.generation.requests import Task

CHARS_PER_TOKEN = 4
_FILLED = 0.4  # of the difference between the bounds of a text
_TEXT_CHARS, _ITEMS = 60, 4  # of texts and lists without bounds
_AROUND = 6  # quotes, colon, comma


def likely_tokens(task: Task) -> float:
    """Likely completion tokens of a request, at most `max_tokens` of its prompt."""
    return min(task.prompt.max_tokens, likely_chars(task.schema, task.rows_asked) / CHARS_PER_TOKEN)


def likely_chars(schema: dict[str, Any], rows_asked: int = 1) -> float:
    """Likely characters of an answer.

    The length of a text is estimated between its bounds, nearer to the lower one: prompts ask for one or two sentences,
    not for the maximum.

    Args:
        schema: of the answer.
        rows_asked: length of a list at the top, such as `personas`.
    """
    definitions = schema.get("$defs", {})

    def length(node: dict[str, Any], depth: int) -> float:
        node = definitions.get(str(node.get("$ref", "")).rpartition("/")[2], node)
        if "properties" in node:
            return sum(len(name) + _AROUND + length(each, depth + 1) for name, each in node["properties"].items())
        if "items" in node:
            fewest, most = node.get("minItems", 1), node.get("maxItems", _ITEMS)
            is_whole_answer = depth == 1 and len(schema["properties"]) == 1
            count = min(max(rows_asked, fewest), most) if is_whole_answer else (fewest + most) / 2
            return float(count * length(node["items"], depth + 1))
        if words := node.get("enum"):
            return sum(map(len, map(str, words))) / len(words)
        fewest, most = node.get("minLength", 0), node.get("maxLength", _TEXT_CHARS)
        return float(fewest + (most - fewest) * _FILLED)

    return length(schema, 0)
