"""A device whose latencies follow a law that no predictor of ours is told: a roofline per operation, jumps between sizes,
overhead, noise."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from nat_deploy.predictors.latency import BlockEntry, LatencyTable, NetworkEntry, OverheadEntry, Provenance, Timing
from nat_deploy.spaces import Block, Genes, SearchSpace, count_macs, make_space
from profilers.device_facts import DeviceFacts
from profilers.target import Target

TARGET = Target(device="synthetic", runtime="fake", runtime_version="1", precision="fp32", threads=1)
FACTS = DeviceFacts(
    board="synthetic", cpu_model="none", machine="none", num_cores=1, governor=None, turbo=None, cpu_mhz=None,
    load_average=None, cpu_quota_cores=None, steal_share=None, free_ram_mb=None, temperature_c=None, kernel="none",
    python="3", runtime="fake", runtime_version="1",
)  # fmt: skip
OVERHEAD_MS = 0.05


def small_space() -> SearchSpace:
    return make_space("ofa-mbv3-w0.5", resolutions=(32, 48, 64, 80, 96), num_classes=10)


def block_ms(block: Block) -> float:
    """Slower of computing and moving, with slow odd sizes and slow 7 x 7 kernels."""
    uneven = 1 + 0.1 * (block.out_size % 2)
    slow = 1.4 if block.kernel_size == 7 else 1.0
    values = (
        block.in_channels * block.in_size**2 + block.out_channels * block.out_size**2 + 2 * block.mid_channels * block.in_size**2
    )
    return 0.01 + max(count_macs(block) * uneven * slow / 4e6, values / 4e5)


def network_ms(blocks: Sequence[Block]) -> float:
    return OVERHEAD_MS + sum(block_ms(block) for block in blocks)


def latencies(space: SearchSpace, genes: Genes, rng: np.random.Generator, *, noise: float = 0.01) -> NDArray[np.float64]:
    """Measured latencies of shape `(n,)`."""
    exact = np.array([network_ms(space.blocks(space.decode(row))) for row in genes])
    return exact * np.exp(noise * rng.standard_normal(len(genes)))


def timing(ms: float, noise: float = 0.01) -> Timing:
    return Timing(
        p25_ms=ms, p25_low_ms=ms * (1 - noise), p25_high_ms=ms * (1 + noise),
        median_ms=1.02 * ms, low_ms=ms, high_ms=1.05 * ms, num_runs=50,
    )  # fmt: skip


def make_table(
    space: SearchSpace,
    rng: np.random.Generator,
    *,
    num_networks: int = 40,
    num_blocks: int = 20,
    alone: float = 1.1,
    noise: float = 0.01,
) -> LatencyTable:
    """A measured table; a block alone takes `alone` times what it takes in a network, and the overhead on top."""
    genes = space.sample(rng, num_networks)
    measured = latencies(space, genes, rng, noise=noise)
    blocks = list({block for row in genes for block in space.blocks(space.decode(row))})
    blocks = sorted(blocks, key=lambda block: block.key)[:: max(1, len(blocks) // max(1, num_blocks))][:num_blocks]
    return LatencyTable(
        target=TARGET,
        facts=FACTS,
        space=space.name,
        num_classes=space.num_classes,
        provenance=Provenance(created="2026-01-01T00:00:00+00:00", natdeploy_version="0.1.0", seed=0),
        networks=tuple(
            NetworkEntry(architecture=space.decode(row), timing=timing(ms, noise))
            for row, ms in zip(genes, measured, strict=True)
        ),
        blocks=tuple(
            BlockEntry(block=block, timing=timing(alone * block_ms(block) + OVERHEAD_MS, noise), sitting=1) for block in blocks
        ),
        overheads=(OverheadEntry(timing=timing(OVERHEAD_MS, noise), sitting=1),),
        warnings=("slow_runs: 9 % of the runs are slow",),
    )
