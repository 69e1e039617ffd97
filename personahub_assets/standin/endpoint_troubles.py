"""Faults that affect every request: no credit, model not found, errors of a gateway."""

import dataclasses
from collections.abc import Callable

from personahub_assets.standin.forms import Form
from personahub_assets.standin.wire import Reply, failure, reply

MOVED = "/moved"  # target path of redirects
Trouble = Callable[[str], Reply]
"""Makes the reply from the API key of the request."""


def _fails(status: int, message: str, *, code: str | int | None = None, kind: str | None = None) -> Trouble:
    return lambda _key: failure(status, message, code=code, kind=kind)


def _says(status: int, value: object) -> Trouble:
    return lambda _key: reply(value, status)


def _page(title: str, status: int = 200) -> Trouble:
    page = f"<!DOCTYPE html>\n<html><head><title>{title}</title></head><body><h1>{title}</h1></body></html>\n"
    return lambda _key: Reply(page.encode(), status, media_type="text/html")


def _text(signs: bytes, status: int) -> Trouble:
    return lambda _key: Reply(signs, status, media_type="text/plain")


def _moved(status: int) -> Trouble:
    to = (("location", f"{MOVED}/v1/chat/completions"),)
    return lambda _key: dataclasses.replace(reply({}, status), headers=to)


def _proxy_login(_key: str) -> Reply:
    page = _page("407 Proxy Authentication Required", 407)(_key)
    return dataclasses.replace(page, headers=(("proxy-authenticate", 'Basic realm="proxy"'),))


def _to_login(_key: str) -> Reply:
    return dataclasses.replace(reply({}, 303), headers=(("location", "https://login.corp.invalid/sso?key=canary"),))


def _notice(_key: str) -> Reply:
    message = {"role": "assistant", "content": "You exceeded your current quota. Please top up your account."}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    return reply({"object": "chat.completion", "model": "standin", "choices": [choice]})


def _trouble(summary: str, make: Trouble) -> Form[Trouble]:
    return Form(summary, make, is_usable=False)


_UNFINISHED = {
    "error": {
        "message": "The model wrote no JSON of the schema; see 'failed_generation'.",
        "type": "invalid_request_error",
        "code": "json_validate_failed",
        "failed_generation": '{"personas": [{"persona": "A ferry pilot who',
    }
}
ENDPOINT: dict[str, Form[Trouble]] = {
    "no_credit": _trouble("402, the balance is used up", _fails(402, "Insufficient balance", code="invalid_request")),
    "key_limit": _trouble("403, the key's monthly limit", _fails(403, "Key limit exceeded (monthly)", code=403)),
    "model_gone": _trouble(
        "404, the model is gone",
        _says(404, {"object": "error", "message": "The model `standin` does not exist.", "type": "NotFoundError"}),
    ),
    "crashed": _trouble(
        "400, the model has crashed",
        _says(400, {"error": "The model has crashed without further information. (Exit code: 139)"}),
    ),
    "unloaded": _trouble("400, the model is unloaded", _says(400, {"error": "Model is unloaded."})),
    "budget": _trouble(
        "400, the proxy's budget is spent",
        _fails(400, "Budget exceeded! Spent: 20.3, budget: 20.0", kind="budget_exceeded", code="400"),
    ),
    "bad_key": _trouble("401, the key is no longer valid", _fails(401, "Incorrect API key", code="invalid_api_key")),
    "quota": _trouble(
        "429, the paid quota is used up",
        _fails(
            429,
            "You exceeded your current quota; check your plan and billing.",
            kind="insufficient_quota",
            code="insufficient_quota",
        ),
    ),
    "credit_200": _trouble(
        "a 200 that says the credit is used up",
        _says(200, {"error": {"code": 402, "message": "Insufficient credits. Buy more to go on."}, "user_id": "u7"}),
    ),
    "daily": _trouble(
        "429, come back in twelve hours",
        lambda _key: failure(429, "Rate limit exceeded: requests per day", code=429, retry_after="43200"),
    ),
    "overloaded": _trouble("529, overloaded", _fails(529, "Overloaded", kind="overloaded_error")),
    "loading": _trouble(
        "503, the model is being loaded", _fails(503, "Loading model", code=503, kind="unavailable_error")
    ),
    "gateway_504": _trouble("504 of a proxy", _page("504 Gateway Time-out", 504)),
    "proxy_login": _trouble("407 of a company's proxy, until a user name and password come", _proxy_login),
    "proxy_blocked": _trouble("403, the block page of a company's proxy", _page("Access denied by web policy", 403)),
    "proxy_lost": _trouble("502 of a company's proxy", _page("ERROR: The requested URL could not be retrieved", 502)),
    "notice": _trouble("a sentence about the quota in the place of the answer", _notice),
    "login_redirect": _trouble("303 to a login page of another host", _to_login),
    "login_page": _trouble("a login page as a 200", _page("Sign in to the network")),
    "empty_choices": _trouble("a 200 without choices", _says(200, {"object": "chat.completion", "choices": []})),
    "not_written": _trouble("400, the model's answer was no JSON", _says(400, _UNFINISHED)),
    "moved_308": _trouble("308 to another path", _moved(308)),
    "moved_301": _trouble("301 to another path", _moved(301)),
    "key_echo": _trouble(
        "401 that repeats the key",
        lambda key: failure(401, f"Incorrect API key provided: {key}", code="invalid_api_key"),
    ),
    "terminal_codes": _trouble(
        "400 in bytes that steer a terminal", _text(b"\x1b[2J\x1b]0;mine\x07\x1b[31mbad\x00 request", 400)
    ),
    "odd_signs": _trouble(
        "418 with control characters and half a surrogate pair",
        _fails(418, "bad\x1b[31m\x1b]0;mine\x07 request\x00 \ud800 end"),
    ),
}
SOLD = {"gateway_504", "not_written", "empty_choices"}
"""Faults that cost tokens: a proxy or a check discarded the finished answer."""
