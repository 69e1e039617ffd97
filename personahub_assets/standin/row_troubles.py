"""Faults of some prompts that every retry repeats."""

from collections.abc import Callable

from personahub_assets.standin.forms import Form
from personahub_assets.standin.wire import Reply, failure, reply

RowTrouble = Callable[[int], Reply]
"""Makes the reply; the number chooses the wording."""


def _too_long(number: int) -> Reply:
    status, body = TOO_LONG[list(TOO_LONG)[number % len(TOO_LONG)]]
    return reply(body, status)


def _filtered(_number: int) -> Reply:
    return reply(
        {
            "error": {
                "message": "The prompt was filtered by the content management policy. Change it and retry.",
                "type": None,
                "param": "prompt",
                "code": "content_filter",
                "status": 400,
                "innererror": {"code": "ResponsibleAIPolicyViolation"},
            }
        },
        400,
    )


def _flagged(_number: int) -> Reply:
    return reply({"error": {"code": 403, "message": "Your input was flagged by moderation (violence)"}})


ROW: dict[str, Form[RowTrouble]] = {
    name: Form(words, make, is_usable=False)
    for name, (words, make) in {
        "row_500": ("500 on some prompts", lambda _n: failure(500, "Internal server error: token id out of range")),
        "row_flagged": ("a 200 with an error of moderation", _flagged),
        "row_empty": ("a 200 without choices on some prompts", lambda _n: reply({"id": "c", "choices": []})),
        "row_filtered": ("400 of a content filter", _filtered),
        "row_risk": ("400 of a content filter in other words", lambda _n: failure(400, "Content Exists Risk")),
        "row_sensitive": (
            "an empty answer whose finish reason is `sensitive`",
            lambda _n: reply(
                {
                    "choices": [
                        {"index": 0, "message": {"role": "assistant", "content": ""}, "finish_reason": "sensitive"}
                    ]
                }
            ),
        ),
        "row_too_long": ("too long, in the words of 18 servers", _too_long),
    }.items()
}


def _error(message: str, **fields: object) -> dict[str, object]:
    return {"error": {"message": message, **fields}}


# Codes, types and fields are those of the servers; sentences are shortened.
TOO_LONG: dict[str, tuple[int, object]] = {
    "llamacpp": (
        400,
        _error(
            "request (33102 tokens) exceeds the available context size (32768 tokens), try increasing it",
            code=400,
            type="exceed_context_size_error",
            n_prompt_tokens=33102,
            n_ctx=32768,
        ),
    ),
    "llamacpp_old": (
        400,
        _error(
            "the request exceeds the available context size. try a larger context size or context shift",
            code=400,
            type="invalid_request_error",
        ),
    ),
    "groq": (
        400,
        _error(
            "Please reduce the length of the messages or completion.", param="messages", code="context_length_exceeded"
        ),
    ),
    "groq_413": (
        413,
        _error(
            "Request too large for model `m` on tokens per minute (TPM): Limit 6000, Requested 9100, "
            "please reduce your message size",
            type="tokens",
            code="rate_limit_exceeded",
        ),
    ),
    "tgi": (
        422,
        {
            "error": "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 4096. "
            "Given: 5100 `inputs` tokens and 1024 `max_new_tokens`",
            "error_type": "validation",
        },
    ),
    "gemini": (
        400,
        [
            _error(
                "The input token count (1197000) exceeds the maximum number of tokens allowed (1048575).",
                code=400,
                status="INVALID_ARGUMENT",
            )
        ],
    ),
    "sglang": (
        400,
        {
            "object": "error",
            "message": "The input (40200 tokens) is longer than the model's context length (32768 tokens).",
            "type": "BadRequestError",
            "code": 400,
        },
    ),
    "sglang_total": (
        400,
        {
            "object": "error",
            "message": "Requested token count exceeds the model's maximum context length of 32768 tokens. "
            "You requested a total of 33100 tokens",
            "type": "BadRequestError",
            "code": 400,
        },
    ),
    "mistral": (
        400,
        {
            "object": "error",
            "message": "Prompt contains 40200 tokens and 0 draft tokens, too large for model with 32768 maximum "
            "context length",
            "type": "invalid_request_prompt",
            "code": "3051",
        },
    ),
    "lmstudio": (
        400,
        {
            "error": "Trying to keep the first 9100 tokens when context the overflows. However, the model is loaded "
            "with context length of only 4096 tokens"
        },
    ),
    "anthropic": (400, _error("prompt is too long: 210300 tokens > 200000 maximum", type="invalid_request_error")),
    "cloudflare": (
        413,
        {
            "errors": [
                {
                    "message": "AiError: The estimated number of input and maximum output tokens (9100) exceeded this "
                    "model context window limit (8192).",
                    "code": 5021,
                }
            ]
        },
    ),
    "litellm": (
        400,
        _error(
            "litellm.ContextWindowExceededError: litellm.BadRequestError: OpenAIException - prompt exceeds window",
            type=None,
            code="400",
        ),
    ),
    "vllm": (
        400,
        _error(
            "This model's maximum context length is 8192 tokens. However, you requested 1024 output tokens and your "
            "prompt contains at least 7169 input tokens, for a total of at least 8193 tokens. Please reduce the length "
            "of the input prompt or the number of requested output tokens.",
            type="BadRequestError",
            param="input_tokens",
            code=400,
        ),
    ),
    "vllm_negative": (
        400,
        _error("max_tokens must be at least 1, got -1310.", type="BadRequestError", param="max_tokens", code=400),
    ),
    "llamacpp_python": (
        500,
        _error("Requested tokens (2301) exceed context window of 2048", type="internal_server_error"),
    ),
    "qwen": (
        400,
        _error(
            "Range of input length should be [1, 129024]",
            type="invalid_request_error",
            code="invalid_parameter_error",
        ),
    ),
    "bedrock": (400, _error("ValidationException: Input is too long for requested model.")),
}
