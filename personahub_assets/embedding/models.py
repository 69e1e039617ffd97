"""Embedding models that run in this process, with their requirements."""

from typing import Any, NamedTuple

from personahub_assets.core.errors import ConfigError
from personahub_assets.embedding import minilm


class LocalModel(NamedTuple):
    """A model whose vector of a text is the mean over its tokens."""

    name: str
    dimensions: int
    max_tokens: int
    """Maximum tokens of an input, including special ones; longer texts are read in windows."""
    is_english: bool = False
    """Whether it was trained on English only, with a tokenizer that drops upper case and accents."""
    prefix: str = ""
    """Prefix of each text, as its authors recommend for comparing texts of the same kind."""
    is_offered: bool = True
    """Whether fastembed supports it without registration."""

    @property
    def title(self) -> str:
        """Name of its vectors, with all parameters that affect them."""
        return f"{self.name}, {self.prefix.strip()}" if self.prefix else self.name


DEFAULT = LocalModel("all-MiniLM-L6-v2", 384, minilm.MAX_TOKENS, is_english=True)
MODELS = {
    model.name: model
    for model in (
        DEFAULT,
        LocalModel("intfloat/multilingual-e5-small", 384, 512, prefix="query: ", is_offered=False),
        LocalModel("intfloat/multilingual-e5-large", 1024, 512, prefix="query: "),
        LocalModel("sentence-transformers/paraphrase-multilingual-MiniLM-L12-v2", 384, 128),
        LocalModel("sentence-transformers/paraphrase-multilingual-mpnet-base-v2", 768, 128),
    )
}
MULTILINGUAL = "intfloat/multilingual-e5-small"
REMEDY = (
    "use a multilingual model: PERSONAHUB_EMBED_URL and PERSONAHUB_EMBED_MODEL name a server's, or, where a model hub "
    f'can be reached, hub.toml: [embeddings] model = "{MULTILINGUAL}"'
)
"""Remedy for texts that the model does not read."""


def local_model(name: str) -> LocalModel:
    """Find a model by its name.

    Raises:
        ConfigError: if it cannot run here.
    """
    if name not in MODELS:
        raise ConfigError(
            f"embedding model {name!r} needs a server: set PERSONAHUB_EMBED_URL, or choose one without, by "
            f"[embeddings] model in hub.toml or PERSONAHUB_EMBED_MODEL: {', '.join(MODELS)}"
        )
    return MODELS[name]


def from_hub(model: LocalModel) -> Any:
    """Load a model with fastembed, from its cache or from the model hub; returns session and tokenizer.

    Raises:
        ConfigError: if it cannot be loaded.
    """
    from fastembed import TextEmbedding  # takes a second to load

    name = model.name if "/" in model.name else f"sentence-transformers/{model.name}"
    _register_model(model)
    try:
        folder = str(minilm.cache_folder() / "fastembed")
        loaded: Any = TextEmbedding(name, cache_dir=folder, threads=1, cuda=False).model
    except (ValueError, OSError) as error:
        raise ConfigError(
            f"embedding model {model.name!r} is not in the cache, and cannot be downloaded ({error}). Download it "
            f"where a model hub can be reached and copy {minilm.cache_folder()}; or set PERSONAHUB_EMBED_URL to an "
            "OpenAI-compatible server"
        ) from error
    return loaded


def _register_model(model: LocalModel) -> None:
    """Register a model in fastembed."""
    from fastembed import TextEmbedding
    from fastembed.common.model_description import ModelSource, PoolingType

    offered = {each["model"] for each in TextEmbedding.list_supported_models()}
    if not model.is_offered and model.name not in offered:
        TextEmbedding.add_custom_model(
            model.name, PoolingType.MEAN, normalization=True, sources=ModelSource(hf=model.name), dim=model.dimensions
        )
