"""The cause of failures (rows, server or account), from the pattern over requests."""

import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from engine_run import Run, outcomes, requests
from scripted import TASK, Limits, Reply, Script, error, good

from personahub_assets.core.errors import EndpointDown, EndpointRefuses, LLMError, SystematicFault
from personahub_assets.generation.journal import Journal

pytestmark = pytest.mark.usefixtures("brisk")

ROWS = 30
OF_THE_ACCOUNT = {
    "402": error(402, "Insufficient Balance"),
    "a key's limit": error(403, "Key limit exceeded (monthly limit)."),
    "no model": error(404, "The model `m` does not exist."),
    "a crash": Reply(status=400, body=b'{"error": "The model has crashed without additional information."}'),
    "unloaded": Reply(status=400, body=b'{"error": "Model is unloaded."}'),
    "a budget": error(400, "Budget has been exceeded! Current cost: 20.1, Max budget: 20.0"),
    "a quota": error(429, "You exceeded your current quota, please check your plan and billing details."),
    "in a 200": Reply(body=b'{"error": {"code": 402, "message": "Insufficient credits. Add more."}}'),
    "in the place of the answer": Reply("You have exceeded your current quota. Please top up your account."),
    "an error in the place of the answer": Reply("Error: the upstream model is not available."),
    "a login": Reply(status=303, headers={"location": "https://login.corp.invalid/sso"}),
    "no words": error(400, "No."),
    "always down": error(500, "Internal server error"),
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "a.sqlite"


@pytest.fixture
def served(script: Script) -> Iterator[Callable[[Callable[[dict[str, Any]], Reply]], Script]]:
    """A server that answers by a function of the request."""

    def by(function: Callable[[dict[str, Any]], Reply]) -> Script:
        script.told()

        def reply(body: dict[str, Any]) -> Reply:
            with script.lock:
                script.bodies.append(body)
                return function(body)

        script.next = reply  # type: ignore[method-assign]
        return script

    yield by
    del script.next


def is_probe(body: dict[str, Any]) -> bool:
    return body.get("max_tokens") == 16


@pytest.mark.parametrize("trouble", OF_THE_ACCOUNT.values(), ids=OF_THE_ACCOUNT)
@pytest.mark.parametrize("width", [1, 16])
def test_trouble_of_the_account_or_the_server_stops_the_step_and_notes_nothing(
    served: Any, path: Path, trouble: Reply, width: int
) -> None:
    good_ones = 10

    def reply(_: dict[str, Any]) -> Reply:
        nonlocal good_ones
        good_ones -= 1
        return good() if good_ones >= 0 else trouble

    script = served(reply)
    wanted = requests(ROWS, TASK)
    with Journal(path) as journal:
        with pytest.raises(LLMError, match=r".{20}"):
            Run(script.url, width, TASK, way={"tries": 2}).of(wanted, journal)
        kept = outcomes(journal)
        assert {outcome.status for outcome in kept.values()} == {"accepted"}
        assert len(kept) == 10
        # The credit is topped up, and the next run asks the others.
        good_ones = 1_000
        tally = Run(script.url, width, TASK).of([row for row in wanted if row.key not in kept], journal).tally
        assert (tally.accepted, tally.calls) == (ROWS - 10, ROWS - 10)


def test_credit_is_named_as_the_remedy(served: Any, path: Path) -> None:
    script = served(lambda _body: error(402, "Insufficient Balance"))
    with Journal(path) as journal, pytest.raises(EndpointRefuses, match=r"402: Insufficient Balance.*(credit|top|pay)"):
        Run(script.url, 4, TASK).of(requests(ROWS, TASK), journal)
    assert len(script.bodies) == 1


@pytest.mark.parametrize("status", [400, 500])
@pytest.mark.parametrize("bad", [4, 11, ROWS - 1])
@pytest.mark.parametrize("first", [True, False])
def test_trouble_of_some_rows_stops_nothing(served: Any, path: Path, status: int, bad: int, first: bool) -> None:
    wanted = requests(ROWS, TASK)
    some = wanted[:bad] if first else wanted[-bad:]
    texts = {row.messages[-1]["content"] for row in some}

    def reply(body: dict[str, Any]) -> Reply:
        return error(status, "token_id out of range") if body["messages"][1]["content"] in texts else good()

    script = served(reply)
    for width in (1, 8):
        with Journal(path.with_suffix(f".{width}")) as journal:
            run = Run(script.url, width, TASK, way={"tries": 2, "faults_in_a_row": 5}).of(wanted, journal)
            found = outcomes(journal)
        assert run.tally.accepted == ROWS - bad
        assert run.tally.reasons == {"bad_request" if status == 400 else "unreachable": bad}
        assert {row.key for row in some} == {key for key, outcome in found.items() if outcome.reason}


def test_only_bad_rows_left_are_settled_by_a_probe(served: Any, path: Path) -> None:
    script = served(lambda body: good() if is_probe(body) else error(500, "token_id out of range"))
    with Journal(path) as journal:
        run = Run(script.url, 8, TASK, way={"tries": 5, "faults_in_a_row": 20}).of(requests(4, TASK), journal)
    assert run.tally.reasons == {"unreachable": 4}
    assert sum(map(is_probe, script.bodies)) >= 1


def test_first_rows_that_are_filtered_or_too_long_prove_nothing(served: Any, path: Path) -> None:
    wanted = requests(ROWS, TASK)
    texts = [row.messages[-1]["content"] for row in wanted[:6]]

    def reply(body: dict[str, Any]) -> Reply:
        text = body["messages"][1]["content"]
        if text not in texts:
            return good()
        if texts.index(text) % 2:
            return error(400, "the request exceeds the available context size. try increasing the context size")
        return error(400, "The response was filtered: content management policy", code="content_filter")

    script = served(reply)
    with Journal(path) as journal:
        tally = Run(script.url, 4, TASK).of(wanted, journal).tally
    assert (tally.accepted, tally.reasons) == (ROWS - 6, {"content_filtered": 3, "too_long": 3})
    assert not any(map(is_probe, script.bodies))


def test_a_server_that_never_answers_is_found_by_its_first_silence(served: Any, path: Path) -> None:
    silence = threading.Event()

    def reply(_: dict[str, Any]) -> Reply:
        silence.wait(3)
        return good()

    script = served(reply)
    with Journal(path) as journal, pytest.raises(EndpointDown, match=r"no answer within 0\.3 s"):
        Run(script.url, 4, TASK, way={"timeout_s": 0.3, "tries": 5}).of(requests(ROWS, TASK), journal)
    silence.set()
    assert len(script.bodies) <= 2 * 2


# --- what a server does not take ---


@pytest.mark.parametrize(
    ("refuses", "words"),
    [
        (
            lambda body: body.get("response_format", {}).get("type") == "json_schema",
            "This response_format is unavailable",
        ),
        (
            lambda body: "max_tokens" in body,
            "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead.",
        ),
        (lambda body: body["messages"][0]["role"] == "system", "System role not supported"),
        (lambda body: "minLength" in json.dumps(body), "'minLength' is not permitted."),
        (lambda body: "$ref" in json.dumps(body) or "minLength" in json.dumps(body), "failed to parse grammar"),
    ],
)
def test_a_way_of_asking_is_found_that_the_server_takes(
    served: Any, path: Path, refuses: Callable[[dict[str, Any]], bool], words: str
) -> None:
    script = served(lambda body: error(400, words) if refuses(body) else good())
    with Journal(path) as journal:
        tally = Run(script.url, 4, TASK).of(requests(ROWS, TASK), journal).tally
    assert (tally.accepted, tally.rejected) == (ROWS, 0)
    assert len(tally.notes) == 1


@pytest.mark.parametrize(
    ("refuses", "words", "remedy"),
    [
        (lambda body: "temperature" in body, "'temperature' does not support 0.8 with this model", "temperature"),
        (lambda body: "top_p" in body, "`temperature` and `top_p` cannot both be specified", "top_p"),
    ],
)
def test_sampling_is_not_changed_unasked(
    served: Any, path: Path, refuses: Callable[[dict[str, Any]], bool], words: str, remedy: str
) -> None:
    script = served(lambda body: error(400, words) if refuses(body) else good())
    with Journal(path) as journal, pytest.raises(LLMError, match=f"hub.toml.*{remedy}"):
        Run(script.url, 4, TASK).of(requests(ROWS, TASK), journal)
    assert not outcomes_of(path)


def outcomes_of(path: Path) -> dict[str, Any]:
    with Journal(path) as journal:
        return dict(outcomes(journal))


# --- systematic faults ---


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (Reply("This is no JSON."), "invalid_json"),
        (Reply("{}"), "schema_violation"),
        (Reply(""), "empty"),
        (Reply('{"category": "x', "length"), "truncated"),
        (Reply(body=b'data: {"x": 1}\n\ndata: [DONE]'), "unreadable"),
    ],
)
def test_a_systematic_fault_stops_with_a_sample_and_a_remedy(
    served: Any, path: Path, reply: Reply, reason: str
) -> None:
    script = served(lambda _body: reply)
    with Journal(path) as journal:
        with pytest.raises(SystematicFault, match=f"first 8 answers .* rejected as {reason}.*--retry {reason}"):
            Run(script.url, 16, TASK, systematic_faults=8).of(requests(300, TASK), journal)
        assert 8 <= len(outcomes(journal)) <= 12
    assert len(script.bodies) <= 12 * 3


