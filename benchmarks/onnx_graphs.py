"""How many ONNX graphs of blocks are built and checked in a second: `python benchmarks/onnx_graphs.py`."""

import argparse
import time
from collections.abc import Sequence

import numpy as np

from benchmarks.machine import circumstances
from nat_deploy.onnx_graphs import build_graph
from nat_deploy.spaces import Block, make_space

NUM_ARCHITECTURES = 30
ROUNDS = 3


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    print(circumstances("natdeploy", "onnx", "numpy"))
    for name in ("ofa-mbv3-w0.35", "ofa-mbv3-w1.0", "ofa-mbv3-w1.2"):
        measure(name)


def measure(space_name: str) -> None:
    rng = np.random.default_rng(0)
    space = make_space(space_name)
    architectures = [space.decode(genes) for genes in space.sample(rng, NUM_ARCHITECTURES)]
    blocks = sorted({block for arch in architectures for block in space.blocks(arch)}, key=lambda block: block.key)
    chains = [(block,) for block in blocks]
    networks = [space.blocks(arch) for arch in architectures]
    for unit, built in (("blocks", chains), ("networks", networks)):
        by_clock, by_cpu = np.median([rates(built, rng) for _ in range(ROUNDS)], axis=0)
        print(
            f"{space_name}: {by_clock:.1f} {unit} a second, {by_cpu:.1f} a second of processor time ({len(built)} different ones)"
        )


def rates(chains: Sequence[Sequence[Block]], rng: np.random.Generator) -> tuple[float, float]:
    """Graphs a second, from blocks to bytes: by the clock, and by processor time, which other work disturbs less."""
    clock, cpu = time.perf_counter(), time.process_time()
    for chain in chains:
        build_graph(chain, rng=rng).SerializeToString()
    return len(chains) / (time.perf_counter() - clock), len(chains) / (time.process_time() - cpu)


if __name__ == "__main__":
    main()
