"""The benchmark of a file: which target it is measured as, and why there is no prediction."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from nat_deploy.errors import InputError, MissingError
from nat_deploy.export import export_subnet
from nat_deploy.predictors.latency import save_table, table_path
from nat_deploy.profiling import find_device, open_device, read_target
from nat_deploy.walk.benchmark import benchmark_file, benchmark_files
from profilers import Settings
from tests.export.test_export_subnet import subnet_file  # noqa: F401 - a fixture
from tests.predictors.synthetic_device import latencies, make_table

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
    with pytest.raises(MissingError, match=r"model .*none.onnx' must be a file or one of efficientnet_b0"):
        benchmark_file(tmp_path / "none.onnx", "cpu")


@pytest.mark.parametrize(("suffix", "runtime"), [(".tflite", "litert"), (".pte", "executorch"), (".xml", "openvino")])
def test_a_model_of_another_runtime_names_it(suffix, runtime, tmp_path):
    model = tmp_path / f"model{suffix}"
    model.write_bytes(b"anything")
    with pytest.raises(InputError, match=f"a {suffix} model needs a device whose runtime is {runtime}, but device 'cpu' runs"):
        benchmark_file(model, "cpu")


def test_every_throughput_has_the_prediction_of_its_own_batch_size(subnet_file, tmp_path):  # noqa: F811
    """A table is known for batches of two images alone."""
    model, space = export_subnet(subnet_file, tmp_path / "small.onnx").model, subnet_file.space
    device = find_device("cpu").with_settings(batch_size=2)
    target = read_target(device, open_device(device))[1]
    path = table_path(tmp_path / "run" / "latency_tables", target, space.name)
    path.parent.mkdir(parents=True)
    save_table(replace(make_table(space, np.random.default_rng(0)), target=target), path)
    found = benchmark_files([model], "cpu", batch_sizes=(1, 2), settings=FEW, tables=tmp_path / "run")
    one, two = found.throughputs
    assert (one.batch_size, one.predicted, one.predicted_images_per_second) == (1, None, None)
    genes = space.encode(subnet_file.architecture)[None]
    right = 2000 / latencies(space, genes, np.random.default_rng(0), noise=0.0)[0]
    assert two.predicted_images_per_second == pytest.approx(right, rel=0.2)


def test_energy_is_power_over_throughput(subnet_file, tmp_path, monkeypatch):  # noqa: F811
    monkeypatch.setattr("profilers.measurement.Measurement.power_w", 10.0)
    result = benchmark_file(export_subnet(subnet_file, tmp_path / "small.onnx").model, "cpu", settings=FEW)
    assert result.energy_mj == pytest.approx(10.0 * result.measurement.median_ms)