def test_a_fault_of_some_answers_is_not_systematic(served: Any, path: Path) -> None:
    replies = iter([Reply("no")] * 9 + [good()] * 1_000)
    script = served(lambda _body: next(replies))
    with Journal(path) as journal:
        tally = Run(script.url, 16, TASK, systematic_faults=8).of(requests(60, TASK), journal).tally
    assert tally.accepted >= 57


def test_reasons_that_differ_are_not_systematic(served: Any, path: Path) -> None:
    replies = iter([Reply("no"), Reply("{}")] * 500)
    script = served(lambda _body: next(replies))
    with Journal(path) as journal:
        run = Run(script.url, 1, TASK, limits=Limits(0), systematic_faults=8)
        assert run.of(requests(60, TASK), journal).tally.rejected == 60


# --- another model ---


def test_another_model_than_was_asked_is_seen(served: Any, path: Path) -> None:
    script = served(lambda _body: good())
    with Journal(path) as journal:
        tally = Run(script.url, 4, TASK).of(requests(6, TASK), journal).tally
    assert tally.other_models == []  # scripted-1 is a version of scripted
    other = json.loads(good().data()) | {"model": "small-fallback"}
    script = served(lambda _body: Reply(body=json.dumps(other).encode()))
    with Journal(path.with_suffix(".2")) as journal:
        tally = Run(script.url, 4, TASK).of(requests(6, TASK), journal).tally
    assert tally.other_models == ["small-fallback"]
    must = Limits(2, model_must_match=True)
    with (
        Journal(path.with_suffix(".3")) as journal,
        pytest.raises(LLMError, match="answered as 'small-fallback', and 'scripted' was requested"),
    ):
        Run(script.url, 4, TASK, limits=must).of(requests(6, TASK), journal)
