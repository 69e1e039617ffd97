"""The same embedding model behind a real vLLM and in this process gives the same vectors."""

import numpy as np
import pytest
from vllm_server import VllmServer

from personahub_assets.embedding.embedder import Embedder

pytestmark = pytest.mark.vllm

TEXTS = [
    "A night nurse in a small-town clinic who grows tomatoes on the roof",
    "a bus driver",
    "Une institutrice à la retraite qui collectionne les cartes postales",
    "一位研究潮汐的海洋学家",
    "Emoji 🚲🌧️, numbers 3.14159, and_snake_case",
    "x",
    "An engineer who writes about bridges, their bearings and their failures. " * 12,
    *(f"A teacher of subject number {number} at a school with {number * 7} pupils" for number in range(100)),
]


@pytest.fixture(scope="module")
def served(minilm_server: VllmServer) -> Embedder:
    return Embedder(url=f"{minilm_server.url}/v1", model=minilm_server.name)


def test_served_and_local_vectors_agree(served: Embedder) -> None:
    ours, theirs = Embedder().embed(TEXTS), served.embed(TEXTS)
    assert ours.shape == theirs.shape == (len(TEXTS), 384)
    assert theirs.dtype == np.float32
    cosine = np.sum(ours * theirs, axis=1)  # both are unit vectors
    assert cosine.min() >= 0.999


def test_a_text_beyond_the_model_is_shortened_not_lost(served: Embedder) -> None:
    vectors = served.embed(["a word and another one " * 400, "short"])
    assert vectors.shape == (2, 384)
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
