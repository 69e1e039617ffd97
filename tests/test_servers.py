"""Servers of a role in settings: lists of addresses, `[[servers]]`, keys, models, preflight, and a whole run."""

import json
import os
import shutil
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from embedding_server import Server as EmbeddingServer
from embedding_server import direction, status
from hub import Hub
from scripted import Script, error, good, serving

from personahub_assets.core.addresses import split_addresses
from personahub_assets.core.config import Environment, HubConfig
from personahub_assets.core.errors import ConfigError, KeyRefused, LLMError
from personahub_assets.embedding.embedder import Embedder, EmbedError
from personahub_assets.endpoints import pool
from personahub_assets.generation.llm import LLM
from personahub_assets.runs.endpoint import require_endpoint
from personahub_assets.runs.runner import ordered
from personahub_assets.standin.server import StandinServer

DEAD = "http://127.0.0.1:9/v1"


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("PERSONAHUB_") and name != "PERSONAHUB_CACHE"]:
        monkeypatch.delenv(name)
    monkeypatch.setattr(pool, "_PROBE_FIRST_S", 0.05)


@pytest.fixture(scope="module")
def scripts() -> Iterator[list[Script]]:
    with ExitStack() as stack:
        yield [stack.enter_context(serving()) for _ in range(2)]


def listing(script: Script, *models: str) -> Script:
    script.told(otherwise=good())
    script.pages["/models"] = json.dumps({"data": [{"id": name, "max_model_len": 4_096} for name in models]}).encode()
    return script


# --- addresses ---


@pytest.mark.parametrize(
    ("text", "addresses"),
    [
        (None, []),
        ("", []),
        ("standin:", ["standin:"]),
        ("http://a/v1", ["http://a/v1"]),
        ("http://a/v1,https://b/v1", ["http://a/v1", "https://b/v1"]),
        (" http://a/v1 , http://b:8000/v1,\n", ["http://a/v1", "http://b:8000/v1"]),
        ("http://a/v1?x=1,2,http://b/v1", ["http://a/v1?x=1,2", "http://b/v1"]),
        ("http://a:8000/v1,10.0.0.2:8000/v1", ["http://a:8000/v1", "10.0.0.2:8000/v1"]),
    ],
)
def test_a_list_of_addresses_is_split(text: str | None, addresses: list[str]) -> None:
    assert split_addresses(text) == addresses


@pytest.mark.parametrize(
    ("urls", "fault"),
    [
        ("http://a/v1,http://a/v1/", "lists a server twice"),
        ("http://me:s3cret1@a/v1,http://me:s3cret2@a/v1", "lists a server twice"),
        ("standin:,http://a/v1", "cannot be one of several"),
    ],
)
def test_a_list_that_cannot_be_is_named(urls: str, fault: str) -> None:
    with pytest.raises(ConfigError, match=fault) as raised:
        _ = LLM(url=urls).each
    assert "s3cret" not in str(raised.value)


# --- [[servers]] ---

LIST = """
[[servers]]
url = "http://a/v1"
model = "m"
weight = 2
[[servers]]
url = "http://b/v1"
key_variable = "KEY_OF_B"
[[servers]]
role = "judge"
url = "http://c/v1"
model = "j"
[[servers]]
role = "embeddings"
url = "http://e/v1"
model = "vectors"
"""


