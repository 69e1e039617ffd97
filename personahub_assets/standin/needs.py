"""Request parameters that some servers refuse, with the error messages of those servers."""

import json
import re
from collections.abc import Callable
from typing import Any

from personahub_assets.standin.forms import Form
from personahub_assets.standin.wire import Reply, failure, reply
from personahub_assets.standin.writer import schema_of

_LONGEST = 2000
Need = Callable[[dict[str, Any]], Reply | None]
"""Returns the refusal of a request body, or None."""


def _refuses(test: Callable[[dict[str, Any]], object], response: Reply) -> Need:
    return lambda body: response if test(body) else None


def _format(body: dict[str, Any]) -> object:
    wanted = body.get("response_format")
    return wanted.get("type") if isinstance(wanted, dict) else None


def _schema_text(body: dict[str, Any]) -> str:
    """The schema that the request sends outside its messages."""
    bare = {name: value for name, value in body.items() if name != "messages"}
    return json.dumps(schema_of(bare) or {})


def _schema_has(keyword: str) -> Callable[[dict[str, Any]], bool]:
    return lambda body: f'"{keyword}"' in _schema_text(body)


def _unknown(name: str) -> Reply:
    return failure(
        400, f"Invalid JSON payload received. Unknown name \"{name}\" at 'generation_config.response_schema'."
    )


def _unsupported(name: str, instead: str = "") -> Reply:
    message = f"Unsupported parameter: '{name}' is not supported with this model.{instead}"
    return failure(400, message, param=name, code="unsupported_parameter")


def _has_long_text(body: dict[str, Any]) -> bool:
    return any(int(bound) >= _LONGEST for bound in re.findall(r'"maxLength": (\d+)', _schema_text(body)))


_SYSTEM = {"object": "error", "message": "System role not supported", "type": "BadRequestError", "code": 400}
NEEDS: dict[str, Form[Need]] = {
    "no_json_schema": Form(
        "no response_format json_schema",
        _refuses(
            lambda body: _format(body) == "json_schema", failure(400, "This response_format type is unavailable now")
        ),
    ),
    "no_json_schema_422": Form(
        "the same as a 422",
        _refuses(
            lambda body: _format(body) == "json_schema",
            failure(422, "Failed to deserialize the JSON body: response_format.type `json_schema` is unavailable now"),
        ),
    ),
    "no_json_object": Form(
        "no response_format json_object",
        _refuses(
            lambda body: _format(body) == "json_object",
            reply({"error": "'response_format.type' must be 'json_schema' or 'text'"}, 400),
        ),
    ),
    "no_tools": Form(
        "no tools",
        _refuses(
            lambda body: "tools" in body,
            failure(400, '"auto" tool choice requires --enable-auto-tool-choice and --tool-call-parser to be set'),
        ),
    ),
    "no_max_tokens": Form(
        "no max_tokens",
        _refuses(
            lambda body: "max_tokens" in body, _unsupported("max_tokens", " Use 'max_completion_tokens' instead.")
        ),
    ),
    "no_max_completion_tokens": Form(
        "no max_completion_tokens",
        _refuses(
            lambda body: "max_completion_tokens" in body,
            reply(
                {"detail": [{"loc": ["body", "max_completion_tokens"], "msg": "Extra inputs are not permitted"}]}, 422
            ),
        ),
    ),
    "no_temperature": Form(
        "only temperature 1",
        _refuses(
            lambda body: body.get("temperature", 1) != 1,
            failure(
                400,
                "Unsupported value: 'temperature' does not support this value with this model. Only the default (1) "
                "value is supported.",
                param="temperature",
                code="unsupported_value",
            ),
        ),
    ),
    "both_t_p": Form(
        "not temperature and top_p together",
        _refuses(
            lambda body: "temperature" in body and "top_p" in body,
            failure(400, "`temperature` and `top_p` cannot both be given for this model. Use only one."),
        ),
    ),
    "no_system": Form(
        "no system role",
        _refuses(lambda body: any(message["role"] == "system" for message in body["messages"]), reply(_SYSTEM, 400)),
    ),
    "no_ref": Form("no $ref in the schema", _refuses(_schema_has("$ref"), _unknown("$defs"))),
    "no_lengths": Form(
        "no lengths in the schema",
        _refuses(
            _schema_has("minLength"),
            failure(
                400,
                "Invalid schema for response_format: In context=('properties', 'text'), 'minLength' is not permitted.",
                param="response_format",
            ),
        ),
    ),
    "no_extra_false": Form(
        "no additionalProperties in the schema",
        _refuses(_schema_has("additionalProperties"), _unknown("additionalProperties")),
    ),
    "no_long_texts": Form(
        "no maxLength of 2,000 or more",
        _refuses(
            _has_long_text,
            failure(400, "Failed to initialize samplers: failed to parse grammar", code=400),
        ),
    ),
}


def refusal(needs: tuple[str, ...], body: dict[str, Any]) -> Reply | None:
    """Returns the refusal of the first need that a request body does not meet, or None."""
    return next((response for name in needs if (response := NEEDS[name].make(body)) is not None), None)
