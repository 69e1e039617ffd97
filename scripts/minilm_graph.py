"""Write the ONNX graphs of all-MiniLM-L6-v2, which the package ships; only this script needs `onnx`.

    python scripts/minilm_graph.py      personahub_assets/embedding/minilm-float32.onnx and minilm-int8.onnx

Every weight is an ONNX external tensor (file name, offset and length). It refers to the safetensors file of the package
with the weights, and for int8 to the file that `embedding/minilm.py` makes from it.
The model is BERT with 6 layers (Devlin et al., 2019; Wang et al., "MiniLM", 2020). Its inputs are the token ids of
texts of equal length; its outputs are the vectors of the tokens. Without padding there is no mask, and a
vector does not depend on the other texts of the batch.

For int8 a scale per token of the input of a linear layer is computed at run time (Jacob et al., 2018). Dynamic
quantisation usually has one scale for all tokens of a batch; a vector would then depend on the other texts.
"""

from typing import get_args

import numpy as np
import numpy.typing as npt
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from personahub_assets.embedding import minilm
from personahub_assets.embedding.minilm import Precision, Tensor

_OPSET, _IR_VERSION = 20, 9  # opset 20 (2023) is the first with Gelu
_MICROSOFT = "com.microsoft"  # operations of onnxruntime that are not in the standard
_LAYERS, _HEADS, _HIDDEN = minilm.LAYERS, 12, minilm.HIDDEN
_EPSILON = 1e-12
_TYPES = {np.dtype(np.float32): TensorProto.FLOAT, np.dtype(np.int8): TensorProto.INT8}
# Steps from 0 to the largest number of a token, and the value of 0 in unsigned bytes.
_TOKEN_STEPS, _ZERO = 127, 128


def main() -> None:
    """Write both graphs."""
    for precision in get_args(Precision):
        minilm.graph_file(precision).write_bytes(build_graph(precision).SerializeToString(deterministic=True))


def build_graph(precision: Precision) -> ModelProto:
    """Build the model; the tokens of all texts are the rows of one matrix, except in attention.

    Raises:
        ConfigError: if the weights are not installed.
    """
    tensors = minilm.weight_tensors(precision)
    # Only token type 0 is used, so a tensor with the first row of the table replaces an input and a lookup.
    types = tensors["embeddings.token_type_embeddings.weight"]
    graph = Graph(tensors | {"token_type_0": Tensor((_HIDDEN,), types.offset, 4 * _HIDDEN)})
    shape = graph.add("Shape", "input_ids")
    x = _embeddings(graph)
    for layer in range(_LAYERS):
        x = _layer(graph, x, shape, f"encoder.layer.{layer}")
    return graph.model(graph.add("Reshape", x, graph.add("Concat", shape, graph.integers(_HIDDEN), axis=0)))


class Graph:
    """A list of ONNX nodes under construction; every operation returns the name of its output or outputs."""

    def __init__(self, tensors: dict[str, Tensor]) -> None:
        self._tensors = tensors
        self._nodes: list[NodeProto] = []
        self._initializers: dict[str, TensorProto] = {}

    def add(self, op: str, *inputs: str, domain: str = "", **attributes: int | float | list[int]) -> str:
        """Append a node with one output."""
        return self.split(op, *inputs, output_count=1, domain=domain, **attributes)[0]

    def split(
        self, op: str, *inputs: str, output_count: int, domain: str = "", **attributes: int | float | list[int]
    ) -> list[str]:
        """Append a node with several outputs."""
        outputs = [f"{op}_{len(self._nodes)}_{index}" for index in range(output_count)]
        node = helper.make_node(op, inputs, outputs, domain=domain)
        node.attribute.extend(helper.make_attribute(name, value) for name, value in attributes.items())
        self._nodes.append(node)
        return outputs

    def weight(self, name: str) -> str:
        """Use a tensor of a weights file."""
        self._initializers[name] = _external(name, self._tensors[name])
        return name

    def integers(self, *values: int) -> str:
        """Use a constant vector of integers."""
        return self._constant(f"int64{list(values)}", np.array(values, np.int64))

    def number(self, value: float) -> str:
        """Use a constant float32 scalar."""
        return self._constant(f"float{value}", np.array(value, np.float32))

    def byte(self, value: int) -> str:
        """Use a constant unsigned 8-bit scalar."""
        return self._constant(f"byte{value}", np.array(value, np.uint8))

    def _constant(self, name: str, value: npt.NDArray[np.generic]) -> str:
        self._initializers[name] = numpy_helper.from_array(value, name)
        return name

    def linear(self, x: str, *names: str) -> str:
        """Multiply (tokens, in) by the weights of one or several layers side by side, and add their biases."""
        product = self._int8_product(x, names[0]) if f"{names[0]}.int8" in self._tensors else self._product(x, names)
        return self.add("Add", product, self._side_by_side([self.weight(f"{name}.bias") for name in names], axis=0))

    def _product(self, x: str, names: tuple[str, ...]) -> str:
        # torch stores a matrix as (out, in). Constant expressions are computed once, when the model loads.
        matrices = [self.add("Transpose", self.weight(f"{name}.weight"), perm=[1, 0]) for name in names]
        return self.add("MatMul", x, self._side_by_side(matrices, axis=1))

    def _side_by_side(self, tensors: list[str], axis: int) -> str:
        return tensors[0] if len(tensors) == 1 else self.add("Concat", *tensors, axis=axis)

    def _int8_product(self, x: str, name: str) -> str:
        largest = self.add("ReduceMax", self.add("Abs", x), self.integers(1), keepdims=0)
        # never 0, not even for a token of zeros
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

    def model(self, output: str) -> ModelProto:
        """Return the model: input (batch, sequence) token ids, output (batch, sequence, hidden)."""
        vectors = "last_hidden_state"
        graph = helper.make_graph(
            [*self._nodes, helper.make_node("Identity", [output], [vectors])],
            "all-MiniLM-L6-v2",
            [helper.make_tensor_value_info("input_ids", TensorProto.INT64, ("batch", "sequence"))],
            [helper.make_tensor_value_info(vectors, TensorProto.FLOAT, ("batch", "sequence", _HIDDEN))],
            list(self._initializers.values()),
        )
        opsets = [helper.make_opsetid("", _OPSET), helper.make_opsetid(_MICROSOFT, 1)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=_IR_VERSION, producer_name="personahub-assets")


def _external(name: str, tensor: Tensor) -> TensorProto:
    proto = TensorProto(name=name, dims=tensor.shape, data_type=_TYPES[tensor.dtype])
    proto.data_location = TensorProto.EXTERNAL
    for key, value in (("location", tensor.file), ("offset", tensor.offset), ("length", tensor.length)):
        proto.external_data.add(key=key, value=str(value))
    return proto


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


if __name__ == "__main__":
    main()