def test_the_file_names_servers_of_each_role(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home.mkdir()
    (home / "hub.toml").write_text(LIST)
    monkeypatch.setenv("KEY_OF_B", "secret of b")
    config, llm = HubConfig.load(home / "hub.toml"), LLM.of(Environment(home=home))
    assert (llm.url, llm.model) == ("http://a/v1, http://b/v1", "m")
    assert [(server.url, server.model, server._key) for server in llm.each] == [
        ("http://a/v1", "m", ""),
        ("http://b/v1", "m", "secret of b"),
    ]
    assert [llm._options_of(str(server.url)).weight for server in llm.each] == [2, 1]
    judge = llm.as_role(config, "judge")
    assert (judge.url, judge.model, judge.is_own_server) == ("http://c/v1", "j", True)
    assert llm.as_role(config, "solver") is llm
    embedder = Embedder.of(Environment(home=home), config)
    assert (embedder.url, embedder.model) == ("http://e/v1", "vectors")
    assert "secret of b" not in repr(llm) + llm.model_dump_json() + embedder.model_dump_json()


def test_a_variable_overrides_the_file_and_keeps_its_weights(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home.mkdir()
    (home / "hub.toml").write_text(LIST)
    monkeypatch.setenv("PERSONAHUB_LLM_URL", "http://a/v1,http://z/v1")
    monkeypatch.setenv("PERSONAHUB_LLM_API_KEY", "general")
    monkeypatch.setenv("PERSONAHUB_EMBED_URL", "http://y/v1")
    llm = LLM.of(Environment(home=home))
    assert (llm.url, llm.model) == ("http://a/v1,http://z/v1", None)
    assert [server._key for server in llm.each] == ["general", "general"]
    assert llm._options_of("http://a/v1").weight == 2
    embedder = Embedder.of(Environment(home=home), HubConfig.load(home / "hub.toml"))
    assert (embedder.url, embedder.model) == ("http://y/v1", "all-MiniLM-L6-v2")


def test_the_general_key_goes_to_no_server_of_the_file(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home.mkdir()
    (home / "hub.toml").write_text(LIST)
    monkeypatch.setenv("PERSONAHUB_LLM_API_KEY", "general")
    assert [server._key for server in LLM.of(Environment(home=home)).each] == ["", ""]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("[[servers]]\nurl = 'http://me:s3cret@host/v1'\n", "no password or key"),
        ("[[servers]]\nurl = 'http://a/v1'\nrole = 'x'\n", "servers.0.role"),
        ("[[servers]]\nurl = 'http://a/v1'\nweight = 0\n", "servers.0.weight"),
        ("[[servers]]\nurl = 'http://a/v1'\nwait = 0\n", "servers.0.wait"),
        ("[[servers]]\nmodel = 'm'\n", "servers.0.url"),
        ("[[servers]]\nurl='http://a/v1'\nmodel='m'\n[[servers]]\nurl='http://b/v1'\nmodel='n'\n", "several models"),
        ("[[servers]]\nurl='http://a/v1'\n[[servers]]\nurl='http://a/v1'\n", "listed twice"),
        ("[[servers]]\nrole='judge'\nurl='http://a/v1'\n[roles.judge]\nurl='http://b/v1'\n", "keep one of them"),
    ],
)
def test_a_wrong_server_is_named(home: Path, text: str, fault: str) -> None:
    home.mkdir()
    (home / "hub.toml").write_text(text)
    with pytest.raises(ConfigError, match=fault) as raised:
        HubConfig.load(home / "hub.toml")
    assert "s3cret" not in str(raised.value)
    assert LLM.of(Environment(home=home)).url is None  # the check of hub.toml says what is wrong


# --- before a run ---


def test_servers_that_are_not_there_are_passed_over_unless_none_is(scripts: list[Script]) -> None:
    first = listing(scripts[0], "m")
    llm = LLM(url=f"{first.url},{DEAD}")
    llm.require_model()
    assert llm.model_name == "m"
    assert llm.look({}) == {"m": 4_096}
    with pytest.raises(LLMError, match="no server can be reached") as raised:
        LLM(url=f"{DEAD},http://127.0.0.2:9/v1", model="m").require_model()
    assert DEAD in str(raised.value)
    assert "http://127.0.0.2:9/v1" in str(raised.value)


@pytest.mark.parametrize("model", ["m", None])
def test_a_server_of_another_model_is_named(scripts: list[Script], model: str | None) -> None:
    first, second = listing(scripts[0], "m"), listing(scripts[1], "n")
    with pytest.raises(LLMError, match="model") as raised:
        LLM(url=f"{first.url},{second.url}", model=model).require_model()
    assert second.url in str(raised.value)
    assert "'n'" in str(raised.value) or " n," in str(raised.value)


def test_a_server_that_refuses_the_key_is_named(scripts: list[Script], monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = listing(scripts[0], "m"), scripts[1].told(otherwise=error(401))
    monkeypatch.setattr(second.server, "RequestHandlerClass", _refusing(second.server.RequestHandlerClass))
    with pytest.raises(KeyRefused) as raised:
        LLM(url=f"{first.url},{second.url}", model="m").require_model()
    assert second.url in str(raised.value)
    assert first.url not in str(raised.value)


def _refusing(handler: type[Any]) -> type[Any]:
    """A handler that refuses the key of whoever asks for the models."""

    return type("Refusing", (handler,), {"do_GET": lambda self: self.answer(error(401))})


def test_the_smallest_context_counts(scripts: list[Script]) -> None:
    first, second = listing(scripts[0], "m"), listing(scripts[1], "m")
    second.pages["/models"] = json.dumps({"data": [{"id": "m", "max_model_len": 2_048}]}).encode()
    assert LLM(url=f"{first.url},{second.url}").models() == {"m": 2_048}


# --- embeddings ---


@pytest.fixture
def embedding_servers() -> Iterator[list[EmbeddingServer]]:
    with ExitStack() as stack:
        yield [stack.enter_context(EmbeddingServer()) for _ in range(3)]


def _embedder(*urls: str, **more: Any) -> Embedder:
    return Embedder(url=",".join(urls), model="m", batch_size=2, retry_wait=0.01, **more)


def test_texts_are_spread_over_embedding_servers_and_a_dead_one_loses_none(
    embedding_servers: list[EmbeddingServer],
) -> None:
    texts = [f"A keeper of lighthouse {number}." for number in range(60)]
    embedding_servers[1].script = [status(500)]
    vectors = _embedder(*(server.url for server in embedding_servers), DEAD).embed(texts)
    wanted = np.array([direction(text) for text in texts])
    assert np.allclose(vectors, wanted / np.linalg.norm(wanted, axis=1, keepdims=True), atol=1e-5)
    answered = [len(server.bodies) for server in (embedding_servers[0], embedding_servers[2])]
    assert min(answered) > 3


def test_when_no_embedding_server_works_each_is_named(embedding_servers: list[EmbeddingServer]) -> None:
    urls = [DEAD, "http://127.0.0.2:9/v1"]
    with pytest.raises(EmbedError, match="none of the 2 servers") as raised:
        _embedder(*urls).embed(["A nurse."])
    assert all(url in str(raised.value) for url in urls)


def test_embedding_servers_of_different_models_are_noticed(embedding_servers: list[EmbeddingServer]) -> None:
    first, second, _ = embedding_servers
    second.script = [lambda body: _short(body)]
    texts = [f"A keeper of lighthouse {number}." for number in range(60)]
    with pytest.raises(EmbedError, match="dimensions"):
        _embedder(first.url, second.url).embed(texts)


def _short(body: dict[str, Any]) -> Any:
    from starlette.responses import JSONResponse

    return JSONResponse({"data": [{"index": n, "embedding": [1.0, 2.0]} for n, _ in enumerate(body["input"])]})


# --- a run ---


def test_a_run_with_three_servers_then_one_pays_nothing_again(
    home: Path, standin: StandinServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = Hub(home, standin)
    hub.personas("people", [f"A keeper of lighthouse {number} who repairs radios." for number in range(40)])
    with StandinServer() as second, StandinServer() as third:
        secret = third.url.replace("http://", "http://ann:s3cret-canary@")
        urls = f"{standin.url},{second.url},{secret}"
        hub.environment = hub.environment.model_copy(update={"llm_url": urls})
        monkeypatch.setenv("PERSONAHUB_LLM_URL", urls)
        require_endpoint(hub.environment, ordered(hub.environment, [], ["tools"]))
        before = standin.stats()["calls"]
        assert hub.run(select=["related_personas", "+tools"]) == {}
        calls = [standin.stats()["calls"] - before, second.stats()["calls"], third.stats()["calls"]]
        assert min(calls) > 0
        assert sum(server.stats()["repeats"] for server in (second, third)) == 0
        os.kill(third.pid, signal.SIGKILL)
    rows = hub.store.read_all("tools").height
    assert rows
    monkeypatch.delenv("PERSONAHUB_LLM_URL")
    hub.environment = hub.environment.model_copy(update={"llm_url": None})
    listed = "".join(f'[[servers]]\nurl = "{url}"\nweight = 2\n' for url in (standin.url, DEAD))
    (home / "hub.toml").write_text((home / "hub.toml").read_text() + listed)
    before = standin.stats()["calls"]
    assert hub.run(select=["related_personas", "+tools"]) == {}
    assert standin.stats()["calls"] == before
    assert hub.store.read_all("tools").height == rows
    leaks = [path for path in home.rglob("*") if path.is_file() and b"s3cret-canary" in path.read_bytes()]
    assert leaks == []
    shutil.rmtree(home)
