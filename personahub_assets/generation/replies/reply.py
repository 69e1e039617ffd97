"""Read the needed parts of a chat completion's reply.

OpenAI-compatible servers agree on the answer and little else. So only the answer, its finish reason, the model and the
token counts are read, each separately: a fault in another part of the reply never loses a paid answer. A reply without
an answer is described by its kind and first words, so that the message distinguishes a login page from a cut body.
"""

import json
import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

from pydantic_core import from_json

from personahub_assets.core.text import plain
from personahub_assets.endpoints.reply_errors import ErrorReply, UnreadableReply

Finish = Literal["stop", "length", "content_filter", "fault"]

MAX_TOKENS = 1_000_000_000
"""More tokens than one call can have: larger counts are ignored, because tables cannot store them."""

_WORD_CHARS = 60
_MESSAGE_CHARS = 1_000
_DEPTH = 6  # of nested parts
_BLANKS = "\ufeff \t\r\n\x00"

# Finish reasons by meaning: servers use different words. The order matters: Cohere's ERROR_TOXIC is a filter and its
# ERROR_LIMIT a length; a rate or time limit is neither.
_MEANINGS: tuple[tuple[Finish, re.Pattern[str]], ...] = (
    (
        "content_filter",
        re.compile(
            r"filter|sensitiv|safety|unsafe|prohibit|recitation|block|spii|moderat|polic[iy]|guardrail|flagged|toxic|harm"
            r"|violat|refus|censor|jailbreak|inappropriate|content_?risk|risk_?control|copyright"
        ),
    ),
    ("fault", re.compile(r"rate_?limit|time_?(limit|out)|timed_?out")),
    (
        "length",
        re.compile(
            r"length|truncat|max_?(new_?|output_?|completion_?)?tok|max_?(output|generation|context)"
            r"|(token|context|output|size|generation|budget|error)s?_?limit|limit_?(reach|exceed)|^limit$|context_?window"
        ),
    ),
    (
        "fault",
        re.compile(
            r"error|(?<!de)fault|insufficient|fail|abort|cancel|unavailable|overload|crash|interrupt|exception|disconnect"
        ),
    ),
)
_ENDS = ("finish_reason", "finishReason", "native_finish_reason", "done_reason", "stop_reason", "stopReason")
_REASONING = ("reasoning_content", "reasoning", "thinking", "reasoning_details", "thought", "thoughts")
_CACHED = ("prompt_cache_hit_tokens", "cached_tokens", "cache_read_input_tokens")  # DeepSeek, Moonshot, Anthropic
# Where the answer is in other interfaces than chat completions: its container, and the answer itself.
_HOLDERS = ("candidates", "results", "result", "output", "outputs", "predictions", "generations", "message", "data")
_ANSWERS = ("generated_text", "output_text", "generation", "completion", "text", "response", "content")
_USAGES = ("usage", "usageMetadata", "meta", "tokens", "billed_units")
_PROMPT_COUNTS = (
    *("input_tokens", "prompt_eval_count", "inputTokens", "promptTokenCount", "prompt_token_count"),
    "input_token_count",
)
_COMPLETION_COUNTS = (
    *("output_tokens", "eval_count", "outputTokens", "candidatesTokenCount", "generation_token_count"),
    "generated_token_count",
)
# Prefixes of some gateways before the JSON: keep-alive comments of a stream, and guards against scripts.
_BEFORE_JSON = re.compile(
    r"(?::[^\n]{0,1000}\n\s{0,20}|\)\]\}'?,?\s{0,20}|for\s?\(;;\);|while\s?\(1\);){1,200}(?=[{\[])"
)
# Keys of the text in a part of a content.
_TEXTS = ("text", "output_text", "content", "value", "parts", "json", "summary")
_THOUGHTS = ("thinking", "reasoning", "thought", "reasoning_content")
_SENTENCES = (
    *("message", "msg", "error_msg", "status_msg", "detail", "details", "error", "errors", "description"),
    *("error_description", "faultstring", "reason", "blockReason", "block_reason", "title", "code", "type"),
)
_ERRORS = ("error", "errors", "detail", "message", "msg", "error_msg", "base_resp", "fault", "error_message")
_NO_PROMPT = ("promptFeedback", "prompt_feedback", "prompt_filter_results")
_CODES = ("code", "status", "status_code", "statusCode", "http_code", "error_code")
_HTML = re.compile(r"<(?:!doctype\s++html|html|head|body|title|meta|script|style|div|h1|center|p)\b", re.IGNORECASE)
_TITLE = re.compile(r"<(title|h1)\b[^>]{0,300}>([^<]{1,300})", re.IGNORECASE)
_HIDDEN = re.compile(r"<(script|style|head)\b.*?(?:</\1\s*>|$)", re.IGNORECASE | re.DOTALL)
_TAG = re.compile(r"<[^<>]{0,2000}>")
_EVENT = re.compile(r"(?:data|event|id|retry|):")
_MAGIC = ((b"\x1f\x8b", "gzip data"), (b"\x28\xb5\x2f\xfd", "zstd data"), (b"%PDF", "a PDF file"))


