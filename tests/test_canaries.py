"""One home with a secret of every kind, through runs that work and runs that fail: none stands in a file or the output.

`test_secrets` proves it for what the UI answers.
"""

import os
from base64 import b64decode
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from embedding_server import Server as EmbeddingServer
from embedding_server import status
from hub import TOPICS
from quoting_site import Site, basic
from remnants import remnants

from personahub_assets.core.addresses import split_addresses
from personahub_assets.core.secrets import hide_secrets
from personahub_assets.instance.faults import explain
from personahub_assets.standin.server import StandinServer

from .conftest import Called

CANARY = "cAnArY"
SETTINGS = """
[text_personas]
per_document = 2
[related_personas]
hops = 0
[generation.headers]
X-Gateway = "${{GATEWAY_TOKEN}}"
[embeddings]
model = "tiny"
[[servers]]
role = "embeddings"
url = "{embedder}"
key_variable = "OF_VECTORS"
[[servers]]
role = "judge"
url = "http://{host}/v1"
key_variable = "OF_JUDGE"
"""


def secret(name: str) -> str:
    return f"{CANARY}/{name}+x"


KEYS = {
    "PERSONAHUB_SOLVER_LLM_API_KEY": secret("solver"),
    "OF_JUDGE": secret("judge"),
    "OF_VECTORS": secret("vectors"),
    "GATEWAY_TOKEN": secret("gateway"),
    "HF_TOKEN": f"hf_{CANARY}",
    "AWS_ACCESS_KEY_ID": f"AKIA{CANARY}",
    "AWS_SECRET_ACCESS_KEY": secret("s3"),
    "DAGSTER_PG_URL": f"postgresql://dagster:{CANARY}-pg@127.0.0.1:9/dagster",
}


@pytest.fixture
def sites(standin: StandinServer) -> Iterator[list[Site]]:
    """Two servers behind a password; the second answers to nothing but the list of models."""

    def quote(header: str, path: str) -> str:
        sent = b64decode(header.removeprefix("Basic ")).decode() if header.startswith("Basic ") else header
        return f"the header {header}, which is {sent}, {path}"

    with ExitStack() as stack:
        made = [
            stack.enter_context(Site(standin, {basic("me", f"{CANARY}-{name}")}, quote)) for name in ("first", "second")
        ]
        made[1].is_refusing, made[1].status = True, 500
        yield made


def test_no_secret_stands_in_the_home_or_in_the_output(called: Called, sites: list[Site], home: Path) -> None:
    printed, general = list[str](), {"PERSONAHUB_JUDGE_LLM_API_KEY": secret("general")}
    urls = [f"http://me:{CANARY}-{name}@{site.host}/v1" for name, site in zip(("first", "second"), sites, strict=True)]
    environment = {"PERSONAHUB_LLM_URL": ",".join(urls), **KEYS}

    def call(*arguments: str, **more: str) -> tuple[int, str]:
        code, out, error = called(*arguments, home=home, **{**environment, **more})
        printed.append(out + error)
        return code, printed[-1]

    home.mkdir()
    with EmbeddingServer() as embedder:
        (home / "hub.toml").write_text(SETTINGS.format(embedder=embedder.url, host=sites[0].host))
        pages = home / "pages.csv"
        pages.write_text("text\n" + "".join(f'"{text}"\n' for text in TOPICS[:2]))
        address = f"http://me:{CANARY}-first@{sites[0].host}/crawl.jsonl?X-Amz-Signature={CANARY}"
        assert call("ingest", address)[0] == 0
        assert call("ingest", str(pages))[0] == 0
        for wrong in (f"s3://{CANARY}:{CANARY}@bucket/crawl.jsonl", f"hf://me:{CANARY}@datasets/a/b.jsonl"):
            assert call("ingest", wrong)[0] == 1
        assert call("plan")[0] == 0
        assert call("plan", "--json")[0] == 0
        code, text = call("run", "--batch", "crawl", "--select", "+personas", "--select", "warehouse")
        assert code == 0, text
        embedder.script = [status(401, f"the key {secret('vectors')} and {secret('s3')}")]
        code, text = call("run", "--batch", "pages", "--select", "+persona_embeddings")
        assert code == 1, text
        assert embedder.authorizations[-1] == f"Bearer {secret('vectors')}"
        call("doctor", "--no-canary")
        call("doctor", "--no-canary", PERSONAHUB_LLM_URL=f"http://me:{CANARY},8x:1@{sites[0].host}/v1", **general)
        call("why", call("sql", "--format", "csv", "SELECT persona_id FROM personas LIMIT 1")[1].split()[-1])
        code, text = call("release", "first")
        assert code == 0, text
        call("sql", "SELECT * FROM quarantine")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        printed.append(_unexpected(home, urls[0]))

    assert {basic("me", f"{CANARY}-first")} <= set(sites[0].authorizations)
    text = "\n".join(printed)
    for needle in (CANARY, basic("me", f"{CANARY}-first")[6:], basic("me", f"{CANARY}-second")[6:]):
        assert needle not in text, text[max(0, text.index(needle) - 500) :][:700]
        assert remnants(home, [needle], apart=()) == set()


def _unexpected(home: Path, url: str) -> str:
    """An error of a library that quotes everything, as it is printed and written to a file."""
    try:
        try:
            raise RuntimeError(f"cannot reach {url} with {' '.join(KEYS.values())}")
        except RuntimeError as cause:
            raise ValueError(f"{KEYS['OF_JUDGE']!r}: {cause}") from cause
    except ValueError as error:
        message = explain(error, home)
    assert "This is a fault of the program; the traceback is in" in message
    return message


def test_secrets_are_those_of_names_and_addresses(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in list(os.environ):
        monkeypatch.delenv(name)
    for name, value in {
        "SOME_API_KEY": "abcdefgh",
        "SOME_TOKEN_FILE": str(tmp_path),
        "SOME_PASSWORD": "yes",
        "SOME_URL": "https://me:wordword@host/x,http://you:drowdrow@host/y",
        "EDITOR": "ordinary",
        "MINE": "mine, mine",
    }.items():
        monkeypatch.setenv(name, value)
    assert hide_secrets("abcdefgh, yes, ordinary, wordword, drowdrow") == "***, yes, ordinary, ***, ***"
    assert hide_secrets("mine, mine") == "mine, mine"
    assert hide_secrets("mine, mine", 'key_variable = "MINE"') == "***"
    assert hide_secrets(f"in {tmp_path}: user:password@host") == f"in {tmp_path}: user:password@host"


def test_a_comma_in_a_password_splits_no_address_in_two() -> None:
    address = "http://me:a,8x:1@host/v1"
    assert split_addresses(f"{address},http://b/v1") == [address, "http://b/v1"]
