"""HTTP replies that replace a chat completion."""

from personahub_assets.standin.wire import Reply, failure

_PROXY_PAGES = (
    "<html><head><title>502 Bad Gateway</title></head><body><center><h1>502 Bad Gateway</h1></center></body></html>\n",
    "<!DOCTYPE html>\n<html lang=en><title>Sign in to continue</title><p>Your session has ended.</html>\n",
)
# All of these have status 200; none is a chat completion.
_NO_COMPLETIONS = (
    *(Reply(page.encode(), media_type="text/html") for page in _PROXY_PAGES),
    Reply(b'{"status": "ok"}'),
    Reply(b'{"id": "chatcmpl-0", "object": "chat.completion", "choices": [{"index": 0, "mess'),
)
_COMPLAINTS = (
    ("'messages[1].content' holds signs that this server does not take.", "messages[1].content", "invalid_value"),
    ("'response_format' is of a kind that this server does not support.", "response_format", "unsupported_value"),
    ("The request was found to be invalid.", None, None),
)


def crash() -> Reply:
    """Returns a 500."""
    return failure(500, "The server had an error while processing the request.", code="internal_error")


def busy(status: str, pause_s: int) -> Reply:
    """Returns a 429 or a 503 with `Retry-After: pause_s`."""
    if status == "429":
        return failure(429, "Rate limit reached.", code="rate_limit_exceeded", retry_after=str(pause_s))
    return failure(503, "The server is overloaded; try again soon.", code="overloaded", retry_after=str(pause_s))


def bad_request(variant: int) -> Reply:
    """Returns a 400 that is unrelated to length."""
    message, param, code = _COMPLAINTS[variant % len(_COMPLAINTS)]
    return failure(400, message, param=param, code=code)


def too_long(max_model_len: int, max_tokens: int | None) -> Reply:
    """Returns the 400 of vLLM for a prompt longer than the context, with its `param` and numeric `code`."""
    return failure(
        400,
        f"The maximum context length of this model is {max_model_len} tokens; {max_tokens or 1} output tokens were "
        f"requested and the prompt has at least {max_model_len + 1} input tokens. Shorten the prompt.",
        param="input_tokens",
        code=400,
        kind="BadRequestError",
    )


def malformed(variant: int) -> Reply:
    """Returns a 200 whose body is not a chat completion: an HTML page, other JSON, or truncated JSON."""
    return _NO_COMPLETIONS[variant % len(_NO_COMPLETIONS)]