@dataclass(slots=True)
class Reply:
    """The contents of a reply.

    `text`, `reasoning`, `tool_arguments` and `refusal` are unchanged, lone surrogates included; the other texts are
    printable.
    """

    text: str = ""
    finish: Finish = "stop"
    finish_word: str | None = None  # the server's own finish reason
    model: str = ""
    prompt_tokens: int | None = None  # None: missing or implausible
    cached_tokens: int = 0
    completion_tokens: int | None = None
    reasoning_tokens: int | None = None
    reasoning: str = ""
    tool_arguments: str = ""
    refusal: str = ""
    error: str = ""  # an error beside the answer, such as a lost provider


def read_reply(content: bytes) -> Reply:
    """Read the body of a reply, a JSON object or a stream of events.

    Raises:
        ErrorReply: if it is an error, or has no choices.
        UnreadableReply: if it is neither an error nor a chat completion.
    """
    try:
        value = _loaded(content)
        if isinstance(value, str) and value.lstrip().startswith("{"):  # JSON inside a JSON string
            value = _loaded(value.encode("utf-8", "replace"))
        return _completion(value, content)
    except RecursionError:
        raise UnreadableReply("JSON nested too deep", _decoded(content[:4_000])) from None


def _loaded(content: bytes) -> Any:
    """The JSON value of a body, or one completion joined from its events."""
    try:
        return from_json(content)  # a third of the time of json.loads
    except ValueError:
        text = _decoded(content).strip(_BLANKS)
        text = text.removeprefix(before[0] if (before := _BEFORE_JSON.match(text)) else "")
    try:
        # Accept control characters inside strings, invalid UTF-8, and numbers of thousands of digits.
        return json.loads(text, strict=False, parse_int=_number)
    except ValueError as error:
        chunks = list(_chunks(text))
        if chunks:
            return _assembled(
                chunks, is_whole="[DONE]" in text[-200:] or '"done":true' in text[-4_000:].replace(" ", "")
            )
        raise _unreadable(content, text, error) from None


def _number(digits: str) -> int | float:
    return int(digits) if len(digits) < 4_000 else math.inf


def _decoded(content: bytes) -> str:
    return content.decode(json.detect_encoding(content), "replace")


def _completion(value: Any, content: bytes) -> Reply:
    """Read a JSON value as a chat completion."""
    top = _envelope(value)
    if not isinstance(top, dict):
        raise UnreadableReply("JSON that is no chat completion", _decoded(content))
    choice = _choice(top) or _of_another_interface(top)
    if choice is None:
        raise _without_choices(top, content)
    reply = _read_choice(choice)
    error = top.get("error")
    if isinstance(error, dict) and not any(error.values()):
        error = None
    if error:
        if not (reply.text or reply.tool_arguments or reply.reasoning):
            raise ErrorReply(_code(top), _message(error), content)
        reply.finish, reply.error = "fault", _message(error)
    model = top.get("model")
    if isinstance(model, str):
        reply.model = model if model.isascii() and model.isprintable() and len(model) <= 200 else plain(model, 200)
    _read_usage(reply, _usage_of(top) or choice.get("usage") or top)
    return reply


def _usage_of(holder: dict[str, Any], depth: int = 3) -> Any:
    """The innermost object with counts."""
    inner = next((holder[name] for name in _USAGES if isinstance(holder.get(name), dict) and holder[name]), None)
    if inner is None:
        return None
    return (_usage_of(inner, depth - 1) if depth else None) or inner


