"""Valid answers with other text around or inside the JSON, or in another form than the schema's."""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from personahub_assets.standin.forms import Form


@dataclass(frozen=True, slots=True)
class Answer:
    """A valid answer as JSON, with the schema, its name, and the text of the row's message."""

    text: str
    schema: Any
    schema_name: str
    prompt: str

    @property
    def value(self) -> Any:
        """The answer as a value."""
        return json.loads(self.text)


Rewrite = Callable[[Answer], str]
_compact = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def _wrapped(form: str) -> Rewrite:
    """Puts the answer into `form` in place of `@`."""
    return lambda answer: form.replace("@", answer.text)


def _bare_list(answer: Answer) -> str:
    value = answer.value
    lists = [inner for inner in value.values() if isinstance(inner, list)] if isinstance(value, dict) else []
    return _compact(lists[0] if lists else value)


def _stringified(answer: Answer) -> str:
    value = answer.value
    if not isinstance(value, dict):
        return answer.text
    return _compact({key: _compact(inner) if isinstance(inner, list) else inner for key, inner in value.items()})


def _enum_case(answer: Answer) -> str:
    listed = set(re.findall(r'"([a-z_]+)"', " ".join(_enums(answer.schema))))
    return re.sub(r':"([a-z_]+)"', lambda m: f':"{m[1].capitalize()}"' if m[1] in listed else m[0], answer.text)


def _enums(schema: Any) -> list[str]:
    """The lists of values in a schema, as JSON."""
    if isinstance(schema, list):
        return [values for inner in schema for values in _enums(inner)]
    if not isinstance(schema, dict):
        return []
    own = [json.dumps(schema["enum"])] if isinstance(schema.get("enum"), list) else []
    return own + [values for inner in schema.values() for values in _enums(inner)]


def _surplus(fields: str) -> Rewrite:
    return lambda answer: f"{answer.text[:-1]},{fields}}}"


_THOUGHT = "Which people come to mind with this {text}? Let me write down a few."
WRAPPINGS: dict[str, Form[Rewrite]] = {
    "think": Form("a think block before the answer", _wrapped(f"<think>\n{_THOUGHT}\n</think>\n\n@")),
    "think_open": Form("thinking with only its end marked", _wrapped(f"{_THOUGHT}\n</think>\n\n@")),
    "think_brackets": Form("thinking in [THINK] brackets", _wrapped(f"[THINK]{_THOUGHT}[/THINK]@")),
    "fence": Form("a Markdown fence", _wrapped("```json\n@\n```")),
    "fence_prose": Form(
        "a fence with sentences around", _wrapped("Of course! This is it:\n\n```json\n@\n```\n\nShall I write more?")
    ),
    "harmony": Form(
        "channels of the harmony format",
        _wrapped(
            "<|channel|>analysis<|message|>JSON is wanted here.<|end|><|start|>assistant<|channel|>final<|message|>@"
        ),
    ),
    "harmony_flat": Form("harmony with its tokens lost", _wrapped("analysisJSON is wanted here.assistantfinal@")),
    "special_tail": Form("a special token behind the answer", _wrapped("@<|im_end|>")),
    "twice": Form("the answer twice", _wrapped("@\n\n@")),
    "bom": Form("a byte order mark", _wrapped("\ufeff@")),
    "trailing_comma": Form("a comma before the last brace", lambda answer: answer.text[:-1] + ",}"),
    "single_quotes": Form("a Python literal", lambda answer: repr(answer.value)),
    "wrapped_object": Form("an object around the answer", lambda answer: _compact({answer.schema_name: answer.value})),
    "wrapped_array": Form("a list around the answer", _wrapped("[@]")),
    "bare_list": Form("the list without its object", _bare_list),
    "schema_values": Form(
        "values in the place of a schema's properties",
        lambda answer: _compact({"type": "object", "properties": answer.value}),
    ),
    "stringified": Form("lists as JSON strings", _stringified),
    "extra_key": Form("a key that the schema does not have", _surplus('"reasoning":"These fit the text best."')),
    "nan_key": Form("a further key whose value is NaN", _surplus('"confidence":NaN')),
    "enum_case": Form("values of enums with a capital", _enum_case),
}
