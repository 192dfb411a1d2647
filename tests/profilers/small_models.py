"""ONNX files for tests, made by hand."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

WEIGHT = np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]], dtype=np.float32)
BIAS = np.array([0.5, -0.5], dtype=np.float32)


def write_model(path: Path, *, batch: int | str = "batch", width: int | str = 3, repeats: int = 0) -> Path:
    """Write y = x W + b as two nodes; with `repeats`, as many activations more, which change the bytes."""
    names = ["product", *(f"copy{index}" for index in range(repeats + 1))]
    nodes = [helper.make_node("MatMul", ["x", "weight"], ["product"])]
    nodes += [helper.make_node("Relu", [a], [b]) for a, b in pairwise(names)][:repeats]
    nodes.append(helper.make_node("Add", [names[repeats], "bias"], ["y"]))
    graph = helper.make_graph(
        nodes,
        "linear",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, width])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [batch, 2])],
        [numpy_helper.from_array(WEIGHT, "weight"), numpy_helper.from_array(BIAS, "bias")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())
    return path


def build_gemm(*, batch: int | str = "batch") -> onnx.ModelProto:
    """y = x W + b as one node."""
    graph = helper.make_graph(
        [helper.make_node("Gemm", ["x", "weight", "bias"], ["y"])],
        "linear",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, 3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [batch, 2])],
        [numpy_helper.from_array(WEIGHT, "weight"), numpy_helper.from_array(BIAS, "bias")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