def _envelope(value: Any) -> Any:
    """The completion inside a gateway's wrapper: a list of one, an object under one key."""
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if not isinstance(value, dict) or "choices" in value or "error" in value:
        return value
    inner = [item for item in value.values() if isinstance(item, dict) and isinstance(item.get("choices"), list)]
    outer = {name: value[name] for name in ("model", "usage") if value.get(name)}
    return {**outer, **inner[0]} if len(inner) == 1 else value


def _choice(top: dict[str, Any]) -> dict[str, Any] | None:
    """The first choice with content, else the first; None if there is none."""
    choices = top.get("choices")
    if isinstance(choices, list):
        if len(choices) == 1 and isinstance(choices[0], dict):
            return choices[0]
        usable = [{"text": choice} if isinstance(choice, str) else choice for choice in choices[:16]]
        dicts = [choice for choice in usable if isinstance(choice, dict)]
        return next(filter(_says_something, dicts), dicts[0] if dicts else None)
    if isinstance(choices, dict) and choices:
        return choices["0"] if isinstance(choices.get("0"), dict) else choices
    # A completion without the list of choices, as in Ollama's own interface.
    message = top.get("message")
    return top if isinstance(message, dict) and "content" in message else None


def _of_another_interface(top: dict[str, Any]) -> dict[str, Any] | None:
    """The answer of another interface than chat completions, as a choice: Gemini's, Anthropic's, TGI's and others."""
    if "choices" in top or any(top.get(name) for name in _ERRORS if not isinstance(top.get(name), dict)):
        return None
    return None if top.get("error") else _answer_in(top, _DEPTH)


def _answer_in(value: Any, depth: int) -> dict[str, Any] | None:
    if isinstance(value, list):
        answers = (_answer_in(member, depth - 1) for member in value[:16] if depth)
        return next(filter(None, answers), None)
    if isinstance(value, str):
        return {"text": value}
    if not isinstance(value, dict) or not depth:
        return None
    answer = next((value[name] for name in _ANSWERS if value.get(name)), None)
    if isinstance(answer, dict) and isinstance(answer.get("parts"), list):
        answer = answer["parts"]
    if answer is not None:
        inner: dict[str, Any] | None = {"message": {"content": answer}}
    else:
        answers = (_answer_in(value[name], depth - 1) for name in _HOLDERS if value.get(name))
        inner = next(filter(None, answers), None)
    return inner and {**{name: value[name] for name in (*_ENDS, "usage") if value.get(name)}, **inner}


def _says_something(choice: dict[str, Any]) -> bool:
    reply = _read_choice(choice)
    return bool(reply.text or reply.tool_arguments or reply.refusal)


def _read_choice(choice: dict[str, Any]) -> Reply:
    reply = Reply()
    message = choice.get("message")
    if not isinstance(message, dict):
        message = {"content": message} if isinstance(message, str | list) else choice.get("delta")
        if not isinstance(message, dict):
            message = {"content": choice.get("text")}
    content = message.get("content")
    if type(content) is str:
        reply.text = content
    elif content is not None:
        _read_content(reply, content)
    for name in _REASONING:
        if message.get(name):
            reply.reasoning = _thought(message[name]) or reply.reasoning
            break
    if message.get("tool_calls") or message.get("function_call"):
        reply.tool_arguments = _arguments(message) or reply.tool_arguments
    refusal = message.get("refusal")
    if refusal:
        reply.refusal = refusal if isinstance(refusal, str) else _message(refusal)
    _read_finish(reply, choice)
    return reply


def _read_finish(reply: Reply, choice: dict[str, Any]) -> None:
    word = choice.get("finish_reason")
    if word == "stop":
        reply.finish_word = word
    else:
        word = next((reason for name in _ENDS if (reason := _word(choice.get(name)))), None)
        if word:
            reply.finish_word = plain(word, _WORD_CHARS)
            reply.finish = meaning_of(word[: 4 * _WORD_CHARS])
    error = choice.get("error")
    if error:
        reply.finish, reply.error = "fault", _message(error)


