"""`[compute] engine = "ray"`: the decisions of the local engine, for any number of shards, and when a node is lost."""

import os
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from personahub_assets.core.config import Compute
from personahub_assets.core.errors import ConfigError
from personahub_assets.dedup import lexical, ray_shards
from personahub_assets.dedup.shards import Divisible
from personahub_assets.dedup.signatures import SignatureScheme
from personahub_assets.steps.dedup import find_lexical_duplicates, find_semantic_duplicates
from personahub_assets.store.tables import Store, table_schema

ray = pytest.importorskip("ray")
pytestmark = [pytest.mark.cluster, pytest.mark.filterwarnings("ignore")]  # Ray leaves sockets and processes to the end

WORDS = [
    "a",
    "an",
    "nurse",
    "pilot",
    "judge",
    "from",
    "of",
    "Oslo",
    "Lima",
    "who",
    "sails",
    "paints",
    "old",
    "red",
    "boats",
]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A head and two more raylets."""
    from ray.cluster_utils import Cluster

    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    nodes = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    for _ in range(2):
        nodes.add_node(num_cpus=1)
    ray.init(address=nodes.address, log_to_driver=False, configure_logging=False)
    yield nodes
    ray.shutdown()
    nodes.shutdown()


def decided(home: Path, settings: str) -> list[pl.DataFrame]:
    """Decide two batches in a home."""
    store = Store(home=str(home))
    store.root.mkdir(parents=True)
    (store.root / "hub.toml").write_text(settings)
    random = np.random.default_rng(4)
    groups = random.normal(size=(12, 16))
    for batch in ("one", "two", "three", "one"):  # the last one is a refresh: its former rows are no keepers
        ids = [f"{batch}-{number:02}" for number in range(40)]
        texts = [" ".join(random.choice(WORDS[:8], 3)) for _ in ids]
        vectors = groups[random.integers(0, 12, 40)] + 0.2 * random.normal(size=(40, 16))
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        rows = pl.DataFrame({"persona_id": ids, "persona": texts, "hop": 0, "batch": batch})
        absent = [pl.lit("").alias(name) for name in table_schema("text_personas") if name not in rows.columns]
        store.write("text_personas", batch, rows.with_columns(absent))
        columns = zip(ids, vectors.tolist(), strict=True)
        embedded = [(batch, name, "random", name, vector, 0.0, "") for name, vector in columns]
        frame = pl.DataFrame(embedded, table_schema("persona_embeddings"), orient="row")
        store.write("persona_embeddings", batch, frame)
        find_lexical_duplicates(store, batch)
        find_semantic_duplicates(store, batch, "random")
    return [store.read_all("decisions", asset=f"{stage}_duplicates") for stage in ("lexical", "semantic")]


def living() -> set[str]:
    """Names of the actors that hold shards."""
    return {each["name"] for each in ray.util.list_named_actors(all_namespaces=True)}


def test_decisions_are_those_of_the_local_engine(cluster: Any, tmp_path: Path) -> None:
    expected = decided(tmp_path / "local", "")
    assert all(0 < rows["keeper_id"].null_count() < rows.height for rows in expected)
    for shards in (1, 2, 5):
        found = decided(tmp_path / f"ray-{shards}", f'[compute]\nengine = "ray"\nshards = {shards}\n')
        assert all(one.equals(other) for one, other in zip(found, expected, strict=True))


def test_the_shards_of_a_lost_node_are_made_again(cluster: Any) -> None:
    chosen = SignatureScheme(0.6, "exact", 1, 128)
    random = np.random.default_rng(1)
    texts = pl.Series([" ".join(random.choice(WORDS, 5)) for _ in range(200)])
    segments = [lexical.segment(chosen.sets(texts[:100]), np.arange(100), chosen)]
    case = texts[100:], np.arange(100, 200), np.ones(100, np.bool_)
    expected = lexical.decide(*case, segments, chosen)
    kept = [Divisible(("one",), (100,), (), partial(lexical.shard, segments[0]))]
    before = living()
    with ray_shards.placed("lost node", kept, Compute(shards=8)) as shards:
        first = lexical.decide(*case, [shards], chosen)
        actors = ray._private.state.actors().values()
        hosts = {
            each["Address"]["NodeID"] for each in actors if each["State"] == "ALIVE" and each["Name"] not in before
        }
        cluster.remove_node(next(node for node in cluster.worker_nodes if node.node_id in hosts), allow_graceful=False)
        again = lexical.decide(*case, [shards], chosen)
        assert shards.rebuilt > 0
    for found in (first, again):
        assert found.keeper.tolist() == expected.keeper.tolist()
        assert found.stays.tolist() == expected.stays.tolist()
        assert np.array_equal(found.similarity, expected.similarity, equal_nan=True)


def test_actors_stay_for_the_next_walk_and_end_when_nothing_asks_them(cluster: Any) -> None:
    chosen = SignatureScheme(0.6, "exact", 1, 128)
    random = np.random.default_rng(2)
    texts = pl.Series([" ".join(random.choice(WORDS, 5)) for _ in range(300)])
    segments = [lexical.segment(chosen.sets(texts[at : at + 100]), np.arange(at, at + 100), chosen) for at in (0, 100)]
    kept = [Divisible((str(n),), (100,), (), partial(lexical.shard, each)) for n, each in enumerate(segments)]
    both = lexical.segment(chosen.sets(texts[:200]), np.arange(200), chosen)
    merged = Divisible(("0", "1"), (100, 200), (), partial(lexical.shard, both))
    case = texts[200:], np.arange(200, 300), np.ones(100, np.bool_)
    before, sent = living(), []
    for holds in (kept[:1], kept, kept, kept[1:], kept[:1], [merged]):
        with ray_shards.placed("stays", holds, Compute(shards=2, idle_minutes=0.1)) as shards:
            found = lexical.decide(*case, [shards], chosen)
            sent.append(shards.sent)
        names = [run for each in holds for run in each.runs]
        expected = lexical.decide(*case, [segments[int(name)] for name in names], chosen)
        assert found.keeper.tolist() == expected.keeper.tolist()
    assert sent[0] > 0
    assert sent[1] > 0
    assert sent[2:4] == [0, 0]
    assert sent[5] == sent[1], "rows that were there were sent again with those that are new"
    assert len(living() - before) == 2
    deadline = time.monotonic() + 60
    while living() - before and time.monotonic() < deadline:
        time.sleep(0.2)
    assert living() <= before
    with ray_shards.placed("ends", kept, Compute(shards=2, idle_minutes=0)) as shards:
        lexical.decide(*case, [shards], chosen)
        assert len(living() - before) == 2
    while living() - before and time.monotonic() < deadline:
        time.sleep(0.2)
    assert living() <= before


@pytest.mark.parametrize("address", ["ray://127.0.0.1:1", "127.0.0.1:1"])
def test_a_cluster_that_does_not_answer_is_named(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ray.shutdown()
    monkeypatch.setenv("RAY_ADDRESS", address)
    with pytest.raises(ConfigError, match=f"no Ray cluster answers at RAY_ADDRESS={address} "):
        ray_shards.connected()


@pytest.mark.parametrize("address", ["ray://gpu.example.org:10001", "10.11.12.13:6379"])
def test_a_remote_cluster_without_a_token_is_refused(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", address)
    monkeypatch.delenv("RAY_AUTH_MODE", raising=False)
    with pytest.raises(ConfigError, match="has no authentication: start it with RAY_AUTH_MODE=token"):
        ray_shards.connected()
