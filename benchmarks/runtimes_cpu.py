"""The same five subnets in every CPU runtime, one thread, taking turns in one process: `python benchmarks/runtimes_cpu.py`.

The runtimes are extras: `pip install 'natdeploy[openvino,litert,executorch]'`; those that are missing are left out. torch.compile
needs a C++ compiler. With `--exporter`, ExecuTorch's own export of one subnet is timed beside ours.
"""

import argparse
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random

import numpy as np
import onnx
import torch

from benchmarks.machine import circumstances
from nat_deploy.conversion import convert, read_layers, write_executorch
from nat_deploy.onnx_graphs import build_graph, draw_weights
from nat_deploy.spaces import Architecture, SearchSpace, make_space
from nat_deploy.supernets import Subnet
from profilers import RuntimeNotInstalledError, Settings, open_runtime
from profilers.protocol import Timing, measure_sitting
from profilers.rounds import Runnable
from profilers.runtimes import model_suffix
from profilers.statistics import round_quantiles

SPACE = "ofa-mbv3-w0.5"
RESOLUTIONS = (64, 88, 112, 136, 160)
RUNTIMES = ("onnxruntime", "openvino", "litert", "executorch")
SETTINGS = Settings(half_width=0.01, min_rounds=15, cap_s=3.0)  # the cap counts the time in rounds of one candidate


@dataclass(frozen=True)
class TorchSession:
    """A network in PyTorch on one image."""

    network: Callable[[torch.Tensor], torch.Tensor]
    image: torch.Tensor

    def run(self) -> object:
        with torch.inference_mode():
            return self.network(self.image)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--exporter", action="store_true", help="also time ExecuTorch's own exporter")
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(
        circumstances("natdeploy", "onnxruntime", "openvino", "ai-edge-litert", "executorch", "torch")
        + " | 1 thread, fp32, batch 1"
    )
    space = make_space(SPACE, resolutions=RESOLUTIONS)
    rng = np.random.default_rng(0)
    genes = space.sample(rng, len(RESOLUTIONS))
    genes[:, 0] = range(len(RESOLUTIONS))
    ratios: dict[str, list[float]] = {}
    for row in genes:
        architecture = space.decode(row)
        for name, ratio in compare(space, architecture, rng).items():
            ratios.setdefault(name, []).append(ratio)
    print("ratio to onnxruntime over the five subnets (geometric mean, smallest to largest)")
    for name, values in ratios.items():
        print(f"  {name:14} {np.exp(np.mean(np.log(values))):5.2f}  {min(values):5.2f} to {max(values):5.2f}")
    print("the third subnet again, with kernel 3 in every block: XNNPACK has no fast depthwise convolution of 7x7 on x86")
    third = space.decode(genes[2])
    compare(space, replace(third, kernel=(3,) * len(third.kernel)), rng)
    if options.exporter:
        time_exporter(space, space.decode(genes[0]), rng)


def measure(space: SearchSpace, architecture: Architecture, rng: np.random.Generator) -> list[Timing]:
    """Time one network everywhere; its outputs must agree first."""
    subnet, onnx_model = make_network(space, architecture, rng)
    image = rng.standard_normal((1, 3, architecture.resolution, architecture.resolution), dtype=np.float32)
    tensor = torch.from_numpy(image)
    with torch.inference_mode():
        expected = subnet(tensor).numpy()
    sessions: dict[str, Runnable] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in RUNTIMES:
            runtime = open_runtime(name)
            try:
                runtime.check_available()
            except RuntimeNotInstalledError as error:
                print(f"left out: {error}")
                continue
            path = Path(folder) / f"model{model_suffix(name)}"
            path.write_bytes(convert(onnx_model, path.suffix))
            sessions[name] = session = runtime.load(path)
            (entry,) = session.inputs
            (output,) = session.infer(
                {entry: np.ascontiguousarray(image.transpose(0, 2, 3, 1)) if name == "litert" else image}
            ).values()
            deviation = np.linalg.norm(output - expected) / np.linalg.norm(expected)
            assert deviation < 1e-4, f"{name} computes something else: relative error {deviation:.1e}"
    sessions["torch eager"] = TorchSession(subnet, tensor)
    sessions["torch.compile"] = TorchSession(torch.compile(subnet, dynamic=False), tensor)
    sessions["torch.compile"].run()
    return measure_sitting(sessions, SETTINGS, clock=time.perf_counter_ns, rng=Random(0))


def compare(space: SearchSpace, architecture: Architecture, rng: np.random.Generator) -> dict[str, float]:
    """Print a line for each runtime, and return how long it takes as a multiple of the first.

    The ratio is the median over rounds taken at the same time; its spread is that of the middle half of these rounds.
    """
    timings = measure(space, architecture, rng)
    sevens = sum(kernel == 7 for kernel in architecture.kernel)
    print(f"{architecture.resolution} px, {len(architecture.kernel)} blocks, {sevens} of them with kernel 7")
    first = round_quantiles(timings[0].rounds, 0.25)
    ratios = {}
    for timing in timings:
        values = round_quantiles(timing.rounds, 0.25)
        count = min(len(first), len(values))
        paired = np.asarray(values[:count]) / np.asarray(first[:count])
        low, ratios[timing.id], high = np.quantile(paired, (0.25, 0.5, 0.75))
        print(
            f"  {timing.id:14} {np.median(values) / 1e6:7.3f} ms, ratio {ratios[timing.id]:5.2f} ({low:.2f} to {high:.2f}), "
            f"{len(values)} rounds{'' if timing.converged else ', not converged'}"
        )
    return ratios


def time_exporter(space: SearchSpace, architecture: Architecture, rng: np.random.Generator) -> None:
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import to_edge_transform_and_lower

    subnet, onnx_model = make_network(space, architecture, rng)
    image = torch.randn(1, 3, architecture.resolution, architecture.resolution)
    start = time.perf_counter()
    write_executorch(read_layers(onnx_model))
    ours = time.perf_counter() - start
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        start = time.perf_counter()
        exported = torch.export.export(subnet, (image,))
        to_edge_transform_and_lower(exported, partitioner=[XnnpackPartitioner()]).to_executorch()
        theirs = time.perf_counter() - start
    print(f"a .pte file at {architecture.resolution} px: ours {ours:.2f} s, ExecuTorch's exporter {theirs:.1f} s")


def make_network(space: SearchSpace, architecture: Architecture, rng: np.random.Generator) -> tuple[Subnet, onnx.ModelProto]:
    """A network with random weights, in PyTorch and in ONNX."""
    blocks = space.blocks(architecture)
    weights = draw_weights(blocks, rng)
    subnet = Subnet(blocks)
    subnet.load_weights({name: torch.from_numpy(values) for name, values in weights.items()})
    return subnet.eval(), build_graph(blocks, weights=weights)


if __name__ == "__main__":
    main()
