"""A language model of one million random weights, made on the spot: `python tests/vllm/tiny_model.py FOLDER`.

It has the files and the architecture of a Llama model, so a real engine loads and serves it without any download.
What it writes is noise, every token about as likely as any other, and that is its use: a pipeline that keeps its
promises with this writer keeps them with every model. Runs in `.venv-vllm` (numpy, tokenizers, safetensors).

`python tests/vllm/tiny_model.py FOLDER '{"hidden_size": 4096, …}'` writes the files of a model of another size without
weights, for `--load-format dummy`.
"""

import json
import sys
from pathlib import Path
from pydoc_data.topics import topics  # half a megabyte of English prose that every CPython brings along

import numpy as np
from safetensors.numpy import save_file
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

BOS, EOS, PAD = SPECIAL_TOKENS = ("<|begin|>", "<|end|>", "<|pad|>")
THINKING_TOKENS = ("<think>", "</think>")  # not special: they are part of the text, as those of thinking models
CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "{{ message['role'] }}:\n{{ message['content'] }}{{ eos_token }}\n"
    "{% endfor %}{% if add_generation_prompt %}assistant:\n{% endif %}"
)
CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "vocab_size": 4096,
    "hidden_size": 128,
    "intermediate_size": 384,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "head_dim": 32,
    "hidden_act": "silu",
    "max_position_embeddings": 8192,
    "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0,
    "tie_word_embeddings": True,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "pad_token_id": 2,
    "dtype": "float32",
}


def build_tiny_model(folder: Path) -> Path:
    """Write the model into `folder` and return it; the same Python gives the same bytes.

    `config.json` comes last, so a folder that has one is complete.
    """
    folder.mkdir(parents=True, exist_ok=True)
    train_tokenizer().save(str(folder / "tokenizer.json"))
    write_json(folder / "tokenizer_config.json", tokenizer_config())
    save_file(random_weights(), folder / "model.safetensors", metadata={"format": "pt"})
    write_json(folder / "config.json", CONFIG)
    return folder


def build_empty_model(folder: Path, changes: dict[str, object]) -> Path:
    """Write the files of a model with other sizes but without weights, which the engine draws by itself."""
    folder.mkdir(parents=True, exist_ok=True)
    train_tokenizer().save(str(folder / "tokenizer.json"))
    write_json(folder / "tokenizer_config.json", tokenizer_config())
    write_json(folder / "config.json", {**CONFIG, **changes})
    return folder


def train_tokenizer() -> Tokenizer:
    """Byte-level BPE of 4,096 tokens: any text can be written, and a token can end inside a UTF-8 character."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=CONFIG["vocab_size"] - len(THINKING_TOKENS),
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator([topics[name] for name in sorted(topics)], trainer)
    tokenizer.add_tokens([AddedToken(token, special=False, normalized=False) for token in THINKING_TOKENS])
    return tokenizer


def tokenizer_config() -> dict[str, object]:
    """Name the special tokens, the length limit and the chat template."""
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": BOS,
        "eos_token": EOS,
        "pad_token": PAD,
        "model_max_length": CONFIG["max_position_embeddings"],
        "clean_up_tokenization_spaces": False,
        "chat_template": CHAT_TEMPLATE,
    }


def random_weights(seed: int = 0) -> dict[str, np.ndarray]:
    """Draw every matrix from N(0, 0.02), float32, and set the norms to one."""
    rng = np.random.default_rng(seed)
    return {
        name: np.ones(shape, np.float32) if len(shape) == 1 else rng.normal(0, 0.02, shape).astype(np.float32)
        for name, shape in weight_shapes().items()
    }


def weight_shapes() -> dict[str, tuple[int, ...]]:
    """List the tensors of a Llama model, output rows first; the output matrix is the embedding."""
    hidden, inner = CONFIG["hidden_size"], CONFIG["intermediate_size"]
    shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (CONFIG["vocab_size"], hidden)}
    for layer in range(CONFIG["num_hidden_layers"]):
        at = f"model.layers.{layer}."
        shapes |= {f"{at}self_attn.{part}_proj.weight": (hidden, hidden) for part in "qkvo"}
        shapes |= {f"{at}mlp.{part}_proj.weight": (inner, hidden) for part in ("gate", "up")}
        shapes[f"{at}mlp.down_proj.weight"] = (hidden, inner)
        shapes |= {f"{at}{norm}_layernorm.weight": (hidden,) for norm in ("input", "post_attention")}
    return shapes | {"model.norm.weight": (hidden,)}


def write_json(path: Path, content: dict[str, object]) -> None:
    """Write one JSON file."""
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit("usage: python tests/vllm/tiny_model.py FOLDER [CHANGES OF THE CONFIG AS JSON]")
    target = Path(sys.argv[1])
    print(build_empty_model(target, json.loads(sys.argv[2])) if len(sys.argv) == 3 else build_tiny_model(target))
