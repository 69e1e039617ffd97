"""Faults around a valid answer: unusual values of other fields, and unusual places for the answer."""

import json
import time
from collections.abc import Callable
from typing import Any

from personahub_assets.standin.forms import Form

Completion = dict[str, Any]
Change = Callable[[Completion], Any]


def _message(completion: Completion) -> Any:
    return completion["choices"][0]["message"]


def _has(**fields: Any) -> Change:
    """Sets fields of the completion."""
    return lambda completion: completion.update(fields)


def _message_has(**fields: Any) -> Change:
    return lambda completion: _message(completion).update(fields)


def _choice_has(**fields: Any) -> Change:
    return lambda completion: completion["choices"][0].update(fields)


def _groq(completion: Completion) -> None:
    times = {"queue_time": 0.05, "prompt_time": 0.01, "completion_time": 0.3, "total_time": 0.31}
    completion.update(service_tier="on_demand", x_groq={"id": "req_7"}, usage={**completion["usage"], **times})


def _nothing_counted(value: int | None) -> Change:
    return _has(usage=dict.fromkeys(("prompt_tokens", "completion_tokens", "total_tokens"), value))


ENVELOPES: dict[str, Form[Change]] = {
    "tier_groq": Form("a service tier and times of its own", _groq),
    "tier_standard": Form("an unknown service tier", _has(service_tier="standard")),
    "usage_empty": Form("usage without numbers", _has(usage={})),
    "usage_nulls": Form("nulls in usage", _nothing_counted(None)),
    "usage_zero": Form("zeros in usage", _nothing_counted(0)),
    "usage_null": Form("usage null", _has(usage=None)),
    "usage_no_total": Form("usage without its total", lambda completion: completion["usage"].pop("total_tokens")),
    "usage_details_list": Form(
        "a list in usage", lambda completion: completion["usage"].update(prompt_tokens_details=[])
    ),
    "created_float": Form("a fraction of a second", lambda completion: completion.update(created=time.time())),
    "created_null": Form("no time", _has(created=None)),
    "id_null": Form("no id", _has(id=None)),
    "model_null": Form("no name of a model", _has(model=None)),
    "object_odd": Form("an empty object field", _has(object="")),
    "object_chunk": Form("the object field of a stream", _has(object="chat.completion.chunk")),
    "fingerprint_int": Form("a number as fingerprint", _has(system_fingerprint=7)),
    "no_role": Form("a message without a role", lambda completion: _message(completion).pop("role")),
    "no_index": Form("a choice without its index", lambda completion: completion["choices"][0].pop("index")),
    "function_call_empty": Form("an empty function call", _message_has(function_call={})),
    "annotations_odd": Form("an unknown annotation", _message_has(annotations=[{"type": "file_citation", "id": "f"}])),
    "logprobs_list": Form("a list as logprobs", _choice_has(logprobs=[])),
    "finish_eos": Form("finish reason eos", _choice_has(finish_reason="eos")),
    "finish_null": Form("finish reason null", _choice_has(finish_reason=None)),
    "other_model": Form("the name of another model", _has(model="tiny-fallback-q4")),
}


def _reasoned(field: str) -> Change:
    def change(completion: Completion) -> None:
        message = _message(completion)
        message.update({field: message["content"], "content": None})

    return change


def _in_parts(completion: Completion) -> None:
    message = _message(completion)
    thought = {"type": "thinking", "thinking": [{"type": "text", "text": "Who would read this?"}]}
    message["content"] = [thought, {"type": "text", "text": message["content"]}]


def _as_object(completion: Completion) -> None:
    message = _message(completion)
    message["content"] = json.loads(message["content"])


def as_tool_call(completion: Completion, name: str = "json_tool_call") -> None:
    """Moves the answer into the arguments of a tool call."""
    choice = completion["choices"][0]
    call = {
        "id": "call_1",
        "type": "function",
        "function": {"name": name, "arguments": choice["message"]["content"]},
    }
    choice["message"].update(content=None, tool_calls=[call])
    choice["finish_reason"] = "tool_calls"


def _died(completion: Completion) -> None:
    message = _message(completion)
    message["content"] = message["content"][:60]
    completion["choices"][0].update(finish_reason="error", error={"code": 502, "message": "The provider went away"})


PLACES: dict[str, Form[Change]] = {
    "reasoning_only": Form("the answer as reasoning_content", _reasoned("reasoning_content")),
    "reasoning_new": Form("the answer as reasoning", _reasoned("reasoning")),
    "parts": Form("content as a list of parts", _in_parts),
    "content_object": Form("content as an object", _as_object),
    "tool_answer": Form("the answer as a call of a tool", as_tool_call),
    "content_null": Form("neither content nor reasoning", _message_has(content=None), is_usable=False),
    "provider_died": Form("half an answer and an error in the choice", _died, is_usable=False),
}
