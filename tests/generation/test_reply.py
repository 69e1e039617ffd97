"""Fields of a reply, with any other content."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from personahub_assets.endpoints.reply_errors import ErrorReply, UnreadableReply
from personahub_assets.generation.replies.reply import Reply, meaning_of, read_reply

TEXT = '{"topic": "Graphs", "problem": "A «ferry» {plan}"}'


def completion(message: Any = None, choice: Any = None, **top: Any) -> dict[str, Any]:
    message = {"role": "assistant", "content": TEXT, **(message or {})}
    usage = {"prompt_tokens": 300, "completion_tokens": 100, "total_tokens": 400}
    choices = [{"index": 0, "message": message, "finish_reason": "stop", **(choice or {})}]
    return {
        "id": "c1",
        "object": "chat.completion",
        "created": 1,
        "model": "m",
        "choices": choices,
        "usage": usage,
    } | top


def read(value: Any) -> Reply:
    return read_reply(json.dumps(value).encode())


@pytest.mark.parametrize(
    "top",
    [
        {"service_tier": "on_demand", "x_groq": {"id": 1}},
        {"created": 1.5},
        {"created": None, "id": None, "object": ""},
        {"system_fingerprint": 7, "object": "chat.completion.chunk"},
        {"error": None},
        {"error": {}},
    ],
)
def test_what_stands_beside_the_answer_does_not_matter(top: dict[str, Any]) -> None:
    reply = read(completion(**top))
    assert (reply.text, reply.finish, reply.model, reply.prompt_tokens, reply.completion_tokens) == (
        *(TEXT, "stop", "m"),
        *(300, 100),
    )


@pytest.mark.parametrize(
    "message",
    [
        {"annotations": [{"type": "x"}], "function_call": {}, "tool_calls": None, "role": None},
        {"content": [{"type": "text", "text": TEXT}]},
        {"content": [{"type": "text", "text": TEXT[:9]}, {"type": "image"}, {"text": TEXT[9:]}]},
        {"content": [TEXT[:9], TEXT[9:]]},
        {"content": {"type": "text", "text": TEXT}},
        {"content": [{"type": "text", "text": {"value": TEXT}}]},
        {"content": {"parts": [{"text": TEXT}]}},
    ],
)
def test_content_is_text_or_parts(message: dict[str, Any]) -> None:
    assert read(completion(message)).text == TEXT


@pytest.mark.parametrize("value", [json.loads(TEXT), [json.loads(TEXT)], [{"name": "a", "type": "string"}]])
def test_content_is_the_answer_itself(value: Any) -> None:
    assert json.loads(read(completion({"content": value})).text) == value


def test_thinking_parts_are_reasoning() -> None:
    parts = [{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}, {"type": "text", "text": TEXT}]
    reply = read(completion({"content": parts}))
    assert (reply.text, reply.reasoning) == (TEXT, "hm")


@pytest.mark.parametrize("name", ["reasoning", "reasoning_content", "thinking"])
@pytest.mark.parametrize("value", ["hm", [{"type": "text", "text": "hm"}], {"content": "hm"}])
def test_reasoning_has_several_names_and_forms(name: str, value: Any) -> None:
    reply = read(completion({"content": None, name: value}))
    assert (reply.text, reply.reasoning) == ("", "hm")


@pytest.mark.parametrize("arguments", [TEXT, json.loads(TEXT)])
@pytest.mark.parametrize("is_legacy", [True, False])
def test_arguments_of_a_tool(arguments: Any, is_legacy: bool) -> None:
    function = {"name": "f", "arguments": arguments}
    message = {"function_call": function} if is_legacy else {"tool_calls": [{"type": "function", "function": function}]}
    reply = read(completion({"content": None, **message}, {"finish_reason": "tool_calls"}))
    assert json.loads(reply.tool_arguments) == json.loads(TEXT)
    assert (reply.text, reply.finish, reply.finish_word) == ("", "stop", "tool_calls")


def test_refusal_and_legacy_text() -> None:
    assert read(completion({"content": None, "refusal": "I will not"})).refusal == "I will not"
    assert read({"choices": [{"text": TEXT, "finish_reason": "length"}]}).text == TEXT
    assert read({"message": {"role": "assistant", "content": TEXT}, "done": True}).text == TEXT


@pytest.mark.parametrize(
    ("meaning", "words"),
    {
        "length": "length max_tokens MAX_TOKENS max_output_tokens model_length maxTokens ERROR_LIMIT truncated "
        "max_new_tokens token_limit Length MODEL_CONTEXT_WINDOW_EXCEEDED max-tokens LENGTH_CAPPED",
        "content_filter": "content_filter sensitive SAFETY prohibited_content RECITATION blocklist SPII refusal "
        "CONTENT_FILTERED guardrail_intervened ERROR_TOXIC contentFilter IMAGE_SAFETY moderation",
        "fault": "error network_error insufficient_system_resource ERROR timeout time_limit cancelled abort",
        "stop": "stop STOP eos eos_token end_turn stop_sequence tool_calls tool_use function_call other default",
    }.items(),
)
def test_the_end_by_its_meaning(meaning: str, words: str) -> None:
    for word in words.split():
        reply = read(completion(choice={"finish_reason": word}))
        assert (word, reply.finish, reply.finish_word) == (word, meaning, word)
        assert meaning_of(word) == meaning


def test_an_end_that_is_not_told() -> None:
    for value in (None, 7, [], {}):
        reply = read(completion(choice={"finish_reason": value}))
        assert (reply.finish, reply.finish_word) == ("stop", None)
    assert read(completion(choice={"finish_reason": {"type": "length"}})).finish == "length"


@pytest.mark.parametrize(
    ("usage", "counts"),
    [
        ({}, (None, None, 0, None)),
        (None, (None, None, 0, None)),
        ([], (None, None, 0, None)),
        ({"prompt_tokens": None, "completion_tokens": "7"}, (None, None, 0, None)),
        ({"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}, (None, None, 0, None)),
        ({"prompt_tokens": 5, "completion_tokens": 3}, (5, 3, 0, None)),
        ({"prompt_tokens": True, "completion_tokens": -3}, (None, None, 0, None)),
        ({"prompt_tokens": 1e12, "completion_tokens": 2.0}, (None, 2, 0, None)),
        ({"prompt_tokens": 5, "prompt_tokens_details": {"cached_tokens": 9}}, (5, None, 5, None)),
        ({"prompt_tokens": 5, "prompt_tokens_details": []}, (5, None, 0, None)),
        ({"prompt_tokens": 5, "prompt_cache_hit_tokens": 4}, (5, None, 4, None)),
        ({"completion_tokens": 9, "completion_tokens_details": {"reasoning_tokens": 8}}, (None, 9, 0, 8)),
        ({"completion_tokens": 9, "completion_tokens_details": "x"}, (None, 9, 0, None)),
    ],
)
def test_usage_is_what_is_a_number(usage: Any, counts: tuple[int | None, ...]) -> None:
    reply = read(completion(usage=usage))
    assert (reply.prompt_tokens, reply.completion_tokens, reply.cached_tokens, reply.reasoning_tokens) == counts


def test_a_fault_beside_the_answer() -> None:
    error = {"code": 502, "message": "Upstream\x1b[2J died", "metadata": {"raw": '{"why": "memory"}'}}
    reply = read(completion(choice={"finish_reason": None, "error": error}))
    assert (reply.text, reply.finish, reply.error) == (TEXT, "fault", 'Upstream [2J died ({"why": "memory"})')
    assert read(completion(error={"message": "died"})).finish == "fault"


@pytest.mark.parametrize(
    ("body", "code", "message"),
    [
        ({"error": {"code": 402, "message": "Insufficient credits"}}, 402, "Insufficient credits"),
        ({"error": "Model is unloaded."}, None, "Model is unloaded."),
        ({"object": "error", "message": "no such model", "code": "404"}, 404, "no such model"),
        ({"detail": [{"loc": ["body"], "msg": "too long"}]}, None, "too long"),
        ({"success": False, "errors": [{"code": 7003, "message": "No route"}]}, 7003, "No route"),
        ({"base_resp": {"status_code": 1008, "status_msg": "no balance"}, "choices": None}, 1008, "no balance"),
        ([{"error": {"code": 429, "message": "Slow down"}}], 429, "Slow down"),
        ({"error": {"message": "flagged"}, "choices": []}, None, "flagged"),
    ],
)
def test_an_error_in_a_success(body: Any, code: int | None, message: str) -> None:
    with pytest.raises(ErrorReply) as caught:
        read(body)
    assert (caught.value.code, caught.value.message, caught.value.is_empty) == (code, message, False)
    assert json.loads(caught.value.body) == body


@pytest.mark.parametrize("choices", [[], None, [None], {}, 3])
def test_a_reply_without_choices(choices: Any) -> None:
    with pytest.raises(ErrorReply, match="no choices") as caught:
        read(completion(choices=choices))
    assert caught.value.is_empty


def event(delta: Any, **choice: Any) -> str:
    return "data: " + json.dumps({"model": "m", "choices": [{"index": 0, "delta": delta, **choice}]}) + "\n\n"


def test_a_stream_of_events_is_put_together() -> None:
    usage = {"choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 3}}
    body = ": keep alive\n\nevent: message\n" + event({"role": "assistant", "reasoning_content": "hm"})
    body += event({"content": TEXT[:9]}) + event({"content": TEXT[9:]}) + event({}, finish_reason="length")
    body += f"data: {json.dumps(usage)}\n\ndata: [DONE]\n\n"
    reply = read_reply(body.encode())
    assert (reply.text, reply.reasoning, reply.finish, reply.model) == (TEXT, "hm", "length", "m")
    assert (reply.prompt_tokens, reply.completion_tokens) == (5, 3)


def test_other_streams() -> None:
    call = [{"index": 0, "function": {"arguments": TEXT[:9]}}]
    body = event({"tool_calls": call}) + event({"tool_calls": [{"index": 0, "function": {"arguments": TEXT[9:]}}]})
    assert read_reply(body.encode()).tool_arguments == TEXT
    assert read_reply(event({"content": TEXT}).replace("\n", "\r\n").encode()).error == "the stream of events broke off"
    assert read_reply(f"data: {json.dumps(completion())}\n\n".encode()).text == TEXT
    lines = [{"message": {"content": text}, "done": False} for text in (TEXT[:9], TEXT[9:])]
    body = "\n".join(map(json.dumps, [*lines, {"message": {"content": ""}, "done": True, "done_reason": "stop"}]))
    assert (read_reply(body.encode()).text, read_reply(body.encode()).error) == (TEXT, "")
    with pytest.raises(ErrorReply, match="no credit"):
        read_reply(b'data: {"error": {"message": "no credit"}}\n\n')


@pytest.mark.parametrize(
    "wrapped",
    [
        lambda body: b"\xef\xbb\xbf" + body,
        lambda body: b"\n   \n" * 40 + body,
        lambda body: body.decode().encode("utf-16"),
        lambda body: b"[" + body + b"]",
        lambda body: json.dumps(body.decode()).encode(),
        lambda body: b": PROCESSING\n\n: PROCESSING\n\n" + body,
        lambda body: b")]}',\n" + body,
        lambda body: body.replace(b'"choices":', b'"error": {"code": 0, "message": ""}, "choices":'),
        lambda body: b'{"result": ' + body + b', "success": true}',
        lambda body: body.replace(b'"c1"', b'"c\x07\xff"'),
        lambda body: body.replace(b'"created": 1', b'"created": ' + b"1" * 5_000),
    ],
)
def test_what_is_around_and_in_the_body(wrapped: Any) -> None:
    assert read_reply(wrapped(json.dumps(completion()).encode())).text == TEXT


OTHER_INTERFACES = {
    "Gemini": {
        "candidates": [{"content": {"parts": [{"text": TEXT}], "role": "model"}, "finishReason": "STOP"}],
        "usageMetadata": {"promptTokenCount": 5, "candidatesTokenCount": 3},
    },
    "Anthropic": {
        "type": "message",
        "role": "assistant",
        "content": [{"type": "text", "text": TEXT}],
        "stop_reason": "end_turn",
        "usage": {"input_tokens": 5, "output_tokens": 3},
    },
    "Cohere": {
        "message": {"role": "assistant", "content": [{"type": "text", "text": TEXT}]},
        "finish_reason": "COMPLETE",
        "usage": {"tokens": {"input_tokens": 5, "output_tokens": 3}},
    },
    "Bedrock": {
        "output": {"message": {"role": "assistant", "content": [{"text": TEXT}]}},
        "stopReason": "end_turn",
        "usage": {"inputTokens": 5, "outputTokens": 3},
    },
    "Responses": {
        "status": "completed",
        "output": [
            {"type": "reasoning", "summary": []},
            {"type": "message", "content": [{"type": "output_text", "text": TEXT}]},
        ],
        "usage": {"input_tokens": 5, "output_tokens": 3},
    },
    "Workers AI": {
        "result": {"response": TEXT, "usage": {"prompt_tokens": 5, "completion_tokens": 3}},
        "success": True,
        "errors": [],
        "messages": [],
    },
    "Ollama": {"response": TEXT, "done": True, "done_reason": "stop", "prompt_eval_count": 5, "eval_count": 3},
    "DashScope": {
        "output": {"choices": [{"message": {"content": TEXT}, "finish_reason": "stop"}]},
        "usage": {"input_tokens": 5, "output_tokens": 3},
    },
    "TGI": [{"generated_text": TEXT, "prompt_tokens": 5, "completion_tokens": 3}],
}


@pytest.mark.parametrize("body", OTHER_INTERFACES.values(), ids=OTHER_INTERFACES)
def test_answers_of_other_interfaces(body: Any) -> None:
    reply = read_reply(json.dumps(body).encode())
    assert (reply.text, reply.finish, reply.error) == (TEXT, "stop", "")
    assert (reply.prompt_tokens, reply.completion_tokens) == (5, 3)


@pytest.mark.parametrize(
    "body",
    [
        {"error": {"message": "no"}, "response": TEXT},
        {"detail": "no", "output": TEXT},
        {"success": False, "errors": [{"message": "no"}], "result": {"response": ""}},
    ],
)
def test_an_error_is_no_answer_of_another_interface(body: Any) -> None:
    with pytest.raises(ErrorReply, match="no"):
        read_reply(json.dumps(body).encode())


def test_lone_surrogates_stay_for_the_parser() -> None:
    assert read(completion({"content": "a\ud800b"})).text == "a\ud800b"


@pytest.mark.parametrize(
    ("body", "excerpt"),
    [
        (b"", "an empty body"),
        (b" \n ", "an empty body"),
        (
            b"<!DOCTYPE html><html><head><title>Sign in to CorpNet</title></head><body>Please\x1b[2J go</body></html>",
            "an HTML page (title 'Sign in to CorpNet'): Please [2J go",
        ),
        (b"<html><body><h1>502 Bad Gateway</h1></body>", "an HTML page (title '502 Bad Gateway'): 502 Bad Gateway"),
        (b"<?xml version='1.0'?><Error><Code>Denied</Code></Error>", "an XML document: Denied"),
        (b"upstream connect error\n", "plain text: upstream connect error"),
        (b'{"id": "c1", "choices": [{"mess', 'JSON that is cut off: {"id": "c1", "choices": [{"mess'),
        (b'{"id": c1, "choices": []}', 'malformed JSON: {"id": c1, "choices": []}'),
        (b'{"id": 1}', 'JSON that is no chat completion: {"id": 1}'),
        (b"7", "JSON that is no chat completion: 7"),
        (b"data: hello\n\n", "a stream of events without an answer: data: hello"),
        (b"\x1f\x8b\x08\x00abc", "gzip data, 7 bytes"),
        (b"\x0b\x02\x80\x7b\x7d\x03", "binary data, 6 bytes"),
    ],
)
def test_what_cannot_be_read_is_named(body: bytes, excerpt: str) -> None:
    with pytest.raises(UnreadableReply) as caught:
        read_reply(body)
    assert caught.value.excerpt == excerpt
    assert str(caught.value) == f"the reply is {excerpt}"


def test_deep_json_is_unreadable() -> None:
    for body in (b"[" * 100_000, b'{"choices":' * 50_000):
        with pytest.raises(UnreadableReply):
            read_reply(body)


_NAMES = (
    *("choices", "message", "content", "text", "delta", "error", "usage", "finish_reason", "reasoning", "tool_calls"),
    *("function", "arguments", "type", "thinking", "model", "code", "prompt_tokens", "prompt_tokens_details"),
    *("refusal", "parts", "metadata", "raw", "detail"),
)
_WORDS = st.sampled_from(_NAMES)
_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | _WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_WORDS | st.text(max_size=3), inner, max_size=4),
    max_leaves=20,
)


@settings(max_examples=120)
@given(_VALUES, _VALUES, _VALUES)
def test_no_shape_of_json_breaks_the_reader(message: Any, choice: Any, top: Any) -> None:
    shapes = [top, {"choices": [choice]}, {"choices": choice, "error": top}, {"choices": [{"message": message}]}]
    shapes.append({"choices": [{"message": {"content": message, "tool_calls": choice}}], "usage": top, "model": choice})
    for shape in shapes:
        for body in (json.dumps(shape), f"data: {json.dumps(shape)}\n\n" * 2):
            try:
                reply = read_reply(body.encode("utf-8", "surrogatepass"))
            except (ErrorReply, UnreadableReply):
                continue
            for text in (reply.text, reply.reasoning, reply.tool_arguments, reply.refusal, reply.model, reply.error):
                assert isinstance(text, str)
            for count in (reply.prompt_tokens, reply.completion_tokens, reply.cached_tokens, reply.reasoning_tokens):
                assert count is None or 0 <= count <= 1_000_000_000


@given(st.binary(max_size=60))
def test_no_bytes_break_the_reader(body: bytes) -> None:
    with pytest.raises((ErrorReply, UnreadableReply)):
        read_reply(body)
