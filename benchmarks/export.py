"""Export of one w1.0 subnet to ONNX by our builder and by torch's exporter, in turns: `python benchmarks/export.py`.

Both files are run in ONNX Runtime too: what matters after the export is that they compute the same and how fast they are.
"""

import argparse
import statistics
import time
import warnings
from collections.abc import Callable, Sequence

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray

from benchmarks.machine import circumstances
from nat_deploy.data import Normalisation
from nat_deploy.export import reference_logits, subnet_to_onnx
from nat_deploy.onnx_graphs import draw_weights
from nat_deploy.spaces import Block, make_space
from nat_deploy.supernets import Subnet, calibrate_batch_norm

ROUNDS = 3
RUNS = 100
RESOLUTION = 224


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    torch.set_num_threads(1)
    print(circumstances("natdeploy", "torch", "onnx", "onnxscript", "onnxruntime"))
    rng = np.random.default_rng(0)
    space = make_space("ofa-mbv3-w1.0")
    architecture = space.decode(np.r_[space.resolutions.index(RESOLUTION), space.sample(rng, 1)[0, 1:]])
    subnet = make_subnet(space.blocks(architecture), rng)
    images = rng.standard_normal((1, 3, RESOLUTION, RESOLUTION), dtype=np.float32)

    def ours() -> bytes:
        weights = subnet.numpy_weights()
        return bytes(subnet_to_onnx(space, architecture, weights, normalisation=Normalisation()).SerializeToString())

    exporters: dict[str, Callable[[], bytes]] = {"natdeploy": ours, "torch dynamo": lambda: export_with_torch(subnet, images)}
    seconds: dict[str, list[float]] = {name: [] for name in exporters}
    models: dict[str, bytes] = {}
    for _ in range(ROUNDS):
        for name, export in exporters.items():
            start = time.perf_counter()
            models[name] = export()
            seconds[name].append(time.perf_counter() - start)
    expected = reference_logits(subnet, images)
    latencies_ms = measure_ms(models, images)
    for name, model in models.items():
        error = np.linalg.norm(run(open_session(model), images) - expected) / np.linalg.norm(expected)
        print(
            f"{name}: export {statistics.median(seconds[name]):.3f} s (median of {ROUNDS}), {len(model) / 1e6:.1f} MB, "
            f"relative error {error:.1e}, {latencies_ms[name]:.2f} ms an image on one thread"
        )
    ratio = statistics.median(seconds["torch dynamo"]) / statistics.median(seconds["natdeploy"])
    print(f"ratio of export times: {ratio:.0f}")


def make_subnet(blocks: Sequence[Block], rng: np.random.Generator) -> Subnet:
    """A random network with calibrated batch norms, so that rounding errors stay rounding errors."""
    subnet = Subnet(blocks)
    subnet.load_weights({name: torch.from_numpy(values) for name, values in draw_weights(blocks, rng).items()})
    size = blocks[0].in_size
    images = torch.from_numpy(rng.standard_normal((32, 3, size, size), dtype=np.float32))
    return calibrate_batch_norm(subnet, [images])


def export_with_torch(subnet: Subnet, images: NDArray[np.float32]) -> bytes:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            subnet,
            (torch.from_numpy(images),),
            dynamo=True,
            input_names=["images"],
            output_names=["logits"],
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            verbose=False,
        )
    assert program is not None
    return bytes(program.model_proto.SerializeToString())


def measure_ms(models: dict[str, bytes], images: NDArray[np.float32]) -> dict[str, float]:
    """Median latency of each model, runs in alternating order."""
    sessions = {name: open_session(model) for name, model in models.items()}
    samples: dict[str, list[float]] = {name: [] for name in sessions}
    for _ in range(RUNS):
        for name, session in sessions.items():
            start = time.perf_counter()
            run(session, images)
            samples[name].append(1e3 * (time.perf_counter() - start))
    return {name: statistics.median(times[RUNS // 10 :]) for name, times in samples.items()}


def open_session(model: bytes) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def run(session: onnxruntime.InferenceSession, images: NDArray[np.float32]) -> NDArray[np.float32]:
    logits: NDArray[np.float32] = session.run(None, {"images": images})[0]
    return logits


if __name__ == "__main__":
    main()