def _word(value: Any) -> str:
    """A finish reason, which some servers put into an object."""
    if isinstance(value, dict):
        value = value.get("type") or value.get("reason")
    return value if isinstance(value, str) else ""


@lru_cache(maxsize=256)
def meaning_of(word: str) -> Finish:
    """The meaning of a server's finish reason; "stop" for an unknown one.

    >>> meaning_of("MAX_TOKENS"), meaning_of("maxOutputTokens"), meaning_of("PROHIBITED_CONTENT"), meaning_of("eos")
    ('length', 'length', 'content_filter', 'stop')
    """
    flat = re.sub(r"[^a-z0-9]+", "_", re.sub(r"([a-z])([A-Z])", r"\1_\2", word).lower())
    return next((finish for finish, pattern in _MEANINGS if pattern.search(flat)), "stop")


def _read_content(reply: Reply, content: Any) -> None:
    """Read the text of a content that is not a string: parts, or the answer itself as an object or list."""
    segments = content if isinstance(content, list) else [content]
    if any(map(_is_part, segments)) or not segments:
        for segment in segments:
            _read_part(reply, segment, _DEPTH)
    else:
        reply.text = json.dumps(content, ensure_ascii=False)


def _is_part(value: Any) -> bool:
    if isinstance(value, str):
        return True
    if not isinstance(value, dict):
        return False
    holders = [name for name in (*_TEXTS, *_THOUGHTS, "refusal", "input", "arguments") if name in value]
    return bool(holders) and (isinstance(value.get("type"), str) or len(value) == 1)


def _read_part(reply: Reply, segment: Any, depth: int) -> None:
    if isinstance(segment, str):
        reply.text += segment
    elif isinstance(segment, dict) and depth and _is_part(segment):
        kind = str(segment.get("type", "")).lower()
        if any(name in kind for name in ("think", "thought", "reason")) or any(name in segment for name in _THOUGHTS):
            reply.reasoning += _thought(segment)
        elif isinstance(segment.get("refusal"), str):
            reply.refusal += segment["refusal"]
        elif "tool" in kind or "function" in kind:
            reply.tool_arguments = reply.tool_arguments or _written(segment.get("input") or segment.get("arguments"))
        else:
            _read_text(reply, next((segment[name] for name in _TEXTS if segment.get(name)), ""), depth - 1)


def _read_text(reply: Reply, value: Any, depth: int) -> None:
    """The content of a part: a text, further parts, or the answer as an object."""
    if isinstance(value, list) and any(map(_is_part, value)):
        for segment in value:
            _read_part(reply, segment, depth)
    elif isinstance(value, dict) and _is_part(value):
        _read_part(reply, value, depth)
    else:
        reply.text += _written(value)


def _written(value: Any) -> str:
    """A text unchanged, an object or list as JSON."""
    if isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list) and value else ""


def _thought(value: Any, depth: int = _DEPTH) -> str:
    """The text of a reasoning: a text, parts, or an object, which can be the answer itself."""
    if isinstance(value, list) and depth and any(map(_is_part, value)):
        return "".join(_thought(segment, depth - 1) for segment in value)
    if isinstance(value, dict) and depth and _is_part(value):
        return _thought(next((value[name] for name in (*_THOUGHTS, *_TEXTS) if value.get(name)), ""), depth - 1)
    return _written(value)


def _arguments(message: dict[str, Any]) -> str:
    """The arguments of the first tool call with arguments."""
    calls = message.get("tool_calls")
    functions: list[Any] = []
    for call in calls[:16] if isinstance(calls, list) else [calls]:
        if isinstance(call, dict):
            functions += [call.get("function"), call]
    functions.append(message.get("function_call"))
    texts = (_written(item.get("arguments") or item.get("input")) for item in functions if isinstance(item, dict))
    return next(filter(str.strip, texts), "")


