"""Known networks by name: the graph is that of torchvision, and it is written once."""

from pathlib import Path

import onnx
import pytest

from nat_deploy.errors import InputError
from nat_deploy.export.reference_models import write_reference_model
from nat_deploy.walk import benchmark_files
from profilers import Settings

QUICK = Settings(half_width=0.5, round_ms=1.0, cap_s=5.0, warm_up_ms=1.0, warm_up_cap_s=0.1)


def test_a_reference_is_written_once_and_measured_beside_itself(tmp_path: Path) -> None:
    path = write_reference_model("mobilenet_v3_large", cache_dir=tmp_path)
    model = onnx.load(path)
    given = model.graph.input[0].type.tensor_type.shape.dim
    assert [dim.dim_value for dim in given] == [0, 3, 224, 224]  # an open batch
    assert "BatchNormalization" not in {node.op_type for node in model.graph.node}
    assert sum(len(tensor.raw_data) for tensor in model.graph.initializer) == pytest.approx(4 * 5.48e6, rel=0.01)
    written = path.stat().st_mtime_ns
    found = benchmark_files([Path("mobilenet_v3_large")] * 2, "cpu", settings=QUICK, cache_dir=tmp_path)
    assert path.stat().st_mtime_ns == written
    assert [(result.name, result.model) for result in found.results] == [("mobilenet_v3_large", path)] * 2
    assert found.results[0].why_not_predicted == "it is of no search space"
    memory = [result.peak_memory_bytes for result in found.results]
    assert all(size is not None and size > 4 * 5.48e6 for size in memory)  # its weights at least
    assert found.throughputs == ()


def test_an_unknown_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="must be one of efficientnet_b0, mobilenet_v2, mobilenet_v3_large, resnet18"):
        write_reference_model("../resnet18", cache_dir=tmp_path)
