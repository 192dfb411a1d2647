"""Graphs that are measured: in the device's precision, and computing ordinary numbers."""

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import pytest

from nat_deploy.profiling import Device
from nat_deploy.profiling.choose import Sitting
from nat_deploy.profiling.graphs import write_sitting
from nat_deploy.spaces import make_space
from profilers.runtimes import open_runtime

SPACE = make_space("ofa-mbv3-w0.35", resolutions=(64,), num_classes=5)
NETWORKS = (SPACE.smallest(), SPACE.largest())
BLOCKS = tuple(dict.fromkeys(block for network in NETWORKS for block in SPACE.blocks(network)))
SITTING = Sitting(networks=NETWORKS, blocks=BLOCKS, with_overhead=True)


def operators(path: Path) -> Counter[str]:
    return Counter(node.op_type for node in onnx.load(path).graph.node)


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_outputs_are_neither_denormal_nor_constant(precision, tmp_path):
    """A processor takes other times for denormal numbers, and values that stand still measure nothing."""
    rng = np.random.default_rng(0)
    for model in write_sitting(Device(name="cpu", precision=precision), SPACE, SITTING, tmp_path, seed=0):
        with open_runtime("onnxruntime").load(model.path) as session:
            ((name, spec),) = session.inputs.items()
            (outputs,) = session.infer({name: rng.standard_normal(spec.shape, dtype=np.float32)}).values()
        assert np.isfinite(outputs).all(), model.id
        sizes = np.abs(outputs[outputs != 0])
        assert sizes.min() > np.finfo(np.float32).tiny, model.id
        assert model.id == "overhead" or outputs.std() > 0.05, model.id


def test_graphs_are_in_the_precision_of_the_device(tmp_path):
    written = {
        precision: write_sitting(Device(name="cpu", precision=precision), SPACE, SITTING, tmp_path / precision, seed=0)
        for precision in ("fp32", "fp16", "int8")
        if (tmp_path / precision).mkdir() is None
    }
    for fp32, fp16, int8 in zip(*written.values(), strict=True):
        exact = operators(fp32.path)
        assert operators(fp16.path) - exact == ({} if fp32.id == "overhead" else {"Cast": 2})
        assert operators(int8.path)["QuantizeLinear"] >= exact["Conv"]
        assert fp32.id != "overhead" or fp32.path.read_bytes() == int8.path.read_bytes()


def test_tensorrt_gets_its_own_int8(tmp_path):
    device = Device(name="jetson", transport="ssh", host="jetson", runtime="tensorrt", precision="int8", batch_size=2)
    model = onnx.load(write_sitting(device, SPACE, SITTING, tmp_path, seed=0)[0].path)
    zeros = {node.input[2] for node in model.graph.node if node.op_type == "QuantizeLinear"}
    assert {tensor.data_type for tensor in model.graph.initializer if tensor.name in zeros} == {onnx.TensorProto.INT8}
    assert model.graph.input[0].type.tensor_type.shape.dim[0].dim_value == 2