def _read_usage(reply: Reply, usage: Any) -> None:
    """Read the plausible counts. A prompt or a text cannot have 0 tokens."""
    if not isinstance(usage, dict):
        return
    get = usage.get
    prompt = _count(get("prompt_tokens")) or _first_count(usage, *_PROMPT_COUNTS) or None
    completion = _count(get("completion_tokens"))
    if completion is None:
        completion = _first_count(usage, *_COMPLETION_COUNTS)
    cached = _detail(get("prompt_tokens_details") or get("input_tokens_details"), "cached_tokens")
    cached = cached or _first_count(usage, *_CACHED) or 0
    reasoning = _detail(get("completion_tokens_details") or get("output_tokens_details"), "reasoning_tokens")
    reply.prompt_tokens = prompt
    reply.completion_tokens = None if completion == 0 and (reply.text or reply.reasoning) else completion
    reply.cached_tokens = cached if prompt is None else min(cached, prompt)
    reply.reasoning_tokens = _count(get("reasoning_tokens")) if reasoning is None else reasoning


def _detail(details: Any, name: str) -> int | None:
    return _count(details.get(name)) if isinstance(details, dict) else None


def _first_count(usage: dict[str, Any], *names: str) -> int | None:
    for name in names:
        if name in usage and (count := _count(usage[name])) is not None:
            return count
    return None


def _count(value: Any) -> int | None:
    """A number of tokens, 0 to a thousand million; None for anything else."""
    if value is None:
        return None
    if type(value) is int:
        return value if 0 <= value <= MAX_TOKENS else None
    return math.ceil(value) if type(value) is float and 0 <= value <= MAX_TOKENS else None


# --- errors ---


def _without_choices(top: dict[str, Any], content: bytes) -> ValueError:
    """Classify a JSON object without choices: an error, an empty reply, or another object."""
    error = next((top[name] for name in _ERRORS if top.get(name)), None)
    if error is not None and not (isinstance(error, dict) and "content" in error):
        return ErrorReply(_code(top), _message(error), content)
    if "choices" in top:
        block = next((_message(top[name]) for name in _NO_PROMPT if top.get(name)), "")
        return ErrorReply(_code(top), f"the reply has no choices{block and ': ' + block}", content, is_empty=True)
    return UnreadableReply("JSON that is no chat completion", _decoded(content))


def _message(error: Any) -> str:
    """The sentence of an error object of any shape, with the message of a provider behind a router."""
    sentence = _sentence(error, _DEPTH)
    metadata = error.get("metadata") if isinstance(error, dict) else None
    raw = _sentence(metadata.get("raw"), 2) if isinstance(metadata, dict) else ""
    return plain(f"{sentence} ({raw})" if raw else sentence, _MESSAGE_CHARS) or "an error without a message"


def _sentence(error: Any, depth: int) -> str:
    if isinstance(error, list) and depth:
        return "; ".join(filter(None, (_sentence(item, depth - 1) for item in error[:3])))
    if isinstance(error, dict) and depth:
        sentences = (_sentence(error[name], depth - 1) for name in _SENTENCES if error.get(name))
        return next(filter(None, sentences), "") or plain(json.dumps(error, ensure_ascii=False), _MESSAGE_CHARS)
    return error if isinstance(error, str) else "" if error is None or error is True else str(error)[:_WORD_CHARS]


def _code(top: dict[str, Any]) -> int | None:
    """The number of an error: in its object, else beside it."""
    objects: list[Any] = [top.get(name) for name in _ERRORS]
    objects = [holder[0] if isinstance(holder, list) and holder else holder for holder in objects]
    for holder in [*objects, top]:
        for name in _CODES if isinstance(holder, dict) else ():
            if (code := _integer(holder.get(name))) is not None:
                return code
    return None


def _integer(value: Any) -> int | None:
    if isinstance(value, str) and value.isdecimal() and len(value) <= 9:
        return int(value)
    return value if type(value) is int and abs(value) <= MAX_TOKENS else None


def _unreadable(content: bytes, text: str, error: ValueError) -> UnreadableReply:
    """Describe a body that is not JSON."""
    if not text:
        return UnreadableReply("an empty body", "")
    for magic, kind in _MAGIC:
        if content.startswith(magic):
            return UnreadableReply(f"{kind}, {len(content):,} bytes", text, "")
    if _is_binary(text[:2_000]):
        return UnreadableReply(f"binary data, {len(content):,} bytes", text, "")
    if text[0] == "<":
        return _markup(text)
    if _EVENT.match(text):
        return UnreadableReply("a stream of events without an answer", text)
    if text[0] in "{[":
        is_cut = isinstance(error, json.JSONDecodeError) and _is_cut(text, error)
        return UnreadableReply("JSON that is cut off" if is_cut else "malformed JSON", text)
    return UnreadableReply("plain text", text)


