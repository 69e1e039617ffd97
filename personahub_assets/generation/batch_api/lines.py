"""Lines of the files of a batch API, in OpenAI's format, which `vllm run-batch` reads and writes, too."""

import json
from typing import NamedTuple

ENDPOINT = "/v1/chat/completions"
NOT_ANSWERED = 0
"""Status of a line that the provider gives back without an answer, such as an expired one."""


class AnsweredLine(NamedTuple):
    """One line of an output file or an error file.

    Attributes:
        name: the custom_id.
        status: HTTP status of the answer.
        body: the answer as it would come over HTTP.
    """

    name: str
    status: int
    body: bytes


def written_line(name: str, body: bytes) -> bytes:
    """A line of an input file.

    >>> written_line("k-0", b'{"model": "m"}')
    b'{"custom_id": "k-0", "method": "POST", "url": "/v1/chat/completions", "body": {"model": "m"}}\\n'
    """
    return b'{"custom_id": "%s", "method": "POST", "url": "%s", "body": %s}\n' % (
        name.encode(),
        ENDPOINT.encode(),
        body,
    )


def read_line(text: bytes) -> AnsweredLine | None:
    """Read a line of an output file or an error file; None if it is torn, or no such line.

    >>> read_line(b'{"custom_id": "k-0", "response": {"status_code": 200, "body": {"choices": []}}}')
    AnsweredLine(name='k-0', status=200, body=b'{"choices": []}')
    >>> read_line(b'{"custom_id": "k-0", "error": {"code": "batch_expired"}}').status
    0
    >>> read_line(b'{"custom_id": "k-0", "resp')
    """
    try:
        line = json.loads(text)
        name, response, error = line["custom_id"], line.get("response"), line.get("error")
    except (ValueError, RecursionError, KeyError, TypeError, AttributeError):
        return None
    if not isinstance(name, str) or not (isinstance(response, dict) or error):
        return None
    if not isinstance(response, dict):
        return AnsweredLine(name, NOT_ANSWERED, json.dumps({"error": error}).encode())
    if "status_code" not in response:  # some writers give the completion itself
        return AnsweredLine(name, 200, json.dumps(response).encode())
    status, body = response["status_code"], response.get("body")
    if body is None:
        body = error if isinstance(error, dict) and "error" in error else {"error": error}
    return AnsweredLine(name, status if isinstance(status, int) else NOT_ANSWERED, json.dumps(body).encode())
