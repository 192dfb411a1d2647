"""What int8 costs in accuracy and gains in speed, on the networks that a search returned: `python benchmarks/quantisation.py RUN --data flowers5/ --qat-epochs 3`.

Each finalist is exported in fp32, in int8, and with `--qat-epochs` in int8 once more with training allowed, which happens where layers would stay in float. Ranges come from
training images; layers stay in float until validation images show a drop of at most one point. Accuracies are of the exported files on the test images, which no choice looked at,
with the exact McNemar test beside fp32. Latencies are measured in turns, one thread, and given as ratios to fp32's with 95 % intervals.
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
from nat_deploy.errors import ParityError
from nat_deploy.export import ExportReport, export_subnet
from nat_deploy.spaces.subnet_file import load_subnet
from nat_deploy.walk import benchmark_files


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="folder of a finished search")
    parser.add_argument("--data", required=True)
    parser.add_argument("--max-drop", type=float, default=1.0)
    parser.add_argument("--qat-epochs", type=int, default=0)
    parser.add_argument("--finalists", type=int, nargs="*", help="numbers; by default all")
    args = parser.parse_args()
    print(
        f"{circumstances('natdeploy', 'onnxruntime')} | one thread, --max-drop {args.max_drop:g} --qat-epochs {args.qat_epochs}"
    )
    for folder in sorted((args.run / "finalists").iterdir()):
        if args.finalists and int(folder.name) not in args.finalists:
            continue
        with tempfile.TemporaryDirectory() as scratch:
            report(folder, args.data, args.max_drop, args.qat_epochs, Path(scratch))


def report(folder: Path, data: str, max_drop: float, qat_epochs: int, scratch: Path) -> None:
    subnet = load_subnet(folder / "subnet.json")
    size = subnet.architecture.resolution
    test = load_data(data, image_size=size, seed=0).test
    assert test is not None, "the data set needs a test part"
    fp32 = export_subnet(subnet, scratch / "fp32.onnx", calibrate=data)
    exact = is_right(fp32.model, test, size)
    print(f"{folder.name}: {size} px, fp32: test {100 * exact.mean():.2f} %", flush=True)
    for epochs in dict.fromkeys((0, qat_epochs)):
        try:
            found = export_subnet(
                subnet, scratch / f"int8-{epochs}.onnx", precision="int8", calibrate=data, max_drop=max_drop, qat_epochs=epochs
            )
        except ParityError as error:
            print(f"   {named(epochs)}: {error}", flush=True)
            continue
        print(f"   {named(epochs)}: {told(found, exact, is_right(found.model, test, size))}", flush=True)
        if found.sidecar.quantisation is not None and found.sidecar.quantisation.training is not None:
            print(f"      {found.sidecar.quantisation.training}", flush=True)
    models = sorted(scratch.glob("*.onnx"))
    measured = benchmark_files(models, "cpu", threads=(1,))
    for model, comparison in zip(models[1:], measured.comparisons, strict=False):
        ratio = f"{comparison.ratio:.3f} ({comparison.low:.3f}-{comparison.high:.3f})"
        print(f"   {model.stem} takes {ratio} of {models[0].stem}'s time", flush=True)


def named(epochs: int) -> str:
    return f"int8, {epochs} epochs of training allowed" if epochs else "int8 after training"


def told(found: ExportReport, exact: NDArray[np.bool_], right: NDArray[np.bool_]) -> str:
    quantised = found.sidecar.quantisation
    assert quantised is not None
    lost, won = int((exact & ~right).sum()), int((~exact & right).sum())
    chance = binomtest(lost, lost + won).pvalue if lost + won else 1.0
    return (
        f"{len(quantised.float_layers)} of {quantised.num_layers} layers in float, drop {quantised.drop_points:.2f} points on "
        f"{quantised.num_validation_images} validation images; test {100 * right.mean():.2f} % ({100 * (right.mean() - exact.mean()):+.2f}; "
        f"{lost} lost, {won} won of {len(right)}, p {chance:.2g})"
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
