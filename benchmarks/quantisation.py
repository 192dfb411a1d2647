"""What int8 costs in accuracy and gains in speed, on the networks that a search returned: `python benchmarks/quantisation.py RUN --data flowers5/`.

Each finalist is exported in fp32 and in int8, calibrated on training images; layers stay in float until validation images show a drop of at most one point.
Accuracies are of the exported files on the test images, which no choice looked at, with the exact McNemar test between the two. Latencies are measured in turns, one
thread, and given as ratios with 95 % intervals.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from scipy.stats import binomtest

from benchmarks.machine import circumstances
from nat_deploy.data import ImageSet, batches, load_data
from nat_deploy.export import export_subnet
from nat_deploy.onnx_graphs import Precision
from nat_deploy.spaces.subnet_file import load_subnet
from nat_deploy.walk import benchmark_files

PRECISIONS: tuple[Precision, ...] = ("fp32", "int8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="folder of a finished search")
    parser.add_argument("--data", required=True)
    parser.add_argument("--max-drop", type=float, default=1.0)
    args = parser.parse_args()
    print(f"{circumstances('natdeploy', 'onnxruntime')} | one thread, --max-drop {args.max_drop:g}")
    for folder in sorted((args.run / "finalists").iterdir()):
        with tempfile.TemporaryDirectory() as scratch:
            report(folder, args.data, args.max_drop, Path(scratch))


def report(folder: Path, data: str, max_drop: float, scratch: Path) -> None:
    subnet = load_subnet(folder / "subnet.json")
    size = subnet.architecture.resolution
    test = load_data(data, image_size=size, seed=0).test
    assert test is not None, "the data set needs a test part"
    right, notes = [], ""
    for precision in PRECISIONS:
        found = export_subnet(subnet, scratch / f"{precision}.onnx", precision=precision, calibrate=data, max_drop=max_drop)
        right.append(is_right(found.model, test, size))
        quantised = found.sidecar.quantisation
        if quantised is not None:
            float_layers = f"{len(quantised.float_layers)} of {quantised.num_layers} layers in float"
            notes = (
                f"{float_layers}, drop {quantised.drop_points:.2f} points on {quantised.num_validation_images} validation images"
            )
    lost, won = int((right[0] & ~right[1]).sum()), int((~right[0] & right[1]).sum())
    chance = binomtest(lost, lost + won).pvalue if lost + won else 1.0
    accuracy = [100 * found.mean() for found in right]
    measured = benchmark_files([scratch / f"{precision}.onnx" for precision in PRECISIONS], "cpu", threads=(1,))
    comparison = measured.comparisons[0]
    print(
        f"{folder.name}: {size} px, test {accuracy[0]:.2f} % in fp32, {accuracy[1]:.2f} % in int8 ({accuracy[1] - accuracy[0]:+.2f}; {lost} lost, {won} won "
        f"of {len(right[0])}, p {chance:.2g}); {notes}; int8 takes {comparison.ratio:.3f} ({comparison.low:.3f}-{comparison.high:.3f}) of fp32's time",
        flush=True,
    )


def is_right(model: Path, images: ImageSet, size: int) -> NDArray[np.bool_]:
    """Whether each test image is classified right by a file, shape `(n,)`."""
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    found = [
        session.run(None, {name: pixels.numpy()})[0].argmax(axis=1) == labels.numpy()
        for pixels, labels in batches(images, batch_size=64, resolution=size)
    ]
    return np.concatenate(found)


if __name__ == "__main__":
    main()
