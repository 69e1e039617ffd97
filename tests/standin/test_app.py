"""The stand-in over real HTTP: endpoints, errors, counters, and a child that never outlives its parent."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from personahub_assets.standin.faults import MAX_MODEL_LEN
from personahub_assets.standin.server import StandinError, StandinServer
from personahub_assets.standin.writer import write

SCHEMA = {
    "type": "object",
    "properties": {"persona": {"type": "string", "maxLength": 300}},
    "required": ["persona"],
    "additionalProperties": False,
}


def chat(text: str = "<data>Tide tables of Islay</data>", **more: Any) -> dict[str, Any]:
    asked = {"type": "json_schema", "json_schema": {"name": "Persona", "schema": SCHEMA}}
    return {"model": "any", "messages": [{"role": "user", "content": text}], "response_format": asked, **more}


def call(server: StandinServer, path: str, body: Any = None) -> tuple[int, Any]:
    data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
    url = server.url.removesuffix("/v1") + path
    request = urllib.request.Request(url, data, {"content-type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=20) as response:
            text = response.read()
            return response.status, json.loads(text) if text else None
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.loads(error.read())


@pytest.fixture(scope="module")
def server() -> Iterator[StandinServer]:
    with StandinServer() as running:
        yield running


def test_it_names_itself_and_its_length(server: StandinServer) -> None:
    status, models = call(server, "/v1/models")
    assert status == 200
    assert models["data"][0]["id"] == "standin"
    assert models["data"][0]["max_model_len"] == MAX_MODEL_LEN == 32768
    assert call(server, "/health") == (200, None)


def test_a_chat_answer_has_the_whole_shape(server: StandinServer) -> None:
    status, answer = call(server, "/v1/chat/completions", chat())
    assert status == 200
    assert answer["object"] == "chat.completion"
    assert answer["model"] == "standin"
    (choice,) = answer["choices"]
    assert choice["finish_reason"] == "stop"
    assert choice["message"]["role"] == "assistant"
    assert choice["message"]["content"] == write(chat())
    assert json.loads(choice["message"]["content"])["persona"].endswith(".")
    usage = answer["usage"]
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    assert usage["completion_tokens"] == -(-len(choice["message"]["content"]) // 4)
    assert usage["prompt_tokens_details"] == {"cached_tokens": 0}


def test_tokenize_counts_what_a_chat_is_charged(server: StandinServer) -> None:
    body = chat("word " * 400)
    _, answer = call(server, "/v1/chat/completions", body)
    status, tokens = call(server, "/tokenize", {"model": "standin", "messages": body["messages"]})
    assert status == 200
    assert tokens == {"count": answer["usage"]["prompt_tokens"], "max_model_len": MAX_MODEL_LEN, "tokens": []}
    assert call(server, "/tokenize", {"prompt": "12345678"})[1]["count"] == 2
    assert call(server, "/tokenize", {})[0] == 400


def test_a_first_message_seen_before_counts_as_cached() -> None:
    def ask(server: StandinServer, *texts: str) -> dict[str, Any]:
        messages = [{"role": "user" if i else "system", "content": text} for i, text in enumerate(texts)]
        usage = call(server, "/v1/chat/completions", {**chat(), "messages": messages})[1]["usage"]
        return {name: usage[name] for name in ("prompt_tokens", "prompt_tokens_details")}

    with StandinServer() as server:
        first, second = ask(server, "word " * 400, "row 1"), ask(server, "word " * 400, "row 2")
        other = ask(server, "word " * 401, "row 2")
        stats = server.stats()
    assert first["prompt_tokens"] == second["prompt_tokens"] == 503 + 5
    assert first["prompt_tokens_details"] == other["prompt_tokens_details"] == {"cached_tokens": 0}
    assert second["prompt_tokens_details"] == {"cached_tokens": 503}
    assert stats["cached_tokens"] == 503


def test_an_answer_longer_than_max_tokens_is_cut(server: StandinServer) -> None:
    for key in ("max_tokens", "max_completion_tokens"):
        _, answer = call(server, "/v1/chat/completions", {**chat(), key: 8})
        (choice,) = answer["choices"]
        assert choice["finish_reason"] == "length"
        assert choice["message"]["content"] == write(chat())[:32]
        assert answer["usage"]["completion_tokens"] == 8


@pytest.mark.parametrize(
    ("body", "status", "word"),
    [
        (b"{", 400, "JSON"),
        (b"[]", 400, "object"),
        (b"[" * 100_000, 400, "JSON"),
        ({}, 400, "messages"),
        ({"messages": []}, 400, "messages"),
        ({"messages": ["hello"]}, 400, "messages[0]"),
        ({"messages": [{"role": "user", "content": 5}]}, 400, "content"),
        (chat(stream=True), 400, "stream"),
        (chat(n=3), 400, "n=3"),
        (chat(max_tokens=0), 400, "max_tokens"),
        (chat(max_tokens="many"), 400, "max_tokens"),
        (chat(max_tokens=MAX_MODEL_LEN), 400, "32768"),
        (chat("x" * 4 * MAX_MODEL_LEN), 400, "32768"),
        (chat("x" * 17 * 1024 * 1024), 413, "larger"),
        (chat(response_format={"json_schema": {"schema": "text"}}), 400, "schema"),
        (chat(response_format={"json_schema": {"schema": {"minLength": "long"}}}), 400, "schema"),
    ],
    ids=lambda value: json.dumps(value)[:40] if isinstance(value, dict) else ascii(value)[:20],
)
def test_what_is_out_of_order_gets_an_openai_error(server: StandinServer, body: Any, status: int, word: str) -> None:
    found, answer = call(server, "/v1/chat/completions", body)
    assert found == status
    assert word in answer["error"]["message"]
    assert answer["error"]["type"] == "invalid_request_error"


def test_what_is_not_there_and_what_is_asked_wrongly_is_said(server: StandinServer) -> None:
    status, answer = call(server, "/v1/completions", chat())
    assert status == 404
    assert "/v1/chat/completions" in answer["error"]["message"]
    assert call(server, "/v1/chat/completions")[0] == 405
    assert call(server, "/health", {})[0] == 405


def test_a_body_in_pieces_is_read_whole(server: StandinServer) -> None:
    data = json.dumps(chat()).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: {len(data)}\r\nConnection: close\r\n\r\n"
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
        connection.sendall(head.encode() + data[:40])
        call(server, "/health")  # the first piece has been read by now
        connection.sendall(data[40:])
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["choices"][0]["message"]["content"] == write(chat())


def test_over_long_prompts_carry_openais_code(server: StandinServer) -> None:
    _, answer = call(server, "/v1/chat/completions", chat("x" * 4 * MAX_MODEL_LEN))
    assert answer["error"]["code"] == "context_length_exceeded"


def test_stats_count_calls_repeats_and_tokens() -> None:
    with StandinServer(latency_ms=40) as server:
        bodies = [chat(f"<data>row {n}</data>") for n in range(6)] + [chat("<data>row 0</data>")]
        with ThreadPoolExecutor(7) as pool:
            answers = list(pool.map(lambda body: call(server, "/v1/chat/completions", body)[1], bodies))
        call(server, "/v1/chat/completions", {"messages": [{"role": "user", "content": "Hello"}]})
        call(server, "/v1/chat/completions", {})
        call(server, "/tokenize", {"prompt": "Hello"})
        call(server, "/tokenize", {})
        stats = server.stats()
    assert stats["calls"] == 8
    assert stats["calls_by_schema"] == {"Persona": 7, "text": 1}
    assert stats["repeats"] == 1
    assert stats["rejected"] == 1
    assert stats["tokenize_calls"] == 2
    assert stats["in_flight"] == 0
    assert 1 < stats["in_flight_max"] <= 7
    assert stats["faults"] == {}
    assert stats["prompt_tokens"] > sum(answer["usage"]["prompt_tokens"] for answer in answers)
    assert stats["completion_tokens"] > sum(answer["usage"]["completion_tokens"] for answer in answers)
    assert stats["started_at"] <= time.time()


def test_a_taken_port_is_one_clear_error(server: StandinServer) -> None:
    with pytest.raises(StandinError, match=f"port {server.port} on 127.0.0.1 is taken"):
        StandinServer(port=server.port).start()


def test_a_server_that_does_not_run_says_so() -> None:
    server = StandinServer()
    with pytest.raises(StandinError, match="not running"):
        _ = server.url
    server.stop()


def test_stop_ends_the_child_and_frees_the_port() -> None:
    with StandinServer() as server:
        pid, port = server.pid, server.port
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0


def test_sigterm_ends_the_child() -> None:
    with StandinServer() as server:
        os.kill(server.pid, signal.SIGTERM)
        assert ended(server.port)


def test_the_child_dies_with_a_killed_parent() -> None:
    script = (
        "import time\n"
        "from personahub_assets.standin.server import StandinServer\n"
        "server = StandinServer().start()\n"
        "print(server.port, flush=True)\n"
        "time.sleep(60)\n"
    )
    root = str(Path(__file__).resolve().parents[2])
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": root}
    ) as parent:
        assert parent.stdout is not None
        port = int(parent.stdout.readline())
        with socket.create_connection(("127.0.0.1", port), timeout=5):
            pass
        parent.kill()
    assert ended(port)


def ended(port: int, patience_s: float = 10.0) -> bool:
    """Wait until the port is closed."""
    deadline = time.monotonic() + patience_s
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) != 0:
                return True
        time.sleep(0.02)
    return False
