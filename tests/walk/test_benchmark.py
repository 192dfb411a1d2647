"""The benchmark of a file: which target it is measured as, and why there is no prediction."""

import os
from pathlib import Path

import pytest

from nat_deploy.errors import InputError, MissingError
from nat_deploy.export import export_subnet
from nat_deploy.walk.benchmark import benchmark_file
from profilers import Settings
from tests.export.test_export_subnet import subnet_file  # noqa: F401 - a fixture

FEW = Settings(half_width=0.5, cap_s=0.1, warm_up_ms=1.0, warm_up_cap_s=0.1)


def test_the_target_is_named_after_what_the_model_computes_in(subnet_file, tmp_path):  # noqa: F811
    model = export_subnet(subnet_file, tmp_path / "half.onnx", precision="fp16").model
    result = benchmark_file(model, "cpu", settings=FEW)
    assert result.measurement.target.precision == "fp16"
    assert result.predicted is None
    assert result.why_not_predicted is not None
    assert "natdeploy profile --device cpu --space ofa-mbv3-w0.35 --precision fp16" in result.why_not_predicted
    assert result.num_bytes == os.path.getsize(model)


def test_a_model_of_unknown_origin_is_measured_all_the_same(subnet_file, tmp_path):  # noqa: F811
    report = export_subnet(subnet_file, tmp_path / "bare.onnx")
    report.sidecar_file.unlink()
    result = benchmark_file(report.model, "cpu", settings=FEW)
    assert result.measurement.median_ms > 0
    assert result.why_not_predicted == "no sidecar 'bare.onnx.json' says which architecture this is"


def test_a_missing_model_is_named(tmp_path: Path):
    with pytest.raises(MissingError, match=r"model .*none.onnx' must exist"):
        benchmark_file(tmp_path / "none.onnx", "cpu")


@pytest.mark.parametrize(("suffix", "runtime"), [(".tflite", "litert"), (".pte", "executorch"), (".xml", "openvino")])
def test_a_model_of_another_runtime_names_it(suffix, runtime, tmp_path):
    model = tmp_path / f"model{suffix}"
    model.write_bytes(b"anything")
    with pytest.raises(InputError, match=f"a {suffix} model needs a device whose runtime is {runtime}, but device 'cpu' runs"):
        benchmark_file(model, "cpu")
