"""The form of requests: fields of each setting, changes after a refusal, and fields in a request's key."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest

from personahub_assets.core import presets, project_files
from personahub_assets.core.config import Generation
from personahub_assets.core.errors import LLMError
from personahub_assets.core.records import KnowledgeText, TextPersonas, Tool
from personahub_assets.generation.requests import Task
from personahub_assets.generation.servers.dialect import Dialect, settled

TASK = Task("tools", project_files.prompt("tools"), Tool, "m")
PERSONAS = Task("text_personas", project_files.prompt("text_personas"), TextPersonas, "m")
ARTICLES = Task("knowledge_texts", project_files.prompt("knowledge_texts"), KnowledgeText, "m")
MESSAGES = [{"role": "system", "content": "Shared."}, {"role": "user", "content": "Row."}]
Body = dict[str, Any]


def dialect(**settings: Any) -> Dialect:
    return Dialect.of(Generation(**settings))


def body(written: Dialect, task: Task = TASK) -> Body:
    """A whole request."""
    sampling = task.prompt.sampling.model_dump()
    return {**written.arguments(task, "m", sampling), "messages": written.messages(MESSAGES, task)}


def schema_of(request: Body) -> Any:
    if "tools" in request:
        return request["tools"][0]["function"]["parameters"]
    return request.get("response_format", {}).get("json_schema", {}).get("schema")


# --- what is sent ---


def test_the_defaults_send_what_was_always_sent() -> None:
    request = body(dialect())
    assert list(request) == ["model", "temperature", "top_p", "max_tokens", "response_format", "messages"]
    assert request["response_format"] == {
        "type": "json_schema",
        "json_schema": {"name": "Tool", "schema": Tool.model_json_schema()},
    }
    assert request["messages"] is MESSAGES
    assert dialect().identity(TASK.prompt) == ()


@pytest.mark.parametrize("mode", ["json_object", "prompt"])
def test_without_a_schema_in_the_request_it_stands_behind_the_shared_instructions(mode: str) -> None:
    request = body(dialect(mode=mode))
    system, user = request["messages"]
    assert system["content"].startswith("Shared.\n\n")
    assert json.dumps(Tool.model_json_schema(), indent=2) in system["content"]
    assert user["content"].startswith("Row.")
    assert request.get("response_format") == ({"type": "json_object"} if mode == "json_object" else None)
    assert "tools" not in request
    assert [message["content"] for message in MESSAGES] == ["Shared.", "Row."]


def test_a_tool_has_the_schema() -> None:
    request = body(dialect(mode="tools"))
    assert request["tool_choice"] == {"type": "function", "function": {"name": "Tool"}}
    assert request["tools"][0]["function"]["parameters"]["properties"].keys() == Tool.model_fields.keys()
    assert request["tools"][0]["function"]["strict"] is True
    assert "response_format" not in request
    assert request["messages"] is MESSAGES


@pytest.mark.parametrize(
    "message",
    [
        "Unknown parameter: 'tools[0].function.strict'.",
        '{"detail":[{"loc":["body","tools",0,"function","strict"],"msg":"Extra inputs are not permitted"}]}',
        "Invalid schema for function 'Tool': in strict mode 'maxLength' is not permitted.",
    ],
)
def test_a_tool_is_not_strict_where_that_is_refused(message: str) -> None:
    server = Server((lambda request: "strict" in request["tools"][0]["function"], message))
    assert "strict" not in body(server.settle(dialect(mode="tools")))["tools"][0]["function"]


def test_the_system_message_is_folded_into_the_first_of_the_user() -> None:
    assert dialect(fold_system=True).messages(MESSAGES, TASK) == [{"role": "user", "content": "Shared.\n\nRow."}]
    turns = [*MESSAGES, {"role": "assistant", "content": "No."}, {"role": "user", "content": "Again."}]
    folded = dialect(fold_system=True, mode="prompt").messages(turns, TASK)
    assert [message["role"] for message in folded] == ["user", "assistant", "user"]
    assert folded[0]["content"].startswith("Shared.")
    assert folded[0]["content"].endswith("\n\nRow.")
    assert "json" in folded[2]["content"]


def test_parameters_are_left_out_renamed_and_added() -> None:
    request = body(
        dialect(
            omit=["top_p"],
            rename={"max_tokens": "max_completion_tokens"},
            extra_body={"seed": 7, "provider": {"order": ["a"]}},
            top_k=20,
            stop=["END"],
            chat_template_kwargs={"enable_thinking": False},
        )
    )
    assert request.keys() == {
        *("model", "temperature", "max_completion_tokens", "top_k", "stop", "chat_template_kwargs"),
        *("response_format", "seed", "provider", "messages"),
    }
    assert request["max_completion_tokens"] == TASK.prompt.max_tokens
    assert (request["seed"], request["top_k"], request["stop"]) == (7, 20, ["END"])


def test_a_task_overrides_the_parameters_of_all() -> None:
    written = dialect(top_k=20, min_p=0.1)
    task = Task("tools", TASK.prompt.with_settings({}, {"top_k": 5}), Tool, "m")
    assert (body(written, task)["top_k"], body(written, task)["min_p"]) == (5, 0.1)
    assert body(written)["top_k"] == 20


def test_a_larger_try_says_its_own_limit() -> None:
    written = dialect(rename={"max_tokens": "max_completion_tokens"})
    assert written.arguments(TASK, "m", {"max_tokens": 9_999})["max_completion_tokens"] == 9_999


@pytest.mark.parametrize("mode", ["json_schema", "tools"])
@pytest.mark.parametrize("task", [TASK, PERSONAS])
def test_a_simple_schema_is_sent_as_such(mode: str, task: Task) -> None:
    written = json.dumps(schema_of(body(dialect(mode=mode, simple_schema=True), task)))
    assert not any(word in written for word in ("$ref", "$defs", "minLength", '"pattern"', "additionalProperties"))
    kept = dialect(mode=mode, simple_schema=True, keep_in_schema=["additionalProperties"])
    assert json.dumps(schema_of(body(kept, task))).count('"additionalProperties": false') == 2
    assert "$ref" in json.dumps(schema_of(body(dialect(mode=mode), task)))


# --- identity ---


@pytest.mark.parametrize(
    "settings",
    [
        {"mode": "json_object"},
        {"mode": "tools"},
        {"mode": "prompt"},
        {"simple_schema": True},
        {"fold_system": True},
        {"omit": ["top_p"]},
        {"extra_body": {"seed": 1}},
        {"top_k": 5},
        {"min_p": 0.1},
        {"presence_penalty": 0.5},
        {"frequency_penalty": 0.5},
        {"repetition_penalty": 1.1},
        {"stop": ["END"]},
        {"reasoning_effort": "low"},
        {"chat_template_kwargs": {"enable_thinking": False}},
        {"server": "deepseek"},
        {"server": "openrouter"},
    ],
)
def test_what_can_change_an_answer_is_part_of_the_identity(settings: Body) -> None:
    assert dialect(**settings).identity()
    assert dialect(**settings).identity() == dialect(**settings).identity()


def test_values_count() -> None:
    assert dialect(top_k=5).identity() != dialect(top_k=6).identity()
    assert dialect(extra_body={"a": 1}).identity() != dialect(extra_body={"a": 2}).identity()
    assert dialect(extra_body={"a": 1, "b": 2}).identity() == dialect(extra_body={"b": 2, "a": 1}).identity()


@pytest.mark.parametrize(
    "settings",
    [
        {"mode": "json_schema"},
        {"rename": {"max_tokens": "max_completion_tokens"}},
        {"omit": ["max_tokens"]},
        {"headers": {"X-Team": "a"}},
        {"longest_wait": 5, "timeout_s": 5, "systematic_faults": 0, "model_must_match": True},
        {"keep_in_schema": ["additionalProperties"]},
        {"mode": "json_schema", "top_k": 5, "omit": ["top_k"]},
        {"server": "vllm"},
        {"server": "openai"},
        {"server": "azure"},
    ],
)
def test_what_cannot_change_an_answer_is_not(settings: Body) -> None:
    assert dialect(**settings).identity() == ()


def test_the_parameters_that_count_are_those_that_are_sent_for_a_task() -> None:
    overriding = TASK.prompt.with_settings({}, {"top_k": 5})
    assert dialect().identity(overriding) == dialect(top_k=5).identity() == dialect(top_k=9).identity(overriding)


def test_an_adapted_dialect_has_the_identity_of_the_configured_one() -> None:
    written = dialect(top_k=5)
    for adapted in written.adaptations("Unknown name response_format"):
        assert adapted.identity() == written.identity()
        assert adapted != written


def test_a_dialect_can_be_a_key() -> None:
    assert len({dialect(), dialect(), dialect(extra_body={"a": 1}), dialect(mode="tools")}) == 3


# --- servers that refuse ---


class Server:
    """Refuses requests by its rules, and records all requests."""

    def __init__(self, *rules: tuple[Callable[[Body], bool], str]):
        self.rules, self.requests = rules, list[Body]()

    def settle(self, written: Dialect, task: Task = TASK) -> Dialect:
        async def refused(tried: Dialect) -> str | None:
            self.requests.append(request := body(tried, task))
            return next((message for rule, message in self.rules if rule(request)), None)

        return asyncio.run(settled(written, refused))


def has(name: str) -> Callable[[Body], bool]:
    return lambda request: name in request


def in_schema(*words: str) -> Callable[[Body], bool]:
    return lambda request: any(f'"{word}"' in json.dumps(schema_of(request)) for word in words)


def asks_by(kind: str) -> Callable[[Body], bool]:
    return lambda request: request.get("response_format", {}).get("type") == kind


def has_system(request: Body) -> bool:
    return any(message["role"] == "system" for message in request["messages"])


RENAMED = {"max_tokens": "max_completion_tokens"}
MAX_TOKENS = [
    "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.",
    '{"error": {"message": "Unsupported parameter.", "param": "max_tokens", "code": "unsupported_parameter"}}',
    '{"detail": [{"type": "x", "loc": ["body", "max_tokens"], "msg": "Extra inputs are not permitted", "input": 9}]}',
    "[{'type': 'extra_forbidden', 'loc': ('body', 'max_tokens'), 'msg': 'Extra inputs are not permitted', 'input': 9}]",
    json.dumps(
        {"message": json.dumps({"detail": [{"loc": ["body", "max_tokens"], "msg": "Extra inputs", "input": 0}]})}
    ),
    json.dumps({"message": "[{'type': 'x', 'loc': ('body', 'max_tokens'), 'msg': 'Extra inputs', 'input': 800}]"}),
    "unrecognized request argument supplied: max_tokens",
    "max_tokens is deprecated for o-series models",
    "参数 max_tokens 不受支持",
]


@pytest.mark.parametrize("message", MAX_TOKENS)
def test_max_tokens_is_renamed(message: str) -> None:
    server = Server((has("max_tokens"), message))
    found = server.settle(dialect())
    assert (found.rename, found.mode) == (RENAMED, "auto")
    assert len(server.requests) == 2
    assert found.adapted == 'rename = {max_tokens = "max_completion_tokens"}'
    assert 'rename = {max_tokens = "max_completion_tokens"}' in dialect().remedy(message)


@pytest.mark.parametrize("name", ["max_new_tokens", "maxOutputTokens", "max_output_tokens", "max_length"])
def test_it_gets_the_name_that_the_server_says(name: str) -> None:
    server = Server((has("max_tokens"), f"Unknown field max_tokens, did you mean `{name}`?"))
    assert server.settle(dialect()).rename == {"max_tokens": name}


def test_a_new_name_that_is_refused_is_taken_back() -> None:
    message = '{"detail":[{"loc":["body","max_completion_tokens"],"msg":"Extra inputs are not permitted"}]}'
    assert Server((has("max_completion_tokens"), message)).settle(dialect(server="openai")).rename["max_tokens"] == (
        "max_tokens"
    )


def test_a_server_that_takes_no_limit_gets_none() -> None:
    server = Server(
        (lambda request: any("max" in name for name in request), "Extra inputs are not permitted: max_tokens")
    )
    assert "max_tokens" in server.settle(dialect()).omit


@pytest.mark.parametrize(
    "message",
    [
        "System role not supported",
        "System role not supported at line 1 in the chat template",
        "Conversation roles must alternate user/assistant/user/assistant/...",
        "Only user and assistant roles are supported!",
        "Developer instruction is not enabled for models/gemma-3-27b-it",
        '{"object": "error", "message": "unexpected role \'system\'", "code": 400}',
        "messages[0].role: value must be one of user, assistant, not system",
        "This model doesn't support system prompts",
        "jinja2.exceptions.TemplateError: After the optional system message, conversation roles must alternate",
    ],
)
def test_the_system_role_is_folded(message: str) -> None:
    server = Server((has_system, message))
    found = server.settle(dialect())
    assert (found.fold_system, found.mode, found.simple_schema) == (True, "auto", False)
    assert len(server.requests) == 2
    assert "fold_system = true" in dialect().remedy(message)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ("$defs", "$ref"),
            "Invalid JSON payload received. Unknown name \"$defs\" at 'generation_config.response_schema'",
        ),
        (("minLength",), "Invalid schema for response_format 'Tool': In context=(), 'minLength' is not permitted."),
        (("additionalProperties",), "Unknown name \"additionalProperties\" at 'generation_config.response_schema'"),
        (("pattern",), "Unsupported JSON schema keyword: 'pattern'"),
        (("maxLength",), "Failed to initialize samplers: failed to parse grammar"),
        (("maxItems",), "xgrammar: the schema has too many states"),
        (("$ref",), "references are not supported: #/$defs/ToolArgument"),
        (("pattern",), "The provided JSON schema contains features not supported by xgrammar."),
        (("minItems",), "response_format.json_schema: invalid schema"),
        (("maxLength",), "Failed to convert the JSON schema: repetition bound 500"),
        (("title",), "json_schema keyword `title` unknown"),
    ],
)
def test_the_schema_is_made_simpler(words: tuple[str, ...], message: str) -> None:
    server = Server((in_schema(*words), message))
    found = server.settle(dialect())
    assert (found.simple_schema, found.mode) == (True, "auto")
    assert len(server.requests) == 2
    assert "simple_schema = true" in dialect().remedy(message)


def test_a_simple_schema_may_have_to_be_closed() -> None:
    closed = "Invalid schema: 'additionalProperties' is required to be supplied and to be false."
    server = Server(
        (in_schema("minLength"), "For 'string' type, property 'minLength' is not supported"),
        (lambda request: "additionalProperties" not in json.dumps(schema_of(request)), closed),
    )
    found = server.settle(dialect())
    assert found.simple_schema
    assert found.keep_in_schema == ("additionalProperties",)
    assert found.mode == "auto"


@pytest.mark.parametrize(
    "message",
    [
        "This response_format type is unavailable now",
        "Failed to deserialize the JSON body: response_format: response_format.type `json_schema` is unavailable now",
        "This model does not support response format `json_schema`.",
        "Structured outputs are not supported by this model",
        "invalid value for 'response_format.type': must be one of text, json_object",
        '{"error":{"message":"Invalid parameter","param":"response_format"}}',
        "guided_json is not enabled on this deployment",
    ],
)
def test_json_is_asked_for_in_another_way(message: str) -> None:
    server = Server((asks_by("json_schema"), message))
    assert server.settle(dialect()).mode == "json_object"
    assert len(server.requests) == 2
    assert 'mode = "json_object"' in dialect().remedy(message)
    both = Server((has("response_format"), message))
    assert both.settle(dialect()).mode == "tools"
    none = Server((has("response_format"), message), (has("tools"), "this model does not support tools"))
    assert none.settle(dialect()).mode == "prompt"


def test_a_tool_that_cannot_be_forced_is_offered() -> None:
    server = Server(
        (has("response_format"), "response_format is not supported"),
        (has("tool_choice"), "tool_choice 'function' is not supported, only auto"),
    )
    found = server.settle(dialect())
    assert found.mode == "tools"
    assert "tool_choice" in found.omit


@pytest.mark.parametrize(
    "message", ["Bad request", "400", "invalid_request_error", '{"error": {"code": 1213}}', "Ошибка"]
)
@pytest.mark.parametrize(
    ("rules", "mode"),
    [
        ([in_schema("$ref")], "auto"),
        ([asks_by("json_schema")], "json_object"),
        ([has("response_format")], "tools"),
        ([has("response_format"), has("tools")], "prompt"),
        ([has("response_format"), has("tools"), has_system], "prompt"),
    ],
)
def test_without_a_hint_there_is_a_short_ladder(message: str, rules: list[Callable[[Body], bool]], mode: str) -> None:
    server = Server(*((rule, message) for rule in rules))
    assert server.settle(dialect()).mode == mode
    assert len(server.requests) <= 7


def test_answers_that_are_no_json_lead_to_modes_that_tell_the_schema() -> None:
    server = Server((asks_by("json_schema"), ""))
    assert server.settle(dialect()).mode == "json_object"
    assert [candidate.mode for candidate in dialect().adaptations()] == ["json_object", "tools", "prompt", "prompt"]


def test_troubles_are_solved_one_by_one() -> None:
    server = Server(
        (has_system, "System role not supported"),
        (has("max_tokens"), MAX_TOKENS[0]),
        (in_schema("$ref", "$defs"), "Unknown name \"$defs\" at 'response_schema'"),
    )
    found = server.settle(dialect(), PERSONAS)
    assert (found.fold_system, found.rename, found.simple_schema, found.mode) == (True, RENAMED, True, "auto")
    assert len(server.requests) == 4
    harder = Server(*server.rules, (has("response_format"), "response_format is not available"))
    found = harder.settle(dialect(), PERSONAS)
    assert (found.fold_system, found.rename, found.mode) == (True, RENAMED, "tools")
    assert found.identity() == ()


@pytest.mark.parametrize(
    ("message", "rule", "remedy"),
    [
        (
            "Unsupported value: 'temperature' does not support 0.8 with this model. Only the default (1) is supported.",
            lambda request: request.get("temperature", 1) != 1,
            'omit = ["temperature"]',
        ),
        (
            "`temperature` and `top_p` cannot both be specified for this model. Please use only one.",
            lambda request: {"temperature", "top_p"} <= request.keys(),
            'omit = ["top_p"]',
        ),
        (
            '{"error": {"message": "top_p is not supported by reasoning models", "param": "top_p"}}',
            has("top_p"),
            'omit = ["top_p"]',
        ),
        (
            "ValidationException: temperature: range: 0..1",
            has("temperature"),
            'omit = ["temperature"]',
        ),
        (
            '{"detail": [{"loc": ["body", "min_p"], "msg": "Extra inputs are not permitted", "input": 0.1}]}',
            has("min_p"),
            'omit = ["min_p"]',
        ),
        (
            "parameter.enable_thinking must be set to false for non-streaming calls",
            has("model"),
            "extra_body = {seed = 1, enable_thinking = false}",
        ),
        ("Unrecognized request argument supplied: 'seed'", has("seed"), "no seed in extra_body"),
        ("reasoning_effort must be one of low, high", has("reasoning_effort"), 'omit = ["reasoning_effort"]'),
    ],
)
def test_a_sampling_parameter_is_never_left_out_silently(
    message: str, rule: Callable[[Body], bool], remedy: str
) -> None:
    server = Server((rule, message))
    options = {"min_p": 0.1, "reasoning_effort": "none", "extra_body": {"seed": 1}}
    with pytest.raises(LLMError) as caught:
        server.settle(dialect(**options))
    assert len(server.requests) == 1
    assert remedy in str(caught.value)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    "message",
    [
        "max_tokens is too large: 32000. This model supports at most 16384 completion tokens",
        "'max_tokens' or 'max_completion_tokens' must be less than or equal to `8192`",
        "Invalid max_tokens value, the valid range of max_tokens is [1, 8192]",
    ],
)
def test_a_limit_that_is_too_high_is_not_renamed(message: str) -> None:
    server = Server((has("max_tokens"), message))
    with pytest.raises(LLMError, match=r"in the table of the task, such as \[text_personas\]: max_tokens"):
        server.settle(dialect())
    assert len(server.requests) == 1


def test_what_a_server_quotes_of_the_request_is_no_complaint() -> None:
    echo = json.dumps(body(dialect(min_p=0.1)))
    for message in (
        f'{{"detail": [{{"loc": ["body", "response_format"], "msg": "not supported", "input": {echo}}}]}}',
        f'{{"error": {{"message": "response_format is not supported"}}, "request": {echo}}}',
        f"[{{'type': 'x', 'loc': ('body', 'response_format'), 'msg': 'unexpected', 'input': {echo}}}]",
    ):
        server = Server((asks_by("json_schema"), message))
        assert server.settle(dialect(min_p=0.1)).mode == "json_object"
        assert len(server.requests) == 2


def test_a_chosen_mode_stays() -> None:
    message = "This response_format type is unavailable now"
    server = Server((asks_by("json_schema"), message))
    with pytest.raises(LLMError, match='mode = "auto"'):
        server.settle(dialect(mode="json_schema"))
    renamed = Server((has("max_tokens"), MAX_TOKENS[0])).settle(dialect(mode="tools"))
    assert (renamed.mode, renamed.rename) == ("tools", RENAMED)


def test_a_server_that_takes_nothing_is_given_up() -> None:
    numbers = iter(range(1000))
    server = Server()

    async def refused(tried: Dialect) -> str | None:
        server.requests.append(body(tried))
        return f"max_tokens unknown, use max_{next(numbers)}_tokens instead; system role refused; $ref"

    with pytest.raises(LLMError, match=r"takes no request as it is written: max_tokens unknown.*Set in hub\.toml"):
        asyncio.run(settled(dialect(), refused))
    assert len(server.requests) <= 12
    with pytest.raises(LLMError, match=r"max_tokens unknown.*Check the key"):
        asyncio.run(settled(dialect(), refused, lambda: "Check the key."))


def test_a_known_address_gives_its_preset_as_advice() -> None:
    url = "https://generativelanguage.googleapis.com/v1beta/openai/"
    assert 'server = "gemini"' in Dialect.of(Generation(), url).remedy("no")
    assert "server =" not in Dialect.of(Generation(server="openai"), url).remedy("no")
    assert "server =" not in Dialect.of(Generation(), "http://127.0.0.1:8000/v1").remedy("no")


def test_without_a_hint_the_advice_is_the_mode_that_asks_least() -> None:
    assert dialect().remedy("Bad request") == 'Set in hub.toml under [generation]: mode = "prompt"'


def test_what_was_left_out_before_stays_so() -> None:
    assert 'omit = ["temperature", "top_p"]' in dialect(omit=["temperature"]).remedy("top_p is not supported")


@pytest.mark.parametrize("name", presets.names())
@pytest.mark.parametrize("task", [TASK, PERSONAS, ARTICLES])
def test_every_preset_writes_a_request(name: str, task: Task) -> None:
    request = body(dialect(server=name), task)
    assert json.loads(json.dumps(request, allow_nan=False)) == request


def test_long_and_strange_messages_are_read_in_no_time() -> None:
    for message in (
        "system " * 400_000,
        "{" * 1_000_000,
        "'input': " * 100_000,
        "invalid " * 200_000,
        "role " * 300_000,
    ):
        assert list(dialect().adaptations(message))
        assert dialect().remedy(message)
