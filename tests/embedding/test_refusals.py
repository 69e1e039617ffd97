"""Texts that an embeddings server refuses while it takes others, and limits of a request that are learned."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from embedding_server import Answer, Server, honest, status
from starlette.responses import JSONResponse, Response

from personahub_assets.embedding.embedder import Embedder, EmbedError, Refusals

TEXTS = [f"persona {number:03d}" for number in range(100)]
POISON = {7: "persona 007", 50: "persona 050"}


@pytest.fixture(scope="module")
def running() -> Iterator[Server]:
    with Server() as server:
        yield server


@pytest.fixture
def server(running: Server) -> Server:
    running.script, running.bodies, running.authorizations = [honest], [], []
    return running


def error(code: int, message: str, **more: Any) -> Response:
    return JSONResponse({"error": {"message": message, **more}}, code)


def on(texts: Callable[[list[str]], bool], answer: Answer) -> Answer:
    """Another answer to some requests."""
    return lambda body: answer(body) if texts(body["input"]) else honest(body)


def poisoned(texts: list[str]) -> bool:
    return any(text in POISON.values() for text in texts)


def embed(client: Embedder, texts: list[str], refusals: Refusals) -> list[int]:
    return sorted(p for positions, _ in client.stream(texts, refusals=refusals) for p in positions)


def without_a_number(body: dict[str, Any], vector: object) -> Response:
    data = [{"index": n, "embedding": vector if poisoned([text]) else [1, 2]} for n, text in enumerate(body["input"])]
    return JSONResponse({"data": data})


REFUSALS: dict[str, tuple[Answer, str, int]] = {  # the answer, its words, and requests at most
    "a content filter": (
        lambda _: error(400, "The prompt was filtered by the content management policy.", type="content_filter"),
        "400: The prompt was filtered",
        30,
    ),
    "too long at any length": (lambda _: error(400, "maximum context length exceeded"), "400: maximum context", 30),
    "no reason": (status(422, "cannot process"), "422: cannot process", 30),
    "a crash": (status(500, "unsupported value: NaN"), "500: unsupported value: NaN, 5 times", 90),
    "an error in a 200": (lambda _: error(200, "Your input was flagged by moderation"), "flagged by moderation", 30),
    "no vector": (lambda body: without_a_number(body, None), "empty, all zeros, or not finite", 30),
    "zeros": (lambda body: without_a_number(body, [0, 0]), "empty, all zeros, or not finite", 30),
    "null for NaN": (lambda body: without_a_number(body, [None, None]), "empty, all zeros, or not finite", 30),
}


@pytest.mark.parametrize(("answer", "words", "most"), REFUSALS.values(), ids=REFUSALS)
def test_a_refused_text_does_not_stop_the_others(server: Server, answer: Answer, words: str, most: int) -> None:
    def mixed(body: dict[str, Any]) -> Response:
        return answer(body) if poisoned(body["input"]) else without_a_number(body, None)

    server.script = [mixed]
    refusals = Refusals()
    done = embed(server.client(retry_wait=0.001), TEXTS, refusals)
    assert refusals.words.keys() == POISON.keys()
    assert all(words in reason for reason in refusals.words.values())
    assert done == [number for number in range(100) if number not in POISON]
    assert len(server.bodies) <= most


def test_a_single_refused_text_is_the_texts_fault_if_the_server_takes_a_plain_one(server: Server) -> None:
    server.script = [on(poisoned, status(400, "no"))]
    refusals = Refusals()
    assert embed(server.client(), [POISON[7]], refusals) == []
    assert refusals.words == {0: "400: no"}
    assert len(server.bodies) == 2
    with pytest.raises(EmbedError, match=r"refuses: 400: no"):
        server.client().embed([POISON[7]])


def test_a_server_that_refuses_everything_stops_the_step(server: Server) -> None:
    server.script = [status(400, "no such thing")]
    refusals = Refusals()
    with pytest.raises(EmbedError, match=rf"{server.url}/embeddings.*refuses: 400: no such thing"):
        embed(server.client(), TEXTS, refusals)
    assert len(server.bodies) <= 10
    assert not refusals.words


def test_a_server_that_fails_at_everything_stops_the_step(server: Server) -> None:
    server.script = [status(500, "out of memory")]
    with pytest.raises(EmbedError, match=r"failed 5 times.*out of memory.*Is the server running"):
        embed(server.client(), TEXTS, Refusals())
    assert len(server.bodies) <= 5 + 3 + 4


def test_a_server_that_refuses_each_of_the_first_texts_stops_the_step(server: Server) -> None:
    server.script = [on(lambda texts: texts[0].startswith("persona"), status(400, "not in this language"))]
    with pytest.raises(EmbedError, match=r"plain text, but refuses each of the first 20.*not in this language.*Ask"):
        embed(server.client(), TEXTS, Refusals())
    assert len(server.bodies) <= 60


def test_texts_that_were_refused_before_prove_nothing_about_the_server(server: Server) -> None:
    server.script = [on(lambda texts: texts[0].startswith("persona"), status(400, "no"))]
    refusals = Refusals(are_expected=True)
    assert embed(server.client(batch_size=1), TEXTS[:30], refusals) == []
    assert len(refusals.words) == 30
    assert len(server.bodies) <= 30 + 12


def test_an_account_that_fails_later_stops_the_step(server: Server) -> None:
    server.script = [honest] * 5 + [status(400, "no")]
    with pytest.raises(EmbedError, match="refuses: 400: no"):
        embed(server.client(batch_size=5, max_in_flight=1), TEXTS, Refusals())
    assert len(server.bodies) <= 5 + 12


def test_a_text_of_which_a_part_is_refused_has_no_vector(server: Server) -> None:
    """With a mean of the rest, texts that differ in that part would be duplicates."""
    server.script = [on(lambda texts: any("curse" in text for text in texts), status(400, "no"))]
    long = "A nurse who tells long stories. " * 20 + "curse " + "A baker who sings. " * 20
    refusals = Refusals()
    assert embed(server.client(max_chars=500), ["A pilot.", long, "A cook."], refusals) == [0, 2]
    assert refusals.words == {1: "400: no"}


LIMITS = {
    "a number of texts": (413, "batch size 32 > maximum allowed batch size 10", 10),
    "a number, as a 422": (422, "batch size 32 > maximum allowed batch size 10", 10),
    "one text": (400, "only a single text is supported", 1),
    "a payload": (413, "Payload Too Large", 20),
}


@pytest.mark.parametrize(("code", "words", "limit"), LIMITS.values(), ids=LIMITS)
def test_the_number_of_texts_in_a_request_is_learned(server: Server, code: int, words: str, limit: int) -> None:
    refused: list[int] = []

    def limited(body: dict[str, Any]) -> Response:
        if len(body["input"]) <= limit:
            return honest(body)
        refused.append(len(body["input"]))
        return error(code, words)

    server.script = [limited]
    vectors = server.client(max_in_flight=8).embed([f"persona {number}" for number in range(300)])
    assert np.isfinite(vectors).all()
    assert len(vectors) == 300
    assert len(refused) <= 5


def test_a_refused_text_does_not_make_requests_smaller(server: Server) -> None:
    server.script = [on(poisoned, status(400, "no"))]
    embed(server.client(max_in_flight=1), TEXTS, Refusals())
    assert max(len(body["input"]) for body in server.bodies[-2:]) > 1
    assert sum(len(body["input"]) == 32 for body in server.bodies) == 3