def _is_binary(text: str) -> bool:
    odd = sum(char == "\ufffd" or (char < " " and char not in "\t\r\n\x1b") for char in text)
    return odd * 10 > len(text)


def _is_cut(text: str, error: json.JSONDecodeError) -> bool:
    return error.pos >= len(text.rstrip()) - 8 or error.msg.startswith("Unterminated string")


def _markup(text: str) -> UnreadableReply:
    words = _TAG.sub(" ", _HIDDEN.sub(" ", text[:20_000]))
    if not _HTML.search(text[:2_000]):
        return UnreadableReply("an XML document", text, words)
    title = _TITLE.search(text[:20_000])
    named = f" (title {plain(title[2], 100)!r})" if title else ""
    return UnreadableReply(f"an HTML page{named}", text, words)


# --- streams of events ---


def _chunks(text: str) -> Iterator[dict[str, Any]]:
    """The JSON objects of a stream: of server-sent events, or one a line."""
    is_events = bool(_EVENT.match(text))
    for data in _events(text) if is_events else text.splitlines():
        try:
            chunk = json.loads(data, strict=False)
        except ValueError:
            if not is_events and data.strip():
                return
            continue
        if isinstance(chunk, dict) and (
            "choices" in chunk or "error" in chunk or isinstance(chunk.get("message"), dict)
        ):
            yield chunk


def _events(text: str) -> Iterator[str]:
    """The data of each event: its `data:` lines, joined."""
    lines: list[str] = []
    for line in re.split(r"\r\n|\n|\r", text):
        if line.startswith("data:"):
            lines.append(line[5:])
        elif not line and lines:
            yield "\n".join(lines)
            lines = []
    if lines:
        yield "\n".join(lines)


def _assembled(chunks: Iterable[dict[str, Any]], *, is_whole: bool) -> dict[str, Any]:
    """Join the chunks of a stream to one completion."""
    deltas, messages = _Stream(), _Stream()
    top: dict[str, Any] = {}
    end: dict[str, Any] = {}
    for chunk in chunks:
        top.update({name: chunk[name] for name in ("model", "usage", "error", *_NO_PROMPT) if chunk.get(name)})
        choice = _choice(chunk)
        if choice is None:
            continue
        end.update({name: choice[name] for name in (*_ENDS, "error", "usage") if choice.get(name)})
        (deltas if isinstance(choice.get("delta"), dict) or "text" in choice else messages).add(choice)
    if not deltas and not messages:
        return {**top, "choices": [end] if end else []}
    if not is_whole and not any(map(end.get, _ENDS)):
        end.setdefault("error", "the stream of events broke off")
    return {**top, "choices": [{**end, "message": (deltas or messages).message()}]}


class _Stream:
    """The received texts of a stream; true if there is any."""

    def __init__(self) -> None:
        self.pieces: dict[str, list[str]] = {"content": [], "reasoning_content": [], "refusal": []}
        self.arguments: dict[Any, list[str]] = {}

    def __bool__(self) -> bool:
        return any(self.pieces.values()) or bool(self.arguments)

    def add(self, choice: dict[str, Any]) -> None:
        segment = _read_choice(choice)
        for name, text in (
            ("content", segment.text),
            ("reasoning_content", segment.reasoning),
            ("refusal", segment.refusal),
        ):
            if text:
                self.pieces[name].append(text)
        if segment.tool_arguments:
            self.arguments.setdefault(_call_index(choice), []).append(segment.tool_arguments)

    def message(self) -> dict[str, Any]:
        calls = [{"function": {"arguments": "".join(pieces)}} for pieces in self.arguments.values()]
        return {**{name: "".join(texts) for name, texts in self.pieces.items()}, "tool_calls": calls}


def _call_index(choice: dict[str, Any]) -> str:
    delta = choice.get("delta")
    calls = delta.get("tool_calls") if isinstance(delta, dict) else None
    call = calls[0] if isinstance(calls, list) and calls else None
    return str(call.get("index", 0)) if isinstance(call, dict) else ""
